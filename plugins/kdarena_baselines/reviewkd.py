"""ReviewKD: knowledge review, each stage of the teacher is matched by all later stages of the student.

Chen, Liu, Zhao, Jia: "Distilling Knowledge via Knowledge Review", CVPR 2021, https://arxiv.org/abs/2104.09044

F_S^i: student's maps [B, C_i, H_i, W_i], shallow to deep, the last of them its embedding as [B, D, 1, 1]; F_T^i: teacher's.

    x_i = BN(conv1×1(F_S^i)), from C_i to C_mid = min(512, D) channels
    r_n = x_n, resized to the grid of F_T^n;  for i = n−1 … 1:
        r'_{i+1} = r_{i+1}, which has the teacher's grid, resized to the grid of F_S^i
        (a, b) = sigmoid(conv1×1(cat(x_i, r'_{i+1})))
        r_i = a · x_i + b · r'_{i+1}, resized to the grid of F_T^i                             ABF
    ŷ_i = BN(conv3×3(r_i)), C_T^i channels
    HCL(ŷ, F) = Σ_l w_l · MSE(pool_l(ŷ), pool_l(F)) / Σ_l w_l,  l ∈ {whole grid, 4, 2, 1} below the height, w = 1, ½, ¼, ⅛
    L = CE(y, z_s) + w(t) · λ · Σ_i HCL(ŷ_i, F_T^i)

All of it but the student is thrown away. w(t): a linear warm-up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdarena import Float, Int, Learner, Method, NotApplicable, Paper, Params, hookimpl
from kdarena_baselines.stages import MOST, needs_feature_maps, pairs
from kdarena_baselines.warmup import warmup_factor

if TYPE_CHECKING:
    from kdarena import Outputs, Run, Step, Task, TaskCard
    from kdarena.tracks.task import Shapes

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ReviewKDParams(Params):
    """Weight, warm-up and width of the review."""

    weight: float = Float(5.0, 0.1, 20.0, log=True, source="code", help="λ, weight of the review; 5 is that of resnet32x4 to resnet8x4")
    warmup: float = Float(20 / 240, 0.0, 0.5, source="code", help="share of the training over which the weight rises from 0")
    channels: int = Int(512, 32, 512, log=True, source="code", cost=True, help="largest C_mid")


class ABF(nn.Module):
    """Attention-based fusion of one stage's map with what the deeper stages left.

    Args:
        channels, mid_channels, out_channels: of the student's map, inside, of the teacher's map.
        grid: of the teacher's map.
        fuse: False for the deepest stage, which nothing comes before.
    """

    def __init__(self, channels: int, mid_channels: int, out_channels: int, grid: Sequence[int], fuse: bool):
        super().__init__()
        self.transform = nn.Sequential(nn.Conv2d(channels, mid_channels, 1, bias=False), nn.BatchNorm2d(mid_channels))
        self.attention = nn.Sequential(nn.Conv2d(2 * mid_channels, 2, 1), nn.Sigmoid()) if fuse else None
        self.out = nn.Sequential(nn.Conv2d(mid_channels, out_channels, 3, padding=1, bias=False), nn.BatchNorm2d(out_channels))
        self.grid = list(grid)
        for layers in (self.transform, self.out):
            nn.init.kaiming_uniform_(cast(nn.Conv2d, layers[0]).weight, a=1)

    def forward(self, feature_map: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        """F_S^i and r_{i+1} to ŷ_i and r_i; r_i has the teacher's grid already."""
        x = self.transform(feature_map)
        if self.attention is not None and residual is not None:
            residual = _resized(residual, list(x.shape[2:]))
            a, b = self.attention(torch.cat([x, residual], dim=1)).split(1, dim=1)
            x = a * x + b * residual
        x = _resized(x, self.grid)
        return self.out(x), x


def _resized(x: Tensor, grid: list[int]) -> Tensor:
    return x if list(x.shape[2:]) == grid else functional.interpolate(x, grid, mode="nearest")


class Review(nn.Module):
    """The ABFs of all stages, from the deepest to the shallowest.

    Args:
        student, teacher: shapes (C, H, W) of paired maps, shallow to deep, embeddings as (D, 1, 1) last.
        largest: of C_mid.
    """

    def __init__(self, student: Sequence[Shape], teacher: Sequence[Shape], largest: int):
        super().__init__()
        self.shapes = list(teacher)
        mid_channels, last = min(largest, student[-1][0]), len(student) - 1
        self.stages = nn.ModuleList(
            ABF(channels, mid_channels, out_channels, grid, fuse=i < last)
            for i, ((channels, *_), (out_channels, *grid)) in enumerate(zip(student, teacher, strict=True))
        )

    def forward(self, *maps: Tensor) -> Tensor:
        """F_S^1 … F_S^n to all ŷ_i, flattened and joined [B, Σ_i C_i · H_i · W_i]: a helper gives one tensor."""
        residual: Tensor | None = None
        reviewed: list[Tensor] = []
        for feature_map, abf in zip(reversed(maps), reversed(self.stages), strict=True):
            y, residual = abf(feature_map, residual)
            reviewed.insert(0, y.flatten(1))
        return torch.cat(reviewed, dim=1)

    def split(self, reviewed: Tensor) -> list[Tensor]:
        """ŷ_1 … ŷ_n out of what :meth:`forward` joined."""
        parts = reviewed.split([math.prod(shape) for shape in self.shapes], dim=1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)]


def hcl(y: Tensor, f_t: Tensor) -> Tensor:
    """Hierarchical context loss of two maps [B, C, H, W]: MSE of the whole grid and of pooled ones, a weighted mean."""
    loss, weight, total = functional.mse_loss(y, f_t), 1.0, 1.0
    for side in (4, 2, 1):
        if side < y.shape[2]:
            weight /= 2
            pooled, target = (functional.adaptive_avg_pool2d(one, side) for one in (y, f_t))
            loss = loss + weight * functional.mse_loss(pooled, target)
            total += weight
    return loss / total


def _shapes(shapes: Shapes, stages: Sequence[str]) -> list[Shape]:
    if shapes.embedding is None:
        raise NotApplicable("the review starts from embeddings [B, D], which the task's networks do not show")
    return [*(shapes.features[stage] for stage in stages), (*shapes.embedding, 1, 1)]


def _maps(outputs: Outputs, stages: Sequence[str]) -> list[Tensor]:
    assert outputs.embedding is not None
    return [*(outputs.features[stage] for stage in stages), outputs.embedding[:, :, None, None]]


def applies(card: TaskCard, params: ReviewKDParams) -> str | None:
    """Why it can't run on a task, or None."""
    if params.channels < 1:
        return f"channels={params.channels}: the fusion needs at least one channel"
    return needs_feature_maps(card, params)


class ReviewKD:
    """Fused maps of the student, deep to shallow, match the teacher's stage by stage."""

    method = Method(
        name="reviewkd",
        title="knowledge review: the teacher's stages are matched by fusions of the student's",
        paper=Paper("Distilling Knowledge via Knowledge Review", "CVPR", 2021, "https://arxiv.org/abs/2104.09044"),
        equations="L = CE(y, z_s) + w(t) lambda sum_i HCL(ABF(F_S^i, ABF(F_S^{i+1}, ...)), F_T^i)",
        Params=ReviewKDParams,
        applies=applies,
    )

    @hookimpl
    def build_student(self, task: Task, params: ReviewKDParams, run: Run) -> Learner:
        """The student and the fusions between its maps and the teacher's."""
        student = run.new_student()
        ours, theirs = task.shapes(student), task.shapes(run.teacher_modules()[0])
        paired = pairs(ours.features, theirs.features, MOST)
        run.store["stages"] = student_stages, teacher_stages = [one for one, _ in paired], [other for _, other in paired]
        review = Review(_shapes(ours, student_stages), _shapes(theirs, teacher_stages), params.channels)
        return Learner(student, {"review": review.to(task.device)})

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE and the review, whose weight warms up."""
        params = cast(ReviewKDParams, step.params)
        student_stages, teacher_stages = step.run.store["stages"]
        review = cast(Review, step.learner.helpers["review"])
        reviewed = review.split(step.apply(review, *_maps(step.student, student_stages)))
        distances = [hcl(y, f_t) for y, f_t in zip(reviewed, _maps(step.teacher, teacher_stages), strict=True)]
        factor = params.weight * warmup_factor(step.progress, params.warmup)
        return {"ce": step.task.loss(step.student, step.targets), "review": factor * torch.stack(distances).sum()}
