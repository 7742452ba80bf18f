"""The average of a student's weights, which is scored and exported where the recipe says so."""

import dataclasses
import math

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from kdarena.execute.average import Average, averaged
from kdarena.execute.execute import execute
from kdarena.execute.workspace import Workspace
from kdarena.plan.spec import Budget, CurvePlan, PhaseCost, RunSpec
from kdarena.tracks import find_card
from kdarena.tracks.recipe import Recipe

CARD = find_card("digits@modern")


def numbered(value):
    network = nn.BatchNorm1d(1)
    return set_to(network, value)


def set_to(network, value):
    with torch.no_grad():
        network.weight.fill_(value)
        network.running_mean.fill_(value)
        network.num_batches_tracked.fill_(int(value))
    return network


def test_the_average_begins_as_a_mean_and_forgets_by_progress():
    network = numbered(1.0)
    average = Average(network, span=0.5)
    for value, progress in ((1.0, 0.0), (3.0, 0.001), (5.0, 0.002)):
        set_to(network, value)
        average.add(progress)
    assert float(average.state()["weight"]) == pytest.approx(3.0)
    set_to(network, 0.0)
    average.add(0.502)  # one span later
    assert float(average.state()["weight"]) == pytest.approx(3.0 / math.e)
    assert float(average.state()["running_mean"]) == pytest.approx(3.0 / math.e)
    assert int(average.state()["num_batches_tracked"]) == 0


def test_another_network_has_its_own_weights():
    network, other = numbered(1.0), numbered(2.0)
    average = Average(network, span=0.5)
    average.add(0.0)
    assert float(averaged(average, other)["weight"]) == 2.0
    assert float(averaged(None, other)["weight"]) == 2.0


def of_student(steps=60, **changes):
    cost = PhaseCost("train", None, 1.0, 1.0, None, None, 10)
    made = RunSpec(CARD.name, "student", "", "final", 0, Budget(steps, "flop"), (cost,), data=CARD.digest(None))
    return dataclasses.replace(made, **changes)


def test_the_average_is_what_is_scored_exported_and_shown_on_the_curve(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(
        Average, "state", lambda average: kept.append(average) or {name: tensor.detach().clone() * 0 for name, tensor in average.network.state_dict().items()}
    )
    bench = Workspace(tmp_path, tmp_path)
    result = execute(of_student(curve=CurvePlan((0.5,), 50)), bench)
    assert result.status == "done", result.error
    assert len(kept) == 2  # at a half of the budget, and at its end
    assert all(float(tensor.abs().sum()) == 0 for tensor in load_file(tmp_path / result.checkpoint).values())
    assert result.metrics["test/top1"] == pytest.approx(10, abs=2)


def test_a_recipe_without_an_average_keeps_none(tmp_path, monkeypatch):
    monkeypatch.setattr(Average, "add", lambda average, progress: pytest.fail("averaged"))
    spec = dataclasses.replace(of_student(), task="digits", data=find_card("digits").digest(None))
    assert execute(spec, Workspace(tmp_path, tmp_path)).status == "done"
    assert Recipe(0.1, 0.0, 0.9, 64, 1).averaged == 0
