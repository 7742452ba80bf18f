"""Candidates for tuning, from Optuna, in the parent, in a fixed order.

The first candidate has the parameters that the method declares as its defaults, and the task's recipe. The others are spread over the space by a scrambled
Sobol sequence, which no result changes, so that their trials may run at once. Where there are trials enough to learn from, they are asked of
TPE one after the other: its sampler is seeded by the trial's number, so that what it suggests follows from the trials before it and from
nothing else. A study lives in memory: a repeated command asks all candidates again, and what is recorded of them is reported as if it
had just been trained. No result depends on which of several methods finishes first.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kdarena.method.declaration import Method
from kdarena.params import ImpossibleValue, Params, Tunable, Value, make_params, tunables
from kdarena.plan.spec import COMPLETE, RunResult
from kdarena.seeds import derive
from kdarena.tracks.card import TaskCard

if TYPE_CHECKING:
    import optuna
    from optuna.trial import Trial

FAILED = -math.inf
"""Score of a trial that failed, whatever the reason."""


@dataclass(frozen=True)
class Candidate:
    """A setting: the method's parameters and the common hyper-parameters of the recipe, where they differ from their defaults."""

    params: Mapping[str, Value]
    recipe: Mapping[str, float]


def search_space(method: Method, card: TaskCard, fixed: Mapping[str, Value]) -> dict[str, Tunable]:
    """What a tuner may search: the common hyper-parameters of the recipe, then the method's own parameters that leave the step's cost alone."""
    own = {name: tunable for name, tunable in tunables(method.Params).items() if tunable.tune and not tunable.cost}
    return {name: tunable for name, tunable in {**card.recipe.hyperparameters(), **own}.items() if name not in fixed}


def score_of(result: RunResult, metric: str) -> float:
    """A trial's metric on validation; that of a failed one, or of one whose metric is not finite, is the worst."""
    score = result.metrics.get(f"validation/{metric}")
    return score if result.status in COMPLETE and score is not None and math.isfinite(score) else FAILED


@dataclass(frozen=True)
class Scored:
    """A candidate with the score of its trial."""

    candidate: Candidate
    score: float


def best_of(tried: Sequence[Scored]) -> Scored | None:
    """The candidate with the best score, of equal ones the first; None where all failed."""
    best = max(tried, key=lambda scored: scored.score, default=None)
    return best if best is not None and best.score > FAILED else None


@dataclass(frozen=True)
class Search:
    """What is searched for one method on one task.

    Attributes:
        name: seeds the samplers.
        space: what is searched.
        base: what the user fixed, part of every candidate.
        common: names of the common hyper-parameters of the recipe.
        params: the class of the method's parameters, which says what values go together.
    """

    name: str
    space: Mapping[str, Tunable]
    base: Candidate
    common: frozenset[str]
    params: type[Params] = Params

    @property
    def seed(self) -> int:
        """Of the samplers: the same on every machine."""
        return int(derive(0, "study", self.name) % 2**31)

    def spread(self, count: int) -> list[Candidate]:
        """The defaults and others spread over the space, each once: so many together, or fewer where the space has no more."""
        import optuna

        with warnings.catch_warnings():
            # the sampler has been called experimental since 2022
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=self.seed)
        study = self.study(sampler)
        candidates: list[Candidate] = []
        for _ in range(4 * count):
            candidate = self.candidate(study.ask())
            if candidate not in candidates and self.possible(candidate):
                candidates.append(candidate)
            if len(candidates) == count:
                break
        return candidates

    def possible(self, candidate: Candidate) -> bool:
        """Whether the method can be run with it: what values go together, no range says."""
        try:
            make_params(self.params, candidate.params)
        except ImpossibleValue:
            return False
        return True

    def study(self, sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
        """An empty study whose first trial will be the defaults."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.enqueue_trial({name: tunable.default for name, tunable in self.space.items()})
        return study

    def candidate(self, trial: Trial) -> Candidate:
        """What a trial suggests, without what equals the defaults, so that trial 0 is the default setting to the letter."""
        values: dict[str, Any] = {name: _suggest(trial, name, tunable) for name, tunable in self.space.items()}
        changed = {name: value for name, value in values.items() if value != self.space[name].default}
        params = {**self.base.params, **{name: value for name, value in changed.items() if name not in self.common}}
        recipe = {**self.base.recipe, **{name: float(value) for name, value in changed.items() if name in self.common}}
        return Candidate(params, recipe)


class Study:
    """Candidates that follow from the scores of those before them: :meth:`ask`, then :meth:`tell`, trial by trial."""

    def __init__(self, search: Search):
        self._search = search
        self._study = search.study()
        self._open: Trial | None = None
        self._count = 0

    def ask(self) -> Candidate:
        """The next candidate: the defaults first."""
        import optuna

        assert self._open is None
        while True:
            self._study.sampler = optuna.samplers.TPESampler(seed=derive(self._search.seed, self._count) % 2**31, n_startup_trials=8)
            self._open = self._study.ask()
            candidate = self._search.candidate(self._open)
            if self._search.possible(candidate):
                return candidate
            self.tell(FAILED)

    def tell(self, score: float) -> None:
        """Report the open trial's score (:func:`score_of`)."""
        import optuna

        assert self._open is not None
        if score == FAILED:
            self._study.tell(self._open, state=optuna.trial.TrialState.PRUNED)  # which TPE takes for bad
        else:
            self._study.tell(self._open, score)
        self._open = None
        self._count += 1


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
