"""The teachers of a task: the reference and the pool, trained once as runs of their own, or taken from the user."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kdarena.arena.recorder import Recorder
from kdarena.arena.scheduler import Job, Work
from kdarena.errors import UserError
from kdarena.files import PARTIAL
from kdarena.method.declaration import REFERENCE, TeacherSpec
from kdarena.method.plugin import STUDENT
from kdarena.plan.allocation import DEFAULT_TOTAL, to_unit
from kdarena.plan.budget import MINIMUM_STEPS
from kdarena.plan.conditions import Conditions
from kdarena.plan.cost import CostProfile
from kdarena.plan.entrants import Entrant, teachers_of
from kdarena.plan.request import Request
from kdarena.plan.spec import COMPLETE, RunResult, RunSpec, Unit
from kdarena.plan.specs import TEACHER_SHARE, given_teacher, profile_spec, teacher_run, trained_as
from kdarena.tracks.card import TaskCard

if TYPE_CHECKING:
    from torch import nn


class Teachers:
    """The teachers of a command: trains what its methods need and is not there yet."""

    def __init__(self, request: Request, recorder: Recorder):
        self.request, self.recorder = request, recorder
        self._given: dict[str, str] = {}
        self.results: dict[str, RunResult] = {}
        """Of each teacher's training, or scoring where it was given, by the digest of its weights."""

    def adopt(self, cards: Sequence[TaskCard]) -> None:
        """Take the user's own teacher for every task, before anything is trained on any; nothing where there is none.

        Raises:
            UserError: it can't be read, or does not fit one of the tasks.
        """
        request = self.request
        problems: dict[str, list[str]] = {}
        for card in filter(request.gives_teacher, cards):
            try:
                self._given[card.name] = self._adopted(card)
            except UserError as error:
                problems.setdefault(str(error), []).append(card.name)
        if problems:
            raise UserError("; ".join(f"task {', '.join(names)}: {problem}" if len(cards) > 1 else problem for problem, names in problems.items()))

    def _adopted(self, card: TaskCard) -> str:
        """The digest of a given teacher's weights."""
        request, folder = self.request, self.recorder.teachers
        given = request.given_teacher(card)
        if given is None or given.checkpoint is None:
            return adopt_whole(card, folder, request.data_root, request.protocol)
        if not card.teacher_trainable:
            raise UserError(f"--teacher-checkpoint {given.checkpoint}: the teacher {card.teacher} has its weights; leave the option out")
        return adopt_checkpoint(Path(given.checkpoint), card, folder, request.data_root, request.teacher_weights, self.recorder.display.say)

    def train(self, tasks: Sequence[tuple[Sequence[Entrant], Conditions]]) -> list[dict[TeacherSpec, str]]:
        """Train what is not there yet, and score what the user gave, on several tasks at once, so that no worker waits for the other's teacher.

        Returns:
            for each task, the digest of each teacher's weights, which names its file.

        Raises:
            UserError: a teacher can't be trained, or the user's own can't be read or is not finite.
        """
        specs = [self._specs(entrants, conditions) for entrants, conditions in tasks]
        digests: list[dict[TeacherSpec, str]] = [{} for _ in tasks]
        works = [
            self._train(teacher, spec, conditions, known)
            for (_, conditions), known, own in zip(tasks, digests, specs, strict=True)
            for teacher, spec in own.items()
        ]
        self.recorder.display.expect(len(works))
        self.recorder.schedule(works)
        for (_, conditions), known in zip(tasks, digests, strict=True):
            if known:
                self.recorder.display.say(said_of({teacher: self.results[weights] for teacher, weights in known.items()}, conditions))
        return [{teacher: known[teacher] for teacher in own} for known, own in zip(digests, specs, strict=True)]

    def _specs(self, entrants: Sequence[Entrant], conditions: Conditions) -> dict[TeacherSpec, RunSpec]:
        """The trainings of a task's teachers, and the scoring of one that the user gave."""
        card, display = conditions.card, self.recorder.display
        wanted = teachers_of(entrants)
        specs: dict[TeacherSpec, RunSpec] = {}
        if card.name in self._given:
            specs[REFERENCE] = given_teacher(conditions, self._given[card.name])
            wanted.remove(REFERENCE)
        specs |= {teacher: self._spec(teacher, conditions, len(wanted)) for teacher in wanted}
        short = {specs[teacher].budget.amount for teacher in wanted if specs[teacher].budget.amount < card.recipe.teacher_epochs}
        if short:
            display.say(
                f"{card.name}: teachers are trained for {min(short):.3g} epochs, the recipe says {card.recipe.teacher_epochs:g}; give --teacher-checkpoint or --teacher-budget for better ones"
            )
        return specs

    def _train(self, teacher: TeacherSpec, spec: RunSpec, conditions: Conditions, digests: dict[TeacherSpec, str]) -> Work:
        """The training of one teacher, or the scoring of a given one, without which nothing on the task can go on.

        Args:
            digests: takes the digest of its weights.
        """
        (result,) = yield [Job(spec, "teacher", conditions.facts())]
        assert isinstance(result, RunResult)
        name = f"the teacher {trained_as(teacher, conditions).architecture} of {spec.task}"
        if result.status not in COMPLETE or result.weights is None:
            raise UserError(f"{name} could not be {'scored' if spec.purpose == 'given' else 'trained'}: {result.status}: {result.error}")
        digests[teacher] = result.weights
        self.results[result.weights] = result
        doubt = doubt_about(result, conditions)
        if doubt is not None:
            self.recorder.display.say(f"warning: {name}{f', member {teacher.member},' if teacher.member else ''} {doubt}")

    def to_train(self, entrants: Sequence[Entrant], conditions: Conditions) -> list[RunSpec]:
        """The trainings of those that are not recorded."""
        wanted = [teacher for teacher in teachers_of(entrants) if teacher != REFERENCE or not self.request.gives_teacher(conditions.card)]
        specs = [self._spec(teacher, conditions, len(wanted)) for teacher in wanted]
        return [spec for spec in specs if spec.key not in self.recorder.recorded]

    def amount(self, weights: str, unit: Unit) -> float:
        """What a teacher cost, in a unit; raises ``UserError`` where that is unknown."""
        result = self.results[weights]
        if not result.steps:
            raise UserError("--charge-teacher: the cost of a teacher that is given is unknown; let the arena train it")
        return {"flop": result.flops, "epochs": result.committed, "s": result.spent_s}[unit]

    def _spec(self, teacher: TeacherSpec, conditions: Conditions, teachers: int) -> RunSpec:
        profile = self._profile(teacher, conditions)
        return teacher_run(teacher, conditions, self._epochs(conditions.card, profile, teachers), profile.phases[0])

    def _profile(self, teacher: TeacherSpec, conditions: Conditions) -> CostProfile:
        """What a step of a teacher's training costs."""
        entrant = Entrant(STUDENT, {}, {}, ())
        trains = replace(trained_as(teacher, conditions), member=0)
        spec = replace(profile_spec(entrant, conditions, {}, timed=not self._length_known(conditions.card)), trains=trains, compiled=False)
        (profile,) = self.recorder.profiles([spec])
        if profile.status != "done":
            raise UserError(f"the teacher of {conditions.card.name} can't be built: {profile.error}")
        return profile

    def _by_recipe(self, card: TaskCard) -> bool:
        """Whether a teacher gets the recipe's epochs where no budget is stated for it."""
        return card.embedded or self.request.protocol == "published"

    def _length_known(self, card: TaskCard) -> bool:
        """Whether the teacher's epochs are known without measuring time."""
        request = self.request
        known = self._by_recipe(card) if request.teacher_budget is None else request.teacher_budget.currency == "epochs"
        return known and not request.charge_teacher

    def _epochs(self, card: TaskCard, profile: CostProfile, teachers: int) -> float:
        """Epochs of a teacher's training: as stated, as the recipe says, or what a few budgets of a run buy where the recipe would dwarf the runs.

        Args:
            teachers: how many are to be trained.
        """
        request, recipe = self.request, card.recipe.teacher_epochs
        budget = request.teacher_budget
        if budget is not None and budget.currency == "epochs":
            return budget.value
        if budget is None and self._by_recipe(card):
            return recipe
        phase, epoch_steps = profile.phases[0], profile.steps_per_epoch
        least = MINIMUM_STEPS / epoch_steps
        if budget is None and request.budget is None:
            seconds = (request.total or DEFAULT_TOTAL) * self.recorder.capacity / 4 / teachers / max(1, len(request.tasks))
            return max(min(recipe, seconds / profile.unit_cost(phase, "s", profile.student_s) / epoch_steps), least)
        stated = budget or request.budget
        assert stated is not None
        if budget is None and stated.currency == "epochs":
            return max(min(recipe, TEACHER_SHARE * stated.value), least)
        amount, unit = to_unit(stated, profile.student_s, epoch_steps)
        share = 1.0 if budget is not None else TEACHER_SHARE
        epochs = share * amount / profile.unit_cost(phase, unit, profile.student_s) / epoch_steps
        return max(float(f"{min(recipe, epochs):.3g}"), least)


CAUSES = "the usual causes are weights of other classes or of another training, classes in another order"
"""Of a bad score of a teacher that the user gave."""
CAUSES_OF_PIXELS = ", and images that it was trained on in another size or with another mean and standard deviation"
FAR_ABOVE_CHANCE = 2.0
"""Guesses' score times this: a given teacher below it is doubted."""
WAY_TO_PERFECT = 0.25
"""Part of the way from guesses' score to 100 at which no teacher is doubted: of two classes, no score is twice that of a guess."""


def _score(result: RunResult, card: TaskCard) -> tuple[float | None, str]:
    """A teacher's ranked metric, and the part that it is of."""
    part = "validation" if f"validation/{card.metric}" in result.metrics else "test"
    return result.metrics.get(f"{part}/{card.metric}"), part


def said_of(teachers: Mapping[TeacherSpec, RunResult], conditions: Conditions) -> str:
    """What a task's teachers are worth, in a line, before anything is trained with them."""
    card = conditions.card
    parts: dict[tuple[str, str], list[str]] = {}
    for teacher, result in teachers.items():
        score, part = _score(result, card)
        name = f"{trained_as(teacher, conditions).architecture}{', given,' if not result.steps else ''}"
        parts.setdefault((name, part), []).append("not finite" if score is None or math.isnan(score) else f"{score:.4g}")
    said = (f"{name} has {card.metric} {', '.join(scores)} on {part}" for (name, part), scores in parts.items())
    return f"{card.name}: teacher {'; '.join(said)}"


def doubt_about(result: RunResult, conditions: Conditions) -> str | None:
    """What a user should hear of a teacher before anything is trained with it: that it is no better than a guess, or what may be wrong; else None."""
    card = conditions.card
    score, part = _score(result, card)
    given, notes = not result.steps, "".join(f"; {note}" for note in result.notes)
    if score is None or math.isnan(score):
        return f"has no {card.metric} on {part}: what it answers is not finite; methods that learn from it can't be judged"
    if score <= card.chance or (given and score < _doubted_below(card.chance)):
        causes = f"; {CAUSES}{CAUSES_OF_PIXELS if card.pixels else ''}" if given and not notes else ""
        return f"has {card.metric} {score:.4g} on {part}, and a guess has {card.chance:.4g}: methods that learn from it can't be judged{notes}{causes}"
    return f"has {card.metric} {score:.4g} on {part}{notes}" if given and notes else None


def _doubted_below(chance: float) -> float:
    """The score from which on a given teacher is believed."""
    return min(FAR_ABOVE_CHANCE * chance, chance + WAY_TO_PERFECT * (100 - chance))


def adopt_checkpoint(
    path: Path, card: TaskCard, folder: Path, data_root: str | None, which: str | None = None, say: Callable[[str], None] = lambda line: None
) -> str:
    """Take the user's teacher: checked against the task's architecture, kept as safetensors under its digest, which is returned.

    Args:
        which: of several weights in the file, as in :func:`kdarena.tracks.checkpoints.load_into`.
        say: called with what the user has to know, one line each.

    Raises:
        UserError: the file is missing, unreadable or of another architecture.
    """
    if not path.exists():
        raise UserError(f"--teacher-checkpoint {path}: no such file")
    from kdarena.tracks import load_task
    from kdarena.tracks.checkpoints import load_into
    from kdarena.tracks.values import Setting

    try:
        network = load_task(card, Setting(data_root=data_root)).new_network(card.teacher)
        if str(path) != card.given_teacher:  # which has its weights already
            for note in load_into(network, path, which, card.teacher):
                say(f"--teacher-checkpoint: {note}")
    except ValueError as error:
        raise UserError(f"--teacher-checkpoint {path}: {str(error).removeprefix(f'{path}: ')}") from None
    return _kept(network, folder)


def adopt_whole(card: TaskCard, folder: Path, data_root: str | None, protocol: str = "validated") -> str:
    """Take a teacher that comes with its weights, or is known by its logits alone, as :func:`adopt_checkpoint` does."""
    if card.teacher_logits is not None:
        return _kept(_known_logits(card, data_root, protocol), folder)
    from kdarena.tracks import load_task
    from kdarena.tracks.values import Setting

    try:
        return _kept(load_task(card, Setting(data_root=data_root)).new_network(card.teacher), folder)
    except ValueError as error:
        raise UserError(f"--teacher {card.teacher}: {error}") from None


def _known_logits(card: TaskCard, data_root: str | None, protocol: str) -> nn.Module:
    from kdarena.tracks.teacher_logits import network_of

    try:
        network = network_of(card, data_root)
    except ValueError as error:
        raise UserError(str(error)) from None
    if protocol == "published" and not network.knows("test"):
        raise UserError(f"--teacher-logits {card.teacher_logits}: --protocol published scores a teacher on test; give its logits of the test samples too")
    return network


def _kept(network: nn.Module, folder: Path) -> str:
    """Write a teacher's weights under their digest, which is returned."""
    from kdarena.tracks.checkpoints import save

    folder.mkdir(parents=True, exist_ok=True)
    taken = folder / f"given-{os.getpid()}{PARTIAL}"  # removed by the next command where this one is killed
    weights = save(network, taken)
    taken.replace(folder / f"{weights}.safetensors")
    return weights
