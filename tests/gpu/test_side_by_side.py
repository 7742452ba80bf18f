"""Runs side by side on a GPU: needs torch, pluggy, numpy, pytest and safetensors alone."""

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from kdarena import Learner, Method, Paper, hookimpl, no_teachers
from kdarena.execute.execute import execute, execute_together
from kdarena.execute.workspace import Workspace
from kdarena.method.plugin import STUDENT, Plugin
from kdarena.plan.spec import Budget, PhaseCost, RunSpec
from kdarena.testing.task import ToyTask, toy_task
from kdarena.tracks.values import Setting

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")]

TOLERANCE = 1e-5
STEPS = 50


class Draws:
    """Draws from every global generator and its own, and has dropout in a helper."""

    method = Method("draws", "t", Paper("t", "v", 2026, "u"), teachers=no_teachers)

    @hookimpl
    def build_student(self, run):
        self.dropout = nn.Dropout(0.5)
        return Learner(run.new_student(), {"dropout": self.dropout})

    @hookimpl
    def loss(self, step):
        own = torch.rand((), generator=step.run.generator, device=step.task.device)
        factor = torch.rand((), device=step.task.device) + random.random() + float(np.random.rand()) + own
        return {"task": factor * step.task.loss(step.student, step.targets), "drop": step.apply(self.dropout, step.student.logits.float()).square().mean()}


def workspace(folder):
    """A worker with the toy task on the GPU."""
    made = Workspace(folder, folder, device="cuda:0")
    task = ToyTask(toy_task().card, Setting(torch.device("cuda:0")))
    made.task = lambda name, precision, views=None: task
    made.plugin = lambda name, source: STUDENT if name == "student" else Plugin("draws", Draws, Draws.method)
    return made


def spec(method, seed=0, steps=STEPS, **changes):
    cost = PhaseCost("train", None, 1.0, 1.0, None, None, 10)
    return replace(RunSpec("toy", method, "", "final", seed, Budget(float(steps), "flop"), (cost,), device="cuda"), **changes)


def check_same(folder, alone, others):
    """The losses and the weights of runs, within the tolerance; an earlier student was moved aside."""
    for one, other in zip(alone, others, strict=True):
        assert (one.status, other.status, one.steps) == ("done", "done", other.steps)
        assert one.curves.keys() == other.curves.keys()
        for name, points in one.curves.items():
            assert [step for step, _ in points] == [step for step, _ in other.curves[name]]
            assert [value for _, value in other.curves[name]] == pytest.approx([value for _, value in points], rel=TOLERANCE)
        before, after = load_file(folder / f"alone-{one.checkpoint}"), load_file(folder / other.checkpoint)
        for name, tensor in before.items():
            torch.testing.assert_close(after[name], tensor, rtol=TOLERANCE, atol=TOLERANCE)


def done_alone(specs, bench):
    results = []
    for one in specs:
        results.append(execute(one, bench))
        (bench.output / results[-1].checkpoint).rename(bench.output / f"alone-{results[-1].checkpoint}")
    return results


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    return workspace(tmp_path)


def test_side_by_side_equals_alone_over_fifty_steps(bench, tmp_path):
    specs = [spec("draws", seed) for seed in range(4)] + [spec("student", seed) for seed in range(4)]
    alone = done_alone(specs, bench)
    results = {one.key: result for one, result in execute_together(specs, bench)}
    together = [results[one.key] for one in specs]
    check_same(tmp_path, alone, together)
    assert {result.system["together"] for result in together} == {8.0}
    assert len({result.metrics["test/nll"] for result in together}) == 8


def test_the_parts_of_a_group_are_its_time(bench):
    execute(spec("draws"), bench)  # libraries set themselves up
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    results = [result for _, result in execute_together([spec("draws", seed, steps=200) for seed in range(4)], bench)]
    end.record()
    end.synchronize()
    parts = [result.spent_s for result in results]
    assert all(part > 0 for part in parts)
    assert sum(parts) <= begin.elapsed_time(end) / 1000
    assert max(parts) < 2 * min(parts)


def test_the_memory_of_a_group_is_that_of_its_runs(bench):
    one = execute(spec("student"), bench).system
    several = next(result for _, result in execute_together([spec("student", seed) for seed in range(8)], bench)).system
    assert 0 < one["own_memory_mib"] <= several["own_memory_mib"] <= 8 * one["own_memory_mib"] + 64
    assert several["free_memory_mib"] > several["own_memory_mib"]
    again = execute(spec("student", 1), bench).system
    assert again["own_memory_mib"] <= one["own_memory_mib"] + 4, "what earlier runs have left is free"


def test_where_memory_runs_out_the_group_begins_anew_half_as_large(bench, monkeypatch):
    alive = []

    def build_student(self, run):
        free, _ = torch.cuda.mem_get_info()
        alive.append(run.seed)
        self.held = torch.empty(int(0.4 * free) if len(alive) == 1 else 2**50, dtype=torch.uint8, device="cuda") if len(alive) < 3 else None
        return Learner(run.new_student())

    monkeypatch.setattr(Draws, "build_student", hookimpl(build_student), raising=True)
    monkeypatch.setattr(Draws, "loss", hookimpl(lambda self, step: {"task": step.task.loss(step.student, step.targets)}))
    results = [result for _, result in execute_together([spec("draws", seed) for seed in range(4)], bench)]
    assert [(result.status, result.system["together"]) for result in results] == [("done", 2.0)] * 4
    assert alive == [0, 1, 0, 1, 2, 3]


def group(folder):
    """What the process of the test below does: a group whose first run ends long before the others."""
    torch.backends.cudnn.deterministic = True
    for one, result in execute_together([spec("draws", 0), spec("draws", 1, 100_000), spec("draws", 2, 100_000)], workspace(Path(folder))):
        print(json.dumps({"key": one.key, "result": result.to_json()}), flush=True)


def test_a_killed_group_resumes(bench, tmp_path):
    (tmp_path / "group").mkdir()
    code = "import sys; sys.path[:] = sys.argv[2:]; from gpu.test_side_by_side import group; group(sys.argv[1])"
    path = [str(Path(__file__).parents[1]), *sys.path]
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "group"), *path], stdout=subprocess.PIPE)
    first = json.loads(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert (first["key"], first["result"]["status"]) == (spec("draws", 0).key, "done")
    # the device is as it was: the others are run again
    left = [spec("draws", 1), spec("draws", 2)]
    alone = done_alone(left, bench)
    results = {one.key: result for one, result in execute_together(left, bench)}
    check_same(tmp_path, alone, [results[one.key] for one in left])
