"""What tests of several plugins share."""

import dataclasses

import pytest

from kdarena.tracks import find_card
from kdarena.tracks.classification import models
from kdarena.tracks.task import Setting


@pytest.fixture
def digits(monkeypatch):
    """The digits with a student of the caller's choice; by default a small MSDNet of two earlier exits."""
    small = models.Architecture("msdnet", "MSDNet", {"blocks": 3, "base": 3, "step": 1, "channels": 4, "growth": 2}, exits=2)
    monkeypatch.setitem(models.ARCHITECTURES, "small-msdnet", small)

    def load(student="small-msdnet", precision="fp32"):
        exits = models.ARCHITECTURES[student].exits
        chosen = dataclasses.replace(find_card("digits"), student=student, exits=exits, branches=not exits)
        return chosen.load(chosen, Setting(precision=precision))

    return load
