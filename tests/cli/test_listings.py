"""What the listings of tasks, methods and costs have of what plugins and users bring."""

import json
from types import SimpleNamespace

import numpy as np
from PIL import Image

from kdarena.api.arguments import typed_from
from kdarena.cli import cost_command, listings, plugin_pages

TASK = """
from dataclasses import replace
from kdarena.tracks import find_card


def card():
    return replace(find_card("digits"), name="waves", data_set="waves")
"""


def test_tasks_of_plugins_are_listed_and_a_broken_one_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "waves.py").write_text(TASK)
    brought = SimpleNamespace(finding=SimpleNamespace(tasks=(("waves", f"{tmp_path}/waves.py:card"), ("gone", f"{tmp_path}/waves.py:nothing"))))
    monkeypatch.setattr("kdarena.method.discovery.listing", lambda paths: [brought, SimpleNamespace(finding=None)])
    listings.tasks(True, None)
    said = capsys.readouterr()
    assert "waves" in [row["name"] for row in json.loads(said.out)]
    assert said.err.startswith("task gone is broken: ") and said.err.count("\n") == 1


def test_the_matrix_has_a_legend(monkeypatch, capsys):
    monkeypatch.setattr(plugin_pages, "discover", lambda paths: [])
    plugin_pages.matrix(False, ())
    shown = capsys.readouterr().out
    assert all(line in shown for line in plugin_pages.LEGEND)


def test_step_costs_are_measured_on_a_folder_of_pictures_too(tmp_path, monkeypatch, capsys):
    pixels = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(16):
            Image.fromarray(pixels.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(tmp_path / "pets" / name / f"{number}.png")
    seen = []
    monkeypatch.setattr(cost_command, "discover", lambda paths: [])
    monkeypatch.setattr(cost_command, "select", lambda plugins, names: [])
    monkeypatch.setattr(cost_command, "_measure", lambda entrants, conditions, request: [])
    monkeypatch.setattr(cost_command, "_in_faster_precision", lambda request, card: seen.append((request.own, card.name)))
    cost_command.cost(None, True, typed_from({"images": str(tmp_path / "pets")}))
    ((own, name),) = seen
    assert name.startswith("images:pets:") and [task.kind for task in own] == ["images"]
