"""Where the student's weights and the targets come from."""

import copy
import subprocess
import threading
import time

import pytest
import torch
from execute.cheats.tools import cheat, method, trained

from kdarena import NO_TEACHER, Learner, Phase, Update
from kdarena.board.leaderboard import leaderboard_frame
from kdarena.method.declaration import reference_teacher
from kdarena.plan.spec import Budget
from kdarena.record.declarations import Declaration
from kdarena.testing.task import toy_task


def flop(amount):
    return Budget(amount, "flop")


def other_start(run):
    """A student with other weights than those of the run."""
    student = run.new_student()
    with torch.no_grad():
        student.head.bias.add_(1)
    return student


def test_a_student_that_starts_from_other_weights_is_an_error_that_names_hook_and_tensor(bench):
    result = bench.run(cheat(build_student=lambda self, run: Learner(other_start(run))))
    assert result.status == "error"
    assert "hook 'build_student': tensor 'head.bias' of the student" in result.error


@pytest.mark.parametrize("hook", ["schedule", "prepare", "updates"])
def test_the_hook_that_changes_the_student_before_the_first_step_is_named(bench, hook):
    def change(run):
        with torch.no_grad():
            run.learner.student.head.bias.add_(1)

    def schedule(self, run):
        def updates(run):
            if hook == "updates":
                change(run)
            return [Update("student", run.learner.parameters())]

        if hook == "schedule":
            change(run)
        return [Phase("train", updates, prepare=change if hook == "prepare" else None)]

    result = bench.run(cheat(schedule=schedule))
    assert (result.status, f"hook '{hook}': tensor 'head.bias'" in result.error) == ("error", True)


def test_a_student_that_a_hook_trains_between_two_phases_is_an_error(bench):
    def train(run):
        trained(run.learner.student, run.task, run.split, steps=5)

    result = bench.run(cheat(schedule=lambda self: [Phase("first"), Phase("second", prepare=train)]), phases=("first", "second"), budget=flop(120))
    assert (result.status, "hook 'prepare'" in result.error, "nor what charged steps left" in result.error) == ("error", True, True)


def test_a_student_that_is_trained_where_a_phase_is_asked_whether_it_ends_is_an_error(bench):
    def train(run):
        trained(run.learner.student, run.task, run.split, steps=5)
        return False

    result = bench.run(cheat(schedule=lambda self: [Phase("first", stop_when=train), Phase("second")]), phases=("first", "second"), budget=flop(120))
    assert (result.status, "hook 'stop_when'" in result.error) == ("error", True)


def test_a_student_that_was_kept_on_disk_between_seeds_is_an_error(bench):
    def build_student(self, run):
        kept = bench.folder / "kept.pt"
        student = run.new_student()
        if kept.exists():
            student.load_state_dict(torch.load(kept))
        torch.save(trained(copy.deepcopy(student), run.task, run.split, steps=5).state_dict(), kept)
        return Learner(student)

    results = [bench.run(cheat(build_student=build_student), seed) for seed in (0, 1)]
    assert [result.status for result in results] == ["done", "error"]


def test_new_generations_and_phases_that_go_on_are_no_cheats(bench):
    def renew(run):
        run.learner = Learner(run.new_student(generation=1))

    phases = ("first", "second", "third")
    scheduled = [Phase("first"), Phase("second"), Phase("third", prepare=renew)]
    result = bench.run(cheat(schedule=lambda self: scheduled), phases=phases, budget=flop(150))
    assert (result.status, result.error) == ("done", None)


def test_a_method_that_inherits_may_start_from_its_teachers_tensors_alone(bench):
    def build_student(self, run, teacher):
        student = run.new_student()
        with torch.no_grad():
            student.head.bias.copy_(teacher.head.bias)
        return Learner(student)

    inheriting = method(teachers=reference_teacher, inherits=True)
    result = bench.run(cheat(inheriting, build_student=build_student))
    assert (result.status, result.taken) == ("done", ("pool teacher", "teacher's weights"))
    assert bench.run(cheat(method(teachers=reference_teacher), build_student=build_student)).status == "error"
    assert bench.run(cheat(inheriting, build_student=lambda self, run: Learner(other_start(run)))).status == "error"
    assert bench.run(cheat(inheriting)).taken == ("pool teacher",)


def test_a_helper_that_holds_the_student_under_another_name_is_an_error(bench):
    def build_student(self, run):
        student = run.new_student()
        return Learner(student, {"guide": torch.nn.Sequential(student)})

    result = bench.run(cheat(build_student=build_student))
    assert (result.status, "helper 'guide' holds parameters of the student" in result.error) == ("error", True)


# supervision as taken
def own_teacher(self, run):
    teacher = run.task.new_network("toy-teacher")
    return run.freeze(teacher)


def supervision(bench, synthetic, plugin, **declared):
    run = synthetic.recorded(bench.spec(plugin), bench.run(plugin))
    (row,) = leaderboard_frame([run], {"cheat": Declaration("paper", **declared)}).to_dict("records")
    return row["supervision"]


def test_a_teacher_of_its_own_is_said_although_none_is_declared(bench, synthetic):
    plugin = cheat(build_teacher=own_teacher)
    assert bench.run(plugin).taken == ("own teacher",)
    assert supervision(bench, synthetic, plugin) == "own teacher"


def test_a_teacher_in_the_place_of_the_declared_one_does_not_read_as_one_teacher(bench, synthetic):
    plugin = cheat(method(teachers=reference_teacher), build_teacher=own_teacher)
    assert bench.run(plugin).taken == ("own teacher",)
    assert supervision(bench, synthetic, plugin) == "one teacher and its own"
    assert supervision(bench, synthetic, cheat(method(teachers=reference_teacher))) == "one teacher"


def test_a_teacher_that_was_kept_on_disk_between_seeds_is_its_own(bench):
    kept = bench.folder / "teacher.pt"

    def build_teacher(self, run):
        teacher = run.task.new_network("toy-teacher")
        if kept.exists():
            teacher.load_state_dict(torch.load(kept))
        else:
            torch.save(trained(teacher, run.task, run.split, steps=5).state_dict(), kept)
        return run.freeze(teacher)

    assert [bench.run(cheat(build_teacher=build_teacher), seed).taken for seed in (0, 1)] == [("own teacher",)] * 2


def test_an_earlier_generation_of_the_run_is_no_further_supervision_and_other_weights_in_it_are(bench):
    def renewing(load):
        def renew(run):
            former = run.learner.student
            if load:
                with torch.no_grad():
                    former.head.bias.add_(1)
            run.set_teacher(former)
            run.learner = Learner(run.new_student(generation=1))

        return cheat(schedule=lambda self: [Phase("first"), Phase("second", prepare=renew)])

    taken = [bench.run(renewing(load), phases=("first", "second"), budget=flop(120)).taken for load in (False, True)]
    assert taken == [(), ("own teacher",)]


def test_a_method_without_a_teacher_takes_nothing(bench):
    assert bench.run(cheat(build_teacher=lambda self: NO_TEACHER)).taken == ()


def test_the_teacher_of_the_pool_is_said_also_where_students_start_from_its_weights(bench):
    class Pool:
        method = method(teachers=reference_teacher)

    bench.task = toy_task(student="toy-teacher", start="teacher")
    teacher = bench.spec(Pool).teachers[0][1]
    result = bench.run(Pool, start=teacher)
    assert (result.status, result.taken) == ("done", ("pool teacher",))


# left running
def test_a_thread_that_a_hook_leaves_running_is_an_error_that_names_both(bench):
    ended = threading.Event()

    def build_student(self, run):
        threading.Thread(target=ended.wait, name="trains on", daemon=True).start()
        return Learner(run.new_student())

    try:
        result = bench.run(cheat(build_student=build_student))
    finally:
        ended.set()
    assert result.status == "error"
    assert "hook 'build_student': it left thread 'trains on' running" in result.error


def test_a_process_that_a_hook_leaves_running_is_an_error_that_names_both(bench):
    started = []

    def loss(self, step):
        if not started:
            started.append(subprocess.Popen(["sleep", "60"]))
        return {"task": step.task.loss(step.student, step.targets)}

    try:
        result = bench.run(cheat(loss=loss))
    finally:
        started[0].kill()
        started[0].wait()
    assert result.status == "error"
    assert f"hook 'loss': it left process {started[0].pid} (sleep) running" in result.error


def test_a_thread_that_ends_with_its_hook_is_none(bench):
    def build_student(self, run):
        thread = threading.Thread(target=time.sleep, args=(0.01,))
        thread.start()
        return Learner(run.new_student())

    assert bench.run(cheat(build_student=build_student)).status == "done"
