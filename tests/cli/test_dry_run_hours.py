"""``--dry-run --device cuda`` where there is no CUDA."""

import pytest
import torch

from kdarena.arena import known_costs
from kdarena.plan.cost import CostProfile, PhaseProfile
from kdarena.plan.stated_rates import STATED

COMMAND = ["run", "--plugins", "kd", "--tasks", "cifar100:resnet56-resnet20", "--budget", "240se", "--seeds", "6", "--dry-run", "--device", "cuda"]
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")


@pytest.fixture
def _counted(monkeypatch):
    def profiles(entrants, conditions, request, *, timed, trainings, made_up, display):
        flops = {"student": STATED[0].student_flops, "kd": STATED[0].kd_flops, "resnet56": 3 * STATED[0].student_flops}
        names = [entrant.method.name for entrant in entrants] + [teacher.architecture for teacher in trainings]
        return {name: CostProfile(name, (PhaseProfile("train", None, 1.0, 0.1, int(flops[name])),), 703, None, 1.0, 1.0, 1) for name in names}

    monkeypatch.setattr(known_costs, "untrained_profiles", profiles)


@pytest.mark.usefixtures("_counted")
def test_a_command_for_a_gpu_that_is_not_here_is_estimated_in_hours_without_data_and_leaves_nothing(kdarena, tmp_path):
    done = kdarena(*COMMAND, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "a rough estimate for one device, NVIDIA H100, which this machine does not have" in said
    assert "the most trusted first: of 2 methods by counted operations, over those of the student's step" in said
    assert "not measured here but stated: kd on cifar100:resnet56-resnet20 took 21948 images a second, captured, on one NVIDIA H100" in said
    for part in ("1 teacher", "cost profiles of 2 methods", "tuning of 2 methods", "final runs: 2 methods x 6 seeds, controls", "total"):
        assert part in said
    assert list(tmp_path.iterdir()) == []
    assert "its data are not here" in done.stderr


@pytest.mark.usefixtures("_counted")
def test_the_estimate_is_the_product_of_methods_seeds_and_the_budget_s_time(kdarena, tmp_path):
    done = kdarena(*COMMAND, "--untuned", "--teacher-budget", "1epochs", cwd=tmp_path)
    line = next(line for line in done.stdout.splitlines() if line.startswith("total"))
    alone, together = (float(text) for text in line.split()[-2:])
    budget = 240 * 703 * 64 / 21948 * STATED[0].student_flops / STATED[0].kd_flops / 3600
    assert alone == pytest.approx((2 * 6 * 1.03 + 6 * 15 / 16) * budget, rel=0.03)
    assert together == pytest.approx(alone / (65106 / 21948), rel=0.03)


@pytest.mark.usefixtures("_counted")
def test_runs_that_are_not_to_be_side_by_side_are_estimated_one_after_the_other(kdarena, tmp_path):
    done = kdarena(*COMMAND, "--side-by-side", "1", cwd=tmp_path)
    alone, together = next(line for line in done.stdout.splitlines() if line.startswith("total")).split()[-2:]
    assert alone == together


def test_without_a_dry_run_it_is_still_refused_in_one_line(kdarena, tmp_path):
    arguments = [argument for argument in COMMAND if argument != "--dry-run"]
    done = kdarena(*arguments, "--out", tmp_path / "out")
    assert (done.returncode, len(done.stderr.strip().splitlines()), done.stdout) == (2, 1, "")


@pytest.mark.parametrize("budget", [["--total", "8h"], []])
def test_without_a_budget_the_dry_run_says_what_it_said_before(kdarena, tmp_path, budget):
    done = kdarena("run", "--plugins", "kd", "--tasks", "digits", "--dry-run", "--device", "cuda", *budget, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ("by declared costs" in done.stdout) is bool(budget)


@pytest.mark.slow
def test_operations_are_counted_by_workers_over_made_up_data(kdarena, tmp_path):
    done = kdarena(*[argument.replace("resnet56-resnet20", "resnet20-resnet8") for argument in COMMAND], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "of 2 methods by counted operations" in done.stdout
