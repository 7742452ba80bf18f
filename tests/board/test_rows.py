"""What tells from a row alone whether it is compared, and its verdict."""

import pytest

from kdarena.board.leaderboard import leaderboard_frame
from kdarena.board.rows import board_seeds, compared, left_out, name_of, references, rows, unfinished, verdict


@pytest.mark.parametrize(
    ("p", "gain", "word"),
    [(0.01, 2.0, "better"), (0.01, -2.0, "worse"), (0.2, 2.0, "open"), (0.05, 2.0, "better"), (1.0, 0.0, "open"), (None, 2.0, None), (0.01, None, None)],
)
def test_a_verdict_is_one_word_against_the_student(p, gain, word):
    assert verdict({"p_holm": p, "delta_student": gain}) == word


def test_a_row_of_the_family_that_is_the_student_in_all_but_its_name_is_equal():
    assert verdict({"p_holm": None, "delta_student": 0.0, "family": 5}) == "equal"
    assert verdict({"p_holm": None, "delta_student": 0.0, "family": None}) is None


def test_a_row_without_the_column_of_tests_has_no_verdict():
    assert verdict({"delta_student": 2.0}) is None


def test_each_row_is_compared_unfinished_left_out_or_a_reference(synthetic):
    runs = [
        *synthetic.runs("student", [88.0, 89.0, 88.5]),
        *(synthetic.run("kd", seed, 90.0, status="underspent" if seed == 2 else "done") for seed in range(3)),
        *synthetic.runs("brittle", [99.0, 98.0]),
        synthetic.failed("brittle", 2),
        *(synthetic.failed("broken", seed, "error", "loss raised") for seed in range(3)),
        synthetic.failed("crd", 0, "skipped", "needs feature maps"),
        *synthetic.runs("cheat", [99.0, 99.0, 99.0], outside={"prepare": 30.0}),
        synthetic.run("student", 9, 97.0, purpose="teacher", teachers=(), weights="0123456789abcdef"),
    ]
    board_rows = rows(leaderboard_frame(runs, {}))

    def of(kind):
        return [name_of(row) for row in kind(board_rows)]

    assert board_seeds(board_rows) == 3
    assert of(compared) == ["kd", "student"]
    assert of(unfinished) == ["brittle"]
    assert sorted(of(left_out)) == ["broken", "cheat", "crd"]
    assert of(references) == ["teacher"]


def test_a_board_of_failures_has_no_seeds(synthetic):
    assert board_seeds(rows(leaderboard_frame([synthetic.failed("kd", 0, "oom")], {}))) == 0
