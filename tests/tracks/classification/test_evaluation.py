"""Networks on a whole part: outputs, a method's report, detection, and the gap between train and test."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from kdarena.tracks.branch import Ensemble
from kdarena.tracks.classification.data import load_digits
from kdarena.tracks.classification.task import ClassificationTask
from kdarena.tracks.evaluation import detection
from kdarena.tracks.values import Outputs, Split

SPLIT = Split(0)


class Exits(nn.Module):
    """A network of linear layers with two earlier exits."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.layer = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        self.calls += 1
        flat = x.flatten(1)
        logits = self.layer(flat)
        return logits, (2 * logits, 3 * logits), (flat, flat + 1)


class Always(nn.Module):
    """Is sure of one class."""

    def __init__(self, label: int):
        super().__init__()
        self.label = label

    def forward(self, x: Tensor) -> Tensor:
        return 9.0 * nn.functional.one_hot(torch.full((len(x),), self.label), 10).float()


def student(task: ClassificationTask) -> nn.Module:
    torch.manual_seed(0)
    return task.new_network("digits-student")


def normalised(images: object) -> Tensor:
    data = load_digits()
    return (torch.as_tensor(images).permute(0, 3, 1, 2).float() / 16 - data.mean[0]) / data.std[0]


# outputs of a part
def test_outputs_are_those_of_the_whole_part_in_eval_mode(digits: ClassificationTask):
    network = student(digits)
    with torch.no_grad():
        expected = copy.deepcopy(network).eval()(normalised(load_digits().test_images))
    outputs = digits.evaluation("test", SPLIT).outputs(network.train())
    torch.testing.assert_close(outputs.logits, expected)
    assert network.training and not outputs.logits.requires_grad
    assert outputs.embedding is not None and outputs.embedding.shape == (997, 6)
    assert not outputs.features


def test_exits_are_joined_over_batches_shallow_to_deep(digits: ClassificationTask):
    batches = list(digits.part_batches("test", SPLIT))
    assert len(batches) == 2
    outputs = digits.outputs_of(Exits(), batches)
    inputs = [batch.inputs for batch in batches]
    assert all(torch.equal(found, factor * outputs.logits) for found, factor in zip(outputs.exits, (2, 3), strict=True))
    assert all(torch.equal(found, torch.cat(inputs).flatten(1) + more) for found, more in zip(outputs.exit_embeddings, (0, 1), strict=True))
    assert outputs.embedding is None


# a method's report
def test_a_part_gives_its_labels_in_the_order_of_its_outputs(digits: ClassificationTask):
    for part in ("train", "validation", "test"):
        evaluation = digits.evaluation(part, SPLIT)  # type: ignore[arg-type]
        accuracy = (evaluation.outputs(student(digits)).logits.argmax(1) == evaluation.targets).double().mean()
        assert len(evaluation.targets) == digits.size(part, SPLIT)  # type: ignore[arg-type]
        assert digits.evaluate(student(digits), part, SPLIT)["top1"] == pytest.approx(100 * float(accuracy))  # type: ignore[arg-type]


def test_a_network_runs_once_over_the_part_however_often_it_is_asked_for(digits: ClassificationTask):
    evaluation, one, other = digits.evaluation("test", SPLIT), Exits(), Exits()
    first = evaluation.outputs(one)
    assert evaluation.outputs(other) is not first
    assert evaluation.outputs(one) is first
    assert (one.calls, other.calls) == (2, 2)


def test_operations_are_two_a_multiplication_and_of_one_sample(digits: ClassificationTask):
    evaluation = digits.evaluation("test", SPLIT)
    assert evaluation.operations(Exits()) == 2 * 64 * 10
    assert evaluation.operations(Ensemble([Exits(), Exits(), Exits()])) == 3 * 2 * 64 * 10


def test_counting_operations_leaves_no_trace(digits: ClassificationTask):
    network = student(digits).train()
    before = copy.deepcopy(network.state_dict())
    digits.evaluation("test", SPLIT).operations(network)
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


# generalisation
def test_the_gap_is_top1_on_the_runs_own_training_images_less_that_on_test(digits: ClassificationTask):
    labels, test = digits.part_targets("train", SPLIT), torch.from_numpy(load_digits().test_labels)
    found = digits.further_metrics("gap", Always(3), SPLIT)
    assert found["train_top1"] == pytest.approx(100 * float((labels == 3).double().mean()))
    assert found["generalisation"] == pytest.approx(found["train_top1"] - 100 * float((test == 3).double().mean()))


def test_the_gap_counts_no_validation_image(digits: ClassificationTask):
    whole = torch.from_numpy(load_digits().train_labels)
    assert digits.further_metrics("gap", Always(3), Split(0, "published"))["train_top1"] == pytest.approx(100 * float((whole == 3).double().mean()))
    assert digits.further_metrics("gap", Always(3), Split(0))["train_top1"] != digits.further_metrics("gap", Always(3), Split(1))["train_top1"]


# detection
def known(logits: Tensor, targets: Tensor) -> SimpleNamespace:
    """An evaluation of one network with these logits."""
    return SimpleNamespace(targets=targets, outputs=lambda network: Outputs(logits))


HALF_RIGHT = known(torch.tensor([[4.0, 0.0], [3.0, 0.0], [2.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 0, 1, 1]))
"""The surer, the righter."""


def test_scores_that_put_errors_and_outliers_last_detect_all():
    flat = Outputs(torch.tensor([[0.2, 0.0], [0.1, 0.0]]))
    found = detection(HALF_RIGHT, nn.Identity(), {"flat": flat}, None)
    assert set(found) == {f"{metric}/{score}" for metric in ("prr", "auroc/flat", "aupr/flat") for score in ("entropy", "confidence")}
    assert list(found.values()) == pytest.approx([100.0] * 6)


def test_outliers_that_look_surer_than_the_part_are_detected_never():
    sure = Outputs(torch.tensor([[9.0, 0.0], [8.0, 0.0]]))
    assert detection(HALF_RIGHT, nn.Identity(), {"sure": sure}, None)["auroc/sure/entropy"] == pytest.approx(0)


def test_a_methods_own_scores_are_judged_in_addition_to_those_of_softmax():
    found = detection(HALF_RIGHT, nn.Identity(), {}, lambda outputs: {"wrong-way": outputs.logits[:, 0]})
    assert found["prr/wrong-way"] == pytest.approx(-found["prr/entropy"]) == pytest.approx(-100)


def test_the_task_detects_errors_and_its_named_outliers(digits: ClassificationTask):
    found = digits.detection(student(digits), "test", SPLIT, lambda outputs: {"own": outputs.logits.logsumexp(1)})
    metrics = ("prr", *(f"{metric}/{name}" for metric in ("auroc", "aupr") for name in digits.card.outliers))
    assert set(found) == {f"{metric}/{score}" for metric in metrics for score in ("entropy", "confidence", "own")}


def test_the_group_uncertainty_is_what_the_task_detects_on_test(digits: ClassificationTask):
    network = student(digits)
    assert digits.further_metrics("uncertainty", network, SPLIT) == digits.detection(network, "test", SPLIT)


def test_an_unknown_group_of_metrics_is_refused_by_name(digits: ClassificationTask):
    with pytest.raises(ValueError, match="'charm'"):
        digits.further_metrics("charm", student(digits), SPLIT)
