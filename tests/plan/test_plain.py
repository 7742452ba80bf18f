"""Values from plain JSON."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Literal

import pytest

from kdarena.plan.plain import from_plain
from kdarena.plan.spec import RunSpec


@dataclass(frozen=True)
class Inner:
    name: str
    weight: float = 1.0


@dataclass(frozen=True)
class Outer:
    inner: Inner
    kind: Literal["a", "b"] = "a"
    pairs: tuple[tuple[Inner, str], ...] = ()
    points: Mapping[str, list[tuple[int, float]]] = field(default_factory=dict)
    values: Mapping[str, float | int | str | bool] = field(default_factory=dict)
    other: Inner | None = None
    when: datetime | None = None


FULL = Outer(Inner("x", 0.5), "b", ((Inner("y"), "key"),), {"ce": [(0, 2.0), (10, 1.5)]}, {"tau": 4.0, "deep": True, "k": 3, "how": "cosine"}, Inner("z"), None)


def there_and_back(value):
    return json.loads(json.dumps(asdict(value)))


def test_a_nested_value_survives_the_way_through_json():
    found = from_plain(Outer, there_and_back(FULL))
    assert found == FULL
    assert [type(value) for value in found.values.values()] == [float, bool, int, str]


def test_what_is_not_finite_is_a_value():
    values = from_plain(Outer, json.loads(json.dumps({"inner": {"name": "x", "weight": math.nan}, "values": {"nll": -math.inf}})))
    assert math.isnan(values.inner.weight)
    assert values.values["nll"] == -math.inf


def test_a_whole_number_may_be_given_for_a_float_and_has_the_same_digest_afterwards():
    assert there_and_back(from_plain(Inner, {"name": "x", "weight": 60})) == {"name": "x", "weight": 60}


def test_a_date_is_read():
    assert from_plain(Outer, {"inner": {"name": "x"}, "when": "2026-11-27T10:00:00+00:00"}).when == datetime(2026, 11, 27, 10, tzinfo=UTC)


def test_a_field_with_a_default_may_be_missing():
    assert from_plain(Inner, {"name": "x"}) == Inner("x")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"inner": {"name": "x"}, "wight": 1}, "unknown field 'wight'"),
        ({"kind": "a"}, "missing field 'inner'"),
        ({"inner": {}}, r"Outer\.inner: Inner: missing field 'name'"),
        ({"inner": {"name": 3}}, r"Inner\.name: 3 is no str"),
        ({"inner": {"name": "x", "weight": True}}, r"Inner\.weight: True is no float"),
        ({"inner": {"name": "x"}, "kind": "c"}, r"Outer\.kind: 'c' is none of 'a', 'b'"),
        ({"inner": {"name": "x"}, "pairs": [["y"]]}, r"Outer\.pairs: .* is no list of 2"),
        ({"inner": {"name": "x"}, "points": []}, r"Outer\.points: \[\] is no object"),
        ({"inner": {"name": "x"}, "points": {"ce": [[0.5, 1.0]]}}, r"Outer\.points: 0\.5 is no int"),
        ({"inner": {"name": "x"}, "other": {"weight": 1.0}}, r"Outer\.other: Inner: missing field 'name'"),
        ({"inner": {"name": "x"}, "when": "yesterday"}, r"Outer\.when: .*yesterday"),
        ([], r"Outer: \[\] is no object"),
    ],
)
def test_a_field_that_is_unknown_missing_or_of_another_type_is_named(values, says):
    with pytest.raises(ValueError, match=says):
        from_plain(Outer, values)


def test_the_key_of_a_spec_is_the_same_after_json(synthetic):
    spec = synthetic.spec(params={"tau": 1, "deep": False}, recipe={"lr": 0.1}, metric_groups=("gap",))
    assert from_plain(RunSpec, there_and_back(spec)).key == spec.key
