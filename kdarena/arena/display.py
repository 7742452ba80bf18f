"""The terminal while the arena runs: a live table where there is one, plain lines where not."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kdarena.arena.scheduler import Job
from kdarena.engines.engine import Result, Spec
from kdarena.plan.spec import RunResult, RunSpec

if TYPE_CHECKING:
    from rich.table import Table


@dataclass
class _Clock:
    """What is to come, for the time that is left."""

    jobs: int = 0
    done: int = 0
    started: float = field(default_factory=time.monotonic)

    def summary(self) -> str:
        """How many are done, and how many are to come where that is known."""
        if self.jobs < max(self.done, 1):
            return f"{self.done} done"
        left = self.left()
        return f"{self.done} of about {self.jobs} runs" + (f", {left} left" if left else "")

    def left(self) -> str:
        """About how long it will take, from what it has taken; empty where that is not known."""
        if self.done < 2 or self.jobs <= self.done:
            return ""
        seconds = (time.monotonic() - self.started) / self.done * (self.jobs - self.done)
        return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"


class PlainDisplay:
    """Lines on standard error: no bar, no colour."""

    def __init__(self) -> None:
        self._clock = _Clock()
        self._said = time.monotonic()
        self._said_again = ""

    def say(self, text: str) -> None:
        """One line for the user."""
        print(text, file=sys.stderr, flush=True)

    def expect(self, jobs: int) -> None:
        """So many jobs are to come."""
        self._clock = _Clock(jobs)

    def started(self, job: Job) -> None:
        """Nothing is said of a start."""

    def progress(self, spec: Spec, fraction: float) -> None:
        """Nothing is said on the way."""

    def finished(self, job: Job, result: Result) -> None:
        """A failure is said at once, progress twice a minute."""
        self._clock.done += 1
        if isinstance(result, RunResult) and result.error:
            self.say(f"{_title(job.spec)}: {result.status}: {result.error}")
        elif time.monotonic() - self._said > 30:
            self._said = time.monotonic()
            self.say(self._clock.summary())

    def again(self, job: Job, why: str) -> None:
        """Said once for runs that had been side by side."""
        if why != self._said_again:
            self._said_again = why
            self.say(f"{job.spec.task}: runs that were side by side are run again, each alone: {why}")

    def close(self) -> None:
        """Nothing to put back."""


class LiveDisplay(PlainDisplay):
    """A table of what runs, with the time that is left."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True)
        self._running: dict[str, tuple[Job, float, float]] = {}
        self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=4, transient=True)
        self._live.start()

    def say(self, text: str) -> None:
        """One line above the table."""
        from rich.text import Text

        self._console.print(Text(text))

    def started(self, job: Job) -> None:
        """A row for the job."""
        self._running[job.spec.key] = (job, 0.0, time.monotonic())

    def progress(self, spec: Spec, fraction: float) -> None:
        """How far it has come."""
        if spec.key in self._running:
            job, _, since = self._running[spec.key]
            self._running[spec.key] = (job, fraction, since)

    def finished(self, job: Job, result: Result) -> None:
        """The row goes."""
        self._running.pop(job.spec.key, None)
        self._clock.done += 1
        if isinstance(result, RunResult) and result.error:
            self.say(f"{_title(job.spec)}: {result.status}: {result.error}")

    def again(self, job: Job, why: str) -> None:
        """The row goes, too."""
        self._running.pop(job.spec.key, None)
        super().again(job, why)

    def close(self) -> None:
        """Put the terminal back."""
        self._live.stop()

    def _table(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        jobs = self._clock.summary() if self._clock.jobs else ""
        table = Table(title=jobs or None, box=None, pad_edge=False)
        for heading in ("run", "for", "progress", "s"):
            table.add_column(heading)
        for job, fraction, since in list(self._running.values()):
            table.add_row(Text(_title(job.spec)), Text(job.setting), ProgressBar(total=1.0, completed=fraction, width=24), f"{time.monotonic() - since:.0f}")
        return table


def display() -> PlainDisplay:
    """The live table on a terminal, plain lines elsewhere."""
    return LiveDisplay() if sys.stderr.isatty() else PlainDisplay()


def _title(spec: Spec) -> str:
    seed = f" seed {spec.seed}" if isinstance(spec, RunSpec) else ""
    trained = f" {spec.trains.architecture}" if spec.trains else ""
    return f"{spec.task} {spec.method}{trained}{seed}"
