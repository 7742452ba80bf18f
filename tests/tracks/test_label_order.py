"""A given teacher whose classes are in another order is recognised, and one that is only bad is not."""

import numpy as np
import pytest

from kdarena.tracks.label_order import order_note, reordered_accuracy

TARGETS = np.random.default_rng(0).integers(0, 10, 300)
ORDER = np.random.default_rng(1).permutation(10)


def test_classes_in_another_order_are_recognised():
    note = order_note(ORDER[TARGETS], TARGETS, 10)
    assert note is not None and "another order" in note and "100 % of its answers" in note


@pytest.mark.parametrize("predicted", [TARGETS, np.zeros_like(TARGETS), np.random.default_rng(2).integers(0, 10, 300)], ids=["right", "constant", "guessed"])
def test_a_good_one_and_a_bad_one_are_not_taken_for_it(predicted: np.ndarray):
    assert order_note(predicted, TARGETS, 10) is None


def test_samples_without_one_class_each_are_left_alone():
    assert order_note(TARGETS[:10], TARGETS, 10) is None
    assert order_note(TARGETS, TARGETS - 1, 10) is None


def test_each_class_gets_one_name():
    assert reordered_accuracy(np.array([1, 1, 1, 0]), np.array([0, 0, 1, 1]), 2) == 75.0
