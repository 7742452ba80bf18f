"""How often methods update the student that they deploy, against their schedules; those that need a task of their own are tested with their plugin."""

import pytest

from kdarena.method.discovery import discover
from kdarena.testing.run import make_run
from kdarena.testing.task import toy_task

PLUGINS = {plugin.name: plugin for plugin in discover()}


@pytest.fixture
def trained(count_updates):
    """Trains a method on the toy task: updates of its deployed student, and the steps of each phase."""
    return lambda name, params=None: count_updates(make_run(PLUGINS[name].implementation, toy_task(), params))


@pytest.mark.parametrize("name", ["ban", "ban-cwtm", "ban-dkpp", "sfeed"])
@pytest.mark.parametrize("generations", [2, 3])
def test_a_method_of_generations_has_the_updates_of_its_last_one(trained, name, generations):
    updates, steps = trained(name, {"generations": generations})
    assert len(steps) == generations
    assert updates == steps[f"generation{generations - 1}"] < sum(steps.values())


def test_fitting_a_vocabulary_is_no_update(trained):
    updates, steps = trained("quest", {"words": 8, "iterations": 5})
    assert updates == steps["train"]
    assert steps["collect"] > 0 and steps["kmeans"] > 0


def test_training_the_estimators_is_no_update_of_the_student(trained):
    updates, steps = trained("ksanc")
    assert updates == steps["train"] < sum(steps.values())


def test_an_adversarial_update_of_the_students_features_is_one_more_a_step(trained):
    updates, steps = trained("afd")
    assert updates == 2 * steps["train"]


@pytest.mark.parametrize("name", ["student", "kd", "dml", "one", "crd"])
def test_a_method_of_one_phase_and_one_optimiser_has_an_update_a_step(trained, name):
    updates, steps = trained(name)
    assert updates == steps["train"]
