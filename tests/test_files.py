"""Files that are replaced whole."""

from pathlib import Path

import pytest

from kdarena.files import replace_atomically, write_atomically


def test_a_file_is_replaced_by_its_new_content_and_nothing_else_is_left(tmp_path: Path):
    path = tmp_path / "result.json"
    write_atomically(path, "first")
    write_atomically(path, "zweite Fassung: ü")
    assert path.read_text(encoding="utf-8") == "zweite Fassung: ü"
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_are_written_as_they_are(tmp_path: Path):
    write_atomically(tmp_path / "weights", b"\x00\r\n\xff")
    assert (tmp_path / "weights").read_bytes() == b"\x00\r\n\xff"


def _write_half(path: Path) -> None:
    path.write_text("half of")
    raise FileNotFoundError


def test_a_writer_that_fails_half_way_leaves_the_old_file_and_no_other(tmp_path: Path):
    path = tmp_path / "result.json"
    write_atomically(path, "old")
    with pytest.raises(FileNotFoundError), replace_atomically(path) as partial:
        _write_half(partial)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
