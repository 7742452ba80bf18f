"""One command over methods that harm their process: each is named, and the others have their rows."""

import csv
import subprocess
import sys

import pytest
from broken.processes import TEXT

SAID = {
    "segfaults": "the worker died of SIGSEGV",
    "aborts": "the worker died of SIGABRT",
    "ends": "the worker exited with status 0",
    "hungry": "oom: ",
    "child": "hook 'loss': it left process",
}
HARMLESS = {"closes": "left standard output closed", "moves": "left the current directory /", "kd": "", "student": ""}


@pytest.mark.slow
def test_methods_that_harm_their_process_are_named_and_the_others_go_on(tmp_path):
    (tmp_path / "harms.py").write_text(TEXT)
    (tmp_path / "raises.py").write_text("1 / 0\n")
    names = ",".join(name for name in (*SAID, *HARMLESS) if name != "student")
    budget = ["--budget", "4e9flop", "--teacher-budget", "2e9flop", "--seeds", "2", "--untuned"]
    files = [part for name in ("harms.py", "raises.py") for part in ("--plugin-path", name)]
    command = [sys.executable, "-m", "kdarena", "run", "--tasks", "digits", "--plugins", names, *files, *budget, "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "plugin raises of raises.py is broken: ZeroDivisionError: division by zero" in done.stderr
    for name, words in SAID.items():
        assert any(f"failed: digits {name}: " in line and words in line for line in done.stderr.splitlines()), done.stderr
    (board,) = (tmp_path / "out" / "leaderboards").glob("*.csv")
    rows = {row["method"]: row for row in csv.DictReader(board.open())}
    assert {name: rows[name]["mean"] != "" for name in HARMLESS} == dict.fromkeys(HARMLESS, True)
    assert all(words in rows[name]["status_note"] for name, words in HARMLESS.items())
