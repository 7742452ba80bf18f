"""Further networks and further metrics on the board: they inform, and never rank."""

import json
import math
from dataclasses import replace

import pytest
from scipy import stats

from kdarena.board.formats import json_text, markdown
from kdarena.board.leaderboard import leaderboard_frame

STUDENT = [88.0, 89.0, 88.5]
KD = [90.0, 91.5, 90.6]
MULTI = [95.0, 97.0, 95.5]


def metrics(value, **further):
    return {"validation/top1": value, "test/top1": value, "test/nll": 0.5, **further}


def run(synthetic, method, seed, value, **further):
    return synthetic.run(method, seed, metrics=metrics(value, **further))


def feed(synthetic, values=KD, deployed=MULTI):
    """A method that deploys a further network, better than all students."""
    return [
        run(synthetic, "feed", seed, value, **{"deploy:multi/top1": further, "deploy:multi/nll": 0.25, "deploy:multi/params": 5000.0})
        for seed, (value, further) in enumerate(zip(values, deployed, strict=True))
    ]


def rows(runs):
    return leaderboard_frame(runs, {}).to_dict("records")


def by_name(runs):
    return {row["method"]: row for row in rows(runs)}


# reference rows
def test_a_further_network_has_a_row_of_its_own_without_a_rank(synthetic):
    row = by_name([*synthetic.runs("student", STUDENT), *feed(synthetic)])["feed:multi"]
    assert (row["rank"], row["status"], row["seeds"]) == (None, "reference", 3)


def test_its_mean_has_its_own_t_interval(synthetic):
    row = by_name(feed(synthetic))["feed:multi"]
    low, high = stats.t.interval(0.95, 2, loc=sum(MULTI) / 3, scale=stats.sem(MULTI))
    assert (row["mean"], row["ci_low"], row["ci_high"]) == pytest.approx((sum(MULTI) / 3, low, high))


def test_it_is_read_against_the_student_by_seed(synthetic):
    row = by_name([*synthetic.runs("student", STUDENT), *feed(synthetic)])["feed:multi"]
    expected = stats.ttest_rel(MULTI, STUDENT).confidence_interval()
    assert (row["delta_student_low"], row["delta_student_high"]) == pytest.approx((expected.low, expected.high))


def test_it_claims_nothing_that_only_a_ranked_row_may(synthetic):
    row = by_name([*synthetic.runs("student", STUDENT), *synthetic.runs("kd", KD), *feed(synthetic)])["feed:multi"]
    for column in (
        "rank_low",
        "rank_high",
        "p_raw",
        "p_holm",
        "delta_kd",
        "delta_equal_updates",
        "rank_class",
        "detectable",
        "validation",
        "latency_ms",
        "mean_default",
    ):
        assert row[column] is None


def test_size_and_metrics_are_its_own_and_costs_are_those_of_the_training(synthetic):
    found = by_name(feed(synthetic))
    assert (found["feed"]["params"], found["feed:multi"]["params"]) == (1234, 5000)
    assert (found["feed"]["nll"], found["feed:multi"]["nll"]) == (0.5, 0.25)
    assert found["feed:multi"]["top5"] is None
    for column in ("steps", "committed", "flops", "supervision", "run_ids", "unit", "reference"):
        assert found["feed:multi"][column] == found["feed"][column]


def test_it_changes_neither_the_ranks_nor_the_numbers_of_the_others(synthetic):
    others = [*synthetic.runs("student", STUDENT), *synthetic.runs("best", [92.0, 92.5, 92.2])]
    bare = [run(synthetic, "feed", seed, value) for seed, value in enumerate(KD)]
    without, found = rows([*others, *bare]), rows([*others, *feed(synthetic)])
    ranked = [row for row in found if row["rank"] is not None]
    assert [(row["method"], row["rank"]) for row in ranked] == [("best", 1), ("feed", 2), ("student", 3)]
    for row, before in zip(ranked, without, strict=True):
        assert {**row, "run_ids": None} == {**before, "run_ids": None}


def test_reference_rows_stand_below_all_others(synthetic):
    skipped = synthetic.failed("crd", 0, "skipped", "needs feature maps", reference=None, teachers=())
    failed = [synthetic.failed("brittle", seed) for seed in range(3)]
    found = rows([*synthetic.runs("student", STUDENT), *feed(synthetic), *failed, skipped])
    assert [row["method"] for row in found] == ["feed", "student", "brittle", "crd", "feed:multi"]


def test_each_further_network_has_its_row(synthetic):
    runs = [run(synthetic, "endd", seed, 90.0, **{"deploy:b/top1": 91.0, "deploy:a/top1": 92.0}) for seed in range(3)]
    assert [(row["method"], row["mean"]) for row in rows(runs)] == [("endd", 90.0), ("endd:a", 92.0), ("endd:b", 91.0)]


def test_a_further_network_without_a_finite_value_has_no_mean(synthetic):
    row = by_name(feed(synthetic, deployed=[math.nan] * 3))["feed:multi"]
    assert (row["mean"], row["rank"]) == (None, None)


def test_only_the_setting_on_the_board_deploys(synthetic):
    tuned = [synthetic.run("feed", seed, setting="tuned", params={"tau": 2.0}, metrics=metrics(99.0)) for seed in range(3)]
    assert [row["method"] for row in rows([*feed(synthetic), *tuned])] == ["feed"]


def test_every_format_prints_it_without_a_rank(synthetic):
    frame = leaderboard_frame([*synthetic.runs("student", STUDENT), *feed(synthetic)], {})
    (line,) = [line for line in markdown(frame).splitlines() if "feed:multi" in line and "|" in line]
    assert [cell.strip() for cell in line.split("|")][5] == "–"
    assert "reference" in line
    assert [row["rank"] for row in json.loads(json_text(frame))] == [1, 2, None]


# further metrics
def test_further_metrics_stand_in_the_row_as_means_over_seeds(synthetic):
    runs = [run(synthetic, "kd", seed, 90.0, **{"test/generalisation": 5.0 + seed, "method/spread": float(seed)}) for seed in range(3)]
    assert json.loads(by_name(runs)["kd"]["further_json"]) == {"generalisation": 6.0, "method/spread": 1.0}


def test_a_metric_that_has_a_column_is_not_named_twice(synthetic):
    assert by_name(synthetic.runs("kd", KD))["kd"]["further_json"] is None


def test_a_further_networks_metrics_are_in_its_own_row_alone(synthetic):
    runs = [
        run(synthetic, "endd", seed, 90.0, **{"test/prr/entropy": 60.0, "deploy:ensemble/top1": 95.0, "deploy:ensemble/prr/entropy": 80.0}) for seed in (0, 1)
    ]
    found = by_name(runs)
    assert json.loads(found["endd"]["further_json"]) == {"prr/entropy": 60.0}
    assert json.loads(found["endd:ensemble"]["further_json"]) == {"prr/entropy": 80.0}


def test_a_methods_own_report_is_the_students_and_not_the_further_networks(synthetic):
    runs = [run(synthetic, "endd", seed, 90.0, **{"method/spread": 1.0, "deploy:ensemble/top1": 95.0}) for seed in (0, 1)]
    assert by_name(runs)["endd:ensemble"]["further_json"] is None


def test_a_value_that_is_not_finite_is_left_out_of_the_mean_and_the_json_stays_json(synthetic):
    runs = [run(synthetic, "kd", seed, 90.0, **{"test/prr/entropy": value, "method/odd": math.inf}) for seed, value in enumerate([60.0, math.nan, 70.0])]
    text = by_name(runs)["kd"]["further_json"]
    assert json.loads(text, parse_constant=pytest.fail) == {"prr/entropy": 65.0, "method/odd": None}


def test_a_failed_seed_counts_in_no_further_metric(synthetic):
    runs = [run(synthetic, "kd", seed, 90.0, **{"test/generalisation": 5.0}) for seed in (0, 1)]
    broken = synthetic.run("kd", 2, status="diverged", metrics={"test/generalisation": 500.0})
    assert json.loads(by_name([*runs, broken])["kd"]["further_json"]) == {"generalisation": 5.0}


def test_the_reference_teacher_has_a_row_with_its_difference_to_the_students_of_all_seeds(synthetic):
    spec = synthetic.spec("student", purpose="teacher", reference=None)
    students = synthetic.runs("student", STUDENT)
    named = [replace(run, spec=replace(run.spec, reference=spec.key)) for run in students]
    teacher = synthetic.recorded(spec, synthetic.result(spec, 97.0), "teacher")
    row = by_name([*named, teacher])["teacher"]
    assert (row["mean"], row["status"], row["rank"], row["ci_low"], row["run_ids"]) == (97.0, "reference", None, None, [teacher.run_id])
    low, high = stats.t.interval(0.95, 2, loc=97 - sum(STUDENT) / 3, scale=stats.sem(STUDENT))
    assert (row["delta_student_low"], row["delta_student_high"]) == pytest.approx((low, high))


def test_a_teacher_that_was_given_as_a_file_has_no_row(synthetic):
    assert "teacher" not in by_name(synthetic.runs("student", STUDENT))
