"""What steps cost in the runs themselves, on made-up times."""

import pytest
from scipy import stats

from kdarena.board.caption import caption, failed_rows
from kdarena.board.leaderboard import leaderboard_frame
from kdarena.board.rows import name_of
from kdarena.plan.spec import FILLED_S, FILLING, Budget, PhaseCost, PhaseRecord

STUDENT_S = (0.0100, 0.0105, 0.0098)


def student(synthetic, **changes):
    return [synthetic.run("student", seed, 88.0, steps=6000, spent_s=6000 * seconds, **changes) for seed, seconds in enumerate(STUDENT_S)]


def taught(synthetic, *relative, price=2.0, error=0.005, method="kd", **changes):
    """A method whose steps cost so many student steps on each seed."""
    costs = (PhaseCost("train", None, 1.0, 0.01 * price, price, error, 1000),)
    return [synthetic.run(method, seed, 90.0, steps=3000, spent_s=3000 * STUDENT_S[seed] * cost, costs=costs, **changes) for seed, cost in enumerate(relative)]


def rows(runs):
    return {name_of(row): row for row in leaderboard_frame(runs, {}).to_dict("records")}


def test_a_step_costs_what_the_runs_spent_over_the_students_of_the_same_seeds(synthetic):
    row = rows([*student(synthetic), *taught(synthetic, 1.9, 2.0, 2.1)])["kd"]
    assert (row["cost_spent"], row["cost_spent_error"]) == pytest.approx((2.0, stats.sem([1.9, 2.0, 2.1])))
    assert (row["step_cost"], row["status"], row["status_note"]) == (2.0, "done", None)


def test_the_students_own_row_is_the_unit(synthetic):
    row = rows(student(synthetic))["student"]
    assert (row["cost_spent"], row["cost_spent_error"]) == (1.0, 0.0)


def test_of_one_seed_the_error_is_not_known(synthetic):
    row = rows([*student(synthetic)[:1], *taught(synthetic, 2.0)])["kd"]
    assert (row["cost_spent"], row["cost_spent_error"]) == (pytest.approx(2.0), None)


def test_without_the_student_nothing_is_known_of_the_cost(synthetic):
    assert rows(taught(synthetic, 2.0, 2.0))["kd"]["cost_spent"] is None


def test_the_student_is_read_in_its_default_setting_where_it_has_that(synthetic):
    tuned = [synthetic.run("student", seed, 99.0, setting="tuned", recipe={"lr": 0.2}, spent_s=1e6) for seed in range(2)]
    assert rows([*student(synthetic)[:2], *tuned, *taught(synthetic, 2.0, 2.0)])["kd"]["cost_spent"] == pytest.approx(2.0)


def test_of_runs_that_shared_a_gpu_no_time_is_compared_and_of_runs_that_shared_a_core_it_is(synthetic):
    together = {"system": {"latency_ms": 0.5, "together": 3.0}}
    on_gpu = rows([*student(synthetic, device="cuda"), *taught(synthetic, 1.0, 1.0, 1.0, device="cuda", **together)])["kd"]
    assert (on_gpu["cost_spent"], on_gpu["status"], on_gpu["budget_spent"]) == (None, "done", pytest.approx(1.0))
    on_cpu = rows([*student(synthetic), *taught(synthetic, 2.0, 2.0, 2.0, **together)])["kd"]
    assert on_cpu["cost_spent"] == pytest.approx(2.0)


def test_where_the_budget_is_no_time_no_time_is_compared(synthetic):
    flop = {"budget": Budget(60.0, "flop"), "committed": 59.0}
    row = rows([*student(synthetic, **flop), *taught(synthetic, 9.0, 9.0, 9.0, **flop)])["kd"]
    assert (row["cost_spent"], row["status"]) == (None, "done")
    assert row["budget_spent"] == pytest.approx(59 / 60)


def test_of_a_budget_in_time_the_time_counts_that_was_spent(synthetic):
    found = rows([*student(synthetic), *taught(synthetic, 2.0, 2.0, 2.0)])
    assert found["kd"]["budget_spent"] == pytest.approx(6000 * sum(STUDENT_S) / 3 / 60)
    charged = [synthetic.run("kd", seed, 90.0, spent_s=46.0, budget=Budget(45.0, "s"), facts={"budget": "60.0"}) for seed in range(3)]
    assert rows(charged)["kd teachers charged"]["budget_spent"] == pytest.approx(61 / 60)


@pytest.mark.parametrize(
    ("relative", "note"),
    [
        ((2.24, 2.24, 2.24), "a step cost 2.24 student steps, 12 % above its price of 2.00: it had more time than the budget"),
        ((1.8, 1.8, 1.8), "a step cost 1.80 student steps, 10 % below its price of 2.00: it had less time than the budget"),
        ((2.1, 2.1, 2.1), None),  # 5 % and its price's error
        ((1.9, 2.3, 2.4), None),  # 10 %, with an error of 8 %
    ],
)
def test_a_row_that_is_off_by_more_than_five_percent_beyond_its_error_says_so(synthetic, relative, note):
    row = rows([*student(synthetic), *taught(synthetic, *relative)])["kd"]
    assert (row["status_note"], row["status"], row["rank"]) == (note, "done", 1)


def test_a_row_that_costs_a_sixth_more_than_its_price_has_no_rank_and_comes_after_the_others(synthetic):
    runs = [*student(synthetic), *taught(synthetic, 2.35, 2.37, 2.36), *taught(synthetic, 2.0, 2.0, 2.0, method="half")]
    frame = leaderboard_frame([*runs, synthetic.failed("crd", 0, "skipped", "no maps")], {})
    assert [(row["method"], row["rank"], row["status"]) for row in frame.to_dict("records")] == [
        ("half", 1, "done"),
        ("student", 2, "done"),
        ("kd", None, "underpriced"),
        ("crd", None, "skipped"),
    ]
    assert failed_rows(frame) == ["digits kd: underpriced: a step cost 2.36 student steps, 18 % above its price of 2.00: it had more time than the budget"]


def test_a_row_that_costs_less_than_its_price_keeps_its_rank(synthetic):
    assert rows([*student(synthetic), *taught(synthetic, 1.0, 1.0, 1.0)])["kd"]["status"] == "done"


def test_steps_that_cost_more_on_some_seeds_are_not_hidden_in_the_error(synthetic):
    # the standard error alone is 67 % of the price
    assert rows([*student(synthetic), *taught(synthetic, 2.0, 2.0, 6.0)])["kd"]["status"] == "underpriced"


def test_an_error_of_the_price_counts_for_the_row(synthetic):
    assert rows([*student(synthetic), *taught(synthetic, 2.35, 2.35, 2.35, error=0.04)])["kd"]["status"] == "done"


def test_a_price_is_weighted_by_the_steps_of_its_phases(synthetic):
    costs = (PhaseCost("fit", 1000, 0.0, 0.005, 0.5, 0.005, 1), PhaseCost("train", None, 1.0, 0.02, 2.0, 0.005, 1))
    phases = (PhaseRecord("fit", 1000, 1000), PhaseRecord("train", 2000, 2000))
    runs = [synthetic.run("kd", seed, 90.0, costs=costs, phases=phases, steps=3000, spent_s=3000 * STUDENT_S[seed] * 1.5) for seed in range(3)]
    row = rows([*student(synthetic), *runs])["kd"]
    assert (row["step_cost"], row["cost_spent"], row["status_note"]) == (pytest.approx(1.5), pytest.approx(1.5), None)


def stored(synthetic, *filled_s):
    """A method whose teachers' outputs were filled in by its first run, in 10 of the 60 seconds."""
    costs = (PhaseCost(FILLING, 1000, 1.0, 0.01, 1.0, 0.005, 1), PhaseCost("train", None, 1.0, 0.01, 1.0, 0.005, 1))
    phases = (PhaseRecord(FILLING, 1000, 1000), PhaseRecord("train", 5000, 5000))
    return [
        synthetic.run(
            "kd",
            seed,
            90.0,
            costs=costs,
            phases=phases,
            steps=5000,
            spent_s=5000 * STUDENT_S[seed] + seconds,
            system={FILLED_S: seconds},
            stored=(("logits",),),
        )
        for seed, seconds in enumerate(filled_s)
    ]


def test_what_one_run_filled_in_for_all_is_no_part_of_what_its_steps_cost(synthetic):
    row = rows([*student(synthetic), *stored(synthetic, 10.0, 0.0, 0.0)])["kd"]
    assert (row["step_cost"], row["cost_spent"], row["status_note"]) == (1.0, pytest.approx(1.0), None)


def test_each_run_is_charged_for_the_filling_whichever_did_it(synthetic):
    row = rows([*student(synthetic), *stored(synthetic, 10.0, 0.0, 0.0)])["kd"]
    assert row["budget_spent"] == pytest.approx((5000 * sum(STUDENT_S) / 3 + 10) / 60)
    assert row["spent_s"] == pytest.approx((5000 * sum(STUDENT_S) + 10) / 3)


def test_a_board_says_which_rows_looked_up_outputs_of_their_teachers(synthetic):
    frame = leaderboard_frame([*student(synthetic), *stored(synthetic, 10.0, 0.0, 0.0), *taught(synthetic, 2.0, 2.0, 2.0, method="crd")], {})
    assert dict(zip(frame["method"], frame["teacher_outputs"], strict=True)) == {"student": None, "kd": "stored", "crd": "live"}
    assert [line for line in caption(frame) if line.startswith("Teachers' outputs were computed once for each view") and line.endswith("by kd.")]


def test_runs_with_fixed_views_are_on_a_board_of_their_own(synthetic):
    frame = leaderboard_frame([*student(synthetic), *student(synthetic, views=4)], {})
    assert [(row["method"], row["views"], row["rank"]) for row in frame.to_dict("records")] == [("student", None, 1), ("student", 4, 1)]
    assert any("4 fixed views of each training sample" in line for line in caption(frame[frame["views"] == 4]))
