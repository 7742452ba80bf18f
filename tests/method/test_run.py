"""Runs on tasks whose students start from the teacher, whose teachers see other inputs, and whose networks are decoders."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import pytest
import torch

from kdarena import Ensemble, Learner, Method, Paper, TeacherSpec, Update, hookimpl, no_teachers
from kdarena.errors import MethodError
from kdarena.method.run import Run
from kdarena.method.step import LabelsForbidden, Step
from kdarena.method.student import Student
from kdarena.params import Params
from kdarena.testing.run import make_run, new_step, take_steps, toy_teacher
from kdarena.testing.task import ToyTask, toy_task
from kdarena.tracks.values import FeatureMaps, Setting, Split

STUDENT = Student.method


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


class Parallel(ToyTask):
    """Teachers see the negative of what the student sees."""

    def batches(self, split, data):
        return (replace(batch, teacher_inputs=-batch.inputs) for batch in super().batches(split, data))


def parallel() -> Parallel:
    return Parallel(toy_task(parallel=True).card, Setting())


# a given start
def test_every_student_starts_from_the_given_weights_and_the_teacher_does_not_change_with_it():
    task = toy_task(student="toy-teacher", start="teacher")
    start = toy_teacher(task)
    run = Run(task, STUDENT, Params(), seed=5, start=start)
    student = run.new_student()
    assert same(student, start)
    assert same(run.new_student(generation=1), start)
    with torch.no_grad():
        next(student.parameters()).add_(1)
    assert not same(student, start)


def test_a_network_of_another_architecture_is_initialised_afresh():
    task = toy_task(start="teacher", student="toy-teacher")
    start = toy_teacher(task)
    assert not same(Run(task, STUDENT, Params(), seed=5, start=start).new_student(architecture="teacher"), start)


def test_a_plan_gives_the_reference_teachers_key_as_the_start_where_the_card_says_so():
    from kdarena.method.declaration import REFERENCE
    from kdarena.method.plugin import Plugin
    from kdarena.plan.conditions import Conditions
    from kdarena.plan.entrants import Entrant
    from kdarena.plan.spec import Budget
    from kdarena.plan.specs import run_spec

    machine = SimpleNamespace(kind="cpu", name="a processor", threads=1, torch="2.13.0")
    entrant = Entrant(Plugin("student", Student, STUDENT), {}, {}, ())
    for start, expected in (("teacher", "key"), (None, None)):
        conditions = Conditions(toy_task(start=start).card, machine, "fp32", "data", "validated")  # type: ignore[arg-type]
        assert run_spec(entrant, conditions, {REFERENCE: "key"}, (), Budget(1.0, "epochs"), purpose="final", seed=0).start == expected


# parallel inputs
def test_a_teacher_is_trained_on_what_teachers_see_and_a_student_on_its_own_inputs():
    task = parallel()
    plain = [batch.inputs for batch in islice(task.batches(Split(0), "augmented"), 3)]
    student = [batch.inputs for batch in islice(Run(task, STUDENT, Params(), seed=0).batches("augmented"), 3)]
    teacher = [batch.inputs for batch in islice(Run(task, STUDENT, Params(), seed=0, trains=TeacherSpec()).batches("augmented"), 3)]
    assert all(torch.equal(a, b) for a, b in zip(student, plain, strict=True))
    assert all(torch.equal(a, -b) for a, b in zip(teacher, plain, strict=True))


# decoders
class Decoding(ToyTask):
    """Its networks are said to be decoders; what they are fed is noted."""

    def decoder_inputs(self, targets):
        return torch.cat([torch.zeros_like(targets[:1]), targets[:-1]])

    def forward(self, network, inputs, *, decoder_inputs, **arguments):
        self.fed.append(decoder_inputs)
        return super().forward(network, inputs, **arguments)


@pytest.fixture
def decoding() -> Decoding:
    task = Decoding(toy_task(decodes=True).card, Setting())
    task.fed = []
    return task


def step_of(task: Decoding, method: Method) -> Step:
    run = Run(task, method, Params(), seed=0)
    run.learner = Learner(run.new_student())
    step = Step(run, "train")
    step.renew(next(task.batches(Split(0), "augmented")), 0.0, 0.0)
    return step


def test_a_decoder_is_fed_the_targets_shifted_by_the_start_and_called_once(decoding: Decoding):
    step = step_of(decoding, STUDENT)
    assert step.student is step.student
    assert len(decoding.fed) == 1
    assert torch.equal(decoding.fed[0], decoding.decoder_inputs(step.targets))


def test_a_method_without_labels_has_to_say_what_a_decoder_is_fed(decoding: Decoding):
    method = Method("blind", "learns without labels", Paper("", "", 2026, ""), labels=False, teachers=no_teachers)
    step = step_of(decoding, method)
    with pytest.raises(LabelsForbidden):
        _ = step.student
    own = torch.arange(3)
    step.forward(step.learner.student, decoder_inputs=own)
    assert decoding.fed == [own]


# the recipe's clip
@pytest.mark.parametrize(("own", "clipped"), [(False, True), (True, False)])
def test_the_recipes_limit_binds_updates_with_the_recipes_optimiser_only(own: bool, clipped: bool):
    class Steep:
        method = Method("steep", "has a large gradient", Paper("", "", 2026, ""), teachers=no_teachers)

        @hookimpl
        def loss(self, step):
            return {"large": 1e6 * step.task.loss(step.student, step.targets)}

        @hookimpl
        def schedule(self):
            from kdarena import Phase

            sgd = (lambda parameters: torch.optim.SGD(parameters, lr=1e-9)) if own else None
            return [Phase("train", lambda run: [Update("train", run.learner.parameters(), sgd)])]

    card = toy_task().card
    run = make_run(Steep, ToyTask(replace(card, recipe=replace(card.recipe, clip=0.5)), Setting()))
    take_steps(run, 1)
    norm = torch.stack([parameter.grad.norm() for parameter in run.learner.parameters()]).norm()
    assert (float(norm) == pytest.approx(0.5, rel=1e-3)) == clipped


def test_a_network_is_called_once_a_step_whether_its_inputs_are_named_or_not():
    run = make_run(Student, toy_task())
    step, calls = new_step(run), []
    run.learner.student.register_forward_hook(lambda *_: calls.append(1))
    assert step.forward(run.learner.student, step.inputs) is step.student
    assert len(calls) == 1


def test_a_map_in_half_precision_keeps_its_gradient_whoever_reads_it_first():
    weight = torch.ones(2, 3, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    maps = FeatureMaps({"stage": weight * 2})
    with torch.no_grad():
        assert maps["stage"].dtype == torch.float32
    assert maps["stage"].requires_grad


def test_a_network_is_of_teachers_where_all_of_its_weights_are_theirs():
    task = toy_task()
    run = Run(task, STUDENT, Params(), seed=0, teachers=[toy_teacher(task), toy_teacher(task, TeacherSpec(member=1))])
    student = run.new_student()
    assert run.of_teachers(run.teachers[0])
    assert run.of_teachers(Ensemble(run.teachers))
    assert not run.of_teachers(student.requires_grad_(False)), "an average of the student's weights is no teacher"
    assert not run.of_teachers(Ensemble([run.teachers[0], student]))


# teachers' modes
class Lively:
    """Puts its teacher into train mode for one call in each step after the first ``start``."""

    method = Method("lively", "t", Paper("t", "v", 2026, "u"))
    start = 0

    @hookimpl
    def loss(self, step):
        self.count = getattr(self, "count", 0) + 1
        (teacher,) = step.run.teacher_modules()
        teacher.train(self.count > self.start)
        logits = step.teacher.logits
        teacher.eval()
        return {"task": step.task.loss(step.student, step.targets) + 0 * logits.sum()}


@pytest.mark.parametrize(("start", "steps"), [(0, 1), (10, 50)])
def test_a_teacher_that_is_in_train_mode_only_while_it_is_called_is_refused(start, steps):
    run = make_run(type("Later", (Lively,), {"start": start}), toy_task())
    with pytest.raises(MethodError, match="of a teacher is in train mode; keep it in eval mode"):
        take_steps(run, steps)
