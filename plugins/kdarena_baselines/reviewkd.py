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

All of it but the student is thrown away. w(t) = min(1, progress / warmup) of the training.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdarena import Float, Int, Learner, Method, Outputs, Paper, Params, Run, Shapes, Step, Task, Terms, hookimpl, schedules
from kdarena_baselines.stages import pairs

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ReviewKDParams(Params):
    """Weight, warm-up and width of the review."""

    weight: float = Float(5.0, 0.1, 20.0, least=0, log=True, source="code", help="λ, weight of the review; 5 is that of resnet32x4 to resnet8x4")
    warmup: float = Float(20 / 240, 0.0, 0.5, least=0, most=1, source="code", help="share of the training over which the weight rises from 0")
    channels: int = Int(512, 32, 512, least=1, log=True, source="code", cost=True, help="largest C_mid")


class ABF(nn.Module):
    """Attention-based fusion of one stage's map with what the deeper stages left.

    Args:
        channels, mid_channels, out_channels: of the student's map, inside, of the teacher's map.
        grid: of the teacher's map.
        fuse: False for the deepest stage, which nothing comes before.
    """

    def __init__(self, channels: int, mid_channels: int, out_channels: int, grid: Sequence[int], fuse: bool):
        super().__init__()
        reduce = nn.Conv2d(channels, mid_channels, 1, bias=False)
        self.transform = nn.Sequential(reduce, nn.BatchNorm2d(mid_channels))
        self.attention = nn.Sequential(nn.Conv2d(2 * mid_channels, 2, 1), nn.Sigmoid()) if fuse else None
        expand = nn.Conv2d(mid_channels, out_channels, 3, padding=1, bias=False)
        self.out = nn.Sequential(expand, nn.BatchNorm2d(out_channels))
        for convolution in (reduce, expand):
            nn.init.kaiming_uniform_(convolution.weight, a=1)
        self.grid = list(grid)

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
            pooled, target = functional.adaptive_avg_pool2d(y, side), functional.adaptive_avg_pool2d(f_t, side)
            loss = loss + weight * functional.mse_loss(pooled, target)
            total += weight
    return loss / total


def _shapes(shapes: Shapes, stages: Sequence[str]) -> list[Shape]:
    assert shapes.embedding is not None
    return [*(shapes.features[stage] for stage in stages), (*shapes.embedding, 1, 1)]


def _maps(outputs: Outputs, stages: Sequence[str]) -> list[Tensor]:
    assert outputs.embedding is not None
    return [*(outputs.features[stage] for stage in stages), outputs.embedding[:, :, None, None]]


class ReviewKD:
    """Fused maps of the student, deep to shallow, match the teacher's stage by stage."""

    params: ReviewKDParams
    method = Method(
        "reviewkd",
        "knowledge review: the teacher's stages are matched by fusions of the student's",
        Paper("Distilling Knowledge via Knowledge Review", "CVPR", 2021, "https://arxiv.org/abs/2104.09044"),
        Params=ReviewKDParams,
        requires=("feature maps", "one embedding a sample"),
    )

    @hookimpl
    def build_student(self, task: Task, teacher: nn.Module, run: Run) -> Learner:
        """The student and the fusions between its maps and the teacher's."""
        student = run.new_student()
        ours, theirs = task.shapes(student), task.shapes(teacher)
        paired = pairs(ours.features, theirs.features)
        self.stages, self.teacher_stages = [stage for stage, _ in paired], [stage for _, stage in paired]
        self.review = Review(_shapes(ours, self.stages), _shapes(theirs, self.teacher_stages), self.params.channels).to(task.device)
        return Learner(student, {"review": self.review})

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """CE and the review, whose weight warms up."""
        reviewed = self.review.split(step.apply(self.review, *_maps(step.student, self.stages)))
        distances = [hcl(y, f_t) for y, f_t in zip(reviewed, _maps(step.teacher, self.teacher_stages), strict=True)]
        weight = self.params.weight * schedules.linear(step.progress, 0.0, 1.0, length=self.params.warmup)
        return {"ce": step.task.loss(step.student, step.targets), "review": weight * torch.stack(distances).sum()}
