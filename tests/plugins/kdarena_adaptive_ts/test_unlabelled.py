"""T/S on posteriors and on sequences, against independent derivations."""

import dataclasses
from dataclasses import replace

import pytest
import torch
from kdarena_adaptive_ts import variants
from torch.distributions import Categorical

from kdarena.execute.profile import profile
from kdarena.method.student import Student
from kdarena.testing.run import new_step, take_phases, take_steps
from kdarena.testing.task import toy_task

TS, TS_SEQ, ITS, CTS, ATS = variants
UNLABELLED = pytest.mark.parametrize("plugin", [TS, TS_SEQ], ids=["ts", "ts-seq"])
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
START, END = 1, 0


def decoded_run(spelling_run, plugin, **arguments):
    """A run after its phase ``decode``."""
    run = spelling_run(plugin, **arguments)
    take_steps(run, run.steps_per_pass, "decode")
    run.phases[1].prepare(run)
    return run


def decoded_step(run, **arguments):
    return new_step(run, phase="train", **arguments)


def term(step):
    return step.run.loss(step)[step.run.method.name]


def prefixes(sequence):
    """Y_{0:l−1} for l = 1 … L, written out."""
    tokens = [token for token in sequence.tolist() if token != -100]
    return [([START, *tokens[:position]], tokens[position]) for position in range(len(tokens))]


def posterior(network, frames, prefix):
    return torch.softmax(network(frames[None], torch.tensor([prefix]))[0, -1].double(), dim=0)


def naive(run, step, sequences, target_of):
    """Mean over all tokens of −Σ_u target(u) ln P(u | prefix, X^S; θ^S), one token at a time."""
    (teacher,), student = run.teacher_modules(), run.learner.student.eval()
    values = []
    for utterance, sequence in enumerate(sequences):
        for prefix, token in prefixes(sequence):
            p_t = target_of(posterior(teacher, step.teacher_inputs[utterance], prefix), token)
            p_s = posterior(student, step.inputs[utterance], prefix)
            values.append(-(p_t * p_s.log()).sum())
    return torch.stack(values).mean()


def one_hot(posterior, token):
    return torch.nn.functional.one_hot(torch.tensor(token), len(posterior)).double()


class TestDecoding:
    @UNLABELLED
    def test_each_utterance_has_what_the_teacher_alone_decodes_from_its_close_talk_audio(self, spelling_run, plugin):
        run = decoded_run(spelling_run, plugin)
        transcripts = run.instance.transcripts
        assert bool(transcripts.known.all())
        for batch in (next(run.augmented) for _ in range(3)):
            for audio, index in zip(batch.teacher_inputs, batch.index, strict=True):
                (kept,), (expected,) = transcripts[index[None]], run.task.decode(run.teacher, audio[None])
                assert kept[kept != -100].tolist() == expected.tolist()

    def test_the_teacher_is_right_about_most_and_wrong_about_some_so_that_these_tests_tell_y_t_from_y_g(self, spelling_run):
        run = decoded_run(spelling_run, TS)
        batch = next(run.augmented)
        decoded = run.instance.transcripts[batch.index]
        right = [prefixes(ours) == prefixes(truth) for ours, truth in zip(decoded, batch.targets, strict=True)]
        assert 0 < sum(right) < len(right)

    @UNLABELLED
    def test_it_is_one_pass_of_fixed_steps_over_plain_data_and_charged_like_any_work(self, spelling_run, plugin):
        run = spelling_run(plugin)
        decode, train = run.phases
        assert (decode.name, decode.steps, decode.data) == ("decode", 3, "plain")
        assert decode.process is not None
        assert (train.steps, train.data) == (None, "augmented")

    @UNLABELLED
    def test_it_is_no_update_of_the_student(self, spelling_run, count_updates, plugin):
        assert count_updates(spelling_run(plugin)) == (6, {"decode": 3, "train": 6})

    @UNLABELLED
    def test_every_utterance_is_decoded_once_and_never_again_in_training(self, spelling_run, plugin):
        run = spelling_run(plugin)
        take_phases(run, 8)
        assert len(run.task.beams) == run.steps_per_pass

    @pytest.mark.parametrize("beam", [1, 4, 8])
    def test_the_beam_is_the_parameters(self, spelling_run, beam):
        run = spelling_run(TS, params={"beam": beam})
        take_steps(run, 2, "decode")
        assert run.task.beams == [beam, beam]

    @UNLABELLED
    def test_decoding_begins_anew_when_its_phase_is_entered_again(self, spelling_run, plugin):
        run = spelling_run(plugin)
        take_steps(run, 3, "decode")
        take_steps(run, 1, "decode")
        assert int(run.instance.transcripts.known.sum()) == 16


class TestTokenLevel:
    def test_the_loss_is_the_mean_cross_entropy_of_posteriors_after_the_same_decoded_prefix(self, spelling_run):
        run = decoded_run(spelling_run, TS)
        run.learner.student.eval()
        step = decoded_step(run)
        expected = naive(run, step, run.instance.transcripts[step.index], lambda p_t, token: p_t)
        torch.testing.assert_close(term(step).double(), expected, **CLOSE)

    def test_student_and_teacher_are_fed_the_same_history_which_is_the_start_and_then_y_t_but_for_its_last_token(self, spelling_run):
        run = decoded_run(spelling_run, TS)
        step = decoded_step(run)
        run.task.calls.clear()
        step.run.loss(step)
        (student, far, student_history), (teacher, close, teacher_history) = run.task.calls
        assert student is run.learner.student and far is step.inputs
        assert teacher is run.teacher and close is step.teacher_inputs
        assert torch.equal(student_history, teacher_history)
        y_t = run.instance.transcripts[step.index]
        assert bool((student_history[:, 0] == START).all())
        shifted = y_t[:, :-1]
        assert torch.equal(student_history[:, 1:][shifted != -100], shifted[shifted != -100])

    def test_the_gradient_on_a_tokens_logits_is_softmax_minus_posterior(self, spelling_run):
        run = decoded_run(spelling_run, TS)
        step = decoded_step(run)
        value = term(step)
        history = run.task.decoder_inputs(run.instance.transcripts[step.index])
        (student,) = [outputs for outputs, network, _ in step._calls.values() if network is run.learner.student]
        found = torch.autograd.grad(value, student.logits)[0]
        p_t = torch.softmax(run.teacher(step.teacher_inputs, history), dim=2)
        expected = (torch.softmax(student.logits, dim=2) - p_t) * student.counted[:, :, None] / student.counted.sum()
        torch.testing.assert_close(found, expected, **CLOSE)

    def test_with_equal_audio_and_equal_weights_the_gradient_is_zero_and_the_loss_is_the_teachers_entropy(self, spelling_run):
        run = decoded_run(spelling_run, TS)
        run.learner.student.eval()
        step = decoded_step(run)
        step = decoded_step(run, batch=replace(step._batch, inputs=step.teacher_inputs))
        value = term(step)
        gradients = torch.autograd.grad(value, list(run.learner.student.parameters()))
        assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-6
        entropies = [
            Categorical(probs=posterior(run.teacher, audio, prefix)).entropy()
            for audio, sequence in zip(step.teacher_inputs, run.instance.transcripts[step.index], strict=True)
            for prefix, _ in prefixes(sequence)
        ]
        torch.testing.assert_close(value.detach().double(), torch.stack(entropies).mean(), **CLOSE)
        assert float(value.detach()) > 1e-3

    def test_padding_of_the_batch_changes_no_loss(self, spelling_run):
        run = decoded_run(spelling_run, TS)
        run.learner.student.eval()
        step = decoded_step(run)
        before = float(term(step).detach())
        transcripts = run.instance.transcripts
        padded = torch.nn.functional.pad(transcripts[step.index], (0, 3), value=-100)
        run.instance.transcripts = {step.index: padded}
        again = decoded_step(run, batch=step._batch)
        assert float(term(again).detach()) == pytest.approx(before, rel=1e-6)


class TestSequenceLevel:
    def test_the_loss_is_the_mean_negative_log_likelihood_of_the_decoded_tokens_their_end_included(self, spelling_run):
        run = decoded_run(spelling_run, TS_SEQ)
        run.learner.student.eval()
        step = decoded_step(run)
        sequences = run.instance.transcripts[step.index]
        assert all(END in sequence for sequence in sequences.tolist())
        torch.testing.assert_close(term(step).double(), naive(run, step, sequences, one_hot), **CLOSE)

    def test_training_calls_no_teacher(self, spelling_run):
        run = decoded_run(spelling_run, TS_SEQ)
        step = decoded_step(run)
        run.task.calls.clear()
        step.run.loss(step)
        assert [network for network, _, _ in run.task.calls] == [run.learner.student]

    def test_a_sequence_that_was_cut_before_its_end_counts_in_full(self, spelling_run):
        run = decoded_run(spelling_run, TS_SEQ)
        run.learner.student.eval()
        step = decoded_step(run)
        run.instance.transcripts = {step.index: torch.full((len(step.index), 4), 3)}
        expected = naive(run, step, run.instance.transcripts[step.index], one_hot)
        torch.testing.assert_close(term(step).double(), expected, **CLOSE)

    def test_token_level_with_one_hot_posteriors_is_the_sequence_level(self, spelling_run):
        # a teacher whose logits are scaled up decodes the same and is sure of it
        sure, sequence = decoded_run(spelling_run, TS), decoded_run(spelling_run, TS_SEQ)
        batch = next(sure.augmented)
        with torch.no_grad():
            sure.teacher.head.weight.mul_(1e4)
            sure.teacher.head.bias.mul_(1e4)
        for run in (sure, sequence):
            run.learner.student.eval()
        found, expected = term(decoded_step(sure, batch=batch)), term(decoded_step(sequence, batch=batch))
        torch.testing.assert_close(found, expected, **CLOSE)


class TestWithoutLabels:
    @UNLABELLED
    def test_labels_replaced_by_garbage_give_the_same_run_bit_by_bit(self, spelling_run, plugin):
        histories, states = [], []
        for garbage in (False, True):
            run = spelling_run(plugin, garbage=garbage)
            histories.append(take_phases(run, 12))
            states.append(run.learner.student.state_dict())
        assert histories[0] == histories[1]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])

    @pytest.mark.parametrize("plugin", [ITS, CTS, ATS], ids=["its", "cts", "ats"])
    def test_with_labels_garbage_is_learnt(self, spelling_run, plugin):
        first, second = (take_phases(spelling_run(plugin, garbage=garbage), 2) for garbage in (False, True))
        assert first != second

    @UNLABELLED
    def test_they_declare_that_they_learn_without_labels(self, plugin):
        assert plugin.method.labels is False


class TestInTheHarness:
    @UNLABELLED
    @pytest.mark.parametrize("timed", [False, True])
    def test_profile_measures_both_phases_though_it_cuts_the_pass_short(self, spelling_run, plugin, timed):
        def built(method_class):
            run = spelling_run(method_class)
            return run.hooks, run

        measures, _ = profile(lambda: built(plugin), lambda: built(Student), timed=timed)
        assert [measure.phase for measure in measures] == ["decode", "train"]
        assert all(measure.flops > 0 for measure in measures)
        assert all((measure.relative is not None) is timed for measure in measures)

    @UNLABELLED
    def test_a_task_whose_networks_are_no_decoders_is_refused_with_the_reason(self, plugin):
        card = dataclasses.replace(toy_task().card, track="speech")
        assert plugin.method.reason_against(card, plugin.method.Params()) == "it needs decoders, which the task 'toy' does not offer"

    @UNLABELLED
    @pytest.mark.parametrize("track", ["classification", "text", "segmentation"])
    def test_they_are_stated_for_speech_alone_and_say_why(self, plugin, track):
        assert plugin.method.covers("speech")
        assert not plugin.method.covers(track)
        assert "without a decoder" in plugin.method.exclusion(track)
