"""What holds for every method of the package: teachers, gradients, determinism, refusals, real data."""

import copy
import math
from dataclasses import asdict

import pytest
import torch
from kdarena_baselines import dist, dkd, rkd
from kdarena_baselines.at import AT
from kdarena_baselines.fitnet import FitNet
from kdarena_baselines.reviewkd import ReviewKD
from kdarena_baselines.sp import SP

from kdarena.method.student import Student
from kdarena.params import ImpossibleValue, make_params, tunables
from kdarena.testing.run import make_run, new_step, take_steps
from kdarena.testing.task import toy_task
from kdarena.tracks import find_card
from kdarena.tracks.values import Setting

WEIGHTS = {
    FitNet: ("beta",),
    AT: ("beta",),
    SP: ("gamma",),
    rkd: ("distance", "angle"),
    ReviewKD: ("weight",),
    dkd: ("alpha", "beta"),
    dist: ("beta", "gamma"),
}
EVERY = pytest.mark.parametrize("plugin", list(WEIGHTS), ids=lambda plugin: plugin.method.name)
MATCHED = pytest.mark.parametrize("plugin", [plugin for plugin in WEIGHTS if plugin.method.name in ("at", "sp", "rkd", "dkd")], ids=lambda p: p.method.name)
MAPS = pytest.mark.parametrize(
    "plugin", [plugin for plugin in WEIGHTS if plugin.method.name in ("fitnet", "at", "sp", "reviewkd")], ids=lambda p: p.method.name
)


@EVERY
def test_with_weight_zero_the_student_is_trained_as_it_is_alone(plugin):
    run, alone = make_run(plugin, toy_task(), dict.fromkeys(WEIGHTS[plugin], 0.0)), make_run(Student, toy_task())
    take_steps(run, 3)
    take_steps(alone, 3)
    for one, other in zip(run.learner.student.state_dict().values(), alone.learner.student.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@EVERY
def test_with_its_weight_the_term_moves_the_student(plugin):
    run, alone = make_run(plugin, toy_task()), make_run(Student, toy_task())
    take_steps(run, 6)
    take_steps(alone, 6)
    assert not torch.equal(run.learner.student.stages[0][0].weight, alone.learner.student.stages[0][0].weight)


@EVERY
def test_every_parameter_of_student_and_helpers_gets_a_gradient(plugin):
    run = make_run(plugin, toy_task())
    total = sum(run.loss(new_step(run, progress=0.5)).values())
    gradients = torch.autograd.grad(total, run.learner.parameters())
    assert all(float(gradient.abs().max()) > 0 for gradient in gradients)


@MATCHED
def test_a_student_equal_to_its_teacher_is_at_distance_zero(plugin):
    run = make_run(plugin, toy_task(teacher="toy-student"))
    run.learner.student = copy.deepcopy(run.teachers[0]).requires_grad_()
    terms = run.loss(new_step(run, progress=0.5))
    assert all(abs(float(term.detach())) < 1e-3 for name, term in terms.items() if name != "ce")


@EVERY
def test_the_deployed_student_is_the_tasks_own(plugin):
    task = toy_task()
    run = make_run(plugin, task)
    fresh = run.new_student()
    assert all(torch.equal(one, other) for one, other in zip(run.learner.student.parameters(), fresh.parameters(), strict=True))
    assert run.learner.deploy == {}


@EVERY
def test_it_trains_with_a_student_of_another_grid_and_width(plugin):
    run = make_run(plugin, toy_task(student="toy-coarse"))
    assert all(math.isfinite(value) for terms in take_steps(run, 3) for value in terms.values())


@EVERY
def test_in_bf16_terms_are_finite_and_in_fp32(plugin):
    digits = find_card("digits")
    task = digits.load(digits, Setting(precision="bf16"))
    run = make_run(plugin, task, teachers=[task.new_network("digits-teacher").eval().requires_grad_(False)])
    terms = run.loss(new_step(run, progress=0.5))
    assert all(term.dtype == torch.float32 and bool(torch.isfinite(term)) for term in terms.values())
    assert all(math.isfinite(value) for step in take_steps(run, 3) for value in step.values())


@pytest.fixture(scope="module")
def trained():
    """The digits task, and its teacher after a few real steps."""
    digits = find_card("digits")
    task = digits.load(digits, Setting())
    run = make_run(Student, task, teachers=[])
    run.learner.student = task.new_network("digits-teacher")
    take_steps(run, 40)
    return task, run.learner.student.eval()


@EVERY
def test_on_real_digits_the_distilled_terms_fall(plugin, trained):
    task, teacher = trained
    run = make_run(plugin, task, {"warmup": 0.0} if "warmup" in tunables(plugin.method.Params) else {}, teachers=[copy.deepcopy(teacher)])
    history = take_steps(run, 40)
    assert all(math.isfinite(value) for step in history for value in step.values())

    def distilled(steps):
        return sum(value for step in steps for name, value in step.items() if not name.endswith("/ce"))

    assert distilled(history[-8:]) < 0.9 * distilled(history[:8])


@MAPS
def test_a_task_without_feature_maps_is_refused(plugin):
    reason = plugin.method.reason_against(toy_task(feature_maps=False).card, plugin.method.Params())
    assert reason == "it needs feature maps, which the task 'toy' does not offer"
    assert plugin.method.reason_against(toy_task().card, plugin.method.Params()) is None


def test_a_review_needs_an_embedding_a_sample():
    assert "one embedding a sample" in ReviewKD.method.reason_against(toy_task(one_row_a_sample=False).card, ReviewKD.method.Params())


@pytest.mark.parametrize(
    ("plugin", "params", "bound"),
    [
        (FitNet, {"stage": 0}, "at least 1 and at most 4"),
        (FitNet, {"stage": 5}, "at least 1 and at most 4"),
        (AT, {"stages": 0}, "at least 1"),
        (AT, {"p": 0}, "at least 1"),
        (SP, {"stages": 0}, "at least 1"),
        (ReviewKD, {"channels": 0}, "at least 1"),
        (ReviewKD, {"warmup": 1.5}, "at least 0 and at most 1"),
        (dkd, {"warmup": -0.1}, "at least 0 and at most 1"),
        (dkd, {"temperature": 0.0}, "above 0"),
        (dist, {"temperature": 0.0}, "above 0"),
        *((plugin, {name: -1.0}, "at least 0") for plugin, weights in WEIGHTS.items() for name in weights),
    ],
)
def test_numbers_that_mean_nothing_are_refused(plugin, params, bound):
    with pytest.raises(ImpossibleValue, match=f"^{next(iter(params))}: .* {bound}"):
        make_params(plugin.method.Params, params)


@pytest.mark.parametrize(
    ("plugin", "defaults"),
    [
        (FitNet, {"beta": 100, "stage": 2, "reduction": "mean"}),
        (AT, {"beta": 1000, "p": 2, "stages": 4, "distance": "squared"}),
        (SP, {"gamma": 3000, "stages": 1}),
        (rkd, {"distance": 25, "angle": 50}),
        (ReviewKD, {"weight": 5, "warmup": 20 / 240, "channels": 512}),
        (dkd, {"alpha": 1, "beta": 8, "temperature": 4, "warmup": 20 / 240}),
        (dist, {"beta": 2, "gamma": 2, "temperature": 4}),
    ],
    ids=lambda one: one.method.name if hasattr(one, "method") else "",
)
def test_defaults_are_the_public_benchmarks(plugin, defaults):
    assert asdict(plugin.method.Params()) == defaults
