"""What commands and functions that train share: from what was typed to a request, and the record, workers and terminal that a request needs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdarena.api.arguments import Typed, names
from kdarena.errors import UserError
from kdarena.method.plugin import Plugin
from kdarena.plan.assignments import parse_params
from kdarena.plan.machine import Machine, find_machine
from kdarena.plan.request import CONTROLS, Request
from kdarena.tracks import cards as all_cards
from kdarena.tracks import check_data, find_card
from kdarena.tracks.card import TaskCard
from kdarena.tracks.own import OwnTask, keep
from kdarena.tracks.recipes import why_not, with_recipe, without_recipe

if TYPE_CHECKING:
    from kdarena.arena.arena import Arena
    from kdarena.arena.display import PlainDisplay
    from kdarena.arena.recorder import Recorder
    from kdarena.record.runs import Record


def with_controls(chosen: Sequence[Plugin], plugins: Sequence[Plugin]) -> list[Plugin]:
    """The compulsory controls, then the other chosen methods in the order of their names."""
    working = {plugin.name: plugin for plugin in plugins if plugin.error is None}
    controls = [working[name] for name in CONTROLS if name in working]
    return [*controls, *sorted((plugin for plugin in chosen if plugin.name not in CONTROLS), key=lambda plugin: plugin.name)]


def choose_tasks(text: str, data_root: str | None, own: Sequence[OwnTask] = (), *, recipe: str = "paper", elsewhere: bool = False) -> list[TaskCard]:
    """The tasks that ``--tasks`` names, each once and in the order in which they are listed; ``all`` are the embedded ones.

    Args:
        own: tasks that the user brings; the only ones where ``all`` are named.
        recipe: what they are trained by; of ``all`` those that can be.
        elsewhere: whether they are run on another machine, so that data that are missing here are named and not refused.

    Raises:
        UserError: a task is unknown, can't be trained by the recipe, or its data are missing or wrong.
    """
    listed, wanted = all_cards(data_root), names(text)
    brought = [task.card() for task in own]
    replaced = {task.settings["task"] for task in own if "task" in task.settings}
    if wanted == ("all",):
        chosen = brought or [card for card in listed if card.embedded]
    else:
        chosen = [*brought, *(find_card(name, data_root) for name in wanted if name not in replaced)]
    if not chosen:
        raise UserError("--tasks names no task (see: kdarena tasks)")
    if recipe != "paper":
        chosen = _with_recipe(chosen, recipe, every=wanted == ("all",))
    unique = {card.name: card for card in chosen}
    for card in unique.values():
        if elsewhere and (problem := card.missing(data_root)):
            print(f"task {card.name}: its data are not here ({problem})", file=sys.stderr)
            continue
        for warning in check_data(card, data_root):
            print(f"task {card.name}: {warning}", file=sys.stderr)
    place = {card.name: number for number, card in enumerate(listed)}
    return sorted(unique.values(), key=lambda card: (place.get(without_recipe(card.name)[0], len(place)), card.name))


def _with_recipe(cards: Sequence[TaskCard], recipe: str, *, every: bool) -> list[TaskCard]:
    """Tasks that are trained by a recipe.

    Args:
        every: whether those that can't be are left out, and named; otherwise they are an error.
    """
    fitting = [card for card in cards if why_not(card, recipe) is None]
    refused = [card for card in cards if card not in fitting]
    if refused and not (every and fitting):
        raise UserError(f"--recipe {recipe}: {why_not(refused[0], recipe)}; name other --tasks")
    for card in refused:
        print(f"task {card.name} is left out: {why_not(card, recipe)}", file=sys.stderr)
    return [with_recipe(card, recipe) for card in fitting]


def request_from(typed: Typed, plugins: Sequence[Plugin], cards: Sequence[TaskCard], **further: Any) -> Request:
    """What was typed as a request.

    Args:
        plugins: the methods, whose parameters may be fixed.
        cards: the tasks.
        further: fields of the request that are not typed.

    Raises:
        UserError: a parameter is unknown, the options exclude each other, or the device can't do what was asked for.
    """
    resolved = {
        "tasks": tuple(card.name for card in cards),
        "params": parse_params(typed.get("params", ()), plugins),
        "metrics": tuple(sorted(typed.get("metrics", ()))),
    }
    request = Request(**{**typed, **resolved, **further})
    _check(request, cards)
    return request


def _check(request: Request, cards: Sequence[TaskCard]) -> None:
    large = [card.name for card in cards if not card.embedded]
    if request.budget is None and request.total is None and large:
        raise UserError(f"task {large[0]} needs --budget (as 60se or 10m a run), or --total for everything together")
    for card in cards:
        if request.views is not None and card.augmentations == 1:
            raise UserError(f"--views {request.views}: the samples of task {card.name} have no augmentation, so each has one view; leave --views out there")
        if request.views is not None and card.recipe.mixes:
            raise UserError(
                f"--views {request.views}: the images of task {card.name} are mixed anew in every step, so their views have no number; leave --views out"
            )
        unknown = [name for name in request.metrics if name not in card.metric_groups]
        if unknown:
            raise UserError(f"--metrics {unknown[0]!r}: task {card.name} knows {', '.join(card.metric_groups) or 'none'}")
    if request.capture == "on":
        find_machine(request.device, request.workers).captures("on")
    _check_teacher(request)
    _check_tuning(request)


def _check_teacher(request: Request) -> None:
    """Raises ``UserError`` where the file of the teacher's weights is not there, or where one is said to be of a file that is not given."""
    if request.teacher_weights is not None and request.teacher_checkpoint is None:
        raise UserError(
            f"--teacher-weights {request.teacher_weights}: names weights of a file that is not given; add --teacher-checkpoint FILE, or leave it out"
        )
    if request.teacher_checkpoint is not None and not Path(request.teacher_checkpoint).exists():
        raise UserError(f"--teacher-checkpoint {request.teacher_checkpoint}: no such file")


def _check_tuning(request: Request) -> None:
    stated = request.tuning_budget is not None and request.tuning_budget.value > 0
    if stated and request.untuned:
        raise UserError(f"--untuned and --tuning-budget {request.tuning_budget} contradict each other; give one of them")
    if stated and request.budget is None:
        raise UserError("--tuning-budget needs --budget too; without it, tuning takes 1.5 budgets of a run, and --untuned leaves it out")
    if (stated or request.both) and request.protocol == "published":
        option = "--tuning-budget" if stated else "--both"
        raise UserError(f"{option} and --protocol published contradict each other: it trains on all of train, and there is no validation part to tune on")
    if request.both and not request.tunes:
        option = "--untuned" if request.untuned else "--tuning-budget 0"
        raise UserError(f"--both and {option} contradict each other: without trials there is no tuned setting")


@dataclass(frozen=True)
class Session:
    """The record, the workers and the terminal of one command.

    Attributes:
        display: what runs, on standard error; closed before anything else is printed, or it would be drawn over.
    """

    record: Record
    recorder: Recorder
    machine: Machine
    display: PlainDisplay

    def arena(self, request: Request, started: float | None = None) -> Arena:
        """What carries out a request; ``started`` as in :class:`kdarena.arena.arena.Arena`."""
        from kdarena.arena.arena import Arena

        return Arena(request, self.recorder, self.machine, started)


@contextmanager
def open_session(request: Request) -> Iterator[Session]:
    """A session of a request's output directory, device and workers; closed at the end, also where the command is interrupted."""
    from kdarena.arena.display import display
    from kdarena.arena.observers import find_observers
    from kdarena.arena.recorder import Recorder
    from kdarena.arena.side_by_side import SideBySide
    from kdarena.engines.local import LocalEngine
    from kdarena.record.runs import Record
    from kdarena.record.store import Store

    machine = find_machine(request.device, request.workers)
    with Record.open(request.out) as record:
        keep(request.own, request.out)
        engine = LocalEngine(
            devices=machine.devices,
            threads=machine.threads,
            teachers=request.out / "teachers",
            output=record.checkpoints,
            log=request.out / "workers.log",
            data_root=request.data_root,
            own=request.own,
            plugin_paths=request.plugin_paths,
            cache=request.out / "compiled",
        )
        shown = display()
        try:
            side_by_side = SideBySide(request.side_by_side, machine.kind)
            observers = find_observers(request.plugin_paths, shown.say)
            recorder = Recorder(record, Store(request.out), engine, shown, request.out / "teachers", side_by_side, observers)
            yield Session(record, recorder, machine, shown)
        finally:
            shown.close()
            engine.close()
