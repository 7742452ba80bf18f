"""Whether a method paid for its training: the time that its hooks took outside of what it is charged for, against its budget."""

from __future__ import annotations

from kdarena.board.variants import Variant, average

LIMIT = 0.10
"""Part of the budget: more of it outside charged steps, and a row is unpaid."""
FLOOR_S = 0.05
"""Device seconds a run below which nothing is said: what the first calls of a short run find cold is no training."""
ADVICE = "do the work in a phase's process"


def outside_seconds(variant: Variant) -> float | None:
    """Device seconds outside charged steps, a mean over the finished runs; None where there is none."""
    return average([sum(run.result.outside.values()) for run in variant.finished])


def unpaid(variant: Variant) -> str | None:
    """One line where a row's runs took too much outside charged steps: the hook that took most of it, and what to do; else None."""
    seconds, budget = outside_seconds(variant), _budget_s(variant)
    if seconds is None or not budget or seconds <= max(FLOOR_S, LIMIT * budget):
        return None
    hooks = {hook for run in variant.finished for hook in run.result.outside}
    by_hook = {hook: average([run.result.outside.get(hook, 0.0) for run in variant.finished]) or 0.0 for hook in hooks}
    most = max(sorted(by_hook), key=lambda hook: by_hook[hook])
    if by_hook[most] > LIMIT * budget:
        return f"{_named(most)} took {by_hook[most]:.2g} s outside the charged steps, {by_hook[most] / budget:.0%} of the budget; {ADVICE}"
    return f"hooks took {seconds:.2g} s outside the charged steps, {seconds / budget:.0%} of the budget, {_named(most)} most of it; {ADVICE}"


def _named(hook: str) -> str:
    """What the line says of a hook."""
    return {"elsewhere": "what the method left at work between its hooks", "__del__": "__del__ of the method's objects"}.get(hook, hook)


def _budget_s(variant: Variant) -> float | None:
    """The budget of a run in device seconds; where it is no time, what the charged steps took."""
    if variant.first.spec.budget.unit == "s":
        return variant.first.spec.budget.amount
    return average([run.result.spent_s for run in variant.finished])
