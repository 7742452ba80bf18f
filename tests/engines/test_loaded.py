"""What a row says of code that its run loaded."""

import importlib
import sys

import pytest

from kdarena.engines.loaded import LoadedCode


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Imports a module of one's own for the first time; returns its file."""
    monkeypatch.syspath_prepend(tmp_path)
    names = []

    def call(name):
        path = tmp_path / f"{name}.py"
        path.write_text("W = 1.0\n")
        importlib.invalidate_caches()
        importlib.import_module(name)
        names.append(name)
        return str(path)

    yield call
    for name in names:
        del sys.modules[name]


def test_code_that_a_method_loads_while_it_runs_is_a_note_of_all_its_runs(load):
    code = LoadedCode()
    load("loaded_in_a_hook")
    note = "loads loaded_in_a_hook.py while it runs, which is not part of its code's digest: import it at the top of the file"
    assert [code.notes(method, ()) for method in ("mine", "mine", "kd")] == [(note,), (note,), ()]


def test_code_that_is_part_of_a_plugins_digest_is_no_note(load):
    code = LoadedCode()
    assert code.notes("mine", {load("loaded_at_the_top")}) == ()
