"""The five rows on the embedded speech task, with its own networks and decoder."""

from dataclasses import replace

import pytest
import torch
from kdarena_adaptive_ts import variants

from kdarena.testing.run import make_run, new_step, take_phases, take_steps
from kdarena.tracks.speech.cards import card
from kdarena.tracks.values import Setting, Split

TS, TS_SEQ, *LABELLED = variants
NAMES = ["ts", "ts-seq", "its", "cts", "ats"]
UNLABELLED = pytest.mark.parametrize("plugin", [TS, TS_SEQ], ids=NAMES[:2])
ALL = pytest.mark.parametrize("plugin", variants, ids=NAMES)


@pytest.fixture(scope="module")
def tones():
    tones = card("tones", None)
    return tones.load(tones, Setting())


@pytest.fixture(scope="module")
def teacher_state(tones):
    """Of a teacher that has begun to learn, so that its sequences end."""
    torch.manual_seed(0)
    network, batches = tones.new_network(tones.card.teacher), tones.batches(Split(0), "augmented")
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(30):
        batch = next(batches)
        loss = tones.loss(tones.forward(network, batch.teacher_inputs, decoder_inputs=tones.decoder_inputs(batch.targets)), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.state_dict()


@pytest.fixture
def tones_run(tones, teacher_state):
    """Builds a run whose student starts from the teacher's weights."""

    def build(plugin, params=None):
        teacher = tones.new_network(tones.card.teacher)
        teacher.load_state_dict(teacher_state)
        run = make_run(plugin, tones, params, teachers=[teacher])
        run.learner.student.load_state_dict(teacher_state)
        return run

    return build


def with_garbage(batch):
    """The batch with other labels, each string a token shorter."""
    shorter = batch.targets.roll(1, 0)[:, 1:]
    return replace(batch, targets=shorter.where(shorter < 0, (shorter + 3) % 11))


def spoken(sequence):
    return sequence[sequence != -100].tolist()


@UNLABELLED
def test_labels_replaced_by_garbage_give_the_same_run_bit_by_bit(tones, tones_run, plugin, monkeypatch):
    first = tones_run(plugin)
    expected = take_phases(first, 4)
    batch = tones.batch
    monkeypatch.setattr(tones, "batch", lambda *arguments: with_garbage(batch(*arguments)))
    second = tones_run(plugin)
    assert take_phases(second, 4) == expected
    states = [run.learner.student.state_dict() for run in (first, second)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_row_with_labels_trains_otherwise_on_such_garbage(tones, tones_run, monkeypatch):
    expected = take_phases(tones_run(LABELLED[0]), 2)
    batch = tones.batch
    monkeypatch.setattr(tones, "batch", lambda *arguments: with_garbage(batch(*arguments)))
    assert take_phases(tones_run(LABELLED[0]), 2) != expected


@ALL
def test_a_run_moves_the_student_and_leaves_the_teacher(tones_run, teacher_state, plugin):
    run = tones_run(plugin)
    history = take_phases(run, 4)["train"]
    assert all(0 < value < 10 for terms in history for value in terms.values())
    run.check_teachers()
    assert not torch.equal(run.learner.student.state_dict()["classifier.weight"], teacher_state["classifier.weight"])


@UNLABELLED
def test_teacher_and_student_answer_at_the_positions_of_y_t_and_no_others(tones, tones_run, plugin):
    run = tones_run(plugin)
    take_steps(run, run.steps_per_pass, "decode")
    run.phases[-1].prepare(run)
    step = new_step(run, phase="train")
    y_t = run.instance.transcripts[step.index]
    outputs = step.forward(run.learner.student, decoder_inputs=tones.decoder_inputs(y_t))
    assert torch.equal(outputs.counted, y_t != -100)
    assert all(spoken(row)[-1] == tones.vocabulary.end for row in y_t)


@pytest.mark.parametrize("beam", [1, 4])
def test_y_t_is_what_the_teacher_decodes_with_the_beam_asked_for(tones, tones_run, beam):
    run = tones_run(TS, {"beam": beam})
    take_steps(run, 2, "decode")
    known = run.instance.transcripts.known.nonzero().squeeze(1)[:8]
    rows = tones.parts.rows("train", run.split)[known]
    expected = tones.decode(run.teacher, tones.batch("train", rows, known, None).teacher_inputs, beam=beam)
    assert [spoken(row) for row in run.instance.transcripts[known]] == [spoken(row) for row in expected]
