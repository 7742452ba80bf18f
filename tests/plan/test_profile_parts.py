"""Parts of a cost profile make one: its cost, its error, and when another part is needed."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kdarena.plan.cost import CostProfile, PhaseProfile
from kdarena.plan.profile_parts import combined, cost_of, needs_another
from kdarena.plan.profile_rule import RULES

RATIOS = st.floats(0.5, 20.0)


def part(*ratios, student_s=0.002, **changed):
    groups = tuple(math.log(ratio) for ratio in ratios)
    relative, error = cost_of([groups]) if groups else (1.0, 0.0)
    phase = PhaseProfile("train", None, 1.0, 0.1, 100, relative, error, groups)
    return replace(CostProfile("key", (phase,), 7, student_s, 1.0, 0.5, 1), **changed)


@given(st.lists(RATIOS, min_size=4, max_size=12))
def test_the_cost_is_the_median_of_all_groups_and_the_error_of_one_part_their_standard_error(ratios):
    cost, error = cost_of([[math.log(ratio) for ratio in ratios]])
    assert cost == pytest.approx(math.exp(np.median(np.log(ratios))))
    assert error == pytest.approx(stats.sem(np.log(ratios)), abs=1e-12)


@given(st.lists(st.tuples(RATIOS, RATIOS), min_size=2, max_size=6))
def test_the_error_is_never_below_that_of_the_parts(parts):
    _, error = cost_of([np.log(pair).tolist() for pair in parts])
    assert error >= stats.sem([np.log(pair).mean() for pair in parts]) - 1e-12


def test_parts_that_agree_in_themselves_and_not_with_each_other_have_the_error_of_their_difference():
    cost, error = cost_of([[math.log(2.0)] * 8, [math.log(2.2)] * 8])
    assert cost == pytest.approx(math.sqrt(2.0 * 2.2))
    assert error == pytest.approx(math.log(2.2 / 2.0) / 2)


def test_one_disturbed_group_does_not_move_the_cost():
    assert cost_of([[math.log(2.0)] * 2, [math.log(2.0), math.log(9.0)]])[0] == pytest.approx(2.0)


def test_parts_make_one_profile_with_the_key_of_the_first():
    whole = combined([part(2.0, 2.1, student_s=0.002), part(2.2, 2.3, student_s=0.004, key="other")])
    assert (whole.key, whole.student_s, whole.seconds) == ("key", 0.003, 2.0)
    assert whole.phases[0].relative == pytest.approx(math.sqrt(2.1 * 2.2))
    assert [math.exp(group) for group in whole.phases[0].groups] == pytest.approx([2.0, 2.1, 2.2, 2.3])


def test_the_plain_student_stays_the_unit():
    assert combined([part(), part()]).phases[0].relative == 1.0


def test_a_part_that_failed_makes_the_profile_fail():
    whole = combined([part(2.0, 2.0), part(status="timeout", error="no sign of life", key="other")])
    assert (whole.key, whole.status, whole.error) == ("key", "timeout", "no sign of life")


@pytest.mark.parametrize(
    ("parts", "another"),
    [
        ([part(2.0, 2.0)], True),  # two parts are the fewest
        ([part(2.0, 2.0), part(2.0, 2.0)], False),
        ([part(2.0, 2.0), part(2.2, 2.2)], True),  # far apart
        ([part(2.0, 2.0), part(2.2, 2.2)] * 4, False),  # eight are the most
        ([part(), part()], False),
        ([part(status="error")], False),
    ],
)
def test_a_profile_has_two_parts_at_least_and_more_while_its_error_is_large(parts, another):
    assert needs_another(parts, RULES["cpu"], timed=True) is another


def test_where_no_time_is_measured_one_part_is_enough():
    assert not needs_another([part()], RULES["cpu"], timed=False)
