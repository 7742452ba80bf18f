"""A race on one task, in the parent: its rungs one after another, then final runs on fresh seeds.

Who goes on follows from what is recorded, and where there is a total time also from what is left of it; it is recorded as soon as it is decided, so that a
command that was killed goes on where it was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kdarena.arena.method_runs import MethodRuns
from kdarena.arena.recorder import Recorder
from kdarena.arena.scheduler import Work
from kdarena.arena.seed_clock import SeedClock
from kdarena.arena.trials import Candidate, score_of
from kdarena.plan.levels import FEWEST_SEEDS
from kdarena.plan.race_plan import RacePlan, final_seconds, least_survivors, rung_seconds, rungs_of
from kdarena.plan.racing import EARLIEST_END, FINALISTS, Contender, Rung, Scores, Selection, finalists, settled, survivors
from kdarena.plan.request import CONTROLS
from kdarena.plan.spec import RunResult

Look = Callable[[], str | None]
"""Says from what is recorded why further final seeds would change nothing, or None where they may."""


@dataclass(frozen=True)
class Pace:
    """The time of a race.

    Attributes:
        end: when its last run should have ended, by ``time.monotonic``.
        overhead: seconds that a final run takes in addition to its training.
        workers: runs at the same time.
    """

    end: float
    overhead: float
    workers: int


@dataclass(frozen=True)
class Race:
    """A race on one task.

    Attributes:
        runs: of the methods that race, the controls among them, by name.
        plan: settings, budget and seeds.
        recorder: through which everything is run.
        key: under which its selections are recorded.
        look: asked after each final seed, from the third on, but the last.
        pace: where the time is limited.
    """

    runs: Mapping[str, MethodRuns]
    plan: RacePlan
    recorder: Recorder
    key: str
    look: Look
    pace: Pace | None = None

    def run(self) -> None:
        """Do the rungs, then the final runs."""
        candidates = self._candidates()
        going, planned, begun = tuple(candidates), 0.0, time.monotonic()
        rungs = rungs_of(len(self.runs), self.plan.settings)
        made = list(self.recorder.store.selections(self.key))
        for number, rung in enumerate(rungs):
            known = made[number].seeds if number < len(made) else None
            scores, seeds = self._rung(rung, {contender: candidates[contender] for contender in going if contender in candidates}, known)
            planned += self._planned(rung, len(going)) * seeds / len(rung.seeds)
            if known is None:
                slower = max(1.0, (time.monotonic() - begun) / planned) if planned else 1.0
                made.append(self._select(rungs[number:], scores, seeds, slower))
                self.recorder.store.keep_selections(self.key, made)
            self._say_selection(rung, scores, made[number])
            going = made[number].contenders
            if made[number].final:
                break
        self._finals({contender: candidates[contender] for contender in going if contender in candidates})

    def _candidates(self) -> dict[Contender, Candidate]:
        """The settings of every method: its defaults, and others spread over its space."""
        candidates: dict[Contender, Candidate] = {}
        for name, runs in self.runs.items():
            search = runs.search
            settings = search.spread(self.plan.settings) if search.space and self.plan.settings > 1 else [search.base]
            candidates |= {Contender(name, number): setting for number, setting in enumerate(settings)}
        return candidates

    @property
    def _controls(self) -> tuple[str, ...]:
        return tuple(name for name in CONTROLS if name in self.runs)

    # ---- rungs

    def _rung(self, rung: Rung, going: Mapping[Contender, Candidate], known: int | None) -> tuple[Scores, int]:
        """The scores of all contenders in a rung, and on how many seeds they are.

        Args:
            known: the seeds that the rung had, where it was done before. Else it has all, as far as the time allows: the first in any case.
        """
        scores: dict[Contender, list[float]] = {contender: [] for contender in going}

        def contest(contender: Contender, candidate: Candidate, numbers: Sequence[int]) -> Work:
            runs = self.runs[contender.method]
            results = yield runs.rung_jobs(candidate, rung.share, numbers)
            scores[contender] += [score_of(result, runs.conditions.card.metric) for result in results if isinstance(result, RunResult)]

        count = len(rung.seeds) if known is None else known
        self.recorder.display.expect(len(going) * count)
        if self.pace is None or known is not None:
            self.recorder.schedule([contest(contender, candidate, rung.seeds[:count]) for contender, candidate in going.items()])
            return scores, count
        for done, number in enumerate(rung.seeds, 1):
            begun = time.monotonic()
            self.recorder.schedule([contest(contender, candidate, (number,)) for contender, candidate in going.items()])
            if done < count and self._left(self._least_final_seconds) < time.monotonic() - begun:
                return scores, done
        return scores, count

    def _select(self, rungs: Sequence[Rung], scores: Scores, seeds: int, slower: float) -> Selection:
        """Who goes on after the first of the rungs that are left.

        Args:
            seeds: that the rung had.
            slower: so many times as long as planned the race took so far.
        """
        rung, controls = rungs[0], self._controls
        if len(rungs) == 1:
            return self._final(scores, seeds, slower)
        if rung.share >= EARLIEST_END and settled(scores, controls):
            return self._final(scores, seeds, slower, "one method is clearly ahead of all others but the controls")
        keep, most = rung.keep, rung.most
        if self.pace is not None:
            least = least_survivors(len(self.runs))
            if self._places(rungs[1:], 0, FEWEST_SEEDS, slower) < least:
                return self._final(scores, seeds, slower, "the time is too short for a further rung")
            most = max(least, min(most, self._places(rungs[1:], least, self.plan.seeds, slower)))
        return Selection(survivors(scores, min(keep, most), most, controls), seeds)

    def _final(self, scores: Scores, seeds: int, slower: float, why: str = "") -> Selection:
        """Who gets final runs: fewer methods where the time holds no more of them."""
        most = FINALISTS
        if self.pace is not None:
            each = slower * final_seconds(self.plan.amount, 1, FEWEST_SEEDS, self.pace.overhead) / self.pace.workers
            most = min(most, max(1, int(self._left(0.0) / each) - len(self._controls)))
        return Selection(finalists(scores, self._controls, most), seeds, final=True, why=why)

    def _places(self, rungs: Sequence[Rung], later: int, seeds: int, slower: float) -> int:
        """Contenders for which the first of some rungs has time.

        Args:
            later: contenders for each rung after it, for which time is kept, as for final runs.
            seeds: of the final runs.
        """
        assert self.pace is not None
        kept = sum(self._planned(rung, later) for rung in rungs[1:])
        kept += final_seconds(self.plan.amount, least_survivors(len(self.runs)), seeds, self.pace.overhead) / self.pace.workers
        return math.floor(max(0.0, self._left(slower * kept)) / (slower * self._planned(rungs[0], 1)))

    @property
    def _least_final_seconds(self) -> float:
        """What the controls and one more method take at least in the end, as planned."""
        assert self.pace is not None
        return final_seconds(self.plan.amount, len(self._controls) + 1, FEWEST_SEEDS, self.pace.overhead) / self.pace.workers

    def _left(self, kept: float) -> float:
        assert self.pace is not None
        return self.pace.end - time.monotonic() - kept

    def _planned(self, rung: Rung, contenders: int) -> float:
        """Seconds of a rung as planned; 0 where the time is not limited."""
        if self.pace is None:
            return 0.0
        costs = {name: runs.costs for name, runs in self.runs.items()}
        return rung_seconds(costs, self.plan.amount, rung, contenders, self.pace.overhead) / self.pace.workers

    # ---- final runs

    def _finals(self, going: Mapping[Contender, Candidate]) -> None:
        """Final runs on fresh seeds: as many seeds as a claim needs at least, then one after another until they are all done or nothing more can change."""

        def finals(contender: Contender, seeds: range) -> Work:
            yield self.runs[contender.method].fresh_jobs(going[contender], seeds)

        clock = SeedClock(self.pace.end) if self.pace is not None else None
        done = 0
        self.recorder.display.expect(len(going) * self.plan.seeds)
        for seeds in range(min(FEWEST_SEEDS, self.plan.seeds), self.plan.seeds + 1):
            self.recorder.schedule([finals(contender, range(done, seeds)) for contender in going], clock)
            if clock is not None and clock.left_out:
                self._say(f"the time ran out: {done} of {self.plan.seeds} fresh seeds are done; the same command does the others")
                return
            done = seeds
            why = self.look() if seeds < self.plan.seeds else None
            if why is not None:
                self._say(f"{done} of {self.plan.seeds} fresh seeds are enough: {why}")
                return

    # ---- for the terminal

    def _say(self, text: str) -> None:
        card = next(iter(self.runs.values())).conditions.card
        self.recorder.display.say(f"{card.name}: {text}")

    def _say_selection(self, rung: Rung, scores: Scores, selection: Selection) -> None:
        names = list(dict.fromkeys(contender.method for contender in selection.contenders))
        what = f"after runs of {rung.part} of the budget {len(selection.contenders)} of {len(scores)} settings go on"
        if selection.final:
            self._say(f"{what}, to final runs: {', '.join(names)}{f' ({selection.why})' if selection.why else ''}")
        else:
            self._say(f"{what}, of {len(names)} methods; in front: {', '.join(names[:3])}")
