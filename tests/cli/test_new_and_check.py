"""A method to begin with passes its own check, and a check says what is wrong with a plugin by name or by file."""

import json
import os
import tomllib

import pytest

from kdarena.api.plugin_check import check
from kdarena.cli import check_command, new_command
from kdarena.errors import UserError
from kdarena.method.beginning import package_of
from kdarena.method.origin import Origin, load
from kdarena.testing.finding import Finding

GOOD = """
from kdarena import Method, Paper, hookimpl
method = Method("NAME", "my own", Paper("t", "v", 2026, "u"))
@hookimpl
def loss(step):
    return {"task": step.task.loss(step.student, step.targets)}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_new_file_passes_its_own_check(folder, capsys):
    new_command.new("my-loss", False)
    assert "kdarena plugins check my_loss.py" in capsys.readouterr().out
    assert check_command.run("my_loss.py", (), True) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["method"] for row in rows} == {"my-loss"}
    assert {"search space", "student", "teachers", "seed", "captured", "budgets"} <= {row["check"] for row in rows}


def test_a_new_package_names_its_method_by_an_entry_point_and_its_test_is_python(folder):
    new_command.new("my-loss", True)
    project = tomllib.loads((folder / "my-loss" / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["kdarena"] == {"my-loss": "my_loss"}
    assert project["tool"]["setuptools"]["py-modules"] == ["my_loss"]
    assert {path.name for path in (folder / "my-loss").iterdir()} == package_of("my-loss").keys()
    compile((folder / "my-loss" / "test_my_loss.py").read_text(), "test", "exec")
    module = load(Origin("my_loss", str(folder / "my-loss" / "my_loss.py"), True))
    assert module.method.name == "my-loss"


@pytest.mark.parametrize("package", [False, True])
def test_nothing_is_overwritten(folder, package):
    new_command.new("mine", package)
    file = folder / ("mine/mine.py" if package else "mine.py")
    file.write_text("x = 1\n")
    with pytest.raises(UserError, match="is there already, and nothing is overwritten"):
        new_command.new("mine", package)
    assert file.read_text() == "x = 1\n"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil", "can't be the name of a method"),
        ("<b>x</b>", "can't be the name of a method"),
        ('x"; import os', "can't be the name of a method"),
        ("Mine", "lower-case letters"),
        ("", "can't be the name of a method"),
        ("a" * 300, "at most 60"),
        ("json", "would hide a part of Python"),
        ("class", "would hide a part of Python"),
        ("torch", "an installed package has the name 'torch'"),
        ("kd", "is taken by an installed method"),
    ],
)
def test_a_name_that_can_not_be_is_one_line_and_writes_nothing(folder, name, words):
    with pytest.raises(UserError) as raised:
        new_command.new(name, False)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert os.listdir(folder) == []


def test_a_plugin_that_can_not_be_imported_fails_the_check_with_the_line(folder, capsys):
    (folder / "broken.py").write_text("1 / 0\n")
    assert check_command.run("broken.py", (), False) == 1
    printed = capsys.readouterr()
    assert "declaration: failed: ZeroDivisionError: division by zero" in printed.out
    assert "broken.py, line 1" in printed.out
    assert printed.err == "1 check has failed\n"


def test_what_looks_odd_is_counted_below_the_checks(monkeypatch, capsys):
    odd, good = Finding("temperature", "warning", "as if T² were missing"), Finding("labels", "ok")
    monkeypatch.setattr(check_command, "check", lambda target, paths: iter([("mine", odd), ("mine", good)]))
    assert check_command.run("mine", (), False) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 check looks odd, which a method may do on purpose"


def test_a_name_that_is_taken_is_said_of_the_file_that_takes_it(folder):
    (folder / "mine.py").write_text(GOOD.replace("NAME", "kd"))
    first = next(check("mine.py"))
    assert (first[0], first[1].status, "is taken by kdarena" in first[1].text) == ("kd", "failed", True)


def test_an_unknown_name_is_one_line(folder):
    with pytest.raises(UserError, match="unknown method 'nothing'; known: .*quest.*; or name the plugin's file"):
        next(check("nothing"))


def test_a_file_that_is_not_there_is_one_line(folder):
    with pytest.raises(UserError, match="no such file"):
        next(check("absent.py"))


@pytest.mark.slow
def test_an_installed_method_is_checked_by_its_name(kdarena):
    done = kdarena("plugins", "check", "kd", "--json")
    rows = json.loads(done.stdout)
    assert done.returncode == 0
    assert {row["status"] for row in rows} == {"ok"}
