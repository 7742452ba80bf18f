"""QuEST on pixels, tokens and frames: words of real positions alone."""

import functools
import math

import pytest
import torch
from kdarena_quest import variants
from kdarena_quest.method import l_dist
from kdarena_quest.vocabulary import KMeans
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from kdarena.errors import NotApplicable
from kdarena.testing.run import make_run, new_step, take_steps
from kdarena.tracks import find_card
from kdarena.tracks.values import Batch, Setting

(QUEST,) = variants
TASKS = pytest.mark.parametrize("name", ["scenes", "grammar", "tones"])
SEQUENCES = pytest.mark.parametrize("name", ["grammar", "tones"])
FEW = {"images": 64, "iterations": 2, "words": 8}


@functools.cache
def loaded(name):
    card = find_card(name)
    return card.load(card, Setting())


def started(name, **params):
    """A run at the start of its training, with a vocabulary of a few samples."""
    task = loaded(name)
    run = make_run(QUEST, task, {**FEW, **params}, teachers=[task.new_network(task.card.teacher).eval()])
    for phase in run.phases[:-1]:
        take_steps(run, phase.steps, phase.name)
    return run


def entered(name, **params):
    run = started(name, **params)
    run.phases[-1].prepare(run)
    return run


@TASKS
def test_every_phase_runs_and_the_student_learns_there(name):
    task = loaded(name)
    assert QUEST.method.covers(task.card.track)
    assert QUEST.method.reason_against(task.card, QUEST.method.Params()) is None
    run = entered(name)
    gradients = torch.autograd.grad(run.loss(new_step(run))["dist"], list(run.learner.student.parameters()), allow_unused=True)
    assert any(one is not None and float(one.abs().max()) > 0 for one in gradients)
    history = take_steps(run, 2)
    assert all(math.isfinite(value) for step in history for value in step.values())
    run.check_teachers()


@TASKS
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_divergence_is_that_of_each_real_position(name, reduction):
    run = entered(name, reduction=reduction)
    step = new_step(run)
    tokens, words = step.student.tokens, run.instance.vocabulary.words.double()
    predictor = run.learner.helpers["predictor"]
    w, gamma = predictor.weight[:, :, 0, 0].double(), predictor.gamma.double()
    divergences = []
    for sample, (f_t, f_s) in enumerate(zip(step.teacher.feature_map.double(), step.student.feature_map.double(), strict=True)):
        places = torch.ones(f_t[0].numel(), dtype=torch.bool) if tokens is None else tokens[sample]
        for here in places.nonzero()[:, 0].tolist():
            own, theirs = f_s.flatten(1)[:, here], f_t.flatten(1)[:, here]
            log_t = torch.log_softmax(-(words - theirs).square().sum(dim=1) / 0.2, dim=0)
            log_s = torch.log_softmax(gamma * torch.cosine_similarity(w, own[None], dim=1), dim=0)
            divergences.append(float((log_t.exp() * (log_t - log_s)).sum().detach()))
    expected = sum(divergences) / (len(divergences) if reduction == "mean" else len(step.inputs))
    assert float(run.loss(step)["dist"].detach()) == pytest.approx(expected, rel=1e-3, abs=1e-5)


@SEQUENCES
def test_padding_changes_no_term(name):
    run = entered(name)
    run.learner.student.eval()  # no dropout
    batch = next(run.augmented)
    further = (0, 6) if batch.inputs.dim() == 2 else (0, 0, 0, 6)
    of_teacher = None if batch.teacher_inputs is None else nn.functional.pad(batch.teacher_inputs, further)
    padded = Batch(nn.functional.pad(batch.inputs, further), batch.targets, batch.index, of_teacher)
    before, after = ({key: term.item() for key, term in run.loss(new_step(run, batch=one)).items()} for one in (batch, padded))
    assert after == pytest.approx(before, rel=1e-4, abs=1e-5)


@SEQUENCES
def test_points_are_real_positions_of_the_teacher(name):
    task = loaded(name)
    run = make_run(QUEST, task, FEW, teachers=[task.new_network(task.card.teacher).eval()])
    take_steps(run, 1, "collect")
    kmeans = run.instance.kmeans
    found = kmeans.points[: kmeans.collected]
    assert kmeans.collected > 32
    # a position that is padding is a row of zeros
    assert bool(found.ne(0).any(dim=1).all())


def test_points_that_are_no_real_positions_are_left_out_in_order():
    kmeans = KMeans(4, 2, 1, torch.device("cpu"))
    kmeans.add(torch.arange(12.0).reshape(2, 2, 3, 1), torch.tensor([[True, True, False], [True, False, False]]))
    assert kmeans.collected == 3
    assert torch.equal(kmeans.points[:3], torch.tensor([[0.0, 3], [1, 4], [6, 9]]))


@SEQUENCES
def test_collecting_reads_nothing_back_and_no_shape_depends_on_the_padding(name):
    task = loaded(name)
    run = make_run(QUEST, task, FEW, teachers=[task.new_network(task.card.teacher).eval()])
    take_steps(run, 1, "collect")
    tokens = torch.rand(3, 5) < 0.5
    with FakeTensorMode(allow_non_fake_inputs=True):  # which has no values: what asks for one is an error
        run.instance.kmeans.add(torch.rand(3, run.instance.channels, 5, 1), tokens)


def test_sequences_of_unequal_lengths_are_refused():
    task = loaded("tones:aed64-aed32")  # they take two and three frames as one
    run = make_run(QUEST, task, FEW, teachers=[task.new_network(task.card.teacher).eval()])
    with pytest.raises(NotApplicable, match="different lengths"):
        take_steps(run, 1, "collect")


def test_steps_are_the_same_for_every_seed_though_the_sequences_are_not():
    task = loaded("grammar")
    runs = [make_run(QUEST, task, teachers=[task.new_network(task.card.teacher).eval()], seed=seed) for seed in (0, 1)]
    assert [phase.steps for phase in runs[0].phases] == [phase.steps for phase in runs[1].phases]


@pytest.mark.parametrize(("name", "whole"), [("scenes", False), ("grammar", False), ("tones", True), ("digits", True)])
def test_a_short_schedule_learns_its_vocabulary_from_no_more_than_it_pays_for(name, whole):
    task = loaded(name)
    run = make_run(QUEST, task, teachers=[task.new_network(task.card.teacher).eval()])
    steps = task.card.recipe.student_epochs * run.steps_per_epoch
    places = run.instance.count // run.instance.images
    assert (run.instance.images == run.train_size) == whole
    assert run.instance.count < 20 * steps + places
    assert whole or run.instance.count >= 20 * steps
    assert make_run(QUEST, task, {"images": 300}, teachers=[task.new_network(task.card.teacher).eval()]).instance.images == 300


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_all_positions_real_is_as_if_there_were_no_padding(reduction):
    f_t, words, scores = torch.rand(3, 4, 5, 1), torch.rand(6, 4), torch.randn(3, 6, 5, 1)
    torch.testing.assert_close(l_dist(f_t, words, scores, 0.2, reduction, torch.ones(15, dtype=torch.bool)), l_dist(f_t, words, scores, 0.2, reduction))
