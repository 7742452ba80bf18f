"""FitNets: the student's middle map, through a regressor, matches the teacher's.

Romero, Ballas, Kahou, Chassang, Gatta, Bengio: "FitNets: Hints for Thin Deep Nets", ICLR 2015, https://arxiv.org/abs/1412.6550

u_h: the teacher's hint [B, C_T, H, W]; v_g: the student's guided map [B, C_S, H', W']; r: regressor, thrown away.

    L_HT = ½ ‖ u_h − r(v_g) ‖²          (equation 3; the public benchmark: mean over all entries, no ½)
    L = CE(y, z_s) + β · L_HT

The paper trains in two stages, first the lower half of the student on L_HT, then all of it on soft targets. This is the
public benchmark's single stage: both terms at once, no soft targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn
from torch.nn import functional

from kdarena import Choice, Float, Int, Learner, Method, NotApplicable, Paper, Params, hookimpl
from kdarena_baselines.stages import MOST, needs_feature_maps, pairs

if TYPE_CHECKING:
    from kdarena import Run, Step, Task, TaskCard


@dataclass(frozen=True)
class FitNetParams(Params):
    """Weight and place of the hint."""

    beta: float = Float(100.0, 1.0, 1000.0, log=True, source="code", help="weight of the hint; 100 belongs to the mean form")
    stage: int = Int(2, 1, 3, source="code", cost=True, help="the hint's place among the paired stages, from 1, shallow to deep")
    reduction: str = Choice("mean", ("mean", "half-sum"), source="code", help="mean over all entries (code), or half the sum of a sample's (paper)")


class Regressor(nn.Module):
    """r: one convolution to the teacher's channels and grid, batch norm, ReLU.

    Args:
        student: (C_S, H', W') of the guided map.
        teacher: (C_T, H, W) of the hint. Half the student's grid: a convolution of stride 2; twice: a transposed one;
            smaller otherwise or equal: one without padding, whose kernel is the difference of the grids and one more.
    """

    def __init__(self, student: tuple[int, ...], teacher: tuple[int, ...]):
        super().__init__()
        channels, *grid = student
        teacher_channels, *hint_grid = teacher
        if grid == [2 * side for side in hint_grid]:
            self.conv: nn.Module = nn.Conv2d(channels, teacher_channels, 3, stride=2, padding=1)
        elif hint_grid == [2 * side for side in grid]:
            self.conv = nn.ConvTranspose2d(channels, teacher_channels, 4, stride=2, padding=1)
        elif all(own >= other for own, other in zip(grid, hint_grid, strict=True)):
            kernel = (1 + grid[0] - hint_grid[0], 1 + grid[1] - hint_grid[1])
            self.conv = nn.Conv2d(channels, teacher_channels, kernel)
        else:
            raise NotApplicable(f"no regressor from the student's grid {grid} to the hint's {hint_grid}: it may be equal, smaller, or twice as large")
        self.bn = nn.BatchNorm2d(teacher_channels)

    def forward(self, v_g: Tensor) -> Tensor:
        """[B, C_S, H', W'] to [B, C_T, H, W]."""
        return functional.relu(self.bn(self.conv(v_g)))


def l_ht(u_h: Tensor, regressed: Tensor, reduction: str) -> Tensor:
    """L_HT of hint and regressed map, both [B, C_T, H, W]."""
    squared = (u_h - regressed) ** 2
    return squared.mean() if reduction == "mean" else squared.flatten(1).sum(dim=1).mean() / 2


def applies(card: TaskCard, params: FitNetParams) -> str | None:
    """Why it can't run on a task, or None."""
    if not 1 <= params.stage <= MOST:
        return f"stage={params.stage}: the hint is one of the {MOST} paired stages at most, counted from 1"
    return needs_feature_maps(card, params)


class FitNet:
    """One map of the student regresses the teacher's hint."""

    method = Method(
        name="fitnet",
        title="hint regression of one middle feature map",
        paper=Paper("FitNets: Hints for Thin Deep Nets", "ICLR", 2015, "https://arxiv.org/abs/1412.6550"),
        equations="L = CE(y, z_s) + beta || u_h - r(v_g) ||^2",
        Params=FitNetParams,
        applies=applies,
    )

    @hookimpl
    def build_student(self, task: Task, params: FitNetParams, run: Run) -> Learner:
        """The student and the regressor between the maps of hint and guided stage."""
        student = run.new_student()
        ours, theirs = task.shapes(student).features, task.shapes(run.teacher_modules()[0]).features
        paired = pairs(ours, theirs)
        if params.stage > len(paired):
            raise NotApplicable(f"stage={params.stage}, but only {len(paired)} stages of student and teacher belong together")
        guided, hint = run.store["stages"] = paired[params.stage - 1]
        return Learner(student, {"regressor": Regressor(ours[guided], theirs[hint]).to(task.device)})

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE and β · L_HT."""
        params = cast(FitNetParams, step.params)
        guided, hint = step.run.store["stages"]
        regressed = step.apply(step.learner.helpers["regressor"], step.student.features[guided])
        l_hint = l_ht(step.teacher.features[hint], regressed, params.reduction)
        return {"ce": step.task.loss(step.student, step.targets), "hint": params.beta * l_hint}
