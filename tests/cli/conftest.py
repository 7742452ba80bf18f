"""The command in the tests' own process."""

import sys
from dataclasses import dataclass

import pytest

from kdarena.cli import main


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def kdarena(monkeypatch, capsys):
    """The command in this process: what it prints, and its exit status."""

    def call(*arguments, cwd=None):
        if cwd is not None:
            monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["kdarena", *map(str, arguments)])
        capsys.readouterr()
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = ended.code or 0
        printed = capsys.readouterr()
        return Done(status, printed.out, printed.err)

    return call
