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
the teacher's map is average-pooled to it before anything else, so that it has a vocabulary of its own. In a sequence's map,
whose grid differs from batch to batch, positions are tokens or frames, and padding is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdarena import Choice, Float, Int, Learner, Method, NotApplicable, Paper, Params, Phase, hookimpl, losses
from kdarena_quest.vocabulary import KMeans, Points, Vocabulary, chunks_of, positions, squared_distances

if TYPE_CHECKING:
    from kdarena import Outputs, Run, Step, TaskCard

POINTS_A_WORD = 39
"""The reference k-means warns below so many points a cluster."""
POINTS_A_STEP = 20
"""Points for each step of a task's full schedule, at most, where no number of images is stated: k-means costs the square of the points,
and would take more than all of a short schedule. CIFAR's has 17."""


@dataclass(frozen=True)
class QuestParams(Params):
    """Vocabulary, assignment and weights."""

    words: int = Int(4096, 256, 4096, log=True, source="paper", cost=True, help="K; at most a 39th of the points of a small training set")
    tau: float = Float(0.2, 0.001, 10.0, log=True, source="code", help="temperature of the teacher's assignment (the code multiplies by 5)")
    c_q: float = Float(1.0, 0.1, 20.0, log=True, source="code", help="weight of L_DIST")
    gamma0: float = Float(3.0, 1.0, 20.0, source="code", help="initial scale of the cosine similarity; it is learned")
    reduction: str = Choice("mean", ("mean", "sum"), source="code", help="L_DIST as mean (code) or sum (paper) over the grid")
    images: int = Int(
        0,
        0,
        1_000_000,
        source="code",
        cost=True,
        tune=False,
        help="images that the vocabulary is learned from; 0: the whole training set, or as many as give 20 points for each step of the full schedule",
    )
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


def smaller(grid: Sequence[int], other: Sequence[int]) -> tuple[int, int]:
    """The grid with the fewer rows and the fewer columns of two."""
    rows, columns = map(min, grid, other)
    return rows, columns


def pooled(feature_map: Tensor, grid: tuple[int, int]) -> Tensor:
    """A map average-pooled to a grid that is not larger than its own: [B, C, *grid]."""
    return feature_map if feature_map.shape[2:] == grid else functional.adaptive_avg_pool2d(feature_map, grid)


def real_positions(outputs: Outputs) -> Tensor | None:
    """Which rows of :func:`positions` of a sequence's map are no padding [B · L]; None for maps without any."""
    return None if outputs.tokens is None else outputs.tokens.flatten()


def l_dist(f_t: Tensor, words: Tensor, scores: Tensor, tau: float, reduction: str, real: Tensor | None = None) -> Tensor:
    """L_DIST of a teacher's map [B, C_T, H, W] and the student's scores [B, K, H, W]; always a mean over images.

    Args:
        reduction: ``"mean"`` or ``"sum"`` over the grid.
        real: which positions count [B · H · W]; None: all.
    """
    divergence = losses.kl(-squared_distances(positions(f_t), words) / tau, positions(scores), mask=real)
    if reduction == "mean":
        return divergence
    return divergence * (math.prod(scores.shape[2:]) if real is None else real.sum() / len(scores))


def affordable(run: Run, places: int) -> int:
    """Images that give so many points as the task's full schedule pays for, with ``places`` points an image."""
    return math.ceil(POINTS_A_STEP * run.task.card.recipe.student_epochs * run.steps_per_epoch / places)


def applies(card: TaskCard, params: QuestParams) -> str | None:
    """Why it can't run on a task with these parameters, or None."""
    if params.tau <= 0:
        return f"it divides by tau, which has to be positive, not {params.tau:g}"
    return None if card.feature_maps else "its networks have no feature maps [B, C, H, W] to take words from"


class Quest:
    """The student predicts which visual words the teacher sees where."""

    method = Method(
        name="quest",
        title="the teacher's features quantised to a visual vocabulary, predicted by the student",
        paper=Paper("QuEST: Quantized Embedding Space for Transferring Knowledge", "ECCV", 2020, "https://arxiv.org/abs/1912.01540"),
        equations="L = CE(y, z_S) + c_q KL(softmax(-||v_k - f_T||^2 / tau) || softmax(gamma cos(W_k, f_S))), over the positions of the last feature map",
        extended={
            "segmentation": "a word is that of a position of the last map before the score map",
            "text": "a word is that of a token's state in the last layer",
            "speech": "a word is that of a frame's state in the encoder's last layer",
        },
        Params=QuestParams,
        applies=applies,
    )

    @hookimpl
    def build_student(self, params: QuestParams, run: Run) -> Learner:
        """The student and its predictor A, which takes the student's channels: no adapter is needed."""
        student = run.new_student()
        channels, *student_grid = run.task.shapes(student).feature_map
        teacher_channels, *teacher_grid = run.task.shapes(run.teacher_modules()[0]).feature_map
        grid = smaller(student_grid, teacher_grid)
        images = min(params.images or affordable(run, math.prod(grid)), run.train_size)
        # of sequences: as many as if all were as long as the task's typical one, so that every seed's steps are the same
        count = images * math.prod(grid)
        words = max(1, min(params.words, count // POINTS_A_WORD))
        # equal grids stay as they are: a sequence's is another in every batch
        run.store.update(grid=None if student_grid == teacher_grid else grid, images=images, count=count, channels=teacher_channels, words=words)
        return Learner(student, helpers={"predictor": AssignmentPredictor(channels, words, params.gamma0).to(run.task.device)})

    @hookimpl
    def schedule(self, params: QuestParams, run: Run) -> Sequence[Phase]:
        """The vocabulary first, offline; then the training."""
        batches = math.ceil(run.store["images"] / run.task.card.recipe.batch_size)
        return [
            Phase("collect", steps=batches, begin=_new_points, work=_collect, data="plain"),
            Phase(
                "kmeans",
                steps=params.iterations * chunks_of(run.store["count"]),
                begin=_new_kmeans,
                work=_cluster,
                data="none",
            ),
            Phase("train", begin=_freeze_vocabulary),
        ]

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE of the student and L_DIST; the teacher's logits play no part."""
        params = cast(QuestParams, step.params)
        f_t, f_s = step.teacher.feature_map, step.student.feature_map
        grid = smaller(f_t.shape[2:], f_s.shape[2:])
        scores = step.apply(step.learner.helpers["predictor"], pooled(f_s, grid))
        words = step.run.store["vocabulary"].words
        distillation = l_dist(pooled(f_t, grid), words, scores, params.tau, params.reduction, real_positions(step.student))
        return {"ce": step.task.loss(step.student, step.targets), "dist": params.c_q * distillation}


def _new_points(run: Run) -> None:
    run.store["points"] = Points(run.store["count"], run.store["channels"], run.task.device)


def _collect(step: Step) -> None:
    store, teacher = step.run.store, step.teacher
    f_t, real = teacher.feature_map, real_positions(teacher)
    if real is not None and store["grid"] is not None:
        raise NotApplicable(
            "student and teacher make sequences of different lengths of the same samples, so that their positions are not the same; choose another pair"
        )
    store["points"].add(f_t if store["grid"] is None else pooled(f_t, store["grid"]), real)


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
