"""What the command line promises: exit statuses, one-line errors, clean standard output."""

import json
import shutil
import subprocess
import sys
import time

import pytest
from safetensors.torch import save_file

from kdarena.plan.levels import Level
from kdarena.tracks.classification.models import create

TINY = ["--tasks", "digits", "--budget", "1e9flop", "--tuning-budget", "0", "--seeds", "1"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--plugins", "kd,nope"], "unknown plugin 'nope'"),
        (["run", "--tasks", "mnist9000"], "mnist9000"),
        (["run", "--tasks", "cifar100:resnet9999-resnet20"], "kdarena tasks"),
        (["run", "--param", "kd.heat=3"], "kd has no parameter 'heat'"),
        (["run", "--param", "kd.temperature=warm"], "'warm' is not"),
        (["run", "--param", "kd.temperature=0"], "--param 'kd.temperature=0': 0 is not possible; it has to be above 0"),
        (["run", "--param", "temperature=3"], "METHOD.NAME=VALUE"),
        (["run", "--budget", "10 parsecs"], "--budget '10 parsecs'"),
        (["run", "--total", "5flop"], "--total '5flop'"),
        (["run", "--tuning-budget", "5m"], "--tuning-budget needs --budget"),
        (["run", "--device", "abacus"], "--device 'abacus'"),
        (["run", "--device", "cuda:77"], "cuda"),
        (["run", "--precision", "fp8"], "--precision 'fp8'"),
        (["run", "--capture", "on", "--device", "cpu"], "--capture on: steps are captured on CUDA alone"),
        (["run", "--capture", "always"], "--capture 'always'"),
        (["run", "--side-by-side", "0"], "--side-by-side '0'"),
        (["run", "--protocol", "wished"], "--protocol 'wished'"),
        (["run", "--plugin-path", "none.py"], "none.py: no such file"),
        (["run", "--tasks", "cifar100", "--budget", "1epochs"], "--data-root"),
        (["leaderboard", "--out", "nowhere"], "kdarena run"),
        (["runs", "--out", "nowhere"], "kdarena run"),
        (["leaderboard", "--format", "poem", "--out", "nowhere"], "--format 'poem'"),
        (["export", "abc", "--to", "x.safetensors", "--out", "nowhere"], "kdarena run"),
        (["export", "abc", "--to", "x", "--format", "pickle", "--out", "nowhere"], "--format 'pickle': use torch.export, onnx, timm or hf"),
        (["plugins", "show", "nope"], "unknown plugin 'nope'"),
    ],
)
def test_a_users_mistake_is_one_line_that_says_what_to_do_and_status_2(kdarena, arguments, says, tmp_path):
    done = kdarena(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (b"a film\t2\n", "train.tsv: row 32: label '2' is none of 0, 1"),
        (b"a film\n", "train.tsv: row 32: 1 columns instead of 2"),
        (b"caf\xe9\t1\n", "train.tsv: row 32: byte 0xe9 is not UTF-8"),
    ],
)
def test_a_wrong_row_of_a_users_file_is_one_line_and_status_2_before_anything_is_made(kdarena, row, says, tmp_path):
    rows = "".join(f"a fine film {number}\t{number % 2}\n" for number in range(30))
    (tmp_path / "SST-2").mkdir()
    (tmp_path / "SST-2" / "dev.tsv").write_text(f"sentence\tlabel\n{rows[:40]}")
    (tmp_path / "SST-2" / "train.tsv").write_bytes(f"sentence\tlabel\n{rows}".encode() + row)
    command = ["run", "--tasks", "sst2", "--plugins", "kd", "--data-root", tmp_path, "--budget", "20epochs", "--seeds", 1, "--tuning-budget", 0]
    done = kdarena(*command, "--workers", 1, "--out", tmp_path / "out", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_fresh_leaves_a_folder_alone_that_is_no_output_directory(kdarena, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    done = kdarena("run", *TINY, "--fresh", "--out", tmp_path / "mine", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_fresh_moves_nothing_where_the_command_cant_be_carried_out(kdarena, empty_output, tmp_path):
    shutil.copytree(empty_output, tmp_path / "out")
    assert kdarena("run", *TINY, "--fresh", "--device", "cuda:77", "--out", tmp_path / "out").returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_fresh_moves_nothing_that_another_process_writes_to(kdarena, empty_output, tmp_path):
    shutil.copytree(empty_output, tmp_path / "out")
    code = "import sys, pathlib, kdarena.record.output as o; held = o.lock(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "out"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        done = kdarena("run", *TINY, "--fresh", "--out", tmp_path / "out")
        holder.stdin.close()
    assert (done.returncode, "another kdarena is writing there" in done.stderr) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_budget_too_small_for_a_named_method_is_status_2_and_nothing_is_lost(kdarena, tmp_path):
    done = kdarena("run", "--plugins", "pfeed", *TINY, "--teacher-budget", "8epochs", cwd=tmp_path)
    assert done.returncode == 2
    assert "50 are the least" in done.stderr
    assert "Traceback" not in done.stderr
    runs = json.loads(kdarena("runs", "--json", cwd=tmp_path).stdout)
    assert {run["purpose"] for run in runs} == {"teacher"}


def test_an_unreadable_teacher_checkpoint_is_status_2(kdarena, tmp_path):
    (tmp_path / "teacher.pth").write_bytes(b"not a checkpoint")
    done = kdarena("run", "--plugins", "kd", *TINY, "--teacher-checkpoint", "teacher.pth", cwd=tmp_path)
    assert done.returncode == 2
    assert "teacher.pth" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_output_directory_of_another_version_is_status_2_and_left_alone(kdarena, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "kdarena.json").write_text('{"format": 99}')
    done = kdarena("run", "--plugins", "student", *TINY, "--out", out)
    assert done.returncode == 2
    assert "99" in done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["kdarena.json"]


def test_help_answers_in_less_than_half_the_time_of_importing_torch():
    def seconds(*command):
        times = []
        for _ in range(3):
            started = time.perf_counter()
            subprocess.run([sys.executable, *command], capture_output=True, check=True)
            times.append(time.perf_counter() - started)
        return min(times)

    assert seconds("-m", "kdarena", "--help") < 0.5 * seconds("-c", "import torch")


def test_what_is_not_there_yet_is_not_in_the_help(kdarena):
    text = kdarena("run", "--help").stdout + kdarena("--help").stdout + kdarena("plugins", "--help").stdout
    assert "--engine" not in text


def test_plugins_as_json_is_one_array_and_nothing_else(kdarena):
    done = kdarena("plugins", "--json")
    rows = json.loads(done.stdout)
    assert {"name", "title", "paper", "venue", "year", "default_source", "tracks", "distribution", "version", "status", "error"} <= set(rows[0])
    by_name = {row["name"]: row for row in rows}
    assert by_name["student"]["default_source"] is None
    assert by_name["dist"]["default_source"] == "code 3"
    assert {row["status"] for row in rows} == {"ok"}


def test_a_broken_plugin_is_listed_and_the_others_work(kdarena, tmp_path):
    (tmp_path / "sad.py").write_text("import nothing_of_that_name")
    rows = json.loads(kdarena("plugins", "--json", "--plugin-path", tmp_path / "sad.py").stdout)
    broken = [row for row in rows if row["status"] == "broken"]
    assert [row["name"] for row in broken] == ["sad"]
    assert "ModuleNotFoundError" in broken[0]["error"]


def test_show_prints_the_paper_the_equations_and_each_parameter_with_its_source(kdarena):
    text = kdarena("plugins", "show", "quest").stdout
    for part in ("ECCV 2020", "tau", "0.2", "code", "parameter", "lr and weight_decay"):
        assert part in text


def test_every_method_shows_itself(kdarena):
    for row in json.loads(kdarena("plugins", "--json").stdout):
        assert kdarena("plugins", "show", row["name"]).returncode == 0


def test_the_matrix_says_where_a_method_applies(kdarena):
    rows = json.loads(kdarena("plugins", "matrix", "--json").stdout)
    assert {row["method"]: row["classification"] for row in rows}["kd"] == "own"


def test_tasks_as_json_name_what_is_missing(kdarena):
    rows = {row["name"]: row for row in json.loads(kdarena("tasks", "--json").stdout)}
    assert rows["digits"]["available"] is True
    assert {"name", "track", "data_set", "teacher", "student", "metric", "available", "missing"} <= set(rows["digits"])
    assert "--data-root" in rows["cifar100:resnet32x4-resnet8x4"]["missing"]


def test_tasks_are_a_line_a_data_set_with_the_command_that_gets_it(kdarena, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = kdarena("tasks").stdout.splitlines()
    (cifar,) = [line for line in lines if line.startswith("cifar100")]
    assert cifar.split() == ["cifar100", "classification", "top1", "13", "kdarena", "data", "fetch", "cifar100"]
    assert [line.split()[-1] for line in lines if line.startswith("digits")] == ["yes"]
    assert "--pairs" in lines[-2] + lines[-1]
    pairs = kdarena("tasks", "--pairs").stdout.splitlines()
    assert sum(line.startswith("cifar100:") for line in pairs) == 13


def test_data_are_listed_with_their_sizes_and_what_is_there(kdarena, tmp_path):
    (tmp_path / "glue/CoLA").mkdir(parents=True)
    (tmp_path / "glue/CoLA/dev.tsv").touch()
    rows = {row["name"]: row for row in json.loads(kdarena("data", "list", "--json", "--root", tmp_path).stdout)}
    assert rows["cola"]["there"] and not rows["cifar10"]["there"]
    assert rows["cifar10"]["bytes"] == 170_498_071
    assert "170.5 MB" in kdarena("data", "list").stdout


def test_a_data_set_that_is_there_is_not_fetched_and_an_unknown_one_is_named(kdarena, tmp_path):
    (tmp_path / "glue/CoLA").mkdir(parents=True)
    (tmp_path / "glue/CoLA/dev.tsv").touch()
    assert "glue/CoLA/dev.tsv is there already" in kdarena("data", "fetch", "cola", "--root", tmp_path).stderr
    done = kdarena("data", "fetch", "imagenet", "--root", tmp_path)
    assert done.returncode == 2 and "no data set 'imagenet' can be fetched; known: cifar10, " in done.stderr


def test_doctor_answers_for_every_package_device_and_data_set(kdarena):
    done = kdarena("doctor", "--json")
    rows = {row["what"]: row for row in json.loads(done.stdout)}
    assert done.returncode == 0
    assert {"machine", "python", "cpu", "torch", "mlflow", "optuna", "plugins", "data cifar100"} <= set(rows)
    assert rows["data cifar100"]["fix"] == "kdarena data fetch cifar100"


def test_a_dry_run_prints_the_plan_and_makes_nothing(kdarena, tmp_path):
    done = kdarena("run", "--plugins", "all", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0
    assert "quest" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_reads_the_given_teacher_and_says_that_it_is_not_trained(kdarena, tmp_path):
    arguments = ["run", "--plugins", "kd", "--tasks", "digits", "--dry-run", "--teacher-checkpoint"]
    (tmp_path / "notes.ckpt").write_text("hello")
    refused = kdarena(*arguments, "notes.ckpt", cwd=tmp_path)
    assert refused.returncode == 2 and "--teacher-checkpoint notes.ckpt: unknown kind of checkpoint" in refused.stderr
    save_file(create("digits-teacher", 10, in_channels=1).state_dict(), tmp_path / "teacher.safetensors")
    done = kdarena(*arguments, "teacher.safetensors", cwd=tmp_path)
    assert done.returncode == 0 and "teachers: 1, of which yours is not trained" in done.stdout
    assert not (tmp_path / "kdarena-out").exists()


def test_a_dry_run_says_for_how_long_teachers_are_trained(kdarena):
    printed = kdarena("run", "--plugins", "kd", "--tasks", "digits", "--dry-run", "--teacher-budget", "8epochs", "--budget", "8epochs").stdout
    assert "teachers: 1, each for 8epochs (--teacher-budget)" in printed


@pytest.mark.parametrize(
    ("arguments", "says", "out_of_scope"),
    [
        (["--plugins", "all"], "scope: each method on the tracks of its paper, the controls everywhere (--scope own)", True),
        (["--plugins", "all", "--scope", "all"], "scope: methods run wherever their equations hold (--scope all)", False),
        (["--plugins", "dml"], "scope: methods run wherever their equations hold (--scope all)", False),
        (["--plugins", "dml", "--scope", "own"], "scope: each method on the tracks of its paper, the controls everywhere (--scope own)", True),
    ],
)
def test_each_paper_runs_on_its_own_track_where_all_methods_do_and_wherever_it_holds_where_it_is_named(kdarena, arguments, says, out_of_scope):
    done = kdarena("run", *arguments, "--tasks", "grammar", "--dry-run")
    assert done.returncode == 0
    assert says in done.stdout
    assert ("--scope all runs it there too" in done.stdout) is out_of_scope
    methods = next(line for line in done.stdout.splitlines() if "methods: " in line)
    assert {"student", "kd"} <= set(methods.partition(": ")[2].split(", "))
    assert ("dml" in methods) is not out_of_scope


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "tuning: 1.5 budgets of a run for each method"),
        (["--untuned"], "tuning: none"),
        (["--both", "--side-by-side", "3"], "5 seeds with default and tuned settings"),
        (["--budget", "1e12flop", "--tuning-budget", "5e12flop"], "tuning: 5e+12flop for each method"),
    ],
)
def test_a_dry_run_says_how_methods_are_tuned(kdarena, arguments, says):
    printed = kdarena("run", "--plugins", "kd", "--tasks", "digits", "--dry-run", *arguments).stdout
    assert says in printed
    assert ("side by side: 3 runs on a device" in printed) is ("--side-by-side" in arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--untuned", "--both"], "--both and --untuned contradict each other"),
        (["--untuned", "--budget", "1e9flop", "--tuning-budget", "1e9flop"], "--untuned and --tuning-budget 1e+09flop contradict each other"),
        (["--both", "--protocol", "published"], "--both and --protocol published contradict each other"),
        (["--scope", "mine"], "--scope 'mine': use own or all"),
    ],
)
def test_options_that_contradict_each_other_are_status_2_and_one_line(kdarena, tmp_path, arguments, says):
    done = kdarena("run", "--plugins", "kd", "--tasks", "digits", *arguments, "--out", tmp_path / "out")
    assert (done.returncode, len(done.stderr.strip().splitlines()), done.stdout) == (2, 1, "")
    assert says in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("plugins", "says"), [("kd", "all 2 methods"), ("all", "the controls and at most 5 methods of the leading group")])
def test_a_dry_run_says_which_methods_climb_the_ladder(kdarena, plugins, says):
    done = kdarena("run", "--plugins", plugins, "--tasks", "digits", "--dry-run", "--budget", "10s", "--untuned", "--ladder", "0.5,1,2")
    assert f"ladder: 0.5, 2 budgets of a run, of {says}, 5 seeds each" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--total", "30s"], "by declared costs at least about"),
        (["--budget", "10s"], "by declared costs the whole command takes at most about"),
        (["--budget", "1e12flop"], "known, and printed, only once the first steps have been measured"),
    ],
)
def test_a_dry_run_says_how_long_the_command_takes_as_far_as_that_is_known(kdarena, arguments, says):
    done = kdarena("run", "--plugins", "all", "--workers", "2", "--dry-run", *arguments)
    assert done.returncode == 0
    assert says in " ".join(done.stdout.split())


def runs_of(kdarena, out):
    return json.loads(kdarena("runs", "--json", "--out", out).stdout)


def test_a_total_that_is_far_too_short_is_status_2_and_names_the_one_that_is_needed_before_anything_is_trained(kdarena, tmp_path):
    done = kdarena("run", "--total", "1s", "--workers", "2", "--out", tmp_path / "out")
    assert (done.returncode, len(done.stderr.strip().splitlines()), done.stdout) == (2, 1, "")
    assert "--total 1s is too short" in done.stderr
    assert "m are needed; raise --total, or name fewer --plugins or --tasks" in done.stderr
    assert runs_of(kdarena, tmp_path / "out") == []


def test_a_budget_that_takes_more_than_a_day_asks_for_a_yes_before_anything_is_trained(kdarena, tmp_path):
    done = kdarena("run", "--plugins", "kd", "--tasks", "digits", "--budget", "1e30flop", "--workers", "2", "--out", tmp_path / "out")
    assert (done.returncode, len(done.stderr.strip().splitlines()), done.stdout) == (2, 1, "")
    assert "--budget 1e+30flop takes about" in done.stderr
    assert "years on 2 workers: give --yes" in done.stderr
    assert runs_of(kdarena, tmp_path / "out") == []


def test_where_the_time_runs_out_the_board_has_the_same_seeds_of_every_method_and_a_line_says_what_was_left_out(kdarena, tmp_path, monkeypatch):
    monkeypatch.setattr("kdarena.arena.arena.share_of_time", lambda left, needs, methods: 1.0)  # as if all before had taken longer
    tiny = ["--plugins", "kd", "--tasks", "digits", "--teacher-budget", "8epochs", "--tuning-budget", "0", "--workers", "2"]
    done = kdarena("run", *tiny, "--total", "2m", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "--total 2m holds everything: training the teachers takes about" in done.stderr
    assert "digits: the time ran out: every method has 3 seeds, " in done.stderr
    finals = {(run["method"], run["seed"]) for run in runs_of(kdarena, tmp_path / "out") if run["purpose"] == "final"}
    assert finals == {(method, seed) for method in ("student", "kd") for seed in range(3)}
    assert "missing" not in done.stdout


@pytest.mark.slow
def test_a_larger_total_keeps_what_a_smaller_one_trained_and_says_what_is_new(kdarena, tmp_path, monkeypatch):
    arguments = ["run", "--plugins", "kd", "--tasks", "digits", "--teacher-budget", "8epochs", "--workers", "2", "--out", tmp_path / "out"]
    with monkeypatch.context() as short:  # as if all before had taken longer
        short.setattr("kdarena.arena.arena.share_of_time", lambda left, needs, methods: 1.0)
        short.setattr("kdarena.arena.arena.fitting", lambda left, needs, wanted: ([0], Level(3, True)))
        assert kdarena(*arguments, "--total", "2m").returncode == 0
    before = runs_of(kdarena, tmp_path / "out")
    done = kdarena(*arguments, "--total", "3m")
    after = runs_of(kdarena, tmp_path / "out")
    kept = [run for run in before if run["purpose"] != "teacher"]
    assert f"digits: keeps {len(kept)} runs of the command with a total of 2m, adds 2 seeds" in done.stderr
    assert after[: len(before)] == before
    added = after[len(before) :]
    assert {run["seed"] for run in added} == {3, 4}
    assert {run["purpose"] for run in added} <= {"final", "control"}
    assert len({run["key"] for run in after}) == len(after)
    again = kdarena(*arguments, "--total", "3m")
    assert runs_of(kdarena, tmp_path / "out") == after
    assert "digits: keeps" not in again.stderr


def test_a_closed_pipe_is_no_error():
    done = subprocess.run(f"{sys.executable} -m kdarena plugins --json | head -1", shell=True, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == ""
