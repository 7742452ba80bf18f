"""While a method's hooks run, a task gives out its training part alone."""

import pytest
import torch
from execute.cheats.tools import cheat, method

from kdarena import Learner, Phase
from kdarena.testing.task import toy_task
from kdarena.tracks import find_card
from kdarena.tracks.values import Setting, Split

ASKED = {
    "part_batches": lambda run: next(run.task.part_batches("test", run.split)),
    "part_targets": lambda run: run.task.part_targets("validation", run.split),
    "evaluate": lambda run: run.task.evaluate(run.learner.student, "test", run.split),
    "evaluation": lambda run: run.task.evaluation("test", run.split).targets,
    "batch of test": lambda run: run.task.batch("test", torch.arange(4), torch.arange(4), None),
    "batch of validation": lambda run: run.task.batch("train", torch.tensor([run.task.parts.train - 1]), torch.arange(1), None),
    "another seed": lambda run: next(run.task.batches(Split(run.seed + 1), "plain")),
    "another protocol": lambda run: next(run.task.batches(Split(run.seed, "published"), "plain")),
    "reference_logits": lambda run: run.task.reference_logits(run.learner.student, "validation", run.split),
    "further_metrics": lambda run: run.task.further_metrics("gap", run.learner.student, run.split),
    "detection": lambda run: run.task.detection(run.learner.student, "train", run.split),
    "overlap": lambda run: run.task.overlap,
    "a task of its own": lambda run: toy_task(),
}


@pytest.mark.parametrize("asked", ASKED)
def test_what_a_hook_must_not_see_is_an_error_that_names_the_hook(bench, asked):
    result = bench.run(cheat(schedule=lambda self: [Phase("train", prepare=ASKED[asked])]))
    assert (result.status, dict(result.metrics)) == ("error", {})
    assert result.error.startswith("plugin 'cheat', hook 'prepare': ")


@pytest.mark.parametrize("hook", ["build_teacher", "build_student", "schedule", "loss"])
def test_each_hook_is_named(bench, hook):
    def ask(self, **given):
        run = given["run"] if "run" in given else given["step"].run
        return run.task.part_targets("test", run.split)

    hooks = {
        "build_teacher": lambda self, run: ask(self, run=run),
        "build_student": lambda self, run: ask(self, run=run),
        "schedule": lambda self, run: ask(self, run=run),
        "loss": lambda self, step: ask(self, step=step),
    }
    result = bench.run(cheat(**{hook: hooks[hook]}))
    assert (result.status, result.error) == (
        "error",
        f"plugin 'cheat', hook '{hook}': asks for the test part; until its last step a method sees train alone",
    )


def test_a_buffer_that_would_store_test_images_stays_empty(bench):
    def build_student(self, run):
        for batch in run.task.part_batches("test", run.split):
            self.bank = batch.inputs
        return Learner(run.new_student())

    result = bench.run(cheat(build_student=build_student))
    assert (result.status, "hook 'build_student': asks for the test part" in result.error) == ("error", True)


@pytest.mark.parametrize("name", ["digits", "scenes", "scenes-boxes", "scenes-depth", "grammar", "tones"])
def test_the_task_of_a_run_holds_no_tensor_or_array_of_test(name):
    card = find_card(name)
    task = card.load(card, Setting())
    bare = task.without_test()
    whole, left = held(task), held(bare)
    assert left < whole
    assert sum(len(text) == len(task.parts.rows("test", Split(0))) for text in sized(bare)) == 0


def sized(task):
    """Arrays, tensors and tuples that a task holds, a few levels down."""
    found, pending, seen = [], [(task, 0)], set()
    while pending:
        value, depth = pending.pop()
        if id(value) in seen or depth > 5:
            continue
        seen.add(id(value))
        if isinstance(value, (torch.Tensor,)) or type(value).__module__.startswith("numpy"):
            if getattr(value, "ndim", 0):
                found.append(value)
        elif isinstance(value, dict):
            pending += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, (list, tuple)):
            found.append(value)
            pending += [(item, depth + 1) for item in value[:50]]
        elif type(value).__module__.startswith("kdarena") and hasattr(value, "__dict__") and "card" not in type(value).__module__:
            pending += [(item, depth + 1) for key, item in vars(value).items() if key not in ("card", "parts", "setting")]
    return found


def held(task):
    """Values in all of them."""
    return sum(len(value) for value in sized(task))


def test_auxiliary_inputs_that_are_not_declared_are_an_error(bench):
    phase = bench.run(cheat(schedule=lambda self: [Phase("train", data="auxiliary")]))
    assert (phase.status, "hook 'schedule'" in phase.error, "set auxiliary=True" in phase.error) == ("error", True, True)
    drawn = bench.run(cheat(schedule=lambda self: [Phase("train", prepare=lambda run: next(run.task.auxiliary(run.split)))]))
    assert (drawn.status, "hook 'prepare': asks for the task's auxiliary inputs" in drawn.error) == ("error", True)


def test_auxiliary_inputs_that_are_declared_and_drawn_are_said(bench):
    taking = cheat(method(auxiliary=True), schedule=lambda self: [Phase("train", data="auxiliary")])
    assert bench.run(taking).taken == ("auxiliary data",)
    assert bench.run(cheat(method(auxiliary=True))).taken == ()


def test_a_report_sees_test_after_the_last_step(bench):
    def build_student(self, run):
        return Learner(run.new_student(), report=lambda evaluation: {"rows": len(evaluation.targets)})

    assert bench.run(cheat(build_student=build_student)).metrics["method/rows"] == 16
