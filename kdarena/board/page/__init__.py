"""The page: all boards of a frame as one HTML file that opens without a network.

What is on it are values (:mod:`kdarena.board.page.section`); ``page.html`` is the template that they fill, which escapes every text, the ``.css`` files its
style and ``page.js`` the script that sorts, filters and draws. Tables and texts are there without any script.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import pandas as pd

from kdarena.board.cells import rows, split_boards
from kdarena.board.page.plot import plotly_script, script_digest
from kdarena.board.page.recorded import Curves, Recorded, even_limit
from kdarena.board.page.section import Section, section_of, with_figures
from kdarena.record.recorded import RecordedRun

STYLE = ("colours.css", "page.css", "narrow.css", "print.css")
"""The style sheet, in its order."""
MOST_METHODS = 60
"""Rows of a page whose curves and trials are shown, the first ones of each board: of each the file of a run is read, and Optuna draws."""
MOST_CURVES = 300
"""Files of runs that are read for their curves."""


def page(frame: pd.DataFrame, record: Curves | None = None, *, runs: Sequence[RecordedRun] = ()) -> str:
    """All boards of a leaderboard frame as the text of an HTML file; without a row it says what to run.

    Args:
        frame: of :func:`kdarena.board.leaderboard.leaderboard_frame`.
        record: where the curves of its runs are. None: they are left out.
        runs: those that it was made of. What needs a run that is not among them is left out.
    """
    recorded = Recorded.of(record, runs)
    boards = list(split_boards(frame))
    counts = [len(with_figures(rows(board))) for board in boards]
    methods = even_limit(counts, MOST_METHODS)
    seeds = max(1, MOST_CURVES // max(1, sum(min(count, methods) for count in counts)))
    return _filled([section_of(number, board, recorded, methods, seeds) for number, board in enumerate(boards, 1)])


def _filled(sections: Sequence[Section]) -> str:
    """The template with the values in it."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    def of_ours(name: str) -> Markup:
        return Markup(files(__name__).joinpath(name).read_text(encoding="utf-8"))

    script = of_ours("page.js")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters["data"] = lambda value: Markup(_data(value))
    return environment.from_string(of_ours("page.html")).render(
        sections=sections, style=Markup("").join(map(of_ours, STYLE)), script=script, script_digest=script_digest(script), plotly=plotly_script()
    )


def _data(value: Any) -> str:
    """A value as JSON that holds no tag, whatever its texts are."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
