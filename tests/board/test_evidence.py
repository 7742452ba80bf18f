"""The columns that compare a board's rows: which rows are tested together, and what their columns hold."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from kdarena.board.evidence import RowValues, evidence
from kdarena.board.formats import csv_text, json_text
from kdarena.board.leaderboard import leaderboard_frame
from kdarena.board.pairs import compare_pairs, holm, rank_intervals
from kdarena.board.power import detectable_difference, seeds_needed
from kdarena.plan.spec import PhaseCost

STUDENT = [88.0, 89.0, 88.5]
KD = [90.0, 91.5, 90.6]
TESTED = ("p_raw", "p_holm", "p_kd_holm", "detectable", "seeds_needed", "delta_student_corrected_low", "delta_student_corrected_high", "delta_kd_corrected_low")
RANKS = ("rank_low", "rank_high", "rank", "rank_class")
COMPARED = ("delta_student", "delta_student_low", "delta_student_high", "delta_kd", "delta_kd_low", "delta_kd_high", "delta_kd_corrected_high", *TESTED, *RANKS)


@pytest.fixture
def board(synthetic):
    def rows(*methods, **values):
        runs = [run for name, one in values.items() for run in synthetic.runs(name, one)]
        return {row["method"]: row for row in leaderboard_frame([*runs, *methods], {}).to_dict("records")}

    return rows


def noisy(methods=9, seeds=4, gain=0.0):
    random = np.random.default_rng(3)
    values = 90 + random.standard_normal(seeds) + 0.5 * random.standard_normal((methods, seeds))
    values[2:] += gain
    names = ["student", "kd", *(f"m{number}" for number in range(2, methods))]
    return values, dict(zip(names, values.tolist(), strict=True))


# what the columns hold
def test_with_a_few_methods_the_columns_are_those_of_the_paired_t_test(board):
    rows = board(student=STUDENT, kd=KD, quest=[88.1, 89.0, 88.9])
    row = rows["kd"]
    expected = stats.ttest_rel(KD, STUDENT)
    corrected = expected.confidence_interval(1 - 0.05 / 2)
    assert (row["p_raw"], row["family"]) == (pytest.approx(expected.pvalue), 3)
    assert (row["delta_student_low"], row["delta_student_high"]) == pytest.approx(tuple(expected.confidence_interval()))
    assert (row["delta_student_corrected_low"], row["delta_student_corrected_high"]) == pytest.approx(tuple(corrected))
    other = rows["quest"]["p_raw"]
    assert (row["p_holm"], rows["quest"]["p_holm"]) == pytest.approx((2 * row["p_raw"], other))
    variance = np.var(np.subtract(KD, STUDENT), ddof=1)
    assert row["detectable"] == pytest.approx(detectable_difference(variance, 3, 2, tests=2))
    assert [row["seeds_needed"]] == seeds_needed([row["delta_student"]], [variance], prior=0, methods=3, tests=2)


def test_with_many_methods_the_columns_are_those_of_the_moderated_tests(board):
    values, named = noisy(gain=3.0)
    rows = board(**named)
    pairs = compare_pairs(values)
    assert pairs.prior > 0
    low, high = rank_intervals(pairs, 0)
    corrected, to_kd = holm(pairs.p[1:, 0]), holm(np.delete(pairs.p[1], 1))
    half = stats.t.ppf(1 - 0.025 / 8, pairs.freedom) * math.sqrt(pairs.variances[4, 0] / 4)
    row = rows["m4"]
    assert (row["p_raw"], row["p_holm"], row["p_kd_holm"]) == pytest.approx((pairs.p[4, 0], corrected[3], to_kd[3]))
    assert (row["rank_low"], row["rank_high"], row["family"]) == (low[4], high[4], 9)
    assert row["delta_student"] == pytest.approx(values[4].mean() - values[0].mean())
    assert row["delta_student"] - row["delta_student_corrected_low"] == pytest.approx(half)
    assert row["detectable"] == pytest.approx(detectable_difference(pairs.variances[4, 0], 4, pairs.freedom, tests=8))
    assert rows["student"]["p_kd_holm"] == pytest.approx(to_kd[0])


def test_a_control_is_not_compared_with_itself(board):
    rows = board(**noisy()[1])
    assert [rows["student"][name] for name in ("p_raw", "p_holm", "delta_student", "detectable", "seeds_needed")] == [None] * 5
    assert [rows["kd"][name] for name in ("p_kd_holm", "delta_kd", "delta_kd_corrected_low")] == [None] * 3
    assert rows["student"]["rank_low"] is not None and rows["student"]["family"] == 9


def test_an_interval_ends_at_zero_where_holms_test_alone_excludes_the_other_sign(board):
    met = 0
    for gain in np.arange(0.5, 6, 0.25):
        for row in board(**noisy(gain=gain)[1]).values():
            low, high, p = (row[name] for name in ("delta_student_corrected_low", "delta_student_corrected_high", "p_holm"))
            if p is not None:
                assert (low >= 0 or high <= 0) == (p <= 0.05)
                met += 0.0 in (low, high)
    assert met


def test_the_corrected_interval_is_the_wider_one_around_the_same_difference(board):
    for row in board(**noisy(gain=1.0)[1]).values():
        for column in ("delta_student", "delta_kd"):
            if row[column] is not None:
                ends = [row[f"{column}{end}"] for end in ("_corrected_low", "_low", "", "_high", "_corrected_high")]
                assert all(one < other for one, other in pairwise(end for end in ends if end != 0.0))


# which rows are in the family
@pytest.mark.parametrize("many", [False, True])
def test_rows_outside_of_the_family_change_no_number_inside(board, synthetic, many):
    named = noisy(seeds=3)[1] if many else {"student": STUDENT, "kd": KD}
    alone = board(**named)
    outside = [
        *synthetic.runs("lacking", [99.0, 97.0]),
        synthetic.failed("lacking", 2),
        synthetic.failed("crd", 0, "skipped", "needs feature maps"),
        *(synthetic.run("free", seed, 95.0 + seed, outside={"build_student": 50.0}) for seed in range(3)),
        *(synthetic.run("cheap", seed, 95.0 - seed, costs=(PhaseCost("train", None, 1.0, 0.005, 0.5, 0.001, 9),), spent_s=183.0) for seed in range(3)),
    ]
    rows = board(*outside, **named)
    assert {rows[name]["status"] for name in ("free", "cheap", "crd")} == {"unpaid", "underpriced", "skipped"}
    for name, row in alone.items():
        assert {column: rows[name][column] for column in ("family", *COMPARED)} == {column: row[column] for column in ("family", *COMPARED)}
    for name in ("lacking", "crd", "free", "cheap"):
        assert [rows[name][column] for column in ("family", "rank_low", "rank_high", *TESTED)] == [None] * (3 + len(TESTED))


def test_a_row_outside_of_the_family_has_its_difference_with_the_paired_interval(board, synthetic):
    row = board(*synthetic.runs("lacking", [99.0, 97.0]), synthetic.failed("lacking", 2), **noisy(seeds=3)[1] | {"student": STUDENT})["lacking"]
    expected = stats.ttest_rel([99.0, 97.0], STUDENT[:2]).confidence_interval()
    assert (row["delta_student_low"], row["delta_student_high"]) == pytest.approx(tuple(expected))


# few seeds, few rows, no variation
def test_two_seeds_are_tested_and_have_no_ranks(board):
    row = board(student=STUDENT[:2], kd=KD[:2])["kd"]
    assert row["p_holm"] == pytest.approx(stats.ttest_rel(KD[:2], STUDENT[:2]).pvalue)
    assert [row[name] for name in RANKS] == [None] * 4


@pytest.mark.parametrize("methods", [2, 9])
def test_one_seed_has_differences_and_no_test(board, methods):
    row = board(**noisy(methods, 1)[1])["kd"]
    assert row["delta_student"] is not None
    assert [row[name] for name in (*TESTED, *RANKS, "delta_student_low", "delta_student_high")] == [None] * (len(TESTED) + 6)


def test_without_the_student_there_are_ranks_and_no_p(board):
    row = board(kd=KD, quest=STUDENT)["kd"]
    assert (row["rank_low"], row["rank_high"], row["p_raw"], row["delta_student"], row["detectable"]) == (1, 1, None, None, None)


def test_a_student_that_lacks_a_seed_is_compared_with_and_not_tested(board, synthetic):
    rows = board(*synthetic.runs("student", STUDENT[:2]), synthetic.failed("student", 2), kd=KD, quest=[90.1, 91.0, 90.9])
    row = rows["kd"]
    assert (row["p_raw"], row["family"], row["rank_low"]) == (None, 2, 1)
    assert row["delta_student"] == pytest.approx(np.mean(np.subtract(KD[:2], STUDENT[:2])))


def test_a_row_alone_has_the_only_place(board):
    row = board(student=STUDENT)["student"]
    assert (row["rank_low"], row["rank_high"], row["family"], row["p_raw"]) == (1, 1, 1, None)


@pytest.mark.parametrize("methods", [2, 7])
def test_where_all_runs_failed_nothing_is_compared(board, synthetic, methods):
    failed = [synthetic.failed(name, seed) for name in ("student", "kd", *(f"m{number}" for number in range(methods))) for seed in range(3)]
    for row in board(*failed).values():
        assert [row[name] for name in (*TESTED, "rank_low", "rank_high", "family", "delta_student")] == [None] * (len(TESTED) + 4)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("methods", [2, 5, 6, 12])
@pytest.mark.parametrize(
    "values",
    [
        pytest.param(lambda method, seed: 50.0, id="constant"),
        pytest.param(lambda method, seed: 50.0 + 1.1 * seed, id="ties in every seed"),
        pytest.param(lambda method, seed: 50.0 + 1.1 * seed + 0.7 * method, id="differences that never vary"),
    ],
)
def test_without_any_variation_rows_have_their_differences_and_nothing_is_claimed(board, methods, values):
    names = ["student", "kd", *(f"m{number}" for number in range(2, methods))]
    rows = board(**{name: [values(method, seed) for seed in range(3)] for method, name in enumerate(names)})
    for name, row in rows.items():
        assert (row["rank_low"], row["rank_high"]) == (1, methods)
        assert [row[column] for column in TESTED] == [None] * len(TESTED)
        assert row["delta_student_low"] is None
        assert (row["delta_student"] is None) == (name == "student")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("methods", [4, 9])
def test_a_row_that_equals_the_student_in_every_seed_is_not_said_to_differ(board, methods):
    named = noisy(methods)[1]
    row = board(**named | {"m2": named["student"]})["m2"]
    assert (row["delta_student"], row["seeds_needed"]) == (0.0, None)
    assert row["p_holm"] in (None, 1.0) and row["p_kd_holm"] is not None


@pytest.mark.parametrize("methods", [2, 3, 7])
@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_no_cell_of_a_board_is_a_nan(board, synthetic, methods, seeds):
    values, named = noisy(methods, seeds)
    named["m2" if methods > 2 else "kd"] = [values[0].max()] * seeds
    frame = leaderboard_frame([run for name, one in named.items() for run in synthetic.runs(name, one)], {})
    assert not any(isinstance(value, float) and not math.isfinite(value) for row in frame.to_dict("records") for value in row.values())
    assert "nan" not in csv_text(frame).lower()
    json.loads(json_text(frame), parse_constant=pytest.fail)


def test_the_place_of_a_row_among_the_others_does_not_matter():
    values, _ = noisy(gain=1.0)
    rows = [RowValues(dict(enumerate(one)), True) for one in values.tolist()]
    straight, turned = evidence(rows, 0, 1), evidence(rows[::-1], 8, 7)[::-1]
    for one, other in zip(straight, turned, strict=True):
        assert one == pytest.approx(other)
