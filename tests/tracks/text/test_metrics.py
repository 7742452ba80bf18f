"""Metrics against their closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kdarena.tracks.text.metrics import all_metrics, f1, matthews


def predictions(true_positive: int, false_positive: int, false_negative: int, true_negative: int) -> tuple[Tensor, Tensor]:
    """Logits and labels with these counts."""
    predicted = [1] * (true_positive + false_positive) + [0] * (false_negative + true_negative)
    targets = [1] * true_positive + [0] * false_positive + [1] * false_negative + [0] * true_negative
    return torch.nn.functional.one_hot(torch.tensor(predicted), 2).float() * 3, torch.tensor(targets)


@pytest.mark.parametrize("counts", [(50, 10, 20, 40), (3, 1, 2, 9), (5, 0, 0, 5), (0, 5, 5, 0)])
def test_matthews_and_f1_are_their_formulas_in_percent(counts: tuple[int, int, int, int]):
    tp, fp, fn, tn = counts
    found = all_metrics(*predictions(*counts))
    assert found["matthews"] == pytest.approx(100 * (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))
    assert found["f1"] == pytest.approx(100 * 2 * tp / (2 * tp + fp + fn))
    assert found["accuracy"] == pytest.approx(100 * (tp + tn) / sum(counts))


def test_a_constant_answer_has_no_correlation_and_no_positive_one_no_f1():
    assert matthews(*predictions(4, 6, 0, 0)) == 0
    assert f1(*predictions(0, 0, 4, 6)) == 0


def test_likelihood_and_profile_are_those_of_the_probabilities():
    logits, targets = predictions(6, 2, 0, 0)
    confidence = 1 / (1 + math.exp(-3))
    found = all_metrics(logits, targets)
    assert found["nll"] == pytest.approx(-(6 * math.log(confidence) + 2 * math.log(1 - confidence)) / 8, rel=1e-6)
    assert found["ece"] == pytest.approx(100 * abs(0.75 - confidence), rel=1e-6)


def test_a_reference_adds_agreement_and_divergence():
    logits, targets = predictions(6, 2, 1, 3)
    assert "agreement" not in all_metrics(logits, targets)
    same, other = all_metrics(logits, targets, logits), all_metrics(logits, targets, logits.flip(1))
    assert (same["agreement"], other["agreement"]) == (100, 0)
    assert same["teacher_kl"] == pytest.approx(0, abs=1e-6) and other["teacher_kl"] == pytest.approx(3 * (2 / (1 + math.exp(-3)) - 1), rel=1e-5)
