"""What is scored is the student's weights in a network that no hook has seen, by functions that no hook has replaced."""

import torch
from execute.cheats.tools import cheat, method
from safetensors.torch import load_file

import kdarena.tracks.metrics
from kdarena import Learner
from kdarena.method.declaration import reference_teacher
from kdarena.tracks.checkpoints import load_into
from kdarena.tracks.task import Task
from kdarena.tracks.values import Split


def answers_as_the_teacher(self, run, teacher):
    student = run.new_student()
    original = student.forward
    student.forward = lambda x: original(x) if student.training else teacher(x)
    return Learner(student)


def test_a_student_whose_forward_is_the_teachers_scores_as_its_own_weights_do(bench):
    plain, result = bench.run(cheat()), bench.run(cheat(method(teachers=reference_teacher), build_student=answers_as_the_teacher))
    assert result.status == "done"
    assert (result.metrics, result.weights) == (plain.metrics, plain.weights)


def test_a_trial_is_scored_so_too(bench):
    plain = bench.run(cheat(), purpose="tune")
    result = bench.run(cheat(method(teachers=reference_teacher), build_student=answers_as_the_teacher), purpose="tune")
    assert result.metrics == plain.metrics


def test_what_is_written_scores_as_the_run_says(bench):
    result = bench.run(cheat())
    network = bench.task.new_network("toy-student")
    load_into(network, bench.folder / result.checkpoint)
    assert bench.task.evaluate(network, "test", Split(0))["top1"] == result.metrics["test/top1"]
    assert load_file(bench.folder / result.checkpoint).keys() == network.state_dict().keys()


def replacing(owner, name, function):
    """A method that puts a function in the place of another."""

    def build_student(self, run):
        setattr(owner, name, function)
        return Learner(run.new_student())

    return cheat(build_student=build_student)


def all_right(logits, targets, reference=None):
    return {"top1": 100.0}


def test_a_metric_that_was_replaced_is_an_error_that_names_it(bench, monkeypatch):
    monkeypatch.setattr(kdarena.tracks.metrics, "all_metrics", kdarena.tracks.metrics.all_metrics)
    result = bench.run(replacing(kdarena.tracks.metrics, "all_metrics", all_right))
    assert (result.status, dict(result.metrics)) == ("error", {})
    assert "replaced kdarena.tracks.metrics.all_metrics while it ran" in result.error


def test_an_evaluation_that_was_replaced_in_the_class_of_tasks_is_an_error_that_names_it(bench, monkeypatch):
    monkeypatch.setattr(Task, "evaluate", Task.evaluate)
    result = bench.run(replacing(Task, "evaluate", lambda self, *arguments, **named: {"top1": 100.0}))
    assert (result.status, ".Task.evaluate while it ran" in result.error) == ("error", True)


def test_a_function_of_torch_that_was_replaced_is_an_error_that_names_it(bench, monkeypatch):
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", torch.nn.functional.cross_entropy)
    result = bench.run(replacing(torch.nn.functional, "cross_entropy", lambda *arguments, **named: torch.zeros((), requires_grad=True)))
    assert result.status == "error"


def test_a_hook_on_all_modules_is_an_error_that_names_it(bench):
    handles = []

    def build_student(self, run):
        handles.append(torch.nn.modules.module.register_module_forward_hook(lambda module, inputs, output: None))
        return Learner(run.new_student())

    try:
        result = bench.run(cheat(build_student=build_student))
    finally:
        handles[0].remove()
    assert (result.status, "number of hooks on all modules" in result.error) == ("error", True)


def test_a_metric_that_was_replaced_in_the_runs_own_task_scores_nothing(bench):
    def build_student(self, run):
        run.task.evaluate = run.task.metrics = lambda *arguments, **named: {"top1": 100.0}
        type(run.task).evaluate = lambda *arguments, **named: {"top1": 100.0}
        return Learner(run.new_student())

    result = bench.run(cheat(build_student=build_student))
    assert (result.status, result.metrics) == ("done", bench.run(cheat()).metrics)
