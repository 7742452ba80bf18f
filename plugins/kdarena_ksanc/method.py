"""KSANC: knowledge squeezed adversarial network compression.

Shu, Li, Xie, Qu, Dai, Ma: "Knowledge Squeezed Adversarial Network Compression", 2019, https://arxiv.org/abs/1904.05100;
Li, Shu, Xie, Qu, Kong: "Hierarchical Knowledge Squeezed Adversarial Network Compression", AAAI 2020

l: logits [B, N]; L^i: maps of the stages, g^b: global descriptor [B, d], g^a: squeezed descriptors of all levels [B, Σ F_i]
(``networks.py``); S student, T teacher. D(l) in (0, 1) and C(l), a distribution over classes: the critic's two heads.

    L = λ1 · L_b + λ2 · L_adv + λ3 · L_is;      no cross-entropy on the student's logits
    L_b = ‖l_S − l_T‖²,  L_is = ‖g_S^a − g_T^a‖²
    L_adv^o: min_S max_D E log D(l_T) + E log(1 − D(l_S))
    L_reg = −(μ1 |w_D|_1 + μ2 ‖w_D‖² − μ3 E log D(l_S)): D maximises it, so that it does not become too strong
    L_adv^C: both name the class: CE(C(l_T), y) + CE(C(l_S), y)

    J_D = −E log D(l_T) − E log(1 − D(l_S)) − L_reg + CE(C(l_T), y) + CE(C(l_S), y)          logits detached
    J_S = λ1 L_b + λ3 L_is + λ2 (−E log D(l_S) + CE(C(l_S), y))                              D fixed

Phases: ``estimators`` (the teacher's, by the task: CE of a linear classifier on g_T^a; then frozen), ``train`` (the critic first,
then the student against the new critic).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdarena import Choice, Float, Int, Learner, Method, NotApplicable, Paper, Params, Phase, Update, hookimpl
from kdarena_ksanc.networks import Critic, Squeezer

if TYPE_CHECKING:
    from kdarena import Run, Step, Task, TaskCard


@dataclass(frozen=True)
class KSANCParams(Params):
    """Weights, the critic and its regularisers, and how attention is read and pooled."""

    lambda1: float = Float(1.0, 0.01, 10.0, log=True, source="ours", help="weight of L_b, the logits")
    lambda2: float = Float(0.1, 0.001, 1.0, log=True, source="ours", help="weight of L_adv")
    lambda3: float = Float(1.0, 0.01, 1000.0, log=True, source="ours", help="weight of L_is; 1 belongs to pool=sum")
    mu1: float = Float(1e-4, 1e-5, 0.1, log=True, source="ours", help="of |w_D|_1")
    mu2: float = Float(1e-4, 1e-5, 0.1, log=True, source="ours", help="of the square of w_D")
    mu3: float = Float(1e-2, 1e-5, 0.1, log=True, source="ours", help="of the student's samples that D is rewarded to take for the teacher's")
    lr_d: float = Float(1e-3, 1e-4, 1e-2, log=True, source="ours", help="of Adam on the critic")
    clip: float = Float(1.0, 0.1, 10.0, log=True, source="ours", help="largest gradient norm of student and estimators: squared errors have no bound")
    width: int = Int(128, 64, 256, log=True, source="ours", cost=True, help="of the critic's hidden layers")
    critic_steps: int = Int(1, 1, 3, source="ours", cost=True, help="of the critic, for each of the student")
    dimension: int = Int(128, 32, 256, log=True, source="paper", cost=True, help="of the global descriptor g^b")
    share: float = Float(0.1, 0.02, 0.3, source="ours", cost=True, help="of the budget that trains the teacher's estimators")
    attend: str = Choice("sum", ("sum", "map"), source="paper", cost=True, help="what attention weights: L + g (equation) or L (figure)")
    pool: str = Choice("sum", ("sum", "avg"), source="ours", cost=True, help="of the weighted map: sum, or avg as printed, which makes L_is tiny")
    generator: str = Choice(
        "non-saturating", ("non-saturating", "saturating"), source="ours", help="student's side of D: -log D(l_S), or log(1 - D(l_S)) as printed"
    )
    student_class_sign: int = Choice(1, (1, -1), source="ours", help="of CE(C(l_S), y) in J_S; -1 is the literal min over S")


def applies(card: TaskCard, params: KSANCParams) -> str | None:
    """Why it can't run on a task, or None."""
    if params.critic_steps < 1:
        return f"it needs a step of the critic at least, not {params.critic_steps}"
    if min(params.width, params.dimension) < 1:
        return f"it needs hidden layers and a descriptor of at least one entry, not width={params.width}, dimension={params.dimension}"
    if params.clip <= 0 or params.lr_d <= 0:
        return f"the largest gradient norm and the critic's learning rate have to be positive, not clip={params.clip:g}, lr_d={params.lr_d:g}"
    for name in ("lambda1", "lambda2", "lambda3", "mu1", "mu2", "mu3"):
        if getattr(params, name) < 0:
            return f"it needs weights of 0 or more, not {name}={getattr(params, name):g}"
    if not 0 < params.share < 1:
        return f"both of its phases need a share of the budget: share={params.share:g} is not between 0 and 1"
    if card.recipe.batch_size < 2:
        return f"its critic's batch norm needs batches of two samples at least, not {card.recipe.batch_size}"
    return None if card.feature_maps else "its networks have no feature maps [B, C, H, W] to squeeze"


class KSANC:
    """The student matches logits and squeezed descriptors, against a critic that names teacher or student, and the class."""

    method = Method(
        name="ksanc",
        title="squeezed attention descriptors of all stages, and adversarial logits",
        paper=Paper("Hierarchical Knowledge Squeezed Adversarial Network Compression", "AAAI", 2020, "https://arxiv.org/abs/1904.05100"),
        equations="L = lambda1 ||l_S - l_T||^2 + lambda2 L_adv + lambda3 ||g_S^a - g_T^a||^2; L_adv: a critic of logits with a class head, regularised",
        Params=KSANCParams,
        applies=applies,
    )

    @hookimpl
    def build_student(self, task: Task, teacher: nn.Module, params: KSANCParams, run: Run) -> Learner:
        """The student; squeezers of both networks, the teacher's classifier, the critic."""
        student = run.new_student()
        ours, theirs = task.shapes(student).features, task.shapes(teacher).features
        if not ours or len(ours) != len(theirs):
            raise NotApplicable(
                f"it needs as many stages of the student as of the teacher, at least one; the student offers {len(ours)}, the teacher {len(theirs)}"
            )
        channels, widths = ([shape[0] for shape in shapes.values()] for shapes in (ours, theirs))
        helpers: dict[str, nn.Module] = {
            "squeezer": Squeezer(widths, params.dimension, params.attend, params.pool, channels),
            "teacher_squeezer": Squeezer(widths, params.dimension, params.attend, params.pool),
            "classifier": nn.Linear(sum(widths), task.classes),
            "critic": Critic(task.classes, params.width),
        }
        return Learner(student, {name: helper.to(task.device) for name, helper in helpers.items()})

    @hookimpl
    def schedule(self, params: KSANCParams) -> Sequence[Phase]:
        """The teacher's estimators by the task, then critic and student in turn."""

        def estimators(run: Run) -> list[Update]:
            helpers = run.learner.helpers
            return [Update("estimators", [*helpers["teacher_squeezer"].parameters(), *helpers["classifier"].parameters()], clip=params.clip)]

        def train(run: Run) -> list[Update]:
            helpers = run.learner.helpers

            def adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
                return torch.optim.Adam(parameters, lr=params.lr_d, fused=True)

            return [
                Update("critic", helpers["critic"].parameters(), adam, before=True, repeat=params.critic_steps),
                Update("student", [*run.learner.student.parameters(), *helpers["squeezer"].parameters()], clip=params.clip),
            ]

        return [Phase("estimators", estimators, share=params.share), Phase("train", train, share=1 - params.share, begin=_freeze_estimators)]

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """The loss of the update whose turn it is."""
        return {"estimators": self._estimators, "critic": self._critic, "student": self._student}[step.update](step)

    def _estimators(self, step: Step) -> dict[str, Tensor]:
        classes = step.apply(step.learner.helpers["classifier"], self._teacher_descriptor(step))
        return {"ce": functional.cross_entropy(classes, step.targets)}

    def _critic(self, step: Step) -> dict[str, Tensor]:
        params, critic = cast(KSANCParams, step.params), cast(Critic, step.learner.helpers["critic"])
        # teacher and student in batches of their own, so that D's batch norm sees what it sees in the student's turn
        of_teacher = step.apply(critic, step.teacher.logits)
        of_student = step.apply(critic, step.student.logits.detach())
        d_t, d_s = of_teacher[:, 0], of_student[:, 0]
        return {
            # log D = logsigmoid(d), log(1 − D) = logsigmoid(−d)
            "real": -functional.logsigmoid(d_t).mean(),
            "fake": -functional.logsigmoid(-d_s).mean(),
            "l1": params.mu1 * torch.stack([w.abs().sum() for w in critic.weights()]).sum(),
            "l2": params.mu2 * torch.stack([w.square().sum() for w in critic.weights()]).sum(),
            "samples": -params.mu3 * functional.logsigmoid(d_s).mean(),
            "class_teacher": functional.cross_entropy(of_teacher[:, 1:], step.targets),
            "class_student": functional.cross_entropy(of_student[:, 1:], step.targets),
        }

    def _student(self, step: Step) -> dict[str, Tensor]:
        params, helpers = cast(KSANCParams, step.params), step.learner.helpers
        l_s, l_t = step.student.logits, step.teacher.logits
        g_s = step.apply(helpers["squeezer"], *step.student.features.values())
        seen = step.call_frozen(helpers["critic"], l_s)
        d_s = seen[:, 0]
        fooled = -functional.logsigmoid(d_s).mean() if params.generator == "non-saturating" else functional.logsigmoid(-d_s).mean()
        return {
            "b": params.lambda1 * (l_s - l_t).square().sum(dim=1).mean(),
            "is": params.lambda3 * (g_s - self._teacher_descriptor(step)).square().sum(dim=1).mean(),
            "adv": params.lambda2 * fooled,
            "class": params.lambda2 * params.student_class_sign * functional.cross_entropy(seen[:, 1:], step.targets),
        }

    def _teacher_descriptor(self, step: Step) -> Tensor:
        """g_T^a [B, Σ F_i]; without gradients once the estimators are frozen."""
        return step.apply(step.learner.helpers["teacher_squeezer"], *step.teacher.features.values())


def _freeze_estimators(run: Run) -> None:
    # watched from here on as a teacher is: were they trained by L_is, it could collapse to zero
    run.freeze(run.learner.helpers["teacher_squeezer"])
