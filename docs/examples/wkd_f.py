"""WKD-F: the Wasserstein distance between Gaussians that are fitted to the places of a feature map.

L = CE(y, z_s) + w · mean over samples of (g · ‖μ_t − μ_s‖² + ‖σ_t − σ_s‖²)
μ, σ: mean and standard deviation [C_t] over the H · W places of the teacher's last map, and of the student's after a 1×1 convolution
"""

from dataclasses import dataclass

from torch import nn

from kdarena import Float, Learner, Method, Paper, Params, Run, Step, Terms, hookimpl


@dataclass(frozen=True)
class WkdfParams(Params):
    w: float = Float(0.1, 0.001, 1.0, source="ours", least=0, log=True, help="weight of the distance")
    g: float = Float(2.0, 0.5, 8.0, source="recalled", least=0, log=True, help="weight of the means, to that of the deviations")


class WkdF:
    paper = Paper("Wasserstein Distance Rivals Kullback-Leibler Divergence", "NeurIPS", 2024, "https://arxiv.org/abs/2412.08139")
    method = Method("wkd-f", "Gaussians of feature maps", paper, Params=WkdfParams, requires=("feature maps",))

    @hookimpl
    def build_student(self, task, teacher, run: Run) -> Learner:
        student = run.new_student()
        c_s, c_t = task.shapes(student).feature_map[0], task.shapes(teacher).feature_map[0]
        return Learner(student, helpers={"project": nn.Sequential(nn.Conv2d(c_s, c_t, 1), nn.BatchNorm2d(c_t), nn.ReLU()).to(task.device)})

    @hookimpl
    def loss(self, step: Step, params: WkdfParams) -> Terms:
        f_s = step.apply(step.learner.helpers["project"], step.student.feature_map).flatten(2)
        f_t = step.teacher.feature_map.float().flatten(2)  # in bf16 runs its maps are in bf16
        mean = (f_t.mean(2) - f_s.mean(2)).square().sum(1).mean()
        std = ((f_t.var(2) + 1e-5).sqrt() - (f_s.var(2) + 1e-5).sqrt()).square().sum(1).mean()
        return {"ce": step.task.loss(step.student, step.targets), "gaussians": params.w * (params.g * mean + std)}


variants = (WkdF,)
