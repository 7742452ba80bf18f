"""What holds for every method: its teachers are frozen, its student is the task's, and a seed gives one result."""

import dataclasses

import pytest
import torch
from torch import nn

from kdarena.method.discovery import discover
from kdarena.params import make_params
from kdarena.testing.run import make_run, take_phases
from kdarena.testing.task import toy_task
from kdarena.tracks import cards, find_card
from kdarena.tracks.values import Setting

STEPS = 3
BATCH = 8
PLUGINS = {plugin.name: plugin for plugin in discover()}
WITH_EXITS = dataclasses.replace(find_card("digits"), name="digits-with-exits", student="small-msdnet", exits=2, branches=False)
"""For methods that need earlier exits, which no embedded task has by default."""


def task_for(method):
    """The toy task, or where the method does not run on it the first embedded task on which it does."""
    params = make_params(method.Params, {})
    listed = [toy_task().card, *(card for card in cards() if card.embedded), WITH_EXITS]
    card = next(card for card in listed if method.reason_against(card, params) is None)
    if card.name == "toy":
        return toy_task()
    card = dataclasses.replace(card, recipe=dataclasses.replace(card.recipe, batch_size=BATCH))
    return card.load(card, Setting())


class Trained:
    """A run with a few steps in each phase, and what its networks were before.

    Attributes:
        run: trained.
        start: the student's state before.
        teachers: the state of each teacher that was given, before.
        history: the terms of every step.
    """

    def __init__(self, implementation, task):
        self.run = make_run(implementation, task)
        self.start = state_of(self.run.learner.student)
        self.teachers = [state_of(teacher) for teacher in self.run.teachers]
        self.history = take_phases(self.run, STEPS)


def state_of(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def equal(state, other):
    return state.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in state.items())


@pytest.fixture(scope="module", params=PLUGINS)
def trained(request, small_msdnet):
    """The method, twice trained from one seed."""
    plugin = PLUGINS[request.param]
    assert plugin.error is None, plugin.error
    task = task_for(plugin.method)
    return [Trained(plugin.implementation, task) for _ in range(2)]


def test_its_teachers_are_bit_identical_after_training(trained):
    for once in trained:
        assert all(equal(state_of(teacher), before) for teacher, before in zip(once.run.teachers, once.teachers, strict=True))
        once.run.check_teachers()


def test_its_teachers_have_no_gradient(trained):
    run = trained[0].run
    for teacher in (*run.teachers, *run.teacher_modules()):
        assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())


def test_a_seed_gives_one_result_bit_by_bit(trained):
    first, second = trained
    assert first.history == second.history
    pairs = zip(first.run.learner.modules(), second.run.learner.modules(), strict=True)
    assert all(equal(state_of(network), state_of(other)) for network, other in pairs)


def test_its_student_is_of_the_tasks_architecture(trained):
    run = trained[0].run
    student, reference = run.learner.student, run.task.new_network(run.task.card.student)
    assert isinstance(student, nn.Module)
    assert type(student) is type(reference)
    assert {name: tensor.shape for name, tensor in student.state_dict().items()} == {name: tensor.shape for name, tensor in reference.state_dict().items()}


def test_its_student_moves(trained):
    for once in trained:
        assert not equal(state_of(once.run.learner.student), once.start)
