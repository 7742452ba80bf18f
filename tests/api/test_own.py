"""The tasks that a user brings, of what was typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdarena.api.own import own_tasks
from kdarena.errors import UserError
from kdarena.tracks.own import OwnTask


def test_a_folder_of_pictures_is_a_task_with_its_networks(tmp_path: Path) -> None:
    typed = {"tasks": "all", "images": str(tmp_path), "teacher": "torchvision:resnet50"}
    assert own_tasks(typed) == (OwnTask("images", {"images": str(tmp_path), "teacher": "torchvision:resnet50"}),)


def test_networks_alone_belong_to_the_tasks_that_are_named() -> None:
    typed = {"tasks": "cifar10, cifar100", "student": "timm:resnet18"}
    assert own_tasks(typed) == tuple(OwnTask("pair", {"task": name, "student": "timm:resnet18"}) for name in ("cifar10", "cifar100"))


def test_networks_without_a_task_are_refused() -> None:
    with pytest.raises(UserError, match="--teacher needs a task"):
        own_tasks({"tasks": "all", "teacher": "timm:resnet18"})


def test_what_brings_nothing_gives_nothing() -> None:
    assert own_tasks({"tasks": "digits"}) == ()


def test_paths_in_references_are_absolute_and_other_names_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (task,) = own_tasks({"tasks": "digits", "teacher": "nets.py:small,width=4", "student": "resnet8", "taps": "a=body.0"})
    assert task.settings == {"task": "digits", "teacher": f"{tmp_path}/nets.py:small,width=4", "student": "resnet8", "taps": "a=body.0"}


def test_stages_without_a_network_are_refused() -> None:
    with pytest.raises(UserError, match="--taps a=b: names stages of networks by reference"):
        own_tasks({"tasks": "digits", "taps": "a=b"})


def test_the_encoders_of_a_file_of_texts_are_folders_that_hold_wherever_a_worker_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (task,) = own_tasks({"tasks": "all", "text": "a.csv", "columns": "words,sort", "teacher": "hf:models/roberta", "student": "./small"})
    here = tmp_path.resolve()
    assert task.settings == {"text": f"{here}/a.csv", "columns": "words,sort", "teacher": f"hf:{here}/models/roberta", "student": f"hf:{here}/small"}


def test_columns_without_a_file_of_texts_are_refused() -> None:
    with pytest.raises(UserError, match="--columns names the columns of --text, which is not given"):
        own_tasks({"tasks": "all", "columns": "a,b"})
