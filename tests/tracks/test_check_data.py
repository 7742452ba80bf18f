"""A task's data are looked at before anything is planned, and what is wrong is one line for the user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from kdarena.errors import UserError
from kdarena.tracks import check_data, find_card

DIGITS = find_card("digits")


def raises(error: Exception) -> Callable[[str | None], tuple[str, ...]]:
    def check(data_root: str | None) -> tuple[str, ...]:
        raise error

    return check


@pytest.mark.parametrize("error", [ValueError("train.tsv: row 3:\nno text"), PermissionError(13, "Permission denied", "train.tsv")])
def test_whatever_is_wrong_with_the_data_becomes_one_line_of_the_user(error: Exception):
    with pytest.raises(UserError) as caught:
        check_data(replace(DIGITS, check=raises(error)), None)
    assert str(caught.value).startswith("task digits: ") and "train.tsv" in str(caught.value) and "\n" not in str(caught.value)


def test_missing_data_are_said_before_any_is_read():
    card = replace(DIGITS, missing=lambda data_root: "no data root", check=raises(AssertionError("read")))
    with pytest.raises(UserError, match="task digits: no data root"):
        check_data(card, None)


@pytest.mark.parametrize("sizes", [{"train": -29}, {"train": 0}, {"test": 0}, {"validation": -1}])
def test_impossible_numbers_of_samples_are_refused(sizes: dict[str, int]):
    with pytest.raises(UserError, match=r"task digits: -?\d+ samples to train on, -?\d+ for validation and \d+ to test on: add samples"):
        check_data(replace(DIGITS, **sizes), None)


def test_what_a_user_has_to_know_is_handed_on():
    assert check_data(replace(DIGITS, check=lambda data_root: ["a line"]), None) == ("a line",)
    assert check_data(DIGITS, None) == ()
