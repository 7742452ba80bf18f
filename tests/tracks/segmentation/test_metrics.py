"""Metrics against loops over pixels."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdarena.tracks.segmentation.metrics import Confusion, DistanceErrors, TeacherDistance

NAMES = ("a", "b", "c", "d")


def _naive(predicted: list[int], targets: list[int], classes: int) -> dict[int, float]:
    """IoU by class from sets of pixels."""
    counted = [position for position, target in enumerate(targets) if target != 255]
    found = {}
    for label in range(classes):
        guess = {position for position in counted if predicted[position] == label}
        truth = {position for position in counted if targets[position] == label}
        if guess | truth:
            found[label] = 100 * len(guess & truth) / len(guess | truth)
    return found


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 2, 3, 255])), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_iou_of_every_class_is_that_of_sets_of_pixels(pixels: list[tuple[int, int]]) -> None:
    predicted, targets = [guess for guess, _ in pixels], [target for _, target in pixels]
    if all(target == 255 for target in targets):
        return
    confusion = Confusion(NAMES, 255)
    confusion.add(torch.tensor(predicted), torch.tensor(targets))
    found, expected = confusion.metrics(), _naive(predicted, targets, 4)
    assert {name for name in found if name.startswith("iou/")} == {f"iou/{NAMES[label]}" for label in expected}
    for label, value in expected.items():
        assert found[f"iou/{NAMES[label]}"] == pytest.approx(value)
    assert found["miou"] == pytest.approx(sum(expected.values()) / len(expected))
    counted = [(guess, target) for guess, target in pixels if target != 255]
    assert found["pixel_accuracy"] == pytest.approx(100 * sum(guess == target for guess, target in counted) / len(counted))


def test_a_class_that_is_predicted_but_never_labelled_counts_as_zero() -> None:
    confusion = Confusion(NAMES, 255)
    confusion.add(torch.tensor([0, 1]), torch.tensor([0, 0]))
    assert confusion.metrics() == {"miou": 25.0, "pixel_accuracy": 50.0, "iou/a": 50.0, "iou/b": 0.0}


def test_batches_add_up_to_one_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randint(4, (6, 5, 7), generator=generator)
    targets = torch.randint(4, (6, 5, 7), generator=generator)
    targets[targets == 3] = 255
    whole, parts = Confusion(NAMES, 255), Confusion(NAMES, 255)
    whole.add(predicted, targets)
    for some in range(0, 6, 4):
        parts.add(predicted[some : some + 4], targets[some : some + 4])
    assert torch.equal(whole.counts, parts.counts)
    assert whole.counts.sum() == (targets != 255).sum()


def test_rows_of_the_matrix_are_labels_and_columns_predictions() -> None:
    confusion = Confusion(NAMES, 255)
    confusion.add(torch.tensor([2]), torch.tensor([1]))
    assert confusion.counts[1, 2] == 1


def test_agreement_and_divergence_are_means_over_the_counted_pixels() -> None:
    generator = torch.Generator().manual_seed(1)
    ours, theirs = torch.randn(2, 3, 4, 5, generator=generator), torch.randn(2, 3, 4, 5, generator=generator)
    counted = torch.rand(2, 4, 5, generator=generator) < 0.6
    distance = TeacherDistance()
    for image in range(2):
        distance.add(ours[image : image + 1], theirs[image : image + 1], counted[image : image + 1])
    divergences, agreeing = [], []
    for image, row, column in counted.nonzero().tolist():
        p = torch.distributions.Categorical(logits=theirs[image, :, row, column])
        q = torch.distributions.Categorical(logits=ours[image, :, row, column])
        divergences.append(float(torch.distributions.kl_divergence(p, q)))
        agreeing.append(bool(p.logits.argmax() == q.logits.argmax()))
    assert distance.metrics() == {
        "agreement": pytest.approx(100 * sum(agreeing) / len(agreeing)),
        "teacher_kl": pytest.approx(sum(divergences) / len(divergences), rel=1e-5),
    }


def test_errors_of_distances_are_means_over_known_pixels_of_all_batches() -> None:
    truth = [1.0, 2.0, float("nan"), 4.0, 8.0]
    guess = [1.2, 3.0, 9.0, 4.0, -1.0]
    errors = DistanceErrors()
    errors.add(torch.tensor(guess[:3]), torch.tensor(truth[:3]))
    errors.add(torch.tensor(guess[3:]), torch.tensor(truth[3:]))
    known = [(max(g, 1e-3), t) for g, t in zip(guess, truth, strict=True) if not math.isnan(t)]
    assert errors.metrics() == {
        "absrel": pytest.approx(sum(abs(g - t) / t for g, t in known) / 4),
        "rmse": pytest.approx(math.sqrt(sum((g - t) ** 2 for g, t in known) / 4)),
        "delta1": pytest.approx(100 * sum(max(g / t, t / g) < 1.25 for g, t in known) / 4),
    }
    assert errors.metrics()["delta1"] == 50.0


def test_a_ratio_of_exactly_five_quarters_is_not_close() -> None:
    errors = DistanceErrors()
    errors.add(torch.tensor([5.0]), torch.tensor([4.0]))
    assert errors.metrics()["delta1"] == 0.0
