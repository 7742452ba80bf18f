"""Whether a classifier that looks bad only numbers its classes in another order than the data do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GAIN = 20.0
"""Percentage points by which another order has to be better; with few samples of many classes chance alone gains some."""


def reordered_accuracy(predicted: NDArray[np.int64], targets: NDArray[np.int64], classes: int) -> float:
    """The accuracy in percent under the best renaming of the predicted classes, each with one name.

    Args:
        predicted, targets: classes [N].
    """
    from scipy.optimize import linear_sum_assignment

    together = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(together, (predicted, targets), 1)
    rows, columns = linear_sum_assignment(-together)
    return float(100 * together[rows, columns].sum() / max(1, len(targets)))


def order_note(predicted: NDArray[np.int64], targets: NDArray[np.int64], classes: int) -> str | None:
    """A line where the classes seem to be in another order; None where they do not, or where samples have not one class each.

    Args:
        predicted, targets: classes [N].
    """
    if predicted.shape != targets.shape or not len(targets) or classes < 2 or bool((targets < 0).any()) or int(targets.max()) >= classes:
        return None
    accuracy = float(100 * (predicted == targets).mean())
    best = reordered_accuracy(predicted, targets, classes)
    if best < accuracy + GAIN:
        return None
    return f"its classes seem to be in another order: renamed, {best:.4g} % of its answers are right, and not {accuracy:.4g} %; put its last layer into the data's order of classes"
