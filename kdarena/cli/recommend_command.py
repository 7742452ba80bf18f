"""``kdarena recommend``: the board of the final runs, and which student to take."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdarena.api.arguments import Typed
from kdarena.api.recommend import carry_out, plan
from kdarena.cli.exit_status import interruptible
from kdarena.cli.listings import print_boards
from kdarena.cli.output import paragraph

if TYPE_CHECKING:
    from kdarena.board.pareto import Prefer


def run(methods: str, typed: Typed, *, settings: int | None, prefer: Prefer, to: Path | None, wide: bool, dry_run: bool) -> int:
    """Carry out the command; returns its exit status.

    Args:
        methods: names with commas, or ``all``.
    """
    started = time.monotonic()
    planned = plan(methods, typed, settings=settings, prefer=prefer, to=to)
    if dry_run:
        from kdarena.cli.recommend_plan import describe

        describe(planned.request, planned.settings, planned.chosen, planned.cards)
        return 0

    def work() -> Sequence[str]:
        done = carry_out(planned, started)
        print_boards(done.board[done.board["status"] != "skipped"], wide)
        for line in done.answer:
            print(paragraph(line))
        for path in done.written:
            print(f"written: {path}", file=sys.stderr)
        return done.failures

    return interruptible(work)
