"""On a GPU, a phase's cost is known in about a second, by the time between two events."""

import time

import pytest
import torch
from kdarena_kd import kd

from kdarena.execute.capture import CudaCapture
from kdarena.execute.profile import profile
from kdarena.method.student import Student
from kdarena.plan.profile_rule import LARGEST_ERROR
from kdarena.testing.run import make_run
from kdarena.tracks import find_card
from kdarena.tracks.classification.data import made_up_cifar
from kdarena.tracks.classification.task import ClassificationTask
from kdarena.tracks.values import Setting

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")]


def test_a_profile_ends_within_seconds_and_its_error_is_small():
    task = ClassificationTask(find_card("cifar100:resnet56-resnet20"), Setting(torch.device("cuda"), "bf16"), made_up_cifar("cifar100"))

    def built(plugin):
        run = make_run(plugin, task)
        run.hooks.capture = CudaCapture(task.device)  # as a command has it
        return run.hooks, run

    profile(lambda: built(kd), lambda: built(Student), timed=True)  # libraries set themselves up
    started = time.perf_counter()
    (measured,), student_s = profile(lambda: built(kd), lambda: built(Student), timed=True)
    assert time.perf_counter() - started < 8  # with two builds and the counting of operations
    assert 1.0 < measured.relative < 4.0
    assert measured.error <= LARGEST_ERROR
    assert len(measured.groups) >= 2
    assert 0 < student_s < 0.1
