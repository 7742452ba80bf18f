"""Runs side by side: each gives what it gives alone, and ends alone."""

import os
import random
import sys
import threading
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from kdarena_kd import kd
from kdarena_noisy import soft_randomization
from torch import nn

from kdarena import Learner, Method, Paper, Phase, hookimpl, no_teachers
from kdarena.engines.state import State
from kdarena.execute import together
from kdarena.execute.execute import execute, execute_together
from kdarena.execute.together import Disturbed
from kdarena.execute.workspace import Workspace
from kdarena.method.discovery import find, listing
from kdarena.method.plugin import STUDENT, Plugin
from kdarena.params import make_params
from kdarena.plan.spec import Budget, PhaseCost, RunSpec
from kdarena.testing.run import toy_teacher
from kdarena.testing.task import toy_task
from kdarena.tracks import find_card
from kdarena.tracks.checkpoints import save
from kdarena.tracks.values import Setting

PAPER = Paper("t", "v", 2026, "u")


class Draws:
    """Draws from every global generator and its own, and has dropout in a helper."""

    method = Method("draws", "t", PAPER)

    @hookimpl
    def build_student(self, run):
        self.dropout = nn.Dropout(0.5)
        return Learner(run.new_student(), {"dropout": self.dropout})

    @hookimpl
    def loss(self, step):
        own = torch.rand((), generator=step.run.generator, device=step.task.device)
        factor = torch.rand(()) + random.random() + float(np.random.rand()) + own
        return {"task": factor * step.task.loss(step.student, step.targets), "drop": step.apply(self.dropout, step.student.logits.float()).square().mean()}


def a_plugin(**hooks):
    """A class whose hooks are plain functions."""
    declared = Method("own", "t", PAPER, teachers=no_teachers)
    return type("Own", (), {"method": declared, **{name: hookimpl(function) for name, function in hooks.items()}})


def values(result):
    """What has to be the same, bit for bit."""
    return result.status, result.error, result.metrics, result.curves, result.phases, result.weights, result.steps, result.taken


class Bench:
    """A worker with the toy task.

    Attributes:
        plugins: in the place of installed ones, by name.
    """

    def __init__(self, folder, task=None):
        self.task = task or toy_task()
        self.plugins = {}
        self.workspace = Workspace(folder, folder)
        self.workspace.task = lambda name, precision, views: self.task
        self.workspace.plugin = lambda name, source: Plugin(name, self.plugins[name], self.plugins[name].method) if name in self.plugins else STUDENT
        torch.manual_seed(0)
        weights = save(toy_teacher(self.task), folder / "made.safetensors")
        (folder / "made.safetensors").rename(folder / f"{weights}.safetensors")
        self.reference = weights

    def spec(self, method, seed=0, steps=120, phases=("train",), **changes):
        plugin = self.plugins.get(method, STUDENT.implementation)
        teachers = tuple((one, self.reference) for one in plugin.method.teachers(self.task.card, make_params(plugin.method.Params, {})))
        costs = tuple(PhaseCost(phase, None, 1.0, 1.0, None, None, 10) for phase in phases)
        made = RunSpec(self.task.card.name, method, "", "final", seed, Budget(float(steps), "flop"), costs, teachers=teachers, reference=self.reference)
        return replace(made, **changes)

    def alone(self, specs):
        return [execute(spec, self.workspace) for spec in specs]

    def together(self, specs):
        """Results in the order of the specs."""
        results = {spec.key: result for spec, result in execute_together(specs, self.workspace)}
        return [results[spec.key] for spec in specs]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.mark.parametrize(("name", "shipped"), [("digits", (kd, soft_randomization)), ("grammar", (kd,))])
def test_seeds_and_methods_side_by_side_give_what_each_gives_alone_bit_by_bit(tmp_path, name, shipped):
    card = find_card(name)
    bench = Bench(tmp_path, card.load(card, Setting()))
    bench.plugins = {"draws": Draws} | {one.method.name: one for one in shipped}
    specs = [bench.spec("draws", steps=101), bench.spec("draws", seed=1, steps=51), *(bench.spec(one.method.name, steps=51) for one in shipped)]
    alone, side_by_side = bench.alone(specs), bench.together(specs)
    assert [result.status for result in alone] == ["done"] * len(specs)
    assert list(map(values, side_by_side)) == list(map(values, alone))
    assert [result.system["together"] for result in (*alone, *side_by_side)] == [1.0] * len(specs) + [float(len(specs))] * len(specs)


def test_runs_take_their_blocks_in_turn_and_a_result_is_given_as_soon_as_its_run_ends(bench):
    taken = []

    def loss(self, step):
        taken.append(step.run.seed)
        return {"task": step.task.loss(step.student, step.targets)}

    bench.plugins["own"] = a_plugin(loss=loss)
    specs = [bench.spec("own", seed=0, steps=150), bench.spec("own", seed=1, steps=60)]
    given = [(spec.seed, len(taken)) for spec, _ in execute_together(specs, bench.workspace)]
    assert taken == [0] * 50 + [1] * 50 + [0] * 50 + [1] * 10 + [0] * 50
    assert given == [(1, 210), (0, 210)]


def test_a_run_that_diverges_or_raises_ends_alone(bench):
    def loss(self, step):
        if step.run.seed == 1 and step.progress >= 0.5:
            raise ValueError("no more")
        return {"task": step.task.loss(step.student, step.targets) * (float("nan") if step.run.seed == 2 and step.progress >= 0.5 else 1.0)}

    bench.plugins["own"] = a_plugin(loss=loss)
    specs = [bench.spec("own", seed=seed) for seed in range(4)]
    alone, side_by_side = bench.alone(specs), bench.together(specs)
    assert [result.status for result in side_by_side] == ["done", "error", "diverged", "done"]
    assert list(map(values, side_by_side)) == list(map(values, alone))


def test_where_memory_runs_out_the_group_begins_anew_half_as_large_and_what_is_done_is_kept(bench):
    alive, built = weakref.WeakSet(), []

    def build_student(self, run):
        alive.add(self)
        built.append(run.seed)
        if len(alive) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Learner(run.new_student())

    bench.plugins["own"] = a_plugin(build_student=build_student)
    specs = [bench.spec("own", seed=seed, steps=51, purpose="tune") for seed in range(5)]
    side_by_side = bench.together(specs)
    assert built == [0, 1, 2, 3, 0, 1, 2, 3, 4]
    assert [(result.status, result.system["together"]) for result in side_by_side] == [("done", 2.0)] * 4 + [("done", 1.0)]
    assert list(map(values, side_by_side[3:])) == list(map(values, bench.alone(specs[3:])))


def test_a_run_that_needs_more_memory_than_there_is_ends_alone_for_lack_of_it(bench):
    def loss(self, step):
        if step.run.seed == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"task": step.task.loss(step.student, step.targets)}

    bench.plugins["own"] = a_plugin(loss=loss)
    assert [result.status for result in bench.together([bench.spec("own", seed=seed, steps=60) for seed in range(3)])] == ["done", "oom", "done"]


def test_what_a_neighbour_takes_is_not_its_own(bench):
    def prepare(run):
        end = time.process_time() + (0.5 if run.seed == 1 else 0.0)
        while time.process_time() < end:
            pass

    def schedule(self):
        return [Phase("first"), Phase("second", prepare=prepare)]

    bench.plugins["own"] = a_plugin(schedule=schedule)
    quiet, busy = bench.together([bench.spec("own", seed=seed, phases=("first", "second")) for seed in (0, 1)])
    assert busy.outside["prepare"] > 0.4
    assert sum(quiet.outside.values()) < 0.3
    assert busy.system["processor_s"] - quiet.system["processor_s"] > 0.3
    assert busy.system["total_s"] - quiet.system["total_s"] > 0.3
    assert quiet.spent_s > 0 and busy.spent_s < 0.4


def test_a_thread_that_a_neighbour_leaves_running_is_its_own(bench):
    end = threading.Event()

    def loss(self, step):
        if step.run.seed == 1:
            threading.Thread(target=end.wait, name="left", daemon=True).start()
        return {"task": step.task.loss(step.student, step.targets)}

    bench.plugins["own"] = a_plugin(loss=loss)
    quiet, leaves = bench.together([bench.spec("own", seed=seed) for seed in (0, 1)])
    end.set()
    assert (quiet.status, leaves.status) == ("done", "error")
    assert "left thread 'left' running" in leaves.error


def test_a_run_that_changes_what_numbers_depend_on_has_no_neighbours(bench, monkeypatch):
    monkeypatch.setenv("OMP_DYNAMIC", "false")
    state = State()

    def loss(self, step):
        if step.run.seed == 1 and step.progress >= 0.8:
            os.environ["OMP_DYNAMIC"] = "true"
        return {"task": step.task.loss(step.student, step.targets)}

    bench.plugins["own"] = a_plugin(loss=loss)
    bench.workspace.turned = lambda method: state.changes()
    given = execute_together([bench.spec("own", seed=0, steps=50), bench.spec("own", seed=1), bench.spec("own", seed=2)], bench.workspace)
    assert next(given)[0].seed == 0
    with pytest.raises(Disturbed, match="own of seed 1 left variable OMP_DYNAMIC of the environment true"):
        next(given)


def test_after_an_error_that_makes_the_device_useless_nobody_is_blamed(bench, monkeypatch):
    monkeypatch.setattr(together, "poisoned", lambda device: True)
    bench.plugins["own"] = a_plugin(loss=lambda self, step: 1 / 0 if step.run.seed else {"task": step.task.loss(step.student, step.targets)})
    with pytest.raises(Disturbed, match="the device can't be used any more"):
        list(execute_together([bench.spec("own", seed=seed) for seed in (0, 1)], bench.workspace))


MODULE = """
import sys
from kdarena import Method, Paper, hookimpl, no_teachers
import shared_bank

BANK = []
method = Method("banked", "my own", Paper("t", "v", 2026, "u"), teachers=no_teachers)

@hookimpl
def loss(step):
    import shared_bank as late  # as it is found while the run is under way
    for bank in (BANK, shared_bank.BANK, late.BANK, sys.modules[__name__].BANK):
        bank.append(step.run.seed)
    sys.kdarena_seen |= {frozenset(bank) for bank in (BANK, shared_bank.BANK, late.BANK)}
    return {"task": step.task.loss(step.student, step.targets)}
"""


def test_runs_share_no_module_of_their_plugin(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "kdarena_seen", set(), raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shared_bank.py").write_text("BANK = []\n")
    (tmp_path / "banked.py").write_text(MODULE)
    files = [str(tmp_path / "banked.py")]
    source, workspace = find("banked", listing(files)).source, Workspace(tmp_path, tmp_path, plugin_paths=files)
    sys.modules.pop("shared_bank", None)
    workspace._kept.discard("shared_bank")
    cost = PhaseCost("train", None, 1.0, 1.0, None, None, 10)
    specs = [RunSpec("digits", "banked", source, "tune", seed, Budget(120.0, "flop"), (cost,)) for seed in (0, 1)]
    assert [result.error for _, result in execute_together(specs, workspace)] == [None, None]
    assert sys.kdarena_seen == {frozenset({0}), frozenset({1})}


def test_a_teacher_that_was_given_is_scored_among_others(bench):
    specs = [bench.spec("student"), bench.spec("student", purpose="given", start=bench.reference, costs=(), teachers=())]
    assert [result.status for result in bench.together(specs)] == ["done", "done"]
