"""``kdarena sweep``: mistakes in one line, a table, files, and a board that it leaves alone."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from kdarena.board.selection import Asked, asked_for
from kdarena.board.sweep import Sweep, runs_by_value
from kdarena.cli import sweep_command
from kdarena.plan.request import Request
from kdarena.plan.spec import Budget
from kdarena.tracks import find_card

TINY = ["--budget", "5e9flop", "--seeds", "1", "--teacher-budget", "8epochs", "--device", "cpu", "--workers", "1"]
TAU = Sweep("kd", "temperature", (2.0, 8.0), 4.0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["kd.temperature"], "expected METHOD.NAME=a,b,c"),
        (["kd.heat=1,2"], "kd has no parameter 'heat'"),
        (["nope.x=1"], "unknown plugin 'nope'"),
        (["kd.temperature=1,warm"], "'warm' is not"),
        (["kd.temperature=1", "--tasks", "digits,tones"], "sweep takes one task"),
        (["kd.temperature=1", "--tasks", "mnist9000"], "mnist9000"),
        (["kd.temperature=1", "--metrics", "charm"], "--metrics 'charm': task digits knows gap, uncertainty, robustness"),
        (["kd.temperature=1", "--budget", "10 parsecs"], "--budget '10 parsecs'"),
        (["kd.temperature=1", "--param", "kd.heat=1"], "kd has no parameter 'heat'"),
        (["student.lr=1"], "student has no parameter 'lr'"),
    ],
)
def test_a_users_mistake_is_one_line_and_status_2_and_makes_nothing(kdarena, arguments, says, tmp_path):
    done = kdarena("sweep", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout, len(done.stderr.strip().splitlines())) == (2, "", 1)
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_what_would_be_swept_and_makes_nothing(kdarena, tmp_path):
    done = kdarena("sweep", "kd.temperature=2,8", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0
    assert "kd.temperature over 2.0, 8.0, 100se a run" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def show(tmp_path, capsys):
    """Shows the sweep that is made of a command's runs, among others of the record; gives its rows by value."""

    def call(runs, others=()):
        asked = {run.key: Asked(run.setting, run.facts) for run in runs}
        sweep_command.show(Request(out=tmp_path), TAU, find_card("digits"), asked_for([*others, *runs, *others], asked))
        frame = pd.read_csv(tmp_path / "sweeps" / "digits_kd.temperature.csv")
        return {row["value"]: row for row in frame.to_dict("records")}, capsys.readouterr()

    return call


def swept(synthetic, tau, value, **changes):
    return synthetic.run("kd", 0, value, purpose="control", setting="sweep", **{"params": {"temperature": tau}, **changes})


def test_the_table_has_a_row_for_each_value_and_names_the_files(show, synthetic):
    rows, (printed, said) = show([synthetic.run("student", 0, 88.0), swept(synthetic, 2.0, 90.0), swept(synthetic, 8.0, 87.0)])
    assert {value: row["mean"] for value, row in rows.items()} == {2.0: 90.0, 8.0: 87.0}
    assert "+2.00" in printed
    assert "-1.00" in printed
    assert [Path(line.split()[1]).exists() for line in said.splitlines() if line.startswith("written: ")] == [True, True]


def test_a_value_that_could_not_be_run_is_missing_in_the_table(show, synthetic):
    rows, (printed, _) = show([synthetic.run("student", 0, 88.0), swept(synthetic, 2.0, 90.0)])
    assert rows[8.0]["status"] == "missing"
    assert "None" not in printed


def test_runs_that_the_command_did_not_ask_for_are_no_part_of_the_sweep(show, synthetic):
    others = [
        swept(synthetic, 2.0, 10.0, params={"temperature": 2.0, "a": 0.5}),
        swept(synthetic, 2.0, 11.0, recipe={"lr": 0.5}),
        swept(synthetic, 2.0, 12.0, source="older"),
        swept(synthetic, 2.0, 13.0, code="older"),
        swept(synthetic, 2.0, 14.0, budget=Budget(30.0, "s")),
        synthetic.run("student", 0, 95.0, recipe={"lr": 0.5}),
    ]
    rows, _ = show([synthetic.run("student", 0, 88.0), swept(synthetic, 2.0, 90.0), swept(synthetic, 8.0, 87.0)], others)
    assert (rows[2.0]["mean"], rows[2.0]["delta_student"]) == (90.0, 2.0)


def test_the_default_value_is_a_value_as_any_other_though_its_run_names_no_parameter(synthetic):
    sweep = replace(TAU, values=(4.0, 8.0))
    by_value = runs_by_value(sweep, [swept(synthetic, 4.0, 91.0, params={}), swept(synthetic, 8.0, 87.0)])
    assert {value: runs[0].result.metrics["test/top1"] for value, runs in by_value.items()} == {4.0: 91.0, 8.0: 87.0}


def test_a_sweep_trains_writes_a_table_and_a_curve_and_leaves_the_board_to_the_controls(kdarena, tmp_path):
    done = kdarena("sweep", "kd.temperature=2,8", *TINY, "--metrics", "gap", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(tmp_path / "kdarena-out" / "sweeps" / "digits_kd.temperature.csv").to_dict("records")
    assert [(row["value"], row["status"], row["seeds"]) for row in rows] == [(2.0, "done", 1), (8.0, "done", 1)]
    assert "generalisation" in done.stdout
    assert (tmp_path / "kdarena-out" / "sweeps" / "digits_kd.temperature.svg").read_text().startswith("<?xml")
    board = json.loads(kdarena("leaderboard", "--format", "json", cwd=tmp_path).stdout)
    # the reference teacher's row is no method's
    assert {row["method"] for row in board if row["status"] != "reference"} == {"student"}
