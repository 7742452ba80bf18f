"""A row whose hooks took time that nobody charged has no rank, and says where it went."""

import pytest

from kdarena.api.boards import boards_of
from kdarena.api.records import recorded
from kdarena.board.leaderboard import leaderboard_frame
from kdarena.board.payment import FLOOR_S
from kdarena.board.rows import name_of
from kdarena.method.declaration import REFERENCE
from kdarena.plan.spec import Budget
from kdarena.record.declarations import Declaration


def rows(runs, methods=None):
    return {name_of(row): row for row in leaderboard_frame(runs, methods or {}).to_dict("records")}


def test_more_than_a_tenth_of_the_budget_outside_charged_steps_is_unpaid_and_the_note_names_the_hook(synthetic):
    expensive = [synthetic.run("kd", seed, outside={"build_student": 8.0 + seed, "prepare": 0.5}) for seed in (0, 1)]
    row = rows([*synthetic.runs("student", [88.0, 89.0]), *expensive])["kd"]
    assert (row["status"], row["rank"], row["outside_s"]) == ("unpaid", None, 9.0)
    assert row["status_note"] == "build_student took 8.5 s outside the charged steps, 14% of the budget; do the work in a phase's process"


@pytest.mark.parametrize("status", ["underspent", "diverged"])
def test_a_seed_that_is_not_done_makes_a_row_no_better(synthetic, status):
    seeds = [synthetic.run("kd", seed, outside={"build_student": 200.0}, status="done" if seed else status) for seed in range(3)]
    row = rows([*synthetic.runs("student", [88.0, 89.0, 90.0]), *seeds])["kd"]
    assert (row["status"], row["rank"]) == ("unpaid", None)


def test_where_no_hook_alone_takes_so_much_their_sum_is_said(synthetic):
    row = rows([synthetic.run("kd", outside={"build_student": 5.0, "prepare": 4.0})])["kd"]
    assert row["status_note"] == "hooks took 9 s outside the charged steps, 15% of the budget, build_student most of it; do the work in a phase's process"


def test_what_is_just_below_is_paid(synthetic):
    row = rows([synthetic.run("kd", seed, outside={"build_student": 5.9}) for seed in range(3)])["kd"]
    assert (row["status"], row["rank"], row["status_note"]) == ("done", 1, None)


def test_the_mean_over_seeds_counts_so_that_a_teacher_that_was_trained_in_the_first_one_is_seen(synthetic):
    outside = [{"build_teacher": 30.0}, {}, {}]
    row = rows([synthetic.run("kd", seed, outside=of_seed) for seed, of_seed in enumerate(outside)])["kd"]
    assert (row["status"], row["outside_s"]) == ("unpaid", 10.0)


def test_a_budget_that_is_no_time_is_read_as_what_the_charged_steps_took(synthetic):
    def status(seconds):
        return rows([synthetic.run("kd", budget=Budget(1e9, "flop"), spent_s=20.0, outside={"schedule": seconds})])["kd"]["status"]

    assert (status(1.9), status(2.1)) == ("done", "unpaid")


def test_of_tiny_budgets_nothing_is_said_below_a_floor(synthetic):
    def status(seconds):
        return rows([synthetic.run("kd", budget=Budget(1e9, "flop"), spent_s=0.01, outside={"__init__": seconds})])["kd"]["status"]

    assert (status(0.9 * FLOOR_S), status(1.1 * FLOOR_S)) == ("done", "unpaid")


def test_unpaid_rows_come_after_all_that_have_a_rank_and_before_what_was_skipped(synthetic):
    runs = [
        *synthetic.runs("student", [88.0, 89.0, 90.0]),
        *synthetic.runs("kd", [99.0] * 3, outside={"updates": 60.0}),
        *synthetic.runs("crd", [80.0, 81.0]),
        synthetic.failed("crd", 2),
        synthetic.failed("quest", 0, "skipped", "no maps"),
    ]
    found = rows(runs)
    assert [(name, row["rank"]) for name, row in found.items()] == [("student", 1), ("crd", 2), ("kd", None), ("quest", None)]


@pytest.mark.parametrize(
    ("teachers", "taken", "expected"),
    [
        (0, ("own teacher",), "own teacher"),
        (1, ("own teacher",), "one teacher and its own"),
        (1, ("pool teacher",), "one teacher"),
        (1, ("pool teacher", "teacher's weights"), "one teacher, its weights"),
        (0, ("auxiliary data",), "none, extra data"),
        (1, ("auxiliary data", "pool teacher"), "one teacher, extra data"),
    ],
)
def test_supervision_is_what_was_taken(synthetic, teachers, taken, expected):
    run = synthetic.run("kd", teachers=((REFERENCE, "0123456789abcdef"),) * teachers, taken=taken)
    declared = {"kd": Declaration("paper", auxiliary=True, inherits=True)}
    assert rows([run], declared)["kd"]["supervision"] == expected


def test_an_unpaid_row_is_a_failure_of_the_command(record, synthetic, tmp_path):
    spec = synthetic.spec("kd", 0)
    record.log(spec, synthetic.result(spec, outside={"prepare": 30.0}), setting="default", facts={})
    (line,) = boards_of(recorded(record, tmp_path / "out", [])).failures
    assert line == "digits kd: unpaid: prepare took 30 s outside the charged steps, 50% of the budget; do the work in a phase's process"
