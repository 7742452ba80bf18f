"""Measuring cost profiles part by part: all methods once, then all again in the other order, then those that are not known well enough."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

from kdarena.arena.scheduler import Job
from kdarena.engines.engine import Result
from kdarena.plan.cost import CostProfile, ProfileSpec
from kdarena.plan.profile_parts import combined, needs_another
from kdarena.plan.profile_rule import rule_of


def in_parts(specs: Sequence[ProfileSpec], *, brief: bool = False) -> Generator[Sequence[Job], list[Result], list[CostProfile]]:
    """Asks for the parts of profiles; returns the profiles in the order of their specs.

    Args:
        specs: of the first part of each.
        brief: as in :func:`kdarena.plan.profile_parts.needs_another`.
    """
    parts: dict[str, list[CostProfile]] = {spec.key: [] for spec in specs}
    due = list({spec.key: spec for spec in specs}.values())
    while due:
        # next to other methods than the last time
        due.reverse()
        jobs = [Job(replace(spec, part=len(parts[spec.key])), "profile") for spec in due]
        for spec, result in zip(due, (yield jobs), strict=True):
            assert isinstance(result, CostProfile)
            parts[spec.key].append(result)
        due = [spec for spec in due if needs_another(parts[spec.key], rule_of(spec.device), timed=spec.timed, brief=brief)]
    return [combined(parts[spec.key]) for spec in specs]
