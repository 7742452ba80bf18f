"""What a run leaves changed is seen, and what it may change is not."""

import os
import random
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from torch.nn import functional

import kdarena.losses
from kdarena.engines.state import State, note_of
from kdarena.execute.left_running import running_children
from kdarena.method.origin import printing_to_stderr


@pytest.fixture(scope="module")
def taken():
    return State()


@pytest.fixture
def state(taken):
    taken.take()
    return taken


def changes(state):
    """What changed, except for a variable that pytest sets."""
    return [change for change in state.changes() if "PYTEST_CURRENT_TEST" not in change]


def other(*arguments, **keywords):
    raise AssertionError("a patched function was called")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (functional, "cross_entropy"),
        (torch, "softmax"),
        (torch.Tensor, "backward"),
        (torch.Tensor, "relu"),  # which hides that of a base class
        (torch.nn.Linear, "forward"),
        (torch.nn.BatchNorm2d, "forward"),
        (torch.nn.ReLU, "__init__"),
        (torch.optim.SGD, "step"),
        (torch.autograd, "grad"),
        (torch.linalg, "norm"),
        (kdarena.losses, "kl"),
    ],
)
def test_a_patched_function_is_named(state, monkeypatch, owner, name):
    monkeypatch.setattr(owner, name, other)
    assert [change for change in changes(state) if change.endswith(f".{name} patched")]


def test_a_removed_function_counts_and_an_added_one_does_not(state, monkeypatch):
    monkeypatch.setattr(functional, "of_a_late_import", other, raising=False)
    assert changes(state) == []
    monkeypatch.delattr(functional, "softplus")
    assert changes(state) == ["torch.nn.functional.softplus patched"]


def test_a_function_that_hides_one_of_pythons_counts(state, monkeypatch):
    monkeypatch.setattr(kdarena.losses, "sum", other, raising=False)
    assert changes(state) == ["kdarena.losses.sum patched"]


MODES = {
    "torch's autocast for cpu on (before: off)": (lambda: torch.set_autocast_enabled("cpu", True), lambda: torch.set_autocast_enabled("cpu", False)),
    "the type of torch's autocast for cpu torch.float16 (before: torch.bfloat16)": (
        lambda: torch.set_autocast_dtype("cpu", torch.float16),
        lambda: torch.set_autocast_dtype("cpu", torch.bfloat16),
    ),
    "torch's grad mode off (before: on)": (lambda: torch.set_grad_enabled(False), lambda: torch.set_grad_enabled(True)),
    "torch's default dtype torch.float64 (before: torch.float32)": (
        lambda: torch.set_default_dtype(torch.float64),
        lambda: torch.set_default_dtype(torch.float32),
    ),
    "torch's default device meta (before: cpu)": (lambda: torch.set_default_device("meta"), lambda: torch.set_default_device(None)),
    "torch's deterministic algorithms 2 (before: 0)": (lambda: torch.use_deterministic_algorithms(True), lambda: torch.use_deterministic_algorithms(False)),
    "torch's float32 matmul precision medium (before: highest)": (
        lambda: torch.set_float32_matmul_precision("medium"),
        lambda: torch.set_float32_matmul_precision("highest"),
    ),
    "torch.backends.mkldnn.deterministic on (before: off)": (
        lambda: setattr(torch.backends.mkldnn, "deterministic", True),
        lambda: setattr(torch.backends.mkldnn, "deterministic", False),
    ),
    "numbers too small to be normal flushed (before: kept)": (lambda: torch.set_flush_denormal(True), lambda: torch.set_flush_denormal(False)),
}


@pytest.mark.parametrize("change", MODES)
def test_a_mode_that_is_left_is_named_with_what_it_was(state, change):
    turn, back = MODES[change]
    turn()
    try:
        seen = changes(state)
    finally:
        back()
    assert change in seen


def test_a_hook_on_all_modules_counts(state):
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *arguments: None)
    assert changes(state) == ["number of hooks on all modules 1 (before: 0)"]
    handle.remove()


def test_the_environment_and_the_directory_count(state, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_DYNAMIC", "true")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    directory, path, variable = changes(state)
    assert directory.startswith(f"the current directory {tmp_path}"[:60])
    assert path.startswith(f"sys.path ['{tmp_path}"[:60])
    assert variable == "variable OMP_DYNAMIC of the environment true (before: not set)"


def test_a_thread_that_goes_on_counts_and_one_that_ends_does_not(state):
    stop = threading.Event()
    going_on, ending = threading.Thread(target=stop.wait, name="prefetch", daemon=True), threading.Thread(target=time.sleep, args=(0.01,))
    ending.start()
    going_on.start()
    assert changes(state) == ["thread 'prefetch' running"]
    stop.set()
    going_on.join()
    assert changes(state) == []


def test_a_process_that_goes_on_counts_and_one_that_ended_does_not():
    before = running_children()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert [change for change in running_children() if change not in before and f" {child.pid} " in change]
    child.communicate(b"\n")
    assert running_children() == before


def test_an_optimiser_that_torch_profiles_from_its_first_instance_on_is_not_patched(state):
    for kind in (torch.optim.AdamW, torch.optim.Adam, torch.optim.NAdam):  # the first inherits the second's step
        kind([torch.nn.Parameter(torch.zeros(1))])
    assert changes(state) == []


def test_training_by_the_harness_changes_nothing(state, tmp_path):
    from kdarena.execute.execute import execute
    from kdarena.execute.workspace import Workspace
    from kdarena.plan.spec import Budget, PhaseCost, RunSpec
    from kdarena.tracks import find_card

    spec = RunSpec(
        "digits", "student", "", "final", 0, Budget(60, "flop"), (PhaseCost("train", None, 1.0, 1.0, None, None, 0),), data=find_card("digits").digest(None)
    )
    assert execute(spec, Workspace(tmp_path, tmp_path, loaded=state.take)).status == "done"
    assert changes(state) == []


def test_looking_costs_about_a_millisecond(state):
    times = []
    for _ in range(20):
        started = time.perf_counter()
        changes(state)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.005


def test_a_note_is_one_line_that_counts_what_it_does_not_name():
    assert note_of(["the current directory /a\nb (before: /c)"]) == "left the current directory /a b (before: /c); its worker was replaced"
    assert note_of(list("abcde")) == "left a, b, c and 2 more; its worker was replaced"


def test_every_run_starts_with_the_same_draws_of_pythons_and_numpys_generators():
    from kdarena.execute.execute import seed_everything

    drawn = []
    for seed in (0, 0, 1):
        seed_everything(seed)
        drawn.append((random.random(), np.random.random_sample(), float(torch.rand(()))))
    assert drawn[0] == drawn[1]
    assert all(one != another for one, another in zip(drawn[0], drawn[2], strict=True))


def test_variables_that_libraries_set_when_they_are_first_used_do_not_count(state, monkeypatch):
    monkeypatch.delenv("KMP_INIT_AT_FORK", raising=False)
    state.take()
    monkeypatch.setitem(os.environ, "KMP_INIT_AT_FORK", "FALSE")
    assert changes(state) == []


def test_a_worker_has_loaded_what_plugins_compute_with_before_it_looks_at_its_state():
    code = """
import os, sys
from kdarena.engines import state, worker
def look():
    print(sorted({"kdarena.losses", "kdarena.schedules"} & set(sys.modules)), file=sys.stderr, flush=True)
    os._exit(0)
state.State = look
worker.main({"threads": 1, "teachers": "", "output": "", "data_root": None, "plugin_paths": [], "device": "cpu"})
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr.read().strip() == b"['kdarena.losses', 'kdarena.schedules']"


def test_what_a_worker_has_loaded_is_left_out_of_the_collectors_walks_and_till_then_there_are_none():
    code = """
import gc, os, sys
from kdarena.engines import worker
from kdarena.execute import workspace
def loads(*, loaded, **settings):
    before = gc.isenabled()
    loaded()
    print(before, gc.isenabled(), gc.get_freeze_count() > 100_000, file=sys.stderr, flush=True)
    os._exit(0)
workspace.Workspace = loads
worker.main({"threads": 1, "teachers": "", "output": "", "data_root": None, "own": [], "plugin_paths": [], "made_up": False, "device": "cpu"})
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr.read().strip() == b"False True True"


def test_a_standard_output_that_was_closed_is_named_and_a_plugin_is_loaded_all_the_same(state, monkeypatch):
    closed = open(os.devnull, "w")  # noqa: SIM115
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    assert changes(state) == ["standard output closed (before: open)"]
    with printing_to_stderr():
        pass
