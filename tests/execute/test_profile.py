import itertools
import math

import pytest
import torch
from torch import nn

from kdarena import Learner, Method, Paper, Phase, hookimpl, no_teachers
from kdarena.execute import profile as profile_module
from kdarena.execute.profile import _ratio_of_means, profile
from kdarena.method.student import Student
from kdarena.plan.cost import CostProfile, PhaseProfile
from kdarena.testing.run import make_run
from kdarena.testing.task import toy_task
from kdarena.tracks.values import Split


class Twice:
    """Costs two students: each step runs the student and a peer of the same network."""

    method = Method("twice", "t", Paper("t", "v", 2026, "u"), teachers=no_teachers)

    @hookimpl
    def build_student(self, run):
        return Learner(run.new_student(), {"peer": run.new_student(peer=1)})

    @hookimpl
    def loss(self, step):
        peer = step.forward(step.learner.helpers["peer"])
        return {"own": step.task.loss(step.student, step.targets), "peer": step.task.loss(peer, step.targets)}


class Fits:
    """A phase that fits something in fixed steps, then trains."""

    method = Method("fits", "t", Paper("t", "v", 2026, "u"), teachers=no_teachers)

    @hookimpl
    def schedule(self):
        def prepare(run):
            self.seen = []

        def process(step):
            assert len(self.seen) < 3, "the phase has three steps"
            self.seen.append(1)
            torch.ones(64, 64) @ torch.ones(64, 64)

        return [Phase("fit", steps=3, prepare=prepare, process=process, data="none"), Phase("train")]


def built(plugin, task):
    run = make_run(plugin, task)
    return run.hooks, run


def measure(plugin, *, timed, task=None):
    task = task or toy_task()
    return profile(lambda: built(plugin, task), lambda: built(Student, task), timed=timed)


def test_operations_are_counted_on_one_step_of_each_phase():
    (student,), _ = measure(Student, timed=False)
    (twice,), _ = measure(Twice, timed=False)
    assert student.flops > 0
    assert twice.flops == 2 * student.flops


def test_counted_operations_are_those_of_the_layers():
    """A linear student: forward 2·B·D·C, backward to the weights as much, and none to the inputs."""
    task = toy_task()
    batch, features = task.card.recipe.batch_size, int(next(task.batches(Split(0), "plain")).inputs[0].numel())

    class Linear:
        method = Method("linear", "t", Paper("t", "v", 2026, "u"), teachers=no_teachers)

        @hookimpl
        def loss(self, step):
            flat = step.inputs.flatten(1)
            logits = step.apply(step.learner.helpers["linear"], flat)
            return {"linear": nn.functional.cross_entropy(logits, step.targets)}

        @hookimpl
        def build_student(self, run):
            torch.manual_seed(0)
            return Learner(run.new_student(), {"linear": nn.Linear(features, 4)})

        @hookimpl
        def schedule(self):
            from kdarena import Update

            return [Phase("train", lambda run: [Update("student", run.learner.helpers["linear"].parameters())])]

    (measured,), _ = measure(Linear, timed=False, task=task)
    assert measured.flops == 2 * (2 * batch * features * 4)


def test_a_phase_with_fixed_steps_is_begun_anew_when_they_are_used_up():
    measures, student_s = measure(Fits, timed=True)
    assert [(one.phase, one.steps) for one in measures] == [("fit", 3), ("train", None)]
    assert measures[0].epochs == 0.0
    assert measures[0].flops == 2 * 64**3
    assert student_s is not None
    assert all(one.relative is not None and one.relative > 0 for one in measures)


def test_profile_leaves_no_trace_in_the_generators_of_a_run():
    task = toy_task()
    before = make_run(Student, task)
    measure(Student, timed=False, task=task)
    after = make_run(Student, task)
    for one, two in zip(before.learner.student.parameters(), after.learner.student.parameters(), strict=True):
        assert torch.equal(one, two)


def test_drift_of_the_machine_cancels_in_the_ratio():
    # a machine that slows down steadily: method, student, student, method
    speeds = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]
    own = [3 * speeds[position] for position in (0, 3, 4, 7)]
    student = [speeds[position] for position in (1, 2, 5, 6)]
    ratio, error = _ratio_of_means(own, student)
    assert ratio == pytest.approx(3.0)
    assert error == pytest.approx(0.0, abs=1e-12)


class Blocks:
    """Blocks of steps that took so long, in turn; the clock moves on by a tenth of a second a block."""

    def __init__(self, clock, *seconds):
        self.clock, self.left, self.steps = clock, itertools.cycle(seconds), 0

    def seconds(self):
        self.clock.append(None)
        return next(self.left)


@pytest.mark.parametrize(
    ("own", "limit", "expected"),
    [
        ((2.0,), 0.42, 2 + 8),  # two groups at least, and those agree
        ((2.0, 2.1), 0.42, 2 + 8),  # so do these, nearly: at the limit that is good enough
        ((2.0, 2.0, 2.0, 3.0, 3.0), 0.42, 2 + 16),  # far apart: as long again, up to four times the limit
    ],
)
def test_a_hasty_profile_goes_on_while_its_error_is_large(monkeypatch, own, limit, expected):
    clock = []
    monkeypatch.setattr(profile_module.time, "perf_counter", lambda: 0.1 * len(clock))
    alive = []
    profile_module._ratio(Blocks(clock, *own), Blocks(clock, 1.0), limit, False, lambda: alive.append(len(clock)))
    assert len(clock) == expected
    assert alive == sorted(set(alive)), "a sign of life after each block"
    assert len(alive) >= 6


def test_one_group_of_blocks_has_no_error_estimate():
    assert _ratio_of_means([2.0, 2.0], [1.0, 1.0]) == (2.0, math.inf)


def test_costs_convert_to_each_unit():
    phase = PhaseProfile("train", None, 1.0, 0.1, 500, relative=2.5, error=0.01)
    profile = CostProfile("k", (phase,), 10, 0.004, 1.0, 1.0, 7)
    assert profile.unit_cost(phase, "flop", None) == 500
    assert profile.unit_cost(phase, "epochs", None) == 0.1
    assert profile.unit_cost(phase, "s", 0.004) == pytest.approx(0.01)
    with pytest.raises(ValueError):
        profile.unit_cost(phase, "s", None)
