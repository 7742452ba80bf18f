"""How long cost profiles are measured, by kind of device: the one place where that is decided."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LARGEST_ERROR = 0.02
"""Standard error of a step's cost, as a part of it, above which a profile gets another part."""
FEWEST_GROUPS = 2
"""Of a phase and part: an error needs two."""


@dataclass(frozen=True)
class ProfileRule:
    """How long a profile is measured.

    A profile has parts, each at another time and on a build of its own. In a part, a phase is measured by groups of four blocks of steps, two of the
    method and two of the plain student.

    Attributes:
        block_seconds: device time of a block of steps, of which there is at least one.
        enough_groups: groups of a phase and part from which on their error is believed.
        most_groups: of a phase and part.
        phase_seconds: of its groups, after which a phase and part gets no further one, once it has the two that an error needs.
        groups_error: standard error of a cost, as a part of it, at which a phase and part gets no further group.
        fewest_parts, most_parts: always the fewest; more while the error is above :data:`LARGEST_ERROR`.
        settling_steps: steps that are taken before a phase is timed, in which a device that captures steps does so.
    """

    block_seconds: float
    enough_groups: int
    most_groups: int
    phase_seconds: float
    groups_error: float
    fewest_parts: int
    most_parts: int
    settling_steps: int = 0

    def wants_group(self, groups: Sequence[float], seconds: float) -> bool:
        """Whether a phase needs another group in this part.

        Args:
            groups: the logarithms of the groups' ratios so far.
            seconds: since its measurement began.
        """
        if len(groups) < FEWEST_GROUPS:
            return True
        if len(groups) >= self.most_groups or seconds >= self.phase_seconds:
            return False
        return len(groups) < self.enough_groups or standard_error(groups) > self.groups_error

    def wants_part(self, parts: int, error: float) -> bool:
        """Whether a profile needs another part.

        Args:
            error: the largest of its phases.
        """
        return parts < self.fewest_parts or (parts < self.most_parts and error > LARGEST_ERROR)

    def seconds(self, student_s: float, method_s: float, longer: float) -> float:
        """Seconds that a phase's groups take in all of the fewest parts, about.

        Args:
            student_s, method_s: of a step.
            longer: as its fewest groups by so many times, for finding the length of blocks and for further groups.
        """
        # a block takes a step in addition that is not timed
        blocks = sum(max(self.block_seconds, step) + step for step in (student_s, method_s))
        fewest = FEWEST_GROUPS * 2 * blocks
        enough = min(self.enough_groups * 2 * blocks * longer, max(self.phase_seconds, fewest))
        return self.fewest_parts * enough


RULES: Mapping[str, ProfileRule] = {
    "cpu": ProfileRule(0.06, FEWEST_GROUPS, FEWEST_GROUPS, math.inf, 0.0, fewest_parts=2, most_parts=8),
    "cuda": ProfileRule(0.03, 4, 50, 3.0, 0.01, fewest_parts=1, most_parts=3, settling_steps=12),
}
"""On a CPU what a neighbour on the other hyperthread does to a step lasts for seconds, so that a cost needs several parts with other methods in between.
A GPU belongs to one job, and the time between two of its events is exact: groups that agree are enough."""


def rule_of(device: str) -> ProfileRule:
    """The rule of a kind of device; of one that is timed by a clock as a CPU's."""
    return RULES.get(device, RULES["cpu"])


def standard_error(groups: Sequence[float]) -> float:
    """Of the mean of groups as if they were independent."""
    return statistics.stdev(groups) / math.sqrt(len(groups))
