"""Steps of a run whose networks are called compiled."""

import pytest
import torch

from kdarena import Method, Paper, Phase, Update, hookimpl, no_teachers
from kdarena.execute.compile_ahead import compile_ahead
from kdarena.method.student import Student
from kdarena.testing.run import make_run, take_steps
from kdarena.testing.task import toy_task
from kdarena.tracks import compiled as module
from kdarena.tracks.compiled import Compiled


class Embedding:
    """Trains what is before the head; the head gets no gradient."""

    method = Method("embedding", "t", Paper("t", "v", 2026, "u"), teachers=no_teachers)

    @hookimpl
    def loss(self, step):
        return {"size": step.student.embedding.square().mean()}

    @hookimpl
    def schedule(self):
        return [Phase("train", lambda run: [Update("student", run.learner.student.parameters(), optional=True)])]


@pytest.fixture
def compiled(monkeypatch):
    """A run of a method on the toy task, compiled down to its backward pass, and the same run as it is."""
    monkeypatch.setattr(module, "BACKEND", "aot_eager")

    def make(plugin):
        compile_ahead(toy_task())
        runs = [make_run(plugin, toy_task()) for _ in range(2)]
        runs[0].task.call = Compiled(runs[0].task.card.recipe.batch_size)
        return runs

    yield make
    torch._dynamo.reset()


def weights(run):
    return torch.cat([parameter.detach().flatten() for parameter in run.learner.student.parameters()])


def test_a_compiled_run_trains_as_a_plain_one(compiled):
    run, plain = compiled(Student)
    histories = [take_steps(each, 4) for each in (run, plain)]
    assert histories[0] == histories[1]
    assert torch.equal(weights(run), weights(plain))
    assert run.task.call.notes == []


def test_parameters_without_a_gradient_stay_where_they_are_since_their_phase_is_not_compiled(compiled):
    run, plain = compiled(Embedding)
    before = run.learner.student.head.weight.detach().clone()
    for each in (run, plain):
        take_steps(each, 4)
    assert torch.equal(run.learner.student.head.weight, before)
    assert torch.equal(weights(run), weights(plain))
    assert run.task.call.notes == ["phase 'train' is not compiled: not all of its parameters get a gradient in every step"]
