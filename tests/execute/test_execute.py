import dataclasses
import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from kdarena import Ensemble, Learner, Method, NotApplicable, Paper, Phase, TeacherSpec, Update, hookimpl, no_teachers
from kdarena.execute import workspace
from kdarena.execute.capture import NotCaptured
from kdarena.execute.execute import execute, execute_profile
from kdarena.execute.workspace import Workspace
from kdarena.files import digest_of
from kdarena.method.declaration import REFERENCE
from kdarena.method.plugin import Plugin
from kdarena.plan.budget import commit
from kdarena.plan.conditions import Conditions
from kdarena.plan.cost import PhaseProfile
from kdarena.plan.machine import Machine
from kdarena.plan.spec import Budget, PhaseCost, RunResult, RunSpec
from kdarena.plan.specs import TRIAL_SEED, given_teacher, teacher_run
from kdarena.testing.replays import Replays
from kdarena.tracks import compiled, find_card
from kdarena.tracks.classification.data import load_digits
from kdarena.tracks.classification.task import ClassificationTask
from kdarena.tracks.values import Setting

DIGITS = find_card("digits")


def student(steps=60, **changes):
    cost = PhaseCost("train", None, 1.0, 1.0, None, None, 10)
    made = RunSpec("digits", "student", "", "final", 0, Budget(steps, "flop"), (cost,), data=DIGITS.digest(None))
    return dataclasses.replace(made, **changes)


@pytest.fixture
def bench(tmp_path):
    return Workspace(tmp_path, tmp_path)


def conditions(**changes):
    """Where teachers are planned: the digits on one CPU core."""
    return Conditions(
        **{"card": DIGITS, "machine": Machine("cpu", ("cpu",), 1, False), "precision": "fp32", "data": DIGITS.digest(None), "protocol": "validated"} | changes
    )


def test_the_same_spec_gives_the_same_result_bit_by_bit(bench):
    first, second = execute(student(), bench), execute(student(), bench)
    assert first.status == "done"
    assert (first.metrics, first.curves, first.phases) == (second.metrics, second.curves, second.phases)


def test_a_captured_run_gives_what_the_eager_one_gives_and_says_what_was_not_captured(bench, monkeypatch):
    eager = execute(student(), bench)
    monkeypatch.setattr(workspace, "capture_on", lambda device: Replays())
    captured = execute(student(capture=True), bench)
    assert (captured.metrics, captured.curves, captured.phases) == (eager.metrics, eager.curves, eager.phases)
    assert (captured.student_updates, captured.samples, captured.weights) == (eager.student_updates, eager.samples, eager.weights)
    assert captured.eager == {}


def test_a_run_says_why_steps_were_not_captured(bench, monkeypatch):
    class Never(Replays):
        def take(self, step, generators):
            raise NotCaptured("not today")

    monkeypatch.setattr(workspace, "capture_on", lambda device: Never())
    assert execute(student(capture=True), bench).eager == {"train": "its capture failed (not today)"}
    assert execute(student(), bench).eager == {}


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


def test_the_published_protocol_trains_on_all_of_train_and_has_no_validation(bench):
    result = execute(student(protocol="published"), bench)
    assert {name.split("/")[0] for name in result.metrics} == {"test"}


def test_bf16_trains_with_losses_in_fp32(bench):
    result = execute(student(precision="bf16"), bench)
    assert result.status == "done"
    assert result.environment["precision"] == "bf16"
    assert result.metrics["test/top1"] > 20


@pytest.fixture
def _compiled_eagerly(monkeypatch):
    """Networks are traced by torch's compiler and run as they are."""
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("_compiled_eagerly")
def test_a_compiled_run_gives_what_a_plain_one_gives_and_has_a_key_of_its_own(bench):
    found, plain = execute(student(compiled=True), bench), execute(student(), bench)
    assert found.status == "done"
    assert (found.weights, found.metrics, found.notes) == (plain.weights, plain.metrics, ())
    assert found.key != plain.key


@pytest.mark.usefixtures("_compiled_eagerly")
def test_networks_are_compiled_before_the_first_run_of_a_task_whose_state_is_then_looked_at_again(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(workspace, "compile_ahead", lambda task: done.append("compiled"))
    bench = Workspace(tmp_path, tmp_path, loaded=lambda: done.append("looked at"))
    for seed in range(2):
        bench.task_of(student(compiled=True, seed=seed))
    assert done == ["looked at", "compiled", "looked at"]


def test_a_run_whose_networks_can_not_be_compiled_goes_on_without_and_says_so(bench, monkeypatch):
    def backend(graph, inputs):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(compiled, "BACKEND", backend)
    found, plain = execute(student(compiled=True), bench), execute(student(), bench)
    assert found.weights == plain.weights
    assert ["no compiler here" in note for note in found.notes] == [True]


def test_the_environment_names_versions_and_device(bench):
    found = execute(student(), bench).environment
    assert {"torch", "python", "device_name", "threads", "precision"} <= set(found)


def test_a_budget_too_small_is_an_error_in_one_line(bench):
    result = execute(student(steps=20), bench)
    assert result.status == "error"
    assert "50 are the least" in result.error


def test_a_control_may_have_a_budget_that_is_too_small_for_a_method(bench):
    result = execute(student(steps=3, purpose="control"), bench)
    assert (result.status, result.steps, result.student_updates) == ("done", 3, 3)
    assert "test/top1" in result.metrics


def test_a_schedule_that_was_not_profiled_is_refused(bench):
    cost = PhaseCost("other", None, 1.0, 1.0, None, None, 10)
    result = execute(student(costs=(cost,)), bench)
    assert result.status == "error"
    assert "not those that were profiled" in result.error


def test_a_run_that_diverges_says_where(bench):
    result = execute(student(recipe={"lr": 1e12}), bench)
    assert result.status == "diverged"
    assert "train/task" in result.error


@pytest.mark.parametrize("purpose", ["tune", "final", "teacher"])
def test_a_student_that_ends_with_a_weight_that_is_not_finite_has_diverged_and_no_score(bench, monkeypatch, purpose):
    class Spoilt:
        method = Method("own", "t", Paper("t", "v", 2026, "u"), teachers=no_teachers)

        @hookimpl
        def schedule(self, learner):
            class Spoiling(torch.optim.SGD):
                steps = 0

                def step(self):
                    super().step()
                    self.steps += 1
                    if self.steps == 60:
                        with torch.no_grad():
                            self.param_groups[0]["params"][-1].view(-1)[0] = float("inf")

            return [Phase("train", updates=lambda run: [Update("student", learner.parameters(), optimizer=lambda params: Spoiling(params, lr=0.01))])]

    monkeypatch.setattr(bench, "plugin", lambda name, source: Plugin("own", Spoilt, Spoilt.method))
    result = execute(own(purpose=purpose), bench)
    role = "teacher" if purpose == "teacher" else "student"
    assert (result.status, dict(result.metrics), result.checkpoint) == ("diverged", {}, None)
    assert f"of the trained {role} is not finite" in result.error


def test_an_unknown_plugin_is_an_error_and_not_the_end(bench):
    assert execute(student(method="nothing-of-that-name"), bench).status == "error"


def test_a_teachers_epochs_are_those_of_what_it_trains_on():
    spec = teacher_run(TeacherSpec(), conditions(protocol="published"), 10, PhaseProfile("train", None, 1.0, 1 / 12, 0))
    assert commit(spec.costs, spec.budget.amount) == (120,)


def test_a_teacher_is_trained_at_its_own_rate_and_a_pool_of_students_at_theirs():
    card = dataclasses.replace(DIGITS, recipe=dataclasses.replace(DIGITS.recipe, teacher_lr=0.03))

    measured = PhaseProfile("train", None, 1.0, 1 / 12, 0)
    assert teacher_run(TeacherSpec(), conditions(card=card), 10, measured).recipe == {"lr": 0.03}
    assert teacher_run(TeacherSpec("student"), conditions(card=card), 10, measured).recipe == {}


def test_no_teacher_shares_its_seed_with_a_final_run_or_a_trial():
    measured = PhaseProfile("train", None, 1.0, 1 / 12, 0)
    seeds = {teacher_run(TeacherSpec(member=member), conditions(), 10, measured).seed for member in range(100)}
    assert len(seeds) == 100
    assert not seeds & {*range(1000), TRIAL_SEED}


def test_foreign_images_of_the_set_that_a_student_learned_from_are_no_test_of_it(bench, monkeypatch):
    class Taught:
        method = Method("own", "t", Paper("t", "v", 2026, "u"), teachers=no_teachers, auxiliary=True)

    monkeypatch.setattr(bench, "plugin", lambda name, source: Plugin("own", Taught, Taught.method))
    bench.task("digits", "fp32").card = dataclasses.replace(DIGITS, auxiliary="flower")
    found = execute(own(metric_groups=("uncertainty",)), bench).metrics
    assert "test/prr/entropy" in found
    assert not [name for name in found if "/flower/" in name]


def test_the_peak_of_memory_is_a_runs_own_and_not_that_of_the_worker(bench):
    held = torch.ones(2**28 // 4).mul_(2)  # 256 MiB that an earlier run took
    before = execute(student(), bench).system["peak_memory_mib"]
    del held
    assert execute(student(), bench).system["peak_memory_mib"] < before - 128


def test_a_teacher_is_trained_as_a_run_of_its_own_and_serves_as_reference(bench, tmp_path):
    spec = teacher_run(REFERENCE, conditions(), 10, PhaseProfile("train", None, 1.0, 1 / 7, 0))
    result = execute(spec, bench)
    assert result.status == "done"
    assert result.parameters > execute(student(), bench).parameters
    (bench.output / result.checkpoint).rename(bench.teachers / f"{result.weights}.safetensors")
    judged = execute(student(reference=result.weights), bench)
    assert {"test/agreement"} <= set(judged.metrics)


def trained_teacher(bench):
    result = execute(teacher_run(REFERENCE, conditions(), 10, PhaseProfile("train", None, 1.0, 1 / 7, 0)), bench)
    path = bench.teachers / f"{result.weights}.safetensors"
    (bench.output / result.checkpoint).rename(path)
    return result, path


def test_a_teacher_that_was_given_is_scored_and_not_trained(bench):
    trained, _ = trained_teacher(bench)
    scored = execute(given_teacher(conditions(), trained.weights), bench)
    assert (scored.status, scored.steps, scored.weights, scored.parameters) == ("done", 0, trained.weights, trained.parameters)
    assert scored.metrics == trained.metrics


def test_a_teacher_whose_file_was_changed_is_refused(bench):
    trained, path = trained_teacher(bench)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    result = execute(student(reference=trained.weights), bench)
    assert (result.status, "was changed after it was recorded" in result.error) == ("error", True)


def test_a_teacher_that_is_not_finite_is_refused_and_the_tensor_named(bench):
    _, path = trained_teacher(bench)
    tensors = load_file(path)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name].view(-1)[0] = float("nan")
    save_file(tensors, path)
    weights = digest_of(path)
    path.rename(path.with_name(f"{weights}.safetensors"))
    result = execute(given_teacher(conditions(), weights), bench)
    assert (result.status, f"tensor {name!r} of the teacher is not finite" in result.error) == ("error", True)


def test_specs_and_results_survive_json(bench):
    spec = student(purpose="tune")
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
        {"code": "other"},
        {"torch": "2.14.0"},
        {"device_name": "another processor"},
    ]
    keys = {student(**change).key for change in changes} | {student().key}
    assert len(keys) == len(changes) + 1


# teachers of corrupted labels
def corrupted_teacher(corruption, steps=60):
    cost = PhaseCost("train", None, 1.0, 1.0, None, None, 10)
    trains = TeacherSpec("digits-student", corruption=corruption)
    return RunSpec("digits", "student", "", "teacher", 0, Budget(steps, "flop"), (cost,), trains=trains, data=DIGITS.digest(None))


def test_a_teacher_trained_on_corrupted_labels_is_another_teacher_and_learns_worse(bench):
    plain, wrong = corrupted_teacher(0.0), corrupted_teacher(0.5)
    assert len({plain.key, wrong.key, corrupted_teacher(0.25).key}) == 3
    one, other = execute(plain, bench), execute(wrong, bench)
    assert other.curves["train/task"][-1][1] > one.curves["train/task"][-1][1] + 0.2


def test_a_teacher_of_corrupted_labels_is_evaluated_on_the_true_ones(bench):
    # half of the labels that it sees are wrong, so that on those it could not be right as often
    assert execute(corrupted_teacher(0.5, steps=600), bench).metrics["test/top1"] > 60


def test_what_a_teacher_was_trained_with_survives_json():
    spec = corrupted_teacher(0.5)
    assert RunSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


# further metrics
class Sure(torch.nn.Module):
    """Is sure of class 3."""

    def forward(self, x):
        return 9.0 * torch.nn.functional.one_hot(torch.full((len(x),), 3), 10).float()


def reporting(bench, **learner):
    """The plain student whose learner has further fields; the bench knows it as ``own``."""
    built = []

    class Own:
        method = Method("own", "t", Paper("t", "v", 2026, "u"), teachers=no_teachers)

        @hookimpl
        def build_student(self, run):
            built.append(Learner(run.new_student(), **learner))
            return built[-1]

    others = bench.plugin
    bench.plugin = lambda name, source: Plugin("own", Own, Own.method) if name == "own" else others(name, source)
    return built


def own(**changes):
    return student(method="own", **changes)


def test_a_run_records_the_groups_of_metrics_that_were_asked_for_and_no_others(bench):
    bare, found = execute(student(), bench), execute(student(metric_groups=("gap",)), bench)
    assert set(found.metrics) - set(bare.metrics) == {"test/train_top1", "test/generalisation"}
    assert {name: found.metrics[name] for name in bare.metrics} == bare.metrics
    assert found.metrics["test/generalisation"] == pytest.approx(found.metrics["test/train_top1"] - found.metrics["test/top1"])


def test_uncertainty_is_recorded_where_it_was_asked_for(bench):
    found = execute(student(metric_groups=("uncertainty",)), bench).metrics
    assert {"test/prr/entropy", "test/auroc/flower/entropy", "test/aupr/flower/confidence"} <= set(found)


def test_a_group_that_the_task_does_not_know_is_an_error_by_name(bench):
    result = execute(student(metric_groups=("charm",)), bench)
    assert result.status == "error"
    assert "'charm'" in result.error


def test_which_groups_were_asked_for_is_part_of_the_key_and_survives_json():
    spec = student(metric_groups=("gap", "uncertainty"))
    assert spec.key != student().key
    assert RunSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize("purpose", ["tune", "teacher"])
def test_neither_trials_nor_teachers_are_measured_further(bench, purpose):
    reporting(bench, deploy={"sure": Sure()}, report=lambda evaluation: pytest.fail("asked"), uncertainties={"student": lambda outputs: pytest.fail("asked")})
    found = execute(own(purpose=purpose, metric_groups=("gap",)), bench)
    assert found.status == "done"
    assert not [name for name in found.metrics if name.startswith(("deploy:", "method/")) or "gen" in name or "prr" in name]


@pytest.mark.parametrize("purpose", ["final", "control"])
def test_a_methods_report_is_asked_once_for_the_test_part_and_recorded(bench, purpose):
    asked = []

    def report(evaluation):
        asked.append(len(evaluation.targets))
        return {"spread": torch.tensor(1.5), "rows": 3}

    reporting(bench, report=report)
    found = execute(own(purpose=purpose), bench).metrics
    assert asked == [997]
    assert (found["method/spread"], found["method/rows"]) == (1.5, 3.0)


def test_a_report_sees_the_trained_student_that_is_scored(bench):
    def report(evaluation):
        right = evaluation.outputs(built[-1].student).logits.argmax(1) == evaluation.targets
        return {"top1": 100 * right.double().mean()}

    built = reporting(bench, report=report)
    found = execute(own(), bench).metrics
    assert found["method/top1"] == pytest.approx(found["test/top1"])


def test_a_report_that_fails_names_the_plugin(bench):
    reporting(bench, report=lambda evaluation: {"x": 1 / 0})
    result = execute(own(), bench)
    assert (result.status, "plugin 'own'" in result.error, "ZeroDivisionError" in result.error) == ("error", True, True)


def test_a_further_network_is_scored_beside_the_student_and_not_exported(bench, tmp_path):
    from safetensors.torch import load_file

    reporting(bench, deploy={"sure": Sure()})
    result = execute(own(), bench)
    plain = execute(student(), bench)
    share = 100 * float((torch.from_numpy(load_digits().test_labels) == 3).double().mean())
    assert result.metrics["deploy:sure/top1"] == pytest.approx(share)
    assert result.metrics["deploy:sure/params"] == 0
    assert result.metrics["test/top1"] == plain.metrics["test/top1"]
    assert load_file(tmp_path / result.checkpoint).keys() == load_file(tmp_path / plain.checkpoint).keys()


def test_scores_of_the_student_and_of_a_further_network_are_measured_each_under_its_name(bench):
    scores = {"student": lambda outputs: {"own": -outputs.logits.amax(1)}, "pair": lambda outputs: {"disagreement": outputs.exits[0].std(1)}}
    reporting(bench, deploy={"pair": Ensemble([Sure(), Sure()])}, uncertainties=scores)
    found = execute(own(), bench).metrics
    assert {"test/prr/own", "test/prr/entropy", "test/auroc/flower/own", "deploy:pair/prr/disagreement", "deploy:pair/auroc/flower/entropy"} <= set(found)
    assert "test/prr/disagreement" not in found


def test_scores_of_a_network_that_is_not_deployed_are_an_error_that_names_it(bench):
    reporting(bench, uncertainties={"nobody": lambda outputs: {}})
    result = execute(own(), bench)
    assert (result.status, "nobody" in result.error) == ("error", True)


def test_a_profile_that_fails_says_so(bench):
    from kdarena.plan.cost import ProfileSpec

    spec = ProfileSpec("digits", "nope", "", {}, (), "validated", "", "fp32", "cpu", "", 1, "", "", False)
    measured = execute_profile(spec, bench)
    assert measured.status == "error"
    assert "nope" in measured.error


def test_a_profile_of_a_method_that_does_not_apply_says_why(bench, monkeypatch, capfd):
    from kdarena.plan.cost import ProfileSpec

    class Unfit:
        method = Method("unfit", "needs other networks", Paper("t", "v", 2026, "u"), teachers=no_teachers)

        @hookimpl
        def build_student(self, run):
            raise NotApplicable("the student has 5 stages, the teacher 4")

    monkeypatch.setattr(bench, "plugin", lambda name, source: Plugin("unfit", Unfit, Unfit.method))
    measured = execute_profile(ProfileSpec("digits", "unfit", "", {}, (), "validated", "", "fp32", "cpu", "", 1, "", "", False), bench)
    assert (measured.status, measured.error) == ("skipped", "the student has 5 stages, the teacher 4")
    assert capfd.readouterr().err == ""


def test_a_profile_is_measured_on_the_seed_of_its_key(bench, monkeypatch):
    from kdarena.plan.cost import SEEDS, ProfileSpec

    class Noting:
        method = Method("noting", "t", Paper("t", "v", 2026, "u"), teachers=no_teachers)

        @hookimpl
        def schedule(self, run):
            seeds.append(run.seed)
            return [Phase("train")]

    seeds = []
    monkeypatch.setattr(bench, "plugin", lambda name, source: Plugin("noting", Noting, Noting.method))
    specs = [ProfileSpec("digits", "noting", f"source {n}", {}, (), "validated", "", "fp32", "cpu", "", 1, "", "", False) for n in range(20)]
    assert {spec.seed for spec in specs} == set(range(SEEDS))
    for spec in specs[:4]:
        execute_profile(spec, bench)
    assert seeds == [spec.seed for spec in specs[:4]]


def test_executing_a_run_imports_neither_mlflow_nor_optuna():
    import subprocess

    code = "import sys, kdarena.execute.execute, kdarena.engines.worker; print([m for m in ('mlflow', 'optuna', 'pandas', 'rich') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_run_that_reads_test_records_how_many_of_its_samples_are_also_in_train(bench):
    images = load_digits().test_images
    images = [*bench.task("digits", "fp32")._data.train_images[:400], *images[400:]]
    leaked = dataclasses.replace(load_digits(), test_images=np.stack(images))
    bench._tasks["digits", "fp32", None] = ClassificationTask(DIGITS, Setting(), leaked)
    assert execute(student(), bench).system["test_in_train"] == 400
    assert "test_in_train" not in execute(student(purpose="tune"), bench).system


def test_a_run_records_how_many_files_of_its_data_were_left_out(bench, monkeypatch):
    monkeypatch.setattr(ClassificationTask, "left_out", 7)
    assert execute(student(), bench).system["files_left_out"] == 7
    monkeypatch.undo()
    assert "files_left_out" not in execute(student(), bench).system


def test_a_run_of_digits_records_that_no_test_image_is_also_in_train(bench):
    assert execute(student(), bench).system["test_in_train"] == 0


def test_data_that_cant_be_loaded_are_one_line_without_a_traceback(bench, monkeypatch, capfd):
    def load(card, setting):
        raise ValueError("train.tsv: row 3: no text")

    monkeypatch.setattr(workspace, "load_task", load)
    result = execute(student(), bench)
    assert (result.status, result.error) == ("error", "task digits: its data can't be loaded: train.tsv: row 3: no text")
    assert "Traceback" not in capfd.readouterr().err
