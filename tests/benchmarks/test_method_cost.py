"""What a step of every method costs, in operations, against the forward and backward passes that its equations need."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from benchmarks import tools
from kdarena.method.discovery import discover
from kdarena.testing.run import make_run, take_steps
from kdarena.tracks.measure import count_operations

BATCH = 4 if tools.SHORT else 16
SMALL = {"quest": {"words": 256, "images": 64, "iterations": 5}, "crd": {}}
"""Parameters of what is fitted before training, so that a benchmark of a step need not fit for long."""
CALLS = {"afd": {"critic": 3}, "afd-large": {"critic": 3}, "afd-cycle": {"critic": 3}, "ksanc": {"critic": 3}}
"""Calls of a helper in one step where the equations need more than one: a critic sees real, fake, and the student's turn."""
BACKWARDS = {"afd": 2, "afd-large": 2, "afd-cycle": 2}
"""Backward passes through student and peers, where two optimisers take separate gradients of the same forward pass."""
METHODS = {one.name: one for one in discover() if one.method is not None and one.method.covers("classification")}


@pytest.fixture(scope="module")
def task():
    return tools.cifar_task("resnet32x4-resnet8x4", batch=BATCH)


@pytest.mark.benchmark
@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_step_makes_the_passes_that_its_equations_need_and_little_else(name, task):
    plugin = METHODS[name]
    params = SMALL.get(name, {})
    reason = plugin.method.reason_against(task.card, plugin.method.Params(**params))
    if reason is not None:
        pytest.skip(f"{name} does not run on this pair: {reason}")
    specs = plugin.method.teachers(task.card, plugin.method.Params(**params))
    teachers = [task.new_network(task.card.architecture(spec.architecture), dropout=spec.dropout).eval() for spec in specs]
    run = make_run(plugin.implementation, task, params, teachers=teachers)
    for phase in run.phases[:-1]:
        take_steps(run, 2 if phase.steps is None else min(2, phase.steps), phase.name)
    calls: list[tuple[str, torch.nn.Module, tuple[torch.Tensor, ...]]] = []
    handles = []

    def count(label, module):
        handles.append(module.register_forward_hook(lambda module, inputs, output: calls.append((label, module, tuple(one.detach() for one in inputs)))))

    last = run.phases[-1]
    take_steps(run, 1, last.name)  # caches are built, and the phase has begun: its networks are those that train
    for number, teacher in enumerate(run.teacher_modules()):
        count(f"teacher{number}", teacher)
    count("student", run.learner.student)
    for label, helper in run.learner.helpers.items():
        count(label, helper)
    run.phases[-1] = replace(last, prepare=None)  # a generation's networks must not be built anew
    spent = count_operations(lambda: take_steps(run, 1, last.name))
    for handle in handles:
        handle.remove()

    allowed = CALLS.get(name, {})
    for label, times in Counter(label for label, _, _ in calls).items():
        assert times <= allowed.get(label.rstrip("0123456789"), 1), f"{label} is called {times} times"
    needed = 0
    for label, module, inputs in calls:
        with torch.no_grad():
            forward = count_operations(lambda module=module, inputs=inputs: module(*inputs))
        backwards = BACKWARDS.get(name, 1) if label.startswith(("student", "peer")) else 1
        needed += forward * (1 if run.is_frozen(module) else 1 + 2 * backwards)
    print(f"\n{name}: {spent / 1e9:.2f} Gflop a step of {BATCH}, {spent / needed:.3f} of its passes")
    assert spent <= 1.15 * needed
