"""The process that imports plugins first watches each import."""

import os
import time

import pytest

from kdarena.method import probe
from kdarena.method.origin import Origin


@pytest.fixture
def watch():
    """Watches a fork that sleeps, and says what came of it and how long that took."""

    def call(limit, notice):
        ours, theirs = os.pipe()
        parent, held = os.pipe()
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            time.sleep(30)
            os._exit(0)
        os.close(theirs)
        answer = probe._watch(Origin("slow", "slow_package", False, "slow-paper"), child, ours, parent, limit, notice)
        for end in (ours, parent, held):
            os.close(end)
        with pytest.raises(ChildProcessError):  # nothing is left of it
            os.waitpid(child, os.WNOHANG)
        return answer

    return call


def test_an_import_that_takes_long_is_named_and_ended_at_its_limit(watch, capfd):
    answer = watch(0.3, 0.1)
    assert answer["error"] == "its import took longer than 0.3 s"
    assert capfd.readouterr().err == "kdarena: importing plugin slow (slow-paper), for 0.3 s at most\n"


def test_an_import_that_is_quick_is_not_named(watch, capfd):
    watch(0.1, 5.0)
    assert capfd.readouterr().err == ""
