"""``recommend``: a race, final runs of those that it leaves, and one student, exported with its card; the command and the function."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from kdarena.api.arguments import RECOMMEND, Typed, choice, typed_from
from kdarena.api.run import plan as plan_of_run
from kdarena.api.session import open_session
from kdarena.board.pareto import Prefer
from kdarena.errors import UserError
from kdarena.method.plugin import Plugin
from kdarena.plan.amounts import Amount
from kdarena.plan.levels import FEWEST_SEEDS
from kdarena.plan.request import Request
from kdarena.tracks.card import TaskCard
from kdarena.tracks.recipes import without_recipe

if TYPE_CHECKING:
    import pandas as pd

    from kdarena.board.recommendation import Recommendation
    from kdarena.record.runs import Record

COLUMNS = (
    *("task", "chosen", "method", "params_json", "recipe_json", "established", "metric", "mean", "ci_low", "ci_high", "seeds"),
    *("budget", "unit", "params", "latency_ms", "run_id", "file", "answer"),
)
"""Of the frame that :func:`recommend` returns: a row a task with its recommended method; what is not said here is as on a board.

``chosen``: whether it is that which was exported, to ``file``, from the run ``run_id``; ``established``: whether its method is shown to be better than the
plain student; ``answer``: the recommendation in words."""


@dataclass(frozen=True)
class Plan:
    """What a command will do, checked, before anything is opened.

    Attributes:
        plugins: all that are installed or were named by a path.
        chosen: those that race, the controls first.
        named: whether the methods were named one by one.
        settings: of each method; None: what fits.
        prefer: what decides between the students of several tasks.
        to: the file or the folder to export to.
    """

    request: Request
    plugins: Sequence[Plugin]
    chosen: Sequence[Plugin]
    cards: Sequence[TaskCard]
    named: bool
    settings: int | None
    prefer: Prefer
    to: Path


@dataclass(frozen=True)
class Recommended:
    """What a command came to.

    Attributes:
        frame: with :data:`COLUMNS`; empty where no method has a result.
        board: the boards of its final runs.
        answer: the recommendation in words, a line each.
        written: the student and its card.
        failures: a line for each run that failed and each row that can't be compared.
    """

    frame: pd.DataFrame
    board: pd.DataFrame
    answer: Sequence[str]
    written: Sequence[Path]
    failures: Sequence[str]


def recommend(
    tasks: str | Sequence[str] = "digits",
    *,
    total: str | float | None = None,
    budget: str | Amount | None = None,
    plugins: str | Sequence[str] = "all",
    prefer: Prefer = "accuracy",
    settings: int | None = None,
    seeds: int | None = None,
    to: str | Path | None = None,
    out: str | Path = Request.out,
    **options: Any,
) -> pd.DataFrame:
    """Find out which student to take, as ``kdarena recommend`` does, and export it with its card; repeated, it resumes.

    Args:
        tasks: a task, or several of one data set, which are alternatives.
        total: for everything, as ``"8h"`` or in seconds; or
        budget: of a final run, as ``"60se"`` or ``"3e10flop"``.
        plugins: names of methods, or ``"all"``; the controls always race.
        prefer: what decides between the students of several tasks: ``"accuracy"``, ``"latency"`` or ``"params"``.
        settings, seeds: of each method, and of the final runs; by default what fits.
        to: the file or the folder to export to, as for :func:`kdarena.export`; by default a file in the output directory.
        out: the output directory.
        options: further fields of :class:`kdarena.plan.request.Request`.

    Returns:
        A row a task, with :data:`COLUMNS`; none where no method has a result. ``frame.attrs["failures"]`` has a line for each run that failed.

    Raises:
        UserError: it can't be carried out as given; the line says why and what to do.
    """
    started = time.monotonic()
    typed = typed_from({**options, "tasks": tasks, "total": total, "budget": budget, "seeds": seeds, "out": out})
    methods = plugins if isinstance(plugins, str) else ",".join(plugins)
    done = carry_out(plan(methods, typed, settings=settings, prefer=prefer, to=Path(to) if to is not None else None), started)
    done.frame.attrs["failures"] = tuple(done.failures)
    return done.frame


def plan(methods: str, typed: Typed, *, settings: int | None, prefer: Prefer, to: Path | None) -> Plan:
    """What was typed, as a plan.

    Args:
        methods: names with commas, or ``all``.

    Raises:
        UserError: it can't be carried out as it was typed.
    """
    choice(prefer, "--prefer", get_args(Prefer))
    if settings is not None and settings < 1:
        raise UserError(f"--settings {settings}: use a whole number from 1 on")
    ignored = sorted(typed.keys() - {*RECOMMEND})
    if ignored:
        raise UserError(f"recommend takes no {', '.join(ignored)}; leave it out, or use kdarena run")
    planned = plan_of_run(methods, typed)
    request, cards = planned.request, planned.cards
    sets = list(dict.fromkeys(card.data_set for card in cards))
    if len(sets) > 1:
        raise UserError(f"--tasks names several data sets ({', '.join(sets)}), whose students are no alternatives; run a command for each data set")
    if request.budget is not None and request.total is not None:
        raise UserError(f"--budget {request.budget} and --total exclude each other: the total time decides the budget of a run; give one of them")
    if request.seeds is not None and request.seeds < FEWEST_SEEDS:
        raise UserError(f"--seeds {request.seeds}: a recommendation needs at least {FEWEST_SEEDS} seeds; give more, or leave it out")
    return Plan(request, planned.plugins, planned.chosen, cards, planned.named, settings, prefer, _destination(to, request.out, cards))


def _destination(to: Path | None, out: Path, cards: Sequence[TaskCard]) -> Path:
    """The file or folder to export to: as typed, or in the output directory under the name of the task or of the data set of several."""
    from kdarena.record.output import safe_name

    if to is None:
        return out / "recommended" / f"{safe_name(cards[0].name if len(cards) == 1 else cards[0].data_set)}.safetensors"
    from kdarena.api.export import check_folder, is_file

    if not is_file(to):
        check_folder(to, force=True)
    if not to.parent.is_dir():
        raise UserError(f"--to {to}: there is no folder {to.parent}; make it first: mkdir -p {to.parent}")
    if not os.access(to.parent, os.W_OK):
        raise UserError(f"--to {to}: it can't be written there; name another place")
    return to


def carry_out(planned: Plan, started: float) -> Recommended:
    """Do what is not recorded yet, and export the student to take.

    Args:
        started: when the command started, by ``time.monotonic``.
    """
    from kdarena.api.boards import boards_of
    from kdarena.api.records import keep_declarations, recorded
    from kdarena.arena.races import Races
    from kdarena.board.frame import frame_of
    from kdarena.board.pareto import preferred
    from kdarena.board.recommendation import recommended, rows_of_task, sentences

    request = planned.request
    with open_session(request) as session:
        keep_declarations(request.out, planned.plugins, {plugin.name for plugin in planned.chosen})
        races = Races(request, planned.settings, session.recorder, session.machine, started)
        outcome = races.run(planned.chosen, planned.cards, named=planned.named)
        session.display.close()
        board = boards_of(recorded(session.record, request.out, planned.plugins), asked=session.recorder.asked)
        failures = (*outcome.failures, *board.failures)
        choices: dict[str, Recommendation] = {}
        answers: dict[str, list[str]] = {}
        for card in planned.cards:
            rows = rows_of_task(board, card.name)
            choice = recommended(rows)
            if choice is not None:
                choices[card.name], answers[card.name] = choice, sentences(choice, rows)
        if not choices:
            nothing = "nothing can be recommended: no method has a result of every seed"
            return Recommended(frame_of([], COLUMNS), board, (), (), (*failures, nothing))
        chosen = preferred([choice.row for choice in choices.values()], planned.prefer)["task"]
        run_id, written = _export(planned, session.record, choices[chosen], answers[chosen])
    frame = frame_of([_row(choice, answers[task], (run_id, written[0]) if task == chosen else None) for task, choice in choices.items()], COLUMNS)
    answer = [*(line for lines in answers.values() for line in lines), *_trade(planned, choices, chosen)]
    return Recommended(frame, board, answer, written, failures)


def _row(choice: Recommendation, answer: Sequence[str], exported: tuple[str, Path] | None) -> Mapping[str, Any]:
    run_id, file = exported or (None, None)
    further = {"chosen": exported is not None, "established": choice.established, "run_id": run_id, "file": file and str(file), "answer": " ".join(answer)}
    return {**choice.row, **further}


def _trade(planned: Plan, choices: Mapping[str, Recommendation], chosen: str) -> Iterator[str]:
    """What can be traded between the students of several tasks; of one task, that nothing can."""
    from kdarena.board.pareto import COSTS, front

    cards, prefer = planned.cards, planned.prefer
    if len(cards) > 1:
        rows = [choice.row for choice in choices.values()]
        for name, column in COSTS.items():
            shown = [f"{row['task']} with {row['mean']:.2f} at {_cost(row, column)}" for row in front(rows, column)]
            yield f"In {rows[0]['metric']} and {name} together no other student is better than: {', '.join(shown)}."
        yield f"By --prefer {prefer} the student of {chosen} is taken. Differences between tasks are not tested."
    elif prefer != "accuracy":
        yield (
            f"--prefer {prefer} has nothing to trade: every method of {cards[0].name} deploys the same network, {cards[0].student}; "
            f"name several pairs of one data set with --tasks to choose between networks."
        )


def _cost(row: Mapping[str, Any], column: str) -> str:
    return f"{row[column]:.3g} ms" if column == "latency_ms" else f"{row[column]:,} parameters"


def _export(planned: Plan, record: Record, choice: Recommendation, answer: Sequence[str]) -> tuple[str, list[Path]]:
    """Export the recommended student with its card; returns its run and the files.

    Of the final runs that with the best score on validation is taken: which of them is best on test is not asked.
    """
    from kdarena.api.export import export_folder, is_file
    from kdarena.board.model_card import card_of, loading_code, write_card
    from kdarena.record.export import export_student

    task = next(card for card in planned.cards if card.name == choice.row["task"])
    runs = [run for run in record.runs() if run.run_id in choice.row["run_ids"]]
    best = max(runs, key=lambda run: (run.result.metrics.get(f"validation/{task.metric}", float("-inf")), -run.spec.seed))
    if planned.to.parent == planned.request.out / "recommended":
        planned.to.parent.mkdir(exist_ok=True)
    if not is_file(planned.to):
        return best.run_id, [export_folder(record, best, choice.row, answer, planned.to, data_root=planned.request.data_root)]
    export_student(record, best.run_id, planned.to)
    brought = any(own.card().name == without_recipe(task.name)[0] for own in planned.request.own)
    code = loading_code(task.name, planned.to.name, planned.request.out.resolve() if brought else None)
    card = card_of(best, choice.row, task, answer, code)
    return best.run_id, [planned.to, *write_card(card, planned.to)]
