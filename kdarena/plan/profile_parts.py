"""A cost profile from its parts: short measurements at different times, each on a build of its own, next to other neighbours."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace

from kdarena.plan.cost import CostProfile, PhaseProfile
from kdarena.plan.profile_rule import ProfileRule, standard_error


def cost_of(parts: Sequence[Sequence[float]]) -> tuple[float, float]:
    """The cost of a step in steps of the plain student and its standard error as a part of it.

    The cost is the exponential of the median of all groups. The error is the larger of two: of the groups as if they were independent, and of the
    parts, whose groups share what the machine did at the time.

    Args:
        parts: the logarithms of the groups' ratios of each part, at least two groups together.
    """
    groups = [group for part in parts for group in part]
    error = standard_error(groups)
    if len(parts) > 1:
        error = max(error, standard_error([statistics.median(part) for part in parts]))
    return math.exp(statistics.median(groups)), error


def combined(parts: Sequence[CostProfile]) -> CostProfile:
    """The profile that parts make together; the part that failed, where one did. It has the key of the first."""
    first = parts[0]
    failed = next((part for part in parts if part.status != "done"), None)
    if failed is not None:
        return replace(failed, key=first.key)
    if len({tuple((phase.phase, phase.steps, phase.share) for phase in part.phases) for part in parts}) > 1:
        return replace(first, status="error", error="its phases differ from seed to seed; a schedule may depend on cost-relevant parameters only")
    seconds = [part.student_s for part in parts if part.student_s is not None]
    return replace(
        first,
        phases=tuple(_combined(phases) for phases in zip(*(part.phases for part in parts), strict=True)),
        student_s=statistics.median(seconds) if seconds else None,
        seconds=sum(part.seconds for part in parts),
        latency_ms=statistics.median(part.latency_ms for part in parts),
        read=tuple(tuple(sorted(set().union(*names))) for names in zip(*(part.read for part in parts), strict=True)),
    )


def needs_another(parts: Sequence[CostProfile], rule: ProfileRule, *, timed: bool, brief: bool = False) -> bool:
    """Whether a profile needs another part: fewer than it has at least, or a phase whose cost is not known well enough.

    Args:
        brief: the fewest parts are enough where the method reads what can be looked up: then most of its runs have another price.
    """
    profile = combined(parts)
    if not timed or profile.status != "done":
        return False
    if len(parts) >= rule.fewest_parts and brief and any(profile.read):
        return False
    return rule.wants_part(len(parts), max((phase.error or 0.0 for phase in profile.phases), default=0.0))


def _combined(phases: Sequence[PhaseProfile]) -> PhaseProfile:
    first = phases[0]
    if not first.groups:
        return first
    relative, error = cost_of([phase.groups for phase in phases])
    return replace(first, relative=relative, error=error, groups=tuple(group for phase in phases for group in phase.groups))
