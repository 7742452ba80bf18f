"""The runs of one method on one task: trials one after the other, then all final runs."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace

from kdarena.arena.profiles import STUDENT
from kdarena.arena.scheduler import Job, Work
from kdarena.arena.trials import Candidate, Study, search_space
from kdarena.engines.engine import Result
from kdarena.method.declaration import TeacherSpec
from kdarena.plan.allocation import LADDER, TRIAL_SHARE, Allocation
from kdarena.plan.budget import minimum_amount, share_out, spend
from kdarena.plan.conditions import Conditions
from kdarena.plan.entrants import Entrant
from kdarena.plan.request import SWEPT
from kdarena.plan.spec import RUNG, Budget, PhaseCost, Purpose, RunResult, RunSpec
from kdarena.plan.specs import TRIAL_SEED, run_spec


def purpose_of(entrant: Entrant, swept: str | None) -> Purpose:
    """The purpose of a method's runs: those of the method that is swept are controls, which are never on a board."""
    return "control" if entrant.method.name == swept else "final"


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
    """

    entrant: Entrant
    conditions: Conditions
    teacher_keys: Mapping[TeacherSpec, str]
    costs: tuple[PhaseCost, ...]
    allocation: Allocation
    board_budget: float
    latency_ms: float
    swept: str | None = None

    @property
    def final(self) -> RunSpec:
        """The final run of seed 0 with what the user fixed."""
        budget = Budget(self.allocation.amount, self.allocation.unit)
        return run_spec(self.entrant, self.conditions, self.teacher_keys, self.costs, budget, purpose=purpose_of(self.entrant, self.swept), seed=0)

    @property
    def trial_amount(self) -> float:
        """The budget of a trial: a part of a final run's, but no less than the method needs."""
        return max(TRIAL_SHARE * self.allocation.amount, min(minimum_amount(self.costs), self.allocation.amount))

    def trial(self, candidate: Candidate) -> RunSpec:
        """A trial of a candidate: shorter, on a seed of its own, scored on validation alone."""
        budget = Budget(self.trial_amount, self.allocation.unit)
        short = replace(self.final, purpose="tune", seed=TRIAL_SEED, budget=budget, reference=None, metric_groups=())
        return replace(short, params=candidate.params, recipe=candidate.recipe)

    def final_jobs(self, tuned: Candidate | None) -> list[Job]:
        """All final runs: of the default setting, of the tuned one where there is one, and the plain student's shorter ones of each."""
        final = self.final
        settings = {SWEPT if final.purpose == "control" else "default": final}
        if tuned is not None:
            settings["tuned"] = replace(final, params=tuned.params, recipe=tuned.recipe)
        jobs = [self._job(replace(spec, seed=seed), setting) for setting, spec in settings.items() for seed in range(self.allocation.seeds)]
        if self.entrant.method.name == STUDENT and self.swept is None:
            jobs += [job for spec in settings.values() for job in self._ladder(spec)]
        return jobs

    def _ladder(self, final: RunSpec) -> list[Job]:
        """The shorter runs of a setting that has final runs: which of two is ranked, only those say."""
        jobs = []
        for share in LADDER:
            # whole steps, or a short rung would leave more of its budget unspent than a run may
            amount = spend(self.costs, share_out(self.costs, share * final.budget.amount))
            rung = replace(final, budget=replace(final.budget, amount=amount), purpose="control", metric_groups=())
            jobs += [self._job(replace(rung, seed=seed), f"ladder:{share:g}") for seed in range(self.allocation.seeds)]
        return jobs

    def trial_job(self, spec: RunSpec) -> Job:
        """A trial, with the budget of the board that it is made for."""
        return Job(spec, "trial", self._facts | self._tuning)

    def study(self) -> Study:
        """The study that tunes the method here; the same command asks it for the same candidates."""
        card, entrant = self.conditions.card, self.entrant
        space = search_space(entrant.method, card, {**entrant.params, **entrant.recipe})
        # the same candidates on every machine and in every version of the harness, so that two of them can be read against each other
        return Study(
            f"{card.name}/{entrant.method.name}",
            space,
            Candidate(dict(entrant.changed_params), dict(entrant.changed_recipe)),
            frozenset(card.recipe.hyperparameters()),
        )

    def _job(self, spec: RunSpec, setting: str) -> Job:
        return Job(spec, setting, self._facts | (self._tuning if setting == "tuned" else {}), self.latency_ms)

    @property
    def _facts(self) -> dict[str, str]:
        return self.conditions.facts(self.board_budget, self.entrant.named)

    @property
    def _tuning(self) -> dict[str, str]:
        return {"tuning": repr(self.allocation.tuning)}


def work(runs: MethodRuns) -> Work:
    """All of a method's runs: its trials, where there is a budget for them, and then its final runs."""
    tuned = yield from tune(runs)
    yield runs.final_jobs(tuned)


def tune(runs: MethodRuns) -> Generator[Sequence[Job], list[Result], Candidate | None]:
    """A method's trials, where there is a budget for them; returns the tuned setting, or None."""
    return (yield from _tune(runs, runs.study())) if runs.allocation.tuning > 0 else None


def _tune(runs: MethodRuns, study: Study) -> Generator[Sequence[Job], list[Result], Candidate | None]:
    """Trials until the tuning budget is spent; what a pruned trial left unspent is spent on others. Returns the tuned setting."""
    left = runs.allocation.tuning * (1 + 1e-9)
    while left >= runs.trial_amount:
        spec = replace(runs.trial(study.ask()), prune=study.prune_rule(RUNG))
        (result,) = yield [runs.trial_job(spec)]
        assert isinstance(result, RunResult)
        study.tell(result, runs.conditions.card.metric)
        # a pruned trial is charged what it trained, any other in full, also one that failed
        left -= result.committed if result.status == "pruned" else runs.trial_amount
    return study.best()
