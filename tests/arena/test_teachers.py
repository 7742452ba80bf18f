"""Teachers that the user brings."""

from dataclasses import replace

import pytest

from kdarena.arena.teachers import adopt_checkpoint
from kdarena.errors import UserError
from kdarena.testing.task import toy_task
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
    key = adopt_checkpoint(checkpoint, rooted, tmp_path / "teachers", "DATA")
    assert (tmp_path / "teachers" / f"{key}.safetensors").is_file()


def test_a_task_that_does_not_load_is_the_users_mistake_and_no_traceback(rooted, checkpoint, tmp_path):
    with pytest.raises(UserError, match="--teacher-checkpoint .*: no data below None"):
        adopt_checkpoint(checkpoint, rooted, tmp_path / "teachers", None)


def test_a_checkpoint_of_another_architecture_is_refused(rooted, tmp_path):
    task = toy_task()
    save(task.new_network(task.card.student), tmp_path / "student.safetensors")
    with pytest.raises(UserError, match="--teacher-checkpoint"):
        adopt_checkpoint(tmp_path / "student.safetensors", rooted, tmp_path / "teachers", "DATA")
