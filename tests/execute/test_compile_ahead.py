"""Networks are compiled before any run."""

import torch

from kdarena.execute.compile_ahead import compile_ahead
from kdarena.testing.task import toy_task
from kdarena.tracks import compiled
from kdarena.tracks.compiled import Compiled
from kdarena.tracks.values import Split


def test_what_a_run_calls_is_compiled_by_then_and_nothing_else_is_changed(monkeypatch):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(compiled, "BACKEND", backend)
    task = toy_task()
    plain, state = task.call, torch.get_rng_state()
    compile_ahead(task)
    assert task.call is plain
    assert torch.equal(torch.get_rng_state(), state)
    assert len(graphs) == 2
    task.call = Compiled(task.card.recipe.batch_size)
    batch = next(task.batches(Split(0), "augmented"))
    task.forward(task.new_network("toy-student").train(), batch.inputs)
    with torch.no_grad():
        task.forward(task.new_network("toy-teacher").eval().requires_grad_(False), batch.inputs)
    assert len(graphs) == 2
    torch._dynamo.reset()
