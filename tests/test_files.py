"""Files that are replaced whole."""

import errno
import os
from pathlib import Path

import pytest

from kdarena.files import digest_of, folder_at_once, replace_atomically, write_atomically


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


def test_what_the_disk_refuses_names_the_file(tmp_path: Path):
    with pytest.raises(OSError, match=r"No space left on device: '.*/result\.json'"), replace_atomically(tmp_path / "result.json"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_two_writers_at_once_do_not_write_into_each_others_file(tmp_path: Path):
    path = tmp_path / "result.json"
    with replace_atomically(path) as one, replace_atomically(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_digest_is_the_beginning_of_the_contents_sha256(tmp_path: Path):
    (tmp_path / "weights").write_bytes(b"abc")
    assert digest_of(tmp_path / "weights") == "ba7816bf8f01cfea"


def test_a_folder_appears_with_all_its_files_and_replaces_an_older_one_as_a_whole(tmp_path: Path):
    for content in ("old", "new"):
        with folder_at_once(tmp_path / "made") as folder:
            (folder / content).write_text(content)
            assert not (tmp_path / "made" / content).exists()
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [tmp_path / "made"]


def _fill_the_disk(path: Path) -> None:
    path.touch()
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_a_folder_whose_writer_fails_leaves_the_older_one_and_nothing_else(tmp_path: Path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "old").touch()
    with pytest.raises(OSError, match=r"No space left on device: '.*/made'"), folder_at_once(tmp_path / "made") as folder:
        _fill_the_disk(folder / "half")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [tmp_path / "made"]
