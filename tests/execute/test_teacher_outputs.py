"""Outputs of teachers that are looked up give what a call gives."""

import functools
from dataclasses import replace
from itertools import islice

import pytest
import torch

from kdarena import Method, Paper, hookimpl
from kdarena.execute.filled import Notes
from kdarena.execute.teacher_outputs import Asked, Table, TeacherOutputs, view_batches, view_count
from kdarena.method.discovery import discover
from kdarena.testing.run import make_run, new_step, take_phases, take_steps
from kdarena.testing.task import ToyTask, toy_task
from kdarena.tracks import find_card
from kdarena.tracks.reading import Layout, part_of
from kdarena.tracks.values import Setting, Split

PLUGINS = {plugin.name: plugin for plugin in discover()}
STEPS = 3
MUCH = 2**40


@functools.cache
def loaded(name, views=None):
    if name == "toy":
        return toy_task(views=views, train=32)
    card = find_card(name)
    return card.load(card, Setting(views=views))


def run_of(name, task):
    return make_run(PLUGINS[name].implementation, task)


def read_by(name, task):
    """What a method reads of each teacher."""
    run = run_of(name, task)
    notes = Notes(run)
    take_phases(run, STEPS)
    return notes.read


class Stored:
    """A run of a method whose teachers' outputs are filled in.

    Attributes:
        calls: how often its teachers were called since.
    """

    def __init__(self, name, task, store=None):
        self.run, self.store = run_of(name, task), store or TeacherOutputs(free=lambda device: MUCH)
        read = read_by(name, task)
        self.teachers = [Asked(f"t{number}", network, parts) for number, (network, parts) in enumerate(zip(self.run.teachers, read, strict=True))]
        self.seconds = self.store.fill(task, self.teachers)
        for teacher in self.teachers:
            self.run.answers[id(teacher.network)] = self.store.answers(task, teacher)
        self.calls = 0
        for teacher in self.run.teachers:
            own = teacher.forward
            teacher.forward = functools.partial(self.called, own)

    def called(self, own, *given):
        self.calls += 1
        return own(*given)


CASES = [("kd", "toy", 2), ("at", "toy", 2), ("kd-ensemble", "toy", 2), ("quest", "toy", 2), ("internal", "grammar", None), ("kd", "tones", None)]
LONG = [
    ("kd", "digits", None),
    ("reviewkd", "digits", None),
    ("kd", "scenes", 2),
    ("dist", "scenes", 2),
    ("structured-pi-pa", "scenes-depth", 2),
    ("kd", "scenes-boxes", 2),
]
LONG += [
    ("kd", "grammar", None),
    ("pid", "grammar", None),
    ("quest", "grammar", None),
    ("cts", "tones", None),
    ("ts-seq", "tones", None),
    ("quest", "tones", None),
]


def differences(name, task, views):
    stored, live = Stored(name, loaded(task, views)), run_of(name, loaded(task, views))
    ours, theirs = (_trained(run) for run in (stored.run, live))
    terms = [[(one[term], other[term]) for term in other] for phase in theirs for one, other in zip(ours[phase], theirs[phase], strict=True)]
    return stored, live, [max(abs(one - other) / max(abs(other), 1e-3) for one, other in step) for step in terms if step]


def _trained(run):
    torch.manual_seed(0)  # the students' dropout draws the same
    return take_phases(run, STEPS)


@pytest.mark.parametrize(("name", "task", "views"), [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in LONG)])
def test_the_losses_are_those_of_a_run_that_calls_its_teachers_and_no_teacher_is_called(name, task, views):
    stored, live, found = differences(name, task, views)
    # what is not augmented is none of the fixed views
    plain = sum(phase.steps for phase in stored.run.phases if phase.data == "plain") if views else 0
    assert stored.calls == plain
    assert found[0] <= 1e-6
    assert max(found) <= 1e-5  # the rounding of the steps before
    for one, other in zip(stored.run.learner.student.parameters(), live.learner.student.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def test_what_is_read_is_kept_and_no_more():
    assert Stored("kd", loaded("toy", 2)).store.kept["t0"].tables.keys() == {"logits"}
    maps = Stored("at", loaded("toy", 2)).store.kept["t0"].tables.keys()
    assert maps and all(name.startswith("features/") for name in maps)


def test_boxes_of_a_detector_are_kept_as_its_scores_are():
    task = loaded("scenes-boxes", 2)
    teacher = task.new_network(task.card.student).eval()
    store, asked = TeacherOutputs(free=lambda device: MUCH), Asked("t", teacher, ("logits", "boxes", "features/p2"))
    store.fill(task, [asked])
    batch = next(task.batches(Split(0), "augmented"))
    with torch.no_grad():
        live = task.answered(teacher, batch)
    found = store.answers(task, asked)(batch, lambda: pytest.fail("the teacher is called"))
    for part in asked.parts:
        assert torch.allclose(part_of(found, part), part_of(live, part), rtol=1e-4, atol=1e-5), part


@pytest.mark.parametrize("name", ["grammar", "tones"])
def test_every_part_of_padded_sequences_is_as_long_as_in_a_call(name):
    task = loaded(name)
    run = run_of("kd", task)
    with torch.no_grad():
        whole = task.answered(run.teachers[0], next(view_batches(task)))
    layout = Layout.of(whole)
    parts = layout.parts(["logits", "embedding", "tokens", "counted", "attentions", "hidden", *(f"features/{name}" for name in layout.maps)])
    store = TeacherOutputs(free=lambda device: MUCH)
    asked = Asked("t", run.teachers[0], parts)
    store.fill(task, [asked])
    answers = store.answers(task, asked)
    for batch in islice(task.batches(Split(0), "augmented"), 3):
        with torch.no_grad():
            live = task.answered(run.teachers[0], batch, teacher_inputs=True)
        found = answers(batch, lambda: pytest.fail("the teacher is called"))
        for part in parts:
            one, other = part_of(found, part), part_of(live, part)
            assert (one.shape, one.dtype) == (other.shape, other.dtype)
            assert torch.allclose(one.float(), other.float(), rtol=1e-4, atol=1e-5), part


def test_a_batch_that_is_longer_than_all_samples_calls_the_teacher():
    task = loaded("grammar")
    stored = Stored("kd", task)
    batch = next(task.batches(Split(0), "augmented"))
    longer = replace(batch, inputs=torch.nn.functional.pad(batch.inputs, (0, 400)))
    assert task.trimmed("hidden/0", torch.zeros(2, 16, 3), stored.run.teachers[0], longer) is None


def test_a_teacher_with_active_dropout_is_called():
    task = loaded("toy", 2)
    run = make_run(PLUGINS["fickle"].implementation, task)
    notes = Notes(run)
    take_phases(run, STEPS)
    assert notes.read == ((),)


def loss_of(step):
    return {"ce": step.task.loss(step.student, step.targets)}


def method_with(loss, **declared):
    class Own:
        method = Method("own", "t", Paper("t", "v", 2026, "u"), **declared)

    Own.loss = hookimpl(lambda self, step: loss(step))
    return Own


def reads_of(loss):
    run = make_run(method_with(loss), loaded("toy", 2))
    notes = Notes(run)
    take_steps(run, 1)
    return notes.read[0]


def test_inputs_that_a_method_changes_are_not_looked_up():
    def own_inputs(step):
        step.forward(step.run.teachers[0], step.teacher_inputs + 0.1).logits.sum()
        return loss_of(step)

    def in_place(step):
        step.teacher_inputs.add_(0.1)
        step.teacher.logits.sum()
        return loss_of(step)

    def unchanged(step):
        step.teacher.logits.sum()
        return loss_of(step)

    assert (reads_of(own_inputs), reads_of(in_place), reads_of(unchanged)) == ((), (), ("logits",))


def test_a_teacher_to_whose_layers_a_method_listens_is_called():
    heard = []

    def listening(step):
        if not heard:
            step.run.teachers[0].stages[0].register_forward_hook(lambda module, inputs, output: heard.append(output))
        step.teacher.logits.sum()
        return loss_of(step)

    assert reads_of(listening) == ()
    assert len(heard) == 1


def test_what_was_not_seen_to_be_read_is_computed():
    task = loaded("toy", 2)
    stored = Stored("kd", task)
    batch = next(stored.run.augmented)
    found = new_step(stored.run, batch=batch).teacher.features["stage1"]
    live = new_step(run_of("kd", task), batch=batch).teacher.features["stage1"]
    assert torch.equal(found, live)
    assert stored.calls == 1


def test_rows_do_not_depend_on_what_was_filled_in_before():
    task = loaded("toy", 2)
    alone, after = Stored("kd", task), TeacherOutputs(free=lambda device: MUCH)
    Stored("at", task, after)
    both = Stored("kd", task, after)
    tables = [one.store.kept["t0"].tables["logits"].rows for one in (alone, both)]
    assert torch.equal(*tables)


def test_what_is_there_is_not_computed_again():
    task = loaded("toy", 2)
    first = Stored("kd", task)
    assert first.seconds > 0
    assert Stored("kd", task, first.store).seconds == 0


def test_without_memory_nothing_is_filled_in():
    store = TeacherOutputs(free=lambda device: 100)
    task = loaded("toy", 2)
    run = run_of("kd", task)
    assert store.fill(task, [Asked("t", run.teachers[0], ("logits",))]) is None


def test_what_other_runs_used_longest_ago_is_dropped_where_memory_is_short():
    task = loaded("toy", 2)
    run = run_of("kd", task)
    size = view_count(task) * task.classes * 4
    store = TeacherOutputs(free=lambda device: 8 * size - sum(stored.size_on(device) for stored in store.kept.values()))
    for key in ("a", "b", "a", "c"):
        assert store.fill(task, [Asked(key, run.teachers[0], ("logits",))]) is not None
    assert list(store.kept) == ["a", "c"]


def test_in_bf16_the_logits_are_kept_in_sixteen_bits_and_given_as_they_were():
    task = ToyTask(replace(toy_task().card, train=16), Setting(precision="bf16", views=2))
    stored = Stored("kd", task)
    table = stored.store.kept["t0"].tables["logits"]
    step = new_step(stored.run)
    live = new_step(run_of("kd", task), batch=step._present)
    assert table.rows.dtype == torch.bfloat16
    assert step.teacher.logits.dtype == torch.float32
    assert torch.allclose(step.teacher.logits, live.teacher.logits, rtol=1e-2, atol=1e-2)


def test_a_part_that_needs_more_bits_in_a_later_batch_gets_them():
    table = Table.like(torch.ones(2, 3), 4, torch.device("cpu"))
    table.put(0, torch.ones(2, 3))
    table.put(2, torch.full((2, 3), 1 / 3))
    assert torch.equal(table.rows, torch.tensor([[1.0] * 3] * 2 + [[1 / 3] * 3] * 2))


def test_maps_in_channels_last_are_given_in_channels_last():
    part = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    table = Table.like(part, 4, torch.device("cpu"))
    table.put(2, part)
    assert torch.equal(table.stored[2:], part)
    assert table.stored.stride() == torch.empty(4, 3, 4, 5).contiguous(memory_format=torch.channels_last).stride()
