"""How many groups of blocks measure a phase, by the rule of each kind of device and a double of the clock."""

import math
from dataclasses import replace
from random import Random

import pytest

from kdarena.execute.profile import _measure
from kdarena.plan.profile_rule import RULES, standard_error


class Stopwatch:
    """A double of the clock: blocks take as long as their steps, which are drawn around a mean, and nothing else takes time."""

    def __init__(self, noise):
        self.time, self.noise, self.random = 0.0, noise, Random(0)

    def blocks(self, step_s):
        return TimedBlocks(self, step_s)


class TimedBlocks:
    def __init__(self, clock, step_s):
        self.clock, self.step_s, self.steps, self.settled, self.ready = clock, step_s, 1, 0, False

    def settle(self, steps):
        self.settled += steps
        self.clock.time += steps * self.step_s

    def take_for(self, seconds):
        self.steps = max(1, round(seconds / self.seconds()))

    def seconds(self):
        mean = self.step_s * math.exp(self.clock.random.gauss(0.0, self.clock.noise))
        self.clock.time += (1 + self.steps) * mean  # one that is not timed
        return mean


def measured(rule, *, noise, own_s=0.003, student_s=0.0015):
    """The groups of a phase, and the seconds that they took with all that came before them."""
    clock = Stopwatch(noise)
    ratios, _ = _measure(clock.blocks(own_s), clock.blocks(student_s), rule, lambda: None, lambda: clock.time)
    return ratios, clock.time


def test_on_a_gpu_groups_that_agree_are_four_and_take_half_a_second():
    ratios, seconds = measured(RULES["cuda"], noise=0.002)
    assert len(ratios) == 4
    assert seconds < 0.8


def test_on_a_gpu_groups_go_on_until_their_error_is_under_one_percent():
    ratios, seconds = measured(replace(RULES["cuda"], phase_seconds=60.0), noise=0.05)
    assert len(ratios) > 4
    assert standard_error(ratios) <= 0.01 < standard_error(ratios[:-1])
    assert seconds < 60


def test_on_a_gpu_a_phase_that_stays_unsure_ends_after_three_seconds_of_groups():
    ratios, seconds = measured(RULES["cuda"], noise=0.5)
    assert 3.0 <= seconds < 3.5
    assert standard_error(ratios) > 0.01


def test_what_a_capture_takes_is_no_part_of_the_seconds_that_groups_have():
    clock = Stopwatch(0.5)
    slow = clock.blocks(0.003)
    slow.settle = lambda steps: setattr(clock, "time", clock.time + 100.0)
    ratios, _ = _measure(slow, clock.blocks(0.0015), RULES["cuda"], lambda: None, lambda: clock.time)
    assert len(ratios) > 4


def test_on_a_gpu_an_expensive_phase_has_fewer_groups_and_not_longer_ones():
    ratios, _ = measured(RULES["cuda"], noise=0.002, own_s=0.4)
    assert len(ratios) == 2


@pytest.mark.parametrize("noise", [0.002, 0.5])
def test_on_a_cpu_a_part_has_two_groups_whatever_they_say(noise):
    ratios, _ = measured(RULES["cpu"], noise=noise)
    assert len(ratios) == 2


def test_on_a_gpu_steps_are_taken_before_any_is_timed_so_that_they_are_captured_by_then():
    clock = Stopwatch(0.002)
    own, student = clock.blocks(0.003), clock.blocks(0.0015)
    _measure(own, student, RULES["cuda"], lambda: None, lambda: clock.time)
    assert own.settled == student.settled == RULES["cuda"].settling_steps > 0


def test_the_student_s_blocks_settle_once_for_all_phases_of_a_method():
    clock = Stopwatch(0.002)
    student = clock.blocks(0.0015)
    for _ in range(3):
        _measure(clock.blocks(0.003), student, RULES["cuda"], lambda: None, lambda: clock.time)
    assert student.settled == RULES["cuda"].settling_steps
