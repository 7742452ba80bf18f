"""The detection task at work: batches, losses, rows, evaluation."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kdarena import losses
from kdarena.tracks import find_card, load_task
from kdarena.tracks.detection.decode import Found
from kdarena.tracks.detection.task import DetectionTask, boxes_of
from kdarena.tracks.evaluation import Evaluation, counted_rows
from kdarena.tracks.modes import evaluating
from kdarena.tracks.values import Outputs, Setting, Split

PLACES, SIDE = 16 * 16 + 8 * 8 + 4 * 4, 64


@pytest.fixture
def student(boxes_task: DetectionTask) -> torch.nn.Module:
    torch.manual_seed(0)
    return boxes_task.new_network("fcos-tiny")


def test_batches_have_one_shape_and_follow_from_the_seed(boxes_task: DetectionTask):
    first, again, other = (next(boxes_task.batches(Split(seed), "augmented")) for seed in (0, 0, 1))
    assert first.inputs.shape == (boxes_task.card.recipe.batch_size, 3, SIDE, SIDE)
    assert first.targets.shape == (boxes_task.card.recipe.batch_size, boxes_task.data.most, 6)
    assert torch.equal(first.inputs, again.inputs) and torch.equal(first.targets, again.targets)
    assert not torch.equal(first.inputs, other.inputs)


def test_plain_batches_are_not_augmented_and_their_inputs_have_no_mean(boxes_task: DetectionTask):
    batch = next(boxes_task.batches(Split(0), "plain"))
    images, boxes = boxes_task.data.train.read(batch.index.tolist())
    assert torch.equal(batch.targets, torch.from_numpy(boxes))
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (boxes_task.data.mean, boxes_task.data.std))
    assert torch.allclose(batch.inputs, (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std, atol=1e-5)


def test_outputs_have_scores_and_boxes_of_all_places_in_fp32(boxes_task: DetectionTask, student: torch.nn.Module):
    shapes = boxes_task.shapes(student)
    assert shapes.logits == (10, PLACES)
    assert list(shapes.features) == ["stage1", "stage2", "stage3", "p2", "p3", "p4"]
    outputs = boxes_task.answered(student, boxes_task.one_batch())
    assert boxes_of(outputs).shape == (1, 5, PLACES)
    assert boxes_of(outputs).dtype == outputs.logits.dtype == torch.float32


def test_outputs_without_boxes_have_no_loss(boxes_task: DetectionTask):
    with pytest.raises(ValueError, match="these outputs have scores and no boxes"):
        boxes_task.loss(Outputs(torch.zeros(1, 10, PLACES)), boxes_task.one_batch().targets)


def test_a_few_steps_lower_the_loss(boxes_task: DetectionTask, student: torch.nn.Module):
    batch = next(boxes_task.batches(Split(0), "augmented"))
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
    found = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = boxes_task.loss(boxes_task.answered(student, batch), batch.targets)
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    assert found[-1] < 0.8 * found[0]


def test_score_maps_are_views_of_the_logits_level_by_level(boxes_task: DetectionTask):
    logits = torch.randn(2, 10, PLACES)
    maps = boxes_task.score_maps(Outputs(logits))
    assert [tuple(each.shape) for each in maps] == [(2, 10, 16, 16), (2, 10, 8, 8), (2, 10, 4, 4)]
    assert torch.equal(torch.cat([each.flatten(2) for each in maps], dim=2), logits)
    assert all(each.untyped_storage().data_ptr() == logits.untyped_storage().data_ptr() for each in maps)


def test_a_kl_of_rows_is_the_binary_kl_of_each_class_of_each_place(boxes_task: DetectionTask):
    theirs, own = torch.randn(2, 10, PLACES), torch.randn(2, 10, PLACES)
    p, q = (theirs / 4).sigmoid(), (own / 4).sigmoid()
    binary = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    rows, other = (boxes_task.rows(Outputs(logits)) for logits in (own, theirs))
    assert rows[0].shape == (2 * PLACES * 10, 2)
    assert float(losses.kl(other[0], rows[0], 4.0)) == pytest.approx(16 * float(binary.mean()), rel=1e-3)


def test_rows_and_score_maps_have_shapes_without_values(boxes_task: DetectionTask):
    outputs = Outputs(torch.empty(2, 10, PLACES, device="meta"))
    rows, weights = boxes_task.rows(outputs)
    assert (rows.shape, weights.shape, rows.device.type) == ((2 * PLACES * 10, 2), (2 * PLACES * 10,), "meta")
    assert [tuple(each.shape[2:]) for each in boxes_task.score_maps(outputs)] == [(16, 16), (8, 8), (4, 4)]


def test_every_row_is_in_a_report_however_small_its_weight(boxes_task: DetectionTask):
    outputs = Outputs(torch.full((1, 10, PLACES), -200.0))
    assert not bool(boxes_task.rows(outputs)[1].any())  # too small for fp32
    assert len(counted_rows(outputs, boxes_task.exit_rows(outputs)).logits) == 10 * PLACES


def test_a_row_counts_by_the_largest_score_of_its_place(boxes_task: DetectionTask):
    logits = torch.randn(2, 10, PLACES, requires_grad=True)
    _, weights = boxes_task.rows(Outputs(logits))
    assert not weights.requires_grad
    by_place = weights.view(2, PLACES, 10)
    assert torch.equal(by_place, by_place[:, :, :1].expand(-1, -1, 10))
    assert float(by_place[1, 7, 0]) == pytest.approx(max(1 / (1 + math.exp(-z)) for z in logits[1, :, 7].tolist()), rel=1e-5)


def test_labels_of_rows_are_in_the_rows_order_and_crowd_regions_have_none(boxes_task: DetectionTask):
    targets = torch.zeros(1, 2, 6)
    targets[0, 0] = torch.tensor([0.0, 0.0, 12.0, 12.0, 3.0, 1.0])
    targets[0, 1] = torch.tensor([40.0, 40.0, 64.0, 64.0, 5.0, 2.0])
    labels = boxes_task.row_targets(Outputs(torch.zeros(1, 10, PLACES)), targets).view(PLACES, 10)
    assigned = boxes_task.assigned(Outputs(torch.zeros(1, 10, PLACES)), targets).classes[0]
    assert torch.equal(labels[:, 3] == 1, assigned == 3) and int((labels == 1).sum()) == int((assigned == 3).sum()) > 0
    assert torch.equal((labels == -100).all(dim=1), assigned == -2) and bool((assigned == -2).any())
    assert set(labels.unique().tolist()) == {-100, 0, 1}


def test_an_ensemble_says_the_mean_of_its_members_probabilities_and_boxes(boxes_task: DetectionTask):
    random = torch.Generator().manual_seed(0)
    members = [Outputs(3 * torch.randn(2, 10, 5, generator=random), boxes=torch.rand(2, 5, 5, generator=random)) for _ in range(3)]
    together = boxes_task.together(members)
    assert torch.allclose(together.logits.sigmoid(), torch.stack([member.logits.sigmoid() for member in members]).mean(dim=0), atol=1e-6)
    assert torch.allclose(boxes_of(together), torch.stack([boxes_of(member) for member in members]).mean(dim=0))
    assert len(together.exits) == 3


def test_a_perfect_detector_has_all_of_the_map_that_its_places_reach(boxes_task: DetectionTask):
    """An answer made of the targets: what is left of 100 are boxes that no place is given to."""

    class Perfect(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            where = (images[:, None, :, :8, :8] - known[None, :, :, :8, :8]).abs().amax(dim=(2, 3, 4)).argmin(dim=1)
            assigned = boxes_task.assigned(Outputs(torch.empty(1, 1, PLACES)), targets[where])
            logits = torch.full((len(images), 10, PLACES), -20.0)
            logits.scatter_(1, assigned.classes.clamp(min=0).unsqueeze(1), torch.where(assigned.positive, 20.0, -20.0).unsqueeze(1))
            return logits, torch.cat([assigned.distances, torch.full((len(images), 1, PLACES), 20.0)], dim=1)

    batches = list(boxes_task.part_batches("validation", Split(0)))
    known, targets = torch.cat([batch.inputs for batch in batches]), torch.cat([batch.targets for batch in batches])
    metrics = boxes_task.evaluate(Perfect(), "validation", Split(0))
    assert metrics["map"] > 97
    assert metrics["map50"] > 97


def test_a_detector_agrees_with_itself_and_with_a_teacher_as_far_as_it_says(boxes_task: DetectionTask, student: torch.nn.Module):
    metrics = boxes_task.evaluate(student, "validation", Split(0), student)
    assert metrics["agreement"] == 100
    assert metrics["teacher_kl"] == pytest.approx(0, abs=1e-6)
    other = boxes_task.new_network("fcos-small")
    first, again = (boxes_task.evaluate(student, "validation", Split(0), other)["teacher_kl"] for _ in range(2))
    assert first == again > 0  # the second time what the teacher said is kept


def test_evaluation_leaves_networks_in_their_mode(boxes_task: DetectionTask, student: torch.nn.Module):
    student.train()
    boxes_task.measured(student, "validation", Split(0), student)
    assert student.training


def test_a_report_sees_the_rows_of_a_part_with_their_labels(boxes_task: DetectionTask, student: torch.nn.Module):
    evaluation = boxes_task.evaluation("validation", Split(0))
    assert isinstance(evaluation, Evaluation)
    rows = boxes_task.card.validation * PLACES * 10
    assert evaluation.outputs(student).logits.shape == (rows, 2)
    assert evaluation.targets.shape == (rows,)


def test_nothing_of_test_is_left_in_a_task_without_test(boxes_task: DetectionTask, student: torch.nn.Module):
    bare = boxes_task.without_test()
    assert bare.overlap is None
    assert len(bare.data.test) == 0
    with pytest.raises(KeyError):
        bare.batch("test", torch.arange(2), torch.arange(2), None)
    assert math.isfinite(bare.evaluate(student, "validation", Split(0))["map"])


def test_only_gap_is_a_group_of_metrics(boxes_task: DetectionTask, student: torch.nn.Module):
    assert set(boxes_task.card.metric_groups) == {"gap"}
    with pytest.raises(ValueError, match="knows no group of metrics 'uncertainty'"):
        boxes_task.further_metrics("uncertainty", student, Split(0))


def test_a_step_of_loss_asks_the_host_for_nothing(boxes_task: DetectionTask, student: torch.nn.Module):
    """On the meta device there are no values that could be read, and a shape that depends on them is an error."""
    batch = next(boxes_task.batches(Split(0), "augmented"))
    with evaluating(student):
        outputs = boxes_task.answered(student, batch)
    from kdarena.tracks.detection.losses import detection_loss
    from kdarena.tracks.detection.targets import assign

    places = boxes_task.places((SIDE, SIDE)).to(torch.device("meta"))
    assigned = assign(places, batch.targets.to("meta"))
    loss = detection_loss(outputs.logits.to("meta"), boxes_of(outputs).to("meta"), assigned)
    assert loss.shape == ()


def test_a_step_in_bf16_has_a_finite_loss_and_boxes_in_fp32(boxes_task: DetectionTask, student: torch.nn.Module):
    task = copy.copy(boxes_task)
    task.setting = replace(boxes_task.setting, precision="bf16")
    batch = next(task.batches(Split(0), "augmented"))
    outputs = task.answered(student, batch)
    task.loss(outputs, batch.targets).backward()
    assert boxes_of(outputs).dtype == torch.float32
    assert all(bool(torch.isfinite(parameter.grad).all()) for parameter in student.parameters())


def test_pictures_in_files_are_scored_in_their_own_pixels(small_voc: Path, monkeypatch: pytest.MonkeyPatch):
    """A detector whose boxes are those of the enlarged, padded pictures has all of the map of the originals."""
    card = replace(find_card("voc-boxes:fcos-small-fcos-tiny"), train=2, validation=1, test=2)
    task = load_task(card, Setting(data_root=str(small_voc)))
    assert isinstance(task, DetectionTask)
    assert task.size("test", Split(0)) == 2
    boxes = torch.cat([batch.targets for batch in task.part_batches("test", Split(0))])
    assert bool((boxes[..., 5] == 1).any())

    def found(*_: object) -> Found:
        counted = (boxes[..., 5] == 1).float()
        return Found(boxes[..., :4] * counted.unsqueeze(2), counted, boxes[..., 4].long(), counted.sum(dim=1).long())

    monkeypatch.setattr("kdarena.tracks.detection.task.decoded", found)
    metrics = task.evaluate(task.new_network("fcos-tiny"), "test", Split(0))
    assert metrics["map"] == pytest.approx(100)
    batch = next(task.batches(Split(0), "augmented"))
    assert math.isfinite(float(task.loss(task.answered(task.new_network("fcos-small"), batch), batch.targets).detach()))
