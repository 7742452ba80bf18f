"""QuEST: quantized embedding space for transferring knowledge.

Jain, Gidaris, Komodakis, Pérez, Cord: "QuEST: Quantized Embedding Space for Transferring Knowledge", ECCV 2020, https://arxiv.org/abs/1912.01540

f_T: teacher's last map [B, C_T, H, W]; V: K words [K, C_T] (k-means over f_T of the training set); f_S: student's [B, C_S, H, W].

    d_k = ‖v_k − f_T‖²                                  at each position (h, w)
    p_T = softmax_k(−d / τ)
    p_S = softmax_k(γ · ⟨W_k, f_S⟩ / (‖W_k‖ ‖f_S‖))      predictor A: W [K, C_S, 1, 1] from N(0, 2 / C_S), no bias; γ is learned
    L_DIST = KL(p_T ‖ p_S)                              mean over B, H, W (code) or sum over H, W (paper)
    L = CE(y, z_S) + c_q · L_DIST

Phases: ``collect`` (one plain pass of the teacher), ``kmeans`` (20 iterations), ``train``. Where grids differ, the larger map is
average-pooled to the smaller before anything else, so that each pair of grids has a vocabulary of its own. In a sequence's map,
whose grid differs from batch to batch, positions are tokens or frames, and padding is ignored.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, conv2d, normalize

from kdarena import Choice, Float, Int, Learner, Method, NotApplicable, Paper, Params, Phase, Run, Step, Terms, hookimpl, losses
from kdarena_quest.vocabulary import CHUNK, KMeans, Vocabulary, positions, squared_distances

POINTS_A_WORD = 39
"""The reference k-means warns below so many points a cluster."""
POINTS_A_STEP = 20
"""Points for each step of a task's full schedule, at most, where no number of images is stated: k-means costs the square of the points,
and would take more than all of a short schedule. CIFAR's has 17."""


@dataclass(frozen=True)
class QuestParams(Params):
    """Vocabulary, assignment and weights."""

    words: int = Int(4096, 256, 4096, least=1, log=True, source="paper", cost=True, help="K; at most a 39th of the points of a small training set")
    tau: float = Float(0.2, 0.001, 10.0, above=0, log=True, source="code", help="temperature of the teacher's assignment (the code multiplies by 5)")
    c_q: float = Float(1.0, 0.1, 20.0, least=0, log=True, source="code", help="weight of L_DIST")
    gamma0: float = Float(3.0, 1.0, 20.0, above=0, source="code", help="initial scale of the cosine similarity; it is learned")
    reduction: str = Choice("mean", ("mean", "sum"), source="code", help="L_DIST as mean (code) or sum (paper) over the grid")
    images: int = Int(
        0, 0, 1_000_000, least=0, source="ours", cost=True, tune=False, help="to learn words from; 0: all (code), or 20 points a step of a full run (ours)"
    )
    iterations: int = Int(20, 5, 50, least=1, source="code", cost=True, tune=False, help="of k-means")


class AssignmentPredictor(nn.Module):
    """A: cosine similarity of a student's vector to K directions, drawn from N(0, 2 / C_S) as in the public code, times a scale γ; both learn."""

    def __init__(self, channels: int, words: int, gamma0: float):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(words, channels, 1, 1) * math.sqrt(2 / channels))
        self.gamma = nn.Parameter(torch.tensor(float(gamma0)))

    def forward(self, f_s: Tensor) -> Tensor:
        """[B, C_S, H, W] to scores [B, K, H, W]."""
        return self.gamma * conv2d(normalize(f_s, dim=1), normalize(self.weight, dim=1))


def pooled(feature_map: Tensor, other: Sequence[int]) -> Tensor:
    """A map average-pooled where its grid is larger than another: [B, C, rows, columns], the smaller of each."""
    rows, columns = map(min, feature_map.shape[2:], other)
    return feature_map if feature_map.shape[2:] == (rows, columns) else adaptive_avg_pool2d(feature_map, (rows, columns))


def l_dist(f_t: Tensor, words: Tensor, scores: Tensor, tau: float, reduction: str, real: Tensor | None = None) -> Tensor:
    """L_DIST of a teacher's map [B, C_T, H, W] and the student's scores [B, K, H, W]: over the grid the ``"mean"`` or ``"sum"``, always a mean over images.

    Positions that are not ``real`` [B, H · W] don't count; None: all do.
    """
    divergence = losses.kl(-squared_distances(positions(f_t), words) / tau, positions(scores), mask=None if real is None else real.flatten())
    if reduction == "mean":
        return divergence
    return divergence * (math.prod(scores.shape[2:]) if real is None else real.sum() / len(scores))


class Quest:
    """The student predicts which visual words the teacher sees where."""

    method = Method(
        "quest",
        "the teacher's features quantised to a visual vocabulary, predicted by the student",
        Paper("QuEST: Quantized Embedding Space for Transferring Knowledge", "ECCV", 2020, "https://arxiv.org/abs/1912.01540"),
        extended={
            "segmentation": "a word is that of a position of the last map before the score map",
            "text": "a word is that of a token's state in the last layer",
            "speech": "a word is that of a frame's state in the encoder's last layer",
        },
        Params=QuestParams,
        requires=("class scores", "feature maps"),
    )
    params: QuestParams
    kmeans: KMeans
    vocabulary: Vocabulary

    @hookimpl
    def build_student(self, run: Run) -> Learner:
        """The student and its predictor A, which takes the student's channels: no adapter is needed."""
        student = run.new_student()
        channels, *student_grid = run.task.shapes(student).feature_map
        self.channels, *teacher_grid = run.task.shapes(run.teacher_modules()[0]).feature_map
        grid = tuple(map(min, student_grid, teacher_grid))
        # equal grids stay as they are: a sequence's is another in every batch
        self.grid = None if student_grid == teacher_grid else grid
        affordable = math.ceil(POINTS_A_STEP * run.task.card.recipe.student_epochs * run.steps_per_epoch / math.prod(grid))
        self.images = min(self.params.images or affordable, run.train_size)
        # of sequences: as many as if all were as long as the task's typical one, so that every seed's steps are the same
        self.count = self.images * math.prod(grid)
        self.words = max(1, min(self.params.words, self.count // POINTS_A_WORD))
        self.predictor = AssignmentPredictor(channels, self.words, self.params.gamma0).to(run.task.device)
        return Learner(student, helpers={"predictor": self.predictor})

    @hookimpl
    def schedule(self, run: Run) -> Sequence[Phase]:
        """The vocabulary first, offline; then the training."""
        batches = math.ceil(self.images / run.task.card.recipe.batch_size)
        steps = self.params.iterations * math.ceil(self.count / CHUNK)
        return [
            Phase("collect", steps=batches, prepare=self.new_kmeans, process=self.collect, data="plain"),
            Phase("kmeans", steps=steps, prepare=lambda run: self.kmeans.start(run.generator), process=lambda step: self.kmeans.step(), data="none"),
            Phase("train", prepare=self.freeze_vocabulary),
        ]

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """CE of the student and L_DIST; the teacher's logits play no part."""
        f_t, f_s = step.teacher.feature_map, step.student.feature_map
        scores = step.apply(self.predictor, pooled(f_s, f_t.shape[2:]))
        distillation = l_dist(pooled(f_t, f_s.shape[2:]), self.vocabulary.words, scores, self.params.tau, self.params.reduction, step.student.tokens)
        return {"ce": step.task.loss(step.student, step.targets), "dist": self.params.c_q * distillation}

    def new_kmeans(self, run: Run) -> None:
        """Start without any points."""
        self.kmeans = KMeans(self.count, self.channels, self.words, run.task.device)

    def collect(self, step: Step) -> None:
        """Make points of the teacher's map."""
        f_t, real = step.teacher.feature_map, step.teacher.tokens
        if real is not None and self.grid is not None:
            raise NotApplicable(
                "student and teacher make sequences of different lengths of the same sample, so positions can't be matched; choose another pair"
            )
        self.kmeans.add(f_t if self.grid is None else pooled(f_t, self.grid), real)

    def freeze_vocabulary(self, run: Run) -> None:
        """Keep the words and let the points go; where the phase is entered again, its words are the same."""
        if hasattr(self, "kmeans"):
            self.vocabulary = Vocabulary(self.kmeans.centroids)
            # as a frozen module the harness watches it: bit-identical at the end of the run
            run.freeze(self.vocabulary)
            del self.kmeans
