"""Detection metrics against scikit-learn, counted pairs and their extremes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from kdarena.tracks.uncertainty import aupr, auroc, detection_metrics, prediction_rejection_ratio, softmax_scores


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def with_errors(samples: int, errors: int, seed: int = 0) -> torch.Tensor:
    """Booleans [P], of which that many are False, in random order."""
    return torch.randperm(samples, generator=generator(seed)) >= errors


def naive_prr(uncertainty: list[float], correct: list[bool]) -> float:
    """Trapezia over the samples one after the other; scores have to differ."""
    order = sorted(range(len(correct)), key=lambda i: -uncertainty[i])
    samples, left = len(correct), sum(not one for one in correct)
    error, area = left / samples, 0.0
    for i in order:
        after = left - (not correct[i])
        area += (left + after) / 2 / samples / samples
        left = after
    return 100 * (error / 2 - area) / (error / 2 - error**2 / 2)


scored = st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=40)
"""Few different scores, so that many are equal."""


def split(rows: list[tuple[int, bool]]) -> tuple[torch.Tensor, torch.Tensor]:
    scores, labels = zip(*rows, strict=True)
    assume(len(set(labels)) == 2)
    return torch.tensor(scores, dtype=torch.float), torch.tensor(labels)


class TestPredictionRejectionRatio:
    @pytest.mark.parametrize("errors", [1, 7, 50, 99])
    def test_an_oracle_has_a_hundred_and_its_reverse_minus_a_hundred(self, errors: int):
        correct = with_errors(100, errors)
        tie_breaker = torch.rand(100, generator=generator(1)) / 2
        oracle = (~correct).double() + tie_breaker
        assert prediction_rejection_ratio(oracle, correct) == pytest.approx(100)
        assert prediction_rejection_ratio(-oracle, correct) == pytest.approx(-100)

    @pytest.mark.parametrize("errors", [1, 30])
    def test_an_oracle_that_says_only_right_or_wrong_has_a_hundred_too(self, errors: int):
        correct = with_errors(100, errors)
        assert prediction_rejection_ratio((~correct).double(), correct) == pytest.approx(100)

    def test_random_scores_are_near_zero(self):
        found = [prediction_rejection_ratio(torch.rand(2000, generator=generator(seed)), with_errors(2000, 300, seed + 100)) for seed in range(20)]
        assert abs(sum(found) / len(found)) < 2
        assert max(map(abs, found)) < 20

    def test_a_constant_score_is_zero_whatever_the_order_of_samples(self):
        correct = torch.tensor([False] * 10 + [True] * 30)
        assert prediction_rejection_ratio(torch.ones(40), correct) == pytest.approx(0, abs=1e-9)
        assert prediction_rejection_ratio(torch.ones(40), correct.flip(0)) == pytest.approx(0, abs=1e-9)

    @settings(max_examples=60, deadline=None)
    @given(seed=st.integers(0, 10_000), samples=st.integers(2, 40), data=st.data())
    def test_it_is_the_ratio_of_areas_by_trapezia(self, seed: int, samples: int, data: st.DataObject):
        correct = with_errors(samples, data.draw(st.integers(1, samples - 1)), seed)
        uncertainty = torch.randperm(samples, generator=generator(seed + 1)).float()
        assert prediction_rejection_ratio(uncertainty, correct) == pytest.approx(naive_prr(uncertainty.tolist(), correct.tolist()), abs=1e-8)

    @settings(max_examples=60, deadline=None)
    @given(scored)
    def test_ties_count_as_the_mean_of_their_orders(self, rows: list[tuple[int, bool]]):
        scores, correct = split(rows)
        # orders of equal scores in pairs, each with its reverse: a pair's mean is that of all orders
        noise = torch.rand(len(scores), generator=generator()) / 2
        forth, back = naive_prr((scores + noise).tolist(), correct.tolist()), naive_prr((scores - noise).tolist(), correct.tolist())
        assert prediction_rejection_ratio(scores, correct) == pytest.approx((forth + back) / 2, abs=1e-6)

    @settings(max_examples=60, deadline=None)
    @given(scored)
    def test_it_is_bounded_by_the_oracle_and_its_reverse(self, rows: list[tuple[int, bool]]):
        assert -100 - 1e-9 <= prediction_rejection_ratio(*split(rows)) <= 100 + 1e-9

    def test_without_errors_or_without_hits_it_is_undefined(self):
        assert math.isnan(prediction_rejection_ratio(torch.rand(5), torch.ones(5, dtype=torch.bool)))
        assert math.isnan(prediction_rejection_ratio(torch.rand(5), torch.zeros(5, dtype=torch.bool)))


class TestAreas:
    @settings(max_examples=80, deadline=None)
    @given(scored)
    def test_they_are_scikit_learns(self, rows: list[tuple[int, bool]]):
        scores, positive = split(rows)
        assert auroc(scores, positive) == pytest.approx(100 * roc_auc_score(positive.numpy(), scores.numpy()), abs=1e-8)
        assert aupr(scores, positive) == pytest.approx(100 * average_precision_score(positive.numpy(), scores.numpy()), abs=1e-8)

    @settings(max_examples=60, deadline=None)
    @given(scored)
    def test_the_roc_area_is_the_share_of_pairs_in_order_with_ties_as_half(self, rows: list[tuple[int, bool]]):
        scores, positive = split(rows)
        above, below = scores[positive].tolist(), scores[~positive].tolist()
        pairs = [(a > b) + (a == b) / 2 for a in above for b in below]
        assert auroc(scores, positive) == pytest.approx(100 * sum(pairs) / len(pairs), abs=1e-8)

    def test_they_agree_with_scikit_learn_on_many_different_scores(self):
        scores, positive = torch.randn(5000, generator=generator(), dtype=torch.double), ~with_errors(5000, 700)
        assert auroc(scores, positive) == pytest.approx(100 * roc_auc_score(positive.numpy(), scores.numpy()), abs=1e-8)
        assert aupr(scores, positive) == pytest.approx(100 * average_precision_score(positive.numpy(), scores.numpy()), abs=1e-8)

    def test_perfect_scores_have_a_hundred_reversed_ones_zero_and_constant_ones_chance(self):
        positive = ~with_errors(50, 10)
        negative = ~positive
        assert auroc(positive.double(), positive) == aupr(positive.double(), positive) == 100
        assert auroc(negative.double(), positive) == 0
        assert auroc(torch.zeros(50), positive) == 50
        assert aupr(torch.zeros(50), positive) == pytest.approx(100 * float(positive.double().mean()))

    def test_without_positives_or_negatives_they_are_undefined(self):
        none = torch.zeros(4, dtype=torch.bool)
        assert math.isnan(auroc(torch.rand(4), none))
        assert math.isnan(auroc(torch.rand(4), ~none))
        assert math.isnan(aupr(torch.rand(4), none))

    def test_infinite_scores_sort_and_missing_ones_are_refused(self):
        positive = torch.tensor([True, False, False])
        assert auroc(torch.tensor([math.inf, 0.0, -math.inf]), positive) == 100
        with pytest.raises(ValueError, match="not a number"):
            auroc(torch.tensor([math.nan, 0.0, 1.0]), positive)


@settings(max_examples=60, deadline=None)
@given(scored, st.sampled_from([lambda s: s.double().exp(), lambda s: 3 * s.double() - 7, lambda s: s.double() ** 3, lambda s: torch.atan(s.double())]))
def test_all_metrics_depend_on_the_order_of_scores_alone(rows, transform):
    scores, labels = split(rows)
    for metric in (prediction_rejection_ratio, auroc, aupr):
        assert metric(transform(scores), labels) == pytest.approx(metric(scores, labels), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(scored, st.integers(0, 1000))
def test_no_metric_depends_on_the_order_of_samples(rows, seed):
    scores, labels = split(rows)
    order = torch.randperm(len(scores), generator=generator(seed))
    for metric in (prediction_rejection_ratio, auroc, aupr):
        assert metric(scores[order], labels[order]) == pytest.approx(metric(scores, labels), abs=1e-9)


class TestSoftmaxScores:
    def test_they_are_the_entropy_and_the_rest_of_the_largest_probability(self):
        logits = 3 * torch.randn(6, 5, generator=generator())
        found = softmax_scores(logits)
        assert list(found) == ["entropy", "confidence"]
        for b, row in enumerate(logits.tolist()):
            powers = [math.exp(value) for value in row]
            probabilities = [power / sum(powers) for power in powers]
            assert float(found["entropy"][b]) == pytest.approx(-sum(p * math.log(p) for p in probabilities))
            assert float(found["confidence"][b]) == pytest.approx(1 - max(probabilities))

    def test_equal_logits_are_the_most_uncertain(self):
        found = softmax_scores(torch.zeros(1, 8))
        assert float(found["entropy"]) == pytest.approx(math.log(8))
        assert float(found["confidence"]) == pytest.approx(7 / 8)

    def test_probabilities_that_underflow_give_no_nan(self):
        found = softmax_scores(torch.tensor([[1e5, 0.0, -1e5]]))
        assert float(found["entropy"]) == 0
        assert float(found["confidence"]) == 0

    def test_sure_answers_keep_their_order(self):
        confidence = softmax_scores(torch.tensor([[60.0, 0.0], [50.0, 0.0]]))["confidence"]
        assert float(confidence[0]) < float(confidence[1])


class TestDetectionMetrics:
    def test_metrics_are_named_by_set_and_score_and_outliers_are_the_positives(self):
        correct = with_errors(30, 5)
        scores = {"entropy": torch.rand(30, generator=generator()), "knowledge": (~correct).double()}
        outliers = {"svhn": {"entropy": torch.rand(20, generator=generator(1)), "knowledge": torch.full((20,), 2.0)}}
        found = detection_metrics(scores, correct, outliers)
        assert set(found) == {f"prr/{name}" for name in scores} | {f"{area}/svhn/{name}" for area in ("auroc", "aupr") for name in scores}
        assert found["prr/knowledge"] == pytest.approx(100)
        assert found["auroc/svhn/knowledge"] == found["aupr/svhn/knowledge"] == 100
        both = torch.cat([scores["entropy"], outliers["svhn"]["entropy"]])
        assert found["auroc/svhn/entropy"] == pytest.approx(100 * roc_auc_score([0] * 30 + [1] * 20, both.numpy()))

    def test_without_a_foreign_set_there_is_misclassification_alone(self):
        assert list(detection_metrics({"entropy": torch.rand(9)}, with_errors(9, 2), {})) == ["prr/entropy"]

    def test_a_set_with_other_scores_is_refused(self):
        with pytest.raises(ValueError, match="svhn"):
            detection_metrics({"entropy": torch.rand(9)}, with_errors(9, 2), {"svhn": {"other": torch.rand(3)}})
