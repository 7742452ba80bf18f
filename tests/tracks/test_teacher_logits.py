"""Tasks whose teacher is known by its logits alone."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from kdarena.api.own import own_tasks
from kdarena.api.session import choose_tasks
from kdarena.arena.teachers import Teachers
from kdarena.arena.untrained import _untrained_teachers
from kdarena.errors import NotApplicable, UserError
from kdarena.execute.filled import Notes
from kdarena.execute.workspace import Workspace, new_run
from kdarena.method.declaration import REFERENCE
from kdarena.method.discovery import discover
from kdarena.method.plugin import STUDENT
from kdarena.method.step import Step
from kdarena.plan.entrants import entrants_of
from kdarena.plan.request import Request
from kdarena.plan.spec import Budget, RunSpec
from kdarena.tracks import find_card, load_task
from kdarena.tracks.own import OwnTask
from kdarena.tracks.teacher_logits import network_of
from kdarena.tracks.values import Setting, Split


@pytest.fixture(scope="module")
def digits():
    return load_task(find_card("digits"), Setting())


@pytest.fixture
def given(digits, tmp_path):
    """A file whose logits of a sample are -1 but for its class, where they are the number of its row; and of test none."""
    labels = np.concatenate([batch.targets.numpy() for batch in whole_train(digits)])
    logits = np.full((len(labels), 10), -1.0, dtype=np.float32)
    logits[np.arange(len(labels)), labels] = np.arange(len(labels))
    np.savez(tmp_path / "teacher.npz", train=logits)
    return tmp_path / "teacher.npz"


def whole_train(task):
    rows = torch.arange(task.parts.train)
    return [task.batch("train", rows, rows, None)]


def the_card(path, **typed):
    (task,) = own_tasks({"tasks": "digits", "teacher_logits": str(path), **typed})
    return task.card()


def adopted(card, folder):
    return Teachers(Request(), SimpleNamespace(teachers=folder))._adopted(card)


def run_of(card, tmp_path, seed=3):
    key = adopted(card, tmp_path / "teachers")
    workspace = Workspace(tmp_path / "teachers", tmp_path)
    spec = RunSpec(card.name, "student", "", "final", seed, Budget(1.0, "epochs"), (), teachers=((REFERENCE, key),))
    task = load_task(card, Setting())
    return new_run(STUDENT, task, workspace, spec)[1], task, workspace, key


def test_a_batchs_logits_are_those_of_its_samples_whatever_the_augmentation(given, tmp_path):
    run, task, _, _ = run_of(the_card(given), tmp_path)
    rows = task.training_rows(run.split)
    for data in ("augmented", "plain"):
        batch = next(run.batches(data))
        logits = run.answers[id(run.teachers[0])](batch, lambda: pytest.fail("the teacher was called")).logits
        assert torch.equal(logits.argmax(dim=1)[rows[batch.index] > 0], batch.targets[rows[batch.index] > 0])
        assert torch.equal(logits.max(dim=1).values.long(), rows[batch.index])


def test_a_step_reads_them_as_any_teachers_also_while_it_is_profiled(given, tmp_path):
    run, task, _, _ = run_of(the_card(given), tmp_path)
    (run.teacher,) = run.teachers
    notes, step, batch = Notes(run), Step(run, "train"), next(run.batches("augmented"))
    step.renew(batch, 0.0, 0.0)
    assert torch.equal(step.teacher.logits.max(dim=1).values.long(), task.training_rows(run.split)[batch.index])
    assert notes.read == ((),)  # nothing is to be stored: it is a table already
    with pytest.raises(NotApplicable):
        step.forward(run.teacher, batch.inputs + 1)


def test_a_run_sees_no_logits_of_validation_and_test(given, tmp_path):
    run, task, _, _ = run_of(the_card(given), tmp_path)
    (teacher,) = run.teachers
    assert len(teacher.train_logits) == task.size("train", run.split) and not len(teacher.test_logits)


def test_anything_else_asked_of_it_is_not_applicable(given, tmp_path):
    run, task, _, _ = run_of(the_card(given), tmp_path)
    with pytest.raises(NotApplicable, match="only those are known"):
        task.forward(run.teachers[0], task.one_batch().inputs)
    assert task.shapes(run.teachers[0]).logits == (10,)


def test_it_is_scored_where_its_logits_are_known_and_agreement_is_left_out_where_they_are_not(given, tmp_path):
    _, task, workspace, key = run_of(the_card(given), tmp_path)
    teacher = workspace.teacher(task, REFERENCE, key)
    assert task.evaluate(teacher, "validation", Split(0))["top1"] > 99
    assert task.reference_logits(teacher, "test", Split(0)) is None
    assert len(task.reference_logits(teacher, "validation", Split(0))) == task.size("validation", Split(0))


def test_methods_that_need_more_than_logits_are_skipped_with_the_reason(given):
    entered = {entrant.method.name: entrant for entrant in entrants_of(discover(), the_card(given), Request())}
    assert entered["kd"].runs and entered["dkd"].runs and entered["student"].runs
    assert "feature maps" in entered["at"].skip and "embedding" in entered["crd"].skip
    assert "only its outputs are known" in entered["kd-ensemble"].skip


def test_other_logits_are_other_data_and_the_file_is_checked_before_anything_is_planned(given, capsys):
    card = the_card(given)
    before = card.digest(None)
    (task,) = own_tasks({"tasks": "digits", "teacher_logits": str(given)})
    assert [chosen.name for chosen in choose_tasks("digits", None, [task])] == [card.name]
    assert "has no logits of the test samples" in capsys.readouterr().err
    np.savez(given, train=np.zeros((7, 10)))
    assert card.digest(None) != before
    with pytest.raises(UserError, match="has 7 rows, and the data have 800 training samples"):
        choose_tasks("digits", None, [task])


def test_what_depends_on_shapes_alone_needs_no_file(given, tmp_path):
    card = the_card(given)
    given.unlink()
    (key,) = _untrained_teachers([REFERENCE], card, tmp_path / "untrained", None, False).values()
    teacher = Workspace(tmp_path / "untrained", tmp_path).teacher(load_task(card, Setting()), REFERENCE, key)
    assert teacher.train_logits.shape == (800, 10)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"tasks": "digits,grammar"}, "holds the logits of the samples of one task"),
        ({"tasks": "all"}, "holds the logits of the samples of one task"),
        ({"teacher_checkpoint": "t.pth"}, "is the teacher, and --teacher-checkpoint says another"),
        ({"teacher": "resnet8"}, "is the teacher, and --teacher says another"),
    ],
)
def test_options_that_contradict_it_are_named(given, typed, says):
    with pytest.raises(UserError, match=says):
        the_card(given, **typed)


@pytest.mark.parametrize(("task", "says"), [("scenes", "has not one row of logits a sample"), ("tones", "has not one row of logits a sample")])
def test_tasks_that_such_a_teacher_can_not_serve_say_why(given, task, says):
    with pytest.raises(UserError, match=says):
        OwnTask("logits", {"task": task, "teacher_logits": str(given)}).card()


def test_without_test_logits_published_runs_are_refused(given, tmp_path):
    with pytest.raises(UserError, match="--protocol published scores a teacher on test"):
        Teachers(Request(protocol="published"), SimpleNamespace(teachers=tmp_path, display=None))._adopted(the_card(given))


def test_pictures_are_known_by_their_paths_below_the_folder(tmp_path):
    pixels = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(20):
            Image.fromarray(pixels.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(tmp_path / "pets" / name / f"{number}.png")
    ids = [f"{name}/{number}.png" for number in range(20) for name in ("dog", "cat")]
    np.savez(tmp_path / "t.npz", ids=ids, logits=[[0, 5] if "dog" in name else [5, 0] for name in ids])
    (task,) = own_tasks({"tasks": "all", "images": str(tmp_path / "pets"), "teacher_logits": str(tmp_path / "t.npz")})
    card = task.card()
    network, loaded = network_of(card, None), load_task(card, Setting())
    for part in ("train", "validation", "test"):
        assert loaded.evaluate(network, part, Split(0))["top1"] == 100


def test_rows_of_a_file_of_texts_are_known_by_their_numbers(tmp_path):
    rows = [(f"a {'fine' if number % 2 else 'dull'} film {number}", number % 2) for number in range(60)]
    (tmp_path / "films.tsv").write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))
    np.savez(tmp_path / "t.npz", ids=np.arange(60), logits=[[0, 5] if label else [5, 0] for _, label in rows])
    (task,) = own_tasks({"tasks": "all", "text": str(tmp_path / "films.tsv"), "teacher_logits": str(tmp_path / "t.npz")})
    card = task.card()
    assert re.fullmatch(r"films:logits\.t\.[0-9a-f]{6}-bert-2-128", card.name)
    network, loaded = network_of(card, None), load_task(card, Setting())
    for part in ("train", "test"):
        assert loaded.evaluate(network, part, Split(0))["accuracy"] == 100
