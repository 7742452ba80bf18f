"""Runs and profiles whose steps look up outputs of their teachers."""

from dataclasses import replace

import pytest

from kdarena.execute import filled
from kdarena.execute.execute import execute, execute_profile
from kdarena.execute.filled import left_of
from kdarena.execute.teacher_outputs import TeacherOutputs
from kdarena.execute.workspace import Workspace
from kdarena.method.declaration import REFERENCE
from kdarena.method.discovery import find, listing
from kdarena.plan.cost import ProfileSpec
from kdarena.plan.spec import FILLED_S, FILLING, Budget, CurvePlan, PhaseCost, PhaseRecord, RunSpec
from kdarena.tracks import find_card
from kdarena.tracks.checkpoints import save
from kdarena.tracks.values import Setting

DIGITS = find_card("digits")
SOURCE = find("kd", listing()).source
STEPS = 60
FILLING_STEPS = -(-800 * 9 // 64)
TRAIN = PhaseCost("train", None, 1.0, 1.0, None, None, 20)
FILL = PhaseCost(FILLING, FILLING_STEPS, 1.0, 0.5, None, None, 10)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """Folder and key of an untrained teacher."""
    folder = tmp_path_factory.mktemp("teachers")
    key = save(DIGITS.load(DIGITS, Setting()).new_network(DIGITS.teacher), folder / "unnamed")
    (folder / "unnamed").rename(folder / f"{key}.safetensors")
    return folder, key


@pytest.fixture
def bench(teacher, tmp_path):
    return Workspace(teacher[0], tmp_path)


def kd(key, *, stored, seed=0, **changes):
    costs, parts, amount = ((FILL, TRAIN), (("logits",),), STEPS + 0.5 * FILLING_STEPS) if stored else ((TRAIN,), (), STEPS)
    made = RunSpec("digits", "kd", SOURCE, "final", seed, Budget(amount, "flop"), costs, teachers=((REFERENCE, key),), reference=key, stored=parts)
    return replace(made, **changes)


def test_a_run_with_stored_outputs_trains_the_student_that_a_live_one_does(bench, teacher):
    stored, live = (execute(kd(teacher[1], stored=stored), bench) for stored in (True, False))
    assert (stored.status, stored.error) == ("done", None)
    assert stored.steps == live.steps == STEPS
    assert stored.metrics["test/top1"] == live.metrics["test/top1"]
    for (_, one), (_, other) in zip(stored.curves["train/kl"], live.curves["train/kl"], strict=True):
        assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grammar", "tones"])
def test_on_sequences_too_the_test_metric_is_that_of_a_live_run(name, tmp_path):
    card, bench = find_card(name), Workspace(tmp_path, tmp_path)
    key = save(bench.task(name, "fp32").new_network(card.teacher), tmp_path / "unnamed")
    (tmp_path / "unnamed").rename(tmp_path / f"{key}.safetensors")
    fill = replace(FILL, steps=-(-card.train // card.recipe.batch_size), cost=0.0)
    parts = execute_profile(profile_of(key, task=name), bench).read
    live = kd(key, stored=False, task=name, start=key if card.start else None)
    results = [execute(spec, bench) for spec in (live, replace(live, costs=(fill, TRAIN), stored=parts))]
    assert [result.status for result in results] == ["done", "done"]
    assert results[0].metrics[f"test/{card.metric}"] == results[1].metrics[f"test/{card.metric}"]
    assert results[0].curves["train/kl"][0][1] == pytest.approx(results[1].curves["train/kl"][0][1], rel=1e-4)


def test_filling_in_is_a_phase_that_each_run_is_charged_for_and_one_takes(bench, teacher):
    first, second = (execute(kd(teacher[1], stored=True, seed=seed), bench) for seed in (0, 1))
    for result in (first, second):
        assert result.phases == (PhaseRecord(FILLING, FILLING_STEPS, FILLING_STEPS), PhaseRecord("train", STEPS, STEPS))
        assert result.committed == STEPS + 0.5 * FILLING_STEPS
        assert result.flops == 20 * STEPS + 10 * FILLING_STEPS
    assert 0 < first.system[FILLED_S] < first.spent_s
    assert second.system[FILLED_S] < 0.01


def test_a_run_gives_the_same_whatever_the_worker_filled_in_before(bench, teacher, tmp_path):
    execute(kd(teacher[1], stored=True, seed=1), bench)
    after, alone = execute(kd(teacher[1], stored=True), bench), execute(kd(teacher[1], stored=True), Workspace(teacher[0], tmp_path))
    assert (after.metrics, after.curves) == (alone.metrics, alone.curves)


def test_where_there_is_no_memory_teachers_are_called_and_the_run_says_so(bench, teacher):
    bench.teacher_outputs = TeacherOutputs(free=lambda device: 0)
    result = execute(kd(teacher[1], stored=True), bench)
    assert (result.status, result.notes) == ("done", (filled.NO_MEMORY,))


def test_another_task_drops_what_is_kept(bench, teacher):
    execute(kd(teacher[1], stored=True), bench)
    assert bench.teacher_outputs.kept
    bench.task("digits", "fp32", 2)
    assert not bench.teacher_outputs.kept


def test_places_of_the_learning_curve_are_of_the_whole_budget():
    spec = kd("k", stored=True, budget=Budget(FILLING_STEPS, "flop"), curve=CurvePlan((0.25, 0.5, 0.75), 10))
    assert left_of(spec) == (0.5 * FILLING_STEPS, (0.0, 0.0, 0.5))


def profile_of(key, **changes):
    made = ProfileSpec("digits", "kd", SOURCE, {}, ((REFERENCE, key),), "validated", "", "fp32", "cpu", "", 1, "", "", False)
    return replace(made, **changes)


def test_a_profile_says_what_its_method_reads(bench, teacher):
    profile = execute_profile(profile_of(teacher[1]), bench)
    assert (profile.status, profile.read) == ("done", (("logits",),))


def test_a_profile_with_stored_outputs_measures_the_filling_and_the_steps_without_the_teacher(bench, teacher):
    live, stored = execute_profile(profile_of(teacher[1]), bench), execute_profile(profile_of(teacher[1], stored=(("logits",),)), bench)
    fill, train = stored.phases
    assert (fill.phase, fill.steps, fill.epochs) == (FILLING, FILLING_STEPS, 0.0)
    assert fill.flops > 0
    assert fill.flops + train.flops == live.phases[0].flops


def test_time_of_the_filling_is_measured_in_steps_of_the_student_too(bench, teacher):
    fill, train = execute_profile(profile_of(teacher[1], stored=(("logits",),), timed=True), bench).phases
    assert 0.05 < fill.relative < 3
    assert 0.7 < train.relative < 1.6
    assert len(fill.groups) == len(train.groups)


def test_a_profile_for_which_there_is_no_memory_says_so(bench, teacher):
    bench.teacher_outputs = TeacherOutputs(free=lambda device: 0)
    profile = execute_profile(profile_of(teacher[1], stored=(("logits",),)), bench)
    assert (profile.status, profile.error) == ("error", filled.NO_MEMORY)
