"""What the terminal says of the jobs that are done and to come."""

import pytest

from kdarena.arena.display import _Clock


@pytest.mark.parametrize(
    ("jobs", "done", "said"),
    [(0, 3, "3 done"), (2, 0, "0 of about 2 runs"), (2, 2, "2 of about 2 runs"), (2, 3, "3 done"), (4, 3, "3 of about 4 runs, 0 s left")],
)
def test_what_is_not_known_is_not_said(jobs, done, said):
    assert _Clock(jobs, done).summary() == said
