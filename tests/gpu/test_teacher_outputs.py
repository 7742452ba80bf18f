"""On CUDA, outputs of teachers that are looked up give what a call gives."""

from dataclasses import replace
from itertools import islice

import pytest
import torch

from kdarena.execute.filled import Notes
from kdarena.execute.teacher_outputs import Asked, TeacherOutputs
from kdarena.testing.run import make_run, take_steps
from kdarena.testing.task import ToyTask, toy_task
from kdarena.tracks.values import Setting

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]


def task(precision="fp32"):
    return ToyTask(replace(toy_task().card, train=64), Setting(torch.device("cuda", 0), precision, views=2))


def reading(method, on):
    run = make_run(method, on)
    notes = Notes(run)
    take_steps(run, 2)
    return notes.read


def stored_run(method, on, store):
    read = reading(method, on)
    run = make_run(method, on)
    for number, (network, parts) in enumerate(zip(run.teachers, read, strict=True)):
        asked = Asked(f"t{number}", network, parts)
        assert store.fill(on, [asked]) is not None
        run.answers[id(network)] = store.answers(on, asked)
    return run


@pytest.mark.parametrize("name", ["kd", "at", "kd-ensemble"])
def test_losses_are_those_of_a_run_that_calls_its_teachers(name, methods):
    on = task()
    ours = take_steps(stored_run(methods[name], on, TeacherOutputs()), 20)
    theirs = take_steps(make_run(methods[name], on), 20)
    for one, other in islice(zip(ours, theirs, strict=True), 5):
        assert one == pytest.approx(other, rel=1e-4)


def test_outputs_lie_on_the_device_where_they_fit_and_on_the_host_where_not(methods):
    on = task()
    device, host = TeacherOutputs(), TeacherOutputs(free=lambda home: 0 if home.type == "cuda" else 2**30)
    ours, theirs = (take_steps(stored_run(methods["kd"], on, store), 3) for store in (device, host))
    homes = [store.kept["t0"].tables["logits"].rows.device.type for store in (device, host)]
    assert homes == ["cuda", "cpu"]
    assert ours[0] == pytest.approx(theirs[0], rel=1e-5)


def test_logits_take_sixteen_bits_under_autocast(methods):
    store = TeacherOutputs()
    stored_run(methods["kd"], task("bf16"), store)
    assert store.kept["t0"].tables["logits"].rows.dtype == torch.bfloat16
