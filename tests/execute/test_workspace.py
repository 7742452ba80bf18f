"""What a worker loads for a run."""

import sys

import pytest

from kdarena.errors import UserError
from kdarena.execute.workspace import Workspace
from kdarena.method.discovery import find, listing

PLUGIN = """
import sys
from kdarena import Method, Paper, hookimpl
sys.kdarena_imported = [*getattr(sys, "kdarena_imported", ()), "NAME"]
method = Method("NAME", "my own", Paper("t", "v", 2026, "u"))
@hookimpl
def loss(step):
    return {"task": step.task.loss(step.student, step.targets)}
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "kdarena_imported", [], raising=False)
    names = ("polite", "rude", "kd")
    for name in names:
        (tmp_path / f"{name}.py").write_text(PLUGIN.replace("NAME", name))
    return [str(tmp_path / f"{name}.py") for name in names]


def test_only_the_plugin_that_a_run_needs_is_imported_once(files, tmp_path):
    source = find("polite", listing(files)).source
    sys.kdarena_imported.clear()
    workspace = Workspace(tmp_path, tmp_path, plugin_paths=files)
    assert workspace.plugin("polite", source) is workspace.plugin("polite", source)
    assert sys.kdarena_imported == ["polite"]


def test_an_installed_method_is_loaded_although_a_file_has_its_name(files, tmp_path):
    source = find("kd", listing()).source
    assert Workspace(tmp_path, tmp_path, plugin_paths=files).plugin("kd", source).distribution == "kdarena"
    assert sys.kdarena_imported == []


def test_code_that_changed_since_the_spec_was_made_is_refused_however_long_the_worker_knows_it(files, tmp_path):
    workspace = Workspace(tmp_path, tmp_path, plugin_paths=files)
    source = find("rude", listing(files)).source
    workspace.plugin("polite", find("polite", listing(files)).source)
    with open(files[1], "a") as file:
        file.write("# edited\n")
    with pytest.raises(UserError, match="the code of plugin 'rude' changed"):
        workspace.plugin("rude", source)


def test_a_method_that_is_not_there_is_an_error_of_one_line(tmp_path):
    with pytest.raises(UserError, match="plugin 'nope' can't be loaded in the worker: it is not there"):
        Workspace(tmp_path, tmp_path).plugin("nope", "")
