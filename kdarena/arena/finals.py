"""The runs of a task: trials and final runs of all methods, and then the ladder of further budgets that the user asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kdarena.arena.method_runs import MethodRuns, Tuned, tune
from kdarena.arena.recorder import Recorder
from kdarena.arena.scheduler import Job, Work
from kdarena.arena.seed_clock import SeedClock
from kdarena.plan.ladder import LEADERS, Ladder
from kdarena.plan.request import CONTROLS
from kdarena.tracks.card import TaskCard


@dataclass(frozen=True)
class Done:
    """What final runs were done.

    Attributes:
        tuned: by method, what its trials gave.
        seeds: of the final runs of every method.
    """

    tuned: Mapping[str, Tuned | None]
    seeds: Sequence[int]


def trials_and_finals(recorder: Recorder, running: Sequence[MethodRuns], name: str, end: float | None) -> Done:
    """Do all trials and final runs of a task.

    Args:
        name: of the task.
        end: where they have to end in time, by ``time.monotonic``: all trials, then the final runs seed by seed, as many seeds as can be done.
            None: each method's final runs as soon as its trials are done.
    """
    tuned: dict[str, Tuned | None] = {}

    def trials(runs: MethodRuns) -> Work:
        tuned[runs.entrant.method.name] = yield from tune(runs)

    def finals(runs: MethodRuns) -> Work:
        yield runs.final_jobs(tuned[runs.entrant.method.name])

    def both(runs: MethodRuns) -> Work:
        yield from trials(runs)
        yield from finals(runs)

    seeds = range(running[0].allocation.seeds) if running else range(0)
    if end is None:
        recorder.schedule([both(runs) for runs in running])
        return Done(tuned, seeds)
    recorder.schedule([trials(runs) for runs in running])
    clock = SeedClock(end)
    recorder.schedule([finals(runs) for runs in running], clock)
    if clock.left_out:
        recorder.display.say(f"{name}: {clock.report()}")
    return Done(tuned, [seed for seed in seeds if seed not in clock.left_out])


def climb(recorder: Recorder, ladder: Ladder, running: Sequence[MethodRuns], done: Done, card: TaskCard, end: float | None) -> None:
    """Train methods with the budgets of a ladder, with the setting and the seeds of their final runs; nothing where there is no ladder.

    Args:
        end: when that has to end, as above.
    """
    if not ladder.factors:
        return
    climbing, said = _climbing(recorder, ladder, running, card)
    names = {runs.entrant.method.name: runs.rungs(done.tuned[runs.entrant.method.name], ladder.factors, done.seeds) for runs in climbing}
    count = sum(map(len, names.values()))
    factors = ", ".join(f"{factor:g}" for factor in ladder.factors)
    for line in (f"{card.name}: ladder of {factors} budgets: {count} runs of {', '.join(names)}", *said, *_too_short(card, climbing, names)):
        recorder.display.say(line)
    recorder.display.expect(count)
    clock = None if end is None else SeedClock(end)
    recorder.schedule([_asked(jobs) for jobs in names.values()], clock)
    if clock is not None and clock.left_out:
        recorder.display.say(f"{card.name}, ladder: {clock.report()}")


def _asked(jobs: Sequence[Job]) -> Work:
    yield jobs


def _too_short(card: TaskCard, climbing: Sequence[MethodRuns], names: Mapping[str, Sequence[Job]]) -> Iterator[str]:
    """Methods of which a rung is left out, since it holds no step."""
    most = max(map(len, names.values()), default=0)
    short = [runs.entrant.method.name for runs in climbing if len(names[runs.entrant.method.name]) < most]
    if short:
        yield f"{card.name}: {', '.join(short)}: the lowest rungs hold none of their steps and are left out"


def _climbing(recorder: Recorder, ladder: Ladder, running: Sequence[MethodRuns], card: TaskCard) -> tuple[list[MethodRuns], list[str]]:
    """The methods that are trained along a ladder, and what is to be said of others: all of them, or the controls and the best of the leading group."""
    if ladder.most is None:
        return list(running), []
    group = _leading_group(recorder, card)
    chosen = {*CONTROLS, *group[:LEADERS]}
    left = group[LEADERS:]
    line = f"{card.name}: {len(left)} more of the leading group are left out of it ({', '.join(left)}): name methods with --plugins"
    return [runs for runs in running if runs.entrant.method.name in chosen], [line] if left else []


def _leading_group(recorder: Recorder, card: TaskCard) -> list[str]:
    """The methods, other than the controls, that may be the best of the command's finished board, by their means; the first by its mean where
    the board has no rank intervals."""
    from kdarena.board.leaderboard import leaderboard_frame
    from kdarena.board.rows import compared
    from kdarena.board.rows import rows as rows_of

    frame = leaderboard_frame(recorder.record.runs(), {}, asked=recorder.asked, cards={card.name: card})
    rows = [row for row in compared(rows_of(frame)) if row["task"] == card.name and row["method"] not in CONTROLS]
    leading = [row for row in rows if row["rank_low"] == 1] or ([] if any(row["rank_low"] is not None for row in rows) else rows[:1])
    return list(dict.fromkeys(str(row["method"]) for row in leading))
