"""``run``: the arena, and the boards at the end; the command and the function."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdarena.api.arguments import Typed, names, typed_from
from kdarena.api.own import own_tasks
from kdarena.api.session import choose_tasks, open_session, request_from, with_controls
from kdarena.method.discovery import discover, select
from kdarena.method.plugin import Plugin
from kdarena.plan.amounts import Amount
from kdarena.plan.ladder import LEADERS, Ladder
from kdarena.plan.machine import find_machine
from kdarena.plan.request import CONTROLS, Request
from kdarena.record import output
from kdarena.tracks.card import TaskCard

if TYPE_CHECKING:
    from kdarena.api.boards import Boards


@dataclass(frozen=True)
class Plan:
    """What a command will do, checked, before anything is opened.

    Attributes:
        plugins: all that were found.
        chosen: those that run, the controls first.
        named: whether the methods were named one by one.
    """

    request: Request
    plugins: Sequence[Plugin]
    chosen: Sequence[Plugin]
    cards: Sequence[TaskCard]
    named: bool


def plan(methods: str, typed: Typed, *, elsewhere: bool = False) -> Plan:
    """What was typed, as a plan; broken plugins that the user may have counted on are named on standard error.

    Args:
        methods: names with commas, or ``all``.
        elsewhere: whether it is carried out on another machine.

    Raises:
        UserError: it can't be carried out as it was typed.
    """
    wanted = names(methods)
    plugins = discover(typed.get("plugin_paths", ()))
    chosen = with_controls(select(plugins, ",".join(wanted)), plugins)
    own = own_tasks(typed)
    cards = choose_tasks(typed["tasks"], typed.get("data_root"), own, recipe=typed.get("recipe", "paper"), elsewhere=elsewhere)
    named = wanted != ("all",)
    request = request_from(typed, chosen, cards, scope=typed.get("scope", "all" if named else "own"), ladder=_ladder(typed, named), own=own)
    _name_broken(plugins, request, named)
    return Plan(request, plugins, chosen, cards, named)


def _ladder(typed: Typed, named: bool) -> Ladder:
    """The ladder that was typed: of the methods named, or else of the controls and the best of the leading group."""
    ladder: Ladder = typed.get("ladder", Ladder())
    return replace(ladder, most=None if named else len(CONTROLS) + LEADERS)


def carry_out(planned: Plan, started: float, *, fresh: bool = False, show: Callable[[Boards], None] | None = None) -> Boards:
    """Train what is not recorded yet, and make the boards of the command, which are written to its output directory too.

    Args:
        started: when the command started, by ``time.monotonic``.
        fresh: whether to move what the output directory has aside.
        show: gets the boards before they are written, which a full disk may prevent.
    """
    from kdarena.api.boards import boards_of, write
    from kdarena.api.records import keep_declarations, recorded

    request = planned.request
    if fresh:
        find_machine(request.device, request.workers)  # a command that can't be carried out moves nothing
        move_aside(request.out.resolve())
    with open_session(request) as session:
        keep_declarations(request.out, planned.plugins, {plugin.name for plugin in planned.chosen})
        outcome = session.arena(request, started).run(planned.chosen, planned.cards, named=planned.named)
        if session.recorder.trained:
            session.display.say(session.recorder.device_share.sentence(time.monotonic() - started, session.recorder.capacity))
        session.display.close()
        found = recorded(session.record, request.out, planned.plugins)
        boards = boards_of(found, asked=session.recorder.asked)
        if show is not None:
            show(boards)
        write(boards, request.out / "leaderboards", found)
    boards.failures = (*outcome.failures, *boards.failures)
    return boards


def run(
    plugins: str | Sequence[str] = "all",
    *,
    tasks: str | Sequence[str] = "all",
    budget: str | Amount | None = None,
    tuning_budget: str | Amount | None = None,
    untuned: bool = False,
    both: bool = False,
    scope: str | None = None,
    teacher_budget: str | Amount | None = None,
    seeds: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    capture: str = "auto",
    compile: str = "auto",
    params: Mapping[str, Any] | Sequence[str] = (),
    protocol: str = "validated",
    total: str | float | None = None,
    yes: bool = False,
    data_root: str | Path | None = None,
    teacher_checkpoint: str | Path | None = None,
    teacher_weights: str | None = None,
    teacher_logits: str | Path | None = None,
    recipe: str = "paper",
    plugin_paths: str | Path | Sequence[str | Path] = (),
    charge_teacher: bool = False,
    metrics: str | Sequence[str] = (),
    ladder: Sequence[float] = (),
    side_by_side: str | int = "auto",
    views: int | None = None,
    teacher_outputs: str = "auto",
    images: str | Path | None = None,
    unlabelled: str | Path | None = None,
    skip_unreadable: bool = False,
    image_size: int | None = None,
    class_weights: str = "none",
    text: str | Path | None = None,
    columns: str | None = None,
    task_from: str | None = None,
    teacher: str | None = None,
    student: str | None = None,
    taps: str | None = None,
    out: str | Path = Request.out,
    fresh: bool = False,
) -> Boards:
    """Tune, train, evaluate and record methods, as ``kdarena run`` does with the options of the same names; repeated, it resumes.

    Progress is on standard error. What was interrupted is kept.

    Args:
        plugins: names of methods, or ``"all"``; the controls always run.
        tasks: names of tasks, or ``"all"``.
        budget, tuning_budget, teacher_budget: as ``"10m"``, ``"60se"``, ``"3e15flop"`` or ``"60epochs"``.
        total: as ``"10m"``, or seconds.
        params: as ``{"kd": {"temperature": 4}}`` or ``["kd.temperature=4"]``.
        recipe: ``"paper"``, or ``"modern"`` for a recipe of today, under which tasks of images have boards of their own.
        ladder: multiples of the budget that methods are trained with, too, as ``(0.25, 0.5, 2)``.
        side_by_side: how many runs train side by side on one device, or ``"auto"``.
        teacher_checkpoint: your own teacher's file, or a folder of transformers; teacher_weights: which of several weights in it, as ``"ema"``.
        teacher_logits: your own teacher's logits on the samples of the only task, as ``.npz`` or ``.safetensors``.
        images, text, task_from: a task of your own: a folder of pictures, a file of sentences, ``"MODULE:FUNCTION"``.
        unlabelled, skip_unreadable, image_size, class_weights: of ``images``.
        columns: of ``text``: ``"TEXT,LABEL"`` or ``"FIRST,SECOND,LABEL"``, by name or by number from 1.
        teacher, student: networks of your own task, or of the listed tasks named, by reference.
        taps: the submodules of networks by reference that show feature maps, as ``"stage1=layer1,stage2=layer2"``.
        fresh: move what ``out`` has aside, and start anew.

    Returns:
        The boards of this call: a frame whose columns are in docs/columns.md, and whose ``failures`` has a line for each run that failed.

    Raises:
        UserError: it can't be carried out as given; the line says why and what to do.
    """
    given = {name: value for name, value in locals().items() if name not in ("plugins", "fresh")}
    started = time.monotonic()
    methods = plugins if isinstance(plugins, str) else ",".join(plugins)
    return carry_out(plan(methods, typed_from(given)), started, fresh=fresh)


def _name_broken(plugins: Sequence[Plugin], request: Request, named: bool) -> None:
    """Name each broken plugin that the user may have counted on."""
    files = {str(Path(path)) for path in request.plugin_paths}
    for plugin in plugins:
        if plugin.error is not None and (not named or plugin.distribution in files):
            print(f"plugin {plugin.name} of {plugin.distribution} is broken: {plugin.error}", file=sys.stderr)


def move_aside(directory: Path) -> None:
    """Keep an old output directory under a name with the time; nothing recorded is ever lost.

    Raises:
        UserError: it is no output directory of ours, or another process writes there.
    """
    if directory.is_dir() and any(directory.iterdir()):
        output.check(directory)
        output.lock(directory).close()
        aside = directory.with_name(f"{directory.name}.{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
        directory.rename(aside)
        print(f"the old output directory is now {aside}", file=sys.stderr)
