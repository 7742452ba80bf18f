"""Tables of plain text that fit a width."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from kdarena.board.screen import NARROW, NOTHING, Column, aligned, clean, fitted, number, numbers, screen_width, several, wrapped

NAME = Column("name", ["a", "soft-randomization"])
MEAN = Column("mean\n%", ["93.72", " 9.10"], number=True, order=1)
NOTE = Column("note", ["", "some words that may go on in further lines"], order=2, least=10)


def lines(table):
    return [line for text in (*table.head, *table.rows) for line in text.split("\n")]


def test_a_table_with_room_has_all_columns_on_one_line_a_row():
    table = fitted([NAME, MEAN, NOTE], 120)
    assert (len(table.rows), table.left_out) == (2, ())
    assert table.rows[1] == "soft-randomization   9.10  some words that may go on in further lines"
    assert table.head == ("                     mean", "name                    %  note")


def test_words_go_on_in_further_lines_before_a_column_is_left_out():
    table = fitted([NAME, MEAN, NOTE], 40)
    assert table.left_out == ()
    assert table.rows[1].split("\n")[0] == "soft-randomization   9.10  some words"
    assert max(map(len, lines(table))) <= 40


def test_the_column_with_the_largest_order_is_left_out_first_and_the_first_one_never():
    assert fitted([NAME, MEAN, NOTE], 30).left_out == ("note",)
    assert fitted([NAME, MEAN, NOTE], 20).left_out == ("mean %", "note")
    assert fitted([NAME, MEAN, NOTE], 5).rows[1] == "soft-randomization"


def test_on_a_narrow_screen_columns_stand_closer_where_more_of_them_fit_so():
    pair = [Column("a", ["x" * 10]), Column("b", ["y" * 10], order=1)]
    assert fitted(pair, 21).rows == (f"{'x' * 10} {'y' * 10}",)
    assert fitted(pair, 22).rows == (f"{'x' * 10}  {'y' * 10}",)
    wide = [Column("a", ["x" * NARROW]), Column("b", ["y"], order=1)]
    assert fitted(wide, NARROW + 2).left_out == ("b",)


def test_without_a_width_every_column_is_there_and_nothing_goes_on():
    assert "\n" not in "".join(fitted([NAME, MEAN, NOTE]).rows)


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5), st.integers(20, 200))
def test_no_line_is_longer_than_the_width_unless_a_name_is(texts, width):
    name, cells = Column("name", [f"n{place}" for place in range(len(texts))]), [clean(text) for text in texts]
    table = fitted([name, Column("x", cells, order=1), Column("y", cells, order=2, least=6)], width)
    assert max(map(len, lines(table))) <= width or any(cell_len(cell) != len(cell) for cell in cells)
    assert all(row.startswith(cell) for row, cell in zip(table.rows, name.cells, strict=True))


def test_wide_characters_take_two_places():
    assert fitted([Column("a", ["日本", "x"]), Column("b", ["1", "2"])]).rows == ("日本  1", "x     2")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, NOTHING),
        (math.nan, NOTHING),
        (0.0, "0.00"),
        (-0.001, "0.00"),
        (93.721, "93.72"),
        (99.996, "100.0"),
        (100.0, "100.0"),
        (1141, "1141"),
        (12345, "12.3k"),
        (999_960, "1.0M"),
        (3e15, "3000T"),
    ],
)
def test_a_number_has_at_most_four_significant_digits(value, text):
    assert number(value) == text


def test_a_number_has_its_sign_where_it_is_a_difference():
    assert [number(value, sign=True) for value in (1.0, -1.0, 0.0)] == ["+1.00", "-1.00", "0.00"]


@given(st.floats(-1e14, 1e14), st.integers(0, 3))
def test_a_number_is_short_and_right_to_four_digits(value, decimals):
    text = number(value, decimals)
    digits = text.lstrip("+-").rstrip("kMGT").replace(".", "").lstrip("0")
    assert len(digits) <= 4
    scale = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}.get(text[-1], 1.0)
    assert float(text.rstrip("kMGT")) * scale == pytest.approx(value, rel=0.05, abs=0.51 * 10.0**-decimals)


def test_decimal_points_are_below_one_another():
    assert numbers([93.721, 100.0, None, -2.5]) == [" 93.72", "100.0 ", "  –   ", " -2.50"]
    assert aligned(["1", "12"]) == [" 1", "12"]


def test_the_width_is_that_of_columns_or_120_where_there_is_no_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "77")
    assert screen_width() == 77
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr("sys.__stdout__", None)
    assert screen_width() == 120


def test_text_is_cleaned_of_control_characters():
    assert clean("a\x1b[31m\n b\u202ec\x00") == "a [31m b c"


def test_of_many_names_the_first_are_given():
    assert several(["a", "b", "c", "d"]) == "a, b, c, d"
    assert several(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_a_text_is_broken_at_spaces():
    assert wrapped("soft-randomization is skipped", 20, "  ") == ["soft-randomization", "  is skipped"]
