"""PID and SID: one layer after the other, from the first to the last, and then the classifier alone.

ℓ_k, g(k), L_cls as in ``method.py``; stages s = 1 … N_S are phases ``layer1`` … of equal shares, the last phase is ``classification``:

    pid, progressive: L = ℓ_s        sid, stacked: L = Σ_{k ≤ s} ℓ_k        last, both: L = L_cls

A stage ends when the mean of its newest ℓ_s over an epoch falls below the threshold, or with its share of the budget. Gradients reach
embeddings and layers up to s; no parameter above them moves, by decay neither. One optimiser serves all stages, but
where ``freeze_below`` gives each parameters of its own. Its learning rate runs
through the recipe's curve once over all stages of layers, and once again over the last phase.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

import torch

from kdarena import Flag, Float, Method, Phase, Update, hookimpl
from kdarena_internal.layers import embedder, encoder_layers
from kdarena_internal.method import EXCLUDED, PAPER, Internal, InternalParams, applies, classification_terms, terms_of_layers

if TYPE_CHECKING:
    from torch import Tensor

    from kdarena import Curve, Run, Step, Task, TaskCard


@dataclass(frozen=True)
class StagedParams(InternalParams):
    """And when a stage ends."""

    threshold: float = Float(0.05, 0.005, 0.3, log=True, source="ours", help="mean of the newest layer's loss over an epoch below which its stage ends")
    share: float = Float(0.5, 0.2, 0.9, source="ours", cost=True, help="of the budget for the layers' stages together; L_cls gets the rest and what they leave")


@dataclass(frozen=True)
class PIDParams(StagedParams):
    """And what moves in a stage."""

    freeze_below: bool = Flag(
        False, source="ours", cost=True, help="stage s trains layer s alone (the first one the embeddings too); the last phase trains all"
    )


def applies_staged(card: TaskCard, params: StagedParams) -> str | None:
    """Why it can't run on a task, or None."""
    if not 0 < params.share < 1:
        return f"layers and classifier both need a share of the budget: share={params.share:g} is not between 0 and 1"
    return applies(card, params)


class Staged(Internal):
    """Stages of layers, then the classifier; ``stacked`` keeps the losses of the layers below."""

    stacked: bool

    @hookimpl
    def schedule(self, task: Task, params: StagedParams, run: Run) -> Sequence[Phase]:
        """A phase a layer, and one for the classifier."""
        count = len(run.store["g"])
        run.store["newest"] = deque(maxlen=run.steps_per_epoch)
        run.store["stages"] = {f"layer{s}": s for s in range(1, count + 1)}
        until = partial(_below, threshold=params.threshold)
        stages = [
            Phase(name, partial(self._updates, s=s, curve=_part_of(task.curve, s, count)), params.share / count, begin=_begin, until=until)
            for name, s in run.store["stages"].items()
        ]
        return [*stages, Phase("classification", _everything, 1 - params.share)]

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """ℓ_s, stacked on those of the layers below or not; in the last phase L_cls."""
        s: int | None = step.run.store["stages"].get(step.phase)
        if s is None:
            return classification_terms(step)
        terms = terms_of_layers(step, range(1 if self.stacked else s, s + 1))
        step.run.store["newest"].append((terms[f"attention{s}"] + terms[f"hidden{s}"]).detach())
        return terms

    def _updates(self, run: Run, *, s: int, curve: Curve) -> list[Update]:
        return [_all(run, curve)]


class PID(Staged):
    """Progressive internal distillation."""

    stacked = False
    method = Method(
        name="pid",
        title="attention and hidden states of one layer after the other, then logits",
        paper=PAPER,
        equations="stage s: L = w_kl KL(A_T || A_S) + w_cos (1 - cos(h_T, h_S)) of layer s alone; last: (1 - a) CE(y, z_S) + a T^2 KL(p_T || p_S)",
        tracks=("text",),
        excluded=EXCLUDED,
        Params=PIDParams,
        applies=applies_staged,
        inherits=True,
    )

    def _updates(self, run: Run, *, s: int, curve: Curve) -> list[Update]:
        if not cast(PIDParams, run.params).freeze_below:
            return super()._updates(run, s=s, curve=curve)
        student = run.learner.student
        layer = encoder_layers(student, len(run.store["g"]))[s - 1]
        embeddings = embedder(student).parameters() if s == 1 else ()
        return [Update("student", [*embeddings, *layer.parameters()], curve=curve)]


class SID(Staged):
    """Stacked internal distillation."""

    stacked = True
    method = Method(
        name="sid",
        title="attention and hidden states of one layer more in each stage, then logits",
        paper=PAPER,
        equations="stage s: L = sum_{k <= s} (w_kl KL(A_T || A_S) + w_cos (1 - cos(h_T, h_S))); last: (1 - a) CE(y, z_S) + a T^2 KL(p_T || p_S)",
        tracks=("text",),
        excluded=EXCLUDED,
        Params=StagedParams,
        applies=applies_staged,
        inherits=True,
    )


def _all(run: Run, curve: Curve | None = None) -> Update:
    # all parameters in every phase, so that the optimiser can be kept; those above a stage's layer have no gradient and stay as they are
    return Update("student", run.learner.student.parameters(), curve=curve, keep=True, optional=True)


def _everything(run: Run) -> list[Update]:
    return [_all(run)]


def _part_of(curve: Curve, s: int, count: int) -> Curve:
    """Of ``count`` equal parts of a curve the one of stage s."""
    return lambda progress: curve((s - 1 + progress) / count)


def _begin(run: Run) -> None:
    run.store["newest"].clear()


def _below(run: Run, *, threshold: float) -> bool:
    """Whether the newest layer's loss, as a mean over a whole epoch, has fallen below the threshold."""
    newest: deque[Tensor] = run.store["newest"]
    return len(newest) == newest.maxlen and float(torch.stack(list(newest)).mean()) < threshold
