"""``kdarena run``: the arena, and the leaderboards at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence

from kdarena.api.arguments import Typed
from kdarena.api.run import carry_out, plan
from kdarena.cli.dry_run import describe
from kdarena.cli.exit_status import interruptible
from kdarena.cli.listings import print_boards
from kdarena.plan.machine import find_machine


def run(methods: str, typed: Typed, *, dry_run: bool, fresh: bool, wide: bool = False) -> int:
    """Carry out the command; returns its exit status.

    Args:
        methods: names with commas, or ``all``.
    """
    started = time.monotonic()
    planned = plan(methods, typed, elsewhere=dry_run and find_machine(typed.get("device", "auto"), typed.get("workers"), elsewhere=True).elsewhere)
    if dry_run:
        describe(planned.request, planned.chosen, planned.cards)
        return 0

    def work() -> Sequence[str]:
        return carry_out(planned, started, fresh=fresh, show=lambda boards: print_boards(boards, wide)).failures

    return interruptible(work)
