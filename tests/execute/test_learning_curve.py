"""The learning curve of a run: where it is measured, what of, and that it changes nothing."""

import dataclasses
from typing import ClassVar

import pytest
import torch

from kdarena import Method, Paper, hookimpl, no_teachers
from kdarena.execute import learning_curve as module
from kdarena.execute.execute import execute
from kdarena.execute.train import Training
from kdarena.execute.workspace import Workspace
from kdarena.method.plugin import Plugin
from kdarena.plan.spec import Budget, CurvePlan, PhaseCost, RunSpec
from kdarena.testing.run import make_run
from kdarena.testing.task import toy_task
from kdarena.tracks import find_card
from kdarena.tracks.subsample import sampled
from kdarena.tracks.task import Task
from kdarena.tracks.values import Split

DIGITS = find_card("digits")
PLACES = (1 / 8, 1 / 4, 1 / 2, 3 / 4)
STEPS = 70


def spec(curve=None, **changes):
    cost = PhaseCost("train", None, 1.0, 1.0, None, None, 10)
    made = RunSpec("digits", "student", "", "final", 0, Budget(STEPS, "flop"), (cost,), data=DIGITS.digest(None), curve=curve)
    return dataclasses.replace(made, **changes)


@pytest.fixture
def bench(tmp_path):
    return Workspace(tmp_path, tmp_path)


def test_a_run_with_a_curve_has_the_numbers_and_the_weights_of_one_without(bench):
    plain, curved = execute(spec(), bench), execute(spec(CurvePlan(PLACES, 100)), bench)
    assert (plain.metrics, plain.weights, plain.test_samples) == (curved.metrics, curved.weights, curved.test_samples)
    assert plain.curves == {name: curve for name, curve in curved.curves.items() if name != "validation/top1"}


def test_the_curve_is_measured_at_parts_of_the_budget_and_at_the_end(bench):
    curve = execute(spec(CurvePlan(PLACES, 100)), bench).curves["validation/top1"]
    assert [step for step, _ in curve] == [9, 18, 35, 53, 70]
    assert curve[0][1] < curve[-1][1]


def test_on_the_whole_validation_part_the_curve_ends_with_the_runs_own_value(bench):
    result = execute(spec(CurvePlan((0.5,), 5000)), bench)
    assert result.curves["validation/top1"][-1] == (STEPS, result.metrics["validation/top1"])


def test_a_trial_and_a_run_without_validation_have_no_curve(bench):
    assert "validation/top1" not in execute(spec(purpose="tune"), bench).curves
    assert "validation/top1" not in execute(spec(CurvePlan(PLACES, 100), protocol="published"), bench).curves


def test_validation_is_not_read_before_the_last_step(bench, monkeypatch):
    events = []

    class Watching:
        method = Method("own", "t", Paper("t", "v", 2026, "u"), teachers=no_teachers)

        @hookimpl
        def loss(self, step):
            events.append("step")
            return {"ce": step.task.loss(step.student, step.targets)}

    read = Task.part_batches
    monkeypatch.setattr(Task, "part_batches", lambda task, part, split: events.append(part) or read(task, part, split))
    monkeypatch.setattr(bench, "plugin", lambda name, source: Plugin("own", Watching, Watching.method))
    assert execute(spec(CurvePlan(PLACES, 100), method="own"), bench).status == "done"
    assert events[:STEPS] == ["step"] * STEPS
    assert events.count("validation") == 1 + len(PLACES) + 1


def test_a_value_that_is_not_finite_is_left_out(monkeypatch):
    task = toy_task()
    network = task.new_network("toy-student")
    state = {name: torch.full_like(tensor, float("nan")) if tensor.is_floating_point() else tensor for name, tensor in network.state_dict().items()}
    monkeypatch.setattr(task, "evaluate", lambda network, part, split: {"top1": float(network.head.bias.detach().sum())})
    curve = module.learning_curve(task, network, [(3, state)], 10, Split(0))
    assert [step for step, _ in curve] == [10]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in network.state_dict().values())


# what is kept while a run trains
class Spied:
    """Keeps the state of the student before each step."""

    method = Method("spied", "t", Paper("t", "v", 2026, "u"), teachers=no_teachers)
    states: ClassVar[list] = []

    @hookimpl
    def loss(self, step):
        self.states.append({name: tensor.clone() for name, tensor in step.run.learner.student.state_dict().items()})
        return {"ce": step.task.loss(step.student, step.targets)}


def costs(*phases):
    return [PhaseCost(name, steps, 1.0, price, None, None, 0) for name, steps, price in phases]


def test_the_weights_that_are_kept_are_those_after_the_steps_that_are_named(monkeypatch):
    monkeypatch.setattr(Spied, "states", [])
    run = make_run(Spied, toy_task())
    training = Training(run.hooks, run, run.phases, costs(("train", None, 1.0)), 80.0, places=(0.25, 0.7))
    training()
    assert [steps for steps, _ in training.kept] == [20, 56]
    for steps, state in training.kept:
        parameters = dict(run.learner.student.named_parameters())
        # a batch norm's buffers have moved in the forward pass that precedes the loss
        assert all(torch.equal(state[name], Spied.states[steps][name]) for name in parameters)


def test_one_step_that_passes_several_places_is_kept_once():
    run = make_run(Spied, toy_task())
    training = Training(run.hooks, run, run.phases, costs(("train", None, 1.0)), 3.0, places=(0.1, 0.2, 0.3, 0.9))
    training()
    assert [steps for steps, _ in training.kept] == [1, 3]


def test_the_losses_are_read_at_the_same_steps_with_and_without_places():
    curves = []
    for places in ((), (0.1, 0.33, 0.8)):
        run = make_run(Spied, toy_task())
        training = Training(run.hooks, run, run.phases, costs(("train", None, 1.0)), 120.0, places=places)
        curves.append(training().curves)
    assert curves[0] == curves[1]
    assert [step for step, _ in curves[0]["train/ce"]] == [50, 100, 120]


# the samples
def test_fewer_samples_are_among_more_and_the_other_parts_are_whole():
    task = toy_task()
    few, more = (sampled(task, "validation", count).parts.rows("validation", Split(3)) for count in (5, 9))
    every = task.parts.rows("validation", Split(3))
    assert (len(few), len(more)) == (5, 9)
    assert set(few.tolist()) < set(more.tolist()) < set(every.tolist())
    assert torch.equal(sampled(task, "validation", 99).parts.rows("validation", Split(3)), every)
    assert torch.equal(sampled(task, "validation", 5).parts.rows("train", Split(3)), task.parts.rows("train", Split(3)))


def test_every_seed_has_samples_of_its_own():
    one, other = (sampled(toy_task(), "validation", 5).parts.rows("validation", Split(seed)).tolist() for seed in (0, 1))
    assert one != other
