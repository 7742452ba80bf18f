"""A race over methods and settings: who runs in which rung, and who goes on after it.

Every setting of every method is a contender. In a rung each contender is trained with the same part of a final run's budget, on the same trial seeds. The
better part by its mean on validation goes on, together with those that are so close to the cut that the rung can't distinguish them, as far as there is time
for them. The controls are never out. The last rung leaves a few methods, each with its best setting: they and the controls get final runs on fresh seeds, which
alone decide. So what a race finds by luck is not claimed.

Later rungs have longer runs, fewer contenders and more seeds, so that each rung takes about the same time. By simulation
(``tests/benchmarks/test_racing.py``) that finds better settings than equal allocation in less than its time, and than keeping half on two seeds in each rung.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

SHARES = (1 / 8, 1 / 4, 1 / 2)
"""Of a final run's budget, a rung each."""
SEEDS = (2, 3, 4)
"""Trial seeds of each rung: with one, how far seeds differ is not seen."""
KEPT = 1 / 4
"""Part of the contenders that goes on after a rung."""
CLOSE = 1 / 2
"""Of those that go on, so many more at most for being close to the cut."""
FINALISTS = 4
"""Methods in addition to the controls that get final runs, at most."""
CONFIDENCE = 0.8
"""Of the interval of a difference within which two contenders are not distinguished."""
SURE = 0.95
"""The same where it ends a race early, over all other methods together."""
EARLIEST_END = 1 / 4
"""No race ends early on runs that are a smaller part of a final one: what learns fast is not what ends best."""


@dataclass(frozen=True, order=True)
class Contender:
    """A method with one of its settings.

    Attributes:
        setting: its number; 0 is the default setting.
    """

    method: str
    setting: int


Scores = Mapping[Contender, Sequence[float]]
"""The metric of each contender on validation, by trial seed in the same order; minus infinity where a run failed."""


@dataclass(frozen=True)
class Rung:
    """One round of a race.

    Attributes:
        share: of a final run's budget.
        seeds: numbers of its trial seeds, which no other rung has.
        entering: contenders, at most.
        keep: contenders that go on.
        most: that go on with those that are close to the cut.
    """

    share: float
    seeds: tuple[int, ...]
    entering: int
    keep: int
    most: int

    @property
    def part(self) -> str:
        """Its share of a final run's budget as it is read: ``1/8``."""
        return f"1/{1 / self.share:g}"


@dataclass(frozen=True)
class Selection:
    """Who goes on after a rung.

    Attributes:
        contenders: the best first.
        seeds: of the rung, fewer than planned where the time ran out.
        final: whether they get final runs, and no further rung.
        why: why the race ended before its last rung; empty where it did not.
    """

    contenders: tuple[Contender, ...]
    seeds: int
    final: bool = False
    why: str = ""


def rungs(contenders: int, least: int) -> tuple[Rung, ...]:
    """The rounds of a race.

    Args:
        contenders: that start.
        least: that go on after each rung, where there are so many.
    """
    planned, entering = [], contenders
    for number, (share, seeds) in enumerate(zip(SHARES, SEEDS, strict=True)):
        first = sum(SEEDS[:number])
        keep = min(entering, max(math.ceil(KEPT * entering), least))
        most = min(entering, math.ceil((1 + CLOSE) * keep))
        planned.append(Rung(share, tuple(range(first, first + seeds)), entering, keep, most))
        entering = most
    return tuple(planned)


def survivors(scores: Scores, keep: int, most: int, controls: Collection[str]) -> tuple[Contender, ...]:
    """Who goes on after a rung, the best first.

    Args:
        scores: of the rung.
        keep: so many go on.
        most: so many go on where further ones are close to the cut. Each control goes on with its best setting, also beyond that, and also where all its runs failed.
    """
    order = _by_mean(scores)
    able = [contender for contender in order if math.isfinite(_mean(scores[contender]))]
    cut = _mean(scores[able[:keep][-1]]) - noise(scores) if able and keep else math.inf
    chosen = able[:keep] + [contender for contender in able[keep:most] if _mean(scores[contender]) >= cut]
    chosen += [best for best in _best_of_each(order) if best.method in controls and best.method not in {contender.method for contender in chosen}]
    return tuple(sorted(chosen, key=order.index))


def finalists(scores: Scores, controls: Collection[str], most: int = FINALISTS) -> tuple[Contender, ...]:
    """Who gets final runs: each control and each method that can't be distinguished from the best of them, with its best setting, the best first.

    Args:
        scores: of the last rung.
        most: methods in addition to the controls.
    """
    order = _best_of_each(_by_mean(scores))
    close = rivals(scores, controls, noise(scores))[:most]
    return tuple(contender for contender in order if contender.method in controls or contender in close)


def settled(scores: Scores, controls: Collection[str]) -> bool:
    """Whether one method is clearly the best of several that are no controls, so that further rungs can only repeat it."""
    others = len({contender.method for contender in scores} - {*controls}) - 1
    return others > 0 and len(rivals(scores, controls, noise(scores, 1 - (1 - SURE) / others))) == 1


def rivals(scores: Scores, controls: Collection[str], within: float) -> list[Contender]:
    """The best setting of each method that is no control and at most so much worse than the best of them, the best first."""
    best = [contender for contender in _best_of_each(_by_mean(scores)) if contender.method not in controls and math.isfinite(_mean(scores[contender]))]
    return [contender for contender in best if _mean(scores[contender]) >= _mean(scores[best[0]]) - within]


def noise(scores: Scores, confidence: float = CONFIDENCE) -> float:
    """Half the interval of the difference of two contenders' means; infinite where it is not seen how far seeds differ.

    The variance over seeds is that of the better half, less what is common to all contenders of a seed: the worse are also less even, and nobody
    asks by how much.
    """
    better = [contender for contender in _by_mean(scores) if np.isfinite(scores[contender]).all()]
    better = better[: max(2, math.ceil(len(better) / 2))]
    values = np.array([scores[contender] for contender in better], dtype=np.float64)
    if len(better) < 2 or values.shape[1] < 2:
        return math.inf
    contenders, seeds = values.shape
    rest = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    freedom = (contenders - 1) * (seeds - 1)
    return float(stdtrit(freedom, (1 + confidence) / 2)) * math.sqrt(2 * float((rest**2).sum()) / freedom / seeds)


def _by_mean(scores: Scores) -> list[Contender]:
    """The best first; of equal ones that with the lower number, so that the default setting goes before others."""
    place = {contender: number for number, contender in enumerate(scores)}
    return sorted(scores, key=lambda contender: (-_mean(scores[contender]), contender.setting, place[contender]))


def _best_of_each(order: Sequence[Contender]) -> list[Contender]:
    """The first contender of each method."""
    first: dict[str, Contender] = {}
    for contender in order:
        first.setdefault(contender.method, contender)
    return list(first.values())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
