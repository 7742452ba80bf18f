"""The learning curve of a run, on a part of validation: measured from weights that were kept while it trained."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from kdarena.execute.weights import State, copied
from kdarena.tracks.task import Task
from kdarena.tracks.values import Split


def learning_curve(task: Task, network: nn.Module, kept: Sequence[tuple[int, State]], steps: int, split: Split) -> list[tuple[int, float]]:
    """The ranked metric on validation by steps, the end last; a value that is not finite is left out.

    Args:
        task: with the samples that are scored.
        network: the deployed student as the run left it; it has the same weights afterwards.
        kept: steps, and the student's weights after them.
        steps: of the whole run.
    """
    last = copied(network)
    points = []
    for place, state in [*((place, state) for place, state in kept if place < steps), (steps, last)]:
        network.load_state_dict(state)
        points.append((place, task.evaluate(network, "validation", split)[task.card.metric]))
    return [(place, value) for place, value in points if math.isfinite(value)]
