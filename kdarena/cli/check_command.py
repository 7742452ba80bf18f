"""``kdarena plugins check``: the contract tests over one plugin."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict

from kdarena.api.plugin_check import check
from kdarena.board.screen import clean
from kdarena.cli.output import paragraph, print_json


def run(target: str, paths: Sequence[str], as_json: bool) -> int:
    """One line a check as it is done; returns 1 where one failed."""
    rows, failed, odd, method = [], 0, 0, ""
    for name, finding in check(target, paths):
        failed += finding.status == "failed"
        odd += finding.status == "warning"
        if as_json:
            rows.append({"method": name, **asdict(finding)})
            continue
        if name != method:
            print(clean(name))
            method = name
        print(paragraph(f"  {clean(finding.line)}"), flush=True)
    if as_json:
        print_json(rows)
    if odd and not as_json:
        print(f"{odd} {'check looks' if odd == 1 else 'checks look'} odd, which a method may do on purpose")
    if failed:
        print(f"{failed} {'check has' if failed == 1 else 'checks have'} failed", file=sys.stderr)
    return 1 if failed else 0
