"""Mistakes that public code of distillation has made, each as a method: what the check says of it, and why it is one."""

import math
import random
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from kdarena import Float, Learner, Method, Paper, Params, Phase, Update, hookimpl, losses, no_teachers
from kdarena.tracks.values import Split

BUGS = {}


def bug(status, check, *words, Params=Params, **declared):  # noqa: N803
    """Marks a class of hooks as a mistake that a check names with these words."""

    def register(hooks):
        name = hooks.__name__.lower()
        hooks.method = Method(name, "t", Paper("t", "v", 2026, "u"), Params=Params, **declared)
        BUGS[name] = (hooks, status, check, words)
        return hooks

    return register


class Distils:
    """Cross-entropy and a divergence, which the mistakes replace."""

    @hookimpl
    def loss(self, step):
        return {"ce": step.task.loss(step.student, step.targets), "kl": self.kl(step.student.logits, step.teacher.logits)}

    def kl(self, z_s, z_t):
        return losses.kl(z_t, z_s, 4.0)


@dataclass(frozen=True)
class Softened(Params):
    temperature: float = Float(4.0, 1.0, 16.0, source="ours", above=0, log=True)


@dataclass(frozen=True)
class Noisy(Params):
    noise: float = Float(1.0, 0.5, 2.0, source="ours", least=0)


@dataclass(frozen=True)
class Weighted(Params):
    weight: float = Float(1.0, 0.5, 2.0, source="ours")


def log_soft(z, temperature=4.0):
    return functional.log_softmax(z / temperature, dim=1)


@bug("failed", "train mode", "the student is left in eval mode", "leave out .eval()")
class StudentInEvalMode(Distils):
    @hookimpl
    def loss(self, step):
        terms = super().loss(step)
        step.learner.student.eval()
        return terms


@bug("failed", "train mode", "is called in eval mode")
class StudentAskedInEvalMode(Distils):
    @hookimpl
    def loss(self, step):
        step.learner.student.eval()
        terms = super().loss(step)
        step.learner.student.train()
        return terms


@bug("failed", "trains", "of a teacher is in train mode; keep it in eval mode")
class TeacherInTrainMode(Distils):
    @hookimpl
    def build_teacher(self, run):
        return run.teachers[0].train()


@bug("warning", "temperature", "as if T² were missing; multiply", Params=Softened)
class SquareDropped(Distils):
    def kl(self, z_s, z_t):
        return losses.kl(z_t, z_s, self.params.temperature) / self.params.temperature**2


@bug("warning", "divergence", "divided by the number of classes", "use reduction='batchmean'")
class MeanOverClasses(Distils):
    def kl(self, z_s, z_t):
        return 16 * functional.kl_div(log_soft(z_s), log_soft(z_t), log_target=True, reduction="mean")


@bug("warning", "divergence", "as KL(student ‖ teacher) does", "swap its arguments")
class ArgumentsSwapped(Distils):
    def kl(self, z_s, z_t):
        return losses.kl(z_s, z_t, 4.0)


@bug("failed", "labels", "the number of channels of the inputs", "below step.task.classes")
class LabelsFromChannels(Distils):
    @hookimpl
    def loss(self, step):
        drawn = torch.randint(step.inputs.shape[1], step.targets.shape, generator=step.run.generator)
        wrong = torch.rand(step.targets.shape, generator=step.run.generator) < 0.5
        return {"ce": functional.cross_entropy(step.student.logits, torch.where(wrong, drawn, step.targets))}


@bug("failed", "parameters", "changes nothing in batches of 16, but in batches of 64", "round it up", Params=Noisy)
class NoNoiseInSmallBatches(Distils):
    @hookimpl
    def loss(self, step):
        inputs, some = step.inputs.clone(), len(step.inputs) // 50
        inputs[:some] += self.params.noise * torch.randn(inputs[:some].shape, generator=step.run.generator)
        return {"ce": step.task.loss(step.forward(step.learner.student, inputs), step.targets)}


@bug("failed", "configuration", "it changes run.recipe", "make a copy")
class RecipeChanged(Distils):
    @hookimpl
    def schedule(self, run):
        run.recipe["lr"] *= 10
        return [Phase("train")]


@bug("failed", "configuration", "it changes its parameters", "make a copy", Params=Weighted)
class ParametersChanged(Distils):
    @hookimpl
    def schedule(self, params):
        object.__setattr__(params, "weight", 0.5)
        return [Phase("train")]


@bug("failed", "configuration", "it changes step.inputs in place", "x = x + …")
class InputsChanged(Distils):
    @hookimpl
    def loss(self, step):
        step.inputs.mul_(0.5)
        return super().loss(step)


@bug("warning", "peers", "sends its gradient into the student and helper 'peer'", "has to be detached", teachers=no_teachers)
class PeerUndetached:
    @hookimpl
    def build_student(self, run):
        return Learner(run.new_student(), helpers={"peer": run.new_student(peer=1)})

    @hookimpl
    def loss(self, step):
        mine, other = (step.forward(network) for network in step.learner.modules())
        ce = step.task.loss(mine, step.targets) + step.task.loss(other, step.targets)
        return {"ce": ce, "kl": losses.kl(other.logits, mine.logits, 2.0)}


def leaves(name, words, change):
    """A method that changes something for the whole process."""

    class Leaves(Distils):
        @hookimpl
        def schedule(self):
            change()
            return [Phase("train")]

    Leaves.__name__ = name
    return bug("failed", "process", words, "with which the next run would begin")(Leaves)


leaves("DefaultDtype", "torch's default dtype torch.float64 (before: torch.float32)", lambda: torch.set_default_dtype(torch.float64))
leaves("GradMode", "torch's grad mode off (before: on)", lambda: torch.set_grad_enabled(False))
leaves("CudnnFlag", "torch.backends.cudnn.benchmark on (before: off)", lambda: setattr(torch.backends.cudnn, "benchmark", True))
leaves("Threads", "torch's threads 2 (before: 1)", lambda: torch.set_num_threads(2))


@bug("failed", "global seed", "it calls torch.manual_seed", "draw from run.generator")
class SeedsTorch(Distils):
    @hookimpl
    def schedule(self):
        torch.manual_seed(0)
        return [Phase("train")]


@bug("failed", "global seed", "it calls random.seed", "draw from run.generator")
class SeedsPython(Distils):
    @hookimpl
    def schedule(self):
        random.seed(0)
        return [Phase("train")]


@bug("failed", "seed", "two runs of one seed differ", "draw from run.generator")
class DrawsFromTheSystem(Distils):
    @hookimpl
    def loss(self, step):
        return {"ce": (1 + random.SystemRandom().random()) * step.task.loss(step.student, step.targets)}


class WithHead(Distils):
    @hookimpl
    def build_student(self, run):
        return Learner(run.new_student(), helpers={"head": nn.Linear(run.task.classes, run.task.classes)})

    @hookimpl
    def loss(self, step):
        z_s, z_t = step.student.logits, step.teacher.logits
        return {"ce": step.task.loss(step.student, step.targets), "hint": functional.mse_loss(step.apply(step.learner.helpers["head"], z_s), z_t)}


@bug("failed", "helpers", "no update of any phase steps 2 of 2 parameters of helper 'head'", "name them in Update.params")
class HelperNeverStepped(WithHead):
    @hookimpl
    def schedule(self, run):
        return [Phase("train", lambda run: [Update("student", run.learner.student.parameters())])]


@bug("failed", "helpers", "a network (Linear) is called that no update trains", "put it into Learner.helpers")
class HelperUndeclared(Distils):
    @hookimpl
    def build_student(self, run):
        self.head = nn.Linear(run.task.classes, run.task.classes)
        return Learner(run.new_student())

    @hookimpl
    def loss(self, step):
        return {"hint": functional.mse_loss(self.head(step.student.logits), step.teacher.logits)}


@bug("failed", "helpers", "helper 'head' changes although no update trains it", "not charged")
class HelperSteppedAside(WithHead):
    @hookimpl
    def schedule(self, run):
        return [Phase("train", lambda run: [Update("student", run.learner.student.parameters(), after=self.step_aside)])]

    def step_aside(self, step):
        with torch.no_grad():
            step.learner.helpers["head"].weight.add_(0.1)


@bug("failed", "trains", "asks for the test part")
class ReadsTestLabels(Distils):
    @hookimpl
    def loss(self, step):
        step.task.part_targets("test", Split(step.run.seed))
        return super().loss(step)


@bug("failed", "trains", "declares labels=False but reads step.targets", labels=False)
class ReadsLabels(Distils):
    pass


@bug("failed", "student", "no gradient reaches it", "without detach")
class StudentDetached(WithHead):
    @hookimpl
    def loss(self, step):
        return {
            "hint": step.apply(step.learner.helpers["head"], step.student.logits.detach()).square().mean(),
            "ce": 0 * step.task.loss(step.student, step.targets),
        }


@bug("failed", "trains", "get no gradient in phase 'train'", "mark it optional")
class PartOfTheStudent(Distils):
    @hookimpl
    def loss(self, step):
        return {"features": step.student.feature_map.square().mean()}


@bug("failed", "loss", "is nan in step 0", "look for a logarithm or a division of 0")
class NotANumber(Distils):
    def kl(self, z_s, z_t):
        return (z_s * math.nan).mean()


@bug("failed", "side by side", "keep state in the instance")
class StateInTheClass(Distils):
    steps = 0

    @hookimpl
    def build_student(self, run):
        type(self).steps = 0
        return Learner(run.new_student())

    @hookimpl
    def loss(self, step):
        type(self).steps += 1
        return {"ce": type(self).steps * step.task.loss(step.student, step.targets)}


@bug("failed", "trains", "1,000,000 fixed steps", "take a share of the budget")
class FixedSteps(Distils):
    @hookimpl
    def schedule(self):
        return [Phase("first", steps=1_000_000), Phase("train")]


@dataclass(frozen=True)
class Outside(Params):
    temperature: float = Float(40.0, 1.0, 16.0, source="ours", above=0, log=True)


@bug("failed", "search space", "the default of temperature, 40.0, lies outside", "widen the range", Params=Outside)
class DefaultOutside(Distils):
    pass


@bug("warning", "parameters", "weight: none changes anything", "use it in a hook", Params=Weighted)
class ParameterUnused(Distils):
    pass
