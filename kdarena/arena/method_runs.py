"""The runs of one method on one task: its trials, then all final runs."""

from __future__ import annotations

import statistics
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kdarena.arena.profiles import STUDENT
from kdarena.arena.scheduler import Job, Work
from kdarena.arena.trials import Candidate, Scored, Search, Study, best_of, score_of, search_space
from kdarena.engines.engine import Result
from kdarena.method.declaration import TeacherSpec
from kdarena.plan.allocation import LADDER, Allocation
from kdarena.plan.conditions import Conditions
from kdarena.plan.entrants import Entrant
from kdarena.plan.ladder import rung_amount, setting_of
from kdarena.plan.race_plan import racing_amount
from kdarena.plan.request import CHARGED, RUNG, SWEPT
from kdarena.plan.spec import Budget, CurvePlan, PhaseCost, Purpose, RunResult, RunSpec
from kdarena.plan.specs import TRIAL_SEED, run_spec
from kdarena.plan.stored import StoredCosts, chosen
from kdarena.plan.tuning import Scheme, scheme_of, trial_amount, why_untuned


def purpose_of(entrant: Entrant, swept: str | None) -> Purpose:
    """The purpose of a method's runs: those of the method that is swept are controls, which are never on a board."""
    return "control" if entrant.method.name == swept else "final"


@dataclass(frozen=True)
class Tuned:
    """What a method's trials gave.

    Attributes:
        setting: the best candidate other than the defaults.
        better: whether its mean on validation over the fresh trial seeds is above that of the defaults.
    """

    setting: Candidate
    better: bool


Trials = Generator[Sequence[Job], list[Result], Tuned | None]
"""A method's trials, which end with what they gave; None where it keeps its defaults without a comparison."""


@dataclass(frozen=True)
class MethodRuns:
    """A method on a task, with all that its runs are made of.

    Attributes:
        entrant: the method, with what the user fixed.
        conditions: what its runs share with those of the other methods.
        teacher_keys: digests of the teachers' weights.
        costs: of its phases' steps, in the unit of the allocation.
        allocation: its seeds and budgets; with --charge-teacher less than the board's.
        board_budget: of the board that its runs are made for.
        latency_ms: of its deployed student.
        swept: the method that the command sweeps, or None.
        both: whether the defaults and the tuned setting both get final runs.
        curve: where the learning curves of its final runs are measured.
        stored: the costs where outputs of its teachers are looked up; None: they can't be. Each budget has the costs that buy it more steps.
    """

    entrant: Entrant
    conditions: Conditions
    teacher_keys: Mapping[TeacherSpec, str]
    costs: tuple[PhaseCost, ...]
    allocation: Allocation
    board_budget: float
    latency_ms: float
    swept: str | None = None
    both: bool = False
    curve: CurvePlan | None = None
    stored: StoredCosts | None = None

    @property
    def final(self) -> RunSpec:
        """The final run of seed 0 with what the user fixed."""
        budget = Budget(self.allocation.amount, self.allocation.unit)
        final = run_spec(self.entrant, self.conditions, self.teacher_keys, self.costs, budget, purpose=purpose_of(self.entrant, self.swept), seed=0)
        return self._of(final, budget.amount)

    def _of(self, spec: RunSpec, amount: float) -> RunSpec:
        """A run with a budget of so much, and the costs that belong to it."""
        costs, parts = chosen(self.costs, self.stored, amount)
        return replace(spec, budget=replace(spec.budget, amount=amount), costs=costs, stored=parts)

    @property
    def scheme(self) -> Scheme | None:
        """How its tuning budget is used; None where it is not tuned."""
        return scheme_of(self.costs, self.allocation.amount, self.allocation.tuning) if self.search.space else None

    @property
    def search(self) -> Search:
        """What its tuner searches here: the same candidates on every machine and in every version of the harness, so that two of them can be
        read against each other."""
        card, entrant = self.conditions.card, self.entrant
        space = search_space(entrant.method, card, {**entrant.params, **entrant.recipe})
        base = Candidate(dict(entrant.changed_params), dict(entrant.changed_recipe))
        return Search(f"{card.name}/{entrant.method.name}", space, base, frozenset(card.recipe.hyperparameters()), entrant.method.Params)

    def trial(self, candidate: Candidate, number: int = 0) -> Job:
        """A trial of a candidate: shorter than a final run and scored on validation alone.

        Args:
            number: of the trial seed: 0 in stage one, from 1 in stage two. No final run has any of them.
        """
        return self._short(candidate, trial_amount(self.costs, self.allocation.amount), number, "trial")

    def rung_jobs(self, candidate: Candidate, share: float, numbers: Iterable[int]) -> list[Job]:
        """The runs of a candidate in a rung of a race, which are trials of another length.

        Args:
            share: of a final run's budget.
            numbers: of the trial seeds.
        """
        amount = racing_amount(self.costs, self.allocation.amount, share)
        return [self._short(candidate, amount, number, f"{RUNG}{share:g}") for number in numbers]

    def fresh_jobs(self, candidate: Candidate, seeds: Iterable[int]) -> list[Job]:
        """Final runs of a candidate that a race chose."""
        final = self.final
        setting = "default" if candidate == Candidate(final.params, final.recipe) else "tuned"
        chosen = replace(final, params=candidate.params, recipe=candidate.recipe)
        return [Job(replace(chosen, seed=seed, curve=self.curve), setting, self._facts | self._tuning, self.latency_ms) for seed in seeds]

    def _short(self, candidate: Candidate, amount: float, number: int, setting: str) -> Job:
        short = replace(self._of(self.final, amount), purpose="tune", seed=TRIAL_SEED + number, reference=None, metric_groups=())
        return Job(replace(short, params=candidate.params, recipe=candidate.recipe), setting, self._facts | self._tuning)

    def final_jobs(self, tuned: Tuned | None) -> list[Job]:
        """All final runs: of the setting that won the trials, or of both, and the plain student's shorter ones."""
        settings, seeds = self._settings(tuned), range(self.allocation.seeds)
        jobs = [self._job(replace(spec, seed=seed, curve=self.curve), setting) for setting, spec in settings.items() for seed in seeds]
        if self.entrant.method.name == STUDENT and self.swept is None:
            jobs += self.rungs(tuned, LADDER, seeds)
        return jobs

    def rungs(self, tuned: Tuned | None, factors: Sequence[float], seeds: Sequence[int]) -> list[Job]:
        """Runs of other budgets, of each setting that has final runs: which of two is ranked, only those say. One that holds no step is left out.

        Args:
            factors: of the board's budget, from which charged teachers are paid first.
        """
        jobs = []
        for final in self._settings(tuned).values():
            for factor in factors:
                amount = rung_amount(self.costs, factor * self.board_budget - (self.board_budget - self.allocation.amount))
                if amount is not None:
                    rung = replace(self._of(final, amount), purpose="control", metric_groups=())
                    jobs += [self._job(replace(rung, seed=seed), setting_of(factor)) for seed in seeds]
        return jobs

    def _settings(self, tuned: Tuned | None) -> dict[str, RunSpec]:
        """The final run of seed 0 in each setting that has final runs, by the setting's name in the record."""
        final = self.final
        settings = {}
        if tuned is None or not tuned.better or self.both:
            settings[SWEPT if final.purpose == "control" else "default"] = final
        if tuned is not None and (tuned.better or self.both):
            settings["tuned"] = replace(final, params=tuned.setting.params, recipe=tuned.setting.recipe)
        return settings

    def _job(self, spec: RunSpec, setting: str) -> Job:
        further = {"tuned": self._tuning, "default": self._untuned}.get(setting, {})
        return Job(spec, setting, self._facts | further, self.latency_ms)

    @property
    def _facts(self) -> dict[str, str]:
        charged = {CHARGED: "yes"} if self.allocation.amount < self.board_budget else {}
        return self.conditions.facts(self.board_budget, self.entrant.named) | charged

    @property
    def _tuning(self) -> dict[str, str]:
        return {"tuning": repr(self.allocation.tuning)}

    @property
    def _untuned(self) -> dict[str, str]:
        """Why the defaults are kept without a comparison, where others are tuned."""
        allocation = self.allocation
        fixed = "not tuned: all that could be tuned is fixed" if allocation.tuning > 0 and not self.search.space else None
        reason = fixed or why_untuned(self.costs, allocation.amount, allocation.tuning)
        return {"untuned": reason} if reason else {}


def work(runs: MethodRuns) -> Work:
    """All of a method's runs: its trials, where there is a budget for them, and then its final runs."""
    tuned = yield from tune(runs)
    yield runs.final_jobs(tuned)


def tune(runs: MethodRuns) -> Trials:
    """A method's trials in two stages (:mod:`kdarena.plan.tuning`), where its tuning budget holds them."""
    scheme = runs.scheme
    if scheme is None:
        return None
    tried = yield from _guided(runs, scheme.candidates) if scheme.guided else _spread(runs, scheme.candidates)
    default = tried[0]
    best = best_of([scored for scored in tried if scored.candidate != default.candidate])
    if best is None:
        return None
    scores = [default.score, best.score] if scheme.candidates == 2 or not scheme.seeds else []
    if scheme.seeds:
        seeds = range(1, 1 + scheme.seeds)
        scores += _scores(runs, (yield [runs.trial(scored.candidate, seed) for seed in seeds for scored in (default, best)]))
    return Tuned(best.candidate, statistics.fmean(scores[1::2]) > statistics.fmean(scores[::2]))


def _spread(runs: MethodRuns, count: int) -> Generator[Sequence[Job], list[Result], list[Scored]]:
    """Candidates that don't depend on each other, at once; the defaults first."""
    candidates = runs.search.spread(count)
    results = yield [runs.trial(candidate) for candidate in candidates]
    return [Scored(*pair) for pair in zip(candidates, _scores(runs, results), strict=True)]


def _guided(runs: MethodRuns, count: int) -> Generator[Sequence[Job], list[Result], list[Scored]]:
    """Candidates that follow from the scores of those before them, one after the other; the defaults first."""
    study, tried = Study(runs.search), []
    for _ in range(count):
        candidate = study.ask()
        (score,) = _scores(runs, (yield [runs.trial(candidate)]))
        study.tell(score)
        tried.append(Scored(candidate, score))
    return tried


def _scores(runs: MethodRuns, results: Sequence[Result]) -> list[float]:
    return [score_of(result, runs.conditions.card.metric) for result in results if isinstance(result, RunResult)]
