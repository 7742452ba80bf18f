"""Rows of text files: whatever ends a line, and what can't be read is named by file and row."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdarena.tracks.rows import check_labels, count_rows, read_rows

ROWS = ["one", "two\x85and\u2028more", "three "]


@pytest.mark.parametrize(
    "written",
    [
        "\n".join(ROWS),
        "\n".join(ROWS) + "\n",
        "\r\n".join(ROWS) + "\r\n",
        "\r".join(ROWS),
        "\r".join(ROWS) + "\r",
        "\ufeff" + "\n".join(ROWS),
        "\n".join(ROWS) + "\n\n \n\t\n",
        "\r\n".join(ROWS) + "\r\n\r\n",
    ],
    ids=["no last end", "line feeds", "both", "carriage returns", "last carriage return", "byte order mark", "blank last rows", "blank last row of both"],
)
def test_the_rows_are_the_same_however_they_end(tmp_path: Path, written: str):
    path = tmp_path / "rows.tsv"
    path.write_bytes(written.encode())
    assert read_rows(path) == ROWS
    assert count_rows(path) == len(ROWS)


@pytest.mark.parametrize("written", [b"", b"\n\n", b" \n\t\r\n", b"\xef\xbb\xbf\n"])
def test_a_file_of_blank_rows_alone_has_none(tmp_path: Path, written: bytes):
    path = tmp_path / "rows.tsv"
    path.write_bytes(written)
    assert (read_rows(path), count_rows(path)) == ([], 0)


def test_a_blank_row_among_others_is_kept_so_that_numbers_are_the_files(tmp_path: Path):
    (tmp_path / "rows.tsv").write_text("one\n\ntwo\n")
    assert read_rows(tmp_path / "rows.tsv") == ["one", "", "two"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_byte_that_is_not_utf8_is_named_by_its_row(tmp_path: Path, end: bytes):
    path = tmp_path / "rows.tsv"
    path.write_bytes(end.join([b"one", b"two", "café".encode("latin1"), b"four"]))
    with pytest.raises(ValueError) as caught:
        read_rows(path)
    assert str(caught.value) == f"{path}: row 3: byte 0xe9 is not UTF-8: save the file in UTF-8"


def test_a_file_that_cant_be_read_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match="it can't be read: Is a directory"):
        read_rows(tmp_path)
    assert count_rows(tmp_path) == 0


def test_labels_of_one_class_and_too_few_rows_are_refused():
    with pytest.raises(ValueError, match="train.tsv: all 3 samples are of one class, 'no': add samples of another class"):
        check_labels([1, 1, 1], [0, 1], ["yes", "no"], "train.tsv", validation=1)
    with pytest.raises(ValueError, match="train.tsv: 3 samples, of which 3 are held out for validation, and none is left"):
        check_labels([0, 1, 1], [0, 1, 1], ["yes", "no"], "train.tsv", validation=3)


def test_a_class_of_test_alone_is_a_line_to_the_user():
    (line,) = check_labels([0, 1, 1], [0, 2], ["a", "b", "c"], "train.tsv", validation=1)
    assert line.startswith("train.tsv: no sample of class 'c', of which the test part has some")
    assert check_labels([0, 1, 1], [0], ["a", "b", "c"], "train.tsv", validation=1) == []
