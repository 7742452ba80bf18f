"""What is kept about plugins between commands, and when it is asked again."""

import os
import time
from types import SimpleNamespace

import pytest

from kdarena.method import cache, findings
from kdarena.method.findings import Finding, known
from kdarena.method.origin import Origin


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What a stand-in for the process was asked; ``answer`` is what it says."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stand_in = SimpleNamespace(answer=Finding(("mine",)), origins=[])

    def probed(origins):
        stand_in.origins += origins
        return [stand_in.answer for _ in origins]

    monkeypatch.setattr(findings, "_probed", probed)
    return stand_in


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "plugin.py"
    path.write_text("W = 1.0\n")
    return Origin("plugin", str(path), True)


def edit(origin, text):
    with open(origin.target, "w") as file:
        file.write(text)


def test_known_code_is_not_asked_again_also_after_an_edit_that_was_undone(asked, plugin):
    for text in ("W = 1.0\n", "W = 1.0\n", "W = -3.0\n", "W = 1.0\n", "W = -3.0\n"):
        edit(plugin, text)
        (one,) = known([plugin])
        assert one.finding == Finding(("mine",))
    assert len(asked.origins) == 2


def test_an_exception_is_asked_again_since_it_may_lie_with_the_machine(asked, plugin):
    asked.answer = Finding(error="FileNotFoundError: data", raised=True)
    assert known([plugin])[0].finding.error == "FileNotFoundError: data"
    asked.answer = Finding(("mine",))
    assert known([plugin])[0].finding.error is None


def test_a_death_is_believed_for_ten_minutes_which_its_line_says(asked, plugin, monkeypatch, tmp_path):
    asked.answer = Finding(error="its import took longer than 60 s")
    line = f"its import took longer than 60 s; it is tried again after 10 minutes, or when you delete {tmp_path}/cache/kdarena/plugins"
    assert [known([plugin])[0].finding.error for _ in range(2)] == [line] * 2
    assert len(asked.origins) == 1
    later = time.time() + 601
    monkeypatch.setattr(time, "time", lambda: later)
    known([plugin])
    assert len(asked.origins) == 2


def test_an_edited_module_that_was_seen_only_while_importing_is_asked_again(asked, plugin, tmp_path):
    hidden = tmp_path / "hidden.py"
    hidden.write_text("W = 1.0\n")
    asked.answer = Finding(("mine",), modules=(("hidden", str(hidden)),))
    first = known([plugin])[0].source.digest
    assert known([plugin])[0].source.digest == first
    assert len(asked.origins) == 1
    hidden.write_text("W = -3.0\n")
    assert known([plugin])[0].source.digest != first
    assert len(asked.origins) == 2


def test_only_what_is_not_known_is_asked(asked, plugin, tmp_path):
    known([plugin])
    (tmp_path / "new.py").write_text("")
    new = Origin("new", str(tmp_path / "new.py"), True)
    known([plugin, new])
    assert asked.origins == [plugin, new]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"finding": 3}', '{"finding": {"methods": 3, "modules": [[]]}}'])
def test_a_damaged_entry_is_asked_again(asked, plugin, tmp_path, content):
    known([plugin])
    for file in (tmp_path / "cache").rglob("*.json"):
        if not file.name.startswith("imports-"):
            file.write_text(content)
    assert known([plugin])[0].finding == Finding(("mine",))
    assert len(asked.origins) == 2


def test_entries_that_were_written_long_ago_are_deleted(asked, tmp_path):
    cache.write("old", 1)
    cache.write("new", 2)
    os.utime(tmp_path / "cache" / "kdarena" / "plugins" / "old.json", (0, 0))
    cache.tidy()
    assert (cache.read("old"), cache.read("new")) == (None, 2)


def test_a_user_without_a_home_has_no_cache_and_no_error(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(cache.Path, "home", home)
    cache.write("key", 1)
    cache.tidy()
    assert cache.read("key") is None
