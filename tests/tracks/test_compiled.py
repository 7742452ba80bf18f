"""Compiled calls give what plain ones give, and leave networks as they are."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from kdarena.testing.task import toy_task
from kdarena.tracks import compiled
from kdarena.tracks.compiled import Compiled
from kdarena.tracks.values import Split


@pytest.fixture
def task():
    made = toy_task()
    made.call = Compiled(made.card.recipe.batch_size, backend="eager")
    yield made
    torch._dynamo.reset()


@pytest.fixture
def batch(task):
    return next(task.batches(Split(0), "augmented"))


def loss_of(outputs):
    return outputs.logits.square().sum() + sum(feature.sum() for feature in outputs.features.values()) + outputs.embedding.sum()


@pytest.mark.parametrize("training", [True, False])
def test_outputs_feature_maps_gradients_and_buffers_are_those_of_a_plain_call(task, batch, training):
    network = task.new_network("toy-student").train(training)
    plain, plain_task = copy.deepcopy(network), toy_task()
    for _ in range(2):
        outputs, expected = task.forward(network, batch.inputs), plain_task.forward(plain, batch.inputs)
        assert torch.equal(outputs.logits, expected.logits)
        assert list(outputs.features) == list(expected.features) == ["stage1", "stage2", "stage3"]
        assert all(torch.equal(outputs.features[name], expected.features[name]) for name in expected.features)
        assert torch.equal(outputs.embedding, expected.embedding)
        for answer in (outputs, expected):
            loss_of(answer).backward()
    assert all(torch.equal(one.grad, two.grad) for one, two in zip(network.parameters(), plain.parameters(), strict=True))
    assert all(torch.equal(one, two) for one, two in zip(network.buffers(), plain.buffers(), strict=True))
    assert task.call.notes == []


def test_it_is_compiled_once_for_networks_of_one_architecture(task, batch):
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    task.call = Compiled(task.card.recipe.batch_size, backend=backend)
    for _ in range(3):
        task.forward(task.new_network("toy-student"), batch.inputs)
    assert len(compiled) == 1


def test_names_and_copies_of_a_network_stay_as_they_are(task, batch):
    network = task.new_network("toy-student")
    names = list(network.state_dict())
    task.forward(network, batch.inputs)
    assert list(network.state_dict()) == names
    twin = copy.deepcopy(network)
    assert torch.equal(task.forward(twin.eval(), batch.inputs).logits, task.forward(network.eval(), batch.inputs).logits)


def test_a_network_is_not_kept_alive(task, batch):
    network = task.new_network("toy-student")
    task.forward(network, batch.inputs)
    gone = weakref.ref(network)
    del network
    gc.collect()
    assert gone() is None


def test_batches_of_another_size_than_a_step_s_are_called_as_they_are(task, batch):
    def backend(graph, inputs):
        raise AssertionError("not to be compiled")

    task.call = Compiled(task.card.recipe.batch_size, backend=backend)
    task.shapes(task.new_network("toy-student"))
    task.forward(task.new_network("toy-student"), batch.inputs[:5])


def test_a_network_that_can_not_be_compiled_is_called_as_it_is_and_a_note_says_so(task, batch):
    def backend(graph, inputs):
        raise RuntimeError("no compiler here")

    task.call = Compiled(task.card.recipe.batch_size, backend=backend)
    network = task.new_network("toy-student")
    plain = toy_task().forward(copy.deepcopy(network), batch.inputs)
    assert torch.equal(task.forward(network, batch.inputs).logits, plain.logits)
    task.forward(task.new_network("toy-student"), batch.inputs)
    (note,) = task.call.notes
    assert note.startswith("ToyNetwork is not compiled: ")
    assert "no compiler here" in note


def test_a_backward_pass_that_can_not_be_compiled_is_noticed_before_the_first_step(task, batch):
    from torch._dynamo.backends.common import aot_autograd

    def fails(graph, inputs):
        raise RuntimeError("no backward pass")

    backend = aot_autograd(fw_compiler=lambda graph, inputs: graph.forward, bw_compiler=fails)
    task.call = Compiled(task.card.recipe.batch_size, backend=backend)
    outputs = task.forward(task.new_network("toy-student"), batch.inputs)
    outputs.logits.sum().backward()
    assert len(task.call.notes) == 1


def test_the_first_call_draws_and_counts_once(task, batch):
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.BatchNorm1d(64), nn.Linear(64, 4))
    plain = copy.deepcopy(network)
    torch.manual_seed(3)
    answer = task.call(network, batch.inputs, {})
    torch.manual_seed(3)
    assert torch.equal(answer, plain(batch.inputs))
    assert int(network[2].num_batches_tracked) == 1


def test_operations_are_counted_of_a_compiled_network_too(task, batch):
    from kdarena.tracks.measure import count_operations

    network = task.new_network("toy-student")
    task.forward(network, batch.inputs)
    plain = count_operations(lambda: toy_task().forward(network, batch.inputs))
    assert count_operations(lambda: task.forward(network, batch.inputs)) == plain > 0


def test_a_step_that_is_looked_at_is_called_plainly_and_what_is_compiled_meanwhile_holds_for_the_others(task, batch):
    """As the harness looks at the first step of a phase, by a hook on all modules."""
    graphs, seen = [], []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    task.call = Compiled(task.card.recipe.batch_size, backend=backend)
    network = task.new_network("toy-student")
    handle = nn.modules.module.register_module_forward_pre_hook(lambda module, inputs: seen.append(module))
    try:
        task.forward(network, batch.inputs)
    finally:
        handle.remove()
    assert set(seen) == set(network.modules()) - {network.stages}
    assert len(graphs) == 1
    task.forward(network, batch.inputs)
    assert len(graphs) == 1
    assert not nn.modules.module._has_any_global_hook()


def test_each_mode_of_a_network_is_tried(task, batch):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    task.call = Compiled(task.card.recipe.batch_size, backend=backend)
    network = task.new_network("toy-student")
    for training in (True, False, True, False):
        task.forward(network.train(training), batch.inputs)
    assert len(graphs) == 2


def test_a_network_that_is_first_met_while_a_graph_is_captured_is_called_plainly(task, batch, monkeypatch):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    task.call = Compiled(task.card.recipe.batch_size, backend=backend)
    with monkeypatch.context() as capturing:
        capturing.setattr(compiled, "_capturing", lambda device: True)
        task.forward(task.new_network("toy-student"), batch.inputs)
    assert graphs == []
    task.forward(task.new_network("toy-student"), batch.inputs)
    assert len(graphs) == 1


def test_several_updates_can_go_back_through_one_call(task, batch):
    task.call = Compiled(task.card.recipe.batch_size, backend="aot_eager")
    network = task.new_network("toy-student")
    loss = task.forward(network, batch.inputs).logits.square().sum()
    parameters = list(network.parameters())
    first, second = (torch.autograd.grad(loss, parameters, retain_graph=retain) for retain in (True, False))
    assert task.call.notes == []
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
