"""Schedules against NumPy and closed forms; they are tensors that nothing reads back to the host."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from kdarena.schedules import cosine, curve, linear, one_cycle, piecewise, ramp_up

POINTS = ((0.0, 0.5), (0.25, 2.0), (0.25, -1.0), (0.75, 0.0), (1.0, 0.3))
PROGRESS = (0.0, 0.1, 0.25, 1 / 3, 0.5, 2 / 3, 0.75, 0.9, 1.0)
SCHEDULES = {
    "linear": lambda progress: linear(progress, 0.2, 1.7, begin=0.1, length=0.3),
    "linear-jump": lambda progress: linear(progress, 0.2, 1.7, begin=0.5, length=0.0),
    "cosine": lambda progress: cosine(progress, 1.0, 0.1),
    "ramp-up": lambda progress: ramp_up(progress, 80 / 300),
    "ramp-up-none": lambda progress: ramp_up(progress, 0.0),
    "piecewise": lambda progress: piecewise(progress, POINTS),
    "one-cycle": one_cycle,
}
EVERY = pytest.mark.parametrize("schedule", list(SCHEDULES.values()), ids=list(SCHEDULES))

progresses = st.floats(0, 1, width=32)
values = st.floats(-100, 100, width=32)


def at(progress):
    return torch.tensor(progress, dtype=torch.float32)


class RefuseHostReads(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function._schema.name not in ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal", "aten::nonzero")
        return function(*args, **(kwargs or {}))


# what holds for all
@EVERY
def test_a_schedule_reads_no_value_back_to_the_host(schedule):
    progress = at(0.4)
    with RefuseHostReads():
        schedule(progress)


def test_the_refusal_of_host_reads_sees_an_if_on_a_tensor():
    with pytest.raises(AssertionError), RefuseHostReads():
        bool(at(0.4) > 0.1)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_weight_is_of_the_progresss_shape_and_kind(schedule, dtype):
    weight = schedule(torch.tensor(0.4, dtype=dtype))
    assert (weight.shape, weight.dtype) == ((), dtype)


@EVERY
def test_a_weight_follows_the_progress_tensor_that_is_filled_anew(schedule):
    progress = at(0.0)
    for value in PROGRESS:
        progress.fill_(value)
        assert torch.equal(schedule(progress), schedule(at(value)))


@EVERY
def test_as_a_curve_it_is_a_float_of_a_float(schedule):
    for progress in PROGRESS:
        rate = curve(schedule)(progress)
        assert isinstance(rate, float)
        assert rate == float(schedule(torch.tensor(progress, dtype=torch.float64)))


# linear
@pytest.mark.parametrize(("progress", "expected"), [(0.0, 3.0), (0.2, 3.0), (0.3, 2.5), (0.45, 1.75), (0.6, 1.0), (1.0, 1.0)])
def test_a_line_goes_from_start_to_end_and_is_constant_outside(progress, expected):
    assert float(linear(at(progress), 3.0, 1.0, begin=0.2, length=0.4)) == pytest.approx(expected, rel=1e-6)


def test_a_line_takes_all_of_the_progress_unless_said_otherwise():
    assert [float(linear(at(progress), 1.0, 5.0)) for progress in (0.0, 0.25, 1.0)] == [1.0, 2.0, 5.0]


def test_a_line_without_length_is_a_jump_at_its_beginning():
    assert [float(linear(at(progress), 1.0, 5.0, begin=0.5, length=0.0)) for progress in (0.0, 0.49, 0.5, 1.0)] == [1.0, 1.0, 5.0, 5.0]
    assert float(linear(at(0.0), 0.0, 1.0, length=0.0)) == 1.0


@given(progresses, values, values, progresses, progresses)
def test_a_line_is_numpys_interpolation(progress, start, end, begin, length):
    if length > 1e-3:
        expected = np.interp(progress, [begin, begin + length], [start, end])
        assert float(linear(torch.tensor(progress, dtype=torch.float64), start, end, begin=begin, length=length)) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(progresses, progresses, values, values, progresses, progresses)
def test_a_line_stays_between_its_ends_and_never_turns(first, second, start, end, begin, length):
    earlier, later = (float(linear(at(progress), start, end, begin=begin, length=length)) for progress in sorted((first, second)))
    rounding = 1e-6 * max(abs(start), abs(end))
    assert all(min(start, end) - rounding <= value <= max(start, end) + rounding for value in (earlier, later))
    assert earlier <= later if start <= end else earlier >= later


# cosine
@pytest.mark.parametrize(("progress", "expected"), [(0.0, 2.0), (1 / 3, 1.625), (0.5, 1.25), (2 / 3, 0.875), (1.0, 0.5)])
def test_a_cosine_falls_from_start_to_end_by_half_a_period(progress, expected):
    assert float(cosine(at(progress), 2.0, 0.5)) == pytest.approx(expected, rel=1e-6)


@given(progresses, values, values)
def test_a_cosine_is_the_square_of_a_quarter_period_and_stays_between_its_ends(progress, start, end):
    weight = float(cosine(at(progress), start, end))
    scale = max(abs(start), abs(end))
    assert weight == pytest.approx(end + (start - end) * math.cos(math.pi / 2 * progress) ** 2, rel=1e-5, abs=1e-6 * scale)
    assert min(start, end) - 1e-6 * scale <= weight <= max(start, end) + 1e-6 * scale


# ramp-up
@pytest.mark.parametrize(("epoch", "expected"), [(0, 0.0067), (20, 0.060), (40, 0.2865), (80, 1.0), (299, 1.0)])
def test_a_ramp_up_is_that_of_the_public_codes_at_their_epochs_of_300(epoch, expected):
    assert float(ramp_up(at(epoch / 300), 80 / 300)) == pytest.approx(expected, abs=5e-4)


def test_a_ramp_up_starts_at_e_to_the_minus_five_and_is_one_from_its_length_on():
    assert float(ramp_up(at(0.0), 0.25)) == pytest.approx(math.exp(-5))
    assert float(ramp_up(at(0.25), 0.25)) == 1
    assert float(ramp_up(at(0.9), 0.25)) == 1


def test_a_ramp_up_without_a_length_is_one_from_the_start():
    assert float(ramp_up(at(0.0), 0.0)) == 1.0


@given(progresses, progresses, st.floats(0.01, 1))
def test_a_ramp_up_never_falls_and_stays_between_its_ends(first, second, length):
    earlier, later = (float(ramp_up(at(progress), length)) for progress in sorted((first, second)))
    assert math.exp(-5) * (1 - 1e-6) <= earlier <= later <= 1


# piecewise and one cycle
@given(progresses)
def test_between_points_it_is_numpys_interpolation(progress):
    points = [(0.1, 0.5), (0.25, 2.0), (0.75, 0.0), (0.9, 0.3)]
    expected = np.interp(progress, *zip(*points, strict=True))
    assert float(piecewise(at(progress), points)) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_two_points_at_one_progress_are_a_jump():
    assert [float(piecewise(at(progress), POINTS)) for progress in (0.249, 0.25, 0.5)] == pytest.approx([1.994, -1.0, -0.5], rel=1e-5)


def test_a_single_point_is_a_constant():
    assert [float(piecewise(at(progress), [(0.5, 3.0)])) for progress in (0.0, 0.5, 1.0)] == [3.0, 3.0, 3.0]


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 0.1), (1 / 6, 0.55), (1 / 3, 1.0), (0.5, 0.55), (2 / 3, 0.1), (5 / 6, 0.05005), (1.0, 1e-4)])
def test_one_cycle_rises_to_one_falls_back_and_on_to_its_end(progress, expected):
    assert float(one_cycle(at(progress))) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@given(progresses, st.floats(0.01, 0.9), st.floats(0.05, 0.4), st.floats(0.5, 0.95), st.floats(0, 0.01))
def test_one_cycle_stays_between_its_end_and_one(progress, start, rise, fall, end):
    assert end - 1e-6 <= float(one_cycle(at(progress), start=start, rise=rise, fall=fall, end=end)) <= 1 + 1e-6
