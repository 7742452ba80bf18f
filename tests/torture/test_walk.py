"""The random walk, in the form that a test run has time for: KDARENA_TORTURE_STEPS steps, by default 200, of the seed KDARENA_TORTURE_SEED."""

import os

import pytest
from torture.walk import walk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]


def test_whatever_happens_to_a_directory_the_next_command_gives_the_board_of_a_fresh_one():
    walk(int(os.environ.get("KDARENA_TORTURE_SEED", "0")), int(os.environ.get("KDARENA_TORTURE_STEPS", "200")))
