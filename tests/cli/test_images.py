"""``kdarena run --images FOLDER``: what is wrong is named before anything trains, and the example of the documentation reaches a board."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DOCS = (Path(__file__).parents[2] / "docs" / "images.md").read_text()
EXAMPLE = shlex.split(re.search(r"```\n(kdarena run --plugins kd --images colours .*)\n```", DOCS)[1])[1:]


@pytest.fixture
def colours(tmp_path, monkeypatch):
    """The folder of the documentation's example."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDARENA_CACHE", str(tmp_path / "cache"))
    exec(re.search(r"```python\n(.*?)```", DOCS, re.DOTALL)[1], {})  # as its reader would run it
    return tmp_path / "colours"


def test_the_plan_of_the_example_names_the_task(kdarena, colours):
    done = kdarena(*EXAMPLE, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "images:colours:digits-teacher-digits-student" in done.stdout


def test_files_that_cannot_be_used_end_the_command_in_one_line_before_anything_is_made(kdarena, colours):
    (colours / "red" / "empty.png").write_bytes(b"")
    (colours / "blue" / "text.jpg").write_text("text")
    done = kdarena(*EXAMPLE)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert "2 of 82 files can't be used: blue/text.jpg is a text file: remove it; red/empty.png is empty (zero bytes)" in done.stderr
    assert not Path("kdarena-out").exists()
    skipping = kdarena(*EXAMPLE, "--skip-unreadable", "--dry-run")
    assert skipping.returncode == 0 and "2 of 82 files can't be used and are left out" in skipping.stderr


@pytest.mark.parametrize("option", [("--unlabelled", "."), ("--skip-unreadable",), ("--image-size", "8"), ("--class-weights", "balanced")])
def test_an_option_of_a_folder_needs_the_folder(kdarena, option):
    done = kdarena("run", "--plugins", "kd", "--tasks", "digits", *option)
    assert done.returncode == 2 and f"{option[0]} is of a folder of pictures: name it by --images" in done.stderr


def test_every_option_of_a_folder_is_documented():
    for option in ("--images", "--unlabelled", "--skip-unreadable", "--image-size", "--class-weights", "--teacher", "--student", "KDARENA_CACHE"):
        assert f"`{option}" in DOCS


@pytest.mark.slow
def test_the_example_reaches_a_board_and_a_second_command_trains_nothing(kdarena, colours):
    (colours / "red" / "empty.png").write_bytes(b"")
    command = (*EXAMPLE, "--skip-unreadable", "--unlabelled", "colours/red", "--class-weights", "balanced")
    done = kdarena(*command)
    assert done.returncode == 0, done.stderr
    assert "images:colours:digits-teacher-digits-student: top1 on test" in done.stdout
    assert "2 files of the data could not be used and are left out" in done.stdout
    rows = json.loads(next(Path("kdarena-out/leaderboards").glob("images-colours*1t.json")).read_text())
    assert {row["method"] for row in rows} >= {"student", "kd"} and all(row["files_left_out"] == 2 for row in rows if row["method"] in ("student", "kd"))
    runs = len(json.loads(kdarena("runs", "--json").stdout))
    assert kdarena(*command).returncode == 0 and len(json.loads(kdarena("runs", "--json").stdout)) == runs
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(colours / "blue" / "new.png")
    assert kdarena(*command).returncode == 0 and len(json.loads(kdarena("runs", "--json").stdout)) > runs
