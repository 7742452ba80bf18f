"""A method whose step cost could not be measured has a row that says why."""

import pytest

from kdarena.arena.profiles import _broken
from kdarena.plan.cost import CostProfile


@pytest.mark.parametrize(("status", "shown"), [("timeout", "timeout"), ("oom", "oom"), ("killed", "killed"), ("error", "error"), ("diverged", "error")])
def test_a_profile_that_failed_gives_its_method_the_same_status(status, shown):
    profile = CostProfile("key", (), 0, None, 0.0, 0.0, 0, status=status, error="why")
    assert _broken([], {"kd": profile}) == {"kd": (shown, "why")}
