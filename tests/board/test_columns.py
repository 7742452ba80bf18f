"""docs/columns.md has every column of a board and no other."""

import re
from pathlib import Path

from kdarena.board.leaderboard import COLUMNS, FURTHER_COLUMNS

PAGE = (Path(__file__).parents[2] / "docs" / "columns.md").read_text()


def test_every_column_of_a_board_is_documented_once_and_nothing_else_is():
    documented = [name for line in PAGE.splitlines() if line.startswith("| `") for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert sorted(documented) == sorted((*COLUMNS, *FURTHER_COLUMNS))
    assert all(line.split("|")[2].strip() for line in PAGE.splitlines() if line.startswith("| `"))
