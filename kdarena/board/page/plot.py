"""Figures as plain values, which the script of the page draws with plotly.js; and plotly.js itself, packed.

A colour is the name of one of the style sheet's, as ``@accent``, or ``@accent/0.2`` with an opacity: the page has a light and a dark form.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from kdarena.board.cells import clean

Trace = dict[str, Any]
LONGEST_LABEL = 60
WIDE = 5.0
"""The largest of the amounts on an axis over the least, from which on the axis is logarithmic."""
COLOURS = 8
"""Colours of lines that differ by colour, ``@line0`` to ``@line7``."""


@dataclass(frozen=True)
class Figure:
    """A figure with its texts.

    Attributes:
        name: of the kind of figure, one on a board.
        title: what is drawn.
        caption: how it is read.
        alternative: what is seen, for readers who do not see it.
        traces, layout: as plotly.js takes them.
        height: pixels.
    """

    name: str
    title: str
    caption: str
    alternative: str
    traces: Sequence[Trace]
    layout: Mapping[str, Any]
    height: int = 380

    def values(self) -> dict[str, Any]:
        """What the script draws."""
        return {"data": rounded(list(self.traces)), "layout": {**rounded(dict(self.layout)), "height": self.height}}


def label(text: object) -> str:
    """A name as a label: plotly.js reads tags and entities in labels, and draws what is escaped as it is."""
    name = clean(text)
    short = name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}…"
    return short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def rounded(value: Any) -> Any:
    """Numbers with six significant digits, which no eye tells from more; what is not finite becomes None, a gap."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(part) for part in value]
    return value


def axis(title: str, **further: Any) -> dict[str, Any]:
    """An axis with its title."""
    return {"title": {"text": title}, **further}


def cost_axis(title: str, values: Iterable[float]) -> dict[str, Any]:
    """An axis of amounts above 0: logarithmic, with ticks at 1, 2 and 5, where the largest is much larger than the least."""
    known = [value for value in values if value > 0]
    if not known or max(known) < WIDE * min(known):
        return axis(title)
    decades = range(math.floor(math.log10(min(known))), math.ceil(math.log10(max(known))) + 1)
    ticks = [float(f"{digit}e{decade}") for decade in decades for digit in (1, 2, 5)]
    return axis(title, type="log", tickvals=ticks, ticktext=[f"{tick:g}" if 1e-3 <= tick < 1e6 else f"{tick:.0e}".replace("e+", "e") for tick in ticks])


def names_axis(labels: Sequence[str]) -> dict[str, Any]:
    """An axis with a name a line, the first at the top."""
    shown = {"categoryorder": "array", "categoryarray": list(labels), "range": [len(labels) - 0.4, -0.6]}
    return {"type": "category", "automargin": True, "showgrid": False, "dtick": 1, **shown}


def band(xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], colour: str) -> Trace:
    """The area between two lines."""
    return {
        "x": [*xs, *reversed(xs)],
        "y": [*highs, *reversed(lows)],
        "type": "scatter",
        "mode": "lines",
        "line": {"width": 0},
        "fill": "toself",
        "fillcolor": f"{colour}/0.18",
        "hoverinfo": "skip",
        "showlegend": False,
    }


def line_at(x: float | None = None, y: float | None = None) -> dict[str, Any]:
    """A thin line over the whole figure, at one value of an axis."""
    line = {"type": "line", "line": {"color": "@muted", "width": 1, "dash": "dot"}, "layer": "below"}
    if x is not None:
        return {**line, "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper"}
    return {**line, "y0": y, "y1": y, "x0": 0, "x1": 1, "xref": "paper"}


def height_of(names: Sequence[object]) -> int:
    """Pixels of a figure with a name a line."""
    return 110 + 22 * max(len(names), 3)


@dataclass(frozen=True)
class Packed:
    """A script as a page holds it.

    Attributes:
        text: of the gzip file, in base 64.
        digest: SHA-256 of the script, as a content security policy takes it.
    """

    text: str
    digest: str


def script_digest(text: str) -> str:
    """SHA-256 of a script, as a content security policy takes it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@lru_cache(maxsize=1)
def plotly_script() -> Packed:
    """plotly.js, which is 4.7 MB as it is and a third of that packed."""
    text = files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
    packed = gzip.compress(text.encode(), compresslevel=6, mtime=0)
    return Packed(base64.b64encode(packed).decode(), script_digest(text))
