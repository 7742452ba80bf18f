"""The rows on the track's embedded tasks."""

import math

import pytest
from kdarena_structured import method, variants

from kdarena.testing.run import make_run, take_steps
from kdarena.tracks import find_card
from kdarena.tracks.values import Setting

PI, PI_PA, STRUCTURED = variants


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("name", "terms"), [("scenes", {"mc", "pi", "pa", "ho"}), ("scenes-depth", {"mc", "pa", "ho"})])
def test_they_train_there(name, terms, precision):
    card = find_card(name)
    run = make_run(STRUCTURED, card.load(card, Setting(precision=precision)))
    history = take_steps(run, 2)
    assert set(history[0]) == {f"student/{term}" for term in terms} | {"critic/ho", "critic/gp"}
    assert all(math.isfinite(value) for step in history for value in step.values())
    run.check_teachers()


def test_depth_has_two_of_the_three_rows():
    card = find_card("scenes-depth")
    assert [plugin.method.name for plugin in variants if plugin.method.reason_against(card, plugin.method.Params()) is None] == [
        "structured-pi-pa",
        "structured",
    ]


def test_the_pyramids_map_is_compared(monkeypatch):
    card = find_card("scenes")
    run = make_run(PI_PA, card.load(card, Setting()))
    seen = []
    monkeypatch.setattr(method, "nodes", lambda one, patch, pool: seen.append(one.shape) or one)
    take_steps(run, 1)
    shapes = [run.task.shapes(network).features["psp"] for network in (run.learner.student, run.teacher)]
    assert [tuple(shape[1:]) for shape in seen] == shapes
