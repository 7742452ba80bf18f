"""The contract tests of a method, as functions that return findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from kdarena.engines.state import State
from kdarena.errors import MethodError, NotApplicable, described
from kdarena.method.check import plugins_of
from kdarena.method.origin import Origin
from kdarena.params import make_params, tunables
from kdarena.testing import behaviour, formulas, repeated
from kdarena.testing.finding import Finding
from kdarena.testing.observed import Observed, generators
from kdarena.testing.process_state import left, put_back
from kdarena.testing.task import toy_task
from kdarena.tracks import cards, load_task
from kdarena.tracks.card import TaskCard
from kdarena.tracks.task import Task
from kdarena.tracks.values import Setting

LARGER_BATCH = 64


def check_plugin(plugin: Any, task: Task | None = None, *, brief: bool = False) -> list[Finding]:
    """Check a method against the contract, by short trainings.

    Args:
        plugin: the method's class, or its module.
        task: to train on; None: the toy task, or where the method does not run on it the first embedded task on which it does.
        brief: leave out what trains the method many times: other budgets, other parameters, captures.

    Returns:
        one finding a check, in order. :func:`assert_good` raises where one failed.
    """
    return list(findings(plugin, task, brief=brief))


def findings(plugin: Any, task: Task | None = None, *, brief: bool = False) -> Iterator[Finding]:
    """As :func:`check_plugin`, one after the other."""
    problem = next((one.error for one in plugins_of(plugin, Origin("plugin", "", False)) if one.error), None)
    if problem is not None:
        yield Finding("declaration", "failed", problem)
        return
    yield Finding("declaration", "ok", "registers; hooks and signatures are known")
    yield from search_space(plugin)
    with put_back():
        if task is None:
            try:
                task = task_for(plugin)
            except Exception as error:
                yield Finding("task", "failed", f"Method.teachers, .applies or .Params: {described(error)}")
                return
        if task is None:
            yield Finding("task", "not checked", "it runs on no embedded task; give one: check_plugin(plugin, task)")
            return
        yield from _trained(plugin, task, brief)


def search_space(plugin: Any) -> Iterator[Finding]:
    """Defaults are within their search range, and both ends of it are possible."""
    params_type = plugin.method.Params
    known = tunables(params_type)
    bad = False
    for name, tunable in known.items():
        if tunable.low is None or tunable.high is None:
            continue
        if not tunable.low <= tunable.default <= tunable.high:  # type: ignore[operator]
            bad = True
            yield Finding(
                "search space", "failed", f"the default of {name}, {tunable.default}, lies outside its search range {tunable.describe_range()}; widen the range"
            )
        for end in (tunable.low, tunable.high):
            try:
                make_params(params_type, {name: end})
            except ValueError as error:
                bad = True
                yield Finding("search space", "warning", f"{name}={end:g} is in the search range and not possible with the other defaults: {error}")
    if not bad:
        counted = "1 parameter, its default within its range" if len(known) == 1 else f"{len(known)} parameters, defaults within their ranges"
        yield Finding("search space", "ok", counted if known else "no parameters of its own")


def task_for(plugin: Any) -> Task | None:
    """The toy task, or where the method does not run on it an embedded one: of a track of its own first."""
    method = plugin.method
    params = make_params(method.Params, {})
    embedded = sorted((card for card in cards() if card.embedded), key=lambda card: card.track not in method.tracks)
    toy = toy_task().card
    card = next((card for card in (toy, *embedded) if method.reason_against(card, params) is None), None)
    return None if card is None else load_task(card, Setting())


def _trained(plugin: Any, task: Task, brief: bool) -> Iterator[Finding]:
    """All that is seen by training."""
    state = State()
    try:
        seen = Observed(plugin, task).train()
    except NotApplicable as reason:
        yield Finding("trains", "not checked", f"it does not apply to the pair of task {task.card.name}: {reason}")
        return
    except Exception as error:
        yield left(state, str(error))
        yield Finding("trains", "failed", _said(error))
        return
    drawn = generators()
    yield left(state)
    yield Finding("trains", "ok", f"on task {task.card.name}")
    yield from _each(
        ("loss", partial(behaviour.finite, seen)),
        ("student", partial(behaviour.student, seen)),
        ("helpers", partial(behaviour.helpers, seen)),
        ("teachers", partial(behaviour.teachers, seen)),
        ("labels", partial(behaviour.labels, seen)),
        ("configuration", partial(behaviour.untouched, seen)),
        ("export", partial(behaviour.exported, seen)),
        ("seed", partial(repeated.again, plugin, task, seen)),
    )
    if brief:
        return
    yield from _each(
        ("global seed", partial(repeated.seeded, plugin, task, drawn)),
        ("side by side", partial(repeated.in_turns, plugin, task, seen)),
        ("captured", partial(repeated.captured, plugin, task)),
        ("budgets", partial(repeated.budgets, plugin, task)),
        ("parameters", partial(repeated.parameters, plugin, task, partial(_larger, task.card))),
        ("formulas", partial(formulas.formulas, plugin, task)),
    )


def _each(*checks: tuple[str, Callable[[], Finding | Iterator[Finding]]]) -> Iterator[Finding]:
    """The findings of some checks; one that raises has failed by its name."""
    for name, check in checks:
        try:
            said = check()
            yield from [said] if isinstance(said, Finding) else said
        except NotApplicable as reason:
            yield Finding(name, "not checked", str(reason))
        except Exception as error:
            yield Finding(name, "failed", _said(error))


def _larger(card: TaskCard) -> Task | None:
    if card.recipe.batch_size >= LARGER_BATCH or card.train < LARGER_BATCH:
        return None
    large = replace(card, recipe=replace(card.recipe, batch_size=LARGER_BATCH))
    return load_task(large, Setting())


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) if isinstance(error, MethodError) else described(error)
