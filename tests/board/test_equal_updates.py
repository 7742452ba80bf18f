"""Methods against the student at the same number of updates, on made-up runs."""

from dataclasses import replace

import pytest
from scipy import stats

from kdarena.board.cells import name_of
from kdarena.board.equal_updates import interpolated
from kdarena.board.leaderboard import leaderboard_frame
from kdarena.plan.allocation import LADDER
from kdarena.plan.spec import Budget

FULL = 496
"""Steps of the student with the whole budget."""
LEARNING = {31: 35.0, 62: 50.0, 124: 74.0, 248: 86.0, FULL: 89.0}
"""The student's metric by its steps, as it learns."""


def student(synthetic, seeds=3, learning=LEARNING, **changes):
    """The student's full runs and its ladder; of each seed one point less than of the one before."""
    full = [synthetic.run("student", seed, learning[FULL] - seed, steps=FULL, **changes) for seed in range(seeds)]
    rungs = {steps: value for steps, value in learning.items() if steps != FULL}
    setting = changes.pop("setting", "default")
    ladder = [
        synthetic.run(
            "student",
            seed,
            value - seed,
            steps=steps,
            purpose="control",
            setting=f"ladder:{steps / FULL:g}",
            budget=Budget(60.0 * steps / FULL, "s"),
            **changes,
        )
        for steps, value in rungs.items()
        for seed in range(seeds)
    ]
    assert setting in ("default", "tuned")
    return [*full, *ladder]


def board(runs):
    return {name_of(row): row for row in leaderboard_frame(runs, {}).to_dict("records")}


def difference(runs, name="kd"):
    row = board(runs)[name]
    return tuple(row[column] for column in ("delta_equal_updates", "delta_equal_updates_low", "delta_equal_updates_high"))


def test_the_made_up_student_has_the_rungs_of_the_ladder():
    assert [steps / FULL for steps in LEARNING] == [*LADDER, 1.0]


def test_a_generation_is_read_against_the_student_at_its_own_updates_and_not_at_those_of_all_generations(synthetic):
    ban = [synthetic.run("ban", seed, 76.6 - seed, steps=372, student_updates=124) for seed in range(3)]
    assert difference([*student(synthetic), *ban], "ban")[0] == pytest.approx(2.6)
    older = [replace(run, result=replace(run.result, student_updates=0)) for run in ban]
    assert difference([*student(synthetic), *older], "ban")[0] < -10


def test_the_interval_is_that_of_the_paired_t_test(synthetic):
    values = [80.0, 78.0, 81.0]
    kd = [synthetic.run("kd", seed, value, steps=200, student_updates=124) for seed, value in enumerate(values)]
    expected = stats.ttest_rel(values, [74.0, 73.0, 72.0])
    assert difference([*student(synthetic), *kd]) == pytest.approx((20 / 3, *expected.confidence_interval()))


def test_each_seed_is_read_at_its_own_updates(synthetic):
    kd = [synthetic.run("kd", seed, 80.0, student_updates=updates) for seed, updates in enumerate((31, 62, 124))]
    assert difference([*student(synthetic), *kd])[0] == pytest.approx(((80 - 35) + (80 - 49) + (80 - 72)) / 3)


def test_of_one_seed_there_is_a_difference_without_an_interval(synthetic):
    kd = [synthetic.run("kd", 0, 80.0, student_updates=124)]
    assert difference([*student(synthetic, seeds=1), *kd]) == (pytest.approx(6.0), None, None)


def test_only_seeds_that_both_have_count(synthetic):
    kd = [synthetic.run("kd", seed, 80.0, student_updates=124) for seed in (1, 7)]
    assert difference([*student(synthetic), *kd])[0] == pytest.approx(80 - 73)
    assert difference([*student(synthetic), *kd[1:]]) == (None, None, None)


@pytest.mark.parametrize(("updates", "alone"), [(5, 35.0), (31, 35.0), (FULL, 89.0), (900, 89.0)])
def test_beyond_the_ladder_its_ends_hold(synthetic, updates, alone):
    kd = [synthetic.run("kd", 0, 90.0, student_updates=updates)]
    assert difference([*student(synthetic, seeds=1), *kd])[0] == pytest.approx(90.0 - alone)


def test_no_row_that_trained_lacks_it_also_where_the_student_has_no_ladder(synthetic):
    runs = [*student(synthetic, learning={FULL: 89.0}), *synthetic.runs("kd", [90.0, 90.0, 90.0], steps=100), *synthetic.runs("dml", [88.0] * 3, steps=800)]
    rows = board(runs)
    assert [rows[name]["delta_equal_updates"] for name in ("kd", "dml")] == pytest.approx([2.0, 0.0])


def test_the_student_has_no_difference_to_itself_and_another_setting_of_it_has(synthetic):
    other = [synthetic.run("student", seed, 70.0, steps=124, recipe={"lr": 0.5}) for seed in range(3)]
    runs = [*student(synthetic), *other]
    assert difference(runs, "student") == (None, None, None)
    assert difference(runs, "student lr=0.5")[0] == pytest.approx(70.0 - 73.0)


def test_a_skipped_method_and_one_without_a_result_have_none(synthetic):
    runs = [*student(synthetic), synthetic.failed("crd", 0, "skipped", "needs feature maps"), *(synthetic.failed("kd", seed, "oom") for seed in range(3))]
    assert difference(runs) == difference(runs, "crd") == (None, None, None)


def test_the_ladder_is_that_of_the_setting_that_is_ranked(synthetic):
    tuned = student(synthetic, learning={steps: value + 5 for steps, value in LEARNING.items()}, setting="tuned", recipe={"lr": 0.2})
    kd = [synthetic.run("kd", seed, 90.0 - seed, student_updates=124) for seed in range(3)]
    rows = board([*student(synthetic), *tuned, *kd])
    assert rows["student"]["tuned"] is True
    assert rows["kd"]["delta_equal_updates"] == pytest.approx(90.0 - 79.0)


def test_where_an_older_version_gave_a_ladder_to_the_default_setting_alone_that_is_read(synthetic):
    tuned = [synthetic.run("student", seed, 95.0, setting="tuned", steps=FULL, recipe={"lr": 0.2}) for seed in range(3)]
    kd = [synthetic.run("kd", seed, 90.0 - seed, student_updates=124) for seed in range(3)]
    rows = board([*student(synthetic), *tuned, *kd])
    assert rows["student"]["tuned"] is True
    assert rows["kd"]["delta_equal_updates"] == pytest.approx(90.0 - 74.0)


def test_a_rung_that_failed_is_left_out(synthetic):
    runs = student(synthetic, seeds=1)
    failed = [replace(run, result=synthetic.failure(run.spec)) if run.result.steps == 124 else run for run in runs]
    kd = [synthetic.run("kd", 0, 80.0, student_updates=124)]
    points = [(steps, value) for steps, value in LEARNING.items() if steps != 124]
    assert difference([*failed, *kd])[0] == pytest.approx(80.0 - interpolated(points, 124))


def test_a_rung_of_a_larger_budget_that_is_longer_than_the_full_run_is_left_out(synthetic):
    longer = synthetic.run("student", 0, 99.0, steps=2 * FULL, purpose="control", budget=Budget(120.0, "s"), facts={"budget": "240.0"})
    kd = [synthetic.run("kd", 0, 90.0, student_updates=2 * FULL)]
    assert difference([*student(synthetic, seeds=1), longer, *kd])[0] == pytest.approx(1.0)


def test_the_updates_of_the_deployed_student_are_a_column(synthetic):
    ban = [synthetic.run("ban", seed, 76.0, steps=372, student_updates=124) for seed in range(3)]
    old = synthetic.runs("kd", [90.0], steps=100)
    rows = board([*ban, *old])
    assert (rows["ban"]["steps"], rows["ban"]["student_updates"]) == (372, 124)
    assert (rows["kd"]["steps"], rows["kd"]["student_updates"]) == (100, None)


@pytest.mark.parametrize(("updates", "expected"), [(4, 0.0), (8, 1.8125), (16, 3.0), (32, 3.6875), (64, 4.0)])
def test_the_cubic_has_the_slopes_and_values_worked_out_by_hand(updates, expected):
    # secants 3 and 1 an interval: slopes 4 and 0 at the ends, their harmonic mean 1.5 in the middle
    assert interpolated([(4, 0.0), (16, 3.0), (64, 4.0)], updates) == pytest.approx(expected)


def test_between_two_rungs_the_cubic_stays_between_their_values():
    points = list(LEARNING.items())
    values = [interpolated(points, updates) for updates in range(31, FULL + 1)]
    assert values == sorted(values)
    fallen = [(31, 35.0), (62, 80.0), (124, 20.0), (248, 20.0)]
    assert all(20.0 <= interpolated(fallen, updates) <= 80.0 for updates in range(31, 249))
    assert {interpolated(fallen, updates) for updates in range(124, 249)} == {20.0}
