"""QuEST: quantized embedding space for transferring knowledge.

Jain, Gidaris, Komodakis, Pérez, Cord: "QuEST: Quantized Embedding Space for Transferring Knowledge", ECCV 2020,
https://arxiv.org/abs/1912.01540

f_T: teacher's last map [B, C_T, H, W]; V: K words [K, C_T] (k-means over f_T of the training set); f_S: student's [B, C_S, H, W].

    d_k = ‖v_k − f_T‖²                                  at each position (h, w)
    p_T = softmax_k(−d / τ)
    p_S = softmax_k(γ · ⟨W_k, f_S⟩ / (‖W_k‖ ‖f_S‖))      predictor A: W [K, C_S, 1, 1], γ learnable
    L_DIST = KL(p_T ‖ p_S)                              mean over B, H, W (code) or sum over H, W (paper)
    L = CE(y, z_S) + c_q · L_DIST

Phases: ``collect`` (one plain pass of the teacher), ``kmeans`` (20 iterations), ``train``. Where the student's grid is smaller,
the teacher's map is average-pooled to it before anything else, so that it has a vocabulary of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdarena import Choice, Float, Int, Learner, Method, Paper, Params, Phase, hookimpl, losses
from kdarena_quest.vocabulary import KMeans, Points, Vocabulary, chunks_of, squared_distances

if TYPE_CHECKING:
    from kdarena import Run, Step, TaskCard

POINTS_A_WORD = 39
"""The reference k-means warns below so many points a cluster."""


@dataclass(frozen=True)
class QuestParams(Params):
    """Vocabulary, assignment and weights."""

    words: int = Int(4096, 256, 4096, log=True, source="paper", cost=True, help="K; at most a 39th of the points of a small training set")
    tau: float = Float(0.2, 0.001, 10.0, log=True, source="code", help="temperature of the teacher's assignment (the code multiplies by 5)")
    c_q: float = Float(1.0, 0.1, 20.0, log=True, source="code", help="weight of L_DIST")
    gamma0: float = Float(3.0, 1.0, 20.0, source="code", help="initial scale of the cosine similarity; it is learned")
    reduction: str = Choice("mean", ("mean", "sum"), source="code", help="L_DIST as mean (code) or sum (paper) over the grid")
    images: int = Int(0, 0, 1_000_000, source="code", cost=True, tune=False, help="images that the vocabulary is learned from; 0: the whole training set")
    iterations: int = Int(20, 5, 50, source="code", cost=True, tune=False, help="of k-means")


class AssignmentPredictor(nn.Module):
    """A: cosine similarity of a student's vector to K learned directions, times a learned scale γ.

    W is drawn from N(0, 2 / C_S) as in the public code.
    """

    def __init__(self, channels: int, words: int, gamma0: float):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(words, channels, 1, 1) * math.sqrt(2 / channels))
        self.gamma = nn.Parameter(torch.tensor(float(gamma0)))

    def forward(self, f_s: Tensor) -> Tensor:
        """[B, C_S, H, W] to scores [B, K, H, W]."""
        cosine = functional.conv2d(functional.normalize(f_s, dim=1), functional.normalize(self.weight, dim=1))
        return self.gamma * cosine


def pooled(feature_map: Tensor, grid: tuple[int, int]) -> Tensor:
    """A map average-pooled to a grid that is not larger than its own: [B, C, *grid]."""
    return feature_map if feature_map.shape[2:] == grid else functional.adaptive_avg_pool2d(feature_map, grid)


def positions(feature_map: Tensor) -> Tensor:
    """[B, C, H, W] to one row a position [B · H · W, C]."""
    return feature_map.permute(0, 2, 3, 1).flatten(0, 2)


def l_dist(f_t: Tensor, words: Tensor, scores: Tensor, tau: float, reduction: str) -> Tensor:
    """L_DIST of a teacher's map [B, C_T, H, W] and the student's scores [B, K, H, W]; always a mean over images."""
    divergence = losses.kl(-squared_distances(positions(f_t), words) / tau, positions(scores))
    return divergence * math.prod(scores.shape[2:]) if reduction == "sum" else divergence


def applies(card: TaskCard, params: QuestParams) -> str | None:
    """Why it can't run on a task, or None."""
    return None if card.feature_maps else "its networks have no feature maps [B, C, H, W] to take words from"


class Quest:
    """The student predicts which visual words the teacher sees where."""

    method = Method(
        name="quest",
        title="the teacher's features quantised to a visual vocabulary, predicted by the student",
        paper=Paper("QuEST: Quantized Embedding Space for Transferring Knowledge", "ECCV", 2020, "https://arxiv.org/abs/1912.01540"),
        equations="L = CE(y, z_S) + c_q KL(softmax(-||v_k - f_T||^2 / tau) || softmax(gamma cos(W_k, f_S))), over the positions of the last feature map",
        Params=QuestParams,
        applies=applies,
    )

    @hookimpl
    def build_student(self, params: QuestParams, run: Run) -> Learner:
        """The student and its predictor A, which takes the student's channels: no adapter is needed."""
        student = run.new_student()
        channels, *student_grid = run.task.shapes(student).feature_map
        teacher_channels, *teacher_grid = run.task.shapes(run.teacher_modules()[0]).feature_map
        grid = tuple(min(sides) for sides in zip(student_grid, teacher_grid, strict=True))
        count = min(params.images or run.train_size, run.train_size) * math.prod(grid)
        words = max(1, min(params.words, count // POINTS_A_WORD))
        run.store.update(grid=grid, count=count, channels=teacher_channels, words=words)
        return Learner(student, helpers={"predictor": AssignmentPredictor(channels, words, params.gamma0).to(run.task.device)})

    @hookimpl
    def schedule(self, params: QuestParams, run: Run) -> Sequence[Phase]:
        """The vocabulary first, offline; then the training."""
        passes = run.steps_per_pass if params.images == 0 else math.ceil(params.images / run.train_size * run.steps_per_pass)
        return [
            Phase("collect", steps=min(passes, run.steps_per_pass), begin=_new_points, work=_collect, data="plain"),
            Phase(
                "kmeans",
                steps=params.iterations * chunks_of(run.store["count"]),
                begin=_new_kmeans,
                work=lambda step: step.run.store["kmeans"].step(),
                data="none",
            ),
            Phase("train", begin=_freeze_vocabulary),
        ]

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE of the student and L_DIST; the teacher's logits play no part."""
        params = cast(QuestParams, step.params)
        store = step.run.store
        f_t = pooled(step.teacher.feature_map, store["grid"])
        scores = step.apply(step.learner.helpers["predictor"], pooled(step.student.feature_map, store["grid"]))
        distillation = l_dist(f_t, store["vocabulary"].words, scores, params.tau, params.reduction)
        return {"ce": step.task.loss(step.student, step.targets), "dist": params.c_q * distillation}


def _new_points(run: Run) -> None:
    run.store["points"] = Points(run.store["count"], run.store["channels"], run.task.device)


def _collect(step: Step) -> None:
    store = step.run.store
    store["points"].add(pooled(step.teacher.feature_map, store["grid"]))


def _new_kmeans(run: Run) -> None:
    points: Points = run.store["points"]
    points.complete()
    run.store["kmeans"] = KMeans(points.values, run.store["words"], run.generator)


def _cluster(step: Step) -> None:
    step.run.store["kmeans"].step()


def _freeze_vocabulary(run: Run) -> None:
    # as a frozen module the harness watches it: bit-identical at the end of the run
    if "kmeans" in run.store:
        run.store["words_learned"] = run.store.pop("kmeans").centroids
        run.store.pop("points")
    run.store["vocabulary"] = run.freeze(Vocabulary(run.store["words_learned"]))
