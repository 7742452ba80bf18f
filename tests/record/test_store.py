import pytest

from kdarena.errors import UserError
from kdarena.plan.allocation import Allocation
from kdarena.plan.cost import CostProfile, PhaseProfile
from kdarena.record.store import Store

PROFILE = CostProfile("k", (PhaseProfile("train", None, 1.0, 0.1, 100, 1.5, 0.01),), 15, 0.002, 1.0, 0.3, 678, environment={"torch": "2"})
CHOICE = Allocation(60.0, "s", 5, 90.0, "60s", ("a note",))


def test_a_profile_is_read_as_it_was_kept(tmp_path):
    Store(tmp_path).keep_profile(PROFILE)
    assert Store(tmp_path).profile("k") == PROFILE
    assert Store(tmp_path).profile("other") is None


def test_an_allocation_is_read_as_it_was_kept(tmp_path):
    Store(tmp_path).keep_allocation("k", CHOICE)
    assert Store(tmp_path).allocation("k") == CHOICE


def test_audits_of_a_board_are_kept_over_older_ones(tmp_path):
    for ratios in ({"kd": 1.1, "quest": 1.0}, {"kd": 1.2}):
        Store(tmp_path).keep_audits("board", ratios)
    assert Store(tmp_path).audits() == {("board", "kd"): 1.2, ("board", "quest"): 1.0}


@pytest.mark.parametrize("text", ["{", "[]", '{"key": "k", "colour": 1}'])
def test_a_file_that_cant_be_read_is_named_with_what_to_do(tmp_path, text):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "k.json").write_text(text)
    with pytest.raises(UserError, match=r"profiles/k\.json: can't be read .*delete it"):
        Store(tmp_path).profile("k")
