"""The teachers of a task: the reference and the pool, trained once as runs of their own, or taken from the user."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kdarena.arena.recorder import Ledger
from kdarena.arena.scheduler import Job, Work
from kdarena.errors import UserError
from kdarena.method.declaration import REFERENCE, TeacherSpec
from kdarena.method.discovery import STUDENT
from kdarena.plan.allocation import DEFAULT_TOTAL, to_unit
from kdarena.plan.budget import MINIMUM_STEPS
from kdarena.plan.cost import CostProfile
from kdarena.plan.entrants import Entrant, teachers_of
from kdarena.plan.request import Request
from kdarena.plan.spec import COMPLETE, RunResult, RunSpec, Unit
from kdarena.plan.specs import TEACHER_SHARE, Ground, profile_spec, teacher_run, trained_as
from kdarena.tracks.card import TaskCard


class Pool:
    """Trains what a command's methods need and is not there yet."""

    def __init__(self, request: Request, ledger: Ledger):
        self.request, self.ledger = request, ledger
        self.teachers = ledger.teachers

    def train(self, entrants: Sequence[Entrant], ground: Ground) -> dict[TeacherSpec, str]:
        """Train what is not there yet; returns the key of each teacher, under which its checkpoint lies."""
        card, request = ground.card, self.request
        keys: dict[TeacherSpec, str] = {}
        wanted = teachers_of(entrants)
        if request.teacher_checkpoint is not None:
            keys[REFERENCE] = adopt_checkpoint(Path(request.teacher_checkpoint), card, self.teachers, request.data_root)
            wanted.remove(REFERENCE)
        specs: dict[TeacherSpec, RunSpec] = {}
        for teacher in wanted:
            measured = self._profile(teacher, ground)
            specs[teacher] = teacher_run(teacher, ground, self._epochs(ground, measured, len(wanted)), measured.phases[0])
        keys.update((teacher, spec.key) for teacher, spec in specs.items())
        short = {spec.budget.amount for spec in specs.values() if spec.budget.amount < card.recipe.teacher_epochs}
        if short:
            self.ledger.display.say(
                f"{card.name}: teachers are trained for {min(short):.3g} epochs, the recipe says {card.recipe.teacher_epochs:g}; give --teacher-checkpoint or --teacher-budget for better ones"
            )

        def work(spec: RunSpec) -> Work:
            results = yield [Job(spec, "teacher")]
            result = results[0]
            if isinstance(result, RunResult) and result.status not in COMPLETE:
                raise UserError(
                    f"the teacher {spec.trains.architecture if spec.trains else ''} of {card.name} could not be trained: {result.status}: {result.error}"
                )

        self.ledger.display.expect(len(specs), None)
        self.ledger.schedule([work(spec) for spec in specs.values()])
        return keys

    def _profile(self, teacher: TeacherSpec, ground: Ground) -> CostProfile:
        entrant = Entrant(STUDENT, {}, {}, ())
        trained = replace(trained_as(teacher, ground), member=0)
        spec = replace(profile_spec(entrant, ground, {}, timed=not self._fixed(ground)), trains=trained)
        (measured,) = self.ledger.profiles([spec])
        if measured.status != "done":
            raise UserError(f"the teacher of {ground.card.name} can't be built: {measured.error}")
        return measured

    def _fixed(self, ground: Ground) -> bool:
        """Whether the teacher's epochs are known without measuring."""
        request = self.request
        by_recipe = ground.card.embedded or request.protocol == "published"
        known = by_recipe if request.teacher_budget is None else request.teacher_budget.currency == "epochs"
        return known and not request.charge_teacher

    def _epochs(self, ground: Ground, measured: CostProfile, teachers: int) -> float:
        """The recipe's epochs, or what the budget for a teacher buys where the recipe would dwarf the runs."""
        card, request = ground.card, self.request
        recipe = card.recipe.teacher_epochs
        budget = request.teacher_budget
        if budget is not None and budget.currency == "epochs":
            return budget.value
        if budget is None and (card.embedded or request.protocol == "published"):
            return recipe
        phase = measured.phases[0]
        epoch_steps = measured.steps_per_epoch
        if budget is None and request.budget is None:
            seconds = (request.total or DEFAULT_TOTAL) * self.ledger.engine.capacity / 4 / teachers
            return max(min(recipe, seconds / measured.unit_cost(phase, "s", measured.student_s) / epoch_steps), MINIMUM_STEPS / epoch_steps)
        stated = budget or request.budget
        assert stated is not None
        if budget is None and stated.currency == "epochs":
            return min(recipe, TEACHER_SHARE * stated.value)
        amount, unit = to_unit(stated, measured.student_s, epoch_steps)
        share = 1.0 if budget is not None else TEACHER_SHARE
        epochs = share * amount / measured.unit_cost(phase, unit, measured.student_s) / epoch_steps
        return max(float(f"{min(recipe, epochs):.3g}"), MINIMUM_STEPS / epoch_steps)

    def amount(self, key: str, unit: Unit) -> float:
        """What a teacher cost, in a unit; raises ``UserError`` where that is unknown."""
        result = self.ledger.recorded.get(key)
        if result is None:
            raise UserError("--charge-teacher: the cost of a teacher given by --teacher-checkpoint is unknown; let the arena train it")
        return {"flop": result.flops, "epochs": result.committed, "s": result.spent_s}[unit]


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
