"""What ``kdarena run`` ends with, on made-up runs."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from kdarena.api import boards, records, run
from kdarena.arena.arena import Outcome
from kdarena.board.leaderboard import leaderboard_frame
from kdarena.cli import run_command
from kdarena.plan.spec import PhaseCost

CLOSED = "the display is closed"


@pytest.mark.parametrize(("spent", "status"), [(3000 * 0.02, 0), (3000 * 0.03, 1)])
def test_a_row_without_a_rank_is_a_failure_of_the_command(synthetic, monkeypatch, tmp_path, capsys, spent, status):
    costs = (PhaseCost("train", None, 1.0, 0.02, 2.0, 0.005, 1000),)
    runs = [
        run for seed in range(2) for run in (synthetic.run("student", seed, spent_s=60.0), synthetic.run("kd", seed, costs=costs, steps=3000, spent_s=spent))
    ]

    @contextmanager
    def session(request):
        arena = SimpleNamespace(run=lambda *given, **named: Outcome((), 4, ()))
        yield SimpleNamespace(
            arena=lambda request, started: arena,
            record=SimpleNamespace(runs=lambda: runs, curves=lambda run_id: {}),
            recorder=SimpleNamespace(asked={}, trained=0),
            display=SimpleNamespace(close=lambda: print(CLOSED)),
        )

    monkeypatch.setattr(run, "open_session", session)
    monkeypatch.setattr(records, "keep_declarations", lambda *given: {})
    monkeypatch.setattr(boards, "boards_of", lambda *given, **named: boards.boards_from(leaderboard_frame(runs, {})))
    assert run_command.run("kd", {"tasks": "digits", "out": tmp_path}, dry_run=False, fresh=False) == status
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{CLOSED}\ndigits: top1 on test")  # a table of what runs would be drawn over the board
    assert ("underpriced" in (tmp_path / "leaderboards" / "index.html").read_text()) is (status == 1)
    said = "failed: digits kd: underpriced: a step cost 3.00 student steps, 50 % above its price of 2.00: it had more time than the budget"
    assert (said in printed.err) is (status == 1)
