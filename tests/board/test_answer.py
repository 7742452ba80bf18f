"""The answer of a board in sentences, from made-up rows."""

import re

import pytest

from kdarena.board.answer import answer

BASE = {
    "named": None,
    "version": None,
    "status": "done",
    "status_note": None,
    "metric": "top1",
    "seeds": 5,
    "rank_low": 1,
    "rank_high": 3,
    "supervision": "one teacher",
    "teacher_s": 19.7,
    "tuning_s": 4.5,
    "p_holm": 0.4,
    "p_kd_holm": 0.6,
    "detectable": 2.0,
    "seeds_needed": 14,
    "test_set_error": None,
}


def row(method, mean, gain=None, over_kd=None, **changes):
    """A row with intervals of ± 2 around its differences."""
    made = {"method": method, "mean": mean, **BASE, "delta_student": gain, "delta_kd": over_kd}
    for column, value in (("delta_student", gain), ("delta_kd", over_kd)):
        for end, sign in (("low", -1), ("high", 1)):
            made[f"{column}_{end}"] = None if value is None else value + sign
            made[f"{column}_corrected_{end}"] = None if value is None else value + 2 * sign
    return {**made, **changes}


def student(mean=88.0, **changes):
    return row(
        "student", mean, **{"over_kd": -1.0, "supervision": "none", "teacher_s": 0.0, "p_holm": None, "detectable": None, "seeds_needed": None, **changes}
    )


def kd(gain=1.0, **changes):
    return row("kd", 88.0 + gain, gain, **{"p_kd_holm": None, **changes})


def sentences(text):
    """A stop that ends a sentence is followed by a capital letter or by nothing."""
    return [one for one in re.split(r"(?<=\.) (?=[A-Z])", text) if one]


def test_a_method_that_is_better_than_all_others_is_named_as_the_answer_with_its_gains_and_what_it_took():
    rows = [row("dist", 93.0, 5.0, 4.0, rank_high=1, p_holm=0.01, p_kd_holm=0.02), kd(rank_low=2), student(rank_low=2)]
    assert answer(rows) == (
        "Use dist: it is better than each of the 2 other methods. "
        "With one teacher (trained in 19.7 s) and 4.5 s of tuning, dist differs in top1 by +5.00 [3.00, 7.00] from student "
        "and +4.00 [2.00, 6.00] from kd (95 %, corrected for all rows); both gains are established. "
        "Other budgets and other tasks are not known, where the order may be another."
    )


def test_where_the_student_is_among_the_leaders_it_is_to_be_used_and_the_seeds_that_would_settle_it_are_named():
    rows = [row("dist", 90.0, 2.0, 1.0), kd(), student(), row("crd", 80.0, -8.0, -9.0, rank_low=2, p_holm=0.001)]
    text = answer(rows)
    assert text.startswith(
        "Use student, the student trained alone: no method is shown to be better; 3 of 4 methods may be the best: dist, kd and student. "
        "With one teacher (trained in 19.7 s) and 4.5 s of tuning, dist differs in top1 by +2.00 [0.00, 4.00] from student and +1.00 [-1.00, 3.00] from kd"
    )
    needed = "About 14 seeds (--seeds 14, in 2.8 times the time) would show whether dist is better than student, if the true gain is the one seen"
    assert f"no gain is established. {needed}" in text


def test_where_all_may_be_the_best_none_is_listed():
    text = answer([row("dist", 90.0, 2.0, 1.0), kd(), student()])
    assert "no method is shown to be better; any of the 3 methods may be the best." in text


def test_a_student_that_is_better_than_all_is_the_answer_and_more_seeds_are_not_asked_for():
    text = answer([student(rank_high=1), kd(-3.0, rank_low=2, p_holm=0.01)])
    assert text.startswith("Use student, the student trained alone: it is better than the other method. With one")
    assert "Every method is shown to be worse than student; other budgets" in text


@pytest.mark.parametrize(
    ("lead", "said"),
    [
        (None, "below 2.00: more seeds (--seeds) would show a smaller one; other budgets"),
        (8.0, "below 2.00: more seeds (--seeds) would show a smaller one; other budgets"),
        (
            2.0,
            "below 2.00: about 20 (--seeds 20, in 4.0 times the time) would show one of 1.00, half of what the teacher is ahead; other budgets",
        ),  # 5 seeds, (2.0 / 1.0)²
        (0.2, "below 2.00: over 1000 seeds would be needed to show one of 0.10, half of what the teacher is ahead; other budgets"),
    ],
)
def test_where_no_mean_is_higher_and_some_are_open_the_size_of_gain_that_is_missed_is_said_and_what_would_show_it(lead, said):
    rows = [student(), kd(-0.1), row("dist", 80.0, -10.0, -9.9, rank_low=2, p_holm=0.01)]
    if lead is not None:
        rows.append(row("teacher", 90.0, lead, status="reference"))
    assert f"No method has a higher mean than student, but 5 seeds may miss a gain of kd {said}" in answer(rows)


def test_leaders_that_share_the_lead_above_the_student_are_named_and_none_of_them_is_called_the_best():
    rows = [row("crd", 93.0, 5.0, 4.0, p_holm=0.01, p_kd_holm=0.2), row("dkd", 92.0, 4.0, 3.0, p_holm=0.02), kd(rank_low=2), student(rank_low=3)]
    text = answer(rows)
    assert text.startswith("Use crd: it is better than student, the student trained alone; which method is the best is open, since dkd may be, too.")
    assert "the first gain is established, the second is not" in text
    assert "Roughly 20 seeds would be needed to tell crd from dkd, 1.00 apart" in text  # 5 seeds, (2.0 / 1.0)²


def test_the_student_is_no_leader_where_a_method_is_shown_to_be_better_than_it():
    text = answer([row("crd", 93.0, 5.0, 4.0, p_holm=0.01), kd(rank_low=2), student(rank_low=2)])
    assert "student may be" not in text
    assert text.startswith("Use crd: every other method is shown not to be the best.")


def test_a_gain_that_is_established_counts_before_a_higher_mean_that_is_not():
    text = answer([row("wild", 95.0, 7.0, 6.0), row("crd", 92.0, 4.0, 3.0, p_holm=0.01), kd(rank_low=2), student(rank_low=2)])
    assert text.startswith("Use crd: it is better than student, the student trained alone; which method is the best is open, since wild may be, too.")


@pytest.mark.parametrize("supervision", ["3 teachers", "special teacher", "one teacher, extra data"])
def test_where_the_leader_takes_more_than_one_teacher_the_best_without_is_named_too(supervision):
    rows = [
        row("end", 93.0, 5.0, 4.0, p_holm=0.01, supervision=supervision),
        row("dist", 90.0, 2.0, 1.0, p_holm=0.04, rank_low=2),
        kd(rank_low=2),
        student(rank_low=2),
    ]
    text = answer(rows)
    assert "With one teacher at most and nothing more, the best is dist: +2.00 [0.00, 4.00] from student; the gain is established." in text


def test_what_every_student_of_a_task_starts_from_is_nothing_special():
    weights = "none, its weights"
    rows = [row("ts", 93.0, 5.0, 4.0, p_holm=0.01, supervision=weights), kd(supervision=weights, rank_low=2), student(supervision=weights, rank_low=2)]
    assert "With one teacher at most" not in answer(rows)


def test_where_every_method_takes_more_than_one_teacher_that_is_said():
    rows = [row("end", 93.0, 5.0, p_holm=0.01, supervision="3 teachers"), student(rank_low=2)]
    assert "No other method of this board does with one teacher at most." in answer(rows)


def test_without_the_reference_method_the_gain_over_the_student_is_said_alone():
    text = answer([row("structured", 67.0, 1.0), student(66.0), row("kd", None, status="skipped", seeds=0)])
    assert "differs in top1 by +1.00 [-1.00, 3.00] from student (95 %, corrected for all rows); no gain is established; kd has no row to compare with." in text


def test_one_seed_establishes_nothing_and_names_the_seeds_that_would_show_something():
    none = {"rank_low": None, "rank_high": None, "p_holm": None, "seeds": 1, "detectable": None, "seeds_needed": None}
    assert answer([row("dist", 90.0, 2.0, **none), kd(**none), student(**none)]) == (
        "Nothing is established: one seed does not show how much results differ from seed to seed. "
        "By that seed dist has the highest top1, 90.00 (student 88.00, kd 89.00). "
        "Two seeds give tests, three also ranks; the default is --seeds 5."
    )


def test_two_seeds_give_no_ranks_and_no_leader():
    none = {"rank_low": None, "rank_high": None, "seeds": 2}
    text = answer([row("dist", 90.0, 2.0, 1.0, **none), kd(**none), student(**none)])
    assert text.startswith("Use student, the student trained alone: no method is shown to be better; 2 seeds give no ranks.")
    assert "may be the best" not in text


def test_two_seeds_can_show_that_a_method_is_better_than_the_student_and_not_which_is_the_best():
    none = {"rank_low": None, "rank_high": None, "seeds": 2}
    text = answer([row("dist", 98.0, 10.0, 9.0, p_holm=0.01, **none), kd(**none), student(**none)])
    assert text.startswith("Use dist: it is better than student, the student trained alone; which method is the best is open, since 2 seeds give no ranks.")


def test_of_two_methods_the_better_is_better_than_the_other():
    assert answer([kd(5.0, rank_high=1, p_holm=0.01), student(rank_low=2)]).startswith("Use kd: it is better than the other method.")


def test_where_all_failed_nothing_is_established_and_the_failures_are_named():
    rows = [row(name, None, status="oom", seeds=0) for name in ("student", "kd")]
    assert answer(rows) == (
        "No method has a result of every seed, so nothing is established. Repeat the command once the reasons below are fixed. "
        "Not compared: student, kd, for the reasons below."
    )


def test_without_the_student_nothing_is_said_to_be_better_than_it():
    rows = [row("dist", 90.0, None, 1.0, p_holm=None), kd(1.0, delta_student=None, p_holm=None), student(None, status="diverged", seeds=0)]
    text = answer(rows)
    assert text.startswith("Whether any method is better than student is not known, since student has no result of every seed;")
    assert text.endswith("Not compared: student, for the reasons below.")


def test_a_metric_that_is_the_same_everywhere_tells_nothing_apart():
    rows = [row(name, 10.0, 0.0, 0.0, rank_high=3) for name in ("dist", "kd")]
    assert answer([*rows, student(10.0)]) == (
        "All 3 methods have the same mean, 10.00 top1: the metric does not tell them apart. More seeds will not change that; a larger --budget may."
    )


def test_an_empty_board_says_what_to_run():
    assert answer([]) == "Nothing is recorded yet. To train every method: kdarena run --plugins all."


def test_a_method_alone_is_compared_with_nothing():
    assert answer([student()]).startswith("Only student has a result of every seed, 88.00 top1: there is nothing to compare it with.")


@pytest.mark.parametrize(
    "apart",
    [
        row("brittle", 99.0, 11.0, status="4 done, 1 diverged", seeds=4),
        row("brittle", 99.0, 11.0, status="unpaid"),
        row("brittle", 99.0, 11.0, status="underpriced"),
        row("brittle", None, status="error", seeds=0),
    ],
)
def test_a_row_that_is_not_compared_is_named_and_never_leads(apart):
    text = answer([apart, row("dist", 90.0, 2.0, 1.0), kd(), student()])
    assert text.endswith("Not compared: brittle, for the reasons below.")
    assert "any of the 3 methods may be the best" in text


def test_a_method_that_does_not_apply_is_not_spoken_of():
    assert "crd" not in answer([kd(), student(), row("crd", None, status="skipped", seeds=0)])


def test_a_reference_row_is_no_method():
    text = answer([kd(), student(), row("teacher", 99.0, 11.0, status="reference", seeds=1, p_holm=None)])
    assert "any of the 2 methods may be the best" in text
    assert "teacher (trained" in text and "Use teacher" not in text


def test_a_gain_below_the_test_sets_own_error_is_said_to_be_so():
    assert "; the difference from student is below the test set's own error of 3.00" in answer(
        [row("dist", 90.0, 2.0, 1.0, test_set_error=3.0), kd(), student()]
    )
    assert "test set" not in answer([row("dist", 90.0, 2.0, 1.0, test_set_error=1.0), kd(), student()])


@pytest.mark.parametrize(
    ("needed", "says"),
    [(None, "so small a gain of dist would take over 1000 seeds to show"), (3, "about 6 seeds (--seeds 6, in 1.2 times the time) would show")],
)
def test_never_fewer_seeds_are_named_than_there_were(needed, says):
    assert says in answer([row("dist", 90.0, 2.0, 1.0, seeds_needed=needed), kd(), student()]).lower()


@pytest.mark.parametrize(
    ("supervision", "seconds", "tuning", "says"),
    [
        ("none", 0.0, None, "With no teacher and no tuning"),
        ("3 teachers", 7200.0, 900.0, "With 3 teachers (trained in 120.0 min) and 15.0 min of tuning"),
        ("special teacher", 40_000.0, 4.0, "With a specially trained teacher (trained in 11.1 h) and 4.0 s of tuning"),
        ("one teacher, its weights, extra data", 5.0, 1.0, "With one teacher (trained in 5.0 s), its weights to start from, extra data and 1.0 s of tuning"),
    ],
)
def test_what_a_method_took_is_said_in_words(supervision, seconds, tuning, says):
    assert says in answer([row("dist", 90.0, 2.0, 1.0, supervision=supervision, teacher_s=seconds, tuning_s=tuning), kd(), student()])


def test_intervals_that_are_not_corrected_are_said_to_be_so():
    bare = {f"{column}_corrected_{end}": None for column in ("delta_student", "delta_kd") for end in ("low", "high")}
    assert "+2.00 [1.00, 3.00] from student" in answer([row("dist", 90.0, 2.0, 1.0, **bare), kd(), student()])
    assert "not corrected for the number of rows" in answer([row("dist", 90.0, 2.0, 1.0, **bare), kd(), student()])


def test_the_names_of_the_controls_are_given():
    rows = [row("dist", 90.0, 2.0, 1.0), row("hinton", 89.0, 1.0), {**student(), "method": "alone"}]
    text = answer(rows, ("alone", "hinton"))
    assert text.startswith("Use alone, the student trained alone:")
    assert "from alone and +1.00 [-1.00, 3.00] from hinton" in text


def test_of_many_leaders_the_first_are_named():
    rows = [*(row(f"m{number}", 90.0 - number / 10, 2.0, 1.0) for number in range(9)), student(), row("crd", 60.0, -28.0, p_holm=0.001, rank_low=9)]
    assert "10 of 11 methods may be the best: m0, m1, m2, m3, m4, m5 and 4 more." in answer(rows)


def test_an_answer_has_two_to_five_sentences_however_much_is_to_be_said():
    extra = {"p_holm": 0.01, "supervision": "3 teachers"}
    rows = [row("end", 93.0, 5.0, 4.0, **extra), row("dist", 92.5, 4.5, 1.0, p_holm=0.02), kd(), student(), row("brittle", None, status="error", seeds=0)]
    assert len(sentences(answer(rows))) == 5
    for some in ([kd(), student()], [student()], [row("kd", None, status="error", seeds=0)], []):
        assert 2 <= len(sentences(answer(some))) <= 5
