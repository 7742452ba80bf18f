"""Methods that go wrong while they run, as hooks; with each, the status of the run and words of its line."""

import math
import os

import torch
from torch import nn
from torch.nn import functional

from kdarena import Learner, NotApplicable, Phase, Update


def ce(step):
    return step.task.loss(step.student, step.targets)


def loss_of(make):
    """A loss of a given value."""
    return {"loss": lambda self, step: make(step)}


def count(self):
    self.steps = getattr(self, "steps", 0) + 1
    return self.steps


def raises(error, at=1):
    def loss(self, step):
        if count(self) >= at:
            raise error
        return {"ce": ce(step)}

    return {"loss": loss}


def built(make):
    return {"build_student": lambda self, run: make(run)}


def scheduled(*phases):
    return {"schedule": lambda self, run: list(phases)}


def updates(make):
    return scheduled(Phase("train", lambda run: make(run)))


def half(run):
    return Learner(run.new_student().half())


def shared(run):
    one, two = nn.Linear(4, 4), nn.Linear(4, 4)
    two.weight = one.weight
    return Learner(run.new_student(), {"one": one, "two": two})


def uses_helpers(self, step):
    z = step.student.logits
    helpers = [step.apply(helper, z).square().mean() for helper in step.learner.helpers.values()]
    return {"ce": ce(step), "helpers": sum(helpers)}


def on_meta(run):
    return Learner(run.new_student(), {"far": nn.Linear(4, 4, device="meta")})


class Refuses:
    """Its ``repr`` raises."""

    def __repr__(self):
        raise RuntimeError("no text")


ERROR = "error"
BROKEN = {
    # hooks
    "loss returns nothing": (loss_of(lambda step: None), ERROR, "hook 'loss': expected named terms", "found None"),
    "loss returns a list": (loss_of(lambda step: [ce(step)]), ERROR, "hook 'loss': expected named terms"),
    "loss returns what has no text": (loss_of(lambda step: Refuses()), ERROR, "hook 'loss': expected named terms", "found Refuses"),
    "raises at once": (raises(RuntimeError("oh")), ERROR, "plugin 'cheat', hook 'loss': RuntimeError: oh", "runs.py, line"),
    "raises at the third step": (raises(ValueError("late"), 3), ERROR, "hook 'loss': ValueError: late"),
    "raises in several lines": (raises(ValueError("one\ntwo")), ERROR, "ValueError: one two"),
    "raises without text": (raises(AssertionError()), ERROR, "hook 'loss': AssertionError"),
    "leaves": (raises(SystemExit(3), 3), ERROR, "hook 'loss': SystemExit: 3"),
    "stops an iteration": (raises(StopIteration(), 3), ERROR, "hook 'loss': StopIteration"),
    "does not apply in the middle": (raises(NotApplicable("too small"), 3), "skipped", "too small"),
    "build_student returns a network": (built(lambda run: run.new_student()), ERROR, "hook 'build_student': expected a Learner"),
    "build_teacher returns text": (
        {"build_teacher": lambda self, run: "resnet"},
        ERROR,
        "hook 'build_teacher': expected a module, a sequence of modules or NO_TEACHER, found 'resnet'",
    ),
    "schedule returns a phase": ({"schedule": lambda self, run: Phase("train")}, ERROR, "hook 'schedule': expected a list of at least one Phase"),
    "updates return None": (updates(lambda run: None), ERROR, "hook 'updates'"),
    "updates return text": (updates(lambda run: ["student"]), ERROR, "hook 'updates': expected a list of at least one Update"),
    # building
    "a student of another architecture": (
        built(lambda run: Learner(run.new_student(architecture="teacher"))),
        ERROR,
        "is not of the architecture of the task's",
        "use run.new_student()",
    ),
    "no student": (built(lambda run: Learner(None)), ERROR, "expected a torch.nn.Module as 'student' of the Learner, found None"),
    "a teacher with a gradient": ({"build_teacher": lambda self, run: run.new_student()}, ERROR, "of a teacher"),
    "a teacher in train mode": ({"build_teacher": lambda self, run: run.new_student().requires_grad_(False)}, ERROR, "is in train mode; keep it in eval mode"),
    "a helper that holds the student": (
        built(lambda run: (lambda student: Learner(student, {"all": nn.Sequential(student)}))(run.new_student())),
        ERROR,
        "helper 'all' holds parameters of the student",
    ),
    "helpers that share weights": ({**built(shared), "loss": uses_helpers}, "done"),
    "a helper on another device": ({**built(on_meta), "loss": uses_helpers}, ERROR, "hook "),
    "a student in half precision": (built(half), ERROR, "hook "),
    "helpers that are no networks": (
        built(lambda run: Learner(run.new_student(), {"scale": 3.0})),
        ERROR,
        "expected a torch.nn.Module as 'scale' of the Learner, found 3.0",
    ),
    # loss
    "nan at step 7": ({"loss": lambda self, step: {"ce": ce(step) * (math.nan if count(self) > 7 else 1)}}, "diverged", "step 7: term 'train/ce' is nan"),
    "infinite": (loss_of(lambda step: {"ce": ce(step) / 0}), "diverged", "is inf"),
    "a Python float": (loss_of(lambda step: {"ce": 1.0}), ERROR, "expected a scalar tensor for term 'ce', found float"),
    "no gradient": (loss_of(lambda step: {"ce": torch.zeros(())}), ERROR, "have no gradient; did the method detach or use no_grad?"),
    "detached": (loss_of(lambda step: {"ce": ce(step).detach()}), ERROR, "have no gradient"),
    "a key that is no text": (loss_of(lambda step: {3: ce(step)}), ERROR, "the name of a term has to be text"),
    "an empty dict": (loss_of(lambda step: {}), ERROR, "expected named terms"),
    "a term that is no scalar": (
        loss_of(lambda step: {"ce": functional.cross_entropy(step.student.logits, step.targets, reduction="none")}),
        ERROR,
        "expected a scalar tensor for term 'ce', found a tensor of shape [16]",
    ),
    "a whole number": (loss_of(lambda step: {"ce": torch.ones((), dtype=torch.long)}), ERROR, "expected a scalar tensor"),
    "unbounded": (loss_of(lambda step: {"ce": -1e6 * step.student.logits.square().mean()}), "diverged", "is "),
    # schedule
    "no phase": (scheduled(), ERROR, "expected a list of at least one Phase"),
    "two phases of one name": (scheduled(Phase("train"), Phase("train")), ERROR, "phases share a name"),
    "a negative share": (scheduled(Phase("train", share=-1.0)), ERROR, "needs at least one step or a positive share"),
    "a share that is no number": (scheduled(Phase("train", share=math.nan)), ERROR, "needs at least one step or a positive share"),
    "a share that is text": (scheduled(Phase("train", share="all")), ERROR, "expected a number as Phase.share of phase 'train', found 'all'"),
    "zero steps": (scheduled(Phase("first", steps=0), Phase("train")), ERROR, "needs at least one step"),
    "half a step": (scheduled(Phase("first", steps=1.5), Phase("train")), ERROR, "expected a whole number as Phase.steps of phase 'first', found 1.5"),
    "only fixed steps": (scheduled(Phase("train", steps=60)), ERROR, "at least one has to take a share of the budget"),
    "phases that were not measured": (scheduled(Phase("first", steps=1_000_000), Phase("train")), ERROR, "are not those that were profiled"),
    "a name that is no text": (scheduled(Phase(3)), ERROR, "expected text as the name of a phase, found 3"),
    "an unknown kind of data": (
        scheduled(Phase("train", data="test")),
        ERROR,
        "expected Phase.data of phase 'train' to be one of augmented, auxiliary, plain, none, found 'test'",
    ),
    "an update over no parameters": (updates(lambda run: [Update("none", [])]), ERROR, "update 'none' trains no parameters"),
    "an update over the teacher's": (updates(lambda run: [Update("teacher", run.freeze(run.new_student()).parameters())]), ERROR, "names a frozen parameter"),
    "an update over a parameter twice": (updates(lambda run: [Update("student", [*run.learner.student.parameters()] * 2)]), "done"),
    "two updates of one name": (updates(lambda run: [Update("s", run.learner.student.parameters())] * 2), ERROR, "share a name"),
    "an update over names": (updates(lambda run: [Update("s", ["weight"])]), ERROR, "hook 'updates'"),
    "an optimiser that is none": (
        updates(lambda run: [Update("s", run.learner.student.parameters(), optimizer=lambda parameters: None)]),
        ERROR,
        "hook 'updates'",
    ),
    "prepare raises": (scheduled(Phase("train", prepare=lambda run: 1 / 0)), ERROR, "hook 'prepare': ZeroDivisionError"),
    "an instance without memory": ({"__slots__": ()}, ERROR, "hook '__init__'"),
    # process
    "standard output closed": ({"schedule": lambda self, run: (os.close(os.dup(1)), [Phase("train")])[1]}, "done"),
}
