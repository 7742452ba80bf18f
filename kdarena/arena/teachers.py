"""The teachers of a task: the reference and the pool, trained once as runs of their own, or taken from the user."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kdarena.arena.recorder import Recorder
from kdarena.arena.scheduler import Job, Work
from kdarena.errors import UserError
from kdarena.method.declaration import REFERENCE, TeacherSpec
from kdarena.method.discovery import STUDENT
from kdarena.plan.allocation import DEFAULT_TOTAL, to_unit
from kdarena.plan.budget import MINIMUM_STEPS
from kdarena.plan.conditions import Conditions
from kdarena.plan.cost import CostProfile
from kdarena.plan.entrants import Entrant, teachers_of
from kdarena.plan.request import Request
from kdarena.plan.spec import COMPLETE, RunResult, RunSpec, Unit
from kdarena.plan.specs import TEACHER_SHARE, profile_spec, teacher_run, trained_as
from kdarena.tracks.card import TaskCard


class Teachers:
    """The teachers of a command: trains what its methods need and is not there yet."""

    def __init__(self, request: Request, recorder: Recorder):
        self.request, self.recorder = request, recorder

    def train(self, entrants: Sequence[Entrant], conditions: Conditions) -> dict[TeacherSpec, str]:
        """Train what is not there yet; returns the key of each teacher, which names its checkpoint.

        Raises:
            UserError: a teacher can't be trained, or the user's own can't be read.
        """
        card, request, display = conditions.card, self.request, self.recorder.display
        keys: dict[TeacherSpec, str] = {}
        wanted = teachers_of(entrants)
        if request.teacher_checkpoint is not None:
            keys[REFERENCE] = adopt_checkpoint(Path(request.teacher_checkpoint), card, self.recorder.teachers, request.data_root)
            wanted.remove(REFERENCE)
        specs = [self._spec(teacher, conditions, len(wanted)) for teacher in wanted]
        keys.update((teacher, spec.key) for teacher, spec in zip(wanted, specs, strict=True))
        short = {spec.budget.amount for spec in specs if spec.budget.amount < card.recipe.teacher_epochs}
        if short:
            display.say(
                f"{card.name}: teachers are trained for {min(short):.3g} epochs, the recipe says {card.recipe.teacher_epochs:g}; give --teacher-checkpoint or --teacher-budget for better ones"
            )
        display.expect(len(specs))
        self.recorder.schedule([_train(spec, conditions) for spec in specs])
        return keys

    def amount(self, key: str, unit: Unit) -> float:
        """What a teacher cost, in a unit; raises ``UserError`` where that is unknown."""
        result = self.recorder.recorded.get(key)
        if result is None:
            raise UserError("--charge-teacher: the cost of a teacher given by --teacher-checkpoint is unknown; let the arena train it")
        return {"flop": result.flops, "epochs": result.committed, "s": result.spent_s}[unit]

    def _spec(self, teacher: TeacherSpec, conditions: Conditions, teachers: int) -> RunSpec:
        profile = self._profile(teacher, conditions)
        return teacher_run(teacher, conditions, self._epochs(conditions.card, profile, teachers), profile.phases[0])

    def _profile(self, teacher: TeacherSpec, conditions: Conditions) -> CostProfile:
        """What a step of a teacher's training costs."""
        entrant = Entrant(STUDENT, {}, {}, ())
        trains = replace(trained_as(teacher, conditions), member=0)
        spec = replace(profile_spec(entrant, conditions, {}, timed=not self._length_known(conditions.card)), trains=trains)
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
            seconds = (request.total or DEFAULT_TOTAL) * self.recorder.capacity / 4 / teachers
            return max(min(recipe, seconds / profile.unit_cost(phase, "s", profile.student_s) / epoch_steps), least)
        stated = budget or request.budget
        assert stated is not None
        if budget is None and stated.currency == "epochs":
            return min(recipe, TEACHER_SHARE * stated.value)
        amount, unit = to_unit(stated, profile.student_s, epoch_steps)
        share = 1.0 if budget is not None else TEACHER_SHARE
        epochs = share * amount / profile.unit_cost(phase, unit, profile.student_s) / epoch_steps
        return max(float(f"{min(recipe, epochs):.3g}"), least)


def _train(spec: RunSpec, conditions: Conditions) -> Work:
    """The training of one teacher, without which nothing on the task can go on."""
    (result,) = yield [Job(spec, "teacher", conditions.facts())]
    if isinstance(result, RunResult) and result.status not in COMPLETE:
        architecture = spec.trains.architecture if spec.trains else ""
        raise UserError(f"the teacher {architecture} of {spec.task} could not be trained: {result.status}: {result.error}")


def adopt_checkpoint(path: Path, card: TaskCard, folder: Path, data_root: str | None) -> str:
    """Take the user's teacher: checked against the task's architecture, kept as safetensors under the digest of its file.

    Raises:
        UserError: the file is missing, unreadable or of another architecture.
    """
    if not path.is_file():
        raise UserError(f"--teacher-checkpoint {path}: no such file")
    key = hashlib.sha256(path.read_bytes() + card.name.encode()).hexdigest()[:16]
    place = folder / f"{key}.safetensors"
    if not place.exists():
        from kdarena.tracks import load_task
        from kdarena.tracks.checkpoints import load_into, save
        from kdarena.tracks.values import Setting

        try:
            network = load_task(card, Setting(data_root=data_root)).new_network(card.teacher)
            load_into(network, path)
        except ValueError as error:
            raise UserError(f"--teacher-checkpoint {path}: {error}") from None
        folder.mkdir(parents=True, exist_ok=True)
        save(network, place)
    return key
