import os
import subprocess
import sys
import warnings

import pytest

from kdarena.errors import UserError
from kdarena.method import findings
from kdarena.method.discovery import discover, find, imported, listing, select
from kdarena.method.findings import Finding, Known, known
from kdarena.method.modules import Modules
from kdarena.method.origin import Origin
from kdarena.method.plugin import Plugin
from kdarena.method.source import source_of

GOOD = '''"""L = CE."""
from kdarena import Method, Paper, hookimpl
method = Method("mine", "my own", Paper("t", "v", 2026, "u"))
@hookimpl
def loss(step):
    return {"task": step.task.loss(step.student, step.targets)}
'''

VARIANTS = """
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

COMMON_PARAMETER = (
    GOOD.replace("from kdarena import", "from dataclasses import dataclass\nfrom kdarena import Float, Params,")
    .replace(
        "method = Method(",
        "@dataclass(frozen=True)\nclass P(Params):\n    lr: float = Float(1.0, 0.1, 2.0, source='ours')\nmethod = Method(Params=P, name=",
    )
    .replace('name="mine", "my own", Paper("t", "v", 2026, "u")', 'name="mine", title="t", paper=Paper("t", "v", 2026, "u")')
)

OLD = """
from kdarena import Method, Paper, hookimpl
class Mine:
    method = Method("mine", "m", Paper("t", "v", 2026, "u"))
    @hookimpl
    def build_student(self, run):
        run.store["bank"] = []
variants = (Mine(),)
"""

FAULTY = {
    "misspelt": (GOOD.replace("def loss(step)", "def losss(step)"), "losss"),
    "argument": (GOOD.replace("def loss(step)", "def loss(step, batch)"), "batch"),
    "nothing": ("x = 1", "attribute 'method'"),
    "evil": (GOOD.replace('"mine"', '"../evil"'), "lower-case"),
    "unmarked": (GOOD.replace("@hookimpl", ""), "'loss' is not marked with @hookimpl"),
    "hookless": (GOOD.partition("@hookimpl")[0], "implements no hook"),
    "common": (COMMON_PARAMETER, "common hyper-parameter"),
    "old": (OLD, "register the class itself (variants = (MyMethod,))"),
    "variants": ("variants = 3", "'variants' has to be a sequence"),
    "taken": (GOOD.replace('"mine"', '"kd"'), "the name 'kd' is taken by kdarena, which goes on"),
    "second": (GOOD, "the name 'mine' is taken by"),
}


def write(folder, text, name="mine.py"):
    path = folder / name
    path.write_text(text)
    return path


def only(found, name):
    return next(one for one in found if one.name == name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("plugins")
    write(place, GOOD)
    write(place, VARIANTS, "both.py")
    for name, (text, _) in FAULTY.items():
        write(place, text, f"{name}.py")
    return place


@pytest.fixture(scope="module")
def files(folder):
    return [folder / f"{name}.py" for name in ("mine", "both", *FAULTY)]


@pytest.fixture(scope="module")
def found(files):
    return discover(files)


@pytest.fixture
def no_process(monkeypatch):
    """Fails where a process is started."""

    def refuse(*arguments, **settings):
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)


def test_the_built_in_methods_are_found_by_their_entry_points(found):
    names = {one.name for one in found if one.error is None}
    assert {"student", "kd", "kd-ensemble", "dml", "quest", "afd", "afd-cycle", "pfeed", "sfeed", "ban"} <= names


def test_nothing_installed_is_broken(found):
    assert [(one.name, one.error) for one in found if one.error and one.distribution == "kdarena"] == []


def test_a_file_of_ones_own_is_found(found):
    assert only(found, "mine").status == "ok"


@pytest.mark.parametrize("name", FAULTY)
def test_a_plugin_with_a_fault_is_listed_with_its_reason(found, folder, name):
    (broken,) = [one for one in found if one.distribution == str(folder / f"{name}.py")]
    assert FAULTY[name][1] in broken.error
    assert "\n" not in broken.error


def test_an_installed_method_goes_before_a_files_of_its_name_and_a_first_file_before_a_second(found, folder):
    assert [(one.status, one.distribution) for one in found if one.name == "kd"] == [("ok", "kdarena"), ("broken", str(folder / "taken.py"))]
    assert (only(found, "mine").status, only(found, "mine").distribution) == ("ok", str(folder / "mine.py"))
    assert select(found, "kd")[0].distribution == "kdarena"


def test_a_method_is_found_by_its_name_as_the_listing_gives_it(found, files):
    listed = listing(files)
    for name in ("kd", "mine", "two"):
        one = find(name, listed)
        assert (one.error, one.distribution, one.source) == (None, only(found, name).distribution, only(found, name).source)
    assert find("nope", listed) is None


def test_variants_of_one_file_are_rows_of_their_own(found):
    assert {"one", "two"} <= {one.name for one in found if one.error is None}


def test_the_equations_of_a_method_are_its_modules_docstring(found):
    assert only(found, "mine").equations == "L = CE."


def test_code_that_is_known_is_not_tried_out_again(found, files, no_process):
    assert [(one.name, one.error, one.source) for one in discover(files)] == [(one.name, one.error, one.source) for one in found]


def test_without_a_cache_to_write_to_all_goes_on(tmp_path, monkeypatch):
    (tmp_path / "cache").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert only(discover([write(tmp_path, GOOD)]), "mine").status == "ok"


def test_a_module_that_is_imported_by_a_made_up_name_is_part_of_the_source(tmp_path):
    (tmp_path / "inner").mkdir()
    helper = write(tmp_path / "inner", "W = 1.0\n", "made_up_name.py")
    text = f"import importlib, sys\nsys.path.insert(0, {str(helper.parent)!r})\nimportlib.import_module('made' + '_up_name')\n" + GOOD
    plugin = write(tmp_path, text)
    assert listing([plugin])[-1].source.files == {"plugin file": plugin, "made_up_name": helper}


def test_two_plugins_whose_helpers_have_one_name_each_get_their_own(tmp_path):
    for name in ("first", "other"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, f"name = {name!r}\n", "shared_name.py")
        text = f"import sys\nsys.path.insert(0, {str(tmp_path / name)!r})\nimport shared_name\n" + GOOD.replace('"mine"', "shared_name.name")
        write(tmp_path / name, text, "plugin.py")
    found = discover([tmp_path / "first" / "plugin.py", tmp_path / "other" / "plugin.py"])
    assert {"first", "other"} <= {one.name for one in found if one.error is None}


def test_a_missing_file_and_a_folder_are_errors_of_one_line(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        discover([tmp_path / "none.py"])
    with pytest.raises(UserError, match="a folder; name the Python file in it"):
        discover([tmp_path])


def test_selecting_says_what_is_unknown_and_why_something_is_broken():
    plugins = [Plugin("kd"), Plugin("sad", error="ModuleNotFoundError: no")]
    with pytest.raises(UserError, match=r"unknown plugin 'nope'; known: kd"):
        select(plugins, "kd,nope")
    with pytest.raises(UserError, match="'sad' is broken: ModuleNotFoundError: no"):
        select(plugins, "sad")


def test_a_process_that_can_not_start_is_an_error_of_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(findings, "START", "raise SystemExit(1)")
    with pytest.raises(UserError, match="ended at its start"):
        discover([write(tmp_path, GOOD + "# unknown yet\n")])


def test_the_filters_of_warnings_that_a_plugin_sets_at_its_import_end_with_it(tmp_path, no_process):
    origin = Origin("mine", str(write(tmp_path, "import warnings\nwarnings.simplefilter('ignore')\n" + GOOD)), True)
    before = list(warnings.filters)
    (one,) = imported(Known(origin, source_of(origin, Modules()), Finding(("mine",))))
    assert (one.status, warnings.filters) == ("ok", before)


CHOOSES = "import importlib, os, sys\nsys.path.insert(0, os.path.dirname(__file__))\nimportlib.import_module(os.environ['KDARENA_TEST_HELPER'])\n" + GOOD


@pytest.fixture
def chooses(tmp_path, monkeypatch):
    """A plugin that loads the helper which a variable of the environment names; what its import in another process does is made up likewise."""
    helpers = {name: write(tmp_path, f"W = {name!r}\n", f"{name}.py") for name in (f"chosen_{side}_{tmp_path.name}" for side in ("left", "right"))}

    def probed(origins):
        name = os.environ["KDARENA_TEST_HELPER"]
        return [Finding(("mine",), modules=((name, str(helpers[name])),)) for _ in origins]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(findings, "_probed", probed)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield Origin("mine", str(write(tmp_path, CHOOSES)), True), list(helpers)
    for name in helpers:
        sys.modules.pop(name, None)


def test_code_that_is_loaded_as_the_environment_says_is_part_of_the_source_as_it_is_now(chooses, monkeypatch):
    origin, helpers = chooses
    sources = []
    for helper in (*helpers, helpers[0]):
        monkeypatch.setenv("KDARENA_TEST_HELPER", helper)
        for name in helpers:  # as in a new process
            sys.modules.pop(name, None)
        (one,) = imported(findings.known([origin])[0])
        sources.append(one.source)
        assert one.source == findings.known([origin])[0].source.digest
    assert sources[0] == sources[2] != sources[1]


def test_a_worker_that_loads_other_code_than_is_known_does_not_have_the_plugin_of_the_spec(chooses, monkeypatch):
    origin, helpers = chooses
    monkeypatch.setenv("KDARENA_TEST_HELPER", helpers[0])
    listed = findings.known([origin])
    monkeypatch.setenv("KDARENA_TEST_HELPER", helpers[1])
    assert find("mine", listed, listed[0].source.digest).source == ""


def test_what_was_not_tried_out_is_found_by_its_source(tmp_path, monkeypatch, no_process):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    listed = known([Origin("mine", str(write(tmp_path, GOOD)), True), Origin("sad", str(write(tmp_path, "1 / 0", "sad.py")), True)], try_out=False)
    assert find("mine", listed, listed[0].source.digest).status == "ok"
