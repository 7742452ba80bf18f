"""``kdarena recommend`` on the real digits, with tiny budgets in units in which everything is exact."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file

from kdarena.api.recommend import COLUMNS, recommend
from kdarena.files import digest_of
from kdarena.plan.amounts import parse_amount
from kdarena.record.runs import Record

RECOMMEND = ("recommend", "--tasks", "digits", "--teacher-budget", "8epochs", "--device", "cpu", "--workers", 2)
SMALL = (*RECOMMEND, "--plugins", "kd", "--budget", "8epochs", "--settings", 1, "--seeds", 3)
WRONG = [
    (["--budget", "5e9flop", "--total", "6m"], "--budget 5e+09flop and --total exclude each other"),
    (["--tasks", "digits,scenes"], "--tasks names several data sets (digits, scenes)"),
    (["--tasks", "nowhere"], "unknown task 'nowhere'"),
    (["--seeds", "2"], "--seeds 2: a recommendation needs at least 3 seeds"),
    (["--prefer", "beauty"], "--prefer 'beauty': use accuracy, latency or params"),
    (["--plugins", "nothing"], "unknown plugin 'nothing'"),
    (["--to", "student.pt"], "--to student.pt: name a folder, or a file whose name ends with .safetensors"),
    (["--to", "no/where/s.safetensors"], "mkdir -p no/where"),
    (["--total", "2s"], "--total 2s is too short"),
]


def in_its_own_process(*arguments):
    return subprocess.run([sys.executable, "-m", "kdarena", *map(str, arguments)], capture_output=True, text=True)


def keys(out):
    return {(run.key, run.setting, run.result.status, run.result.weights) for run in Record.open(out, create=False).runs()}


@pytest.mark.parametrize(("options", "line"), WRONG, ids=[" ".join(options) for options, _ in WRONG])
def test_what_cannot_be_carried_out_is_refused_in_one_line(kdarena, tmp_path, options, line):
    done = kdarena("recommend", *options, "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 2
    assert line in done.stderr
    assert len([said for said in done.stderr.splitlines() if said.startswith("kdarena:")]) == 1


def test_a_dry_run_prints_the_plan_and_trains_nothing(kdarena, tmp_path):
    done = kdarena("recommend", "--plugins", "dml", "--total", "6m", "--dry-run", "--out", tmp_path / "out")
    assert done.returncode == 0
    assert "methods: student, kd, dml" in done.stdout
    assert "rung 1: at most 12 settings, runs of 1/8 of the budget, 2 trial seeds" in done.stdout
    assert "fitted to 6m in total" in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("recommend") / "out"
    return out, in_its_own_process(*SMALL, "--out", out)


def test_it_ends_with_one_student_that_is_exported_with_its_card(done):
    out, ended = done
    assert ended.returncode == 0, ended.stderr
    (taken,) = [line for line in ended.stdout.splitlines() if line.startswith("digits: take ")]
    card = json.loads((out / "recommended" / "digits.json").read_text())
    assert f"take {card['method']}:" in taken
    assert card["seeds"] == 3
    assert digest_of(out / "recommended" / "digits.safetensors") == card["weights"]
    assert card["parameters"] == sum(
        tensor.numel() for name, tensor in load_file(out / "recommended" / "digits.safetensors").items() if "running" not in name and "num_batches" not in name
    )


def test_the_exported_student_is_the_runs_of_its_card(done):
    out, _ = done
    card = json.loads((out / "recommended" / "digits.json").read_text())
    run = Record.open(out, create=False).find(card["run_id"])
    assert (run.spec.method, run.spec.purpose, run.result.metrics["test/top1"]) == (card["method"], "final", card["own"])


def test_its_runs_are_ordinary_runs_with_the_names_of_their_rungs(done):
    settings = {setting for _, setting, *_ in keys(done[0])}
    assert {"rung:0.125", "rung:0.25", "rung:0.5", "teacher"} <= settings <= {"rung:0.125", "rung:0.25", "rung:0.5", "teacher", "default", "tuned"}


def test_repeated_it_trains_nothing_and_recommends_the_same_and_with_one_task_there_is_no_network_to_choose(kdarena, done):
    out, first = done
    before = keys(out)
    again = kdarena(*SMALL, "--prefer", "latency", "--out", out)
    *same, last = again.stdout.splitlines()
    assert same == first.stdout.splitlines()
    assert last.startswith("--prefer latency has nothing to trade: every method of digits deploys the same network, digits-student")
    assert keys(out) == before


def test_in_python_it_gives_a_frame_with_a_row_a_task(done):
    out, _ = done
    options = {"device": "cpu", "workers": 2, "teacher_budget": parse_amount("8epochs")}
    frame = recommend("digits", budget="8epochs", plugins="kd", settings=1, seeds=3, out=out, **options)
    assert tuple(frame.columns) == COLUMNS
    (row,) = frame.to_dict("records")
    card = json.loads((out / "recommended" / "digits.json").read_text())
    assert (row["method"], row["run_id"], row["chosen"]) == (card["method"], card["run_id"], True)
    assert row["answer"].startswith(f"digits: take {card['method']}:")


@pytest.mark.slow
def test_in_the_flop_unit_two_commands_recommend_the_same_and_a_killed_one_too(tmp_path):
    command = (*RECOMMEND, "--plugins", "dml,fitnet", "--budget", "5e9flop", "--settings", 2, "--seeds", 3)
    first = in_its_own_process(*command, "--out", tmp_path / "a")
    process = subprocess.Popen([sys.executable, "-m", "kdarena", *map(str, command), "--out", str(tmp_path / "b")], start_new_session=True)
    while process.poll() is None and len(list((tmp_path / "b" / "runs").glob("*.json"))) < 12:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    second = in_its_own_process(*command, "--out", tmp_path / "b")
    said = [[line for line in ended.stdout.splitlines() if line.startswith("digits: take")] for ended in (first, second)]
    assert said[0] == said[1] != []
    weights = [digest_of(tmp_path / name / "recommended" / "digits.safetensors") for name in "ab"]
    assert weights[0] == weights[1]
    assert keys(tmp_path / "a") == keys(tmp_path / "b")
