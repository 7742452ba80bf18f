import gc
import itertools
import time
from dataclasses import replace
from random import Random
from typing import ClassVar

import pytest
import torch
from torch import nn

from kdarena import Learner, Method, Paper, Phase, hookimpl, no_teachers
from kdarena.execute.left_running import LeftRunning
from kdarena.execute.profile import _Block, _measure, profile
from kdarena.method.student import Student
from kdarena.plan.cost import CostProfile, PhaseProfile
from kdarena.plan.profile_parts import cost_of
from kdarena.plan.profile_rule import RULES
from kdarena.testing.run import make_run
from kdarena.testing.task import toy_task
from kdarena.tracks.values import Split

SHORT = replace(RULES["cpu"], block_seconds=0.01)


def groups_of(count):
    """A rule of so many groups, whatever they say."""
    return replace(RULES["cpu"], enough_groups=count, most_groups=count)


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
    return profile(lambda: built(plugin, task), lambda: built(Student, task), timed=timed, rule=SHORT)


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


class Blocks:
    """Blocks of steps that took so long, in turn."""

    ready = False

    def __init__(self, *seconds):
        self.left = itertools.chain([1.0, 1.0], itertools.cycle(seconds))  # the first two find the length of a block

    def seconds(self):
        return next(self.left)

    def take_for(self, seconds):
        self.seconds()

    def settle(self, steps):
        pass


def test_a_phase_of_few_steps_is_not_begun_anew_to_settle():
    run = make_run(Fits, toy_task())
    block = _Block(run.hooks, run, run.phases[0], {}, run.batches("augmented"), itertools.repeat((0.5, 0.5)))
    block.settle(12)
    assert len(run.instance.seen) == 3


def test_drift_of_the_machine_cancels_in_the_ratio():
    # a machine that slows down steadily: method, student, student, method
    speeds = [1.0 + 0.1 * number for number in range(16)]
    own = [3 * speeds[position] for group in range(0, 16, 4) for position in (group, group + 3)]
    student = [speeds[position] for group in range(0, 16, 4) for position in (group + 1, group + 2)]
    ratios, times = _measure(Blocks(*own), Blocks(*student), groups_of(4), lambda: None)
    assert cost_of([ratios]) == pytest.approx((3.0, 0.0), abs=1e-12)
    assert times == student


def test_a_profile_shows_a_sign_of_life_after_each_block():
    alive = []
    ratios, _ = _measure(Blocks(2.0), Blocks(1.0), groups_of(3), lambda: alive.append(1))
    assert (len(ratios), len(alive)) == (3, 4 + 4 * 3)


class Watched:
    """Notes the seed, and the progress of each of its steps, in a phase of fixed steps, and in one of a third and one of two thirds of the rest."""

    method = Method("watched", "t", Paper("t", "v", 2026, "u"), teachers=no_teachers)
    seen: ClassVar[list[tuple[str, float, float]]] = []

    @hookimpl
    def schedule(self):
        return [Phase("fit", steps=2, process=self.note, data="none"), Phase("first", share=1.0), Phase("second", share=2.0)]

    def note(self, step):
        self.seen.append((step.phase, float(step.progress), float(step.run_progress)))

    @hookimpl
    def loss(self, step):
        self.note(step)
        return {"task": step.task.loss(step.student, step.targets)}


class Steps:
    """Notes for each of its steps how many guards there were before it, and whether Python's collector may come in between."""

    method = Method("steps", "t", Paper("t", "v", 2026, "u"), teachers=no_teachers)
    seen: ClassVar[list[tuple[int, bool]]] = []

    @hookimpl
    def loss(self, step):
        self.seen.append((len(GUARDS), gc.isenabled()))
        return {"task": step.task.loss(step.student, step.targets)}


GUARDS: list[int] = []


def test_guards_are_around_blocks_of_steps_and_no_collection_of_cycles_falls_into_a_block(monkeypatch):
    task, before = toy_task(), LeftRunning.new
    Steps.seen.clear()
    monkeypatch.setattr(LeftRunning, "new", lambda running: GUARDS.append(1) or before(running))
    profile(lambda: built(Steps, task), lambda: built(Student, task), timed=True, rule=SHORT)
    blocks = [list(steps) for _, steps in itertools.groupby(Steps.seen, key=lambda seen: seen[0])]
    assert max(map(len, blocks)) > 3
    assert [collecting for block in blocks[-4:] for _, collecting in block] == [False] * sum(map(len, blocks[-4:]))
    assert gc.isenabled()


def progresses(seed):
    Watched.seen.clear()
    task = toy_task()
    profile(lambda: built(Watched, task), lambda: built(Student, task), timed=True, random=Random(seed), rule=SHORT)
    return {name: [pair for phase, *pair in Watched.seen if phase == name] for name in ("fit", "first", "second")}


def test_each_step_of_a_profile_is_at_another_progress_that_a_run_may_have():
    drawn = progresses(0)
    for name, begin, part in (("fit", 0.0, 0.0), ("first", 0.0, 1 / 3), ("second", 1 / 3, 2 / 3)):
        values = [progress for progress, _ in drawn[name]]
        assert len(set(values)) == len(values) >= 15
        assert 0 <= min(values) < 0.5 < max(values) < 1  # how many are drawn depends on the time that steps take
        assert [of_run for _, of_run in drawn[name]] == pytest.approx([begin + part * value for value in values], abs=1e-6)


def test_the_progress_is_drawn_from_the_generator_that_is_given():
    first, again, other = (progresses(seed)["fit"][:3] for seed in (0, 0, 1))
    assert first == again != other


def test_what_begins_a_phase_is_no_step():
    def schedule():
        def prepare(run):
            begun.append(spin(0.02))

        return [Phase("fit", steps=2, prepare=prepare, process=lambda step: spin(0.001), data="none"), Phase("train")]

    begun = []
    slow = type("Slow", (), {"method": Student.method, "schedule": staticmethod(hookimpl(schedule))})
    task = toy_task()
    run = make_run(slow, task)
    block = _Block(run.hooks, run, run.phases[0], {}, task.batches(run.split, "augmented"), itertools.repeat((0.5, 0.5)))
    block.steps = 20
    assert 0.001 <= block.seconds() < 0.009  # with what begins the phase it would be 0.011
    assert len(begun) > 10


def spin(seconds):
    """Work for so long."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_costs_convert_to_each_unit():
    phase = PhaseProfile("train", None, 1.0, 0.1, 500, relative=2.5, error=0.01)
    profile = CostProfile("k", (phase,), 10, 0.004, 1.0, 1.0, 7)
    assert profile.unit_cost(phase, "flop", None) == 500
    assert profile.unit_cost(phase, "epochs", None) == 0.1
    assert profile.unit_cost(phase, "s", 0.004) == pytest.approx(0.01)
    with pytest.raises(ValueError):
        profile.unit_cost(phase, "s", None)
