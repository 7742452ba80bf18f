"""Which student to take, on made-up runs."""

import pytest

from kdarena.board.leaderboard import leaderboard_frame
from kdarena.board.recommendation import EARLY_LEVEL, is_above, reason_to_stop, recommended, rows_of_task, sentences

STUDENT = [90.0, 90.4, 89.6, 90.2, 89.8]


def shifted(values, by, noise=(0.1, -0.1, 0.05, -0.05, 0.0)):
    return [value + by + own for value, own in zip(values, noise, strict=False)]


def rows(synthetic, seeds=5, **methods):
    runs = [run for name, values in {"student": STUDENT, **methods}.items() for run in synthetic.runs(name.replace("_", "-"), values[:seeds])]
    return rows_of_task(leaderboard_frame(runs, {}), "digits")


def test_a_leader_that_is_established_above_the_student_is_taken(synthetic):
    board = rows(synthetic, kd=shifted(STUDENT, 0.5), dkd=shifted(STUDENT, 3.0, (0.2, -0.2, 0.0, 0.1, -0.1)))
    choice = recommended(board)
    assert choice.established
    assert choice.row["method"] == choice.leader["method"] == "dkd"
    said = " ".join(sentences(choice, board))
    assert said.startswith("digits: take dkd: top1 93.00 ±")
    assert "It is established above student: +3.00 [" in said
    assert "Above kd it is established" in said


def test_where_nothing_is_established_the_plain_student_is_taken_and_it_is_said(synthetic):
    board = rows(synthetic, kd=[90.0, 91.0, 89.0, 90.0, 90.5], dkd=[93.0, 88.0, 92.0, 89.0, 91.0])
    choice = recommended(board)
    assert not choice.established
    assert choice.leader["method"] == "dkd"
    assert choice.row["method"] == "student"
    said = " ".join(sentences(choice, board))
    assert "Nothing is established" in said
    assert "the best of them, dkd, has +0.60 [" in said
    assert "seeds would settle whether dkd is better" in said


def test_where_the_student_itself_leads_it_is_taken(synthetic):
    board = rows(synthetic, kd=shifted(STUDENT, -2.0), dkd=shifted(STUDENT, -3.0))
    choice = recommended(board)
    assert (choice.row["method"], choice.established) == ("student", False)
    assert "Nothing is established" in " ".join(sentences(choice, board))


def test_without_a_students_result_the_cheapest_of_the_leading_group_is_taken(synthetic):
    noisy = [90.0, 91.0, 89.0, 90.0, 90.5]
    runs = [*synthetic.runs("kd", noisy), *synthetic.runs("dkd", [value + 0.2 for value in noisy])]
    # twice the operations a step
    runs += synthetic.runs("crd", [value + 0.1 for value in noisy], flops=2e9)
    runs += [synthetic.failed("student", seed) for seed in range(5)]
    board = rows_of_task(leaderboard_frame(runs, {}), "digits")
    assert recommended(board).row["method"] in ("kd", "dkd")
    assert not recommended(board).established


def test_a_method_with_a_failed_seed_is_not_taken(synthetic):
    runs = [*synthetic.runs("student", STUDENT), *synthetic.runs("dkd", shifted(STUDENT, 5.0)[:4]), synthetic.failed("dkd", 4)]
    board = rows_of_task(leaderboard_frame(runs, {}), "digits")
    assert [row["method"] for row in board] == ["student"]


def test_where_one_method_alone_has_a_result_it_is_taken_and_that_nothing_was_compared_is_said(synthetic):
    board = rows(synthetic)
    choice = recommended(board)
    assert choice.row["method"] == "student"
    assert sentences(choice, board)[1:] == ["Nothing is established: no other method has a result of every seed here, so there is nothing to compare it with."]


def test_of_no_result_nothing_is_recommended():
    assert recommended([]) is None


def test_the_boards_own_corrected_p_decides(synthetic):
    board = [{**row, "p_holm": 0.2, "p_kd_holm": 0.01} for row in rows(synthetic, kd=shifted(STUDENT, 0.0), dkd=shifted(STUDENT, 3.0))]
    leader = board[0]
    assert not is_above(leader, "student")
    assert is_above(leader, "kd")


def test_a_method_below_the_student_is_never_above_it_however_sure_that_is(synthetic):
    board = rows(synthetic, dkd=shifted(STUDENT, -3.0, (0.2, -0.2, 0.0, 0.1, -0.1)))
    worse = board[-1]
    assert worse["p_holm"] < 0.001
    assert not is_above(worse, "student")


def test_seeds_end_early_where_the_leader_is_established_far_below_the_level(synthetic):
    board = [{**row, "p_holm": EARLY_LEVEL, "p_kd_holm": EARLY_LEVEL} for row in rows(synthetic, 3, kd=shifted(STUDENT, 0.4), dkd=shifted(STUDENT, 5.0))]
    assert reason_to_stop(board, 5) == "dkd is established above student and kd"
    nearly = [{**row, "p_holm": 2 * EARLY_LEVEL} for row in board]
    assert reason_to_stop(nearly, 5) is None


def test_seeds_go_on_where_the_leader_can_not_be_distinguished_from_kd(synthetic):
    board = [{**row, "p_holm": 1e-5, "p_kd_holm": 0.3} for row in rows(synthetic, 3, kd=shifted(STUDENT, 4.0), dkd=shifted(STUDENT, 5.0))]
    assert reason_to_stop(board, 5) is None


@pytest.mark.parametrize(("values", "stops"), [([90.0, 93.0, 87.1], True), ([91.0, 91.6, 90.2], False), ([85.0, 85.5, 86.0], True)])
def test_seeds_end_early_where_no_method_can_be_established(synthetic, values, stops):
    board = rows(synthetic, 3, dkd=values)
    assert (reason_to_stop(board, 5) is not None) is stops


def test_two_seeds_are_never_enough(synthetic):
    assert reason_to_stop(rows(synthetic, 2, dkd=shifted(STUDENT, -5.0)), 5) is None


def test_a_name_that_would_drive_the_terminal_is_shown_as_plain_text(synthetic):
    board = rows_of_task(leaderboard_frame([*synthetic.runs("student", STUDENT), *synthetic.runs("\x1b[31mred", shifted(STUDENT, 9.0))], {}), "digits")
    assert "\x1b" not in " ".join(sentences(recommended(board), board))
