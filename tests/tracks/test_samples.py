"""What metrics are made of, sample by sample; that a task's own give its metric is tested with each task."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, matthews_corrcoef

from kdarena.tracks.samples import PackedSamples, Samples, classified, metric_of, packed, shares, unpacked
from kdarena.tracks.speech.metrics import word_error_rate, word_errors

labels = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=30)


@pytest.mark.filterwarnings("ignore:A single label")
@given(labels)
@settings(max_examples=50, deadline=None)
def test_matthews_and_f1_of_sums_are_those_of_scikit_learn(pairs):
    predicted, targets = (np.array(each) for each in zip(*pairs, strict=True))
    matthews = classified("matthews", predicted, targets, 3)
    assert metric_of("matthews", matthews.counts.sum(axis=0)) == pytest.approx(100 * matthews_corrcoef(targets, predicted), abs=1e-9)
    f1 = classified("f1", predicted, targets, 3)
    expected = f1_score(targets, predicted, labels=[1], average="macro", zero_division=0.0)
    assert metric_of("f1", f1.counts.sum(axis=0)) == pytest.approx(100 * expected)


def test_iou_is_the_mean_over_classes_that_are_labelled_or_predicted():
    counts = np.array([[[3, 0, 0], [4, 2, 0], [5, 0, 0]], [[1, 1, 0], [2, 2, 0], [1, 3, 0]]])
    assert metric_of("iou", counts.sum(axis=0)) == pytest.approx(100 * (4 / 8 + 1 / 6) / 2)


def test_a_metric_that_is_not_of_classes_and_rows_without_one_label_each_have_no_samples():
    assert classified("nll", torch.tensor([1]), torch.tensor([1]), 2) is None
    assert classified("top1", torch.tensor([1, 1]), torch.tensor([1]), 2) is None
    assert classified("top1", torch.tensor([1, 1]), torch.tensor([1, -100]), 2) is None


def test_counts_keep_their_sign_and_their_size():
    samples = shares([-3, 5, 70_000], [10, 5, 90_000])
    assert unpacked(packed(samples)).counts.tolist() == [[-3, 10], [5, 5], [70_000, 90_000]]


@pytest.mark.parametrize("changes", [{"counts": "AAAA"}, {"shape": (7, 2)}, {"kind": "?!"}])
def test_counts_that_were_changed_are_refused(changes):
    good = packed(Samples("share", np.ones((3, 2), dtype=np.int64)))
    with pytest.raises(ValueError):
        unpacked(PackedSamples(**{**vars(good), **changes}))


def test_errors_of_each_utterance_add_up_to_the_word_error_rate():
    said, heard = ["one two three", "four", "five six"], ["one three", "four four", "nine six"]
    assert word_errors(said, heard) == ([1, 1, 1], [3, 1, 2])
    assert word_error_rate(said, heard) == pytest.approx(50.0)
