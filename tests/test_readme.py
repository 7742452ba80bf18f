"""The README is kept true by running what it shows."""

import re
from pathlib import Path

from kdarena.method.discovery import discover
from kdarena.testing.run import make_run, take_steps
from kdarena.testing.task import toy_task

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_method_in_the_readme_is_a_plugin_that_trains(tmp_path):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    (tmp_path / "my_hint.py").write_text(code)
    found = next(one for one in discover([tmp_path / "my_hint.py"]) if one.name == "my-hint")
    assert found.error is None
    history = take_steps(make_run(found.implementation, toy_task()), 20)
    assert set(history[0]) == {"student/ce", "student/hint"}
    assert history[-1]["student/hint"] < history[0]["student/hint"]


def test_the_two_commands_stand_in_the_readme():
    assert "pip install -c constraints.txt -e . && kdarena run --plugins all" in README
    assert "pip install -c constraints.txt -e '.[test]' && pytest" in README


def test_every_method_is_in_the_readme():
    for one in discover():
        assert f"`{one.name}`" in README


def test_the_board_in_the_readme_names_its_runs():
    assert re.search(r"[0-9a-f]{32}", README)
