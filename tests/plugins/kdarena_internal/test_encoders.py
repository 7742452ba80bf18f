"""The three methods on the text track's own encoders."""

import pytest
import torch
from kdarena_internal import variants
from kdarena_internal.layers import embedder, encoder_layers
from torch import nn

from kdarena.testing.run import make_run, new_step, take_phases, take_steps
from kdarena.tracks import cards
from kdarena.tracks.text.architectures import architecture
from kdarena.tracks.text.models import new_encoder
from kdarena.tracks.values import Batch, Setting

INTERNAL, PID, SID = variants


@pytest.fixture(scope="module")
def text():
    """The text track's embedded task."""
    card = next(card for card in cards() if card.embedded and card.track == "text")
    return card.load(card, Setting())


@pytest.mark.parametrize("plugin", variants, ids=lambda plugin: plugin.method.name)
def test_every_phase_trains(text, plugin):
    assert plugin.method.covers(text.card.track)
    assert plugin.method.reason_against(text.card, plugin.method.Params()) is None
    run = make_run(plugin, text)
    assert set(take_phases(run, 2)) == {phase.name for phase in run.phases}
    run.check_teachers()


def test_the_student_starts_from_every_second_layer(text):
    run = make_run(INTERNAL, text)
    student, teacher = run.learner.student, run.teacher
    ours, theirs = encoder_layers(student, 2), encoder_layers(teacher, 4)
    assert run.instance.g == (2, 4)
    for one, other in ((embedder(student), embedder(teacher)), (ours[0], theirs[1]), (ours[1], theirs[3])):
        found, expected = one.state_dict(), other.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)


def test_attention_is_compared_before_dropout(text):
    run = make_run(INTERNAL, text)
    for module in run.learner.student.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
    batch = next(run.augmented)
    first, second = (new_step(run, batch=batch).student for _ in range(2))
    for maps in first.attentions:
        torch.testing.assert_close(maps.sum(dim=3), torch.ones(maps.shape[:3]))
        assert bool((maps * first.tokens[:, None, None] > 0).eq(first.tokens[:, None, None]).all())
    # dropout is alive: each call makes other states
    assert not torch.equal(first.hidden[1], second.hidden[1])


@pytest.mark.parametrize("plugin", [INTERNAL, SID], ids=lambda plugin: plugin.method.name)
def test_padding_changes_no_term(text, plugin):
    run = make_run(plugin, text)
    run.learner.student.eval()
    batch = next(run.augmented)
    padded = Batch(nn.functional.pad(batch.inputs, (0, 5)), batch.targets, batch.index)
    before, after = (run.loss(new_step(run, batch=one, phase=run.phases[-2].name if plugin is SID else None)) for one in (batch, padded))
    assert {name: term.item() for name, term in after.items()} == pytest.approx({name: term.item() for name, term in before.items()}, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("params", [{}, {"freeze_below": True}], ids=["all", "frozen"])
def test_a_stage_leaves_what_is_above_as_it_is(text, params):
    run = make_run(PID, text, {"from_teacher": False, **params})
    student = run.learner.student
    before = {name: one.detach().clone() for name, one in student.named_parameters()}
    take_steps(run, 2, "layer1")
    moved = {name for name, one in student.named_parameters() if not torch.equal(one, before[name])}
    trained = {name for name in before if ".embeddings." in name or ".layer.0." in name}
    assert moved <= trained
    # a bias of keys adds the same to all scores of a row: only rounding moves it
    assert all(name.endswith("key.bias") for name in trained - moved)


def test_the_papers_pair_has_its_numbers_of_parameters_without_embeddings():
    counts = {}
    for name in ("bert-12", "bert-6"):
        with torch.device("meta"):
            network = new_encoder(architecture(name), 2, 1000, 2)
        counts[name] = sum(one.numel() for key, one in network.named_parameters() if ".embeddings." not in key and not key.startswith("classifier"))
    assert counts == {"bert-12": 85_645_056, "bert-6": 43_117_824}
