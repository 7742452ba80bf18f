"""Accuracy against device time on made-up runs: points, the time to a target, where methods cross, and what is said of that."""

import json
import math

import pytest
from scipy import stats

from kdarena.board.caption import caption
from kdarena.board.leaderboard import leaderboard_frame
from kdarena.board.time_curves import Point, TimeCurve, crossed, crossings
from kdarena.plan.spec import Budget
from kdarena.plan.specs import TRIAL_SEED

FULL = 60.0


def rung(synthetic, method, factor, values, **changes):
    """Runs of the seeds from 0 with a multiple of the budget."""
    facts = {"budget": repr(FULL)}
    changes = {"unit": "s", **changes}
    budget = Budget(0.99 * factor * FULL, changes.pop("unit"))  # of whole steps
    return synthetic.runs(method, values, purpose="control", setting=f"ladder:{factor:g}", budget=budget, facts=facts, **changes)


def shifted(value, spread=0.5):
    return [value - spread, value, value + spread]


@pytest.fixture
def runs(synthetic):
    """The student, and ``kd`` that starts lower and ends higher; neither is above 95."""
    made = []
    for method, values in (("student", {0.25: 80.0, 0.5: 85.0, 1: 88.0, 2: 89.0}), ("kd", {0.25: 60.0, 0.5: 80.0, 1: 92.0, 2: 94.0})):
        for factor, value in values.items():
            made += synthetic.runs(method, shifted(value)) if factor == 1 else rung(synthetic, method, factor, shifted(value))
    return made


def board(runs):
    return {row["method"]: row for row in leaderboard_frame(runs, {}).to_dict("records")}


def points(row, column="time_curve_json"):
    return json.loads(row[column])


def test_a_point_is_the_mean_of_the_runs_of_a_budget_with_its_t_interval_over_seeds(runs):
    found = points(board(runs)["kd"])
    assert [point[0] for point in found] == [15.0, 30.0, 60.0, 120.0]
    low, high = stats.t.interval(0.95, 2, loc=80.0, scale=stats.sem(shifted(80.0)))
    assert found[1] == pytest.approx([30.0, 80.0, low, high, 3])


def test_a_row_without_a_ladder_has_the_point_of_its_final_runs(synthetic):
    row = board(synthetic.runs("kd", [90.0]))["kd"]
    assert points(row) == [[60.0, 90.0, None, None, 1]]
    assert (row["seconds_to_student"], row["crossings"]) == (None, None)


def test_runs_of_another_setting_code_or_price_are_no_points(synthetic, runs):
    cost = runs[0].spec.costs[0]
    other = [
        *rung(synthetic, "kd", 4, [99.0], params={"a": 1.0}),
        *rung(synthetic, "kd", 4, [99.0], source="edited"),
        *rung(synthetic, "kd", 4, [99.0], costs=(type(cost)(**{**vars(cost), "cost": 0.02}),)),
    ]
    assert points(board([*runs, *other])["kd"]) == points(board(runs)["kd"])


def test_trials_of_the_defaults_are_further_points_on_validation_and_never_on_test(synthetic, runs):
    trials = [
        synthetic.run("kd", TRIAL_SEED + number, value, purpose="tune", setting="trial", budget=Budget(7.5, "s"), facts={"budget": repr(FULL)})
        for number, value in enumerate((40.0, 50.0))
    ]
    other = synthetic.run("kd", TRIAL_SEED, 99.0, purpose="tune", setting="trial", budget=Budget(7.5, "s"), params={"a": 2.0}, facts={"budget": repr(FULL)})
    row = board([*runs, *trials, other])["kd"]
    assert points(row, "validation_curve_json")[0][:2] == [7.5, 45.0]
    assert points(row)[0][0] == 15.0


def test_trials_of_a_setting_that_they_chose_are_no_points(synthetic):
    tuned = synthetic.runs("kd", [90.0, 91.0], setting="tuned", params={"a": 2.0})
    trial = synthetic.run("kd", TRIAL_SEED, 99.0, purpose="tune", setting="trial", budget=Budget(7.5, "s"), params={"a": 2.0}, facts={"budget": repr(FULL)})
    assert [point[0] for point in points(board([*tuned, trial])["kd"], "validation_curve_json")] == [60.0]


# time to a target
def test_the_time_to_the_students_value_is_read_between_two_budgets(runs):
    rows = board(runs)
    assert 30.0 < rows["kd"]["seconds_to_student"] < 60.0
    assert rows["student"]["seconds_to_student"] == pytest.approx(60.0)


def test_a_straight_line_in_the_logarithm_of_the_budget_is_read_exactly():
    curve = TimeCurve(tuple(Point(2.0**k, {0: 10.0 * k}, 3 * 2.0**k) for k in range(4)))
    assert curve.reached(15.0, "s") == pytest.approx(2.0**1.5)
    assert curve.reached(15.0, "flop") == pytest.approx(3 * 2.0**1.5)
    assert crossed([1, 2, 4], [-1.0, 1.0, 3.0], 0, 1) == pytest.approx(math.sqrt(2))


def test_a_target_that_is_not_reached_has_no_time_and_one_below_the_shortest_run_has_that():
    curve = TimeCurve((Point(1.0, {0: 50.0}, 1.0), Point(2.0, {0: 60.0}, 2.0)))
    assert curve.reached(60.1, "s") is None
    assert curve.reached(40.0, "s") == 1.0
    assert TimeCurve(curve.points[:1]).reached(40.0, "s") is None


# crossings
def test_methods_cross_where_the_difference_is_clear_of_zero_on_both_sides(runs):
    (text,) = {row["crossings"] for row in board(runs).values()}
    assert text.startswith("kd overtakes student at about ")
    assert text.endswith("s, between 30 s and 60 s (differences paired by seed, 4 simultaneous 95 % intervals)")


def test_a_change_of_sign_within_noise_is_no_crossing():
    seeds = {0: 0.0, 1: 8.0, 2: -7.0}
    noisy = {
        "a": TimeCurve(tuple(Point(budget, dict.fromkeys(seeds, 80.0), budget) for budget in (1.0, 2.0))),
        "b": TimeCurve(tuple(Point(budget, {seed: 80.0 + sign + noise for seed, noise in seeds.items()}, budget) for budget, sign in ((1.0, -1), (2.0, 1)))),
    }
    assert crossings(noisy, "s") == "no crossing is established between 1 s and 2 s of a, b (differences paired by seed, 2 simultaneous 95 % intervals)"


def test_one_seed_establishes_no_crossing_and_one_ladder_alone_says_nothing():
    curves = {name: TimeCurve((Point(1.0, {0: low}, 1.0), Point(2.0, {0: high}, 2.0))) for name, low, high in (("a", 1.0, 2.0), ("b", 2.0, 1.0))}
    assert crossings(curves, "s").startswith("no crossing is established")
    assert crossings({"a": curves["a"], "b": TimeCurve(curves["b"].points[:1])}, "s") is None


def test_more_comparisons_need_clearer_differences():
    close = [80.0, 80.4, 79.7, 80.1, 80.2]

    def curve(differences):
        return TimeCurve(
            tuple(
                Point(budget, {seed: value + shift + 0.1 * seed * shift for seed, value in enumerate(close)}, budget) for budget, shift in differences.items()
            )
        )

    flat = TimeCurve(tuple(Point(budget, dict(enumerate(close)), budget) for budget in (1.0, 2.0)))
    assert crossings({"a": flat, "b": curve({1.0: -1.0, 2.0: 1.0})}, "s").startswith("b overtakes a")
    many = {f"m{number}": curve({1.0: -1.0 - 0.1 * number, 2.0: 1.0 + 0.1 * number}) for number in range(60)}
    assert "overtakes a " not in crossings({"a": flat, **many}, "s")


# what is said
def lines(runs):
    return [line for line in caption(leaderboard_frame(runs, {})) if line.startswith(("Along", "Device time"))]


def test_a_board_with_a_ladder_says_its_crossings_and_the_times_to_its_targets(synthetic, runs):
    teacher = synthetic.run("student", 7, 95.0, purpose="teacher", setting="teacher", reference=None, weights="0123456789abcdef", trains=None)
    crossing, student, reference = lines([*runs, teacher])
    assert crossing.startswith("Along the ladder: kd overtakes student at about ")
    assert student.startswith("Device time of a run to the plain student's final value of 88.00: kd ")
    assert reference == "Device time of a run to the teacher's value of 95.00: kd not within 120 s, student not within 120 s."


def test_a_target_that_the_shortest_runs_reached_was_reached_in_their_time_at_most(synthetic):
    made = [*synthetic.runs("student", shifted(50.0)), *rung(synthetic, "student", 0.5, shifted(40.0))]
    made += [*synthetic.runs("kd", shifted(90.0)), *rung(synthetic, "kd", 0.5, shifted(80.0))]
    assert "kd at most 30 s." in lines(made)[1]


def test_a_board_on_which_the_student_alone_has_a_ladder_says_nothing_of_it(synthetic):
    alone = [*synthetic.runs("student", shifted(88.0)), *rung(synthetic, "student", 0.5, shifted(80.0)), *synthetic.runs("kd", shifted(90.0))]
    assert lines(alone) == []
