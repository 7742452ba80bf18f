"""``kdarena recommend``: a race, final runs of those that it leaves, and one student, exported with its card."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdarena.cli.listings import keep_declarations
from kdarena.cli.options import Typed, names
from kdarena.cli.output import paragraph
from kdarena.cli.session import Session, choose_tasks, interruptible, open_session, request_from, with_controls
from kdarena.errors import UserError
from kdarena.method.discovery import discover, select
from kdarena.method.plugin import Plugin
from kdarena.plan.amounts import parse_amount, parse_duration
from kdarena.plan.levels import FEWEST_SEEDS
from kdarena.plan.request import Request
from kdarena.tracks.card import TaskCard

if TYPE_CHECKING:
    import pandas as pd

    from kdarena.arena.arena import Outcome
    from kdarena.board.pareto import Prefer
    from kdarena.board.recommendation import Recommendation

COLUMNS = ("task", "method", "chosen", "established", "metric", "mean", "ci_low", "ci_high", "seeds", "params", "latency_ms", "run_id", "file", "answer")
"""Of the frame that :func:`recommend` returns: a row a task with its recommended method. ``chosen``: whether it is the one that was exported, whose
``file`` is named; ``established``: whether the method is shown to be better than the plain student; ``answer``: the recommendation in words."""


@dataclass(frozen=True)
class Command:
    """What was asked for, checked.

    Attributes:
        plugins: all that are there; ``chosen``: those that race.
        named: whether the user named them.
        settings: of each method, or None.
        prefer: what decides between tasks.
        to: the file to export to.
    """

    request: Request
    plugins: Sequence[Plugin]
    chosen: Sequence[Plugin]
    cards: Sequence[TaskCard]
    named: bool
    settings: int | None
    prefer: Prefer
    to: Path


def run(methods: str, typed: Typed, *, settings: int | None, prefer: Prefer, to: Path | None, dry_run: bool) -> int:
    """Carry out the command; returns its exit status.

    Args:
        methods: names with commas, or ``all``.
    """
    started = time.monotonic()
    command = _checked(methods, typed, settings, prefer, to)
    if dry_run:
        from kdarena.cli.recommend_plan import describe

        describe(command.request, command.settings, command.chosen, command.cards)
        return 0

    def work() -> Outcome:
        outcome, frame = _carry_out(command, started)
        nothing = ("nothing can be recommended: no method has a result on any task",) if frame.empty else ()
        return replace(outcome, failures=(*outcome.failures, *nothing))

    return interruptible(work)


def recommend(
    tasks: str = "digits",
    *,
    total: str | None = None,
    budget: str | None = None,
    plugins: str = "all",
    prefer: Prefer = "accuracy",
    settings: int | None = None,
    seeds: int | None = None,
    to: str | Path | None = None,
    out: str | Path = Request.out,
    **options: Any,
) -> pd.DataFrame:
    """Find out which method to take, as ``kdarena recommend`` does, and export its student.

    Args:
        tasks: a task, or several of one data set with commas, which are alternatives.
        total: time for everything, as ``"8h"``; or
        budget: of a final run, as ``"60se"`` or ``"3e10flop"``.
        plugins: names of methods with commas, or ``"all"``.
        prefer: what decides between tasks: ``accuracy``, ``latency`` or ``params``.
        settings, seeds: of each method, and of the final runs; by default what fits.
        to: the file to export to; by default in the output directory.
        out: the output directory.
        options: further fields of :class:`kdarena.plan.request.Request`.

    Returns:
        A frame with :data:`COLUMNS`.

    Raises:
        UserError: it can't be carried out as given.
    """
    started = time.monotonic()
    amounts = {"total": total and parse_duration(total, "total"), "budget": budget and parse_amount(budget, "budget")}
    typed = {"tasks": tasks, "out": Path(out), "seeds": seeds, **amounts, **options}
    command = _checked(plugins, {name: value for name, value in typed.items() if value is not None}, settings, prefer, Path(to) if to is not None else None)
    return _carry_out(command, started)[1]


def _checked(methods: str, typed: Typed, settings: int | None, prefer: Prefer, to: Path | None) -> Command:
    """What was typed as a command.

    Raises:
        UserError: an option is wrong, or two exclude each other.
    """
    wanted = names(methods)
    plugins = discover(typed.get("plugin_paths", ()))
    chosen = with_controls(select(plugins, ",".join(wanted)), plugins)
    cards = choose_tasks(typed["tasks"], typed.get("data_root"))
    named = wanted != ("all",)
    request = request_from(typed, chosen, cards, scope=typed.get("scope", "all" if named else "own"))
    sets = list(dict.fromkeys(card.data_set for card in cards))
    if len(sets) > 1:
        raise UserError(f"--tasks names several data sets ({', '.join(sets)}): students of one data set are alternatives, so recommend for each by itself")
    if request.budget is not None and request.total is not None:
        raise UserError(f"--budget {request.budget} and --total exclude each other: the total time decides the budget of a run; give one of them")
    if request.seeds is not None and request.seeds < FEWEST_SEEDS:
        raise UserError(f"--seeds {request.seeds}: a recommendation needs {FEWEST_SEEDS} seeds at least; give more, or leave it out")
    return Command(request, plugins, chosen, cards, named, settings, prefer, _destination(to, request.out, cards))


def _destination(to: Path | None, out: Path, cards: Sequence[TaskCard]) -> Path:
    """The file to export to: as typed, or in the output directory under the name of the task or of the data set of several."""
    from kdarena.record.output import safe_name

    if to is None:
        return out / "recommended" / f"{safe_name(cards[0].name if len(cards) == 1 else cards[0].data_set)}.safetensors"
    if to.suffix != ".safetensors":
        raise UserError(f"--to {to}: the file's name has to end with .safetensors; its card gets the same name with .md and .json")
    if not to.parent.is_dir():
        raise UserError(f"--to {to}: there is no folder {to.parent}; make it first: mkdir -p {to.parent}")
    return to


def _carry_out(command: Command, started: float) -> tuple[Outcome, pd.DataFrame]:
    """Race, final runs, board, recommendation and export."""
    from kdarena.arena.races import Races

    request = command.request
    with open_session(request) as session:
        keep_declarations(request.out, command.plugins, {plugin.name for plugin in command.chosen})
        races = Races(request, command.settings, session.recorder, session.machine, started)
        outcome = races.run(command.chosen, command.cards, named=command.named)
    # after the table of what runs is gone from the terminal
    return outcome, _conclude(command, session)


def _conclude(command: Command, session: Session) -> pd.DataFrame:
    """Print the board of the final runs and the recommendation, and export the student."""
    from kdarena.board.frame import frame_of
    from kdarena.board.pareto import preferred
    from kdarena.board.recommendation import recommended, rows_of_task, sentences
    from kdarena.cli.listings import boards_of, print_boards

    board = boards_of(session.record, command.request.out, command.plugins, asked=session.recorder.asked)
    print_boards(board[board["status"] != "skipped"])
    choices: dict[str, Recommendation] = {}
    answers: dict[str, list[str]] = {}
    for card in command.cards:
        rows = rows_of_task(board, card.name)
        choice = recommended(rows)
        if choice is not None:
            choices[card.name], answers[card.name] = choice, sentences(choice, rows)
    for lines in answers.values():
        _say(lines)
    if not choices:
        return frame_of([], COLUMNS)
    chosen = preferred([choice.row for choice in choices.values()], command.prefer)["task"]
    _say(_trade(command, choices, chosen))
    run_id, file = _export(command, session, choices[chosen], answers[chosen])
    rows_of_frame = [
        {
            **choice.row,
            "chosen": task == chosen,
            "established": choice.established,
            "run_id": run_id if task == chosen else None,
            "file": str(file) if task == chosen else None,
            "answer": " ".join(answers[task]),
        }
        for task, choice in choices.items()
    ]
    return frame_of(rows_of_frame, COLUMNS)


def _trade(command: Command, choices: Mapping[str, Recommendation], chosen: str) -> list[str]:
    """What can be traded between the students of several tasks; with one task, that nothing can."""
    from kdarena.board.pareto import COSTS, front

    cards, prefer = command.cards, command.prefer
    if len(cards) == 1:
        if prefer == "accuracy":
            return []
        return [
            f"--prefer {prefer} has nothing to trade: every method of {cards[0].name} deploys the same network, {cards[0].student}; "
            f"name other pairs of {cards[0].data_set} with --tasks to choose between networks."
        ]
    rows = [choice.row for choice in choices.values()]
    lines = []
    for name, column in COSTS.items():
        fronted = front(rows, column)
        shown = ", ".join(f"{row['task']} {row['mean']:.2f} at {_cost(row, column)}" for row in fronted)
        lines.append(f"Not beaten in both {rows[0]['metric']} and {name}: {shown}.")
    lines.append(f"By --prefer {prefer}: {chosen}. Differences between tasks are not tested.")
    return lines


def _cost(row: Mapping[str, Any], column: str) -> str:
    return f"{row[column]:.3g} ms" if column == "latency_ms" else f"{row[column]:,} parameters"


def _export(command: Command, session: Session, choice: Recommendation, answer: Sequence[str]) -> tuple[str, Path]:
    """Export the recommended student with its card; returns its run and the file.

    Of the final runs that with the best score on validation is taken: which of them is best on test is not asked.
    """
    from kdarena.board.model_card import card_of, write_card
    from kdarena.record.export import export_student

    card = next(card for card in command.cards if card.name == choice.row["task"])
    by_id = {run.run_id: run for run in session.record.runs()}
    runs = [by_id[run_id] for run_id in choice.row["run_ids"]]
    best = max(runs, key=lambda run: run.result.metrics.get(f"validation/{card.metric}", float("-inf")))
    file = command.to
    if not file.parent.is_dir():
        file.parent.mkdir(parents=True)
    export_student(session.record, best.run_id, file)
    for path in (file, *write_card(card_of(best, choice.row, card, answer, file), file)):
        print(f"written: {os.path.relpath(path)}", file=sys.stderr)
    return best.run_id, file


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        print(paragraph(line))
