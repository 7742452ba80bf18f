"""Tasks that the user brings."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdarena.errors import UserError
from kdarena.tracks import own
from kdarena.tracks.own import OwnTask, from_plain, keep, kept

PETS = OwnTask("images", {"images": "/data/pets", "teacher": "torchvision:resnet50"})
MAILS = OwnTask("text", {"text": "/data/mails.tsv"})


def test_a_task_comes_back_from_json() -> None:
    assert from_plain(PETS.plain()) == PETS


def test_an_output_directory_keeps_each_task_once_and_those_of_all_commands(tmp_path: Path) -> None:
    keep([PETS], tmp_path)
    keep([PETS, MAILS], tmp_path)
    keep([], tmp_path)
    assert kept(tmp_path) == (PETS, MAILS)


def test_an_output_directory_without_own_tasks_has_none_and_gets_no_file(tmp_path: Path) -> None:
    keep([], tmp_path)
    assert kept(tmp_path) == () and not list(tmp_path.iterdir())


def test_a_file_of_own_tasks_that_cant_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / own.FILE).write_text("[1")
    with pytest.raises(UserError, match=r"own-tasks.json: can't be read .* remove it"):
        kept(tmp_path)
