"""T/S: adaptation to a new acoustic domain without labels, on parallel audio.

Meng, Li, Gaur, Gong: "Domain Adaptation via Teacher-Student Learning for End-to-End Speech Recognition", ASRU 2019,
https://arxiv.org/abs/2001.01798

X^T, X^S: an utterance as the teacher and as the student hear it; Y^T = y^T_1 … y^T_L: the one-best sequence that the teacher
decodes from X^T, its last token the end of the sentence; Y_0: the start of the sentence; U: the tokens.

    TS      L = − Σ_l Σ_{u∈U} P(u | Y^T_{0:l−1}, X^T; θ^T) · ln P(u | Y^T_{0:l−1}, X^S; θ^S)
    TS-SEQ  L = − Σ_l ln P(y^T_l | Y^T_{0:l−1}, X^S; θ^S)

Knowledge is transferred on two levels: soft posteriors as targets, and Y^T as what the student's decoder is fed. The sums over
tokens are taken as means over the tokens of a batch.

Phases: ``decode`` (one plain pass of the teacher's decoder, which fills Y^T), ``train``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import torch

from kdarena import Choice, Method, Params, Phase, hookimpl, losses
from kdarena_adaptive_ts.paper import PAPER
from kdarena_adaptive_ts.transcripts import PADDING, Transcripts

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kdarena import Outputs, Run, Step, TaskCard


TRACKS_WITHOUT_DECODERS = ("classification", "text", "segmentation")


@dataclass(frozen=True)
class UnlabelledParams(Params):
    """How the teacher decodes."""

    beam: int = Choice(1, (1, 4, 8), source="ours", cost=True, help="width of the beam with which the teacher decodes Y^T; 1: greedy")


class Decoder(Protocol):
    """A task whose networks decode."""

    def decode(self, network: nn.Module, inputs: Tensor, beam: int = 1) -> Tensor:
        """One-best sequences [B, L] that end with the end of the sentence, padded with −100."""


def applies(card: TaskCard, params: UnlabelledParams) -> str | None:
    """Why it can't run on a task, or None."""
    return None if card.decodes else "its networks are no decoders, which it feeds the teacher's decoded tokens"


class _Unlabelled:
    """The phases of both rows, and student and teacher on the same history Y^T."""

    @hookimpl
    def schedule(self, run: Run) -> Sequence[Phase]:
        """Y^T of all training utterances first; then the training."""
        return [
            Phase("decode", steps=run.steps_per_pass, begin=_new_transcripts, work=_decode, data="plain"),
            Phase("train", begin=lambda run: run.store["transcripts"].complete()),
        ]


def _new_transcripts(run: Run) -> None:
    run.store["transcripts"] = Transcripts(run.train_size, run.task.device)


def _decode(step: Step) -> None:
    params = cast(UnlabelledParams, step.params)
    (teacher,) = step.run.teacher_modules()
    decoded = cast(Decoder, step.task).decode(teacher, step.teacher_inputs, beam=params.beam)
    step.run.store["transcripts"].add(step.index, decoded)


def transcripts_of(step: Step) -> tuple[Tensor, Tensor]:
    """Y^T of a step's utterances [B, L], and what a decoder is fed of it, Y^T_{0:l−1} at position l [B, L]."""
    y_t = step.run.store["transcripts"][step.index]
    return y_t, step.task.decoder_inputs(y_t)


def token_rows(step: Step, outputs: Outputs, y_t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of token positions [P, C], y^T_l of each [P], and a mask [P] of those that lie in the sequence, its end included."""
    z, counted = step.task.rows(outputs)
    tokens = step.task.row_targets(outputs, y_t)
    mask = tokens != PADDING
    return z, tokens, mask if counted is None else mask & counted


class TS(_Unlabelled):
    """The student matches the teacher's posterior of each token, both after the same decoded history."""

    method = Method(
        name="ts",
        title="unlabelled teacher-student adaptation on the teacher's token posteriors and decoded history",
        paper=PAPER,
        equations="L = -sum_l sum_u P(u | Y^T_{0:l-1}, X^T; theta^T) ln P(u | Y^T_{0:l-1}, X^S; theta^S), Y^T decoded by the teacher",
        tracks=("speech",),
        excluded=dict.fromkeys(TRACKS_WITHOUT_DECODERS, "without a decoder to be fed it is plain distillation of soft outputs without labels"),
        Params=UnlabelledParams,
        labels=False,
        applies=applies,
    )

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """L_TS; the teacher runs on the history that it decoded."""
        y_t, decoder_inputs = transcripts_of(step)
        (teacher,) = step.run.teacher_modules()
        z_s, _, mask = token_rows(step, step.forward(step.learner.student, decoder_inputs=decoder_inputs), y_t)
        z_t, _ = step.task.rows(step.forward(teacher, decoder_inputs=decoder_inputs))
        return {"ts": losses.soft_cross_entropy(torch.softmax(z_t, dim=1), z_s, mask)}


class TSSequence(_Unlabelled):
    """The student takes the teacher's decoded sequence for the truth."""

    method = Method(
        name="ts-seq",
        title="unlabelled teacher-student adaptation on the teacher's decoded sequence",
        paper=PAPER,
        equations="L = -sum_l ln P(y^T_l | Y^T_{0:l-1}, X^S; theta^S), Y^T decoded by the teacher",
        tracks=("speech",),
        excluded=dict.fromkeys(TRACKS_WITHOUT_DECODERS, "without a decoder to be fed it is plain distillation of hard outputs without labels"),
        Params=UnlabelledParams,
        labels=False,
        applies=applies,
    )

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """L_TS-SEQ: no call of the teacher."""
        y_t, decoder_inputs = transcripts_of(step)
        z_s, tokens, mask = token_rows(step, step.forward(step.learner.student, decoder_inputs=decoder_inputs), y_t)
        rows = torch.nn.functional.cross_entropy(z_s, tokens.where(mask, 0), reduction="none")
        return {"ts-seq": (rows * mask).sum() / mask.sum().clamp(min=1)}
