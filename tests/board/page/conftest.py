"""A record of a small board, its page, and a browser."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from board.page import browser as chromium

from kdarena.board.leaderboard import leaderboard_frame
from kdarena.board.page import page
from kdarena.plan.spec import Budget, PhaseRecord
from kdarena.record.runs import Record

HOSTILE = "<b><script>alert(1)</script></b>"
"""Name of a method that is markup."""
CLOSING = '</script><img src=x onerror="alert(2)">'
"""What ends an element of a script, were it not escaped."""
METHODS = {"student": 88.0, "kd": 90.0, "crd": 86.5, "rkd": 89.0, HOSTILE: 91.0}
"""The mean of each method."""


@dataclass(frozen=True)
class Made:
    """A record with its frame and its page."""

    record: Record
    frame: pd.DataFrame
    text: str
    file: Path

    @property
    def address(self) -> str:
        """As a browser opens it."""
        return self.file.as_uri()


@pytest.fixture(scope="session")
def made(synthetic_of_session, empty_output, tmp_path_factory) -> Made:
    """A board of five methods, three seeds, trials, curves and the student's ladder."""
    synthetic, folder = synthetic_of_session, tmp_path_factory.mktemp("page")
    record = Record.open(folder / "out")
    for number, (method, mean) in enumerate(METHODS.items()):
        for seed in range(3):
            _final(record, synthetic, method, mean + (seed - 1) * (0.5 + 0.1 * number), seed)
        for trial in range(6):
            changed = {"tau": 1.0 + trial, CLOSING: 0.1 * (trial + 1)} if trial else {}
            spec = synthetic.spec(method, 1000, purpose="tune", params=changed, budget=Budget(7.5, "s"), reference=None)
            record.log(spec, synthetic.result(spec, mean - 5 + trial), setting="trial", facts={"budget": "60.0", "metric": "top1"})
    for part in (0.25, 0.5):
        for seed in range(3):
            spec = synthetic.spec("student", seed, purpose="control", budget=Budget(60.0 * part, "s"))
            record.log(spec, synthetic.result(spec, 80 + 8 * part + seed), setting=f"ladder:{part}", facts={"budget": "60.0"})
    skipped = synthetic.spec("pid", 0)
    record.log(skipped, synthetic.failure(skipped, "skipped", f"needs attention {CLOSING}"), setting="default", facts={})
    record.__exit__(KeyboardInterrupt, None, None)
    frame = with_statistics(leaderboard_frame(record.runs(), {}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = page(frame, record, runs=record.runs())
    file = folder / "page.html"
    file.write_text(text, encoding="utf-8")
    return Made(record, frame, text, file)


def _final(record, synthetic, method, value, seed):
    spec = synthetic.spec(method, seed)
    steps = [100 * (step + 1) for step in range(60)]
    curves = {
        "train/ce": [(step, 2.0 / (1 + step / 500) + 0.1 * seed) for step in steps],
        f"train/{CLOSING}": [(step, 1.0) for step in steps],
        "validation/top1": [(step, value - 3000 / step) for step in steps[9::10]],
    }
    system = {"latency_ms": 0.5, "build_s": 1.0, "evaluation_s": 0.5, "total_s": 64.0}
    spent = 60.0 + 0.3 * seed
    result = synthetic.result(spec, value, curves=curves, system=system, spent_s=spent, phases=(PhaseRecord("train", 6000, 6000),))
    record.log(spec, result, setting="default", facts={"metric": "top1", "track": "classification"})


def with_statistics(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with the columns that further parts of kdarena fill."""
    frame = frame.copy()
    ranked = frame["delta_student"].notna() | (frame["method"] == "student")
    place = {name: number for number, name in enumerate(frame[ranked]["method"], 1)}
    frame["rank_low"] = [max(place[method] - 1, 1) if method in place else None for method in frame["method"]]
    frame["rank_high"] = [min(place[method] + 1, len(place)) if method in place else None for method in frame["method"]]
    frame["p_holm"] = [0.04 if method in place and method != "student" else None for method in frame["method"]]
    for end, widening in (("low", -1.0), ("high", 1.0)):
        frame[f"delta_student_corrected_{end}"] = [None if value is None else value + widening for value in frame[f"delta_student_{end}"]]
    frame["answer"] = f"Nothing is established about {CLOSING}."
    frame["time_curve_json"] = [json.dumps([[30.0, 85.0, 84.0, 86.0, 3], [60.0, 90.0, 89.0, 91.0, 3]]) if name == "kd" else None for name in frame["method"]]
    return frame.astype(object).where(frame.notna(), None)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Debian's Chromium; not open any longer, since what it starts would seem to be left running by the methods of later tests."""
    if chromium.executable() is None:
        pytest.skip("there is no Chromium on this machine; on Debian: apt-get install chromium")
    started = chromium.Browser(tmp_path_factory.mktemp("browser"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def drawn(browser, made):
    """The page with every figure drawn, for tests that only look at it."""
    opened = browser.open(made.address)
    opened.value(
        "(async () => { for (const one of document.querySelectorAll('figure')) { one.scrollIntoView(); await new Promise(requestAnimationFrame); } })()"
    )
    opened.wait_for("[...document.querySelectorAll('figure')].every(one => one.closest('[hidden]') || one.querySelector('.main-svg'))")
    return opened


@pytest.fixture
def tab(browser, made):
    """The page in a window of 1280 by 900 pixels."""
    opened = browser.open(made.address)
    yield opened
    opened.close()
