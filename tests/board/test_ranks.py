"""The order of rows, and their ranks over all and within a class."""

import pytest

from kdarena.board.formats import csv_text, markdown
from kdarena.board.leaderboard import leaderboard_frame
from kdarena.board.ranks import with_ranks
from kdarena.method.declaration import REFERENCE, TeacherSpec

TEACHER = ((REFERENCE, "key"),)
POOL = ((REFERENCE, "key"), (TeacherSpec(member=1), "other"))


def row(method, mean, supervision="none", status="done", complete=True):
    return {"method": method, "named": None, "version": None, "mean": mean, "supervision": supervision, "status": status, "complete": complete}


def ranks(*rows, seeds=3):
    return [(found["method"], found["rank"], found["rank_class"]) for found in with_ranks(rows, seeds)]


def test_a_row_has_a_rank_over_all_and_one_among_the_rows_of_its_supervision():
    rows = [row("student", 88), row("kd", 90, "one teacher"), row("dml", 91), row("pfeed", 89, "3 teachers"), row("at", 87, "one teacher")]
    assert ranks(*rows) == [("dml", 1, 1), ("kd", 2, 1), ("pfeed", 3, 1), ("student", 4, 2), ("at", 5, 2)]


def test_classes_that_differ_in_extra_data_or_in_weights_are_not_one():
    rows = [row("kd", 90, "one teacher"), row("ts", 91, "one teacher, its weights"), row("endd-aux", 92, "one teacher, extra data")]
    assert [place for _, _, place in ranks(*rows)] == [1, 1, 1]


@pytest.mark.parametrize("status", ["unpaid", "underpriced", "skipped"])
def test_a_row_that_keeps_no_common_rule_has_neither_rank_and_takes_none_from_others(status):
    rows = [row("cheat", 99, status=status), row("student", 88), row("dml", 87)]
    assert ranks(*rows) == [("student", 1, 1), ("dml", 2, 2), ("cheat", None, None)]


def test_incomplete_rows_come_after_the_complete_ones_with_a_rank_in_both():
    rows = [row("brittle", 99, status="2 done, 1 diverged", complete=False), row("dead", None, status="oom", complete=False), row("student", 88)]
    assert ranks(*rows) == [("student", 1, 1), ("brittle", 2, 2), ("dead", 3, 3)]


def test_rows_without_a_rank_are_in_the_order_unpaid_underpriced_skipped():
    rows = [row("c", None, status="skipped"), row("b", 90, status="underpriced"), row("a", 80, status="unpaid"), row("student", 70)]
    assert [name for name, *_ in ranks(*rows)] == ["student", "a", "b", "c"]


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_a_board_of_fewer_than_three_seeds_has_an_order_and_no_ranks(seeds):
    assert ranks(row("student", 88), row("kd", 90), seeds=seeds) == [("kd", None, None), ("student", None, None)]


def test_both_ranks_are_on_the_board_and_the_place_in_a_class_in_every_format(synthetic):
    runs = [*synthetic.runs("student", [88.0] * 3), *synthetic.runs("kd", [90.0] * 3, teachers=TEACHER), *synthetic.runs("pfeed", [89.0] * 3, teachers=POOL)]
    frame = leaderboard_frame(runs, {})
    assert [tuple(row[name] for name in ("method", "rank", "rank_class")) for row in frame.to_dict("records")] == [
        ("kd", 1, 1),
        ("pfeed", 2, 1),
        ("student", 3, 1),
    ]
    assert "rank,rank_class," in csv_text(frame)
    (line,) = [line for line in markdown(frame).splitlines() if line.startswith("|") and "student" in line and "method" not in line]
    (heads,) = [line for line in markdown(frame).splitlines() if line.startswith("|") and "place in class" in line]
    cells = dict(zip((cell.strip() for cell in heads.split("|")), (cell.strip() for cell in line.split("|")), strict=True))
    assert (cells["method"], cells["place in class"]) == ("student", "1")
