"""What a race finds compared with equal allocation at the same total, by simulation, and what ending final seeds early does to the level of the claim.

Scores are points of a metric. A setting's quality is what its final runs have in the mean. A shorter run shows it with three errors: what a short schedule
prefers otherwise (the same in every run of the setting), the seed's, and that of 300 validation samples; the first two grow with every halving of the run.
Regret is the best quality of all settings less that of the setting that was chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.special import stdtr

from benchmarks.tools import SHORT
from kdarena.board.recommendation import EARLY_LEVEL, LEVEL
from kdarena.plan.levels import DEFAULT_SEEDS, FEWEST_SEEDS
from kdarena.plan.race_plan import SETTINGS, rungs_of
from kdarena.plan.racing import Contender, finalists, settled, survivors

METHODS = 35
RACES = 60 if SHORT else 1_000
HORIZON, SEED, VALIDATION = 1.5, 1.8, 1.5
"""Standard deviations: of what a schedule of an eighth prefers otherwise, of a seed at the full budget, of 300 validation samples."""
WORLDS = {"methods and settings differ": (2.0, 2.0), "methods differ more": (2.0, 1.0), "little differs": (1.0, 1.0)}
"""Standard deviations of the qualities of the methods' defaults, and of a method's settings around them."""
CONTROLS = ("0", "1")


@dataclass
class World:
    """The settings of made-up methods [METHODS, SETTINGS], and what runs show of them."""

    random: np.random.Generator
    quality: np.ndarray
    prefers: np.ndarray

    def score(self, settings: np.ndarray, share: float, seeds: int) -> np.ndarray:
        """Scores on validation [len(settings), seeds] of settings, by their numbers."""
        halvings = -math.log2(share)
        expected = self.quality.ravel()[settings] + HORIZON * math.sqrt(halvings / 3) * self.prefers.ravel()[settings]
        return expected[:, None] + math.hypot(SEED * (1 + 0.35 * halvings), VALIDATION) * self.random.standard_normal((len(settings), seeds))

    def best_in_final(self, settings: np.ndarray, seeds: int) -> int:
        """The setting with the best mean on test over fresh seeds."""
        means = self.quality.ravel()[settings] + SEED / math.sqrt(seeds) * self.random.standard_normal(len(settings))
        return int(settings[means.argmax()])


def made(number: int, methods: float, settings: float) -> World:
    random = np.random.default_rng(number)
    quality = methods * random.standard_normal((METHODS, 1)) + settings * random.standard_normal((METHODS, SETTINGS))
    return World(random, quality, random.standard_normal(quality.shape))


def race(world: World) -> tuple[int, float]:
    """The setting that a race chooses, and the budgets of a run that it took."""
    going = [Contender(str(method), setting) for method in range(METHODS) for setting in range(SETTINGS)]
    taken = 0.0
    planned = rungs_of(METHODS, SETTINGS)
    for rung in planned:
        numbers = np.array([int(one.method) * SETTINGS + one.setting for one in going])
        shown = world.score(numbers, rung.share, len(rung.seeds))
        taken += shown.size * rung.share
        scores = dict(zip(going, shown.tolist(), strict=True))
        if rung is planned[-1] or (rung.share >= 1 / 4 and settled(scores, CONTROLS)):
            going = list(finalists(scores, CONTROLS))
            break
        going = list(survivors(scores, rung.keep, rung.most, CONTROLS))
    numbers = np.array([int(one.method) * SETTINGS + one.setting for one in going])
    return world.best_in_final(numbers, DEFAULT_SEEDS), taken + DEFAULT_SEEDS * len(going)


def tuned_equally(world: World, total: float) -> int:
    """Every method is tuned with 1.5 budgets as ``kdarena run`` does, and gets final seeds with what is left, at least two."""
    methods, every = np.arange(METHODS), np.arange(METHODS * SETTINGS)
    first = world.score(every, 1 / 8, 1).reshape(METHODS, SETTINGS)
    other = methods * SETTINGS + 1 + first[:, 1:].argmax(1)
    default = methods * SETTINGS
    better = world.score(other, 1 / 8, 4).mean(1) > world.score(default, 1 / 8, 4).mean(1)
    return world.best_in_final(np.where(better, other, default), max(2, math.ceil(total / METHODS - 1.5)))


def defaults_only(world: World, total: float) -> int:
    """Every method's default setting gets all the time."""
    return world.best_in_final(np.arange(METHODS) * SETTINGS, math.ceil(total / METHODS))


def every_setting(world: World, total: float) -> int:
    """Every setting of every method gets the same number of full runs."""
    return world.best_in_final(np.arange(METHODS * SETTINGS), math.ceil(total / METHODS / SETTINGS))


EQUAL: dict[str, Callable[[World, float], int]] = {
    "tuned equally": tuned_equally,
    "defaults only": defaults_only,
    "every setting once": every_setting,
}


@pytest.mark.benchmark
@pytest.mark.parametrize("name", WORLDS)
def test_a_race_has_less_regret_than_equal_allocation_at_the_same_total(name):
    regrets: dict[str, list[float]] = {method: [] for method in ("race", *EQUAL)}
    totals = []
    for number in range(RACES):
        world = made(number, *WORLDS[name])
        chosen, total = race(world)
        totals.append(total)
        choices = {"race": chosen, **{method: choose(world, total) for method, choose in EQUAL.items()}}
        for method, setting in choices.items():
            regrets[method].append(world.quality.max() - world.quality.ravel()[setting])
    print(f"\n{name}, {np.mean(totals):.0f} budgets of a run")
    for method, values in regrets.items():
        print(f"  {method:20s} regret {np.mean(values):.2f} ± {1.96 * np.std(values) / math.sqrt(len(values)):.2f} points")
    best_other = min(np.mean(values) for method, values in regrets.items() if method != "race")
    assert np.mean(regrets["race"]) < (1.3 if SHORT else 1.0) * best_other


@pytest.mark.benchmark
def test_ending_final_seeds_early_keeps_the_level_of_the_claim():
    """Methods that are all equal to the student; each look tests all of them, after Bonferroni."""
    boards, methods = (4_000 if SHORT else 200_000), 5
    random = np.random.default_rng(0)
    scores = random.standard_normal((boards, methods + 1, DEFAULT_SEEDS))
    differences = scores[:, 1:] - scores[:, :1]
    claimed = {False: np.zeros(boards, bool), True: np.zeros(boards, bool)}
    for seeds in range(FEWEST_SEEDS, DEFAULT_SEEDS + 1):
        seen = differences[:, :, :seeds]
        t = seen.mean(2) / (seen.std(2, ddof=1) / math.sqrt(seeds))
        level = LEVEL if seeds == DEFAULT_SEEDS else EARLY_LEVEL
        claims = (methods * 2 * stdtr(seeds - 1, -np.abs(t)) <= level).any(1)
        claimed[True] |= claims
        claimed[False] = claims
    shares = {early: float(values.mean()) for early, values in claimed.items()}
    print(f"\nboards of {methods} equal methods with a claim: {shares[False]:.4f}, with looks after three and four seeds {shares[True]:.4f}")
    assert shares[True] <= LEVEL
    assert shares[True] - shares[False] < 0.1 * LEVEL
