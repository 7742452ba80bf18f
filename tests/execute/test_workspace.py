"""What a worker loads for a run."""

import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from kdarena.errors import UserError
from kdarena.execute.execute import execute, execute_profile
from kdarena.execute.workspace import Workspace, new_run
from kdarena.method.discovery import find, listing
from kdarena.method.plugin import STUDENT
from kdarena.plan.code import harness_digest
from kdarena.plan.cost import ProfileSpec
from kdarena.plan.machine import device_name
from kdarena.plan.spec import Budget, PhaseCost, RunSpec
from kdarena.tracks import find_card

PLUGIN = """
import sys
from kdarena import Method, Paper, hookimpl
sys.kdarena_imported = [*getattr(sys, "kdarena_imported", ()), "NAME"]
method = Method("NAME", "my own", Paper("t", "v", 2026, "u"))
@hookimpl
def loss(step):
    return {"task": step.task.loss(step.student, step.targets)}
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "kdarena_imported", [], raising=False)
    names = ("polite", "rude", "kd")
    for name in names:
        (tmp_path / f"{name}.py").write_text(PLUGIN.replace("NAME", name))
    return [str(tmp_path / f"{name}.py") for name in names]


def test_only_the_plugin_that_a_run_needs_is_imported(files, tmp_path):
    source = find("polite", listing(files)).source
    sys.kdarena_imported.clear()
    workspace = Workspace(tmp_path, tmp_path, plugin_paths=files)
    assert workspace.plugin("polite", source).name == "polite"
    assert sys.kdarena_imported == ["polite"]


def test_no_process_is_started_for_a_plugin_that_raises_at_its_import(files, tmp_path, monkeypatch):
    sad = tmp_path / "sad.py"
    sad.write_text("1 / 0\n")
    source = find("polite", listing([*files, sad])).source
    monkeypatch.setattr(subprocess, "Popen", None)
    assert Workspace(tmp_path, tmp_path, plugin_paths=[*files, str(sad)]).plugin("polite", source).status == "ok"


def test_an_installed_method_is_loaded_although_a_file_has_its_name(files, tmp_path):
    source = find("kd", listing()).source
    assert Workspace(tmp_path, tmp_path, plugin_paths=files).plugin("kd", source).distribution == "kdarena"
    assert sys.kdarena_imported == []


def test_code_that_changed_since_the_spec_was_made_is_refused_however_long_the_worker_knows_it(files, tmp_path):
    workspace = Workspace(tmp_path, tmp_path, plugin_paths=files)
    source = find("rude", listing(files)).source
    workspace.plugin("polite", find("polite", listing(files)).source)
    with open(files[1], "a") as file:
        file.write("# edited\n")
    with pytest.raises(UserError, match="the code of plugin 'rude' changed"):
        workspace.plugin("rude", source)


def test_a_method_that_is_not_there_is_an_error_of_one_line(tmp_path):
    with pytest.raises(UserError, match="plugin 'nope' can't be loaded in the worker: it is not there"):
        Workspace(tmp_path, tmp_path).plugin("nope", "")


@pytest.fixture
def runs(tmp_path):
    """Makes runs of one workspace, and its task."""
    workspace = Workspace(tmp_path, tmp_path)
    task = workspace.task("digits", "fp32")
    spec = RunSpec("digits", "student", "", "final", 0, Budget(60, "flop"), ())
    return task, lambda: new_run(STUDENT, task, workspace, spec)[1]


def test_what_a_method_puts_in_the_place_of_a_function_of_its_task_ends_with_the_run(runs):
    task, made = runs
    run = made()
    run.task.curve = run.task.optimizer = run.task.evaluate = None
    assert made().task.curve(0.0) == task.curve(0.0) == 1.0
    assert not {"curve", "optimizer", "evaluate"} & {*vars(made().task), *vars(task)}


def test_runs_share_the_training_data(runs):
    task, made = runs
    assert made().task._data.train_images is task._data.train_images
    assert made().task._train is task._train


def of_this_worker(**changes):
    """A spec that says what this worker is."""
    said = {"code": harness_digest(), "torch": torch.__version__, "device_name": device_name(torch.device("cpu")), "data": find_card("digits").digest(None)}
    return RunSpec("digits", "student", "", "final", 0, Budget(60, "flop"), (PhaseCost("train", None, 1.0, 1.0, None, None, 10),), **said | changes)


def profile_of(spec):
    said = {name: getattr(spec, name) for name in ("code", "torch", "device_name", "data")}
    return ProfileSpec("digits", "student", "", {}, (), "validated", precision="fp32", device="cpu", threads=1, timed=False, **said)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("code", "the code of kdarena"),
        ("torch", "the version of torch"),
        ("device_name", "the model of the device"),
        ("data", "the data of task digits"),
    ],
)
def test_a_worker_that_is_not_what_the_spec_says_refuses_run_and_profile(tmp_path, name, words):
    spec, workspace = of_this_worker(**{name: "another"}), Workspace(tmp_path, tmp_path)
    for result in (execute(spec, workspace), execute_profile(profile_of(spec), workspace)):
        assert (result.status, result.error.startswith(f"{words} changed while the arena ran (planned with another, now ")) == ("error", True)


def test_a_worker_that_is_what_the_spec_says_executes_it(tmp_path):
    spec, workspace = of_this_worker(), Workspace(tmp_path, tmp_path)
    assert [execute(spec, workspace).status, execute_profile(profile_of(spec), workspace).status] == ["done", "done"]


def test_code_that_is_edited_before_a_task_is_imported_is_refused_and_afterwards_is_not(tmp_path, monkeypatch):
    spec = of_this_worker()
    late, early = (Workspace(tmp_path, tmp_path) for _ in range(2))
    early.task_of(spec)
    monkeypatch.setattr("kdarena.execute.workspace.code_digest", lambda: "edited")
    assert early.task_of(spec) is early.task("digits", "fp32")
    for _ in range(2):
        with pytest.raises(UserError, match=r"the code of kdarena changed while the arena ran \(planned with \w+, now edited\)"):
            late.task_of(spec)


BANK = """
import banks, sys
from kdarena import Method, Paper, hookimpl, no_teachers

BANK = {}

class Banked:
    method = Method("banked", "my own", Paper("t", "v", 2026, "u"), teachers=no_teachers)
    seen = []
    @hookimpl
    def loss(self, step):
        from banks import lazy
        for bank in (BANK, banks.BANK, lazy.BANK):
            bank[step.run.seed] = True
        self.seen.append(step.run.seed)
        sys.kdarena_seen.append([sorted(bank) for bank in (BANK, banks.BANK, lazy.BANK)] + [sorted(set(self.seen))])
        return {"task": step.task.loss(step.student, step.targets)}

variants = (Banked,)
"""


def test_a_run_meets_nothing_that_an_earlier_one_left_in_modules_and_classes_of_its_plugin(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "kdarena_seen", [], raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "banks").mkdir()
    for name in ("__init__", "lazy"):
        (tmp_path / "banks" / f"{name}.py").write_text("BANK = {}\n")
    (tmp_path / "banked.py").write_text(BANK)
    files = [str(tmp_path / "banked.py")]
    source, workspace = find("banked", listing(files)).source, Workspace(tmp_path, tmp_path, plugin_paths=files)
    for name in [name for name in sys.modules if name.partition(".")[0] == "banks"]:
        del sys.modules[name]
    workspace._kept -= {"banks", "banks.lazy"}
    for seed in (0, 1):
        assert execute(replace(of_this_worker(), method="banked", source=source, seed=seed), workspace).status == "done"
        assert sys.kdarena_seen[-1] == [[seed]] * 4


def test_importing_a_shipped_plugin_for_each_run_costs_little(tmp_path):
    source, workspace = find("crd", listing()).source, Workspace(tmp_path, tmp_path)
    workspace._kept -= {name for name in sys.modules if name.startswith("kdarena_")}
    first = workspace.plugin("crd", source)
    started = time.perf_counter()
    assert workspace.plugin("crd", source).implementation is not first.implementation
    assert time.perf_counter() - started < 0.5
