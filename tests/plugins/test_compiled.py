"""Every method trains compiled as it trains plainly, on every embedded task."""

import pytest
import torch

from kdarena.execute.compile_ahead import compile_ahead
from kdarena.method.discovery import discover
from kdarena.params import make_params
from kdarena.testing.run import make_run, take_steps
from kdarena.tracks import compiled, find_card
from kdarena.tracks.compiled import Compiled
from kdarena.tracks.values import Setting

TOLERANCE = 1e-4
"""Of a term of the loss, relative."""


def histories(plugin, task, compiles):
    run = make_run(plugin.implementation, task)
    if compiles:
        run.task.call = Compiled(task.card.recipe.batch_size)
    return {phase.name: take_steps(run, min(3, phase.steps or 3), phase.name) for phase in run.phases}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["digits", "grammar", "tones", "scenes", "scenes-boxes", "scenes-depth"])
def test_every_method_trains_compiled_as_it_trains_plainly(name, monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    task = find_card(name).load(find_card(name), Setting())
    compile_ahead(task)
    plain_call = task.call
    for plugin in discover():
        method = plugin.method
        if plugin.error or method is None or method.reason_against(task.card, make_params(method.Params, {})):
            continue
        plain, other = histories(plugin, task, compiles=False), histories(plugin, task, compiles=True)
        task.call = plain_call
        for phase, steps in plain.items():
            for step, (terms, compiled_terms) in enumerate(zip(steps, other[phase], strict=True)):
                assert compiled_terms == pytest.approx(terms, rel=TOLERANCE, abs=1e-6), (method.name, phase, step)
    torch._dynamo.reset()
