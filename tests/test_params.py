"""Hyper-parameters as fields: how values are read, and which are possible."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdarena import Choice, Flag, Float, Int, Params
from kdarena.errors import UserError
from kdarena.params import ImpossibleValue, Tunable, make_params, sources, tunables


@dataclass(frozen=True)
class Example(Params):
    temperature: float = Float(4.0, 1.0, 10.0, log=True, source="paper")
    words: int = Int(64, 8, 512, source="code", cost=True)
    reduction: str = Choice("mean", ("mean", "sum"), source="ours")
    detach: bool = Flag(True, source="ours")


def test_every_field_names_its_default_source_and_range():
    found = tunables(Example)
    assert list(found) == ["temperature", "words", "reduction", "detach"]
    assert (found["temperature"].default, found["temperature"].source, found["temperature"].describe_range()) == (4.0, "paper", "1 to 10, log")
    assert found["words"].cost


def test_choices_and_flags_are_not_tuned_unless_asked_for():
    assert [name for name, tunable in tunables(Example).items() if tunable.tune] == ["temperature", "words"]


@pytest.mark.parametrize(("name", "text", "value"), [("temperature", "2.5", 2.5), ("words", "32", 32), ("reduction", "sum", "sum"), ("detach", "no", False)])
def test_a_value_is_read_as_its_field_says(name, text, value):
    assert tunables(Example)[name].parse(text) == value


@pytest.mark.parametrize(("name", "text"), [("temperature", "warm"), ("temperature", "nan"), ("words", "2.5"), ("reduction", "max"), ("detach", "perhaps")])
def test_a_wrong_value_is_refused_in_one_line(name, text):
    with pytest.raises(ValueError) as caught:
        tunables(Example)[name].parse(text)
    assert "\n" not in str(caught.value)
    assert text in str(caught.value)


def test_an_unknown_parameter_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="temperature, words, reduction, detach"):
        make_params(Example, {"tau": 1.0})


def test_parameters_without_a_source_are_refused():
    @dataclass(frozen=True)
    class Bare(Params):
        tau: float = 1.0

    with pytest.raises(TypeError, match="'tau'"):
        tunables(Bare)


def test_a_params_class_without_the_dataclass_decorator_is_refused():
    class Undecorated(Params):
        tau: float = Float(1.0, 0.1, 10, source="ours")

    with pytest.raises(TypeError, match="dataclass"):
        tunables(Undecorated)


def test_a_subclass_that_is_no_dataclass_itself_is_refused():
    @dataclass(frozen=True)
    class Decorated(Params):
        weight: float = Float(1.0, 0.1, 10.0, source="ours")

    class Plain(Decorated):
        more: float = Float(1.0, 0.1, 10.0, source="ours")

    with pytest.raises(TypeError, match="Plain has to be decorated"):
        tunables(Plain)


def test_a_whole_number_is_an_int_however_it_was_written():
    @dataclass(frozen=True)
    class Counted(Params):
        k: int = Int(3, 1, 5, source="ours")

    made = make_params(Counted, {"k": 4.0})
    assert (made.k, type(made.k)) == (4, int)


# bounds
@dataclass(frozen=True)
class Bounded(Params):
    temperature: float = Float(4.0, 1.0, 20.0, above=0, log=True, source="code")
    momentum: float = Float(0.5, 0.0, 0.9, least=0, below=1, source="paper")
    share: float = Float(0.9, 0.1, 1.0, least=0, most=1, source="recalled")
    size: int = Int(3, 1, 5, least=1, most=8, source="ours")
    slope: float = Float(1.0, 0.1, 10.0, source="ours")
    form: str = Choice("mean", ("mean", "sum"), source="code")


OUTSIDE = [
    ("temperature", 0.0, "above 0"),
    ("temperature", -1.0, "above 0"),
    ("momentum", -1e-9, "at least 0 and below 1"),
    ("momentum", 1.0, "at least 0 and below 1"),
    ("share", -0.1, "at least 0 and at most 1"),
    ("share", 1.1, "at least 0 and at most 1"),
    ("size", 0, "at least 1 and at most 8"),
    ("size", 9, "at least 1 and at most 8"),
]


@pytest.mark.parametrize(("name", "value", "bounds"), OUTSIDE)
def test_a_value_outside_its_bounds_is_refused_with_what_is_possible(name, value, bounds):
    says = f"^{name}: {value:g} is not possible; it has to be {bounds}$"
    with pytest.raises(ImpossibleValue, match=says):
        make_params(Bounded, {name: value})
    with pytest.raises(ImpossibleValue, match=says):
        Bounded(**{name: value})
    with pytest.raises(ValueError, match=f"it has to be {bounds}$"):
        tunables(Bounded)[name].parse(str(value))


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", 1e-9), ("momentum", 0.0), ("momentum", 0.999), ("share", 0.0), ("share", 1.0), ("size", 1), ("size", 8), ("slope", -3.0), ("slope", 1e6)],
)
def test_a_value_at_its_bound_or_outside_its_search_range_is_possible(name, value):
    assert getattr(make_params(Bounded, {name: value}), name) == value
    assert tunables(Bounded)[name].parse(str(value)) == value


@given(st.floats())
def test_a_number_is_taken_if_and_only_if_it_is_finite_and_within_its_bounds(value):
    try:
        taken = Bounded(momentum=value).momentum
    except ImpossibleValue:
        assert not 0 <= value < 1
    else:
        assert 0 <= taken < 1 and taken == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "1.5"])
def test_what_is_no_finite_number_is_no_value_of_a_number(value):
    with pytest.raises(ImpossibleValue, match="slope: .* is not a finite number"):
        Bounded(slope=value)


@pytest.mark.parametrize(("name", "value", "says"), [("size", 2.5, "2.5 is not a whole number"), ("form", "max", "'max' is not one of mean, sum")])
def test_a_value_of_another_kind_is_impossible_too(name, value, says):
    with pytest.raises(ImpossibleValue, match=f"^{name}: {says}$"):
        make_params(Bounded, {name: value})


def test_an_impossible_value_is_an_error_of_the_user_and_of_the_value():
    assert issubclass(ImpossibleValue, UserError)
    assert issubclass(ImpossibleValue, ValueError)


@pytest.mark.parametrize(
    "declare",
    [
        lambda: Float(0.0, 0.1, 1.0, above=0, source="ours"),
        lambda: Float(1.0, 0.1, 1.0, below=1, source="ours"),
        lambda: Float(0.5, 0.0, 1.0, above=0, source="ours"),
        lambda: Float(0.5, 0.0, 2.0, most=1, source="ours"),
        lambda: Float(0.5, -1.0, 1.0, least=0, source="ours"),
        lambda: Int(0, 1, 5, least=1, source="ours"),
        lambda: Int(2, 0, 5, least=1, source="ours"),
        lambda: Choice("max", ("mean", "sum"), source="ours"),
    ],
)
def test_a_default_or_a_search_range_outside_the_bounds_is_no_declaration(declare):
    with pytest.raises(ValueError, match="is not"):
        declare()


@pytest.mark.parametrize(("low", "high", "log"), [(2.0, 1.0, False), (0.0, 1.0, True), (-1.0, 1.0, True)])
def test_a_search_range_that_is_empty_or_has_no_logarithm_is_no_declaration(low, high, log):
    with pytest.raises(ValueError, match="the search range"):
        Float(1.0, low, high, log=log, source="ours")


def test_bounds_are_described_in_words():
    described = {name: tunable.describe_bounds() for name, tunable in tunables(Bounded).items()}
    assert described == {
        "temperature": "above 0",
        "momentum": "at least 0 and below 1",
        "share": "at least 0 and at most 1",
        "size": "at least 1 and at most 8",
        "slope": "",
        "form": "",
    }


def test_bounds_are_no_search_range():
    share = tunables(Bounded)["share"]
    assert (share.low, share.high, share.least, share.most) == (0.1, 1.0, 0, 1)
    assert isinstance(share, Tunable)


# several parameters
@dataclass(frozen=True)
class Window(Params):
    begin: float = Float(0.2, 0.0, 1.0, least=0, most=1, source="paper")
    end: float = Float(0.8, 0.0, 1.0, least=0, most=1, source="paper")

    def conflict(self):
        return f"begin={self.begin:g} has to be before end={self.end:g}" if self.begin >= self.end else None


def test_values_that_do_not_go_together_are_refused_with_the_methods_own_reason():
    assert make_params(Window, {"begin": 0.7}).begin == 0.7
    for build in (lambda: make_params(Window, {"begin": 0.8}), lambda: Window(begin=0.8)):
        with pytest.raises(ImpossibleValue, match="^begin=0.8 has to be before end=0.8$"):
            build()


def test_a_single_value_out_of_bounds_is_reported_before_any_conflict():
    with pytest.raises(ImpossibleValue, match="^begin: 1.5 is not possible"):
        Window(begin=1.5)


def test_without_a_conflict_of_its_own_a_class_has_none():
    assert Bounded().conflict() is None


# sources
def test_defaults_are_counted_by_where_they_come_from():
    assert sources(Bounded) == "paper 1, code 2, ours 2, recalled 1"
    assert sources(Params) is None
