"""The page on networks is kept true by running what it shows."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kdarena.api.own import own_tasks
from kdarena.tracks import load_task
from kdarena.tracks.values import Setting

PAGE = (Path(__file__).parent.parent / "docs" / "models.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(block.replace("\\\n", " ")) for block in re.findall(r"```\n(kdarena .*?)```", PAGE, re.DOTALL)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(command: list[str]) -> dict[str, str]:
    words = command[2:]
    return {name.removeprefix("--").replace("-", "_"): value for name, value in zip(words[::2], words[1::2], strict=True)}


def test_the_networks_of_the_page_make_cards_with_the_names_that_it_shows(folder):
    names = [task.card().name for command in COMMANDS if "--student" in command for task in own_tasks(typed(command))]
    assert names[0] in PAGE
    assert names[1].startswith("digits:nets.small.")


def test_the_network_of_the_page_shows_maps_and_an_embedding(folder):
    (own,) = own_tasks(typed(COMMANDS[1]))
    card = own.card()
    task = load_task(card, Setting())
    shapes = task.shapes(task.new_network(card.student))
    assert (shapes.features, shapes.embedding) == ({"stage1": (4, 8, 8), "stage2": (8, 4, 4)}, (8,))


@pytest.mark.slow
def test_the_command_of_the_page_makes_a_board(folder):
    done = subprocess.run([sys.executable, "-m", *COMMANDS[1]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "at " in done.stdout and "is trained" not in done.stderr
    assert re.search(r"teacher .*nets.py:small,width=24 has top1 [\d.]+ on validation", done.stderr)
