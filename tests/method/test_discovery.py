from pathlib import Path

import pytest

from kdarena.errors import UserError
from kdarena.method.discovery import discover, select

GOOD = """
from kdarena import Method, Paper, hookimpl
method = Method("mine", "my own", Paper("t", "v", 2026, "u"))
@hookimpl
def loss(step):
    return {"task": step.task.loss(step.student, step.targets)}
"""


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def only(found, name):
    return next(one for one in found if one.name == name)


def test_the_built_in_methods_are_found_by_their_entry_points():
    names = {one.name for one in discover() if one.error is None}
    assert {"student", "kd", "kd-ensemble", "dml", "quest", "afd", "afd-cycle", "pfeed", "sfeed", "ban"} <= names


def test_nothing_installed_is_broken():
    assert [(one.name, one.error) for one in discover() if one.error] == []


def test_a_file_of_ones_own_is_found(tmp_path):
    assert only(discover([write(tmp_path, GOOD)]), "mine").status == "ok"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import a_module_that_does_not_exist", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("def f(:", "SyntaxError"),
        (GOOD.replace("def loss(step)", "def losss(step)"), "losss"),
        (GOOD.replace("def loss(step)", "def loss(step, batch)"), "batch"),
        ("x = 1", "attribute 'method'"),
        (GOOD.replace('"mine"', '"../evil"'), "lower-case"),
        (GOOD.replace("@hookimpl", ""), "'loss' is not marked with @hookimpl"),
        (GOOD.partition("@hookimpl")[0], "implements no hook"),
    ],
)
def test_a_broken_plugin_is_listed_with_its_reason_and_everything_else_works(tmp_path, text, reason):
    found = discover([write(tmp_path, text)])
    broken = [one for one in found if one.error]
    assert len(broken) == 1
    assert reason in broken[0].error
    assert "\n" not in broken[0].error
    assert only(found, "kd").status == "ok"


def test_a_second_plugin_of_a_name_is_broken_and_the_first_keeps_it(tmp_path):
    found = discover([write(tmp_path, GOOD.replace('"mine"', '"kd"'))])
    assert [one.status for one in found if one.name == "kd"] == ["ok", "broken"]


def test_a_parameter_named_as_a_common_hyper_parameter_is_broken(tmp_path):
    text = (
        GOOD.replace("from kdarena import", "from dataclasses import dataclass\nfrom kdarena import Float, Params,")
        .replace(
            "method = Method(",
            "@dataclass(frozen=True)\nclass P(Params):\n    lr: float = Float(1.0, 0.1, 2.0, source='ours')\nmethod = Method(Params=P, name=",
        )
        .replace('name="mine", "my own", Paper("t", "v", 2026, "u")', 'name="mine", title="t", paper=Paper("t", "v", 2026, "u")')
    )
    assert "common hyper-parameter" in only(discover([write(tmp_path, text)]), "mine").error


def test_variants_of_one_file_are_rows_of_their_own(tmp_path):
    text = """
from kdarena import Method, Paper, hookimpl
class One:
    method = Method("one", "1", Paper("t", "v", 2026, "u"))
    @hookimpl
    def loss(self, step):
        return {"task": step.task.loss(step.student, step.targets)}
class Two(One):
    method = Method("two", "2", Paper("t", "v", 2026, "u"))
variants = (One, Two)
"""
    names = {one.name for one in discover([write(tmp_path, text)])}
    assert {"one", "two"} <= names


OLD = """
from kdarena import Method, Paper, hookimpl
class Mine:
    method = Method("mine", "m", Paper("t", "v", 2026, "u"))
    @hookimpl
    def build_student(self, run):
        run.store["bank"] = []
variants = (Mine(),)
"""


@pytest.mark.parametrize("text", [OLD, OLD.replace('"u"))', '"u"), equations="L = 0")')])
def test_a_plugin_of_the_old_form_is_refused_with_a_line_that_names_the_new_one(tmp_path, text):
    (broken,) = (plugin for plugin in discover([write(tmp_path, text)]) if plugin.error)
    assert "register the class itself (variants = (MyMethod,))" in broken.error
    assert "not run.store" in broken.error
    assert "\n" not in broken.error


def test_the_equations_of_a_method_are_its_modules_docstring(tmp_path):
    plugin = only(discover([write(tmp_path, '"""L = CE."""\n' + GOOD)]), "mine")
    assert plugin.equations == "L = CE."


def test_an_edited_method_has_another_digest(tmp_path):
    before = only(discover([write(tmp_path, GOOD)]), "mine").source
    after = only(discover([write(tmp_path, GOOD + "# edited\n")]), "mine").source
    assert before != after


def test_a_missing_file_and_an_unknown_name_are_errors_of_one_line(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        discover([tmp_path / "none.py"])
    with pytest.raises(UserError, match=r"unknown plugin 'nope'; known: .*kd"):
        select(discover(), "kd,nope")


def test_selecting_a_broken_plugin_says_why_it_is_broken(tmp_path):
    with pytest.raises(UserError, match="broken: ModuleNotFoundError"):
        select(discover([write(tmp_path, "import nothing_of_that_name", "sad.py")]), "sad")
