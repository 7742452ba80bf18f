"""What stored outputs of teachers save, and what they take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import tools
from kdarena.execute.filled import Notes
from kdarena.execute.profile import profile
from kdarena.execute.teacher_outputs import Asked, Filling, Lookup, Stored, Table, TeacherOutputs, first_outputs, view_batches, view_count
from kdarena.execute.updates import Stepper
from kdarena.method.discovery import find, listing
from kdarena.method.student import Student
from kdarena.plan.profile_rule import RULES
from kdarena.testing.run import make_run, take_steps
from kdarena.tracks import find_card
from kdarena.tracks.classification.data import DataSet
from kdarena.tracks.classification.task import ClassificationTask
from kdarena.tracks.measure import synchronize
from kdarena.tracks.reading import Layout
from kdarena.tracks.values import Setting, Split

PAIR = "cifar100:resnet32x4-resnet8x4"
VIEWS = 4
GROUPS = 2 if tools.SHORT else 12


def kd_run(task, *, stored):
    """A run of kd; where ``stored``, its steps look up outputs of a few views, which stand for all."""
    torch.manual_seed(0)
    teacher = task.new_network(task.card.teacher).eval().requires_grad_(False)
    run = make_run(find("kd", listing()).implementation, task, teachers=[teacher])
    if stored:
        notes = Notes(run)
        take_steps(run, 1)
        asked, batch = Asked("t", run.teachers[0], notes.read[0]), next(view_batches(task))
        firsts = first_outputs(task, [asked])
        filling = Filling(task, [asked], firsts, len(batch.targets), task.device)
        filling(0, batch)
        run.answers[id(run.teachers[0])] = Lookup(task, asked, Stored(Layout.of(firsts["t"]), filling.tables["t"]), every=len(batch.targets))
    return run


def step_of(run):
    stepper, batches, count = Stepper(run.hooks, run, run.phases[0]), run.task.batches(Split(0), "augmented"), [0]

    def step():
        stepper.take(next(batches), count[0] / 100_000, count[0] / 100_000)
        count[0] += 1
        stepper.terms.clear()
        synchronize(run.task.device)

    return step


@pytest.mark.benchmark
def test_kd_takes_at_least_two_and_a_half_times_as_many_steps_a_second(figure):
    card = replace(find_card(PAIR), train=1500, validation=500, test=500)
    if tools.SHORT:
        card = replace(card, recipe=replace(card.recipe, batch_size=16))
    size = card.recipe.batch_size
    task = ClassificationTask(card, Setting(views=VIEWS), tools.made_up_cifar())
    live, stored = (step_of(kd_run(task, stored=stored)) for stored in (False, True))
    ratio, called, looked_up = tools.in_turn(live, stored, steps=1 if tools.SHORT else 4, groups=2 if tools.SHORT else 6)
    figure(
        f"`kd` on {PAIR}, {VIEWS} views: images a second with stored outputs of the teacher / live",
        f"{size / looked_up:.0f} / {size / called:.0f} = {ratio:.2f}",
        "≥ 2.5",
    )
    assert ratio >= 2.5 / (tools.GROSS if tools.SHORT else 1)


@pytest.mark.benchmark
@pytest.mark.parametrize("name", ["digits", "grammar", "tones"])
def test_a_step_of_kd_costs_at_most_fifteen_percent_more_than_the_student_s(name, figure):
    card = find_card(name)
    task = card.load(card, Setting())
    alone = make_run(Student, task)
    run = kd_run(task, stored=True)
    (train,), _ = profile(
        lambda: (run.hooks, run), lambda: (alone.hooks, alone), timed=True, rule=replace(RULES["cpu"], enough_groups=GROUPS, most_groups=GROUPS)
    )
    figure(f"a step of `kd` on {name}, stored, in steps of the student", f"{train.relative:.2f}", "≤ 1.15")
    assert train.relative <= (tools.GROSS if tools.SHORT else 1.15)


@pytest.mark.benchmark
def test_logits_of_cifar_100_in_four_views_take_at_most_45_mib(figure):
    images, labels = np.zeros((50_000, 32, 32, 3), dtype=np.uint8), np.zeros(50_000, dtype=np.int64)
    data = DataSet("cifar100", images, labels, images[:10], labels[:10], (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762), 255.0, 4, True, "made up")
    task = ClassificationTask(find_card("cifar100:resnet20-resnet8"), Setting(precision="bf16", views=VIEWS), data)
    asked = Asked("t", task.new_network("resnet20").eval(), ("logits",))
    logits = first_outputs(task, [asked])["t"].logits
    size = Table.like(logits, view_count(task), torch.device("cpu")).size
    figure(f"memory of CIFAR-100's stored logits, {VIEWS} views, bf16", f"{size / 2**20:.1f} MiB", "≤ 45 MiB")
    assert size <= 45 * 2**20
    assert TeacherOutputs(free=lambda device: 4 * 45 * 2**20).fits(task, [asked])
