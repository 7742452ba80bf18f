"""On a GPU, compiled calls by torch's own compiler give what plain ones give."""

import copy

import pytest
import torch

from kdarena.tracks import find_card
from kdarena.tracks.classification.data import made_up_cifar
from kdarena.tracks.classification.task import ClassificationTask
from kdarena.tracks.compiled import Compiled
from kdarena.tracks.values import Setting, Split

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")]


def task_of(precision):
    card = find_card("cifar100:resnet20-resnet8")
    return ClassificationTask(card, Setting(torch.device("cuda"), precision), made_up_cifar("cifar100"))


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-3), ("bf16", 5e-2)])
def test_outputs_maps_and_gradients_are_those_of_a_plain_call(precision, tolerance):
    task, plain_task = task_of(precision), task_of(precision)
    task.call = Compiled(task.card.recipe.batch_size)
    network = task.new_network("resnet8").train()
    plain = copy.deepcopy(network)
    batch = next(task.batches(Split(0), "augmented"))
    outputs, expected = task.forward(network, batch.inputs), plain_task.forward(plain, batch.inputs)
    assert task.call.notes == []
    torch.testing.assert_close(outputs.logits, expected.logits, rtol=tolerance, atol=tolerance)
    assert list(outputs.features) == list(expected.features)
    torch.testing.assert_close(outputs.feature_map, expected.feature_map, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(outputs.embedding, expected.embedding, rtol=tolerance, atol=tolerance)
    for answer in (outputs, expected):
        task.loss(answer, batch.targets).backward()
    one, two = (torch.cat([parameter.grad.flatten() for parameter in each.parameters()]) for each in (network, plain))
    assert float(torch.nn.functional.cosine_similarity(one, two, dim=0)) > 0.99
    assert list(network.state_dict()) == list(plain.state_dict())


def test_a_teacher_in_eval_mode_answers_as_it_does_plainly():
    task, plain_task = task_of("fp32"), task_of("fp32")
    task.call = Compiled(task.card.recipe.batch_size)
    teacher = task.new_network("resnet20").eval().requires_grad_(False)
    batch = next(task.batches(Split(0), "augmented"))
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    with torch.no_grad():
        logits, expected = task.forward(teacher, batch.inputs).logits, plain_task.forward(teacher, batch.inputs).logits
    torch.testing.assert_close(logits, expected, rtol=2e-3, atol=2e-3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


def test_a_batch_of_another_size_is_not_compiled():
    task = task_of("fp32")
    task.call = Compiled(task.card.recipe.batch_size)
    network = task.new_network("resnet8").eval()
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    task.forward(network, next(task.batches(Split(0), "augmented")).inputs[:3])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiled
