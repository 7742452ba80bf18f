"""Captured steps: what they leave is what eager steps leave, and what can't be captured is eager with its reason."""

import itertools
import random
from dataclasses import replace

import pytest
import torch
from torch import nn

from kdarena import Learner, Method, Paper, Phase, Update, hookimpl, no_teachers
from kdarena.errors import Diverged
from kdarena.execute.capture import NotCaptured
from kdarena.execute.captured_steps import MOST_SHAPES, TOO_MANY
from kdarena.execute.train import Training, begin_phase
from kdarena.plan.spec import PhaseCost
from kdarena.schedules import linear
from kdarena.testing.replays import Replays
from kdarena.testing.run import make_run
from kdarena.testing.task import toy_task

METHOD = Method("plain", "t", Paper("t", "v", 2026, "u"), teachers=no_teachers)


def plugin(**hooks):
    return type("Plugin", (), {"method": METHOD, **{name: staticmethod(hookimpl(function)) for name, function in hooks.items()}})


class WithState:
    """A method with a loss that is the task's, weighted by what a subclass says."""

    method = METHOD

    @hookimpl
    def loss(self, step):
        return {"all": self.weight(step) * step.task.loss(step.student, step.targets)}


def trained(one, steps=120, captured=True, **task):
    """A run's training of so many steps, by the harness's own loop."""
    run = make_run(one, toy_task(**task))
    if captured:
        run.hooks.capture = Replays()
    costs = [PhaseCost(phase.name, phase.steps, phase.share, 1.0, None, None, 0) for phase in run.phases]
    training = Training(run.hooks, run, run.phases, costs, float(steps))
    training()
    return run, training


def eager_and_captured(one, steps=120, **task):
    return trained(one, steps, captured=False, **task), trained(one, steps, **task)


def weights(run):
    return {name: tensor for module in run.learner.modules() for name, tensor in module.state_dict().items()}


def assert_same(eager, captured):
    (run, training), (other, other_training) = eager, captured
    for name, tensor in weights(run).items():
        assert torch.equal(tensor, weights(other)[name]), name
    assert training.trained.curves == other_training.trained.curves
    assert (training.steps, training.trained.samples, training.student_updates()) == (
        other_training.steps,
        other_training.trained.samples,
        other_training.student_updates(),
    )


def reason_of(one):
    """Why the steps of a method's phase are eager."""
    eager, captured = eager_and_captured(one, 12)
    assert_same(eager, captured)
    return captured[0].hooks.eager.get("train")


def with_updates(updates, **helpers):
    """A method whose schedule has these updates of its learner."""

    def build_student(run):
        return Learner(run.new_student(), {name: make() for name, make in helpers.items()})

    def schedule(run):
        return [Phase("train", lambda run: updates(run.learner))]

    def loss(step):
        critic = step.learner.helpers["critic"]
        if step.update == "critic":
            return {"gap": (step.apply(critic, step.student.logits.detach()).mean() - 1).square()}
        return {
            "task": step.task.loss(step.student, step.targets),
            "said": step.call_frozen(critic, step.student.logits).mean() * linear(step.progress, 0.0, 0.1),
        }

    return plugin(build_student=build_student, schedule=schedule, loss=loss)


# what captured steps leave
def test_a_captured_run_is_the_eager_run_bit_for_bit():
    eager, captured = eager_and_captured(plugin())
    assert_same(eager, captured)
    assert captured[0].hooks.eager == {}
    assert (captured[0].hooks.capture.captured, captured[0].hooks.capture.replayed) == (1, 116)


def test_so_is_one_of_several_updates_with_optimisers_of_their_own_that_follow_their_curves():
    def updates(learner):
        return [
            Update("critic", learner.helpers["critic"].parameters(), lambda trained: torch.optim.Adam(trained, lr=1e-3, fused=True), before=True, repeat=2),
            Update("student", learner.student.parameters(), curve=lambda progress: 1 - progress, clip=0.5),
        ]

    eager, captured = eager_and_captured(with_updates(updates, critic=lambda: nn.Linear(4, 1)))
    assert_same(eager, captured)
    assert captured[0].hooks.eager == {} and captured[0].hooks.capture.replayed == 116


def test_an_optimiser_that_was_not_fused_is_within_a_millionth():
    def updates(learner):
        return [
            Update("critic", learner.helpers["critic"].parameters(), lambda trained: torch.optim.SGD(trained, lr=0.01, momentum=0.9)),
            Update("student", learner.student.parameters()),
        ]

    (run, _), (other, _) = eager_and_captured(with_updates(updates, critic=lambda: nn.Linear(4, 1)), 30)
    assert other.hooks.eager == {} and other.hooks.capture.replayed > 0
    for name, tensor in weights(run).items():
        torch.testing.assert_close(tensor, weights(other)[name], rtol=1e-5, atol=1e-6)


def test_draws_of_a_captured_run_are_those_of_the_eager_run():
    def loss(step):
        noisy = step.inputs + torch.randn(step.inputs.shape, generator=step.run.generator)
        return {"task": step.task.loss(step.forward(step.learner.student, nn.functional.dropout(noisy, 0.2)), step.targets)}

    eager, captured = eager_and_captured(plugin(loss=loss))
    assert_same(eager, captured)
    assert captured[0].hooks.capture.replayed == 116


def test_a_state_that_follows_each_step_is_kept_in_place():
    class Average:
        method = METHOD

        @hookimpl
        def schedule(self, run):
            self.average = [parameter.detach().clone() for parameter in run.learner.student.parameters()]
            return [Phase("train", lambda run: [Update("student", run.learner.parameters(), after=self.follow)])]

        @torch.no_grad()
        def follow(self, step):
            for average, parameter in zip(self.average, step.learner.student.parameters(), strict=True):
                average.lerp_(parameter, 0.1)

    eager, captured = eager_and_captured(Average)
    assert_same(eager, captured)
    assert captured[0].hooks.capture.replayed == 116
    assert all(map(torch.equal, eager[0].instance.average, captured[0].instance.average))


def test_a_process_is_captured_too():
    class Collect:
        method = METHOD

        @hookimpl
        def schedule(self, run):
            self.sum = torch.zeros(())
            return [Phase("collect", steps=10, process=self.collect, data="plain"), Phase("train")]

        def collect(self, step):
            self.sum.add_(step.inputs.sum())

    eager, captured = eager_and_captured(Collect, 30, train=80)
    assert_same(eager, captured)
    assert torch.equal(eager[0].instance.sum, captured[0].instance.sum)
    assert captured[0].hooks.eager == {} and captured[0].hooks.capture.captured == 2


def test_each_shape_of_batches_has_a_capture_of_its_own():
    def schedule(run):
        return [Phase("train", data="plain")]

    eager, captured = eager_and_captured(plugin(schedule=schedule), 60)
    assert_same(eager, captured)
    assert captured[0].hooks.capture.captured == 2  # of whole batches and of the last, smaller one
    assert captured[0].hooks.eager == {}


def test_steps_on_more_shapes_than_there_are_captures_for_are_eager_and_said():
    run = make_run(plugin(), toy_task(train=72))
    run.hooks.capture = Replays()
    stepper, batches = begin_phase(run.hooks, run, run.phases[0], {}, run.augmented)
    whole = next(batches)
    sizes = itertools.islice(itertools.cycle(range(2, 2 + MOST_SHAPES)), 5 * MOST_SHAPES)

    def part(size):
        repeated = torch.arange(size) % 16
        return replace(whole, inputs=whole.inputs[repeated], targets=whole.targets[repeated], index=whole.index[repeated])

    for size in sizes:
        stepper.take(part(size), 0.0, 0.0)
    assert run.hooks.eager == {} and run.hooks.capture.captured == MOST_SHAPES
    replayed = run.hooks.capture.replayed
    for _ in range(6):
        stepper.take(part(40), 0.0, 0.0)
    assert run.hooks.eager == {"train": TOO_MANY} and run.hooks.capture.captured == MOST_SHAPES
    stepper.take(part(2), 0.0, 0.0)
    assert run.hooks.capture.replayed == replayed + 1


def test_terms_of_every_step_are_read_however_many_there_are():
    def terms(captured):
        run = make_run(plugin(), toy_task())
        run.hooks.capture = Replays() if captured else None
        stepper, batches = begin_phase(run.hooks, run, run.phases[0], {}, run.augmented)
        for _ in range(130):
            stepper.take(next(batches), 0.0, 0.0)
        return dict(stepper.read_terms())

    assert terms(True) == terms(False)


def test_the_loss_that_is_not_finite_is_found_in_a_replayed_step():
    class Broken(WithState):
        def weight(self, step):
            return torch.where(step.progress > 0.5, torch.inf, 1.0)

    with pytest.raises(Diverged, match="step 21"):
        trained(Broken, 40)


# what is eager, and why
def test_a_python_number_that_follows_the_progress_is_a_reason():
    class Follows(WithState):
        def weight(self, step):
            self.progress = float(step.run.generator.initial_seed() % 7) if not hasattr(self, "progress") else self.progress + 0.25
            return self.progress

    assert reason_of(Follows).startswith("a Python value changes from step to step (progress: ")


def test_a_python_number_in_a_closure_is_one_by_the_operation_that_it_changes():
    numbers = itertools.count(1)

    def loss(step):
        return {"all": next(numbers) * step.task.loss(step.student, step.targets)}

    run, _ = trained(plugin(loss=loss), 12)
    assert run.hooks.eager["train"] == "a Python number changes from step to step (aten::mul by 2, then 3): keep it in a tensor"
    assert run.hooks.capture.captured == 0


def test_an_average_that_is_another_tensor_after_each_step_is_a_reason():
    class Rebinds(WithState):
        def weight(self, step):
            loss = step.student.logits.detach().square().mean()
            self.average = 0.9 * getattr(self, "average", torch.ones(())) + 0.1 * loss
            return self.average

    assert reason_of(Rebinds) == "it keeps a tensor made in a step (average): update it in place"


def test_so_is_one_that_no_attribute_holds():
    held = []

    def loss(step):
        held[:] = [step.student.logits.detach()]
        return {"all": step.task.loss(step.student, step.targets)}

    assert reason_of(plugin(loss=loss)) == "it keeps a tensor made in a step: update it in place"


def test_a_value_that_is_read_back_is_a_reason():
    class Reads(WithState):
        def weight(self, step):
            return step.student.logits.detach().mean().item()

    assert reason_of(Reads) == "_local_scalar_dense reads a value back to the host"


def test_draws_of_python_are_a_reason():
    class Draws(WithState):
        def weight(self, step):
            random.random()
            return 1.0

    assert reason_of(Draws) == "it draws from Python's random in every step: draw from step.run.generator"


def test_a_batch_that_is_kept_for_the_next_step_is_a_reason_and_no_other_batch():
    class Keeps(WithState):
        def weight(self, step):
            last, self.last = getattr(self, "last", step.inputs), step.inputs
            return last.mean()

    assert "(last)" in reason_of(Keeps)


def test_an_optimiser_that_takes_its_rate_as_a_number_is_a_reason():
    def schedule(run):
        return [Phase("train", lambda run: [Update("student", run.learner.parameters(), _Sign)])]

    run, _ = trained(plugin(schedule=schedule), 12)
    assert run.hooks.eager["train"] == "optimiser _Sign of update 'student' can't take its learning rate from a tensor"


class _Sign(torch.optim.Optimizer):
    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.01})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.sub_(group["lr"] * parameter.grad.sign())


def test_after_a_capture_that_fails_the_run_goes_on_eagerly_as_if_there_had_been_none():
    class Fails(Replays):
        def take(self, step, generators):
            raise NotCaptured("RuntimeError: no graph today")

    eager = trained(plugin(), 30, captured=False)
    run = make_run(plugin(), toy_task())
    run.hooks.capture = Fails()
    training = Training(run.hooks, run, run.phases, [PhaseCost("train", None, 1.0, 1.0, None, None, 0)], 30.0)
    training()
    assert_same(eager, (run, training))
    assert run.hooks.eager == {"train": "its capture failed (RuntimeError: no graph today)"}


def test_a_number_that_changes_behind_the_comparison_is_seen_by_the_double():
    class Later(WithState):
        steps = 0

        def weight(self, step):
            type(self).steps += 1  # of the class, where nobody looks
            return 1.0 if self.steps < 6 else 2.0

    run = make_run(Later, toy_task())
    run.hooks.capture = Replays(checked=True)
    stepper, batches = begin_phase(run.hooks, run, run.phases[0], {}, run.augmented)
    for _ in range(4):
        stepper.take(next(batches), 0.0, 0.0)
    with pytest.raises(AssertionError):
        any(stepper.take(next(batches), 0.0, 0.0) for _ in range(4))
