"""What tests of several plugins share."""

import dataclasses

import pytest

from kdarena.execute.train import Training
from kdarena.plan.spec import PhaseCost
from kdarena.tracks import find_card
from kdarena.tracks.classification import models
from kdarena.tracks.values import Setting


@pytest.fixture(scope="module")
def small_msdnet():
    """Makes a small MSDNet of two earlier exits an architecture of the track, and gives its name."""
    small = models.Architecture("msdnet", "MSDNet", {"blocks": 3, "base": 3, "step": 1, "channels": 4, "growth": 2}, exits=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.ARCHITECTURES, "small-msdnet", small)
        yield "small-msdnet"


@pytest.fixture
def digits(small_msdnet):
    """The digits with a student of the caller's choice; by default a small MSDNet of two earlier exits."""

    def load(student=small_msdnet, precision="fp32"):
        exits = models.ARCHITECTURES[student].exits
        chosen = dataclasses.replace(find_card("digits"), student=student, exits=exits, branches=not exits)
        return chosen.load(chosen, Setting(precision=precision))

    return load


@pytest.fixture
def count_updates():
    """Trains a run for six steps of each phase that takes a share; gives the updates of the deployed student, and the steps of each phase."""

    def count(run):
        costs = [PhaseCost(phase.name, phase.steps, phase.share, 1.0, None, None, 0) for phase in run.phases]
        training = Training(run.hooks, run, run.phases, costs, float(sum(phase.steps or 6 for phase in run.phases)))
        steps = {phase.name: phase.steps for phase in training().phases}
        return training.student_updates(), steps

    return count
