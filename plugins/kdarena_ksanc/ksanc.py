"""KSANC: knowledge squeezed adversarial network compression.

Shu, Li, Xie, Qu, Dai, Ma: "Knowledge Squeezed Adversarial Network Compression", 2019, https://arxiv.org/abs/1904.05100;
Li, Shu, Xie, Qu, Kong: "Hierarchical Knowledge Squeezed Adversarial Network Compression", AAAI 2020

l: logits [B, N]; L^i: maps of the stages [B, F_i, H_i, W_i], g^b: global descriptor [B, d]; S student, T teacher; y: labels.
D(l) in (0, 1) and C(l), a distribution over classes: the critic's two heads, with the weights w_D.

Attention estimator of level i, and the descriptor g^a [B, Σ F_i] of all levels side by side:

    g̃^{b,i} = Conv1×1(g^b);  L̂^i = L^i + g̃^{b,i};  M = softmax over positions of Ŵ * L̂^i
    g̃^{a,i} = pool(M ⊙ X), X = L̂^i (the equation) or L^i (the figure)

Losses; squared norms are sums over entries, means over the batch:

    L = λ1 · L_b + λ2 · L_adv + λ3 · L_is;      no cross-entropy on the student's logits
    L_b = ‖l_S − l_T‖²,  L_is = ‖g_S^a − g_T^a‖²
    L_adv^o: min_S max_D E log D(l_T) + E log(1 − D(l_S))
    L_reg = −(μ1 |w_D|_1 + μ2 ‖w_D‖² − μ3 E log D(l_S)): D maximises it, so that it does not become too strong
    L_adv^C: both name the class: CE(C(l_T), y) + CE(C(l_S), y)

    J_D = −E log D(l_T) − E log(1 − D(l_S)) − L_reg + CE(C(l_T), y) + CE(C(l_S), y)          logits detached
    J_S = λ1 L_b + λ3 L_is + λ2 (−E log D(l_S) + CE(C(l_S), y))                              D fixed

Of a student with earlier exits L_b and the student's part of L_adv are sums over the logits of all exits, and what D sees of the
student is the mean over them.

Phases: ``estimators`` (the teacher's, by the task: CE of a linear classifier on g_T^a; then frozen, and the classifier is thrown
away), ``train`` (the critic first, then the student against the new critic).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdarena import Choice, Float, Int, Learner, Method, NotApplicable, Paper, Params, Phase, Run, Step, Task, TaskCard, Terms, Update, hookimpl
from kdarena_ksanc.networks import Critic, Squeezer


@dataclass(frozen=True)
class KSANCParams(Params):
    """Weights, the critic and its regularisers, and how attention is read and pooled."""

    lambda1: float = Float(1.0, 0.01, 10.0, least=0, log=True, source="ours", help="weight of L_b, the logits")
    lambda2: float = Float(0.1, 0.001, 1.0, least=0, log=True, source="ours", help="weight of L_adv")
    lambda3: float = Float(1.0, 0.01, 1000.0, least=0, log=True, source="ours", help="weight of L_is; 1 belongs to pool=sum")
    mu1: float = Float(1e-4, 1e-5, 0.1, least=0, log=True, source="ours", help="of |w_D|_1")
    mu2: float = Float(1e-4, 1e-5, 0.1, least=0, log=True, source="ours", help="of the square of w_D")
    mu3: float = Float(1e-2, 1e-5, 0.1, least=0, log=True, source="ours", help="of the student's samples that D is rewarded to take for the teacher's")
    lr_d: float = Float(1e-3, 1e-4, 1e-2, above=0, log=True, source="ours", help="of Adam on the critic")
    clip: float = Float(1.0, 0.1, 10.0, above=0, log=True, source="ours", help="largest gradient norm of student and estimators: squared errors have no bound")
    width: int = Int(128, 64, 256, least=1, log=True, source="ours", cost=True, help="of the critic's hidden layers")
    critic_steps: int = Int(1, 1, 3, least=1, source="ours", cost=True, help="of the critic, for each of the student")
    dimension: int = Int(128, 32, 256, least=1, log=True, source="paper", cost=True, help="of the global descriptor g^b")
    share: float = Float(0.1, 0.02, 0.3, above=0, below=1, source="ours", cost=True, help="of the budget that trains the teacher's estimators")
    attend: str = Choice("sum", ("sum", "map"), source="paper", cost=True, help="what attention weights: L + g (equation) or L (figure)")
    pool: str = Choice("sum", ("sum", "avg"), source="ours", cost=True, help="of the weighted map: sum, or avg as printed, which makes L_is tiny")
    generator: str = Choice(
        "non-saturating", ("non-saturating", "saturating"), source="ours", help="student's side of D: -log D(l_S), or log(1 - D(l_S)) as printed"
    )
    student_class_sign: int = Choice(1, (1, -1), source="ours", help="of CE(C(l_S), y) in J_S; -1 is the literal min over S")


def applies(card: TaskCard, params: KSANCParams) -> str | None:
    """Why it can't run on a task, or None."""
    size = card.recipe.batch_size
    return None if size >= 2 else f"its critic's batch norm needs batches of two samples at least, not {size}"


def mean_over_exits(of_exit: Callable[[Tensor], Tensor], exits: Sequence[Tensor]) -> Tensor:
    """The mean over exits of a scalar of what D says of each."""
    return torch.stack([of_exit(said) for said in exits]).mean()


class KSANC:
    """The student matches logits and squeezed descriptors, against a critic that names teacher or student, and the class.

    Attributes:
        squeezer, teacher_squeezer: of the student's maps and of the teacher's.
        classifier: linear, of the teacher's descriptor; trains the teacher's estimators.
        critic: D and C.
    """

    method = Method(
        "ksanc",
        "squeezed attention descriptors of all stages, and adversarial logits",
        Paper("Hierarchical Knowledge Squeezed Adversarial Network Compression", "AAAI", 2020, "https://arxiv.org/abs/1904.05100"),
        Params=KSANCParams,
        requires=("class scores", "feature maps"),
        applies=applies,
    )
    params: KSANCParams
    squeezer: Squeezer
    teacher_squeezer: Squeezer
    classifier: nn.Linear
    critic: Critic

    @hookimpl
    def build_student(self, task: Task, teacher: nn.Module, run: Run) -> Learner:
        """The student; squeezers of both networks, the teacher's classifier, the critic."""
        params, student = self.params, run.new_student()
        ours, theirs = task.shapes(student).features, task.shapes(teacher).features
        if not ours or len(ours) != len(theirs):
            raise NotApplicable(
                f"it needs as many stages of the student as of the teacher, at least one; the student offers {len(ours)}, the teacher {len(theirs)}"
            )
        channels, widths = ([shape[0] for shape in shapes.values()] for shapes in (ours, theirs))
        self.squeezer = Squeezer(widths, params.dimension, params.attend, params.pool, channels).to(task.device)
        self.teacher_squeezer = Squeezer(widths, params.dimension, params.attend, params.pool).to(task.device)
        self.classifier = nn.Linear(sum(widths), task.classes).to(task.device)
        self.critic = Critic(task.classes, params.width).to(task.device)
        return Learner(student, {"squeezer": self.squeezer, "teacher_squeezer": self.teacher_squeezer, "classifier": self.classifier, "critic": self.critic})

    @hookimpl
    def schedule(self) -> Sequence[Phase]:
        """The teacher's estimators by the task, then critic and student in turn."""
        share = self.params.share
        return [
            Phase("estimators", self.estimators_updates, share=share),
            Phase("train", self.train_updates, share=1 - share, prepare=self.freeze_estimators),
        ]

    def estimators_updates(self, run: Run) -> list[Update]:
        """The teacher's estimators and the classifier, by the recipe."""
        return [Update("estimators", [*self.teacher_squeezer.parameters(), *self.classifier.parameters()], clip=self.params.clip)]

    def train_updates(self, run: Run) -> list[Update]:
        """The critic by Adam, then the student and its squeezer by the recipe."""
        return [
            Update("critic", self.critic.parameters(), self.adam, before=True, repeat=self.params.critic_steps),
            Update("student", [*run.learner.student.parameters(), *self.squeezer.parameters()], clip=self.params.clip),
        ]

    def adam(self, trained: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Of the critic."""
        return torch.optim.Adam(trained, lr=self.params.lr_d, fused=True)

    def freeze_estimators(self, run: Run) -> None:
        """From here on the teacher's estimators are watched as a teacher is: were they trained by L_is, it could collapse to zero."""
        run.freeze(self.teacher_squeezer)

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """The loss of the update whose turn it is."""
        return {"estimators": self.estimators_loss, "critic": self.critic_loss, "student": self.student_loss}[step.update](step)

    def estimators_loss(self, step: Step) -> Terms:
        """CE of the linear classifier on g_T^a."""
        classes = step.apply(self.classifier, self.teacher_descriptor(step))
        return {"ce": functional.cross_entropy(classes, step.targets)}

    def critic_loss(self, step: Step) -> Terms:
        """J_D."""
        params, critic = self.params, self.critic
        # teacher and each exit of the student in batches of their own, so that D's batch norm sees what it sees in the student's turn
        of_teacher = step.apply(critic, step.teacher.logits)
        of_student = [step.apply(critic, logits.detach()) for logits in exits_of(step)]
        return {
            # log D = logsigmoid(d), log(1 − D) = logsigmoid(−d)
            "real": -functional.logsigmoid(of_teacher[:, 0]).mean(),
            "fake": mean_over_exits(lambda said: -functional.logsigmoid(-said[:, 0]).mean(), of_student),
            "l1": params.mu1 * torch.stack([w.abs().sum() for w in critic.weights()]).sum(),
            "l2": params.mu2 * torch.stack([w.square().sum() for w in critic.weights()]).sum(),
            "samples": -params.mu3 * mean_over_exits(lambda said: functional.logsigmoid(said[:, 0]).mean(), of_student),
            "class_teacher": functional.cross_entropy(of_teacher[:, 1:], step.targets),
            "class_student": mean_over_exits(lambda said: functional.cross_entropy(said[:, 1:], step.targets), of_student),
        }

    def student_loss(self, step: Step) -> Terms:
        """J_S."""
        params, l_t, exits = self.params, step.teacher.logits, exits_of(step)
        g_s = step.apply(self.squeezer, *step.student.features.values())
        said = [step.call_frozen(self.critic, l_s) for l_s in exits]
        fooled = [self.fooled(one[:, 0]) for one in said]
        classes = [functional.cross_entropy(one[:, 1:], step.targets) for one in said]
        return {
            "b": params.lambda1 * torch.stack([(l_s - l_t).square().sum(dim=1).mean() for l_s in exits]).sum(),
            "is": params.lambda3 * (g_s - self.teacher_descriptor(step)).square().sum(dim=1).mean(),
            "adv": params.lambda2 * torch.stack(fooled).sum(),
            "class": params.lambda2 * params.student_class_sign * torch.stack(classes).sum(),
        }

    def fooled(self, d_s: Tensor) -> Tensor:
        """The student's side of L_adv^o, of the units of D before their sigmoid [B]."""
        return -functional.logsigmoid(d_s).mean() if self.params.generator == "non-saturating" else functional.logsigmoid(-d_s).mean()

    def teacher_descriptor(self, step: Step) -> Tensor:
        """g_T^a [B, Σ F_i]; without gradients once the estimators are frozen."""
        return step.apply(self.teacher_squeezer, *step.teacher.features.values())


def exits_of(step: Step) -> tuple[Tensor, ...]:
    """The student's logits [B, N]: of the last exit, then of earlier ones."""
    return (step.student.logits, *step.student.exits)
