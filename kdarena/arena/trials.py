"""Tuning: Optuna by ask and tell, in the parent, in a fixed order.

Trial 0 has the parameters that the method declares as its defaults, and the task's recipe. Each further trial is asked of a sampler seeded by the trial's
number, so that an interrupted study goes on exactly as if it had not been interrupted. Within a study trials follow
one another; several studies run side by side, and no result depends on which finishes first.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdarena.method.declaration import Method
from kdarena.params import Tunable, Value, tunables
from kdarena.plan.spec import COMPLETE, PruneRule, RunResult
from kdarena.seeds import derive
from kdarena.tracks.card import TaskCard

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial, Trial

    from kdarena.method.declaration import Method
    from kdarena.tracks.card import TaskCard

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


class Studies:
    """All studies of an output directory, in an SQLite file that only the parent opens, and only where something is tuned.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path):
        self._path = path

    def study(self, name: str, space: Mapping[str, Tunable], base: Candidate, common: frozenset[str]) -> Study:
        """See :class:`Study`."""
        return Study(self._storage, name, space, base, common)

    @cached_property
    def _storage(self) -> optuna.storages.BaseStorage:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        return optuna.storages.RDBStorage(f"sqlite:///{self._path}")


class Study:
    """The study of one method on one task."""

    def __init__(self, storage: Any, name: str, space: Mapping[str, Tunable], base: Candidate, common: frozenset[str]):
        """
        Args:
            name: names the study; the same command finds it again.
            base: what the user fixed, part of every candidate.
            common: names of the common hyper-parameters of the recipe.
        """
        import optuna

        self._space = dict(space)
        self._base = base
        self._common = common
        self._seed = int(derive(0, "study", name) % 2**31)
        self._study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        for trial in self._study.get_trials(deepcopy=False):
            # of a parent that was killed
            if trial.state == optuna.trial.TrialState.WAITING:
                self._study.tell(self._study.ask(), state=optuna.trial.TrialState.FAIL)
            elif trial.state == optuna.trial.TrialState.RUNNING:
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        self._open: tuple[Trial, Candidate] | None = None
        self._again: dict[int, float] = {}

    @property
    def finished(self) -> int:
        """The number of trials with a result; a trial that was cut off is asked again."""
        return len(self._finished_trials())

    def replay(self, number: int) -> Candidate:
        """The candidate of a finished trial."""
        trial = self._finished_trials()[number]
        return self._candidate(trial.params)

    def ask(self) -> Candidate:
        """The next candidate: the defaults first."""
        import optuna

        number = self.finished
        self._study.sampler = optuna.samplers.TPESampler(seed=derive(self._seed, number) % 2**31, n_startup_trials=8)
        if number == 0:
            self._study.enqueue_trial({name: tunable.default for name, tunable in self._space.items()})
        trial = self._study.ask()
        candidate = self._candidate({name: _suggest(trial, name, tunable) for name, tunable in self._space.items()})
        self._open = (trial, candidate)
        return candidate

    def tell(self, result: RunResult, metric: str) -> None:
        """Tell the open trial's result; a pruned or failed one counts as bad, whatever the reason."""
        import optuna

        assert self._open is not None
        trial, _ = self._open
        self._open = None
        for step, value in result.curves.get(f"validation/{metric}", []):
            trial.report(value, step)
        score = result.metrics.get(f"validation/{metric}")
        trial.set_user_attr("kdarena.key", result.key)
        if result.status in COMPLETE and score is not None:
            self._study.tell(trial, score)
        else:
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)

    def tell_again(self, number: int, result: RunResult, metric: str) -> None:
        """The result of a replayed trial: where it had failed and is done now, it counts for the best."""
        score = result.metrics.get(f"validation/{metric}")
        if result.status in COMPLETE and score is not None:
            self._again[self._finished_trials()[number].number] = score

    def prune_rule(self, progress: float, before: int) -> PruneRule | None:
        """The median of the scores at that progress of the complete trials before a number, once there are enough of them.

        All trials run the same schedule stretched to the same budget, so scores at the same progress compare.
        """
        import optuna

        complete = [trial for trial in self._finished_trials()[:before] if trial.state == optuna.trial.TrialState.COMPLETE]
        scores = [next(iter(trial.intermediate_values.values())) for trial in complete if trial.intermediate_values]
        return PruneRule(progress, statistics.median(scores)) if len(scores) >= PRUNE_AFTER else None

    def best(self) -> Candidate | None:
        """The best candidate, or None where nothing beats the defaults."""
        import optuna

        scores = {trial.number: trial.value or 0.0 for trial in self._finished_trials() if trial.state == optuna.trial.TrialState.COMPLETE} | self._again
        if not scores:
            return None
        winner = max(scores, key=lambda number: (scores[number], -number))
        candidate = self._candidate(next(trial.params for trial in self._finished_trials() if trial.number == winner))
        return None if candidate == self._base else candidate

    def _finished_trials(self) -> list[FrozenTrial]:
        import optuna

        states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
        return self._study.get_trials(deepcopy=False, states=states)

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
