"""Which runs have a parent in common in MLflow, how they are called, and what is said of them together."""

import math

import pytest

from kdarena.method.declaration import REFERENCE
from kdarena.plan.request import SWEPT
from kdarena.plan.spec import Budget
from kdarena.record.mlflow_parents import family, means, name_of_run

HALF = Budget(30.0, "s")


@pytest.mark.parametrize(
    ("method", "setting", "spec", "parent", "child"),
    [
        ("kd", "default", {}, "kd", "kd seed 3"),
        ("kd", "default", {"params": {"tau": 2.0}, "recipe": {"lr": 0.1}}, "kd tau=2.0, lr=0.1", "kd tau=2.0, lr=0.1 seed 3"),
        ("kd", "tuned", {"params": {"tau": 4.0}}, "kd tuned", "kd tuned seed 3"),
        ("kd", "trial", {"purpose": "tune", "params": {"tau": 4.0}}, "kd trials", "kd trial seed 3"),
        ("student", "ladder:0.5", {"purpose": "control", "budget": HALF}, "student ladder", "student ladder:0.5 seed 3"),
        ("kd", SWEPT, {"purpose": "control", "params": {"tau": 1.0}}, "kd tau=1.0", "kd tau=1.0 seed 3"),
        ("student", "teacher", {"purpose": "teacher", "trains": REFERENCE}, "teachers", "teacher teacher seed 3"),
    ],
)
def test_a_run_and_its_parent_are_called_by_method_setting_and_seed(synthetic, method, setting, spec, parent, child):
    run = synthetic.run(method, 3, setting=setting, **spec)
    assert (family(run).name, name_of_run(run, family(run))) == (parent, child)


def test_methods_that_do_not_apply_have_one_parent(synthetic):
    runs = [synthetic.failed(method, 0, "skipped", "needs attention") for method in ("pid", "sid")]
    assert {family(run).name for run in runs} == {"does not apply"}
    assert len(keys(*runs)) == 1


def keys(*runs):
    return {family(run).key for run in runs}


def test_seeds_of_a_setting_trials_of_a_method_and_rungs_of_a_ladder_have_one_parent(synthetic):
    assert len(keys(*synthetic.runs("kd", [90.0, 91.0, 92.0]))) == 1
    assert len(keys(*(synthetic.run("kd", 7, setting="trial", purpose="tune", params={"tau": tau}) for tau in (1.0, 2.0)))) == 1
    assert len(keys(*(synthetic.run("student", 0, setting=f"ladder:{part}", purpose="control", budget=Budget(60 * part, "s")) for part in (0.5, 0.25)))) == 1


def test_runs_of_another_setting_budget_code_or_teacher_have_another_parent(synthetic):
    others = ({"params": {"tau": 2.0}}, {"budget": HALF}, {"code": "other"}, {"reference": "other"}, {"source": "other"})
    assert len(keys(synthetic.run("kd"), *(synthetic.run("kd", **changes) for changes in others))) == 6


def test_a_mean_is_over_the_runs_that_are_done_and_have_the_value(synthetic):
    runs = [synthetic.run("kd", 0, metrics={"test/top1": 90.0, "test/nll": math.nan}), synthetic.run("kd", 1, metrics={"test/top1": 92.0, "test/nll": 0.5})]
    found = means([*runs, synthetic.failed("kd", 2)])
    assert (found["test/top1"], found["test/nll"], found["seeds"]) == (91.0, 0.5, 2.0)
    assert found["budget/spent_s"] == 61.0
