"""Methods that are cheap where they take themselves to be measured, and expensive in their runs: each is found by its runs."""

import sys
from dataclasses import replace

import pytest
import torch

from benchmarks.tools import SHORT
from kdarena import Method, Paper, hookimpl, no_teachers
from kdarena.board.leaderboard import leaderboard_frame
from kdarena.execute.execute import execute, execute_profile
from kdarena.execute.workspace import Workspace
from kdarena.method.plugin import STUDENT, Plugin
from kdarena.plan.cost import ProfileSpec
from kdarena.plan.profile_parts import combined
from kdarena.plan.spec import Budget, RunSpec
from kdarena.plan.specs import phase_costs
from kdarena.tracks import find_card

pytestmark = pytest.mark.benchmark  # prices are compared with what runs took, which a neighbour disturbs
DATA = find_card("digits").digest(None)
PARTS = range(3)
PROFILE = ProfileSpec("digits", "cheat", "", {}, (), "validated", DATA, "fp32", "cpu", "", 1, "", "", True)
SEEDS = [seed for seed in range(5) if seed not in {replace(PROFILE, part=part).seed for part in PARTS}]
"""Of the runs: a method that knows the seeds of its profile has none of them."""


def files():
    """The files of the functions that are under way."""
    frame = sys._getframe(1)
    while frame is not None:
        yield frame.f_code.co_filename
        frame = frame.f_back


class Cheat:
    method = Method("cheat", "t", Paper("t", "v", 2026, "u"), teachers=no_teachers)

    def measured(self, step):
        return False

    @hookimpl
    def loss(self, step):
        if not self.measured(step):
            for _ in range(8):  # far more than the limit of 15 %, on any processor and next to any neighbour
                with torch.no_grad():
                    step.task.forward(step.learner.student, step.inputs)
        return {"task": step.task.loss(step.student, step.targets)}


class Honest(Cheat):
    pass


class ByTheCallStack(Cheat):
    def measured(self, step):
        return any(name.endswith("execute/profile.py") for name in files())


class ByTheFileOfTheLoop(Cheat):
    def measured(self, step):
        return next(name for name in files() if name.endswith(("execute/train.py", "execute/profile.py"))).endswith("profile.py")


class ByTheSeed(Cheat):
    def measured(self, step):
        return step.run.seed in {replace(PROFILE, part=part).seed for part in PARTS}


class ByTheProgress(Cheat):
    highest, lower = -1.0, 0

    def measured(self, step):
        progress = float(step.progress)
        self.lower += progress < self.highest
        self.highest = max(progress, self.highest)
        return self.lower > 0


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recognised")
    return Workspace(folder, folder)


def measured(methods, workspace):
    """The cost profiles of some methods: part by part, in turns, as a command measures them."""
    parts = [{method: execute_profile(replace(PROFILE, method=method, part=part), workspace) for method in methods} for part in PARTS]
    return {method: combined([part[method] for part in parts]) for method in methods}


def runs_of(profiles, workspace):
    """Specs of the runs of the methods that were profiled, and their results: seed by seed, as a command does them."""
    student_s = profiles["student"].student_s
    for seed in SEEDS:
        for method, measured in profiles.items():
            spec = RunSpec("digits", method, "", "final", seed, Budget(240 * student_s, "s"), phase_costs(measured, "s", student_s), data=DATA)
            result = execute(spec, workspace)
            assert result.status == "done", result.error
            yield spec, result


def row(cheat, workspace, synthetic, monkeypatch):
    monkeypatch.setattr(workspace, "plugin", lambda name, source: STUDENT if name == "student" else Plugin("cheat", cheat, Cheat.method))
    profiles = measured(("student", "cheat"), workspace)
    assert [profile.status for profile in profiles.values()] == ["done", "done"], profiles["cheat"].error
    frame = leaderboard_frame([synthetic.recorded(spec, result) for spec, result in runs_of(profiles, workspace)], {})
    return next(row for row in frame.to_dict("records") if row["method"] == "cheat")


@pytest.mark.parametrize("cheat", [ByTheCallStack, ByTheProgress] if SHORT else [ByTheCallStack, ByTheFileOfTheLoop, ByTheSeed, ByTheProgress])
def test_a_method_that_is_cheap_in_its_profile_alone_is_underpriced(cheat, workspace, synthetic, monkeypatch):
    found = row(cheat, workspace, synthetic, monkeypatch)
    assert (found["status"], found["rank"]) == ("underpriced", None)
    assert "above its price" in found["status_note"]


def test_a_method_that_costs_as_much_in_its_profile_as_in_its_runs_pays_its_price(workspace, synthetic, monkeypatch):
    found = row(Honest, workspace, synthetic, monkeypatch)
    assert found["cost_spent"] == pytest.approx(found["step_cost"], rel=0.6)  # a neighbour shifts it by up to 40 %; the methods above pay a third
    assert found["step_cost"] > 1.6
