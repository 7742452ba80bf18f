"""What a GPU reached once, as stated rates."""

import pytest

from kdarena.plan.stated_rates import SIDE_BY_SIDE, STATED, rate_for

SMALL, LARGE = STATED


def test_the_student_s_step_is_the_part_of_the_measured_one_that_its_operations_are():
    step = 64 / 21948
    assert SMALL.student_seconds(SMALL.student_flops, "captured") == pytest.approx(step * SMALL.student_flops / SMALL.kd_flops)
    assert SMALL.student_seconds(3 * SMALL.student_flops, "captured") == pytest.approx(3 * step * SMALL.student_flops / SMALL.kd_flops)


def test_a_step_of_the_smallest_student_takes_a_tenth_of_the_measured_step():
    assert SMALL.student_seconds(1.0, "captured") == pytest.approx(0.1 * 64 / 21948)


def test_a_way_that_was_not_measured_takes_the_next_best_one():
    assert LARGE.way("captured") == "compiled and captured"
    assert LARGE.way("eager") == "compiled"
    assert SMALL.way("captured") == "captured"


def test_runs_side_by_side_gain_what_eight_of_them_gained_and_no_more():
    eight = 65106 / 21948
    gains = [SMALL.gain("captured", count) for count in (1, 2, 4, 8, 16)]
    assert gains[0] == 1.0
    assert gains == sorted(gains)
    assert gains[3] == gains[4] == pytest.approx(eight)
    assert gains[1] == pytest.approx(eight ** (1 / 3))
    assert SIDE_BY_SIDE == 8


def test_what_was_not_measured_side_by_side_gains_nothing():
    assert SMALL.gain("eager", 8) == 1.0


def test_the_rate_of_the_student_with_the_most_similar_operations_is_taken():
    assert rate_for(SMALL.student_flops / 2) is SMALL
    assert rate_for(LARGE.student_flops * 2) is LARGE
