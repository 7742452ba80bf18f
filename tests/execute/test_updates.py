"""Whose updates count: steps of an optimiser on the parameters of the network that is deployed."""

import gc
import weakref

import pytest
import torch

from kdarena import Learner, Method, Paper, Phase, Update, hookimpl, no_teachers
from kdarena.execute.train import Training
from kdarena.plan.spec import PhaseCost
from kdarena.testing.run import make_run
from kdarena.testing.task import toy_task

METHOD = Method("plain", "t", Paper("t", "v", 2026, "u"), teachers=no_teachers)


def plugin(**hooks):
    return type("Plugin", (), {"method": METHOD, **{name: staticmethod(hookimpl(function)) for name, function in hooks.items()}})


def trained(one, amount=120.0):
    """A run of so many steps, whatever their phases, and its training."""
    run = make_run(one, toy_task())
    costs = [PhaseCost(phase.name, phase.steps, phase.share, 1.0, None, None, 0) for phase in run.phases]
    training = Training(run.hooks, run, run.phases, costs, amount)
    training()
    return run, training


def updates_of(one, amount=120.0):
    return trained(one, amount)[1].student_updates()


def of(*networks, name="train", **settings):
    """An update of networks."""
    return Update(name, [parameter for network in networks for parameter in network.parameters()], **settings)


def with_helper(updates):
    """A method with a linear helper on the student's logits, and updates of (student, helper)."""

    def build_student(run):
        return Learner(run.new_student(), {"helper": torch.nn.Linear(4, 4)})

    def schedule(run):
        return [Phase("train", lambda run: updates(run.learner.student, run.learner.helpers["helper"]))]

    def loss(step):
        return {"all": step.task.loss(step.student, step.targets) + step.apply(step.learner.helpers["helper"], step.student.logits).square().mean()}

    return plugin(build_student=build_student, schedule=schedule, loss=loss)


def test_the_plain_student_has_as_many_updates_as_steps():
    assert updates_of(plugin()) == 120


def test_of_generations_those_of_the_last_one_count():
    def schedule(run):
        def begin(generation, run):
            run.learner = Learner(run.new_student(generation=generation))

        return [Phase(f"generation{k}", prepare=lambda run, k=k: begin(k, run)) for k in range(3)]

    assert updates_of(plugin(schedule=schedule)) == 40


def test_a_student_that_is_trained_on_in_a_later_phase_has_the_updates_of_both():
    def schedule(run):
        first = run.learner

        def other(run):
            run.learner = Learner(run.new_student(peer=1))

        def back(run):
            run.learner = first

        return [Phase("first"), Phase("other", prepare=other), Phase("again", prepare=back)]

    assert updates_of(plugin(schedule=schedule)) == 80


def test_a_helper_that_becomes_the_student_brings_its_updates_along():
    def build_student(run):
        return Learner(run.new_student(), {"peer": run.new_student(peer=1)})

    def loss(step):
        return {"all": sum(step.task.loss(step.forward(network), step.targets) for network in step.learner.modules())}

    def schedule(run):
        def swap(run):
            run.learner = Learner(run.learner.helpers["peer"])

        return [Phase("both", steps=50), Phase("alone", prepare=swap)]

    assert updates_of(plugin(build_student=build_student, schedule=schedule, loss=loss)) == 120


def test_a_phase_that_processes_is_no_update():
    def schedule(run):
        return [Phase("fit", steps=30, process=lambda step: None, data="none"), Phase("train")]

    assert updates_of(plugin(schedule=schedule)) == 90


def test_a_phase_that_trains_helpers_alone_is_none_of_the_students():
    def build_student(run):
        return Learner(run.new_student(), {"helper": torch.nn.Linear(4, 4)})

    def schedule(run):
        return [
            Phase("estimators", lambda run: [of(run.learner.helpers["helper"])], steps=20),
            Phase("train", lambda run: [of(run.learner.student)]),
        ]

    def loss(step):
        if step.phase == "estimators":
            return {"fit": step.apply(step.learner.helpers["helper"], step.student.logits.detach()).square().mean()}
        return {"task": step.task.loss(step.student, step.targets)}

    assert updates_of(plugin(build_student=build_student, schedule=schedule, loss=loss)) == 100


@pytest.mark.parametrize("settings", [{}, {"before": True, "repeat": 3}])
def test_the_steps_of_a_critic_are_none_of_the_students(settings):
    one = with_helper(lambda student, helper: [of(helper, name="critic", **settings), of(student)])
    assert updates_of(one) == 120


def test_two_optimisers_of_the_same_parameters_are_two_updates_a_step():
    assert updates_of(with_helper(lambda student, helper: [of(student, helper), of(student, name="again")])) == 240


def test_two_optimisers_of_different_parts_of_the_student_are_one_update_a_step():
    def updates(student, helper):
        return [of(student.stages, helper), of(student.head, name="head")]

    assert updates_of(with_helper(updates)) == 120


def test_an_update_that_goes_before_counts_as_often_as_it_repeats():
    one = with_helper(lambda student, helper: [of(student, name="student", before=True, repeat=3), of(helper)])
    assert updates_of(one) == 360


def test_what_is_left_of_a_phase_that_ends_early_does_not_count():
    def schedule(run):
        def other(run):
            run.learner = Learner(run.new_student(peer=1))

        return [Phase("first", stop_when=lambda run: True), Phase("second", prepare=other)]

    assert updates_of(plugin(schedule=schedule), 200.0) == 150


def test_a_student_that_no_optimiser_trains_has_no_updates():
    def build_student(run):
        return Learner(run.new_student(), {"peer": run.new_student(peer=1)})

    def schedule(run):
        return [Phase("train", lambda run: [of(run.learner.helpers["peer"])])]

    def loss(step):
        return {"task": step.task.loss(step.forward(step.learner.helpers["peer"]), step.targets)}

    assert updates_of(plugin(build_student=build_student, schedule=schedule, loss=loss)) == 0


def test_counting_keeps_no_network_that_the_method_lets_go():
    dropped = []

    def schedule(run):
        def renew(run):
            dropped.append(weakref.ref(next(run.learner.student.parameters())))
            run.learner = Learner(run.new_student(generation=1))

        return [Phase("first"), Phase("second", prepare=renew)]

    _, training = trained(plugin(schedule=schedule))
    gc.collect()
    assert dropped[0]() is None
    assert training.student_updates() == 60
