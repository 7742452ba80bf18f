"""Methods on a detector: which apply, what their rows are, and binary divergences against independent derivations."""

import math

import pytest
import torch
from kdarena_baselines import dist
from kdarena_baselines.at import AT
from kdarena_baselines.fitnet import FitNet
from kdarena_kd import variants as distillation
from kdarena_noisy import fickle, soft_randomization
from kdarena_structured import variants as structured
from kdarena_structured.pair_wise import nodes, pair_wise
from torch.distributions import Bernoulli, kl_divergence

from kdarena.params import make_params
from kdarena.testing.run import make_run, new_step, take_steps
from kdarena.tracks import find_card
from kdarena.tracks.values import Outputs, Setting, Split

KD, ENSEMBLE, DML = distillation
PI, PI_PA, STRUCTURED = structured


@pytest.fixture(scope="module")
def task():
    card = find_card("scenes-boxes")
    return card.load(card, Setting())


def weighted_binary_kl(z_t, z_s, temperature, weight):
    """T² times the mean over classes and places [B, C, P] of KL(σ(z_t / T) ‖ σ(z_s / T)), a place with its weight [B, P]."""
    divergence = kl_divergence(Bernoulli(logits=z_t.double() / temperature), Bernoulli(logits=z_s.double() / temperature))
    weights = weight.double().unsqueeze(1).expand_as(divergence)
    return temperature**2 * (divergence * weights).sum() / weights.sum()


def sharpened(teacher):
    """A teacher that is sure of something somewhere: random weights say the same everywhere."""
    with torch.no_grad():
        teacher.detector.classifier.weight.mul_(40)


def test_kd_is_the_binary_divergence_of_each_class_where_the_teacher_sees_something(task):
    run = make_run(KD, task)
    sharpened(run.teacher)
    step = new_step(run)
    terms = run.loss(step)
    z_t, z_s = step.teacher.logits, step.student.logits
    expected = weighted_binary_kl(z_t, z_s, run.params.temperature, z_t.sigmoid().amax(dim=1))
    assert terms["kl"].item() == pytest.approx(run.params.a * expected.item(), rel=1e-4)
    # other weights are another number: the student's are not meant
    assert abs(weighted_binary_kl(z_t, z_s, run.params.temperature, z_s.sigmoid().amax(dim=1)).item() / expected.item() - 1) > 0.05
    assert torch.equal(terms["ce"], (1 - run.params.a) * task.loss(step.student, step.targets))


def test_pixel_wise_distillation_is_the_binary_cross_entropy_of_each_class(task):
    run = make_run(PI, task)
    sharpened(run.teacher)
    step = new_step(run)
    terms = run.loss(step)
    z_t, z_s = step.teacher.logits.double(), step.student.logits.double()
    entropy = Bernoulli(logits=z_t).entropy()
    weights = z_t.sigmoid().amax(dim=1, keepdim=True).expand_as(z_t)
    expected = weighted_binary_kl(z_t, z_s, 1.0, z_t.sigmoid().amax(dim=1)) + (entropy * weights).sum() / weights.sum()
    assert terms["pi"].item() == pytest.approx(run.params.lambda_pi * expected.item(), rel=1e-4)


def test_all_places_count_alike_where_that_is_asked_for(task):
    run = make_run(PI, task, {"places": "all"})
    sharpened(run.teacher)
    step = new_step(run)
    z_t = step.teacher.logits.double()
    expected = weighted_binary_kl(z_t, step.student.logits, 1.0, torch.ones_like(z_t[:, 0])) + Bernoulli(logits=z_t).entropy().mean()
    assert run.loss(step)["pi"].item() == pytest.approx(run.params.lambda_pi * expected.item(), rel=1e-4)


def test_the_finest_level_alone_is_compared_where_that_is_asked_for(task):
    run = make_run(STRUCTURED, task, {"levels": "finest"})
    step = new_step(run)
    step.update = "student"
    finest = pair_wise(*(nodes(outputs.features[task.pyramid.names[0]], 2, "avg") for outputs in (step.student, step.teacher))).item()
    assert run.loss(step)["pa"].item() == pytest.approx(run.params.lambda_pa * finest, rel=1e-5)
    assert run.learner.helpers["critic"].layers[0].num_features == task.classes + 3


def test_every_level_has_places_that_belong_to_boxes(task):
    batches = task.batches(Split(0), "augmented")
    places = [rows * columns for rows, columns in task.pyramid.grids((64, 64))]
    found = torch.zeros(len(places))
    for _ in range(16):
        batch = next(batches)
        assigned = task.assigned(Outputs(torch.empty(len(batch.inputs), 1, sum(places))), batch.targets)
        found += torch.stack([level.sum() for level in assigned.positive.split(places, dim=1)])
    assert (found / found.sum()).min() > 0.02


def test_pair_wise_distillation_is_the_mean_over_the_levels_of_the_pyramid(task):
    run = make_run(PI_PA, task)
    step = new_step(run)
    levels = [name for name in step.student.features if name.startswith("p")]
    assert levels == list(task.pyramid.names)
    each = [pair_wise(*(nodes(outputs.features[name], 2, "avg") for outputs in (step.student, step.teacher))).item() for name in levels]
    assert run.loss(step)["pa"].item() == pytest.approx(run.params.lambda_pa * sum(each) / len(each), rel=1e-5)


def test_the_critic_sees_the_scores_of_all_levels_and_the_image_at_the_size_of_the_finest(task, monkeypatch):
    run = make_run(STRUCTURED, task)
    seen = []
    critic = run.learner.helpers["critic"]
    monkeypatch.setattr(critic, "forward", lambda scores, image: seen.append((scores, image)) or scores.mean(dim=(1, 2, 3)))
    step = new_step(run)
    step.update = "student"
    run.loss(step)
    (scores, image), *_ = seen
    rows, columns = task.pyramid.grids(step.inputs.shape[2:])[0]
    assert scores.shape[1:] == (task.classes * len(task.pyramid.strides), rows, columns)
    assert image.shape[2:] == (rows, columns)
    first = task.score_maps(step.student)[0]
    assert torch.equal(scores[:, : task.classes], first)
    coarsest = task.score_maps(step.student)[-1]
    times = rows // coarsest.shape[2]
    assert torch.equal(scores[:, -task.classes :], coarsest.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3))


@pytest.mark.parametrize("plugin", [KD, ENSEMBLE, DML, soft_randomization, fickle, FitNet, AT, PI, PI_PA, STRUCTURED], ids=lambda plugin: plugin.method.name)
def test_methods_train_there(plugin, task):
    run = make_run(plugin, task)
    history = take_steps(run, 2)
    assert all(math.isfinite(value) for terms in history for value in terms.values())
    run.check_teachers()


def test_a_critic_of_softmax_scores_is_refused_since_a_detector_has_no_softmax(task):
    assert STRUCTURED.method.reason_against(task.card, make_params(STRUCTURED.method.Params, {})) is None
    assert "scores=logits" in STRUCTURED.method.reason_against(task.card, make_params(STRUCTURED.method.Params, {"scores": "softmax"}))


def test_a_method_whose_equations_do_not_hold_says_why(task):
    assert "sigmoids" in dist.method.reason_against(task.card, make_params(dist.method.Params, {}))


def test_feature_methods_take_the_levels_of_the_pyramid(task):
    fitnet, at = make_run(FitNet, task), make_run(AT, task)
    assert (fitnet.instance.guided, fitnet.instance.hint) == ("p3", "p3")
    assert at.instance.pairs == [(name, name) for name in task.pyramid.names]


def test_the_regressor_of_a_map_without_relu_reaches_negative_values(task):
    run = make_run(FitNet, task)
    step = new_step(run)
    assert step.teacher.features["p3"].min() < 0
    assert step.apply(run.learner.helpers["regressor"], step.student.features["p3"]).min() < 0
