"""The documentation is complete and builds."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
COMMANDS = "python -m typer kdarena.cli.app utils docs --name kdarena --output docs/commands.md"


def test_every_command_and_option_is_documented():
    """The page is what the command line says of itself; after a change: :data:`COMMANDS`."""
    arguments = ["-m", "typer", "kdarena.cli.app", "utils", "docs", "--name", "kdarena"]
    said = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert (DOCS / "commands.md").read_text().strip() == said.strip(), COMMANDS


def test_every_page_is_in_the_site_s_contents():
    contents = (DOCS / "site" / "mkdocs.yml").read_text()
    assert [page.name for page in DOCS.glob("*.md") if f": {page.name}" not in contents] == []


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed")
def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-f", DOCS / "site" / "mkdocs.yml", "-d", tmp_path / "site"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "commands" / "index.html").is_file()
