"""Each metric against a derivation of its own, row by row."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdarena.tracks import metrics


def rows(seed: int, count: int = 41, classes: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits, reference = (3 * torch.randn(count, classes, generator=generator) for _ in range(2))
    return logits, torch.randint(0, classes, (count,), generator=generator), reference


def softmax(row: list[float]) -> list[float]:
    powers = [math.exp(value - max(row)) for value in row]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("k", [1, 5])
def test_top_k_counts_rows_with_fewer_than_k_larger_logits(k: int):
    logits, targets, _ = rows(0)
    hits = [sum(value > row[target] for value in row) < k for row, target in zip(logits.tolist(), targets.tolist(), strict=True)]
    assert metrics.top(logits, targets, k) == pytest.approx(100 * sum(hits) / len(hits))


def test_top_five_of_three_classes_is_all():
    logits, targets, _ = rows(0, classes=3)
    assert metrics.top(logits, targets, 5) == 100


def test_nll_is_the_mean_negative_log_probability_of_the_target():
    logits, targets, _ = rows(1)
    expected = [-math.log(softmax(row)[target]) for row, target in zip(logits.tolist(), targets.tolist(), strict=True)]
    assert metrics.negative_log_likelihood(logits, targets) == pytest.approx(sum(expected) / len(expected))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), bins=st.integers(1, 20))
def test_calibration_error_is_the_weighted_gap_of_accuracy_and_confidence_over_bins(seed: int, bins: int):
    logits, targets, _ = rows(seed)
    found = [softmax(row) for row in logits.double().tolist()]
    error = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [(max(row), row.index(max(row)) == target) for row, target in zip(found, targets.tolist(), strict=True) if low < max(row) <= high]
        if inside:
            confidence, accuracy = sum(each[0] for each in inside) / len(inside), sum(each[1] for each in inside) / len(inside)
            error += len(inside) / len(found) * abs(accuracy - confidence)
    assert metrics.calibration_error(logits, targets, bins) == pytest.approx(100 * error, abs=1e-8)


def test_certain_and_right_is_calibrated_and_certain_and_wrong_is_not():
    logits = 1000 * torch.eye(4)
    assert metrics.calibration_error(logits, torch.arange(4)) == pytest.approx(0)
    assert metrics.calibration_error(logits, torch.tensor([1, 2, 3, 0])) == pytest.approx(100)


def test_agreement_counts_rows_with_the_same_largest_logit():
    logits, _, reference = rows(2)
    same = [row.index(max(row)) == other.index(max(other)) for row, other in zip(logits.tolist(), reference.tolist(), strict=True)]
    assert metrics.agreement(logits, reference) == pytest.approx(100 * sum(same) / len(same))


def test_divergence_is_from_the_teacher_to_the_student():
    logits, _, reference = rows(3)
    total = 0.0
    for row, other in zip(logits.tolist(), reference.tolist(), strict=True):
        total += sum(t * math.log(t / s) for t, s in zip(softmax(other), softmax(row), strict=True))
    assert metrics.divergence(logits, reference) == pytest.approx(total / len(logits), rel=1e-5)
    assert metrics.divergence(reference, logits) != pytest.approx(total / len(logits), rel=1e-2)


def test_teacher_metrics_appear_only_with_a_teacher():
    logits, targets, reference = rows(4)
    assert set(metrics.all_metrics(logits, targets)) == {"top1", "top5", "nll", "ece"}
    assert set(metrics.all_metrics(logits, targets, reference)) == {"top1", "top5", "nll", "ece", "agreement", "teacher_kl"}


def test_balanced_accuracy_is_the_mean_over_the_classes_that_there_are():
    logits = torch.eye(4)[[0, 0, 0, 1, 0]]
    assert metrics.balanced_accuracy(logits, torch.tensor([0, 0, 0, 1, 1])) == pytest.approx(75)
    assert metrics.balanced_accuracy(logits, torch.tensor([0, 0, 0, 2, 2])) == pytest.approx(50)
