"""T/S: adaptation to a new acoustic domain without labels, on parallel audio (``ts``, ``ts-seq``).

Meng, Li, Gaur, Gong: "Domain Adaptation via Teacher-Student Learning for End-to-End Speech Recognition", ASRU 2019,
https://arxiv.org/abs/2001.01798

X^T, X^S: an utterance as the teacher and as the student hear it [T, F]; U: the tokens; P(u | …; θ): posterior of a token after
a history [|U|], of teacher θ^T and student θ^S; Y^T = y^T_1 … y^T_L: the one-best sequence that the teacher decodes from X^T, its
last token the end of the sentence; Y_0: the start of the sentence.

    ts      L = − Σ_l Σ_{u∈U} P(u | Y^T_{0:l−1}, X^T; θ^T) · ln P(u | Y^T_{0:l−1}, X^S; θ^S)   (equation 7)
    ts-seq  L = − Σ_l ln P(y^T_l | Y^T_{0:l−1}, X^S; θ^S): all of the teacher's mass on Y^T

Knowledge is transferred on two levels: soft posteriors as targets, and Y^T as the history that the student's decoder is fed.
Position l is predicted from the tokens up to l − 1; the end of the sentence counts, its start and padding do not. The sums over
tokens are taken as means over the tokens of a batch.

Phases: ``decode`` (one plain pass of the teacher's decoder, which fills Y^T), ``train``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdarena import Choice, Method, Outputs, Params, Phase, Run, Step, Terms, hookimpl, losses
from kdarena_adaptive_ts.paper import PAPER
from kdarena_adaptive_ts.transcripts import PADDING, Transcripts

TRACKS_WITHOUT_DECODERS = ("classification", "text", "segmentation", "detection")


@dataclass(frozen=True)
class UnlabelledParams(Params):
    """How the teacher decodes."""

    beam: int = Choice(1, (1, 4, 8), source="ours", cost=True, help="width of the beam with which the teacher decodes Y^T; 1: greedy")


class Decoder(Protocol):
    """A task whose networks decode."""

    def decode(self, network: nn.Module, inputs: Tensor, beam: int = 1) -> Tensor:
        """One-best sequences [B, L] that end with the end of the sentence, padded with −100."""


class _Unlabelled:
    """The phases of both rows.

    Attributes:
        transcripts: Y^T, empty until the phase ``decode``.
    """

    params: UnlabelledParams
    transcripts: Transcripts

    @hookimpl
    def schedule(self, run: Run) -> Sequence[Phase]:
        """Y^T of all training utterances first; then the training."""
        return [
            Phase("decode", steps=run.steps_per_pass, prepare=self._forget, process=self._decode, data="plain"),
            Phase("train", prepare=lambda run: self.transcripts.complete()),
        ]

    def _forget(self, run: Run) -> None:
        self.transcripts = Transcripts(run.train_size, run.task.device)

    def _decode(self, step: Step) -> None:
        (teacher,) = step.run.teacher_modules()
        decoded = cast(Decoder, step.task).decode(teacher, step.teacher_inputs, beam=self.params.beam)
        self.transcripts.add(step.index, decoded)


def token_rows(step: Step, outputs: Outputs, y_t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of token positions [P, C], y^T_l of each [P], and a mask [P] of those that lie in the sequence, its end included."""
    z, counted = step.task.rows(outputs)
    tokens = step.task.row_targets(outputs, y_t)
    mask = tokens != PADDING
    return z, tokens, mask if counted is None else mask & counted


class TS(_Unlabelled):
    """The student matches the teacher's posterior of each token, both after the same decoded history."""

    method = Method(
        "ts",
        "unlabelled teacher-student adaptation on the teacher's token posteriors and decoded history",
        PAPER,
        tracks=("speech",),
        excluded=dict.fromkeys(TRACKS_WITHOUT_DECODERS, "without a decoder this is plain distillation of soft outputs without labels"),
        Params=UnlabelledParams,
        requires=("class scores", "decoders"),
        labels=False,
    )

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """L_TS; the teacher runs on the history that it decoded."""
        y_t = self.transcripts[step.index]
        decoder_inputs = step.task.decoder_inputs(y_t)
        (teacher,) = step.run.teacher_modules()
        z_s, _, mask = token_rows(step, step.forward(step.learner.student, decoder_inputs=decoder_inputs), y_t)
        z_t, _ = step.task.rows(step.forward(teacher, decoder_inputs=decoder_inputs))
        return {"ts": losses.soft_cross_entropy(torch.softmax(z_t, dim=1), z_s, mask)}


class TSSequence(_Unlabelled):
    """The student takes the teacher's decoded sequence for the truth."""

    method = Method(
        "ts-seq",
        "unlabelled teacher-student adaptation on the teacher's decoded sequence",
        PAPER,
        tracks=("speech",),
        excluded=dict.fromkeys(TRACKS_WITHOUT_DECODERS, "without a decoder this is plain distillation of hard outputs without labels"),
        Params=UnlabelledParams,
        requires=("class scores", "decoders"),
        labels=False,
    )

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """L_TS-SEQ: no call of the teacher."""
        y_t = self.transcripts[step.index]
        z_s, tokens, mask = token_rows(step, step.forward(step.learner.student, decoder_inputs=step.task.decoder_inputs(y_t)), y_t)
        rows = functional.cross_entropy(z_s, tokens.where(mask, 0), reduction="none")
        return {"ts-seq": (rows * mask).sum() / mask.sum().clamp(min=1)}
