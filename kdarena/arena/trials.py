"""Tuning: Optuna by ask and tell, in the parent, in a fixed order.

Trial 0 has the parameters that the method declares as its defaults, and the task's recipe. Each further trial is asked of a sampler seeded by the trial's
number, so that what it suggests follows from the trials before it and from nothing else. A study lives in memory: a repeated command asks all trials
again from number 0, and what is recorded of them is reported to it as if it had just been trained. Within a study trials follow
one another; several studies run side by side, and no result depends on which finishes first.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kdarena.method.declaration import Method
from kdarena.params import Tunable, Value, tunables
from kdarena.plan.spec import COMPLETE, PruneRule, RunResult
from kdarena.seeds import derive
from kdarena.tracks.card import TaskCard

if TYPE_CHECKING:
    from optuna.trial import Trial

PRUNE_AFTER = 3
"""Trials that have to be complete before a further one can be pruned."""


@dataclass(frozen=True)
class Candidate:
    """A setting: the method's parameters and the common hyper-parameters of the recipe, where they differ from their defaults."""

    params: Mapping[str, Value]
    recipe: Mapping[str, float]


def search_space(method: Method, card: TaskCard, fixed: Mapping[str, Value]) -> dict[str, Tunable]:
    """What a tuner may search: the common hyper-parameters of the recipe, then the method's own parameters that leave the step's cost alone."""
    own = {name: tunable for name, tunable in tunables(method.Params).items() if tunable.tune and not tunable.cost}
    return {name: tunable for name, tunable in {**card.recipe.hyperparameters(), **own}.items() if name not in fixed}


@dataclass(frozen=True)
class _Finished:
    """A trial with its result: the score, None where it was pruned or failed, and the score on the way, where it came so far."""

    candidate: Candidate
    score: float | None
    rung: float | None


class Study:
    """The study of one method on one task: :meth:`ask`, then :meth:`tell`, trial by trial."""

    def __init__(self, name: str, space: Mapping[str, Tunable], base: Candidate, common: frozenset[str]):
        """
        Args:
            name: seeds the sampler.
            space: what is searched.
            base: what the user fixed, part of every candidate.
            common: names of the common hyper-parameters of the recipe.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = dict(space)
        self._base = base
        self._common = common
        self._seed = int(derive(0, "study", name) % 2**31)
        self._study = optuna.create_study(direction="maximize")
        self._study.enqueue_trial({name: tunable.default for name, tunable in self._space.items()})
        self._open: tuple[Trial, Candidate] | None = None
        self._finished: list[_Finished] = []

    def ask(self) -> Candidate:
        """The next candidate: the defaults first."""
        import optuna

        assert self._open is None
        seed = derive(self._seed, len(self._finished)) % 2**31
        self._study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=8)
        trial = self._study.ask()
        candidate = self._candidate({name: _suggest(trial, name, tunable) for name, tunable in self._space.items()})
        self._open = (trial, candidate)
        return candidate

    def tell(self, result: RunResult, metric: str) -> None:
        """Report the open trial's result, curves and all; a pruned or failed one counts as bad, whatever the reason."""
        import optuna

        assert self._open is not None
        trial, candidate = self._open
        self._open = None
        curve = result.curves.get(f"validation/{metric}", [])
        for step, value in curve:
            trial.report(value, step)
        score = result.metrics.get(f"validation/{metric}")
        if result.status not in COMPLETE or score is None or not math.isfinite(score):
            score = None
        if score is None:
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            self._study.tell(trial, score)
        self._finished.append(_Finished(candidate, score, curve[0][1] if curve else None))

    def prune_rule(self, progress: float) -> PruneRule | None:
        """The median of the scores at that progress of the complete trials so far, once there are enough of them.

        All trials run the same schedule stretched to the same budget, so scores at the same progress compare.
        """
        rungs = [trial.rung for trial in self._finished if trial.score is not None and trial.rung is not None]
        return PruneRule(progress, statistics.median(rungs)) if len(rungs) >= PRUNE_AFTER else None

    def best(self) -> Candidate | None:
        """The best candidate, of equal ones the first, or None where nothing beats the defaults."""
        scores = [(trial.score, trial.candidate) for trial in self._finished if trial.score is not None]
        if not scores:
            return None
        _, candidate = max(scores, key=lambda pair: pair[0])
        return None if candidate == self._base else candidate

    def _candidate(self, values: Mapping[str, Any]) -> Candidate:
        """Only what differs from the defaults, so that trial 0 is the default setting to the letter."""
        changed = {name: value for name, value in values.items() if value != self._space[name].default}
        params = {**self._base.params, **{name: value for name, value in changed.items() if name not in self._common}}
        recipe = {**self._base.recipe, **{name: float(value) for name, value in changed.items() if name in self._common}}
        return Candidate(params, recipe)


def _suggest(trial: Trial, name: str, tunable: Tunable) -> Value:
    if tunable.kind == "choice":
        return trial.suggest_categorical(name, tunable.choices)  # type: ignore[return-value]
    if tunable.kind == "flag":
        return trial.suggest_categorical(name, (False, True))
    assert tunable.low is not None and tunable.high is not None
    low, high = min(tunable.low, float(tunable.default)), max(tunable.high, float(tunable.default))
    if tunable.kind == "int":
        return trial.suggest_int(name, int(low), int(high), log=tunable.log)
    return trial.suggest_float(name, low, high, log=tunable.log)
