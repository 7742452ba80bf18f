"""To whom the time of a device belongs."""

import time

import pytest
import torch

from kdarena.execute import device_time
from kdarena.execute.device_time import Block, DeviceTime, shared_out


def test_a_run_alone_has_the_time_of_its_blocks():
    assert shared_out([Block("a", 1.0, 3.0), Block("a", 5.0, 6.0)])["a"] == 3.0


def test_where_several_are_at_work_each_has_an_equal_part_and_all_together_what_the_device_took():
    shares = shared_out([Block("a", 0.0, 4.0), Block("b", 1.0, 5.0), Block("c", 1.0, 3.0)])
    assert shares == {"a": pytest.approx(1 + 2 / 3 + 1 / 2), "b": pytest.approx(2 / 3 + 1 / 2 + 1), "c": pytest.approx(2 / 3)}
    assert sum(shares.values()) == pytest.approx(5.0)


def test_what_is_still_at_work_shares_the_time_until_then():
    assert shared_out([Block("a", 0.0, 2.0), Block("b", 1.0, None)])["a"] == pytest.approx(1.5)


def test_time_in_which_none_is_at_work_belongs_to_none():
    shares = shared_out([Block("a", 0.0, 1.0), Block("b", 3.0, 4.0)])
    assert shares == {"a": 1.0, "b": 1.0}


def test_on_a_cpu_runs_in_turn_have_each_their_own():
    shared = DeviceTime(torch.device("cpu"))
    for run, seconds in (("a", 0.05), ("b", 0.1), ("a", 0.05)):
        with shared.charged(run):
            end = time.process_time() + seconds
            while time.process_time() < end:
                pass
    assert shared.seconds("a") == pytest.approx(0.1, abs=0.03)
    assert shared.seconds("b") == pytest.approx(0.1, abs=0.03)


class Stream:
    """A device that is behind: a moment is reached when its work is done."""

    def __init__(self, device):
        self.given = self.done = 0.0

    def now(self):
        return self.given

    def seconds(self, begin, end):
        assert end <= self.done, "it would have to wait"
        return end - begin

    def reached(self, moment):
        return moment <= self.done


def test_on_a_device_that_is_behind_nothing_waits_for_it(monkeypatch):
    monkeypatch.setattr(device_time, "DeviceClock", Stream)
    shared = DeviceTime(torch.device("cpu"))
    for run in "abab":
        with shared.charged(run):
            shared._clock.given += 1.0
    shared._clock.done = 3.0
    assert shared.seconds("a") == 2.0
