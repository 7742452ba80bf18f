"""Which methods of a comparison run, and rows that say why the others don't."""

from __future__ import annotations

from collections.abc import Mapping

from kdarena.arena.comparison import Comparison
from kdarena.arena.method_runs import MethodRuns
from kdarena.arena.recorder import Recorder
from kdarena.arena.teachers import Teachers
from kdarena.errors import BudgetTooSmall


def admit(comparison: Comparison, teachers: Teachers, refused: Mapping[str, str], named: bool) -> tuple[list[MethodRuns], dict[str, str]]:
    """The methods that run, and the reasons against those that the budget, less what their teachers cost, is too small for.

    Args:
        refused: reasons that are known already, by method.
        named: the user named the methods, so that a budget too small for one is an error.
    """
    running, reasons = [], dict(refused)
    for entrant in comparison.task.runnable:
        try:
            runs = comparison.runs_of(entrant, teachers)
        except BudgetTooSmall as error:
            if named:
                raise
            reasons.setdefault(entrant.method.name, str(error))
        else:
            if entrant.method.name not in reasons:
                running.append(runs)
    return running, reasons


def record_broken(comparison: Comparison, recorder: Recorder) -> None:
    """A method whose declaration raises or whose step cost could not be measured has a row that says so."""
    for entrant in comparison.task.entrants:
        if entrant.method.name in comparison.task.broken:
            status, error = comparison.task.broken[entrant.method.name]
            recorder.log_without_run(comparison.broken_row(entrant), status, error, comparison.facts(entrant))


def record_skipped(comparison: Comparison, refused: Mapping[str, str], recorder: Recorder) -> None:
    """A method that does not apply, or that the budget is too small for, has a row that says why."""
    task = comparison.task
    reasons: dict[str, list[str]] = {}
    for entrant in task.entrants:
        reason = refused.get(entrant.method.name, entrant.skip)
        if reason:
            reasons.setdefault(reason, []).append(entrant.method.name)
            recorder.log_without_run(comparison.skipped_row(entrant), "skipped", reason, comparison.facts(entrant))
    for reason, names in reasons.items():
        recorder.display.say(f"{task.conditions.card.name}: {', '.join(names)} {'is' if len(names) == 1 else 'are'} skipped: {reason}")
