"""A worker's death is a status; the engine goes on."""

import signal
from pathlib import Path

import pytest
import torch
from engines.tools import result_of

from kdarena.engines.engine import spec_from, to_message
from kdarena.engines.local import ALLOCATOR, LocalEngine, worker_environment
from kdarena.execute.together import poisoned
from kdarena.method.discovery import discover
from kdarena.plan.spec import Budget, PhaseCost, RunSpec
from kdarena.tracks import find_card

ILL = """
import ctypes, importlib.util, os, signal, sys, time
import torch
from kdarena import Method, Paper, hookimpl, no_teachers

def make(name, ill):
    class Ill:
        method = Method(name, name, Paper("t", "v", 2026, "u"), teachers=no_teachers)
        @hookimpl
        def loss(self, step):
            if step.progress == 0:
                print("a plugin may print what it likes")
            ill()
            return {"task": step.task.loss(step.student, step.targets)}
    return Ill

def memory():
    raise torch.OutOfMemoryError("CUDA out of memory")

def load():
    name = "loaded_late"
    if name not in sys.modules:
        path = os.path.join(os.path.dirname(__file__), name + ".py")
        specification = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(sys.modules[name])

variants = (
    make("loads", load),
    make("healthy", lambda: None),
    make("segfault", lambda: ctypes.string_at(0)),
    make("killed", lambda: os.kill(os.getpid(), signal.SIGKILL)),
    make("endless", lambda: time.sleep(3600)),
    make("leaves", lambda: os._exit(3)),
    make("memory", memory),
    make("raises", lambda: 1 / 0),
    make("poisons", lambda: setattr(sys.modules["kdarena.execute.together"].poisoned, "__code__", (lambda device: True).__code__) or 1 / 0),
)
"""


@pytest.fixture(scope="module")
def plugin_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugins") / "ill.py"
    path.write_text(ILL)
    path.with_name("loaded_late.py").write_text("W = 1.0\n")
    return path


@pytest.fixture
def engine(tmp_path, plugin_file):
    made = LocalEngine(
        devices=["cpu"], threads=1, teachers=tmp_path / "t", output=tmp_path / "o", log=tmp_path / "log", plugin_paths=[str(plugin_file)], silence_limit=20.0
    )
    yield made
    made.close()


def spec(method, plugin_file):
    source = next(one.source for one in discover([plugin_file]) if one.name == method)
    steps = 60
    cost = PhaseCost("train", None, 1.0, 1.0, None, None, 0)
    return RunSpec("digits", method, source, "final", 0, Budget(steps, "flop"), (cost,), data=find_card("digits").digest(None))


def test_after_every_kind_of_death_the_next_run_is_done(engine, plugin_file):
    expected = {
        "segfault": ("error", "SIGSEGV"),
        "killed": ("killed", "from outside (SIGKILL)"),
        "leaves": ("error", "status 3"),
        "memory": ("oom", "out of memory"),
        "raises": ("error", "plugin 'raises', hook 'loss': ZeroDivisionError"),
    }
    for method, (status, text) in expected.items():
        result = result_of(engine, spec(method, plugin_file))
        assert (result.status, text in result.error) == (status, True), result
    assert result_of(engine, spec("healthy", plugin_file)).status == "done"


def test_a_worker_whose_device_a_run_has_poisoned_takes_no_other(engine, plugin_file):
    assert result_of(engine, spec("raises", plugin_file)).status == "error"
    (kept,) = engine._workers
    assert "ZeroDivisionError" in result_of(engine, spec("poisons", plugin_file)).error
    assert engine._workers == []
    assert result_of(engine, spec("healthy", plugin_file)).status == "done"
    (fresh,) = engine._workers
    assert fresh.process.pid != kept.process.pid


def test_an_assertion_on_a_gpu_poisons_its_process_and_an_error_in_python_does_not(monkeypatch):
    def failed(device):
        raise RuntimeError("CUDA error: device-side assert triggered")

    assert not poisoned("cpu")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    assert not poisoned("cuda:0")
    monkeypatch.setattr(torch.cuda, "synchronize", failed)
    assert poisoned("cuda:0")


def test_an_endless_loop_is_a_timeout(tmp_path, plugin_file):
    engine = LocalEngine(
        devices=["cpu"], threads=1, teachers=tmp_path / "t", output=tmp_path / "o", log=tmp_path / "log", plugin_paths=[str(plugin_file)], silence_limit=15.0
    )
    try:
        result = result_of(engine, spec("endless", plugin_file))
    finally:
        engine.close()
    assert (result.status, "endless loop" in result.error) == ("timeout", True)


def test_a_result_is_the_same_in_a_worker_and_here(engine, plugin_file, tmp_path):
    from kdarena.execute.execute import execute
    from kdarena.execute.workspace import Workspace

    torch.set_num_threads(1)
    one = spec("healthy", plugin_file)
    here = execute(one, Workspace(tmp_path, tmp_path, plugin_paths=[str(plugin_file)]))
    there = result_of(engine, one)
    assert (here.metrics, here.curves, here.phases) == (there.metrics, there.curves, there.phases)


def test_a_worker_finds_modules_where_the_command_does_and_not_in_the_current_folder(engine, plugin_file, tmp_path, monkeypatch):
    for name in ("kdarena", "torch"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('of the current folder')")
    monkeypatch.chdir(tmp_path)
    assert result_of(engine, spec("healthy", plugin_file)).status == "done"


def test_code_that_a_hook_loads_is_a_note_of_its_run_and_of_no_other(engine, plugin_file):
    notes = [result_of(engine, spec(method, plugin_file)).notes for method in ("healthy", "loads", "loads", "healthy")]
    line = "loads loaded_late.py while it runs, which is not part of its code's digest: import it at the top of the file"
    assert notes == [(), (line,), (line,), ()]


def test_a_worker_ends_when_its_parent_is_gone(engine, plugin_file):
    assert result_of(engine, spec("healthy", plugin_file)).status == "done"
    process = engine._workers[0].process
    process.stdin.close()
    assert process.wait(timeout=20) == -signal.SIGKILL  # with its group


def test_jobs_survive_the_way_to_a_worker_and_back(plugin_file):
    one = spec("healthy", plugin_file)
    assert spec_from(to_message(one)) == one


def test_thread_counts_and_allocator_are_set_before_a_worker_starts():
    environment = worker_environment({"PATH": "x"}, 1)
    assert environment["OMP_NUM_THREADS"] == "1"
    assert ALLOCATOR.items() <= environment.items()
    assert worker_environment({"MALLOC_TOP_PAD_": "7"}, 0)["MALLOC_TOP_PAD_"] == "7"


def test_what_is_compiled_for_a_gpu_is_kept_in_the_folder_that_is_given_and_compiled_by_the_worker_itself(tmp_path):
    environment = worker_environment({}, 0, tmp_path)
    assert environment["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path.resolve())
    assert environment["TORCHINDUCTOR_COMPILE_THREADS"] == "1"  # processes that compile ahead would be left running by a run
    assert "TORCHINDUCTOR_CACHE_DIR" not in worker_environment({}, 0)


def test_what_plugins_print_goes_to_the_log(engine, plugin_file, tmp_path):
    result_of(engine, spec("healthy", plugin_file))
    assert "a plugin may print what it likes" in Path(tmp_path / "log").read_text()
