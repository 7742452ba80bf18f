"""Training outside of charged steps: the runs are done, and their row is unpaid and says where it was."""

import copy
import subprocess
import sys

import pytest
import torch
from execute.cheats.tools import SIDE_STEPS, cheat, trained

from kdarena import NO_TEACHER, Learner, Phase, Update
from kdarena.board.payment import FLOOR_S
from kdarena.plan.spec import Budget


def on_the_side(run):
    """Train a network of the task for several budgets."""
    return trained(run.new_student(), run.task, run.split, steps=3 * SIDE_STEPS)


def in_build_teacher(self, run):
    on_the_side(run)
    return NO_TEACHER


def in_build_student(self, run):
    on_the_side(run)
    return Learner(run.new_student())


def in_schedule(self, run):
    on_the_side(run)
    return [Phase("train")]


def in_prepare(self):
    return [Phase("train", prepare=on_the_side)]


def in_updates(self):
    def updates(run):
        on_the_side(run)
        return [Update("student", run.learner.parameters())]

    return [Phase("train", updates)]


def in_stop_when(self):
    return [Phase("first", stop_when=lambda run: on_the_side(run) is None), Phase("train")]


CULPRITS = {
    "build_teacher": (cheat(build_teacher=in_build_teacher), ("train",)),
    "build_student": (cheat(build_student=in_build_student), ("train",)),
    "schedule": (cheat(schedule=in_schedule), ("train",)),
    "prepare": (cheat(schedule=in_prepare), ("train",)),
    "updates": (cheat(schedule=in_updates), ("train",)),
}


@pytest.mark.parametrize("hook", CULPRITS)
def test_a_method_that_trains_in_a_hook_is_unpaid_and_its_row_says_which(bench, synthetic, hook):
    plugin, phases = CULPRITS[hook]
    row = bench.row(plugin, synthetic, phases)
    assert (row["status"], row["rank"]) == ("unpaid", None)
    assert row["status_note"].startswith(f"{hook} took ")
    assert "outside the charged steps" in row["status_note"]
    assert row["status_note"].endswith("% of the budget; do the work in a phase's process")


def test_a_method_that_trains_where_a_phase_is_asked_whether_it_ends_is_unpaid(bench, synthetic):
    # it is asked once in fifty steps, so that a longer phase is needed
    result = bench.run(cheat(schedule=in_stop_when), phases=("first", "train"), budget=Budget(220, "flop"))
    assert result.status == "done"
    assert result.outside["stop_when"] > FLOOR_S


def test_work_in_a_destructor_is_counted_where_it_is_done(bench):
    class Trigger:
        def __init__(self, run):
            self.run = run

        def __del__(self):
            on_the_side(self.run)

    def build_student(self, run):
        self.trigger = Trigger(run)
        return Learner(run.new_student())

    def drop(self, run):
        del self.trigger

    def schedule(self):
        return [Phase("train", prepare=self.drop)]

    dropped = bench.run(cheat(build_student=build_student, schedule=schedule, drop=drop)).outside
    assert dropped["prepare"] > FLOOR_S
    kept = bench.run(cheat(build_student=build_student)).outside
    assert kept["__del__"] > FLOOR_S


def test_a_child_process_that_trains_is_paid_as_the_worker_itself(bench):
    busy = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"

    def build_student(self, run):
        subprocess.run([sys.executable, "-c", busy], check=True)
        return Learner(run.new_student())

    assert bench.run(cheat(build_student=build_student)).outside["build_student"] > 0.4 / torch.get_num_threads()


def test_an_honest_method_takes_next_to_nothing(bench, synthetic):
    def build_student(self, run):
        student = run.new_student()
        channels = run.task.shapes(student).feature_map[0]
        return Learner(student, {"adapter": torch.nn.Conv2d(channels, channels, 1)})

    def loss(self, step):
        adapted = step.apply(step.learner.helpers["adapter"], step.student.feature_map)
        return {"task": step.task.loss(step.student, step.targets), "adapter": adapted.square().mean()}

    row = bench.row(cheat(build_student=build_student, loss=loss), synthetic)
    assert row["status"] == "done"
    assert row["outside_s"] < FLOOR_S


def test_a_copy_of_the_student_that_is_trained_on_the_side_is_as_unpaid(bench, synthetic):
    def build_student(self, run):
        student = run.new_student()
        trained(copy.deepcopy(student), run.task, run.split, steps=3 * SIDE_STEPS)
        return Learner(student)

    assert bench.row(cheat(build_student=build_student), synthetic)["status"] == "unpaid"
