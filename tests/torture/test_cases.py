"""What happens to people every day, as whole commands: each of these once ended in a wrong row, with the status done and exit 0.

Only the command line is used, so that an older version can be tried by putting it first on PYTHONPATH:

    PYTHONPATH=OLD:OLD/plugins pytest tests/torture/test_cases.py --noconftest -m slow -n 2
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

RUN = ["run", "--tasks", "digits", "--budget", "20epochs", "--teacher-budget", "20epochs", "--tuning-budget", "0", "--workers", "1", "--device", "cpu"]
HEAD = """
import kdarena
from kdarena import Method, Paper, hookimpl, no_teachers

def made(kind):  # an older version registers instances
    return kind if hasattr(kdarena, "Offer") else kind()

def method(name, **further):
    return Method(name, name, Paper("t", "v", 2026, "u"), **further)
"""
WEIGHTED = (
    HEAD
    + """
class Weighted:
    method = method("weighted", teachers=no_teachers)
    @hookimpl
    def loss(self, step):
        return {"task": WEIGHT * step.task.loss(step.student, step.targets)}
variants = (made(Weighted),)
"""
)


def kdarena(*arguments, check=True, text=True, **settings):
    """A command; ``-P``: what is in the current folder, as in a clone, does not come before what the environment names."""
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
    done = subprocess.run([sys.executable, "-P", "-m", "kdarena", *map(str, arguments)], text=text, **settings)
    assert not check or done.returncode == 0, done.stderr
    return done


def run(out, *arguments, seeds=1, **settings):
    return kdarena(*RUN, "--seeds", seeds, "--out", out, *arguments, **settings)


def published(out):
    """The rows of the board that a command wrote last, by method."""
    newest = max(Path(out).glob("leaderboards/*.csv"), key=lambda path: path.stat().st_mtime_ns)
    return {row["method"]: row for row in csv.DictReader(io.StringIO(newest.read_text()))}


def means(out):
    return {method: row["mean"] for method, row in published(out).items()}


def recorded(out):
    return json.loads(kdarena("runs", "--json", "--out", out).stdout)


def importing_from(folder, **further):
    """The environment of a command that finds modules in a folder before any other."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH")))), **further}


def copied_package(folder):
    """A copy of kdarena that can be edited, in a folder for PYTHONPATH."""
    source = subprocess.check_output([sys.executable, "-c", "import kdarena; print(kdarena.__file__)"], text=True).strip()
    shutil.copytree(Path(source).parent, folder / "kdarena")
    return folder / "kdarena"


def write(path, text):
    path.write_text(text)
    return path


# which code, which settings
def test_an_edit_that_is_reverted_shows_the_first_version(tmp_path):
    boards = []
    for weight in (1.0, -1.0, 1.0):
        plugin = write(tmp_path / "weighted.py", WEIGHTED.replace("WEIGHT", repr(weight)))
        run(tmp_path / "out", "--plugins", "weighted", "--plugin-path", plugin)
        boards.append(means(tmp_path / "out")["weighted"])
    assert boards[0] == boards[2] != boards[1]


def test_a_module_that_a_plugin_imports_is_part_of_its_code(tmp_path):
    plugin = write(tmp_path / "weighted.py", "from weights_of_mine import WEIGHT\n" + WEIGHTED)
    boards = []
    for weight in (1.0, -3.0):
        write(tmp_path / "weights_of_mine.py", f"WEIGHT = {weight}\n")
        run(tmp_path / "out", "--plugins", "weighted", "--plugin-path", plugin, env=importing_from(tmp_path))
        boards.append(means(tmp_path / "out")["weighted"])
    assert float(boards[0]) > float(boards[1])


def test_runs_of_two_versions_of_the_harness_are_never_averaged(tmp_path):
    losses = copied_package(tmp_path / "versions") / "losses.py"
    environment = importing_from(tmp_path / "versions")
    run(tmp_path / "out", "--plugins", "kd", env=environment)
    losses.write_text(losses.read_text() + "\n_first = kl\ndef kl(*arguments, **further):\n    return -5.0 * _first(*arguments, **further)\n")
    run(tmp_path / "out", "--plugins", "kd", seeds=2, env=environment)
    run(tmp_path / "fresh", "--plugins", "kd", seeds=2, env=environment)
    assert means(tmp_path / "out")["kd"] == means(tmp_path / "fresh")["kd"]


def test_the_parameters_that_were_asked_for_are_those_that_are_shown(tmp_path):
    run(tmp_path / "out", "--plugins", "kd")
    run(tmp_path / "out", "--plugins", "kd", "--param", "kd.a=0.01")
    run(tmp_path / "fresh", "--plugins", "kd", "--param", "kd.a=0.01")
    assert means(tmp_path / "out")["kd"] == means(tmp_path / "fresh")["kd"]
    assert json.loads(published(tmp_path / "out")["kd"]["params_json"]) == {"a": 0.01}


OTHER_MACHINES = {
    "another torch": 'torch.__version__ = torch.torch_version.TorchVersion("2.99.0")',
    "another processor": 'torch.backends.cpu.get_cpu_capability = lambda: "AVX9"',
}


@pytest.mark.parametrize("machine", OTHER_MACHINES)
def test_runs_of_two_machines_that_share_a_store_or_a_directory_are_never_averaged(tmp_path, machine):
    (tmp_path / "machine").mkdir()
    # another machine rounds otherwise; here it draws other first weights, which shows
    other = "import torch\nfirst = torch.manual_seed\ntorch.manual_seed = lambda seed: first(seed + 1)\n" + OTHER_MACHINES[machine] + "\n"
    write(tmp_path / "machine" / "sitecustomize.py", other)
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/store.db"}
    run(tmp_path / "here", "--plugins", "kd", env={**os.environ, **store}, cwd=tmp_path)
    for out in (tmp_path / "there", tmp_path / "here"):
        run(out, "--plugins", "kd", seeds=2, env=importing_from(tmp_path / "machine", **store), cwd=tmp_path)
    run(tmp_path / "alone", "--plugins", "kd", seeds=2, env=importing_from(tmp_path / "machine"), cwd=tmp_path)
    alone = means(tmp_path / "alone")
    assert {out: means(tmp_path / out) for out in ("there", "here")} == {"there": alone, "here": alone}


def test_a_space_in_a_name_plans_nothing_anew(tmp_path):
    run(tmp_path / "out", "--plugins", "kd")
    before = len(recorded(tmp_path / "out"))
    kdarena(*["digits " if word == "digits" else word for word in RUN], "--seeds", 1, "--out", tmp_path / "out", "--plugins", " kd ,kd")
    assert len(recorded(tmp_path / "out")) == before


def test_a_space_in_a_name_plans_nothing_anew_where_the_budget_is_fitted_to_a_total_time(tmp_path):
    def fitted(tasks, total):
        arguments = ["run", "--tasks", tasks, "--plugins", "kd", "--total", total, "--seeds", 1, *RUN[RUN.index("--teacher-budget") :]]
        return kdarena(*arguments, "--out", tmp_path / "out", check=False)

    # the shortest that this machine can do
    total = next(total for total in ("24s", "90s", "240s") if fitted("digits", total).returncode == 0)
    before = len(recorded(tmp_path / "out"))
    assert fitted("digits ", total).returncode == 0
    assert len(recorded(tmp_path / "out")) == before


# one method does not touch another
LEAVES = {
    "autocast": 'torch.set_autocast_enabled("cpu", True)',
    "a patched function": "torch.nn.functional.cross_entropy = lambda *given, real=torch.nn.functional.cross_entropy, **further: 0.01 * real(*given, **further)",
    "the default dtype": "torch.set_default_dtype(torch.float64)",
    "threads": "torch.set_num_threads(2)",
}


@pytest.mark.parametrize("left", LEAVES)
def test_what_a_method_leaves_changed_does_not_reach_the_next_and_is_said(tmp_path, left):
    plugin = write(
        tmp_path / "careless.py",
        HEAD
        + f"""
import torch
class Careless:
    method = method("careless", teachers=no_teachers)
    @hookimpl
    def schedule(self, task, learner, params, run):
        phases = [kdarena.Phase("train")]
        {LEAVES[left]}
        return phases
class Neighbour:
    method = method("neighbour", teachers=no_teachers)
    @hookimpl
    def loss(self, step):
        return {{"task": 1.5 * step.task.loss(step.student, step.targets)}}
variants = (made(Careless), made(Neighbour))
""",
    )
    run(tmp_path / "out", "--plugins", "careless,neighbour", "--plugin-path", plugin, check=False)
    run(tmp_path / "alone", "--plugins", "neighbour", "--plugin-path", plugin)
    assert means(tmp_path / "out")["neighbour"] == means(tmp_path / "alone")["neighbour"]
    assert "worker" in published(tmp_path / "out")["careless"]["status_note"]


def test_a_fork_in_a_plugin_gives_no_run_the_result_of_another_and_leaves_no_process(tmp_path):
    plugin = write(
        tmp_path / "forks.py",
        HEAD
        + """
import os
class Forks:
    method = method("forks", teachers=no_teachers)
    @hookimpl
    def loss(self, step):
        if step.run.seed == 0 and not getattr(os, "forked", False):
            os.forked = True
            os.fork()
        return {"task": step.task.loss(step.student, step.targets)}
variants = (made(Forks),)
""",
    )
    marked = {**os.environ, "KDARENA_CASE": str(tmp_path)}
    run(tmp_path / "out", "--plugins", "forks", "--plugin-path", plugin, seeds=3, check=False, env=marked)
    finals = {run["seed"]: run["value"] for run in recorded(tmp_path / "out") if run["method"] == "forks"}
    students = {run["seed"]: run["value"] for run in recorded(tmp_path / "out") if run["method"] == "student" and run["purpose"] == "final"}
    assert all(finals[seed] == students[seed] for seed in (1, 2))
    assert left_over(tmp_path) == []


def left_over(mark, seconds=10.0):
    """Processes of a command that are still there after so many seconds."""
    import psutil

    end = time.monotonic() + seconds
    while True:
        left = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("KDARENA_CASE") == str(mark) and process.status() != psutil.STATUS_ZOMBIE:
                    left.append(process.pid)
            except psutil.Error:
                continue
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.1)


def test_workers_end_with_a_command_that_was_killed(tmp_path):
    marked = {**os.environ, "KDARENA_CASE": str(tmp_path)}
    arguments = [sys.executable, "-m", "kdarena", *RUN, "--seeds", "3", "--plugins", "kd", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=marked, start_new_session=True)
    while not (tmp_path / "out" / "workers.log").exists() and process.poll() is None:
        time.sleep(0.1)
    time.sleep(4)
    process.kill()
    process.wait()
    assert left_over(tmp_path) == []


def test_a_hook_without_its_mark_is_broken_and_no_plain_student(tmp_path):
    plugin = write(tmp_path / "unmarked.py", WEIGHTED.replace("    @hookimpl\n", "").replace("WEIGHT", "2.0"))
    listed = json.loads(kdarena("plugins", "--json", "--plugin-path", plugin).stdout)
    (row,) = [row for row in listed if row["name"] in ("weighted", "unmarked")]
    assert row["status"] == "broken"
    assert "@hookimpl" in row["error"]


def test_an_installed_method_goes_on_where_a_file_takes_its_name_or_prints_or_ends_the_process(tmp_path):
    taken = write(tmp_path / "taken.py", WEIGHTED.replace("weighted", "kd").replace("WEIGHT", "-1.0"))
    prints = write(tmp_path / "prints.py", "print('[')\n" + WEIGHTED.replace("weighted", "prints").replace("WEIGHT", "1.0"))
    ends = write(tmp_path / "ends.py", "import os\nos._exit(0)\n")
    listed = json.loads(kdarena("plugins", "--json", "--plugin-path", ends, "--plugin-path", taken, "--plugin-path", prints).stdout)
    status = {row["name"]: row["status"] for row in listed if row["distribution"] == "kdarena" or row["name"] in ("prints", "ends")}
    assert (status["kd"], status["prints"], status["ends"]) == ("ok", "ok", "broken")


def test_an_endless_loop_a_lack_of_memory_and_a_kill_from_outside_are_called_what_they_are(tmp_path):
    local = copied_package(tmp_path / "impatient") / "engines" / "local.py"
    text, count = re.subn(r"(?m)^(PATIENCE|SILENCE_LIMIT) = 300\.0$", r"\1 = 20.0", local.read_text())
    assert count == 1
    local.write_text(text)
    plugin = write(
        tmp_path / "failing.py",
        HEAD
        + """
import os, signal, time
import torch
def sleep_forever():
    while True:
        time.sleep(1)
def failing(name, happens):
    class Failing:
        method = method(name, teachers=no_teachers)
        @hookimpl
        def loss(self, step):
            happens()
            return {"task": step.task.loss(step.student, step.targets)}
    return made(Failing)
variants = (
    failing("endless", sleep_forever),
    failing("hungry", lambda: torch.empty(2**50)),
    failing("victim", lambda: os.kill(os.getpid(), signal.SIGKILL)),  # what sends the signal makes no difference to what is seen
)
""",
    )
    run(tmp_path / "out", "--plugins", "endless,hungry,victim", "--plugin-path", plugin, check=False, env=importing_from(tmp_path / "impatient"))
    statuses = {method: row["status"] for method, row in published(tmp_path / "out").items() if method in ("endless", "hungry", "victim")}
    assert statuses == {"endless": "timeout", "hungry": "oom", "victim": "killed"}


# teachers and data
def test_a_teacher_that_is_worse_than_a_guess_has_its_row_and_is_said_before_anything_trains(tmp_path):
    permuted = tmp_path / "permuted.safetensors"
    make = f"""
import torch
from kdarena.tracks import find_card, load_task
from kdarena.tracks.checkpoints import save
from kdarena.tracks.values import Setting
card = find_card("digits")
torch.manual_seed(0)
network = load_task(card, Setting()).new_network(card.teacher)
with torch.no_grad():
    next(reversed(list(network.parameters()))).fill_(0)
    list(network.parameters())[-2].fill_(0)
save(network, {str(permuted)!r})
"""
    subprocess.run([sys.executable, "-c", make], check=True)
    done = run(tmp_path / "out", "--plugins", "kd", "--teacher-checkpoint", permuted)
    assert "teacher" in published(tmp_path / "out")
    assert "guess" in done.stderr


def test_a_teacher_whose_file_was_changed_teaches_nobody(tmp_path):
    run(tmp_path / "out", "--plugins", "kd")
    before = means(tmp_path / "out")["kd"]
    (teacher,) = (tmp_path / "out" / "teachers").iterdir()
    content = bytearray(teacher.read_bytes())
    content[-4000:] = bytes(4000)
    teacher.write_bytes(content)
    run(tmp_path / "out", "--plugins", "kd", seeds=2)
    run(tmp_path / "fresh", "--plugins", "kd", seeds=2)
    assert means(tmp_path / "out")["kd"] == means(tmp_path / "fresh")["kd"] != before


def test_a_truncated_teacher_and_a_deleted_student_are_made_again(tmp_path):
    run(tmp_path / "out", "--plugins", "kd")
    for folder, harm in (("teachers", lambda path: os.truncate(path, 100)), ("students", Path.unlink)):
        harm(next(iter(sorted((tmp_path / "out" / folder).iterdir()))))
    before = means(tmp_path / "out")
    run(tmp_path / "out", "--plugins", "kd")
    assert means(tmp_path / "out") == before
    for run_id in [row["run_id"] for row in recorded(tmp_path / "out") if row["purpose"] == "final"]:
        kdarena("export", run_id, "--to", tmp_path / "student.safetensors", "--out", tmp_path / "out")


TEXT = "sst2:bert-2-32:bert-1-32"
RUN_TEXT = ["run", "--tasks", TEXT, "--budget", "60epochs", "--teacher-budget", "60epochs", "--tuning-budget", "0", "--seeds", "1", "--workers", "1"]
RUN_TEXT += ["--device", "cpu", "--precision", "fp32"]


def sentences(first, last):
    """Rows of so many numbers, good and bad in turn."""
    return [f"a {('good', 'bad')[number % 2]} film of number {number}\t{number % 2}" for number in range(first, last)]


def text_files(folder, train, test=None, end="\n", after=""):
    """Files of a small text classification, in a folder for --data-root."""
    (folder / "SST-2").mkdir(parents=True)
    header = "sentence\tlabel"
    (folder / "SST-2" / "train.tsv").write_bytes((end.join([header, *train]) + end + after).encode("latin1"))
    (folder / "SST-2" / "dev.tsv").write_text("\n".join([header, *(test or sentences(80, 100))]) + "\n")
    return folder


def test_live_dropout_in_a_teacher_is_an_error_where_the_method_does_not_declare_it(tmp_path):
    plugin = write(
        tmp_path / "lively.py",
        HEAD
        + """
class Lively:
    method = method("lively", tracks=("text",), teachers=lambda card, params: (kdarena.TeacherSpec(dropout=0.1),))
    @hookimpl
    def build_teacher(self, run):
        return run.teachers[0].train()
    @hookimpl
    def loss(self, step):
        return {"task": (step.student.logits - step.teacher.logits).square().mean()}
variants = (made(Lively),)
""",
    )
    data = text_files(tmp_path / "data", sentences(0, 60))
    done = kdarena(*RUN_TEXT, "--plugins", "lively", "--plugin-path", plugin, "--data-root", data, "--out", tmp_path / "out", check=False)
    row = published(tmp_path / "out")["lively"]
    assert (done.returncode, row["status"], "train mode" in row["status_note"]) == (1, "error", True)


def test_test_samples_that_are_also_in_train_are_counted_below_the_board_and_in_the_record(tmp_path):
    train = sentences(0, 60)
    data = text_files(tmp_path / "data", train, test=train[:20])
    done = kdarena(*RUN_TEXT, "--plugins", "kd", "--data-root", data, "--out", tmp_path / "out")
    assert re.search(r"\b20 test samples are also in train", " ".join(done.stdout.split()))
    assert published(tmp_path / "out")["kd"]["test_in_train"] == "20"


UNUSABLE = {
    "an unknown label": ([*sentences(0, 59), "a film\t2"], "row 61"),
    "a missing column": ([*sentences(0, 59), "a film"], "row 61"),
    "bytes that are not UTF-8": ([*sentences(0, 59), "caf\xe9\t1"], "row 61"),
    "one class": ([f"a film of number {number}\t1" for number in range(60)], "one class"),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_an_unusable_data_file_is_one_line_and_status_2_before_anything_trains(tmp_path, what):
    rows, named = UNUSABLE[what]
    data = text_files(tmp_path / "data", rows)
    done = kdarena(*RUN_TEXT, "--plugins", "kd", "--data-root", data, "--out", tmp_path / "out", check=False)
    assert (done.returncode, len(done.stderr.strip().splitlines()), named in done.stderr) == (2, 1, True), done.stderr


def test_a_lone_carriage_return_ends_a_row(tmp_path):
    plans = []
    for end in ("\n", "\r"):
        data = text_files(tmp_path / repr(end), sentences(0, 60), end=end)
        plans.append(kdarena(*RUN_TEXT, "--plugins", "kd", "--data-root", data, "--out", tmp_path / "out", "--dry-run").stdout)
    assert "40 train" in plans[0]
    assert plans[0] == plans[1]


def test_a_blank_last_line_is_no_row(tmp_path):
    data = text_files(tmp_path / "data", sentences(0, 60), after="\n")
    done = kdarena(*RUN_TEXT, "--plugins", "kd", "--data-root", data, "--out", tmp_path / "out", check=False)
    assert done.returncode == 0, done.stderr
    assert {row["status"] for row in published(tmp_path / "out").values()} <= {"done", "reference"}


# processes, disks, stores
@pytest.mark.parametrize("harm", ["empty", "delete", "truncate", "text"])
def test_whatever_happens_to_mlflows_database_nothing_is_trained_again(tmp_path, harm):
    run(tmp_path / "out", "--plugins", "kd")
    before = means(tmp_path / "out")
    database = tmp_path / "out" / "mlflow.db"
    {
        "empty": lambda: database.write_bytes(b""),
        "delete": database.unlink,
        "truncate": lambda: os.truncate(database, database.stat().st_size // 2),
        "text": lambda: database.write_text("no database"),
    }[harm]()
    count = len(list((tmp_path / "out" / "students").iterdir()))
    started = max(path.stat().st_mtime_ns for path in (tmp_path / "out" / "students").iterdir())
    run(tmp_path / "out", "--plugins", "kd")
    students = list((tmp_path / "out" / "students").iterdir())
    assert (means(tmp_path / "out"), len(students), max(path.stat().st_mtime_ns for path in students)) == (before, count, started)


def test_a_tuning_that_was_killed_and_has_only_its_record_goes_on_to_the_same_winner(tmp_path):
    # one that learns late is behind half way, where an older version pruned trials, and pruned none once the first had lost their curves
    plugin = write(
        tmp_path / "late.py",
        HEAD
        + """
import os
from dataclasses import dataclass
@dataclass(frozen=True)
class LateParams(kdarena.Params):
    late: float = kdarena.Float(0.0, 0.0, 1.0, source="ours", help="above 0.5 it learns in the second half")
class Late:
    method = method("late", Params=LateParams, teachers=no_teachers)
    @hookimpl
    def schedule(self, run):
        with open(os.environ["KDARENA_TRIALS"], "a") as begun:
            begun.write("trial\\n" * (run.seed > 1000))  # no final run has such a seed
        return [kdarena.Phase("train")]
    @hookimpl
    def loss(self, step):
        late, second = step.run.params.late, step.progress > 0.52
        weight = (6.0 if second else 0.01) if late > 0.5 else (-0.2 if second else 1.0 - 0.5 * late)
        return {"task": weight * step.task.loss(step.student, step.targets)}
variants = (made(Late),)
""",
    )
    arguments = [*RUN, "--budget", "15epochs", "--tuning-budget", "45epochs", "--seeds", "1", "--plugins", "late", "--plugin-path", plugin]
    arguments += ["--param", "late.lr=0.2", "--param", "late.weight_decay=0.0005", "--out"]
    kdarena(*arguments, tmp_path / "whole", env={**os.environ, "KDARENA_TRIALS": str(tmp_path / "whole.txt")})
    begun = write(tmp_path / "killed.txt", "")
    environment = {**os.environ, "KDARENA_TRIALS": str(begun)}
    command = [sys.executable, "-m", "kdarena", *map(str, arguments), str(tmp_path / "killed")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    while len(begun.read_text().splitlines()) < 5 and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    (tmp_path / "killed" / "optuna.db").unlink(missing_ok=True)
    kdarena(*arguments, tmp_path / "killed", env=environment)
    outcomes = {}
    for out in ("whole", "killed"):
        row = published(tmp_path / out)["late"]
        trials = [(one["status"], one["params_json"]) for one in recorded(tmp_path / out) if (one["method"], one["purpose"]) == ("late", "tune")]
        outcomes[out] = (row["mean"], row["params_json"], row["recipe_json"], sorted(trials))
    assert outcomes["killed"] == outcomes["whole"]
    assert len(outcomes["whole"][-1]) >= 5  # else nothing was left to go on with


def test_a_full_standard_output_is_one_line_and_status_2(tmp_path):
    run(tmp_path / "out", "--plugins", "kd")
    with open("/dev/full", "w") as full:
        done = kdarena("leaderboard", "--format", "json", "--out", tmp_path / "out", check=False, stdout=full)
    assert (done.returncode, len(done.stderr.strip().splitlines()), "Traceback" in done.stderr) == (2, 1, False)


def test_an_output_path_of_odd_characters_has_a_database_of_its_own_and_an_ascii_locale_prints(tmp_path):
    outs = [tmp_path / "a?b", tmp_path / "a?c#é %20"]
    for out in outs:
        run(out, "--plugins", "kd", env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
        assert (out / "mlflow.db").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(out.name for out in outs)


def test_a_total_that_is_too_short_names_the_total_that_is_needed_and_trains_nothing(tmp_path):
    started = time.monotonic()
    done = kdarena("run", "--tasks", "all", "--plugins", "all", "--total", "30s", "--workers", 1, "--out", tmp_path / "out", check=False, timeout=120)
    assert (done.returncode, "--total" in done.stderr) == (2, True)
    assert time.monotonic() - started < 90  # of measuring six tasks on one worker


def test_a_budget_of_ages_says_how_long_it_takes_and_trains_nothing(tmp_path):
    arguments = [
        "run",
        "--tasks",
        "digits",
        "--plugins",
        "kd",
        "--budget",
        "1e30flop",
        "--workers",
        1,
        "--teacher-budget",
        "20epochs",
        "--tuning-budget",
        0,
        "--out",
        tmp_path / "out",
    ]
    done = kdarena(*arguments, check=False, timeout=120)
    assert (done.returncode, "--yes" in done.stderr) == (2, True)


def test_a_page_on_a_port_that_is_taken_says_so(tmp_path):
    run(tmp_path / "out", "--plugins", "kd")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = kdarena("ui", "--port", port, "--out", tmp_path / "out", check=False, timeout=60)
    assert (done.returncode, str(port) in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_the_server_of_the_page_ends_with_its_command(tmp_path):
    run(tmp_path / "out", "--plugins", "kd")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    marked = {**os.environ, "KDARENA_CASE": str(tmp_path)}
    arguments = [sys.executable, "-m", "kdarena", "ui", "--port", str(port), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=marked, start_new_session=True)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert left_over(tmp_path) == []
