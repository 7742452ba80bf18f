"""How often boards claim what is not so, and find what is: on simulated boards, and on real runs whose names were dealt out by chance.

The figures are in docs/statistics.md. A level holds where the exact binomial interval of the share of wrong boards reaches down to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from scipy.special import digamma, polygamma, stdtr
from scipy.stats import binomtest, ttest_1samp

from benchmarks.made_up_boards import KINDS, half_better
from benchmarks.tools import SHORT
from kdarena.board.moderation import FEWEST_METHODS, trigamma_inverse
from kdarena.board.pairs import compare_pairs, holm, significant_pairs
from kdarena.board.power import ALPHA, WANTED, detectable_difference, power
from kdarena.execute.execute import execute
from kdarena.execute.workspace import Workspace
from kdarena.method.discovery import discover
from kdarena.plan.spec import Budget, PhaseCost, RunSpec
from kdarena.tracks import find_card

BOARDS = 10 if SHORT else 100
"""Simulated, of each kind, size and number of seeds; four times as many of few methods, which cost little."""
SIZES, SEEDS = (4, 6, 12, 38), (3, 5, 10)
STEPS = 50
REAL = {"student": 18, "dml": 9} if SHORT else {"student": 180, "dml": 27, "msd": 27, "one": 27}
"""Real runs of each method, none of which has a teacher, on as many seeds."""
SET = 3
"""Seeds of each set of real runs."""
DEALS = 20 if SHORT else 200
pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]


def within_level(wrong: int, boards: int, confidence: float = 0.999) -> bool:
    """Whether a share of wrong boards can be one of ``ALPHA`` or less."""
    return bool(binomtest(wrong, boards).proportion_ci(confidence, method="exact").low <= ALPHA)


def wrong_claims(values: np.ndarray, means: np.ndarray) -> tuple[bool, bool]:
    """Whether a board claims a false difference to its student in row 0, and a false order of any two methods, by the tests against the student or of all pairs."""
    pairs = compare_pairs(values)
    to_student = holm(pairs.p[1:, 0]) <= ALPHA
    so = np.sign(np.subtract.outer(means, means))
    return bool(to_student[means[1:] == means[0]].any()), bool((significant_pairs(pairs, 0) & (np.sign(pairs.differences) != so)).any())


@pytest.mark.parametrize("methods", SIZES)
def test_simulated_boards_claim_no_more_than_their_level_allows(methods):
    random, boards = np.random.default_rng(methods), BOARDS * (4 if methods < FEWEST_METHODS else 1)
    truths = {"all equal": np.zeros(methods), "half better": half_better(methods)}
    wrong = {(truth, claim): 0 for truth in truths for claim in ("to the student", "of an order")}
    print()
    for seeds in SEEDS:
        for kind, noise in KINDS.items():
            here = dict.fromkeys(wrong, 0)
            for _ in range(boards):
                drawn = noise(methods, seeds, random)
                for truth, means in truths.items():
                    for claim, so in zip(("to the student", "of an order"), wrong_claims(drawn + means[:, None], means), strict=True):
                        here[truth, claim] += so
            print(f"{methods:2d} methods, {seeds:2d} seeds, {kind:39s}" + ", ".join(f"{count / boards:.3f}" for count in here.values()))
            for what, count in here.items():
                assert within_level(count, boards), (seeds, kind, what, count)
                wrong[what] += count
    together = boards * len(SEEDS) * len(KINDS)
    for what, count in wrong.items():
        print(f"{methods:2d} methods, {together} boards, wrong claim {what[1]}, {what[0]}: {count / together:.4f}")
        assert within_level(count, together, 0.95), (what, count)


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("methods", SIZES)
def test_a_planted_effect_is_found_at_least_as_often_as_the_power_says_and_hardly_more(methods, seeds):
    random, boards = np.random.default_rng(seeds), 4 * BOARDS
    freedom = float(np.median([compare_pairs(random.standard_normal((methods, seeds))).freedom for _ in range(50)]))
    effect = detectable_difference(2.0, seeds, freedom, methods - 1)
    found, expected = 0, []
    for _ in range(boards):
        values = random.standard_normal((methods, seeds))
        values[1] += effect
        pairs = compare_pairs(values)
        found += pairs.p[1, 0] <= ALPHA / (methods - 1)
        expected.append(float(power(effect / math.sqrt(2.0 / seeds), pairs.freedom, ALPHA / (methods - 1))))
    share = binomtest(int(found), boards).proportion_ci(0.999, method="exact")
    print(
        f"\n{methods:2d} methods, {seeds:2d} seeds: an effect of {effect:.2f} deviations is found in {found / boards:.3f}, the power says {np.mean(expected):.3f}"
    )
    assert share.high >= np.mean(expected)
    assert share.low <= np.mean(expected) + 0.15


def paired_p(values: np.ndarray) -> np.ndarray:
    """Of plain paired t tests of all rows against the student in row 0."""
    return np.asarray(ttest_1samp(values[1:] - values[0], 0.0, axis=1).pvalue)


def moderated_difference_p(values: np.ndarray) -> np.ndarray:
    """Of the same with variances of the differences moderated over the board, as if each difference had noise of its own."""
    differences = values[1:] - values[0]
    free, variances = differences.shape[1] - 1, differences.var(1, ddof=1)
    logs = np.log(variances) - digamma(free / 2) + math.log(free / 2)
    half = trigamma_inverse(max(float(logs.var(ddof=1)) - float(polygamma(1, free / 2)), 1e-4))
    centre = math.exp(float(logs.mean()) + float(digamma(half)) - math.log(half))
    moderated = (2 * half * centre + free * variances) / (2 * half + free)
    return np.asarray(2 * stdtr(2 * half + free, -np.abs(differences.mean(1)) / np.sqrt(moderated / differences.shape[1])))


@pytest.mark.parametrize("seeds", SEEDS)
def test_tests_without_correction_or_with_moderated_differences_claim_more_than_their_level(seeds):
    methods, random = 38, np.random.default_rng(seeds)
    uncorrected, differences = {}, {}
    for kind, noise in KINDS.items():
        boards = [noise(methods, seeds, random) for _ in range(2 * BOARDS)]
        uncorrected[kind] = np.mean([(paired_p(values) <= ALPHA).any() for values in boards])
        differences[kind] = np.mean([(holm(moderated_difference_p(values)) <= ALPHA).any() for values in boards])
    print()
    for name, shares in (("paired t without correction", uncorrected), ("moderated differences with Holm", differences)):
        print(f"{methods} methods, {seeds} seeds, {name}: a false claim on {min(shares.values()):.2f} to {max(shares.values()):.2f} of the boards")
    assert np.mean(list(uncorrected.values())) > 4 * ALPHA
    assert SHORT or max(differences.values()) > 2 * ALPHA


@pytest.fixture(scope="session")
def real_runs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, np.ndarray]:
    """Test accuracies of short runs on digits, of each method on its seeds."""
    folder: Path = tmp_path_factory.mktemp("real")
    workspace, data = Workspace(folder, folder), find_card("digits").digest(None)
    sources = {plugin.name: plugin.source for plugin in discover()}
    price = (PhaseCost("train", None, 1.0, 1.0, None, None, 1),)

    def accuracy(method: str, seed: int) -> float:
        result = execute(RunSpec("digits", method, sources[method], "final", seed, Budget(STEPS, "flop"), price, data=data), workspace)
        assert result.status == "done", result.error
        return result.metrics["test/top1"]

    values = {method: np.array([accuracy(method, seed) for seed in range(count)]) for method, count in REAL.items()}
    print("".join(f"\n{method}: {len(one)} runs of {STEPS} steps, {one.mean():.1f} ± {one.std(ddof=1):.1f}" for method, one in values.items()))
    return values


def test_disjoint_sets_of_seeds_of_one_method_differ_no_more_often_than_by_level(real_runs):
    sets = real_runs["student"].reshape(-1, 2, SET)
    rejected = sum(bool(compare_pairs(both).p[0, 1] <= ALPHA) for both in sets)
    print(f"\n{len(sets)} comparisons of {SET} runs of the student with {SET} others: {rejected} rejected")
    assert within_level(rejected, len(sets), 0.95)
    again = np.random.default_rng(0)
    dealt = [compare_pairs(again.permutation(real_runs["student"])[: 2 * SET].reshape(2, SET)).p[0, 1] <= ALPHA for _ in range(10 * DEALS)]
    print(f"dealt again {len(dealt)} times: {np.mean(dealt):.3f}")
    assert SHORT or np.mean(dealt) < ALPHA + 0.02


def dealt_boards(real_runs: Mapping[str, np.ndarray], methods: list[str], rows: int, random: np.random.Generator | None = None) -> Iterator[np.ndarray]:
    """Boards [methods x rows, SET], of so many rows for each method, that share no run; dealt in the order of the seeds, or by chance."""
    sets = [(random.permutation(real_runs[method]) if random else real_runs[method]) for method in methods]
    boards = min(len(one) for one in sets) // (rows * SET)
    for number in range(boards):
        yield np.concatenate([one[number * rows * SET : (number + 1) * rows * SET].reshape(rows, SET) for one in sets])


@pytest.mark.parametrize("several", [False, True])
def test_boards_on_which_methods_have_many_names_tell_no_method_from_itself(real_runs, several):
    methods, rows = (list(REAL), 3) if several else (["student"], 6 if SHORT else 12)
    same = np.kron(np.eye(len(methods)), np.ones((rows, rows))) > 0
    counts = []
    for deal in range(DEALS):
        boards = list(dealt_boards(real_runs, methods, rows, np.random.default_rng(deal) if deal else None))
        pairs = [compare_pairs(board) for board in boards]
        wrong = [bool((significant_pairs(one, 0) & same).any()) for one in pairs]
        counts.append((sum(wrong), len(wrong)))
    first, dealt = counts[0], np.sum(counts, 0)
    print(f"\n{', '.join(methods)}, {rows} names each: {first[0]} of {first[1]} boards tell a method from itself, dealt again {dealt[0] / dealt[1]:.3f}")
    assert within_level(*first, 0.95)
    assert SHORT or dealt[0] / dealt[1] < ALPHA


def test_an_effect_that_is_planted_among_real_runs_is_found_as_often_as_the_power_says(real_runs):
    rows, runs = (6 if SHORT else 12), real_runs["student"]
    tests, variance = rows - 1, 2 * float(runs.var(ddof=1))
    boards = [board for deal in range(DEALS) for board in dealt_boards(real_runs, ["student"], rows, np.random.default_rng(deal))]
    freedom = float(np.median([compare_pairs(board).freedom for board in boards]))
    effect = detectable_difference(variance, SET, freedom, tests)
    found = np.mean([compare_pairs(np.vstack([board[:1], board[1:2] + effect, board[2:]])).p[1, 0] <= ALPHA / tests for board in boards])
    print(
        f"\n{effect:.1f} points added to {SET} of the student's runs are found on {found:.3f} of {len(boards)} boards of {rows} rows, the power says {WANTED}"
    )
    assert SHORT or WANTED - 0.05 <= found <= WANTED + 0.15
