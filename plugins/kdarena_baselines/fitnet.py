"""FitNets: the student's middle map, through a regressor, matches the teacher's: in one stage with the labels, as in the public benchmark, not in the paper's two.

Romero, Ballas, Kahou, Chassang, Gatta, Bengio: "FitNets: Hints for Thin Deep Nets", ICLR 2015, https://arxiv.org/abs/1412.6550

u_h: the teacher's hint [B, C_T, H, W]; v_g: the student's guided map [B, C_S, H', W']; r: regressor (convolution, batch norm, ReLU), thrown away.

    L = CE(y, z_s) + β · L_HT,  L_HT = ½ ‖ u_h − r(v_g) ‖² (equation 3; the public benchmark: mean over all entries, no ½)
"""

from dataclasses import dataclass

from torch import nn

from kdarena import Choice, Float, Int, Learner, Method, NotApplicable, Paper, Params, Run, Step, Task, Terms, hookimpl
from kdarena_baselines.stages import LEVEL, MOST, pairs

PAPER = Paper("FitNets: Hints for Thin Deep Nets", "ICLR", 2015, "https://arxiv.org/abs/1412.6550")


@dataclass(frozen=True)
class FitNetParams(Params):
    """Weight and place of the hint."""

    beta: float = Float(100.0, 1.0, 1000.0, least=0, log=True, source="code", help="weight of the hint; 100 belongs to the mean form")
    stage: int = Int(2, 1, 3, least=1, most=MOST, source="code", cost=True, help="the hint's place among the paired stages, from 1, shallow to deep")
    reduction: str = Choice("mean", ("mean", "half-sum"), source="code", help="mean over all entries (code), or half the sum of a sample's (paper)")


def new_regressor(guided: tuple[int, ...], hint: tuple[int, ...], signed: bool = False) -> nn.Sequential:
    """r for maps of these shapes (C, H, W): a convolution (stride 2 to half the grid, transposed to twice, else unpadded), batch norm, ReLU.

    Args:
        signed: the hint has no ReLU behind it; then r has none.
    """
    (channels, *grid), (hint_channels, *hint_grid) = guided, hint
    if grid == [2 * side for side in hint_grid]:
        layer: nn.Module = nn.Conv2d(channels, hint_channels, 3, stride=2, padding=1)
    elif hint_grid == [2 * side for side in grid]:
        layer = nn.ConvTranspose2d(channels, hint_channels, 4, stride=2, padding=1)
    elif grid[0] >= hint_grid[0] and grid[1] >= hint_grid[1]:
        layer = nn.Conv2d(channels, hint_channels, (1 + grid[0] - hint_grid[0], 1 + grid[1] - hint_grid[1]))
    else:
        raise NotApplicable(
            f"no regressor from the student's grid {grid} to the hint's {hint_grid}: the hint's may be equal, smaller, or exactly twice as large"
        )
    return nn.Sequential(layer, nn.BatchNorm2d(hint_channels), *(() if signed else (nn.ReLU(),)))


class FitNet:
    """One map of the student regresses the teacher's hint."""

    params: FitNetParams
    method = Method(
        "fitnet",
        "hint regression of one middle feature map",
        PAPER,
        extended={"detection": "the maps are those of the feature pyramid, and the regressor has no ReLU, since they have none"},
        Params=FitNetParams,
        requires=("feature maps",),
    )

    @hookimpl
    def build_student(self, task: Task, teacher: nn.Module, run: Run) -> Learner:
        """The student and the regressor between the maps of hint and guided stage."""
        student = run.new_student()
        ours, theirs = task.shapes(student).features, task.shapes(teacher).features
        if self.params.stage > (count := len(pairs(ours, theirs))):
            raise NotApplicable(f"stage={self.params.stage}, but only {count} stages of student and teacher belong together")
        self.guided, self.hint = pairs(ours, theirs)[self.params.stage - 1]
        self.regressor = new_regressor(ours[self.guided], theirs[self.hint], signed=LEVEL.fullmatch(self.hint) is not None).to(task.device)
        return Learner(student, {"regressor": self.regressor})

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """CE and β · L_HT."""
        squared = (step.teacher.features[self.hint] - step.apply(self.regressor, step.student.features[self.guided])) ** 2
        l_ht = squared.mean() if self.params.reduction == "mean" else squared.flatten(1).sum(dim=1).mean() / 2
        return {"ce": step.task.loss(step.student, step.targets), "hint": self.params.beta * l_ht}
