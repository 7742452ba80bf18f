"""What a captured step can do, seen on the CPU by its operations."""

import pytest
import torch

from kdarena.execute.operations import Recorder, difference


def recorded(call, *tensors):
    recorder = Recorder()
    with recorder:
        call(*tensors)
    return recorder


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.any()),
        lambda x: torch.equal(x, x),
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: x[x > 2],
        lambda x: x.masked_fill(x > 2, 0).index_put_((x > 2,), x.new_zeros(())),
        lambda x: x.masked_select(x > 2),
        lambda x: x.nonzero(),
        lambda x: x.unique(),
        lambda x: x.repeat_interleave(x),
        lambda x: torch.nn.functional.one_hot(x),
        lambda x: x * torch.tensor(0.5),
    ],
    ids=["item", "if", "equal", "tolist", "numpy", "mask", "put-by-mask", "masked_select", "nonzero", "unique", "repeat_interleave", "one_hot", "tensor"],
)
def test_what_a_captured_step_can_not_do_is_refused(operation):
    assert recorded(operation, torch.arange(4)).impossible is not None


def test_what_it_can_do_is_not():
    def operation(x, index):
        return x[index].where(x[:2] > 0, 0) + 1

    assert recorded(operation, torch.arange(4), torch.tensor([2, 1])).impossible is None


def test_the_same_operations_on_the_same_tensors_are_the_same():
    x = torch.arange(4.0)
    assert difference(*(recorded(lambda x: torch.where(x > 2, x * 0.5 + 1, 0.0), x) for _ in range(2))) is None


def test_a_python_number_that_changes_is_named_with_its_operation():
    x = torch.arange(4.0)
    reason = difference(*(recorded(lambda x, number=number: x * number, x) for number in (0.3, 0.31)))
    assert reason == "a Python number changes from step to step (aten::mul by 0.3, then 0.31): keep it in a tensor"


@pytest.mark.parametrize("number", [0.3, 2])
def test_so_is_one_that_torch_makes_a_tensor_of(number):
    x = torch.arange(4.0)
    reason = difference(*(recorded(lambda x, value=value: torch.where(x > 2, x, value), x) for value in (number, number + 1)))
    assert reason is not None and f"by {number:g}, then {number + 1:g}" in reason


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (lambda x: x[:2] + 1, lambda x: x[:3] + 1, "(aten::slice by 2, then 3)"),
        (lambda x: x + 1, lambda x: x - 1, "its operations change from step to step (aten::add, then aten::sub)"),
        (lambda x: x + 1, lambda x: (x + 1) * 2, "the number of its operations changes from step to step (1, then 2)"),
        (lambda x: x + 1, lambda x: torch.ones(4) + 1, "change"),
    ],
    ids=["shapes", "operations", "number", "made"],
)
def test_other_changes_are_named_too(first, second, reason):
    x = torch.arange(4.0)
    assert reason in (difference(recorded(first, x), recorded(second, x)) or "")


def test_another_tensor_in_every_step_is_a_difference():
    reason = difference(*(recorded(lambda x: x + 1, torch.arange(4.0)) for _ in range(2)))
    assert reason == "it works on another tensor in every step (aten::add): keep one and update it in place"


def test_what_is_given_with_a_batch_may_be_another_tensor():
    records = []
    for _ in range(2):
        x = torch.arange(4.0)
        recorder = Recorder({"inputs": x})
        with recorder:
            x.view(2, 2) + 1
        records.append(recorder)
    assert difference(*records) is None


def test_a_tensor_that_is_held_after_the_step_is_alive():
    x = torch.arange(4.0)
    held = []
    assert not recorded(lambda x: x + 1, x).alive()
    assert recorded(lambda x: held.append((x + 1)[:2]), x).alive()
