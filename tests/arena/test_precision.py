"""In which number format a task is trained: the faster, as it was measured."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from kdarena.arena.precision import conditions_in_faster_precision, precision_of
from kdarena.plan.cost import CostProfile
from kdarena.plan.machine import Machine
from kdarena.plan.request import Request
from kdarena.testing.task import toy_task

FAST = Machine("cpu", ("cpu",), 1, True, "Fast 3000", "2.13.0")
CARDS = [replace(toy_task().card, name=name) for name in ("large", "small")]
SECONDS = {("large", "fp32"): 0.2, ("large", "bf16"): 0.1, ("small", "fp32"): 0.002, ("small", "bf16"): 0.0019}


class Measuring:
    """A recorder whose profiles take the seconds that are given; the rest of what it has is not used."""

    capacity = 2

    def __init__(self, seconds=SECONDS, status="done"):
        self.seconds, self.status, self.kept = seconds, status, {}
        self.asked = []
        self.display = SimpleNamespace(expect=lambda jobs: None)

    def schedule(self, works):
        for work in works:
            (job,) = next(work)
            spec = job.spec
            self.asked.append((spec.task, spec.precision))
            with pytest.raises(StopIteration):
                work.send([CostProfile(spec.key, (), 10, self.seconds[spec.task, spec.precision], 0.1, 1.0, 1, self.status)])


def chosen(recorder, request=Request(), machine=FAST):  # noqa: B008
    return [conditions.precision for conditions in conditions_in_faster_precision(recorder, request, CARDS, machine)]


def test_a_task_is_trained_in_bf16_where_that_is_faster_there_and_not_by_a_flag():
    recorder = Measuring()
    assert chosen(recorder) == ["bf16", "fp32"]
    assert sorted(recorder.asked) == sorted(SECONDS)


@pytest.mark.parametrize(("plain", "short", "precision"), [(1.21, 1.0, "bf16"), (1.19, 1.0, "fp32"), (None, 1.0, "fp32"), (1.0, None, "fp32")])
def test_a_difference_that_a_measurement_may_make_changes_nothing(plain, short, precision):
    assert precision_of(plain, short) == precision


@pytest.mark.parametrize(
    ("request_", "machine", "precision"),
    [
        (Request(precision="fp32"), FAST, "fp32"),
        (Request(precision="bf16"), FAST, "bf16"),
        (Request(protocol="published"), FAST, "fp32"),
        (Request(), replace(FAST, fast_bf16=False), "fp32"),
    ],
)
def test_nothing_is_measured_where_the_precision_is_known(request_, machine, precision):
    recorder = Measuring()
    assert chosen(recorder, request_, machine) == [precision] * 2
    assert recorder.asked == []


def test_a_task_whose_student_can_t_be_measured_is_left_in_fp32():
    assert chosen(Measuring(status="error")) == ["fp32", "fp32"]
