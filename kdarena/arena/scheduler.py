"""The scheduler: several coroutines share an engine; each asks for runs and continues when it has their results."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from kdarena.engines.engine import Engine, Result, Spec
from kdarena.plan.spec import RunSpec


@dataclass(frozen=True)
class Job:
    """A spec, and what the record says of its run that the spec does not.

    Attributes:
        setting: ``default``, ``tuned``, ``trial``, ``teacher``, ``sweep``, ``ladder:0.5``; ``profile`` for a cost profile.
        facts: see :meth:`kdarena.plan.conditions.Conditions.facts`; empty for a cost profile.
        latency_ms: of the deployed student, where the run is scored on test; measured by the method's cost profile.
    """

    spec: Spec
    setting: str
    facts: Mapping[str, str] = field(default_factory=dict)
    latency_ms: float | None = None

    @property
    def turn(self) -> int:
        """What comes first among jobs that could start: final runs seed by seed over all methods, after what they wait for."""
        final = isinstance(self.spec, RunSpec) and self.spec.purpose in ("final", "control")
        return 1 + self.spec.seed if final else 0  # type: ignore[union-attr]


Companions = Callable[[int, Job, Sequence[Job]], Collection[Job]]
"""Chooses, where so many workers are idle, runs to train at a job's side among those that wait, in their turn."""

Work = Generator[Sequence[Job], list[Result], None]
"""Yields jobs that may run at once, and is sent their results in the same order."""


@dataclass
class _Line:
    """A work under way: the jobs that it waits for, and their results so far."""

    work: Work
    jobs: Sequence[Job] = ()
    results: dict[str, Result] = field(default_factory=dict)

    def advance(self) -> bool:
        """Send the results and take the next jobs; False at the end of the work."""
        try:
            self.jobs = self.work.send([self.results[job.spec.key] for job in self.jobs]) if self.jobs else next(self.work)
        except StopIteration:
            return False
        self.results = {}
        return True

    @property
    def complete(self) -> bool:
        return all(job.spec.key in self.results for job in self.jobs)


class Queue:
    """Jobs that could start, in their turn."""

    def __init__(self) -> None:
        self._jobs: list[tuple[int, int, Job]] = []
        self._number = count()
        self._alone: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def put(self, job: Job, *, alone: bool = False) -> None:
        """A job that waits.

        Args:
            alone: it has to run by itself, and was admitted before.
        """
        if alone:
            self._alone.add(job.spec.key)
        heapq.heappush(self._jobs, (job.turn, next(self._number), job))

    def take(self, admits: Callable[[Job], bool], companions: Companions | None, idle: int) -> list[Job]:
        """The next job that is admitted, with those that train at its side; none where no job is.

        Args:
            idle: workers, as it is for ``companions``.
        """
        while self._jobs:
            *_, first = heapq.heappop(self._jobs)
            if first.spec.key in self._alone:
                return [first]
            if admits(first):
                return [first] if companions is None else [first, *filter(admits, self._chosen(partial(companions, idle, first)))]
        return []

    def _chosen(self, choose: Callable[[Sequence[Job]], Collection[Job]]) -> list[Job]:
        """Those that are chosen among the jobs that wait, which wait no more."""
        waiting = [job for *_, job in sorted(self._jobs, key=lambda entry: entry[:2]) if job.spec.key not in self._alone]
        chosen = {job.spec.key for job in choose(waiting)}
        self._jobs = [entry for entry in self._jobs if entry[2].spec.key not in chosen]
        heapq.heapify(self._jobs)
        return [job for job in waiting if job.spec.key in chosen]


def run(
    engine: Engine,
    works: Sequence[Work],
    *,
    asked: Callable[[Job, bool], None] = lambda job, recalled: None,
    recall: Callable[[Spec], Result | None],
    keep: Callable[[Job, Result], None],
    admits: Callable[[Job], bool] = lambda job: True,
    companions: Companions | None = None,
    started: Callable[[Job], None] = lambda job: None,
    progress: Callable[[Spec, float], None] = lambda spec, fraction: None,
    again: Callable[[Job, str], None] = lambda job, why: None,
) -> None:
    """Do all works. What is recorded is recalled, not run again; what is new is kept at once.

    Args:
        asked: called with every job, and whether it is recalled.
        recall: the recorded result of a spec, or None.
        keep: records a new result.
        admits: asked before a job starts; a job that it says no to is left out, and what waits for it does not go on.
        companions: chooses runs that train side by side; None: none do.
        started, progress, again: for the terminal.
    """
    queue = Queue()
    under_way: dict[str, Job] = {}
    busy: list[set[str]] = []  # keys of the jobs of each worker
    waiting: dict[str, list[_Line]] = {}

    def go_on(line: _Line) -> None:
        while line.advance():
            for job in line.jobs:
                key = job.spec.key
                known = recall(job.spec)
                asked(job, known is not None)
                if known is not None:
                    line.results[key] = known
                    continue
                if key not in waiting:
                    waiting[key] = []
                    queue.put(job)
                if line not in waiting[key]:
                    waiting[key].append(line)
            if not line.complete:
                return

    for line in [_Line(work) for work in works]:
        go_on(line)
    while queue or under_way:
        while queue and (idle := engine.capacity - len(busy)) > 0:
            jobs = queue.take(admits, companions, idle)
            if not jobs:
                break  # all that was left was left out
            for job in jobs:
                under_way[job.spec.key] = job
                started(job)
            busy.append({job.spec.key for job in jobs})
            engine.submit(*(job.spec for job in jobs))
        if not under_way:
            break
        for event in engine.wait(0.5):
            if event.result is None and event.again is None:
                progress(event.spec, event.progress)
                continue
            key = event.spec.key
            job = under_way.pop(key)
            busy = [left for keys in busy if (left := keys - {key})]
            if event.result is None:
                again(job, event.again or "")
                queue.put(job, alone=True)
                continue
            keep(job, event.result)
            for line in waiting.pop(key):
                line.results[key] = event.result
                if line.complete:
                    go_on(line)
