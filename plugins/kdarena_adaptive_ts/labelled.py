"""IT/S, CT/S and AT/S: the teacher's posteriors interpolated with the labels, token by token (``its``, ``cts``, ``ats``).

Meng, Li, Gaur, Gong: "Domain Adaptation via Teacher-Student Learning for End-to-End Speech Recognition", ASRU 2019,
https://arxiv.org/abs/2001.01798

X^T, X^S: an utterance as the teacher and as the student hear it; Y^G = y^G_1 … y^G_L: the labels, which both decoders are fed;
P_T(u) = P(u | Y^G_{0:l−1}, X^T; θ^T): the teacher's posterior of a token u at position l [C], P_S(u) likewise of the student on
X^S; p_l = P_T(y^G_l).

    target_l(u) = w_l · P_T(u) + (1 − w_l) · 1[u = y^G_l]
    L = − Σ_l Σ_u target_l(u) · ln P_S(u)   (equation 12)

    its  w_l = w
    cts  w_l = 1[argmax_u P_T(u) = y^G_l]
    ats  w_l = p_l^λ / (p_l^λ + (1 − p_l)^λ) = σ(λ · (ln p_l − ln(1 − p_l)))

w_l depends on the frozen teacher alone: no gradient goes through it. The end of the sentence counts, its start and padding do not.
The sum over tokens is taken as the mean over the tokens of a batch. A row of logits [P, C] is a token here; on other tracks it is a
sample or a pixel.
"""

import abc
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdarena import Choice, Float, Method, Params, Step, Terms, hookimpl, losses
from kdarena_adaptive_ts.paper import PAPER

EXTENDED = {
    "classification": "a row is a sample",
    "text": "a row is a sentence or a pair of sentences",
    "segmentation": "a row is a pixel of the score map, its label the nearest of the mask; class weights and auxiliary heads have no part",
}

LARGEST_LOG_ODDS = math.log(1e6 - 1)
"""Of p within [1e-6, 1 − 1e-6]."""


def _smoothing() -> Any:
    return Choice(0.0, (0.0, 0.1), source="ours", tune=True, help="share of the one-hot part that is spread evenly over all tokens")


@dataclass(frozen=True)
class ITSParams(Params):
    """The constant weight."""

    w: float = Float(0.5, 0.1, 0.9, least=0, most=1, source="ours", help="w, weight of the teacher's posteriors; the labels get 1 - w")
    smoothing: float = _smoothing()


@dataclass(frozen=True)
class CTSParams(Params):
    """Nothing but the labels' smoothing: the weights are given by the teacher's argmax."""

    smoothing: float = _smoothing()


@dataclass(frozen=True)
class ATSParams(Params):
    """How sharply the weight turns from the labels to the teacher."""

    lam: float = Float(
        1.0, 0.1, 10.0, above=0, log=True, source="ours", help="lambda, exponent of f1 and f2; at 1 the weight is the teacher's confidence p itself"
    )
    smoothing: float = _smoothing()


def interpolated(z_t: Tensor, y: Tensor, w: Tensor, smoothing: float = 0.0) -> Tensor:
    """target(u) = w · softmax(z_t)(u) + (1 − w) · 1[u = y] of each row [P, C].

    Args:
        z_t: the teacher's logits [P, C].
        y: labels [P] in [0, C).
        w: weights [P] in [0, 1].
        smoothing: ε; the one-hot part becomes (1 − ε) · 1[u = y] + ε / C.
    """
    classes = z_t.shape[1]
    # by comparison: torch's one_hot reads back whether the labels are in range
    one_hot = (torch.arange(classes, device=y.device) == y.unsqueeze(1)).to(z_t.dtype)
    return torch.lerp(one_hot * (1 - smoothing) + smoothing / classes, torch.softmax(z_t, dim=1), w.unsqueeze(1))


def conditional_weights(z_t: Tensor, y: Tensor) -> Tensor:
    """CT/S: 1 where the teacher's most probable class is the label, else 0: [P], from logits [P, C] and labels [P]."""
    return (z_t.argmax(dim=1) == y).to(z_t.dtype)


def adaptive_weights(z_t: Tensor, y: Tensor, lam: float) -> Tensor:
    """AT/S: p^λ / (p^λ + (1 − p)^λ) of the teacher's probability p of the label: [P], from logits [P, C] and labels [P].

    ln p − ln(1 − p) is the label's logit against all others': exact in fp32 up to the clamp at 1 − 1e-6.
    """
    label = y.unsqueeze(1)
    others = z_t.scatter(1, label, -math.inf).logsumexp(dim=1)
    log_odds = z_t.gather(1, label).squeeze(1) - others
    return torch.sigmoid(lam * log_odds.clamp(-LARGEST_LOG_ODDS, LARGEST_LOG_ODDS))


class _Interpolated(abc.ABC):
    """The loss of the three rows, which differ in w_l alone."""

    method: Method
    params: Any

    @abc.abstractmethod
    def weights(self, z_t: Tensor, y: Tensor) -> Tensor:
        """w [P] in [0, 1] of the teacher's logits [P, C] and labels [P]."""

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """Cross-entropy against the interpolated targets: mean over the rows that count and have a label."""
        (z_s, counted), *earlier = step.task.exit_rows(step.student)
        z_t, _ = step.task.rows(step.teacher)
        losses.check_alike(z_s, z_t)
        y = step.task.row_targets(step.student, step.targets)
        mask = y >= 0 if counted is None else (y >= 0) & counted
        y = y.clamp(min=0)
        target = interpolated(z_t, y, self.weights(z_t, y), self.params.smoothing)
        # of a student with earlier exits each has the loss, as each has the labels'
        exits = [z_s, *(z for z, _ in earlier)]
        return {self.method.name: torch.stack([losses.soft_cross_entropy(target, z, mask) for z in exits]).sum()}


class ITS(_Interpolated):
    """One weight for all tokens."""

    params: ITSParams
    method = Method(
        "its",
        "teacher's posteriors and labels interpolated with a constant weight",
        PAPER,
        tracks=("speech",),
        extended=EXTENDED,
        Params=ITSParams,
    )

    def weights(self, z_t: Tensor, y: Tensor) -> Tensor:
        """w_l = w."""
        return torch.full_like(y, self.params.w, dtype=z_t.dtype)


class CTS(_Interpolated):
    """The teacher's posteriors where it is right, the label where it is wrong."""

    params: CTSParams
    method = Method(
        "cts",
        "teacher's posteriors where its most probable token is the label, else the label",
        PAPER,
        tracks=("speech",),
        extended=EXTENDED,
        Params=CTSParams,
    )

    def weights(self, z_t: Tensor, y: Tensor) -> Tensor:
        """w_l of the teacher's argmax."""
        return conditional_weights(z_t, y)


class ATS(_Interpolated):
    """The surer the teacher is of the label, the more of its posteriors are taken."""

    params: ATSParams
    method = Method(
        "ats",
        "teacher's posteriors and labels interpolated by the teacher's confidence in each label",
        PAPER,
        tracks=("speech",),
        extended=EXTENDED,
        Params=ATSParams,
    )

    def weights(self, z_t: Tensor, y: Tensor) -> Tensor:
        """w_l of the teacher's confidence."""
        return adaptive_weights(z_t, y, self.params.lam)
