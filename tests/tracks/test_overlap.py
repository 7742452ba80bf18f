"""How many test samples are also in train, of each kind of data."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from kdarena.testing import toy_task
from kdarena.tracks import find_card, load_task
from kdarena.tracks.overlap import files_in_train, rows_in_train, texts_in_train
from kdarena.tracks.values import Setting


def test_equal_images_are_counted_each_time_that_test_has_them():
    train = np.random.RandomState(0).randint(0, 256, (50, 4, 4, 3)).astype(np.uint8)
    test = np.concatenate([train[[3, 3, 7]], train[:2] ^ 1])
    assert rows_in_train(test, train) == 3


def test_texts_are_equal_whatever_the_white_space_but_pairs_only_as_a_whole():
    assert texts_in_train([["a  fine film "], ["a fine\tfilm"], ["A fine film"]], [["a fine film"]]) == 2
    assert texts_in_train([("one", "two"), ("two", "one"), ("one two", "")], [("one", "two")]) == 1


def test_files_are_compared_by_their_bytes_and_read_only_where_sizes_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    contents = {"a": b"same", "b": b"same", "c": b"sane", "d": b"longer"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    a, b, c, d = (tmp_path / name for name in contents)
    assert files_in_train([a, c, d], [b]) == 1
    read, opened = Path.read_bytes, list[str]()
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path.name) or read(path))
    files_in_train([a, d], [b])
    assert sorted(opened) == ["a", "b"]


@pytest.mark.parametrize("name", ["digits", "grammar", "scenes", "scenes-boxes", "scenes-depth", "tones"])
def test_no_embedded_task_tests_on_what_it_trains_on(name: str):
    assert load_task(find_card(name), Setting()).overlap == 0


def test_sixty_thousand_images_are_compared_in_a_second_or_so():
    images = np.random.RandomState(0).randint(0, 256, (60_000, 3072), dtype=np.uint8)
    started = time.process_time()
    assert rows_in_train(images[:10_000], images[10_000:]) == 0
    assert time.process_time() - started < 2


def test_a_task_that_cant_say_says_so():
    assert toy_task().overlap is None
