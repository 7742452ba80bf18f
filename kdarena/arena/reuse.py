"""A command with a larger total time than before: what is recorded of the shorter one and still holds, and what is new."""

from __future__ import annotations

from collections.abc import Mapping

from kdarena.arena.scheduler import Work
from kdarena.plan.allocation import Allocation
from kdarena.plan.amounts import Amount
from kdarena.plan.spec import RunResult


def recorded_runs(work: Work, recorded: Mapping[str, RunResult]) -> int:
    """How many of the runs that a work asks for are recorded, up to the first that it has to wait for."""
    count, jobs = 0, next(work)
    while True:
        known = [recorded[job.spec.key] for job in jobs if job.spec.key in recorded]
        count += len(known)
        if len(known) < len(jobs):
            return count
        try:
            jobs = work.send(list(known))
        except StopIteration:
            return count


def said_of_reuse(total: float, before: Allocation, now: Allocation, kept: int) -> str:
    """One line.

    Args:
        total: seconds of the shorter command.
        before, now: what the shorter and this command got.
        kept: number of recorded runs that hold.
    """
    ago = f"the command with a total of {Amount(total, 's')}"
    if now.amount != before.amount:
        return (
            f"the budget of a run is {now.stated} where it was {before.stated} in {ago}: runs of different budgets don't compare, "
            f"so all are new; the recorded ones stay on their own board"
        )
    more = now.seeds - before.seeds
    added = [f"{more} seed{'s' if more > 1 else ''}"] if more > 0 else []
    added += ["trials"] if now.tuning > before.tuning else []
    return f"keeps {kept} runs of {ago}, adds {' and '.join(added) or 'nothing'}"
