"""Where the learning curve of a final run is measured, and on how many samples: so much that it costs little, decided before anything is trained."""

from __future__ import annotations

from kdarena.plan.spec import CurvePlan
from kdarena.tracks.card import TaskCard

SHARE = 0.03
"""Of a run's time that its curve may take as planned. Not charged; at most five percent as measured on the embedded tasks."""
PLACES = ((1 / 8, 1 / 4, 1 / 2, 3 / 4), (1 / 4, 1 / 2), (1 / 2,))
"""Parts of the budget, the most wanted first; the end is a place of every curve."""
FEWEST, MOST = 32, 1000
"""Samples of a place: with fewer there are fewer places."""
FORWARD = 1 / 3
"""Of a training step's time, a forward pass of its batch."""
DECODING = 2.0
"""Forward passes that it takes to score a sample where networks decode."""


def curve_plan(card: TaskCard, protocol: str, student_steps: int) -> CurvePlan | None:
    """The learning curve of a final run; None where the budget is too short for one, or there is no validation part.

    Args:
        student_steps: of the plain student that last as long as the run.
    """
    validation = card.validation if protocol == "validated" else 0
    a_sample = FORWARD * (DECODING if card.decodes else 1.0) / card.recipe.batch_size  # in steps of the plain student
    for places in PLACES:
        samples = min(validation, MOST, int(SHARE * student_steps / (a_sample * (len(places) + 1))))
        if samples >= min(FEWEST, validation) > 0:
            return CurvePlan(places, samples)
    return None
