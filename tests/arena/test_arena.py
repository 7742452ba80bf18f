"""The whole way, on the real digits, with tiny budgets in the FLOP currency, where everything is exact."""

import csv
import functools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import astuple, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from kdarena.arena import arena
from kdarena.errors import UserError
from kdarena.plan.allocation import Allocation, leave_out
from kdarena.plan.amounts import parse_amount
from kdarena.plan.conditions import Conditions
from kdarena.plan.estimate import Pace
from kdarena.plan.machine import Machine
from kdarena.plan.request import Request
from kdarena.tracks import find_card

CONDITIONS = Conditions(find_card("tones"), Machine("cpu", ("cpu", "cpu"), 1, False), "fp32", "", "validated")

# enough for two trials of 50 steps of hinton's kd in the FLOP currency, and for a thousand of the student
BUDGET = "5e9flop"
SMALL = "4e9flop"
"""Enough where nothing is tuned."""
COMMON = [
    "--tasks",
    "digits",
    "--plugins",
    "kd,ban",
    "--budget",
    BUDGET,
    "--seeds",
    "2",
    "--teacher-budget",
    "8epochs",
    "--device",
    "cpu",
    "--precision",
    "fp32",
]
IGNORED = {
    "answer",
    "seconds_to_student",
    "seconds_to_teacher",
    "spent_s",
    "tuning_s",
    "teacher_s",
    "outside_s",
    "latency_ms",
    "run_ids",
    "step_cost_error",
    "started",
}


def kdarena(*arguments, check=True, **settings):
    done = subprocess.run([sys.executable, "-m", "kdarena", *map(str, arguments)], capture_output=True, text=True, **settings)
    assert not check or done.returncode == 0, done.stderr
    return done


def board(out):
    rows = json.loads(kdarena("leaderboard", "--format", "json", "--out", out).stdout)
    # the reference teacher's row is no method's
    return [{name: value for name, value in row.items() if name not in IGNORED} for row in rows if row["status"] != "reference"]


def recorded(out):
    return json.loads(kdarena("runs", "--json", "--out", out).stdout)


# what is only looked at is asked for once: each command takes seconds to start
shown, listed = functools.cache(board), functools.cache(recorded)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("arena") / "out"
    return out, kdarena("run", *COMMON, "--workers", 2, "--out", out)


def test_one_command_prints_a_leaderboard_of_the_methods_and_the_controls(undisturbed):
    out, done = undisturbed
    assert {row["method"] for row in shown(out)} == {"student", "kd", "ban"}
    assert "ban" in done.stdout
    assert "\x1b" not in done.stdout, "no colour where output is no terminal"


def test_every_rows_committed_cost_lies_within_three_percent_of_its_budget(undisturbed):
    for row in shown(undisturbed[0]):
        assert (row["unit"], row["budget"]) == ("flop", 5e9)
        assert row["committed"] == pytest.approx(5e9, rel=0.03)


def test_committed_cost_is_what_the_trained_steps_cost(undisturbed):
    for run in listed(undisturbed[0]):
        if run["purpose"] in ("final", "control"):
            assert run["flops"] == pytest.approx(run["committed"], rel=1e-9)


def test_tuning_gets_the_same_budget_for_every_method_the_student_included(undisturbed):
    trials = [run for run in listed(undisturbed[0]) if run["purpose"] == "tune"]
    tuned = {run["method"] for run in trials}
    assert {"student", "kd"} <= tuned
    for method in tuned:
        own = [run for run in trials if run["method"] == method]
        spent = sum(run["committed"] for run in own)
        assert spent <= 7.5e9 * 1.02
        assert spent + own[0]["budget"] > 7.5e9, "another trial could have been afforded"
    untuned = {row["method"] for row in shown(undisturbed[0]) if row["status_note"] == "not tuned: 1.5 budgets hold no two trials of 50 steps"}
    assert tuned | untuned == {"student", "kd", "ban"}


def test_a_methods_only_final_runs_are_those_of_the_setting_that_won_its_trials(undisturbed):
    for row in shown(undisturbed[0]):
        finals = [run for run in listed(undisturbed[0]) if run["method"] == row["method"] and run["purpose"] == "final"]
        assert {run["setting"] for run in finals} == {"tuned" if row["tuned"] else "default"}
        assert len(finals) == 2
        assert (row["mean_tuned"] if row["tuned"] else row["mean_default"]) == row["mean"]
        assert (row["mean_default"] if row["tuned"] else row["mean_tuned"]) is None


def test_trials_never_read_the_test_set(undisturbed):
    from kdarena.record.runs import Record

    for run in Record.open(undisturbed[0], create=False).runs():
        if run.spec.purpose == "tune":
            assert not any(name.startswith("test/") for name in run.result.metrics)


def test_the_student_also_runs_along_a_ladder_of_shorter_budgets(undisturbed):
    runs = [run for run in listed(undisturbed[0]) if run["method"] == "student"]
    (cost,) = {run["committed"] / run["steps"] for run in runs if run["purpose"] == "final"}
    rungs = [run for run in runs if run["purpose"] == "control"]
    assert {run["steps"] for run in rungs} == {round(share * 5e9 / cost) for share in (1 / 16, 1 / 8, 1 / 4, 1 / 2)}
    assert {run["status"] for run in rungs} == {"done"}


def test_every_row_that_trained_is_read_against_the_student_at_its_own_updates(undisturbed):
    rows = {row["method"]: row for row in shown(undisturbed[0])}
    assert all((row["delta_equal_updates"] is None) is (name == "student") for name, row in rows.items())
    assert rows["ban"]["student_updates"] < rows["ban"]["steps"] / 2
    assert {rows[name]["student_updates"] - rows[name]["steps"] for name in ("student", "kd")} == {0}


def test_supervision_follows_from_the_teachers_taken(undisturbed):
    assert {row["method"]: row["supervision"] for row in shown(undisturbed[0])} == {"student": "none", "kd": "one teacher", "ban": "none"}


@pytest.mark.slow
def test_a_ladder_after_the_same_command_trains_its_rungs_alone_and_a_second_call_nothing(undisturbed):
    out, _ = undisturbed
    before = recorded(out)
    done = kdarena("run", *COMMON, "--workers", 2, "--ladder", "0.5,1,2", "--out", out)
    new = recorded(out)[len(before) :]
    assert {(run["purpose"], run["setting"]) for run in new} == {("control", "ladder:0.5"), ("control", "ladder:2")}
    assert {run["method"] for run in new} == {"student", "kd", "ban"}
    assert "Along the ladder: " in done.stdout
    rows = {row["method"]: row for row in board(out)}
    assert [len(json.loads(rows[name]["time_curve_json"])) for name in ("student", "kd")] == [6, 3]
    kdarena("run", *COMMON, "--workers", 2, "--ladder", "0.5,1,2", "--out", out)
    assert len(recorded(out)) == len(before) + len(new)


def test_a_second_call_trains_nothing_also_where_the_database_is_lost_that_older_versions_kept_trials_in(undisturbed):
    out, _ = undisturbed
    before = listed(out)
    (out / "optuna.db").write_text("overwritten")
    kdarena("run", *COMMON, "--workers", 2, "--out", out)
    assert recorded(out) == before
    assert (out / "optuna.db").read_text() == "overwritten"


def test_the_board_does_not_depend_on_the_number_of_workers_nor_on_that_of_runs_side_by_side(undisturbed, tmp_path):
    kdarena("run", *COMMON, "--workers", 1, "--side-by-side", 2, "--out", tmp_path / "out")
    assert board(tmp_path / "out") == shown(undisturbed[0])


@pytest.mark.slow  # the walk of tests/torture kills commands in CI
def test_a_command_killed_in_the_middle_goes_on_to_the_same_board(undisturbed, tmp_path):
    out = tmp_path / "out"
    arguments = [sys.executable, "-m", "kdarena", "run", *COMMON, "--workers", "2", "--side-by-side", "2", "--out", str(out)]
    total = len(recorded(undisturbed[0]))
    for target in (total // 4, total // 2):
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        wait_for_runs(out, process, target)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    kdarena("run", *COMMON, "--workers", 2, "--out", out)
    assert board(out) == board(undisturbed[0])
    assert len(recorded(out)) == total


def wait_for_runs(out, process, target):
    """Until so many runs are recorded: seen from outside, so that nothing opens the record meanwhile."""
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        if sum(1 for _ in Path(out).glob("runs/*.json")) >= target:
            return
        time.sleep(0.2)


def test_an_interrupted_command_keeps_what_is_done_and_says_so(tmp_path):
    out = tmp_path / "out"
    arguments = [sys.executable, "-m", "kdarena", "run", *COMMON, "--workers", "2", "--out", str(out)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for_runs(out, process, 2)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in messages
    assert "interrupted" in messages
    assert len(recorded(out)) >= 2


def test_the_student_of_a_run_is_exported_alone(undisturbed, tmp_path):
    from safetensors.torch import load_file

    out, _ = undisturbed
    run = next(run for run in listed(out) if run["method"] == "ban" and run["purpose"] == "final")
    kdarena("export", run["run_id"], "--to", tmp_path / "student.safetensors", "--out", out)
    tensors = load_file(tmp_path / "student.safetensors")
    row = next(row for row in shown(out) if row["method"] == "ban")
    learned = sum(tensor.numel() for name, tensor in tensors.items() if "running" not in name and "num_batches" not in name)
    assert learned == row["params"]


SICK = """
from kdarena import Method, NotApplicable, Paper, hookimpl, no_teachers
class Sick:
    method = Method("sick", "falls ill in its third final", Paper("t", "v", 2026, "u"), teachers=no_teachers)
    @hookimpl
    def loss(self, step):
        loss = step.task.loss(step.student, step.targets)
        return {"task": loss * float("nan") if step.run.seed == 1 and step.progress > 0.5 else loss}
class Wrong:
    method = Method("wrong", "returns the wrong thing", Paper("t", "v", 2026, "u"), teachers=no_teachers)
    @hookimpl
    def build_student(self, run):
        return run.new_student()
class Unfit:
    method = Method("unfit", "needs other networks", Paper("t", "v", 2026, "u"), teachers=no_teachers)
    @hookimpl
    def build_student(self, run):
        raise NotApplicable("the student has 5 stages, the teacher 4")
class Crooked:
    method = Method("crooked", "raises in its declaration", Paper("t", "v", 2026, "u"), teachers=no_teachers, applies=lambda card, params: 1 / 0)
    @hookimpl
    def loss(self, step):
        return {"task": step.task.loss(step.student, step.targets)}
variants = (Sick, Wrong, Unfit, Crooked)
"""


@pytest.fixture(scope="module")
def with_sick_methods(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sick")
    (folder / "sick.py").write_text(SICK)
    arguments = [
        "--tasks",
        "digits",
        "--plugins",
        "sick,wrong,unfit,crooked",
        "--plugin-path",
        folder / "sick.py",
        "--budget",
        SMALL,
        "--tuning-budget",
        "0",
        "--seeds",
        "2",
        "--teacher-budget",
        "8epochs",
        "--precision",
        "fp32",
    ]
    arguments += ["--out", folder / "out"]
    return folder / "out", kdarena("run", *arguments, check=False), arguments


def test_a_method_that_fails_is_a_status_and_the_rest_is_recorded(with_sick_methods):
    out, done, _ = with_sick_methods
    assert done.returncode == 1
    rows = {row["method"]: row for row in shown(out)}
    assert rows["student"]["status"] == rows["kd"]["status"] == "done"
    assert "diverged" in rows["sick"]["status"]
    assert "error" in rows["wrong"]["status"]
    assert "error" in rows["crooked"]["status"]


def test_a_method_whose_hooks_find_that_it_does_not_apply_is_skipped_with_the_reason(with_sick_methods):
    out, done, _ = with_sick_methods
    row = next(row for row in shown(out) if row["method"] == "unfit")
    assert (row["status"], row["status_note"]) == ("skipped", "the student has 5 stages, the teacher 4")
    assert "unfit is skipped: the student has 5 stages" in done.stderr
    assert "unfit: error" not in done.stderr


def test_a_failure_names_plugin_hook_step_and_term(with_sick_methods):
    _, done, _ = with_sick_methods
    assert "plugin 'wrong', hook 'build_student': expected a Learner" in done.stderr
    assert "plugin 'crooked', its declaration: ZeroDivisionError" in done.stderr
    assert "train/task" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_repeated_command_names_the_failures_that_it_recalls(with_sick_methods):
    out, _, arguments = with_sick_methods
    before = [run for run in listed(out) if run["method"] == "sick"]
    again = kdarena("run", *arguments, check=False)
    assert again.returncode == 1
    assert "failed: digits sick seed 1 (final): diverged" in again.stderr
    assert [run for run in recorded(out) if run["method"] == "sick"] == before


def test_a_command_of_some_methods_has_a_board_of_them_and_leaves_the_others_rows_on_the_board_of_all(with_sick_methods):
    out, _, arguments = with_sick_methods
    before = shown(out)
    kdarena("run", *["kd" if one == "sick,wrong,unfit,crooked" else one for one in arguments])
    (published,) = (out / "leaderboards").glob("*.csv")
    assert {row["method"] for row in csv.DictReader(published.open())} == {"student", "kd", "teacher"}
    assert board(out) == before


def test_a_row_with_a_seed_that_is_not_done_stands_below_all_complete_rows(with_sick_methods):
    rows = shown(with_sick_methods[0])
    assert [row["method"] for row in rows][:2] in (["student", "kd"], ["kd", "student"])


def test_charging_the_teacher_takes_its_cost_from_the_budget(tmp_path):
    arguments = [
        "--tasks",
        "digits",
        "--plugins",
        "kd",
        "--budget",
        "1.6e10flop",
        "--teacher-budget",
        "8epochs",
        "--precision",
        "fp32",
        "--tuning-budget",
        "0",
        "--seeds",
        "1",
        "--charge-teacher",
    ]
    kdarena("run", *arguments, "--out", tmp_path / "out")
    runs = [run for run in recorded(tmp_path / "out") if run["purpose"] in ("teacher", "final")]
    teacher = next(run for run in runs if run["purpose"] == "teacher")
    student, taught = (next(run for run in runs if run["method"] == name and run["purpose"] == "final") for name in ("student", "kd"))
    assert student["committed"] == pytest.approx(1.6e10, rel=0.01)
    assert taught["committed"] + teacher["flops"] == pytest.approx(1.6e10, rel=0.03)


def test_a_teacher_of_ones_own_is_taken(undisturbed, tmp_path):
    out, _ = undisturbed
    own = next(Path(out, "teachers").glob("*.safetensors"))
    kdarena(
        "run",
        "--tasks",
        "digits",
        "--plugins",
        "kd",
        "--budget",
        SMALL,
        "--tuning-budget",
        "0",
        "--seeds",
        "1",
        "--teacher-checkpoint",
        own,
        "--precision",
        "fp32",
        "--out",
        tmp_path / "out",
    )
    runs = recorded(tmp_path / "out")
    assert not [run for run in runs if run["purpose"] == "teacher"]
    assert [run["status"] for run in runs if run["method"] == "kd"] == ["done"]


def test_a_teacher_budget_in_seconds_is_measured_on_an_embedded_task_too(tmp_path):
    arguments = [
        "--tasks",
        "digits",
        "--plugins",
        "kd",
        "--budget",
        SMALL,
        "--tuning-budget",
        "0",
        "--seeds",
        "1",
        "--teacher-budget",
        "0.5s",
        "--precision",
        "fp32",
    ]
    kdarena("run", *arguments, "--out", tmp_path / "out")
    teacher = next(run for run in recorded(tmp_path / "out") if run["purpose"] == "teacher")
    assert teacher["unit"] == "epochs"
    assert 0 < teacher["budget"] < 120


class Ready:
    """A profiled task that needs two seconds for each budget of a run that a method gets on a level."""

    def __init__(self, name, second=2.0):
        self.name, self.second, self.profiles, self.entrants, self.set_up_s = name, second, {"student": None}, (), 4.0
        self.conditions = SimpleNamespace(card=find_card(name))

    def least_seconds(self, level, workers):
        return self.second * level.budgets


@pytest.fixture
def carried_out(monkeypatch):
    """What is done for a request on two tasks, of which nothing is trained or measured; and what is said and planned."""
    done, said, kept = [], [], {}

    def measured(teachers, entered, conditions):
        for given in conditions:
            done.append(("measured", given.card.name))
            yield Ready(given.card.name)

    monkeypatch.setattr(arena, "conditions_in_faster_precision", lambda recorder, request, cards, machine: [SimpleNamespace(card=card) for card in cards])
    monkeypatch.setattr(arena, "profile_tasks", measured)
    monkeypatch.setattr(arena, "check_declared", lambda *given: None)
    monkeypatch.setattr(arena.Arena, "_foresee", lambda self, entered, conditions: dict.fromkeys(range(len(conditions))))
    monkeypatch.setattr(arena.Arena, "_key", lambda self, ready: ready.name)
    monkeypatch.setattr(
        arena.Arena,
        "_compare",
        lambda self, share, named: done.append(("compared", share.task.name, round(share.seconds), share.level and astuple(share.level))),
    )

    def run(request, planned=None):
        store = SimpleNamespace(allocation=lambda key: planned, keep_allocation=kept.__setitem__)
        recorder = SimpleNamespace(capacity=2, failures={}, trained=0, store=store, display=SimpleNamespace(say=said.append))
        arena.Arena(request, recorder, None).run([], [find_card("digits"), find_card("tones")], named=False)
        return done

    run.said, run.kept = said, kept
    return run


@pytest.mark.parametrize(
    ("total", "shares", "level"),
    [
        (None, (304, 608), (5, True)),  # the default of ten minutes, and the time of the teachers
        (63.0, (30, 60), (5, True)),  # teachers included, and with time for the board
        (28.0, (12, 25), (4, True)),
        (17.0, (7, 14), (3, False)),
    ],
)
def test_all_tasks_are_measured_first_where_their_total_time_is_to_be_shared_out(carried_out, total, shares, level):
    first, second = shares
    assert carried_out(Request(total=total)) == [
        ("measured", "digits"),
        ("measured", "tones"),
        ("compared", "digits", first, level),
        ("compared", "tones", second, level),
    ]


def test_with_a_stated_budget_each_task_is_measured_when_its_turn_comes(carried_out):
    done = carried_out(Request(total=60.0, budget=parse_amount("1s")))
    assert done == [("measured", "digits"), ("compared", "digits", 0, None), ("measured", "tones"), ("compared", "tones", 0, None)]


def test_runs_of_a_stated_budget_that_are_long_on_cuda_are_compiled(carried_out, monkeypatch):
    """240 student-epochs of ten steps at a second each are over ten minutes, and of a tenth of it are not."""
    seen = []
    given = Conditions(find_card("digits"), Machine("cuda", ("cuda:0",), 0, True), "bf16", "data", "validated")
    monkeypatch.setattr(arena, "conditions_in_faster_precision", lambda recorder, request, cards, machine: [replace(given, card=card) for card in cards])
    monkeypatch.setattr(arena.Arena, "_foresee", lambda self, entered, conditions: {0: Pace(10, 1.0), 1: Pace(10, 0.1)})
    monkeypatch.setattr(
        arena, "profile_tasks", lambda teachers, entered, conditions: [seen.append(given.compiled) or Ready(given.card.name) for given in conditions]
    )
    carried_out(Request(budget=parse_amount("240se")))
    assert seen == [True, False]


def test_where_the_time_holds_three_seeds_of_some_tasks_the_others_are_left_out_with_a_line_that_says_how_they_are_run(carried_out):
    assert carried_out(Request(total=13.0))[-1] == ("compared", "digits", 10, (3, True))
    (line,) = carried_out.said
    assert line.startswith("tones is left out: the time is too short for 3 seeds of its 1 methods")
    assert "--tasks tones --total " in line
    assert carried_out.kept["tones"].left_out


def test_a_stated_total_that_cant_hold_three_seeds_of_any_measured_task_is_refused_with_what_is_needed(carried_out):
    with pytest.raises(UserError, match="--total 5s is too short for 0 methods on 2 tasks: about 20s are needed"):
        carried_out(Request(total=5.0))
    assert carried_out(Request(total=5.0), planned=Allocation(1.0, "s", 3, 0.0, "1s"))[-1][:2] == ("compared", "tones")


def test_the_default_time_holds_at_least_one_task_however_slow_the_machine_is(carried_out, monkeypatch):
    monkeypatch.setattr(Ready, "least_seconds", lambda self, level, workers: 1e4 * level.budgets)
    assert carried_out(Request())[-1][1:] == ("digits", 608, (3, False))


def test_nothing_is_measured_in_addition_where_neither_a_total_nor_a_budget_is_stated():
    store = SimpleNamespace(allocation=lambda key: None)
    recorder = SimpleNamespace(capacity=2, store=store)  # not asked for profiles
    assert arena.Arena(Request(), recorder, None)._foresee([[], []], [CONDITIONS, CONDITIONS]) == {0: None, 1: None}


def test_a_task_that_the_same_command_left_out_is_left_out_again_and_said_to_be():
    said = []
    store = SimpleNamespace(allocation=lambda key: leave_out("tones is left out"))
    recorder = SimpleNamespace(capacity=2, store=store, display=SimpleNamespace(say=said.append))
    assert arena.Arena(Request(total=60.0), recorder, None)._foresee([[]], [CONDITIONS]) == {}
    assert said == ["tones is left out"]
