"""Decoded pictures on disk: decoded once, looked up by content, whatever happens to files and cache."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdarena.tracks.classification import store
from kdarena.tracks.classification.listing import listed_without_classes
from kdarena.tracks.classification.store import Decoded, cache_folder, decoded, usual_side


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDARENA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures of one colour each."""
    root = tmp_path / "pictures"
    root.mkdir()
    for value in range(4):
        paint(root / f"{value}.png", value)
    return root


def paint(path: Path, value: int, size: int = 8) -> None:
    Image.new("RGB", (size, size), (value, value, value)).save(path)


def read(root: Path, size: int = 8) -> Decoded:
    return decoded(root, listed_without_classes(root).files, size)


def values(root: Path) -> dict[str, int]:
    found = read(root)
    return {path: int(found.pixels()[found.rows[verdict.digest]].mean()) for path, verdict in found.verdicts.items() if verdict.problem is None}


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts pictures that are decoded."""
    counted: list[int] = []
    original = store.decode
    monkeypatch.setattr(store, "decode", lambda content, size: (counted.append(size), original(content, size))[1])
    return counted


def test_pixels_are_memory_mapped_and_found_by_path(folder: Path):
    assert isinstance(read(folder).pixels(), np.memmap)
    assert values(folder) == {f"{value}.png": value for value in range(4)}


def test_a_second_start_opens_no_picture(folder: Path, monkeypatch: pytest.MonkeyPatch):
    first = values(folder)
    monkeypatch.setattr(store, "_examine", None)
    assert values(folder) == first


def test_a_new_a_changed_and_a_removed_picture_are_noticed_and_others_not_decoded_again(folder: Path, decodings: list[int]):
    values(folder)
    paint(folder / "new.png", 77)
    paint(folder / "1.png", 88)
    (folder / "2.png").unlink()
    decodings.clear()
    assert values(folder) == {"0.png": 0, "1.png": 88, "3.png": 3, "new.png": 77}
    assert len(decodings) == 2


def test_a_renamed_picture_is_not_decoded_again(folder: Path, decodings: list[int]):
    values(folder)
    (folder / "2.png").rename(folder / "other.png")
    decodings.clear()
    assert values(folder)["other.png"] == 2 and not decodings


def test_copies_of_a_picture_are_kept_once(folder: Path):
    (folder / "copy.png").write_bytes((folder / "2.png").read_bytes())
    assert values(folder)["copy.png"] == 2 and read(folder).count == 4


def test_what_cannot_be_used_has_a_reason_and_is_looked_at_again(folder: Path):
    (folder / "bad.png").write_text("text")
    assert read(folder).verdicts["bad.png"].problem == "is a text file: remove it"
    stamp = (folder / "bad.png").stat()
    (folder / "bad.png").write_bytes(b"")
    os.utime(folder / "bad.png", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert "zero bytes" in str(read(folder).verdicts["bad.png"].problem)


@pytest.mark.parametrize("damage", ["cut", "no index", "no pixels", "no JSON", "other version"])
def test_a_damaged_cache_is_made_again(folder: Path, damage: str):
    first, place = values(folder), read(folder).place
    if damage == "cut":
        place.write_bytes(place.read_bytes()[:-1])
    elif damage == "no pixels":
        place.unlink()
    else:
        index = place.parent / "index.json"
        index.write_text({"no index": "", "no JSON": "{", "other version": index.read_text().replace('"version": 1', '"version": 0')}[damage])
    assert values(folder) == first


def test_sizes_have_pixels_of_their_own(folder: Path):
    assert read(folder, 8).pixels().shape == (4, 8, 8, 3) and read(folder, 16).pixels().shape == (4, 16, 16, 3)
    assert read(folder, 8).pixels().shape == (4, 8, 8, 3)


def test_nothing_that_was_not_finished_is_left(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(ValueError, match="No space left on device: make room there, or let KDARENA_CACHE name another folder") as caught:
        read(folder)
    assert str(cache_folder()) in str(caught.value)
    assert not [path for path in cache_folder().rglob("*") if path.is_file()]


def test_a_cache_that_cannot_be_made_is_refused_in_one_line(folder: Path, tmp_path: Path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ValueError, match="Not a directory: make room there, or let KDARENA_CACHE name another folder"):
        read(folder)


def test_what_was_not_used_for_long_is_deleted(folder: Path, tmp_path: Path):
    place = read(folder).place.parent
    long_ago = time.time() - 61 * 86400
    os.utime(place / "index.json", (long_ago, long_ago))
    other = tmp_path / "others"
    other.mkdir()
    paint(other / "a.png", 1)
    read(other)
    assert not place.exists()


def test_an_old_file_of_pixels_stays_for_those_that_have_just_read_of_it(folder: Path):
    old = read(folder).place
    paint(folder / "new.png", 77)
    assert read(folder).place != old and old.exists()


def test_a_large_folder_is_announced(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store, "ANNOUNCED_FROM", 4)
    with pytest.warns(UserWarning, match="pictures: 4 files are read and decoded once, into "):
        read(folder)


def test_the_usual_side_is_the_median_of_the_short_sides(folder: Path):
    for number, size in enumerate((30, 40, 50, 60, 70)):
        paint(folder / f"large {number}.png", 0, size)
    (folder / "text.png").write_text("text")
    assert usual_side(folder, listed_without_classes(folder).files) == 30
    assert usual_side(folder, ()) is None


def test_the_cache_is_the_users_unless_said_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("KDARENA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "kdarena" / "images"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "kdarena" / "images"
