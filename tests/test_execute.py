import dataclasses
import json
import sys

import pytest

from kdarena.execute import Bench, execute, execute_calibration
from kdarena.plan import teacher_run
from kdarena.spec import Budget, PhaseCost, PruneRule, RunResult, RunSpec
from kdarena.tracks import card

DIGITS = card("digits")


def student(steps=60, **changes):
    cost = PhaseCost("train", None, 1.0, 1.0, None, None, 10)
    made = RunSpec("digits", "student", "", "final", 0, Budget(steps, "flop"), (cost,), data=DIGITS.digest(None))
    return dataclasses.replace(made, **changes)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path, tmp_path)


def test_the_same_spec_gives_the_same_result_bit_by_bit(bench):
    first, second = execute(student(), bench), execute(student(), bench)
    assert first.status == "done"
    assert (first.metrics, first.curves, first.phases) == (second.metrics, second.curves, second.phases)


def test_another_seed_gives_another_result(bench):
    assert execute(student(), bench).metrics != execute(student(seed=1), bench).metrics


def test_a_final_run_reads_validation_and_test_once_and_exports_its_student(bench, tmp_path):
    result = execute(student(), bench)
    assert {"validation/top1", "test/top1", "test/nll", "test/ece", "test/top5"} <= set(result.metrics)
    assert (tmp_path / result.checkpoint).exists()
    assert result.flops == 600
    assert result.committed == 60


def test_a_trial_never_reads_the_test_set(bench):
    result = execute(student(purpose="tune"), bench)
    assert {name.split("/")[0] for name in result.metrics} == {"validation"}
    assert result.checkpoint is None


def test_a_trial_below_its_rule_is_pruned_where_the_rule_says(bench):
    result = execute(student(steps=100, purpose="tune", prune=PruneRule(0.5, 101.0)), bench)
    assert (result.status, result.steps) == ("pruned", 50)
    assert result.committed == 50
    assert execute(student(steps=100, purpose="tune", prune=PruneRule(0.5, -1.0)), bench).status == "done"


def test_the_published_protocol_trains_on_all_of_train_and_has_no_validation(bench):
    result = execute(student(protocol="published"), bench)
    assert {name.split("/")[0] for name in result.metrics} == {"test"}


def test_bf16_trains_with_losses_in_fp32(bench):
    result = execute(student(precision="bf16"), bench)
    assert result.status == "done"
    assert result.environment["precision"] == "bf16"
    assert result.metrics["test/top1"] > 20


def test_the_environment_names_versions_and_device(bench):
    found = execute(student(), bench).environment
    assert {"torch", "python", "device_name", "threads", "precision"} <= set(found)


def test_a_budget_too_small_is_an_error_in_one_line(bench):
    result = execute(student(steps=20), bench)
    assert result.status == "error"
    assert "50 are the least" in result.error


def test_a_schedule_that_was_not_calibrated_is_refused(bench):
    cost = PhaseCost("other", None, 1.0, 1.0, None, None, 10)
    result = execute(student(costs=(cost,)), bench)
    assert result.status == "error"
    assert "not those that were calibrated" in result.error


def test_a_run_that_diverges_says_where(bench):
    result = execute(student(recipe={"lr": 1e12}), bench)
    assert result.status == "diverged"
    assert "train/task" in result.error


def test_an_unknown_plugin_is_an_error_and_not_the_end(bench):
    assert execute(student(method="nothing-of-that-name"), bench).status == "error"


def test_a_teacher_is_trained_as_a_run_of_its_own_and_serves_as_reference(bench, tmp_path):
    from kdarena.contract import REFERENCE

    class Machine:
        kind, threads = "cpu", 1

    class Ground:
        card, machine, precision, data, protocol = DIGITS, Machine, "fp32", DIGITS.digest(None), "validated"

    spec = teacher_run(REFERENCE, Ground, 10, 0)
    result = execute(spec, bench)
    assert result.status == "done"
    assert result.parameters > execute(student(), bench).parameters
    judged = execute(student(reference=spec.key), bench)
    assert {"test/agreement"} <= set(judged.metrics)


def test_specs_and_results_survive_json(bench):
    spec = student(purpose="tune", prune=PruneRule(0.5, 1.0), replay=(60,))
    assert RunSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    result = execute(student(), bench)
    assert RunResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_whatever_decides_a_run_changes_its_key():
    changes = [
        {"seed": 1},
        {"params": {"tau": 2.0}},
        {"recipe": {"lr": 0.1}},
        {"budget": Budget(61, "flop")},
        {"precision": "bf16"},
        {"threads": 2},
        {"protocol": "published"},
        {"source": "edited"},
        {"data": "other"},
    ]
    keys = {student(**change).key for change in changes} | {student().key}
    assert len(keys) == len(changes) + 1


def test_a_calibration_that_fails_says_so(bench):
    from kdarena.calibrate import CalibrationSpec

    spec = CalibrationSpec("digits", "nope", "", {}, (), "validated", "", "fp32", "cpu", 1, False)
    measured = execute_calibration(spec, bench)
    assert measured.status == "error"
    assert "nope" in measured.error


def test_executing_a_run_imports_neither_mlflow_nor_optuna():
    import subprocess

    code = "import sys, kdarena.execute, kdarena.engines.worker; print([m for m in ('mlflow', 'optuna', 'pandas', 'rich') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
