"""What a method's code does within a charged step: only optimisers change the student, and the networks that it asks are seen."""

import pytest
import torch
from execute.cheats.tools import cheat, method, trained

from kdarena import Learner, Phase, Update, losses
from kdarena.method.declaration import reference_teacher


def overwrite(student, behind_its_back):
    """Other weights from anywhere, as of an earlier seed's student."""
    for parameter in student.parameters():
        with torch.no_grad():
            (parameter.data if behind_its_back else parameter).mul_(1.5)


@pytest.mark.parametrize("behind_its_back", [False, True])
@pytest.mark.parametrize("where", ["loss", "process", "after"])
def test_a_student_that_the_methods_own_code_changes_is_an_error_that_names_it(bench, where, behind_its_back):
    def change(run):
        overwrite(run.learner.student, behind_its_back)

    def loss(self, step):
        if where == "loss":
            change(step.run)
        return {"task": step.task.loss(step.student, step.targets)}

    def schedule(self, run):
        if where == "process":
            return [Phase("fit", process=lambda step: change(step.run)), Phase("train")]
        after = (lambda step: change(step.run)) if where == "after" else None
        return [Phase("train", lambda run: [Update("student", run.learner.parameters(), after=after)])]

    phases = ("fit", "train") if where == "process" else ("train",)
    result = bench.run(cheat(loss=loss, schedule=schedule), phases=phases)
    assert (result.status, f"hook '{where}': it changed the student's parameters" in result.error) == ("error", True)


def test_a_change_in_the_middle_of_a_run_is_seen_too(bench):
    def loss(self, step):
        self.count = getattr(self, "count", 0) + 1
        if self.count == 33:
            overwrite(step.run.learner.student, behind_its_back=False)
        return {"task": step.task.loss(step.student, step.targets)}

    assert bench.run(cheat(loss=loss)).status == "error"


def taken(result):
    """What a run that is done was seen to take."""
    assert result.error is None
    return result.taken


def asking(make):
    """A method whose loss asks a network that it keeps as an attribute."""

    def build_student(self, run):
        self.hidden = make(run)
        return Learner(run.new_student())

    def loss(self, step):
        with torch.no_grad():
            answer = step.task.answered(self.hidden, step._batch).logits
        return {"kl": losses.kl(answer, step.student.logits, 4.0)}

    return {"build_student": build_student, "loss": loss}


def test_a_teacher_that_is_kept_as_an_attribute_and_asked_in_the_loss_is_said(bench, synthetic):
    def make(run):
        return trained(run.new_student(peer=1), run.task, run.split, steps=2).requires_grad_(False)

    assert taken(bench.run(cheat(**asking(make)))) == ("own teacher",)
    assert bench.row(cheat(**asking(make)), synthetic)["supervision"] == "own teacher"


def test_the_pools_teacher_asked_so_is_the_pools(bench):
    assert taken(bench.run(cheat(method(teachers=reference_teacher), **asking(lambda run: run.teachers[0])))) == ("pool teacher",)


def test_the_student_as_it_starts_asked_so_is_no_supervision(bench):
    assert taken(bench.run(cheat(**asking(lambda run: run.new_student())))) == ()


def test_a_network_that_an_update_trains_is_no_stranger(bench):
    def build_student(self, run):
        self.predictor = torch.nn.Linear(run.task.classes, run.task.classes)
        return Learner(run.new_student())

    def loss(self, step):
        return {"task": step.task.loss(step.student, step.targets), "own": self.predictor(step.student.logits).square().mean()}

    def schedule(self, run):
        return [Phase("train", lambda run: [Update("student", [*run.learner.parameters(), *self.predictor.parameters()])])]

    assert taken(bench.run(cheat(build_student=build_student, loss=loss, schedule=schedule))) == ()


def test_a_helper_that_was_trained_and_becomes_the_teacher_is_its_own(bench):
    def build_student(self, run):
        return Learner(run.new_student(), helpers={"peer": run.new_student(peer=1)})

    def loss(self, step):
        peer = step.forward(step.learner.helpers["peer"])
        return {"task": step.task.loss(step.student, step.targets), "peer": step.task.loss(peer, step.targets)}

    def schedule(self, run):
        def begin(run):
            peer = run.learner.helpers["peer"]
            run.learner.helpers = {}
            run.set_teacher(peer)

        def loss_of_the_student(run):
            return [Update("student", run.learner.student.parameters())]

        return [Phase("both"), Phase("train", loss_of_the_student, prepare=begin)]

    def distilled(self, step):
        if step.phase == "both":
            return loss(self, step)
        return {"kl": losses.kl(step.teacher.logits, step.student.logits, 4.0)}

    assert taken(bench.run(cheat(build_student=build_student, loss=distilled, schedule=schedule), phases=("both", "train"))) == ("own teacher",)
