import math
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from scipy import stats

from kdarena.board.cells import name_of
from kdarena.board.leaderboard import COLUMNS, leaderboard_frame
from kdarena.board.selection import Asked
from kdarena.method.declaration import REFERENCE, TeacherSpec, teacher_pool
from kdarena.params import Float, Int, Params
from kdarena.plan.spec import Budget, PhaseCost, PhaseRecord
from kdarena.record.declarations import Declaration

STUDENT = [88.0, 89.0, 88.5]
KD = [90.0, 91.5, 90.6]
PROMISED = [
    "task",
    "track",
    "method",
    "paper",
    "supervision",
    "default_source",
    "rank_low",
    "rank_high",
    "metric",
    "mean",
    "ci_low",
    "ci_high",
    "delta_student",
    "delta_student_low",
    "delta_student_high",
    "p_raw",
    "p_holm",
    "delta_equal_updates",
    "delta_kd",
    "delta_kd_low",
    "delta_kd_high",
    "detectable",
    "seeds_needed",
    "seeds",
    "tuned",
    "unit",
    "budget",
    "committed",
    "spent_s",
    "tuning_s",
    "teacher_s",
    "step_cost",
    "steps",
    "samples",
    "flops",
    "params",
    "latency_ms",
    "status",
    "run_ids",
]


def board(runs, methods=None, sources=None, **arguments):
    declared = {name: Declaration.of(method) for name, method in (methods or {}).items()}
    declared |= {name: Declaration("paper", source=source) for name, source in (sources or {}).items()}
    frame = leaderboard_frame(runs, declared, **arguments)
    return {name_of(row): row for row in frame.to_dict("records")}


@dataclass(frozen=True)
class SomeParams(Params):
    tau: float = Float(4.0, 1.0, 10.0, source="paper")
    depth: int = Int(2, 1, 4, source="ours")
    width: int = Int(2, 1, 4, source="ours")


def test_the_promised_columns_come_first_and_in_order(synthetic):
    frame = leaderboard_frame(synthetic.runs("kd", KD), {})
    assert list(COLUMNS) == PROMISED
    assert list(frame.columns)[: len(PROMISED)] == PROMISED


def test_an_empty_record_has_an_empty_board_with_all_columns():
    frame = leaderboard_frame([], {})
    assert len(frame) == 0
    assert list(frame.columns)[: len(PROMISED)] == PROMISED


def test_the_mean_has_its_t_interval(synthetic):
    row = board(synthetic.runs("kd", KD))["kd"]
    low, high = stats.t.interval(0.95, 2, loc=sum(KD) / 3, scale=stats.sem(KD))
    assert (row["mean"], row["ci_low"], row["ci_high"]) == pytest.approx((sum(KD) / 3, low, high))


def test_differences_are_paired_by_seed(synthetic):
    runs = [*synthetic.runs("student", STUDENT), *synthetic.runs("kd", KD), *synthetic.runs("quest", [91.0, 91.0, 91.0])]
    rows = board(runs)
    for control, values, column in (("student", STUDENT, "delta_student"), ("kd", KD, "delta_kd")):
        expected = stats.ttest_rel([91.0] * 3, values).confidence_interval()
        row = rows["quest"]
        assert row[column] == pytest.approx(91.0 - sum(values) / 3), control
        assert (row[f"{column}_low"], row[f"{column}_high"]) == pytest.approx((expected.low, expected.high)), control


def test_a_control_has_no_difference_to_itself(synthetic):
    rows = board([*synthetic.runs("student", STUDENT), *synthetic.runs("kd", KD)])
    assert rows["student"]["delta_student"] is None
    assert rows["student"]["delta_equal_updates"] is None
    assert rows["kd"]["delta_kd"] is None


def test_with_one_seed_there_is_a_mean_and_no_interval(synthetic):
    row = board([synthetic.run("student"), synthetic.run("kd", value=91.0)])["kd"]
    assert (row["mean"], row["delta_student"]) == (91.0, 1.0)
    assert [row[name] for name in ("ci_low", "ci_high", "delta_student_low", "detectable", "seeds_needed", "p_raw")] == [None] * 6


def test_rows_are_ordered_by_the_mean_on_test(synthetic):
    runs = [*synthetic.runs("student", STUDENT), *synthetic.runs("kd", KD), *synthetic.runs("best", [95.0, 95.0, 95.0])]
    frame = leaderboard_frame(runs, {})
    assert list(frame["method"]) == ["best", "kd", "student"]
    assert list(frame["rank"]) == [1, 2, 3]


def test_a_row_with_a_failed_seed_stands_below_all_complete_rows(synthetic):
    runs = [*synthetic.runs("student", STUDENT), *synthetic.runs("brittle", [99.0, 99.0]), synthetic.failed("brittle", 2)]
    frame = leaderboard_frame(runs, {})
    assert list(frame["method"]) == ["student", "brittle"]
    row = frame.iloc[1]
    assert (row["status"], row["mean"], row["seeds"], row["rank"]) == ("2 done, 1 diverged", 99.0, 2, 2)
    assert row["status_note"] == "seed 2: step 7: term 'ce' is nan"


def test_a_row_that_lacks_a_seed_of_the_board_stands_below_all_complete_rows(synthetic):
    rows = board([*synthetic.runs("student", STUDENT), *synthetic.runs("kd", KD)[1:]])
    assert (rows["kd"]["status"], rows["kd"]["rank"]) == ("2 done, 1 missing", 2)


def test_an_interrupted_board_is_a_complete_one_of_fewer_seeds(synthetic):
    # seed by seed over all methods, as they are queued, and killed in the second to the last seed
    methods = ("student", "kd", "dist", "crd")
    runs = [synthetic.run(method, seed, 90.0 + number) for seed in range(4) for number, method in enumerate(methods)]
    broken = synthetic.failed("wrong", 0, "error", costs=())
    for done in range(len(methods) + 1, 4 * len(methods) + 1):
        rows = board([broken, *runs[:done]])
        whole, rest = divmod(done, len(methods))
        assert {(rows[method]["status"], rows[method]["seeds"]) for method in methods} == {("done", whole)}
        assert {row["unfinished_seed"] for row in rows.values()} == {whole if rest else None}
        assert [row["rank"] for row in rows.values()] == ([1, 2, 3, 4, 5] if whole > 2 else [None] * 5)


def test_what_an_interrupted_seed_gave_counts_for_no_row(synthetic):
    rows = board([*synthetic.runs("student", STUDENT), *synthetic.runs("kd", KD[:2])])
    assert (rows["student"]["mean"], rows["student"]["status"]) == (sum(STUDENT[:2]) / 2, "done")
    assert len(rows["student"]["run_ids"]) == 2


@pytest.mark.parametrize("made", ["run", "failed"])
def test_a_row_of_the_last_seed_alone_is_kept(synthetic, made):
    rows = board([*synthetic.runs("student", STUDENT), getattr(synthetic, made)("kd", 7)])
    assert rows["student"]["seeds"] == 3
    assert rows["kd"]["status"].startswith("1 d")


def test_a_method_that_was_asked_for_fewer_seeds_does_not_cut_the_others(synthetic):
    rows = board([*synthetic.runs("student", STUDENT), *synthetic.runs("kd", KD[:1])])
    assert (rows["student"]["seeds"], rows["kd"]["status"]) == (3, "1 done, 2 missing")


def test_a_row_of_failures_alone_has_no_mean(synthetic):
    row = board([*synthetic.runs("student", STUDENT), *(synthetic.failed("kd", seed, "oom") for seed in range(3))])["kd"]
    assert (row["status"], row["mean"], row["seeds"], row["params"]) == ("oom", None, 0, None)


def test_a_finished_run_whose_metric_is_not_finite_counts_as_no_value(synthetic):
    rows = board([*synthetic.runs("student", STUDENT), *synthetic.runs("kd", [99.0, math.nan, 99.0])])
    assert (rows["kd"]["seeds"], rows["kd"]["rank"]) == (2, 2)


def test_an_underspent_run_is_complete_and_says_so(synthetic):
    runs = synthetic.runs("kd", KD[:2])
    under = synthetic.run("kd", 2, KD[2], status="underspent", committed=50.0)
    row = board([*runs, under])["kd"]
    assert (row["status"], row["seeds"]) == ("2 done, 1 underspent", 3)
    assert row["status_note"] == "committed 94.4% of the budget"


def test_a_skipped_method_has_a_row_with_its_reason_and_no_rank(synthetic):
    skipped = synthetic.failed("crd", 0, "skipped", "needs feature maps", reference=None, teachers=())
    rows = board([*synthetic.runs("student", STUDENT), skipped])
    assert (rows["crd"]["status"], rows["crd"]["rank"], rows["crd"]["status_note"]) == ("skipped", None, "needs feature maps")
    assert (rows["crd"]["supervision"], rows["crd"]["teacher_s"], rows["crd"]["tuned"]) == (None, None, None)


def test_a_skipped_method_does_not_make_seeds_that_others_lack(synthetic):
    runs = [replace(run, spec=replace(run.spec, seed=run.spec.seed + 10)) for run in synthetic.runs("student", STUDENT)]
    rows = board([*runs, synthetic.failed("crd", 0, "skipped", "no")])
    assert rows["student"]["status"] == "done"


@pytest.mark.parametrize(
    "change",
    [
        {"budget": Budget(30.0, "s")},
        {"budget": Budget(60.0, "epochs")},
        {"protocol": "published"},
        {"device": "cuda"},
        {"precision": "bf16"},
        {"threads": 2},
        {"data": "other"},
        {"reference": "fedcba9876543210"},
        {"task": "cifar100"},
        {"code": "another version of the harness"},
        {"torch": "2.14.0"},
        {"device_name": "another processor"},
    ],
)
def test_runs_that_do_not_compare_stand_on_boards_of_their_own(synthetic, change):
    runs = [*synthetic.runs("student", STUDENT), *synthetic.runs("kd", KD), *synthetic.runs("kd", [99.0] * 3, **change)]
    frame = leaderboard_frame(runs, {})
    assert sorted(frame["rank"]) == [1, 1, 2]
    alone = frame[frame["mean"] == 99.0].iloc[0]
    assert (alone["rank"], alone["delta_student"]) == (1, None)


def test_the_setting_with_the_better_validation_is_ranked_whatever_test_says(synthetic):
    default = [synthetic.run("kd", seed, 95.0, validation=80.0) for seed in range(3)]
    tuned = [synthetic.run("kd", seed, 90.0, validation=85.0, setting="tuned", params={"tau": 2.0}) for seed in range(3)]
    row = board([*default, *tuned])["kd"]
    assert (row["tuned"], row["mean"], row["mean_default"], row["mean_tuned"]) == (True, 90.0, 95.0, 90.0)
    assert row["params_json"] == '{"tau": 2.0}'
    assert row["run_ids"] == [run.run_id for run in tuned]


def test_both_settings_are_named_where_both_have_final_runs(synthetic):
    default = [synthetic.run("kd", seed, 95.0, validation=80.0) for seed in range(3)]
    tuned = [synthetic.run("kd", seed, 90.0, validation=85.0, setting="tuned", params={"tau": 2.0}) for seed in range(3)]
    assert board([*default, *tuned])["kd"]["status_note"] == "default setting 95.00, tuned setting 90.00"


def test_a_row_of_a_method_whose_trials_kept_the_defaults_says_how_many_settings_were_tried(synthetic):
    trials = [
        synthetic.run("kd", 1_000_003 + seed, purpose="tune", setting="trial", params={"tau": tau} if tau else {}, facts={"budget": "60.0", "tuning": "90.0"})
        for seed, tau in [(0, None), (0, 1.0), (0, 2.0), (1, None), (1, 2.0)]
    ]
    row = board([*synthetic.runs("kd", KD), *trials])["kd"]
    assert (row["tuned"], row["tried"], row["mean_tuned"], row["tuning_s"]) == (False, 3, None, 5 * 61.0)
    assert row["mean_default"] == row["mean"]


def test_a_row_whose_setting_won_its_trials_has_no_mean_of_the_defaults(synthetic):
    row = board([synthetic.run("kd", seed, 91.0, setting="tuned", params={"tau": 2.0}, facts={"tuning": "90.0"}) for seed in range(3)])["kd"]
    assert (row["tuned"], row["mean"], row["mean_default"], row["mean_tuned"]) == (True, 91.0, None, 91.0)
    assert row["status_note"] is None


def test_a_row_that_was_not_tuned_though_others_were_says_why(synthetic):
    reason = "not tuned: 1.5 budgets hold no two trials of 50 steps"
    row = board([synthetic.run("kd", seed, 91.0, facts={"untuned": reason}) for seed in range(3)])["kd"]
    assert row["status_note"] == reason


def test_without_validation_the_default_setting_is_ranked(synthetic):
    metrics = {"test/top1": 90.0}
    default = [synthetic.run("kd", seed, metrics=metrics, protocol="published") for seed in range(3)]
    tuned = [synthetic.run("kd", seed, metrics={"test/top1": 99.0}, protocol="published", setting="tuned", params={"tau": 2.0}) for seed in range(3)]
    row = board([*default, *tuned])["kd"]
    assert (row["tuned"], row["mean"]) == (False, 90.0)


def test_a_setting_with_a_failed_seed_gives_way_to_a_complete_one_and_is_named(synthetic):
    default = synthetic.runs("kd", KD)
    tuned = [synthetic.run("kd", seed, 99.0, setting="tuned", params={"tau": 2.0}) for seed in range(2)]
    broken = replace(synthetic.failed("kd", 2, params={"tau": 2.0}), setting="tuned")
    row = board([*default, *tuned, broken])["kd"]
    assert (row["tuned"], row["status"], row["status_note"]) == (False, "done", "tuned setting: 2 done, 1 diverged")


def test_only_final_runs_make_the_board(synthetic):
    extra = [synthetic.run("kd", 7, 10.0, purpose=purpose) for purpose in ("tune", "control", "teacher")]
    assert board([*synthetic.runs("kd", KD), *extra])["kd"]["mean"] == pytest.approx(sum(KD) / 3)


@pytest.mark.parametrize(("source", "mean"), [("first", sum(KD) / 3), ("edited", 99.0)])
def test_of_an_edited_method_the_code_that_a_command_last_asked_for_counts_whenever_it_was_run(synthetic, source, mean):
    first, edited = synthetic.runs("kd", KD, source="first"), synthetic.runs("kd", [99.0] * 3, source="edited")
    rows = board([*first, *edited], sources={"kd": source})
    assert {name: row["mean"] for name, row in rows.items()} == {"kd": pytest.approx(mean)}


def test_where_nobody_said_which_code_counts_each_version_has_its_row(synthetic):
    first, edited = synthetic.runs("kd", KD, source="aaaaaaaaaaaa"), synthetic.runs("kd", [99.0] * 3, source="bbbbbbbbbbbb")
    rows = board([*first, *edited])
    assert {name: row["mean"] for name, row in rows.items()} == {"kd @aaaaaaaa": pytest.approx(sum(KD) / 3), "kd @bbbbbbbb": 99.0}
    assert {row["tried"] for row in rows.values()} == {2}


def test_a_command_has_a_board_of_the_runs_that_it_asked_for_and_says_how_much_was_tried(synthetic):
    default, other = synthetic.runs("kd", [99.0] * 3), synthetic.runs("kd", KD, params={"a": 0.1})
    edited = synthetic.runs("kd", [98.0] * 3, source="edited")
    rows = board([*other, *default, *edited], asked={run.key: Asked() for run in other})
    assert {name: (row["mean"], row["tried"]) for name, row in rows.items()} == {"kd a=0.1": (pytest.approx(sum(KD) / 3), 3)}


def test_each_setting_that_was_asked_for_has_a_row_and_none_is_chosen_by_its_result(synthetic):
    runs = [*synthetic.runs("kd", KD), *synthetic.runs("kd", [99.0] * 3, params={"a": 0.1}), *synthetic.runs("kd", [80.0] * 3, params={"a": 0.9})]
    rows = board([*synthetic.runs("student", STUDENT), *runs])
    assert {name: row["mean"] for name, row in rows.items() if name != "student"} == {"kd": pytest.approx(sum(KD) / 3), "kd a=0.1": 99.0, "kd a=0.9": 80.0}
    assert rows["kd a=0.1"]["delta_kd"] == pytest.approx(99.0 - sum(KD) / 3)


def test_a_method_that_was_tuned_with_two_budgets_has_a_row_for_each(synthetic):
    tuned = [
        synthetic.run("kd", 0, value, setting="tuned", params={"a": a}, facts={"tuning": amount})
        for value, a, amount in ((91.0, 0.1, "30.0"), (92.0, 0.2, "60.0"))
    ]
    rows = board([synthetic.run("kd", 0, 90.0), *tuned])
    assert {name: row["mean"] for name, row in rows.items()} == {"kd tuned with 30 s": 91.0, "kd tuned with 60 s": 92.0}


def test_the_same_setting_found_with_two_budgets_is_one_row(synthetic):
    tuned = [
        synthetic.run("kd", seed, 91.0 + seed, setting="tuned", params={"a": 0.1}, facts={"tuning": amount}) for seed, amount in enumerate(("30.0", "60.0"))
    ]
    (row,) = board([*synthetic.runs("kd", [90.0, 90.0]), *tuned]).values()
    assert (row["mean"], row["status"]) == (91.5, "done")


def test_in_a_command_a_recalled_run_has_the_setting_and_the_facts_of_that_command(synthetic):
    first = synthetic.run("kd", 0, 91.0, setting="tuned", params={"a": 0.1}, facts={"tuning": "30.0", "budget": "60.0"})
    rows = board([first], asked={first.key: Asked("default", {"budget": "60.0"})})
    assert {name: row["tuned"] for name, row in rows.items()} == {"kd a=0.1": False}


def test_runs_whose_teachers_were_charged_are_a_row_of_their_own(synthetic):
    charged = [synthetic.run("kd", seed, 80.0, budget=Budget(50.0, "s"), facts={"budget": "60.0"}) for seed in range(3)]
    rows = board([*synthetic.runs("kd", KD), *charged])
    assert {name: row["mean"] for name, row in rows.items()} == {"kd": pytest.approx(sum(KD) / 3), "kd teachers charged": 80.0}


def test_runs_that_were_committed_by_other_step_costs_are_not_averaged(synthetic):
    other = (PhaseCost("train", None, 1.0, 0.02, 2.0, 0.005, 1000),)
    rows = board([*synthetic.runs("kd", KD), *(synthetic.run("kd", seed, 80.0, costs=other) for seed in range(3))])
    assert sorted(row["mean"] for row in rows.values()) == [80.0, pytest.approx(sum(KD) / 3)]
    assert all(name.startswith("kd @costs ") for name in rows)


def test_a_sweep_counts_as_tried(synthetic):
    swept = [synthetic.run("kd", 0, 80.0, purpose="control", setting="sweep", params={"a": a}, facts={"budget": "60.0"}) for a in (0.1, 0.2)]
    assert board([*synthetic.runs("kd", KD), *swept])["kd"]["tried"] == 3


def test_the_teachers_row_is_of_the_boards_task_and_machine(synthetic):
    def teacher(value, **changes):
        return synthetic.run("student", 7, value, purpose="given", reference=None, weights="0123456789abcdef", budget=Budget(0.0, "epochs"), **changes)

    rows = board([teacher(10.0, task="cifar100"), teacher(20.0, precision="bf16"), teacher(70.0), *synthetic.runs("student", STUDENT)])
    assert rows["teacher"]["mean"] == 70.0


def test_of_two_runs_with_one_key_the_one_with_a_result_counts_whatever_the_clock_said(synthetic):
    done = synthetic.run("kd", 2, 90.6)
    later = synthetic.recorded(done.spec, synthetic.failure(done.spec, "killed"))
    assert board([*synthetic.runs("kd", KD[:2]), done, later])["kd"]["status"] == "done"


def test_a_row_that_equals_the_student_bit_for_bit_says_so(synthetic):
    def runs(method, weights):
        return [synthetic.run(method, seed, 90.0, weights=f"{weights}{seed}") for seed in range(2)]

    rows = board([*runs("student", "a"), *runs("kd", "a"), *runs("crd", "b")])
    assert "equals the plain student bit for bit" in rows["kd"]["status_note"]
    assert (rows["crd"]["status_note"], rows["student"]["status_note"]) == (None, None)


def test_what_a_run_left_behind_is_said_of_its_row_once(synthetic):
    left = [synthetic.run("kd", seed, 90.0, notes=("left autocast on",)) for seed in range(2)]
    assert board(left)["kd"]["status_note"] == "left autocast on"


def test_a_run_that_failed_once_and_was_done_again_is_done(synthetic):
    failed = synthetic.failed("kd", 2, "error")
    row = board([failed, *synthetic.runs("kd", KD)])["kd"]
    assert (row["status"], row["seeds"]) == ("done", 3)


@pytest.mark.parametrize(
    ("teachers", "expected"),
    [
        ((), "none"),
        ((REFERENCE,), "one teacher"),
        (teacher_pool(3), "3 teachers"),
        ((TeacherSpec(dropout=0.1),), "special teacher"),
        ((TeacherSpec(dropout=0.1), REFERENCE), "special teacher"),
        ((TeacherSpec(corruption=0.1),), "special teacher"),
        (teacher_pool(3, corruption=0.2), "special teacher"),
    ],
)
def test_the_supervision_class_follows_from_the_teachers_taken(synthetic, teachers, expected):
    taken = tuple((teacher, f"key{number}") for number, teacher in enumerate(teachers))
    assert board([synthetic.run("kd", teachers=taken)])["kd"]["supervision"] == expected


@pytest.mark.parametrize(("teachers", "expected"), [((), "none, extra data"), ((REFERENCE,), "one teacher, extra data")])
def test_a_method_that_takes_auxiliary_inputs_has_extra_data_in_its_supervision(synthetic, teachers, expected):
    taken = tuple((teacher, "key") for teacher in teachers)
    runs = [synthetic.run("kd", teachers=taken), synthetic.run("student")]
    rows = board(runs, {"kd": synthetic.method("kd", auxiliary=True), "student": synthetic.method("student")})
    assert (rows["kd"]["supervision"], rows["student"]["supervision"]) == (expected, "none")


def test_a_method_whose_student_starts_from_the_teacher_says_so_in_its_supervision(synthetic):
    runs = [synthetic.run("kd", teachers=((REFERENCE, "key"),)), synthetic.run("student")]
    rows = board(runs, {"kd": synthetic.method("kd", inherits=True), "student": synthetic.method("student")})
    assert (rows["kd"]["supervision"], rows["student"]["supervision"]) == ("one teacher, its weights", "none")


def test_a_skipped_method_took_no_extra_data(synthetic):
    skipped = synthetic.failed("crd", 0, "skipped", "no auxiliary images", reference=None, teachers=())
    assert board([synthetic.run("student"), skipped], {"crd": synthetic.method("crd", auxiliary=True)})["crd"]["supervision"] is None


def test_runs_of_a_sweep_never_stand_on_a_board_nor_move_one(synthetic):
    finals = [*synthetic.runs("student", STUDENT), *ladder(synthetic, {0.5: 86.0}), *synthetic.runs("kd", KD)]
    swept = [
        synthetic.run(method, seed, 99.0, purpose="control", setting="sweep", params={"tau": tau})
        for method in ("kd", "quest")
        for tau in (1.0, 2.0)
        for seed in range(3)
    ]
    without = {name: {**row, "tried": None} for name, row in board(finals).items()}
    assert {name: {**row, "tried": None} for name, row in board([*finals, *swept]).items()} == without


def test_paper_and_sources_of_the_defaults_come_from_the_method(synthetic):
    methods = {"kd": synthetic.method("kd", Params=SomeParams), "student": synthetic.method("student")}
    rows = board([synthetic.run("kd"), synthetic.run("student"), synthetic.run("unknown")], methods)
    assert (rows["kd"]["paper"], rows["kd"]["default_source"]) == ("On kd (Journal 2020)", "paper 1, ours 2")
    assert rows["student"]["default_source"] is None
    assert rows["unknown"]["paper"] is None


def test_tuning_time_is_that_of_the_methods_own_trials_for_this_budget(synthetic):
    trials = [synthetic.run("kd", 99, purpose="tune", setting="trial", budget=Budget(30.0, "s"), params={"tau": float(n)}, spent_s=10.0) for n in range(3)]
    other = synthetic.run("kd", 99, purpose="tune", budget=Budget(15.0, "s"), facts={"budget": "30.0"}, spent_s=1000.0)
    same = synthetic.run("kd", 99, purpose="tune", budget=Budget(20.0, "s"), facts={"budget": "60.0"}, spent_s=1.0)
    rows = board([*synthetic.runs("kd", KD), *synthetic.runs("student", STUDENT), *trials, other, same])
    assert rows["kd"]["tuning_s"] == pytest.approx(31.0)
    assert rows["student"]["tuning_s"] is None


def test_teacher_time_is_that_of_the_teachers_taken(synthetic):
    spec = synthetic.spec("student", purpose="teacher", trains=REFERENCE, reference=None)
    teacher = synthetic.recorded(spec, synthetic.result(spec, spent_s=500.0), "teacher")
    taken = ((REFERENCE, spec.key),)
    rows = board([teacher, synthetic.run("kd", teachers=taken), synthetic.run("student"), synthetic.run("given", teachers=((REFERENCE, "unknown"),))])
    assert (rows["kd"]["teacher_s"], rows["student"]["teacher_s"], rows["given"]["teacher_s"]) == (500.0, 0.0, None)


def test_the_step_cost_is_weighted_by_the_steps_of_the_phases(synthetic):
    costs = (PhaseCost("fit", 100, 0.0, 0.01, 0.5, 0.004, 1), PhaseCost("train", None, 1.0, 0.02, 2.0, 0.02, 1))
    row = board([synthetic.run("kd", costs=costs, phases=(PhaseRecord("fit", 100, 100), PhaseRecord("train", 300, 300)))])["kd"]
    assert row["step_cost"] == pytest.approx((0.5 * 100 + 2.0 * 300) / 400)
    assert row["step_cost_error"] == pytest.approx((50 * 0.004 + 600 * 0.02) / 650)


def test_where_time_was_not_measured_there_is_no_step_cost(synthetic):
    row = board([synthetic.run("kd", costs=(PhaseCost("train", None, 1.0, 1e6, None, None, 10**6),))])["kd"]
    assert (row["step_cost"], row["step_cost_error"]) == (None, None)


def test_with_charged_teachers_a_method_stays_on_the_board_of_the_whole_budget(synthetic):
    charged = [synthetic.run("kd", seed, value, budget=Budget(45.0, "s"), facts={"budget": "60.0"}) for seed, value in enumerate(KD)]
    rows = board([*synthetic.runs("student", STUDENT), *charged])
    assert (
        rows["kd teachers charged"]["rank"],
        rows["kd teachers charged"]["budget"],
        rows["kd teachers charged"]["committed"],
        rows["kd teachers charged"]["status_note"],
    ) == (1, 60.0, 60.0, None)


def test_that_a_method_was_once_skipped_does_not_hide_what_it_trained(synthetic):
    early, late = synthetic.failed("kd", 0, "skipped", "too expensive"), synthetic.failed("kd", 0, "skipped", "too expensive", costs=())
    for runs in (
        [early, *synthetic.runs("kd", KD)],
        [*synthetic.runs("kd", KD), late],
        [synthetic.failed("kd", 0, "skipped", "x", source="old"), *synthetic.runs("kd", KD)],
    ):
        row = board([*synthetic.runs("student", STUDENT), *runs])["kd"]
        assert (row["status"], row["seeds"], row["status_note"]) == ("done", len(KD), None)


def test_latency_size_and_further_metrics_stand_in_the_row(synthetic):
    row = board(synthetic.runs("kd", KD))["kd"]
    assert [row[name] for name in ("latency_ms", "params", "top5", "kl_teacher", "nll", "steps", "spent_s")] == [0.5, 1234, 99.0, 0.25, None, 6000, 61.0]


def test_the_card_of_a_task_decides_metric_and_track(synthetic):
    cards = {"digits": SimpleNamespace(metric="top5", track="classification")}
    row = board(synthetic.runs("kd", KD), cards=cards)["kd"]
    assert (row["metric"], row["mean"], row["track"]) == ("top5", 99.0, "classification")


def ladder(synthetic, values, **changes):
    """The student at a quarter and at half of 6000 steps."""
    return [
        synthetic.run(
            "student", seed, value, purpose="control", budget=Budget(60.0 * share, "s"), steps=round(6000 * share), setting=f"ladder:{share}", **changes
        )
        for share, value in values.items()
        for seed in range(3)
    ]


def test_the_largest_number_of_test_samples_in_train_is_a_column(synthetic):
    runs = [replace(run, result=replace(run.result, system={"test_in_train": 10.0 + run.spec.seed})) for run in synthetic.runs("kd", KD)]
    row = board(runs)["kd"]
    assert row["test_in_train"] == 12 and isinstance(row["test_in_train"], int)
    assert board(synthetic.runs("kd", KD))["kd"]["test_in_train"] is None
