"""Steps of every method are captured and replayed without their Python, or their phase says why not."""

import dataclasses
import functools
import importlib
from pathlib import Path

import pytest

from kdarena import NotApplicable
from kdarena.execute.captured_steps import COMPARED, FREE, key_of
from kdarena.execute.train import begin_phase
from kdarena.method.discovery import discover
from kdarena.params import make_params
from kdarena.testing.replays import Replays
from kdarena.testing.run import make_run
from kdarena.tracks import cards, find_card
from kdarena.tracks.values import Setting

STEPS = FREE + COMPARED + 2
"""Of a phase: those before the capture, the captured one, and one that replays it."""
BATCH = 8

EAGER = {
    ("quest", "kmeans"): "(kmeans.",
    ("ts", "decode"): "it makes a tensor of Python numbers in every step",
    ("ts-seq", "decode"): "it makes a tensor of Python numbers in every step",
}
"""Phases that can't be captured, by method and phase, with a part of the reason; the plugin's README has it too."""

WITH_EXITS = dataclasses.replace(find_card("digits"), name="digits-with-exits", student="small-msdnet", exits=2, branches=False)
"""The digits with a student that has earlier exits, which no embedded task has by default."""
CARDS = {card.name: card for card in (*(card for card in cards() if card.embedded), WITH_EXITS)}
PLUGINS = {plugin.name: plugin for plugin in discover()}


def _pairs():
    """Every method with every task on which it runs; a broken plugin once, which fails."""
    for name, plugin in PLUGINS.items():
        if plugin.method is None:
            yield name, next(iter(CARDS))
            continue
        params = make_params(plugin.method.Params, {})
        yield from ((name, task) for task, card in CARDS.items() if plugin.method.reason_against(card, params) is None)


PAIRS = list(_pairs())
FIRST = list({name: (name, task) for name, task in reversed(PAIRS)}.values())
REST = [pair for pair in PAIRS if pair not in FIRST]


@pytest.fixture(scope="module")
def load(small_msdnet):
    """Loads each task once, with small batches."""

    @functools.cache
    def loaded(name):
        card = CARDS[name]
        card = dataclasses.replace(card, recipe=dataclasses.replace(card.recipe, batch_size=BATCH))
        return card.load(card, Setting())

    return loaded


def take(run, phase, most):
    """The first steps of a phase, on batches of one shape."""
    stepper, batches = begin_phase(run.hooks, run, phase, run.bound, run.augmented)
    steps = most if phase.steps is None else min(most, phase.steps)
    batch = next(batches)
    shape = key_of(batch)
    for number in range(steps):
        stepper.take(batch, number / steps, number / steps)
        batch = next(other for other in batches if key_of(other) == shape)
    run.bound = {bound.name: bound for bound in stepper.bound}


def captured(name, task, steps):
    """Takes steps of all phases of a method; each replayed one is compared with the same step in Python. Gives the double of the capture."""
    plugin = PLUGINS[name]
    assert plugin.error is None, plugin.error
    try:
        run = make_run(plugin.implementation, task)
    except NotApplicable as reason:
        if task.card.name != WITH_EXITS.name:
            raise
        pytest.skip(f"only the networks show it: {reason}")
    run.hooks.capture = Replays(checked=True, tolerance=1e-6)
    for phase in run.phases:
        take(run, phase, steps)
    assert run.hooks.eager.keys() == {phase for method, phase in EAGER if method == name}, run.hooks.eager
    assert all(EAGER[name, phase] in reason for phase, reason in run.hooks.eager.items()), run.hooks.eager
    return run.hooks.capture


@pytest.mark.parametrize(("name", "task"), FIRST)
def test_a_replayed_step_does_what_the_same_step_does_in_python(name, task, load):
    assert captured(name, load(task), STEPS).replayed >= 1


@pytest.mark.parametrize(("name", "task"), REST)
def test_all_steps_of_a_phase_are_the_same_operations_on_the_same_tensors(name, task, load):
    captured(name, load(task), FREE + COMPARED)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "task"), REST)
def test_a_replayed_step_does_so_on_every_other_task(name, task, load):
    assert captured(name, load(task), STEPS).replayed >= 1


@pytest.mark.parametrize(("name", "phase"), EAGER)
def test_why_a_phase_is_eager_is_in_the_readme_of_its_plugin(name, phase):
    module = PLUGINS[name].implementation.__module__.partition(".")[0]
    readme = (Path(importlib.import_module(module).__file__).parent / "README.md").read_text()
    assert f"`{phase}`" in readme and "captured" in readme
