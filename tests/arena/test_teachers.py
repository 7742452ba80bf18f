"""Teachers: those that the user brings, and what is said of each before anything is trained with it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from kdarena.arena.teachers import Teachers, adopt_checkpoint, doubt_about, said_of
from kdarena.errors import UserError
from kdarena.files import digest_of
from kdarena.method.declaration import REFERENCE, TeacherSpec
from kdarena.plan.conditions import Conditions
from kdarena.plan.machine import Machine
from kdarena.plan.request import Request
from kdarena.plan.spec import RunResult
from kdarena.record.runs import Record
from kdarena.testing.task import toy_task
from kdarena.tracks import find_card
from kdarena.tracks.checkpoints import save


@pytest.fixture
def rooted():
    """A card whose task loads below its data root alone."""
    task = toy_task()

    def load(card, setting):
        if setting.data_root != "DATA":
            raise ValueError(f"no data below {setting.data_root}")
        return task

    return replace(task.card, load=load)


@pytest.fixture
def checkpoint(tmp_path):
    task = toy_task()
    save(task.new_network(task.card.teacher), tmp_path / "teacher.safetensors")
    return tmp_path / "teacher.safetensors"


def test_a_teacher_of_a_task_below_the_data_root_is_taken(rooted, checkpoint, tmp_path):
    weights = adopt_checkpoint(checkpoint, rooted, tmp_path / "teachers", "DATA")
    (kept,) = (tmp_path / "teachers").iterdir()
    assert (kept.name, digest_of(kept)) == (f"{weights}.safetensors", weights)


def test_a_task_that_does_not_load_is_the_users_mistake_and_no_traceback(rooted, checkpoint, tmp_path):
    with pytest.raises(UserError, match="--teacher-checkpoint .*: no data below None"):
        adopt_checkpoint(checkpoint, rooted, tmp_path / "teachers", None)


def test_a_checkpoint_of_another_architecture_is_refused(rooted, tmp_path):
    task = toy_task()
    save(task.new_network(task.card.student), tmp_path / "student.safetensors")
    with pytest.raises(UserError, match="--teacher-checkpoint"):
        adopt_checkpoint(tmp_path / "student.safetensors", rooted, tmp_path / "teachers", "DATA")


DIGITS = Conditions(find_card("digits"), Machine("cpu", ("cpu",), 1, False), "fp32", "data", "validated")


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        ({"validation/top1": 98.6}, None),
        ({"validation/top1": 10.0}, "has top1 10 on validation, and a guess has 10"),
        ({"validation/top1": 1.4, "test/top1": 98.0}, "has top1 1.4 on validation"),
        ({"test/top1": 9.0}, "has top1 9 on test"),
        ({"validation/top1": float("nan")}, "is not finite"),
        ({}, "is not finite"),
    ],
)
def test_a_teacher_that_is_no_better_than_a_guess_is_named_before_anything_is_trained(metrics, says):
    doubt = doubt_about(RunResult("key", "done", metrics=metrics), DIGITS)
    assert (doubt is None) if says is None else (says in doubt)


@pytest.mark.parametrize(
    ("steps", "score", "notes", "says"),
    [
        (0, 15.0, (), "the usual causes are weights of other classes"),
        (0, 15.0, ("its classes seem to be in another order",), "its classes seem to be in another order"),
        (0, 45.0, ("its classes seem to be in another order",), "has top1 45 on validation; its classes seem"),
        (0, 45.0, (), None),
        (100, 15.0, (), None),
    ],
)
def test_a_given_teacher_that_is_bad_is_named_with_the_usual_causes(steps, score, notes, says):
    doubt = doubt_about(RunResult("key", "done", metrics={"validation/top1": score}, steps=steps, notes=notes), DIGITS)
    assert (doubt is None) if says is None else (says in doubt)


@pytest.mark.parametrize(("score", "says"), [(87.5, None), (62.0, "has accuracy 62 on validation, and a guess has 50")])
def test_of_two_classes_a_given_teacher_is_believed_without_twice_the_score_of_a_guess(score, says):
    doubt = doubt_about(RunResult("key", "done", metrics={"validation/accuracy": score}), replace(DIGITS, card=find_card("grammar")))
    assert (doubt is None) if says is None else (says in doubt and "images" not in doubt)


def test_what_every_teacher_is_worth_is_said_in_a_line():
    results = {TeacherSpec(): 98.25, TeacherSpec(member=1): 97.0, TeacherSpec("resnet8"): 90.0}
    said = said_of({teacher: RunResult("key", "done", metrics={"validation/top1": score}, steps=9) for teacher, score in results.items()}, DIGITS)
    assert said == "digits: teacher digits-teacher has top1 98.25, 97 on validation; resnet8 has top1 90 on validation"


def test_a_checkpoint_that_does_not_fit_is_named_for_all_tasks_at_once(checkpoint, tmp_path):
    lines = []
    recorder = SimpleNamespace(teachers=tmp_path / "teachers", display=SimpleNamespace(say=lines.append))
    request = Request(teacher_checkpoint=str(checkpoint))
    with pytest.raises(UserError, match="task digits: --teacher-checkpoint .*; task grammar: --teacher-checkpoint") as caught:
        Teachers(request, recorder).adopt([find_card("digits"), toy_task().card, find_card("grammar")])
    assert "toy" not in str(caught.value) and "\n" not in str(caught.value)


def test_which_of_several_weights_are_taken_is_said(rooted, tmp_path):
    task, said = toy_task(), []
    weights = task.new_network(task.card.teacher).state_dict()
    torch.save({"model": weights, "model_ema": {name: tensor * 2 for name, tensor in weights.items()}}, tmp_path / "teacher.ckpt")
    taken = {which: adopt_checkpoint(tmp_path / "teacher.ckpt", rooted, tmp_path / "teachers", "DATA", which, said.append) for which in (None, "ema")}
    assert taken[None] != taken["ema"]
    assert "uses the weights 'model'; it also has model_ema" in said[0] and "uses the weights 'model_ema'; it also has model" in said[1]


def test_what_a_killed_command_left_of_a_given_teacher_is_removed_by_the_next_that_writes(rooted, checkpoint, tmp_path, monkeypatch):
    def killed(path, to):
        raise KeyboardInterrupt

    Record.open(tmp_path / "out").close()
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        adopt_checkpoint(checkpoint, rooted, tmp_path / "out" / "teachers", "DATA")
    assert len(list((tmp_path / "out" / "teachers").iterdir())) == 1
    Record.open(tmp_path / "out").close()
    assert list((tmp_path / "out" / "teachers").iterdir()) == []


def test_a_teacher_that_could_not_be_trained_ends_the_command_with_the_reason():
    spec, result = SimpleNamespace(task="toy", purpose="teacher"), RunResult("key", "error", error="18 steps, 50 are the least; raise --teacher-budget")
    teachers = Teachers.__new__(Teachers)
    work = teachers._train(REFERENCE, spec, DIGITS, {})
    next(work)
    with pytest.raises(UserError, match="could not be trained: error: 18 steps, 50 are the least; raise --teacher-budget$"):
        work.send((result,))
