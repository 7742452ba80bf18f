"""Every way in which importing a plugin can go wrong is a line about that plugin; all others go on, and nothing of it is imported here."""

import os
import sys

import pytest

from kdarena.method import findings
from kdarena.method.discovery import discover

GOOD = """
from kdarena import Method, Paper, hookimpl
method = Method("NAME", "my own", Paper("t", "v", 2026, "u"))
@hookimpl
def loss(step):
    return {"task": step.task.loss(step.student, step.targets)}
"""

BROKEN = {
    "syntax.py": ("x = 1\ndef f(:", "SyntaxError: invalid syntax", "syntax.py, line 2"),
    "missing.py": ("\nimport a_module_that_does_not_exist", "ModuleNotFoundError: No module named 'a_module_that_does_not_exist'", "missing.py, line 2"),
    "raises.py": ("import math\ndef f():\n    math.sqrt(-1)\nf()", "ValueError", "raises.py, line 3"),
    "leaves.py": ("raise SystemExit(3)", "SystemExit: 3", "leaves.py, line 1"),
    "interrupts.py": ("raise KeyboardInterrupt", "KeyboardInterrupt", "interrupts.py, line 1"),
    "ends.py": ("import os\nos._exit(7)", "its import ended the process with exit status 7", ""),
    "ends well.py": ("import os\nos._exit(0)", "its import ended the process with exit status 0", ""),
    "segfault.py": ("import ctypes\nctypes.string_at(0)", "its import died of SIGSEGV", ""),
    "kills.py": ("import os\nos.killpg(0, 9)", "its import died of SIGKILL", ""),
    "kills_parent.py": ("import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(9)", "its import ended the process that tries imports out", ""),
    "endless.py": ("while True: pass", "its import took longer than 4 s", ""),
    "latin.py": ("x = 'gr\xfc\xdfe'".encode("latin-1"), "SyntaxError", "latin.py"),
    "binary.py": (b"\x7fELF\0\0\1\2", "SyntaxError", "binary.py"),
    "empty.py": ("", "has no attribute 'method' of type kdarena.Method", ""),
    "notes.txt": (GOOD, "does not end in .py", "notes.txt"),
    "old.py": ("from kdarena import Method, Paper\nMethod('m', 'm', Paper('t', 'v', 2026, 'u'), equations='L = 0')", "not run.store", "old.py, line 2"),
    "of a folder.py": ("from of_a_folder import x", "ModuleNotFoundError", "of a folder.py, line 1"),
}

WORKING = {
    "with spaces and ümläuts.py": GOOD.replace("NAME", "spaces"),
    "prints.py": GOOD.replace("NAME", "prints")
    + "import os, sys\nprint('spoilt')\nos.write(1, b'spoilt')\nos.system('echo spoilt')\nprint('loud', file=sys.stderr)\n",
    "writes.py": GOOD.replace("NAME", "writes") + "open('written', 'w').write('x')\n",
    "threads.py": GOOD.replace("NAME", "threads") + "import threading, time\nthreading.Thread(target=time.sleep, args=(1,)).start()\n",
    "forks.py": GOOD.replace("NAME", "forks") + "import os\nprobing = os.fork() == 0 and os._exit(0)\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("plugins")
    for name, content in [*((name, content) for name, (content, *_) in BROKEN.items()), *WORKING.items()]:
        (place / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return place


@pytest.fixture(scope="module")
def found(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(findings, "LIMIT", 4.0)
        patch.setattr(findings, "NOTICE", 1.0)
        return discover([folder / name for name in (*BROKEN, *WORKING)])


@pytest.mark.parametrize("name", BROKEN)
def test_a_plugin_that_can_not_be_imported_is_broken_with_a_line_that_says_why_and_where(found, folder, name):
    _, why, where = BROKEN[name]
    (plugin,) = [plugin for plugin in found if plugin.distribution == str(folder / name)]
    assert plugin.status == "broken"
    assert why in plugin.error
    assert where in plugin.error
    assert "\n" not in plugin.error


@pytest.mark.parametrize("name", WORKING)
def test_a_plugin_that_is_odd_and_can_be_imported_works(found, folder, name):
    (plugin,) = [plugin for plugin in found if plugin.distribution == str(folder / name)]
    assert plugin.error is None


def test_the_installed_plugins_go_on(found):
    assert {"student", "kd", "quest", "afd"} <= {plugin.name for plugin in found if plugin.error is None}


def test_nothing_of_a_broken_plugin_is_imported_here(found, folder):
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    assert str(folder / "prints.py") in files
    assert not files & {str(folder / name) for name in BROKEN if name != "empty.py"}  # which is imported and has no method


def test_what_is_printed_at_import_goes_to_standard_error(folder, capfd):
    discover([folder / "prints.py"])
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.count("spoilt") >= 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_read_permission_is_broken(tmp_path):
    path = tmp_path / "secret.py"
    path.write_text(GOOD)
    path.chmod(0)
    (plugin,) = [plugin for plugin in discover([path]) if plugin.error]
    assert "can't be read: Permission denied" in plugin.error


def test_a_file_that_can_not_be_read_is_broken(tmp_path, monkeypatch):
    path = tmp_path / "secret.py"
    path.write_text(GOOD)
    read = type(path).read_bytes

    def refuse(file):
        if file == path:
            raise PermissionError(13, "Permission denied", str(file))
        return read(file)

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    (plugin,) = [plugin for plugin in discover([path]) if plugin.error]
    assert plugin.error == f"can't be read: Permission denied ({path})"
