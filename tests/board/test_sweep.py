"""A sweep: what is read, what is run, and its table and curve."""

import json
import math
from dataclasses import dataclass, replace
from xml.etree import ElementTree

import pytest
from scipy import stats

from kdarena.arena.method_runs import MethodRuns
from kdarena.board.sweep import Sweep, draw, parse_sweep, sweep_frame
from kdarena.errors import UserError
from kdarena.method.declaration import REFERENCE
from kdarena.method.plugin import Plugin
from kdarena.params import Choice as OneOf
from kdarena.params import Flag, Float, Int, Params
from kdarena.plan.allocation import LADDER, Allocation
from kdarena.plan.conditions import Conditions
from kdarena.plan.entrants import Entrant
from kdarena.plan.machine import Machine
from kdarena.plan.spec import PhaseCost
from kdarena.tracks import find_card

STUDENT = {0: 88.0, 1: 89.0, 2: 88.5}


@dataclass(frozen=True)
class SomeParams(Params):
    sigma: float = Float(0.1, 0.01, 1.0, source="paper")
    peers: int = Int(2, 2, 5, source="paper", cost=True)
    kind: str = OneOf("cosine", ("cosine", "linear"), source="ours")
    deep: bool = Flag(False, source="ours")


@pytest.fixture
def found(synthetic):
    noisy, plain = synthetic.method("noisy", Params=SomeParams), synthetic.method("student")
    return [Plugin("noisy", object(), noisy), Plugin("student", object(), plain), Plugin("sad", error="ModuleNotFoundError")]


# what is read
@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("noisy.sigma=0.01,0.1, 1", (0.01, 0.1, 1.0)),
        ("noisy.sigma=5", (5.0,)),
        ("noisy.peers=2,3", (2, 3)),
        ("noisy.kind=linear,cosine", ("linear", "cosine")),
        ("noisy.deep=no,yes", (False, True)),
    ],
)
def test_values_are_read_as_the_parameter_has_them(found, text, values):
    sweep = parse_sweep(text, found)
    assert sweep.values == values
    assert [type(value) for value in sweep.values] == [type(value) for value in values]
    assert sweep.title == text.partition("=")[0]


def test_a_value_that_is_given_twice_is_run_once_and_the_order_is_kept(found):
    assert parse_sweep("noisy.sigma=0.1,0.01,1e-1", found).values == (0.1, 0.01)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected METHOD.NAME=a,b,c"),
        ("noisy", "expected METHOD.NAME=a,b,c"),
        ("noisy.sigma", "expected METHOD.NAME=a,b,c"),
        ("noisy.sigma=", "expected METHOD.NAME=a,b,c"),
        ("noisy=1,2", "expected METHOD.NAME=a,b,c"),
        ("loud.sigma=1", "unknown plugin 'loud'; known: noisy, student"),
        ("sad.sigma=1", "unknown plugin 'sad'"),
        ("noisy.tau=1", "noisy has no parameter 'tau'; known: sigma, peers, kind, deep"),
        ("student.lr=1", "student has no parameter 'lr'; known: none"),
        ("noisy.sigma=1,warm", "'warm' is not a finite number"),
        ("noisy.sigma=1,,2", "'' is not a finite number"),
        ("noisy.sigma=1,nan", "'nan' is not a finite number"),
        ("noisy.peers=2.5", "'2.5' is not a whole number"),
        ("noisy.kind=cosine,cubic", "'cubic' is not one of cosine, linear"),
        ("noisy.deep=perhaps", "'perhaps' is not true or false"),
    ],
)
def test_a_sweep_that_makes_no_sense_says_what_was_expected_in_one_line(found, text, says):
    with pytest.raises(UserError) as caught:
        parse_sweep(text, found)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"sweep {text!r}: ")
    assert "\n" not in str(caught.value)


# what is run
def jobs_of(synthetic, method, swept):
    """The final runs of a method, without tuning."""
    conditions = Conditions(find_card("digits"), Machine("cpu", ("cpu",), 1, False), "fp32", "data", "validated", ("gap",))
    costs = (PhaseCost("train", None, 1.0, 0.01, 1.0, 0.005, 1000),)
    entrant = Entrant(Plugin(method, object(), synthetic.method(method, Params=SomeParams)), {"sigma": 0.5}, {}, (), changed_params={"sigma": 0.5})
    allocation = Allocation(amount=60.0, unit="s", tuning=0.0, seeds=2, stated="60s", notes=())
    return MethodRuns(entrant, conditions, {REFERENCE: "key"}, costs, allocation, 60.0, 0.5, swept).final_jobs(None)


def test_runs_of_the_swept_method_are_controls_with_the_value_and_the_metrics_asked_for(synthetic):
    jobs = jobs_of(synthetic, "noisy", "noisy")
    assert [(job.setting, job.spec.purpose, job.spec.seed) for job in jobs] == [("sweep", "control", 0), ("sweep", "control", 1)]
    assert all(job.spec.params == {"sigma": 0.5} and job.spec.metric_groups == ("gap",) for job in jobs)


def test_the_student_beside_a_sweep_is_a_final_run_and_climbs_no_ladder(synthetic):
    assert [(job.setting, job.spec.purpose) for job in jobs_of(synthetic, "student", "noisy")] == [("default", "final")] * 2
    ladder = [job for job in jobs_of(synthetic, "student", None) if job.setting.startswith("ladder")]
    assert len(ladder) == 2 * len(LADDER)
    assert all(job.spec.metric_groups == () for job in ladder)


def test_a_swept_run_is_never_taken_for_a_final_one(synthetic):
    (swept, _), (final, _) = jobs_of(synthetic, "noisy", "noisy"), jobs_of(synthetic, "noisy", None)
    assert swept.spec.key != final.spec.key
    assert replace(swept.spec, purpose="final") == final.spec


# the table
def swept(synthetic, values, **changes):
    """Runs of one value by seed."""
    return {seed: synthetic.run("noisy", seed, value, purpose="control", setting="sweep", **changes) for seed, value in enumerate(values)}


SIGMA = Sweep("noisy", "sigma", (0.01, 0.1, 1.0), 0.1)


def test_each_value_has_a_row_in_the_order_given_with_mean_interval_and_difference_by_seed(synthetic):
    found = sweep_frame(SIGMA, {0.1: swept(synthetic, [90.0, 91.5, 90.6]), 0.01: swept(synthetic, [89.0, 89.5, 89.1])}, STUDENT, "top1")
    assert list(found["value"]) == [0.01, 0.1, 1.0]
    row = found.to_dict("records")[1]
    low, high = stats.t.interval(0.95, 2, loc=90.7, scale=stats.sem([90.0, 91.5, 90.6]))
    assert (row["mean"], row["ci_low"], row["ci_high"]) == pytest.approx((90.7, low, high))
    assert row["delta_student"] == pytest.approx((2.0 + 2.5 + 2.1) / 3)
    assert (row["seeds"], row["status"], row["steps"], len(row["run_ids"])) == (3, "done", 6000, 3)


def test_a_value_without_runs_is_missing_and_not_made_up(synthetic):
    row = sweep_frame(SIGMA, {}, STUDENT, "top1").to_dict("records")[0]
    assert (row["status"], row["mean"], row["delta_student"], row["seeds"], row["steps"], row["run_ids"]) == ("missing", None, None, 0, None, [])


def test_what_is_missing_of_one_value_is_none_beside_the_numbers_of_others(synthetic):
    runs = {seed: synthetic.run("noisy", seed, metrics={"test/top1": 90.0, "test/generalisation": 4.0}) for seed in range(3)}
    for name, values in sweep_frame(SIGMA, {0.1: runs}, STUDENT, "top1").items():
        assert not [value for value in values if isinstance(value, float) and math.isnan(value)], name


def test_a_value_whose_runs_failed_says_so(synthetic):
    runs = {**swept(synthetic, [90.0, 91.0]), 2: synthetic.failed("noisy", 2, purpose="control")}
    row = sweep_frame(SIGMA, {0.1: runs}, STUDENT, "top1").to_dict("records")[1]
    assert (row["status"], row["seeds"], row["mean"], len(row["run_ids"])) == ("2 done, 1 diverged", 2, 90.5, 2)


def test_a_rows_further_metrics_are_means_over_seeds(synthetic):
    runs = {seed: synthetic.run("noisy", seed, metrics={"test/top1": 90.0, "test/generalisation": 4.0 + seed}) for seed in range(3)}
    assert json.loads(sweep_frame(SIGMA, {0.1: runs}, STUDENT, "top1")["further_json"][1]) == {"generalisation": 5.0}


def texts(path):
    return {"".join(one.itertext()).strip() for one in ElementTree.parse(path).getroot().iter("{http://www.w3.org/2000/svg}text")}


def test_the_curve_names_the_parameter_its_values_and_every_further_series(synthetic, tmp_path, monkeypatch):
    from matplotlib import rcParams

    monkeypatch.setitem(rcParams, "svg.fonttype", "none")
    frame = sweep_frame(SIGMA, {0.1: swept(synthetic, [90.0, 91.5, 90.6]), 1.0: swept(synthetic, [92.0])}, STUDENT, "top1")
    draw(frame, {"generalisation": [None, 5.0, 6.0], "pgd20": [None, None, None]}, 88.5, tmp_path / "curve.svg")
    assert {"noisy.sigma", "0.01", "0.1", "1.0", "test top1", "generalisation", "student alone"} <= texts(tmp_path / "curve.svg")
    assert "pgd20" not in texts(tmp_path / "curve.svg")


def test_a_sweep_without_any_result_has_an_empty_curve(tmp_path):
    draw(sweep_frame(SIGMA, {}, {}, "top1"), {}, None, tmp_path / "curve.svg")
    assert ElementTree.parse(tmp_path / "curve.svg").getroot().tag.endswith("svg")
