"""The depth task: loss, ensemble, evaluation."""

from __future__ import annotations

import math
from itertools import islice

import pytest
import torch
from torch.nn import functional

from kdarena.tracks.branch import Ensemble
from kdarena.tracks.segmentation import scenes
from kdarena.tracks.segmentation.depth import DepthTask
from kdarena.tracks.values import Outputs, Split


def berhu(errors: list[float]) -> float:
    """Equation 1 of Laina et al. in plain numbers."""
    c = max(abs(error) for error in errors) / 5
    return sum(abs(error) if abs(error) <= c else (error**2 + c**2) / (2 * c) for error in errors) / len(errors)


def test_the_loss_is_the_reverse_huber_loss_of_the_known_pixels(depth_task: DepthTask):
    generator = torch.Generator().manual_seed(0)
    scores, targets = torch.randn(2, 1, 12, 12, generator=generator), torch.rand(2, 48, 48, generator=generator) * 5
    targets[:, 3] = float("nan")
    large = functional.interpolate(scores, size=(48, 48), mode="bilinear", align_corners=True)[:, 0]
    errors = [error for error in (large - targets).flatten().tolist() if not math.isnan(error)]
    assert float(depth_task.loss(Outputs(scores), targets)) == pytest.approx(berhu(errors), rel=1e-4)


def test_unknown_pixels_have_no_gradient_and_spoil_none(depth_task: DepthTask):
    scores = torch.randn(1, 1, 48, 48, requires_grad=True)
    targets = torch.ones(1, 48, 48)
    targets[0, :, 20:] = float("nan")
    depth_task.loss(Outputs(scores), targets).backward()
    assert scores.grad is not None and scores.grad.isfinite().all()
    assert not scores.grad[0, 0, :, 20:].any() and scores.grad[0, 0, :, :20].any()


@pytest.mark.parametrize("target", [float("nan"), 2.0])
def test_nothing_known_or_nothing_wrong_makes_no_loss(depth_task: DepthTask, target: float):
    scores = torch.full((1, 1, 48, 48), 2.0, requires_grad=True)
    loss = depth_task.loss(Outputs(scores), torch.full((1, 48, 48), target))
    loss.backward()
    assert loss.item() == 0 and scores.grad is not None and scores.grad.isfinite().all()


def test_batches_carry_distances_that_are_unknown_at_borders(depth_task: DepthTask):
    batch = next(depth_task.batches(Split(0), "augmented"))
    assert batch.targets.shape == (8, 48, 48) and batch.targets.dtype == torch.float32
    assert batch.targets.isnan().any() and batch.targets.nanmean() > 2


def test_networks_start_from_the_mean_distance(depth_task: DepthTask):
    torch.manual_seed(0)
    network = depth_task.new_network("pspnet-tiny")
    distances = torch.from_numpy(scenes.load_scenes()["train"].distances[:32])
    assert network.get_submodule("classifier.1").bias.item() == pytest.approx(float(distances.nanmean()), rel=1e-4)  # type: ignore[arg-type]


def test_distances_are_no_rows_of_classes(depth_task: DepthTask):
    outputs = Outputs(torch.zeros(1, 1, 12, 12))
    with pytest.raises(ValueError, match="scenes-depth predicts distances"):
        depth_task.rows(outputs)
    with pytest.raises(ValueError, match="no labels"):
        depth_task.row_targets(outputs, torch.zeros(1, 48, 48))


def test_an_ensemble_answers_with_the_mean_distance(depth_task: DepthTask):
    members = [depth_task.new_network("pspnet-tiny").eval() for _ in range(3)]
    images = next(depth_task.batches(Split(0), "augmented")).inputs
    with torch.no_grad():
        found = depth_task.forward(Ensemble(members), images)
        singly = torch.stack([depth_task.forward(member, images).logits for member in members])
    assert torch.allclose(found.logits, singly.mean(dim=0), atol=1e-5)
    assert len(found.exits) == 3


def test_evaluation_is_that_of_all_known_pixels_at_once(depth_task: DepthTask):
    torch.manual_seed(0)
    network, teacher = (depth_task.new_network("pspnet-tiny").eval() for _ in range(2))
    found = depth_task.evaluate(network, "test", Split(0), teacher)
    truth = torch.from_numpy(scenes.load_scenes()["test"].distances)
    known = ~truth.isnan()
    predicted, theirs = [], []
    with torch.no_grad():
        for batch in islice(depth_task.part_batches("test", Split(0)), 99):
            for one, kept in ((network, predicted), (teacher, theirs)):
                kept.append(functional.interpolate(depth_task.forward(one, batch.inputs).logits, size=(48, 48), mode="bilinear", align_corners=True)[:, 0])
    guess, truth, other = torch.cat(predicted)[known], truth[known], torch.cat(theirs)[known]
    assert found["absrel"] == pytest.approx(float(((guess - truth).abs() / truth).mean()), rel=1e-4)
    assert found["rmse"] == pytest.approx(float((guess - truth).square().mean().sqrt()), rel=1e-4)
    assert found["delta1"] == pytest.approx(100 * float((torch.maximum(guess / truth, truth / guess) < 1.25).float().mean()), rel=1e-3)
    assert found["teacher_rmse"] == pytest.approx(float((guess - other).square().mean().sqrt()), rel=1e-4)
    assert "agreement" not in found
    assert depth_task.detection(network, "test", Split(0)) == {}
