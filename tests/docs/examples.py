"""The examples of a page of documentation: blocks of code under a comment that names them."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
NAMED = re.compile(r"<!-- example: (?P<name>.+?) -->\n```python\n(?P<code>.*?)```", re.DOTALL)


def examples(page):
    """The code of each example, by its name."""
    return {match["name"]: match["code"] for match in NAMED.finditer((DOCS / page).read_text("utf-8"))}
