"""Boards on the terminal and in a notebook."""

import re

import pytest

from kdarena.board.formats import html, latex, markdown
from kdarena.board.leaderboard import leaderboard_frame
from kdarena.board.table import terminal

HOSTILE = "a|b</td><script>alert(1)</script>[red]x[/red]\n\x1b[31m"


@pytest.fixture
def frame(synthetic):
    """With tests of two rows."""
    runs = [
        *synthetic.runs("student", [88.0, 89.0, 88.5]),
        *synthetic.runs("kd", [90.0, 91.5, 90.6]),
        *synthetic.runs("dist", [68.0, 70.0, 69.0]),
        *synthetic.runs("brittle", [99.0, 98.0]),
        synthetic.failed("brittle", 2),
        *(synthetic.failed("broken", seed, "error", "loss raised") for seed in range(3)),
        *(synthetic.failed(name, 0, "skipped", "needs feature maps") for name in ("crd", "at", "reviewkd", "fitnet", "ofd")),
        *synthetic.runs("cheat", [99.0, 99.0, 99.0], outside={"prepare": 30.0}),
    ]
    made = leaderboard_frame(runs, {})
    kd, dist, student = (made["method"] == name for name in ("kd", "dist", "student"))
    made.loc[kd, ["rank_low", "rank_high", "p_holm"]] = [1, 2, 0.01]
    made.loc[dist, ["rank_low", "rank_high", "p_holm"]] = [3, 3, 0.2]
    made.loc[student, ["rank_low", "rank_high"]] = [2, 3]
    return made


def row_of(text, name):
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ") and "±" in line]
    return line


def test_a_row_has_its_mean_its_gain_the_places_it_may_have_and_a_verdict(frame):
    text = terminal(frame, 120).plain
    assert re.search(r"^kd +90\.70 ± 1\.88 +\+2\.20 .* 1–2 +better", row_of(text, "kd"))
    assert re.search(r" 3 +open", row_of(text, "dist"))
    assert re.search(r" 2–3 +– ", row_of(text, "student"))


def test_a_row_that_lacks_a_seed_is_below_the_complete_ones_without_a_verdict_and_says_why(frame):
    text = terminal(frame, 120).plain
    assert text.index("brittle ") > text.index("dist ")
    assert "brittle (2 of 3 seeds): 2 done, 1 diverged: seed 2: step 7: term 'ce' is nan" in text


def test_what_has_no_result_or_broke_a_rule_is_a_line_and_no_row(frame):
    text = terminal(frame, 200).plain
    assert "broken: error: seed 0: loss raised; seed 1: loss raised" in text
    assert "cheat (99.00): unpaid: prepare took 30 s outside the charged steps" in text
    assert not [line for line in text.splitlines() if line.startswith(("broken ", "cheat  ", "crd "))]


def test_a_small_screen_names_the_first_of_many_methods_and_a_wide_table_all(frame):
    assert "at, crd, fitnet and 2 more: skipped: needs feature maps" in terminal(frame, 120).plain
    assert "at, crd, fitnet, ofd, reviewkd: skipped: needs feature maps" in terminal(frame, 120, wide=True).plain


def test_a_wide_table_has_every_column_whatever_the_width(frame):
    text = terminal(frame, 60, wide=True).plain
    heads = next(line for line in text.splitlines() if line.startswith("method "))
    assert "tried" in heads and heads.endswith("status")
    assert "Supervision is what a method took" in text
    assert "More columns: --wide" in terminal(frame, 60).plain and "More columns" not in text


def test_by_default_what_is_said_of_every_board_takes_six_lines_of_80_columns(frame):
    text = terminal(frame[frame["status"] == "done"], 80).plain
    below = text[text.index("3 seeds on cpu") :].strip().splitlines()
    assert len(below) <= 6


def test_a_column_without_a_value_takes_no_room(synthetic):
    text = terminal(leaderboard_frame([synthetic.run("student"), synthetic.run("kd")], {}), 200).plain
    assert "rank" not in next(line for line in text.splitlines() if line.startswith("method "))


def test_the_answer_is_above_the_table_in_every_format(frame):
    answer = frame["answer"].iloc[0]
    assert answer.startswith("Use ")
    for text, head in (
        (" ".join(terminal(frame, 80).plain.split()), "method"),
        (html(frame), "<th>method"),
        (markdown(frame), "| method"),
        (latex(frame), "method"),
    ):
        assert text.index(answer[:40]) < text.index(head, text.index(answer[:40]) + len(answer))


def test_without_a_row_the_terminal_and_a_notebook_say_what_to_run(frame):
    assert "kdarena run --plugins all" in terminal(frame.iloc[:0], 80).plain
    assert "kdarena run --plugins all" in html(frame.iloc[:0])


def test_a_notebook_shows_a_plugins_text_as_it_is(synthetic):
    runs = [
        synthetic.run(HOSTILE, task=HOSTILE),
        synthetic.failed("kd", 1, "error", HOSTILE, task=HOSTILE),
        synthetic.failed("at", 0, "skipped", HOSTILE, task=HOSTILE),
    ]
    text = html(leaderboard_frame(runs, {}))
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4  # title, answer or row, and two lines below


def test_the_terminal_shows_a_plugins_text_as_it_is(synthetic):
    text = terminal(leaderboard_frame([synthetic.run(HOSTILE, task=HOSTILE), synthetic.run("student", task=HOSTILE)], {}), 400).plain
    assert "[red]x[/red]" in text
    assert "\x1b[31m" not in text
