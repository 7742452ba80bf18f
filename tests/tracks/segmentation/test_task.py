"""The segmentation task at work: batches, losses, rows, evaluation."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from kdarena.tracks.branch import Ensemble
from kdarena.tracks.segmentation import dense, scenes, sources
from kdarena.tracks.segmentation.task import SegmentationTask
from kdarena.tracks.values import Batch, Outputs, Split


def network(task: SegmentationTask, architecture: str = "pspnet-tiny", seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return task.new_network(architecture)


def first(task: SegmentationTask, count: int = 1, seed: int = 0, data: str = "augmented") -> list[Batch]:
    return list(islice(task.batches(Split(seed), data), count))  # type: ignore[arg-type]


# data
def test_parts_are_those_of_the_scenes_for_every_seed_and_protocol(scenes_task: SegmentationTask):
    found = scenes.load_scenes()
    for split in (Split(0), Split(7, "published")):
        assert scenes_task.size("train", split) == scenes.SIZES["train"]
        assert scenes_task.size("test", split) == scenes.SIZES["test"]
    validation = torch.cat([batch.targets for batch in scenes_task.part_batches("validation", Split(3))])
    assert np.array_equal(validation.numpy(), found["validation"].masks)


def test_the_same_seed_gives_the_same_batches_and_another_seed_others(scenes_task: SegmentationTask):
    one, same, other = first(scenes_task, 3), first(scenes_task, 3), first(scenes_task, 3, seed=1)
    assert all(torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[0].inputs, other[0].inputs)


def test_batches_draw_nothing_from_the_global_generator(scenes_task: SegmentationTask):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first(scenes_task, 3)
    assert torch.equal(before, torch.random.get_rng_state())


def test_plain_batches_are_the_training_scenes_normalised(scenes_task: SegmentationTask):
    batch = first(scenes_task, data="plain")[0]
    found = scenes.load_scenes()["train"]
    row = int(batch.index[0])
    mean, std = (np.array(values)[:, None, None] for values in (scenes_task.data.mean, scenes_task.data.std))
    expected = (found.images[row].transpose(2, 0, 1) / 255 - mean) / std
    assert np.allclose(batch.inputs[0].numpy(), expected, atol=1e-4)
    assert np.array_equal(batch.targets[0].numpy(), found.masks[row])
    assert np.allclose(scenes_task.pixel_std.flatten().numpy(), scenes_task.data.std)


def test_augmented_targets_are_labels_or_ignored(scenes_task: SegmentationTask):
    targets = torch.cat([batch.targets for batch in first(scenes_task, 5)])
    assert targets.dtype == torch.int64
    assert set(targets.unique().tolist()) <= {*range(11), 255}


def test_files_are_streamed_as_they_would_be_from_memory(camvid_task: Callable[[], SegmentationTask], monkeypatch: pytest.MonkeyPatch):
    resident = first(camvid_task(), 4)
    monkeypatch.setattr(sources, "RESIDENT_BYTES", 0)
    task = camvid_task()
    streamed = first(task, 4)
    assert isinstance(task._sources["train"], sources.Decoded)
    assert all(torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets) for a, b in zip(resident, streamed, strict=True))


# networks and losses
def test_outputs_have_scores_auxiliary_scores_and_maps(scenes_task: SegmentationTask):
    batch = first(scenes_task)[0]
    outputs = scenes_task.forward(network(scenes_task).train(), batch.inputs)
    assert outputs.logits.shape == (8, 11, 12, 12)
    assert outputs.auxiliary is not None and outputs.auxiliary.shape == outputs.logits.shape
    assert outputs.embedding is None
    assert list(outputs.features) == ["stage1", "stage2", "stage3", "stage4", "psp"]
    shapes = scenes_task.shapes(network(scenes_task))
    assert shapes.logits == (11, 12, 12)
    assert shapes.features == {name: tuple(one.shape[1:]) for name, one in outputs.features.items()}


def test_torchvisions_mapping_and_tuples_of_exits_are_understood(scenes_task: SegmentationTask):
    class Answers(nn.Module):
        def __init__(self, answer: object):
            super().__init__()
            self.answer = answer

        def forward(self, x: torch.Tensor) -> object:
            return self.answer

    scores, auxiliary = torch.randn(2, 11, 3, 3), torch.randn(2, 11, 3, 3)
    images = torch.zeros(2, 3, 48, 48)
    assert scenes_task.forward(Answers(scores), images).auxiliary is None
    assert torch.equal(scenes_task.forward(Answers({"out": scores, "aux": auxiliary}), images).auxiliary, auxiliary)  # type: ignore[arg-type]
    assert torch.equal(scenes_task.forward(Answers((scores, (auxiliary,), ())), images).exits[0], auxiliary)


def test_the_loss_is_cross_entropy_of_scaled_up_scores_and_two_fifths_of_the_auxiliary_heads(scenes_task: SegmentationTask):
    generator = torch.Generator().manual_seed(0)
    scores, auxiliary = (torch.randn(2, 11, 12, 12, generator=generator) for _ in range(2))
    targets = torch.randint(11, (2, 48, 48), generator=generator)
    targets[:, :10] = 255
    weights = torch.tensor(scenes_task.data.weights)

    def expected(one: torch.Tensor) -> torch.Tensor:
        large = functional.interpolate(one, size=(48, 48), mode="bilinear", align_corners=True)
        return functional.cross_entropy(large, targets, weights, ignore_index=255)

    loss = scenes_task.loss(Outputs(scores, auxiliary=auxiliary), targets)
    assert torch.allclose(loss, expected(scores) + 0.4 * expected(auxiliary), atol=1e-5)


def test_without_weights_every_pixel_that_counts_weighs_alike(camvid_task: Callable[[], SegmentationTask]):
    task = camvid_task()
    scores, targets = torch.randn(2, 11, 24, 32), torch.randint(11, (2, 24, 32))
    targets[0] = 255
    expected = functional.cross_entropy(scores[1:], targets[1:])
    assert torch.allclose(task.loss(Outputs(scores), targets), expected, atol=1e-5)


def test_a_batch_without_any_label_has_no_loss_and_no_gradient(scenes_task: SegmentationTask):
    scores = torch.randn(1, 11, 12, 12, requires_grad=True)
    loss = scenes_task.loss(Outputs(scores), torch.full((1, 48, 48), 255))
    loss.backward()
    assert loss.item() == 0 and scores.grad is not None and not scores.grad.any()


def test_rare_classes_weigh_with_the_inverse_square_root_of_their_frequency(scenes_task: SegmentationTask):
    masks = scenes.load_scenes()["train"].masks
    counts = np.array([(masks == label).sum() for label in range(11)])
    assert np.allclose(scenes_task.data.weights, np.sqrt(counts.min() / counts), atol=1e-4)


# rows
def test_a_row_is_a_pixel_of_the_score_map(scenes_task: SegmentationTask):
    scores = torch.randn(2, 11, 3, 4)
    rows, mask = scenes_task.rows(Outputs(scores))
    assert mask is None and rows.shape == (24, 11)
    for image, row, column in ((0, 0, 0), (0, 2, 1), (1, 1, 3)):
        assert torch.equal(rows[image * 12 + row * 4 + column], scores[image, :, row, column])


def test_labels_of_rows_are_those_of_the_nearest_pixels_when_corners_are_aligned(scenes_task: SegmentationTask):
    targets = torch.randint(11, (2, 48, 40))
    targets[0, 0, 0] = 255
    found = scenes_task.row_targets(Outputs(torch.zeros(2, 11, 12, 10)), targets).view(2, 12, 10)
    for row in range(12):
        for column in range(10):
            y, x = math.floor(row * 47 / 11 + 0.5), math.floor(column * 39 / 9 + 0.5)
            label = targets[1, y, x]
            assert found[1, row, column] == label
    assert found[0, 0, 0] == -100
    assert found[1, -1, -1] == targets[1, -1, -1]


def test_a_reports_targets_fit_its_rows(scenes_task: SegmentationTask):
    evaluation = scenes_task.evaluation("validation", Split(0))
    outputs = evaluation.outputs(network(scenes_task))
    assert outputs.logits.shape == (len(evaluation.targets), 11)
    assert (evaluation.targets == -100).any() and evaluation.targets.max() == 10


# evaluation
def naive(task: SegmentationTask, net: nn.Module) -> torch.Tensor:
    """Predictions of the whole test part at once."""
    images = (torch.from_numpy(scenes.load_scenes()["test"].images).permute(0, 3, 1, 2) / 255 - task._mean) / task._std
    with torch.no_grad():
        scores = net.eval()(images)[0]
    return functional.interpolate(scores, size=(48, 48), mode="bilinear", align_corners=True)


def test_evaluation_is_that_of_all_pixels_at_once_however_they_are_batched(scenes_task: SegmentationTask, monkeypatch: pytest.MonkeyPatch):
    net, teacher = network(scenes_task), network(scenes_task, seed=1).eval()
    masks = torch.from_numpy(scenes.load_scenes()["test"].masks)
    counted = masks != 255
    ours, theirs = naive(scenes_task, net), naive(scenes_task, teacher)
    monkeypatch.setattr(scenes_task, "evaluation_batch", 50)
    found = scenes_task.evaluate(net.train(), "test", Split(0), teacher)
    predicted = ours.argmax(dim=1)
    ious = []
    for label in range(11):
        guess, truth = (predicted == label) & counted, masks == label
        ious.append(100 * float((guess & truth).sum() / (guess | truth).sum()))
    assert found["miou"] == pytest.approx(sum(ious) / 11, rel=1e-3)
    assert found["iou/3"] == pytest.approx(ious[4], rel=1e-3, abs=1e-3)
    assert found["pixel_accuracy"] == pytest.approx(100 * float((predicted == masks)[counted].float().mean()), rel=1e-3)
    agreeing = 100 * float((predicted == theirs.argmax(dim=1))[counted].float().mean())
    assert found["agreement"] == pytest.approx(agreeing, rel=1e-3)
    assert net.training


def test_the_reference_teacher_is_run_once_for_a_part(scenes_task: SegmentationTask, monkeypatch: pytest.MonkeyPatch):
    net, teacher = network(scenes_task), network(scenes_task, seed=2).eval()
    calls = []
    teacher.register_forward_hook(lambda *_: calls.append(1))
    once = scenes_task.evaluate(net, "test", Split(0), teacher)
    count = len(calls)
    assert scenes_task.evaluate(net, "test", Split(1), teacher) == once
    assert len(calls) == count > 0
    monkeypatch.setattr(dense, "KEPT_SCORES", 0)
    other = copy.deepcopy(teacher)
    assert scenes_task.evaluate(net, "test", Split(0), other) == once
    assert scenes_task.evaluate(net, "test", Split(0), other) == once


def test_a_teacher_agrees_with_itself(scenes_task: SegmentationTask):
    teacher = network(scenes_task, seed=3).eval()
    found = scenes_task.evaluate(teacher, "validation", Split(0), teacher)
    assert found["agreement"] == 100 and abs(found["teacher_kl"]) < 1e-6


def test_the_divergence_weighs_by_the_teachers_probabilities(scenes_task: SegmentationTask):
    class Constant(nn.Module):
        def __init__(self, odds: float):
            super().__init__()
            self.scores = torch.tensor([odds, *[1.0] * 10]).log().view(1, 11, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scores.expand(len(x), 11, 12, 12)

    # the teacher's 1/2 and ten times 1/20 against 1/11
    found = scenes_task.evaluate(Constant(1), "validation", Split(0), Constant(10))
    assert found["teacher_kl"] == pytest.approx(math.log(11 / 2) / 2 + math.log(11 / 20) / 2, rel=1e-5)


def test_uncertainty_and_gap_are_given_where_asked_for(scenes_task: SegmentationTask):
    net = network(scenes_task)
    assert set(scenes_task.further_metrics("uncertainty", net, Split(0))) == {"prr/entropy", "prr/confidence"}
    gap = scenes_task.further_metrics("gap", net, Split(0))
    assert gap["generalisation"] == pytest.approx(gap["train_miou"] - scenes_task.evaluate(net, "test", Split(0))["miou"])
    with pytest.raises(ValueError, match="no group"):
        scenes_task.further_metrics("robustness", net, Split(0))


def test_an_ensemble_answers_with_the_mean_of_probabilities_at_every_pixel(scenes_task: SegmentationTask):
    members = [network(scenes_task, seed=seed).eval() for seed in (0, 1)]
    images = scenes_task.one_batch().inputs
    with torch.no_grad():
        found = scenes_task.forward(Ensemble(members), images)
        expected = torch.stack([scenes_task.forward(member, images).logits.softmax(dim=1) for member in members]).mean(dim=0)
    assert torch.allclose(found.logits.softmax(dim=1), expected, atol=1e-6)


def test_a_few_steps_of_training_lower_the_loss(scenes_task: SegmentationTask):
    net = network(scenes_task).train()
    optimizer = scenes_task.optimizer(net.parameters(), lr=0.1, weight_decay=5e-4)
    losses = []
    for batch in first(scenes_task, 12):
        loss = scenes_task.loss(scenes_task.forward(net, batch.inputs), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])
