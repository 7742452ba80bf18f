"""What the system refuses is one line and status 2, whatever the command."""

import errno
import os
import subprocess
import sys
import warnings

import pytest

from kdarena.cli import listings
from kdarena.errors import Notice

# é and Δ can't be printed there
ASCII = {**{name: value for name, value in os.environ.items() if name not in ("PYTHONIOENCODING", "LANG")}, "LC_ALL": "C", "PYTHONUTF8": "0"}


@pytest.mark.parametrize("arguments", [["tasks", "--json"], ["tasks"], ["plugins", "--help"]])
def test_a_standard_output_that_is_full_is_one_line_and_status_2(arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "kdarena", *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "kdarena: standard output can't be written: No space left on device; what was recorded is kept\n")


def test_outputs_that_are_both_full_are_status_2():
    with open("/dev/full", "w") as full:
        assert subprocess.run([sys.executable, "-m", "kdarena", "tasks"], stdout=full, stderr=full).returncode == 2


def test_what_the_locale_cant_print_is_replaced(empty_output, tmp_path):
    out = tmp_path / "\u00e9\u65e5"
    code = "from kdarena.cli import listings, main; listings.tasks = lambda *_: print('\\u0394 = 1'); main()"
    done = subprocess.run([sys.executable, "-c", code, "tasks"], capture_output=True, env=ASCII)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"? = 1\n", b"")
    done = subprocess.run([sys.executable, "-m", "kdarena", "runs", "--out", out], capture_output=True, env=ASCII)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def refuse(monkeypatch, error):
    def tasks(*arguments):
        raise error

    monkeypatch.setattr(listings, "tasks", tasks)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_an_error_of_the_system_names_the_file_in_one_line(kdarena, monkeypatch, number):
    refuse(monkeypatch, OSError(number, os.strerror(number), "/out/runs/a.json"))
    done = kdarena("tasks")
    assert done.returncode == 2
    assert done.stderr.startswith(f"kdarena: /out/runs/a.json: {os.strerror(number)}; what was recorded before is kept; repeat the command")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("error", [OSError(errno.EINVAL, "a wrong call"), KeyError("a wrong name")])
def test_an_error_of_the_program_is_not_hidden(kdarena, monkeypatch, error):
    refuse(monkeypatch, error)
    with pytest.raises(type(error)):
        kdarena("tasks")


@pytest.mark.parametrize("action", ["ignore", "error", "default"])
def test_what_kdarena_has_to_say_is_said_once_whatever_filters_of_warnings_there_are(kdarena, monkeypatch, action):
    def tasks(*arguments):
        for _ in range(2):
            warnings.warn("a line", category=Notice, stacklevel=1)

    monkeypatch.setattr(listings, "tasks", tasks)
    warnings.simplefilter(action)
    done = kdarena("tasks")
    assert (done.returncode, done.stderr) == (0, "kdarena: a line\n")
