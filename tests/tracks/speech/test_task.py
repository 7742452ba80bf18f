import copy
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from kdarena.tracks.branch import Ensemble
from kdarena.tracks.modes import evaluating
from kdarena.tracks.speech import tones
from kdarena.tracks.speech.cards import card
from kdarena.tracks.speech.metrics import word_error_rate
from kdarena.tracks.speech.task import SpeechTask
from kdarena.tracks.values import Setting, Split


def student(task: SpeechTask, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return task.new_network(task.card.student)


def first(task: SpeechTask):
    return next(task.batches(Split(0), "augmented"))


# data
def test_student_and_teacher_hear_the_same_utterances(tones_task: SpeechTask):
    data, targets = tones.load().train, tones_task._halves["train"]._targets
    batch = first(tones_task)
    assert batch.teacher_inputs is not None and batch.inputs.shape == batch.teacher_inputs.shape
    for row, utterance in enumerate(batch.index.tolist()):
        for inputs, frames in ((batch.inputs, data.far), (batch.teacher_inputs, data.close)):
            values = torch.from_numpy(frames[utterance]).float()
            length = len(values)
            torch.testing.assert_close(inputs[row, :length, 1:] * tones_task._deviation, values - values.mean(dim=0), atol=1e-4, rtol=1e-4)
            assert (inputs[row, :length, 0] == 1).all() and not inputs[row, length:].any()
        assert torch.equal(batch.targets[row][batch.targets[row] >= 0], targets[utterance][targets[utterance] >= 0])


def test_a_louder_or_muffled_microphone_changes_nothing(tones_task: SpeechTask):
    batch = first(tones_task)
    real = batch.inputs[..., 0] > 0
    values = batch.inputs[..., 1:] * tones_task._deviation
    torch.testing.assert_close(tones_task._inputs(values + torch.randn(60), real), batch.inputs, atol=1e-5, rtol=1e-4)


def test_training_inputs_of_teachers_have_deviation_1(tones_task: SpeechTask):
    every = [batch.teacher_inputs for batch in tones_task.part_batches("train", Split(0))]
    frames = torch.cat([inputs[inputs[..., 0] > 0] for inputs in every if inputs is not None])[:, 1:].double()
    torch.testing.assert_close(frames.mean(dim=0), torch.zeros(60).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(frames.square().mean(dim=0), torch.ones(60).double(), atol=2e-3, rtol=0)


def test_long_utterances_are_evaluated_fewer_at_once(tones_task: SpeechTask, monkeypatch: pytest.MonkeyPatch):
    from kdarena.tracks.speech import task as module

    assert tones_task.evaluation_batch == 500
    longest = max(int(frames.lengths.max()) for frames in (tones.load().train.far, tones.load().test.far))
    monkeypatch.setattr(module, "EVALUATED_FRAMES", 10 * longest)
    few = SpeechTask(card("tones"), Setting(), tones.load())
    assert few.evaluation_batch == 10
    network = student(few)
    assert few.evaluate(network, "validation", Split(0)) == pytest.approx(tones_task.evaluate(network, "validation", Split(0)), rel=1e-4)


def test_targets_end_with_the_end_of_the_sentence_and_are_padded(tones_task: SpeechTask):
    targets = first(tones_task).targets
    lengths = (targets != -100).sum(dim=1)
    assert targets.shape[1] == lengths.max() and set(lengths.tolist()) <= {3, 4, 5, 6}
    assert (targets.gather(1, lengths.unsqueeze(1) - 1) == 10).all() and (targets == 10).sum() == len(targets)


def test_parts_are_those_of_the_data_set_whatever_the_seed(tones_task: SpeechTask):
    for seed in (0, 1):
        assert tones_task.parts.rows("train", Split(seed)).tolist() == list(range(1000))
        assert tones_task.parts.rows("validation", Split(seed)).tolist() == list(range(1000, 1150))
    assert tones_task.size("test", Split(0)) == 400


def test_a_seed_decides_the_order(tones_task: SpeechTask):
    assert torch.equal(first(tones_task).index, first(tones_task).index)
    assert not torch.equal(first(tones_task).index, next(tones_task.batches(Split(1), "augmented")).index)


# sequences
def test_decoder_inputs_are_the_targets_behind_the_start_of_the_sentence(tones_task: SpeechTask):
    targets = torch.tensor([[3, 4, 10, -100], [7, 10, -100, -100]])
    assert tones_task.decoder_inputs(targets).tolist() == [[11, 3, 4, 10], [11, 7, 10, 10]]


def test_positions_count_up_to_and_with_the_end_of_the_sentence(tones_task: SpeechTask):
    targets = torch.tensor([[3, 4, 10, -100], [7, 10, -100, -100], [1, 2, 3, 10]])
    assert torch.equal(tones_task.counted(tones_task.decoder_inputs(targets)), targets != -100)


def test_rows_are_positions_with_their_tokens(tones_task: SpeechTask):
    batch = first(tones_task)
    outputs = tones_task.answered(student(tones_task), batch)
    logits, mask = tones_task.rows(outputs)
    targets = tones_task.row_targets(outputs, batch.targets)
    assert mask is not None and logits.shape == (batch.targets.numel(), 11)
    assert torch.equal(mask, targets != -100)
    picked = -logits.log_softmax(dim=1)[mask].gather(1, targets[mask].unsqueeze(1))
    torch.testing.assert_close(tones_task.loss(outputs, batch.targets), picked.mean())


def test_outputs_show_the_encoders_layers_with_zero_padding(tones_task: SpeechTask):
    batch = first(tones_task)
    outputs = tones_task.answered(student(tones_task), batch)
    real = outputs.tokens
    assert real is not None and list(outputs.features) == ["stage1", "stage2"] and len(outputs.hidden) == 3
    for states, feature in zip(outputs.hidden[1:], outputs.features.values(), strict=True):
        assert feature.shape == (32, 64, real.shape[1], 1)
        assert torch.equal(feature.squeeze(3).transpose(1, 2), states) and not states[~real].any() and states[real].abs().sum() > 0
    assert outputs.embedding is None and outputs.attentions == ()


def test_shapes_and_latency_are_measured_on_one_utterance(tones_task: SpeechTask):
    shapes = tones_task.shapes(student(tones_task))
    assert shapes.logits[1] == 11 and shapes.features["stage2"][0] == 64 and shapes.features["stage2"][2] == 1
    assert tones_task.latency_ms(student(tones_task)) > 0


def test_a_network_of_ones_own_gives_logits_alone_and_can_not_decode(tones_task: SpeechTask):
    class Counting(nn.Module):
        def forward(self, inputs: torch.Tensor, decoder_inputs: torch.Tensor) -> torch.Tensor:
            return nn.functional.one_hot(decoder_inputs.clamp(max=10), 11)

    batch = first(tones_task)
    outputs = tones_task.answered(Counting(), batch)
    assert outputs.logits.dtype == torch.float32 and not outputs.features
    with pytest.raises(ValueError, match="Counting can't decode"):
        tones_task.decode(Counting(), batch.inputs)


def test_a_network_is_initialised_from_the_global_generator_alone(tones_task: SpeechTask):
    one, other, third = student(tones_task, 0), student(tones_task, 0), student(tones_task, 1)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())
    assert not torch.equal(next(one.parameters()), next(third.parameters()))
    assert tones_task.new_network("aed32", dropout=0.3).dropout.p == 0.3
    with pytest.raises(ValueError, match="unknown architecture 'lstm'; known: aed32"):
        tones_task.new_network("lstm")


# training and evaluation
@pytest.fixture(scope="module")
def teacher(tones_task: SpeechTask) -> nn.Module:
    """Trained on close-talk audio for three epochs."""
    network = student(tones_task).train()
    optimizer = tones_task.optimizer(network.parameters(), lr=4e-3, weight_decay=0.0)
    batches = tones_task.batches(Split(0), "augmented")
    for _ in range(120):
        batch = next(batches).seen_by_teacher()
        optimizer.zero_grad()
        tones_task.loss(tones_task.answered(network, batch), batch.targets).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return network.eval()


def test_a_teacher_learns_close_talk_and_far_field_is_another_domain(tones_task: SpeechTask, teacher: nn.Module):
    close = tones_task.evaluate(teacher, "test", Split(0), teacher_inputs=True)
    far = tones_task.evaluate(teacher, "test", Split(0))
    assert close["word_accuracy"] > 60 > 30 > far["word_accuracy"]
    assert close["word_accuracy"] == 100 - close["wer"] and close["token_accuracy"] > 70 and close["nll"] < 1


def test_the_reference_hears_close_talk_whatever_the_network_hears(tones_task: SpeechTask, teacher: nn.Module):
    own = tones_task.evaluate(teacher, "validation", Split(0), teacher, teacher_inputs=True)
    assert own["agreement"] == 100 and own["teacher_kl"] == pytest.approx(0, abs=1e-6)
    other = tones_task.evaluate(teacher, "validation", Split(0), teacher)
    assert other["agreement"] < 70 and other["teacher_kl"] > 0.5


def test_the_divergence_weighs_by_the_teachers_probabilities(tones_task: SpeechTask):
    def constant(odds: float) -> nn.Module:
        """Ends every sentence at once, with these odds against each other token."""
        network = student(tones_task)
        network.classifier.weight.data.zero_()
        network.classifier.bias.data = torch.tensor([*[1.0] * 10, odds]).log()
        return network

    # the teacher's 1/2 and ten times 1/20 against 2/12 and ten times 1/12
    found = tones_task.evaluate(constant(2), "validation", Split(0), constant(10))
    assert found["teacher_kl"] == pytest.approx(math.log(12 / 4) / 2 + math.log(12 / 20) / 2, rel=1e-5)


def test_the_error_rate_is_that_of_the_decoded_sequences(tones_task: SpeechTask, teacher: nn.Module):
    said, heard = [], []
    for batch in tones_task.part_batches("validation", Split(0)):
        with evaluating(teacher):
            decoded = tones_task.decode(teacher, batch.inputs)
        for target, sequence in zip(batch.targets.tolist(), decoded.tolist(), strict=True):
            said.append(" ".join(map(str, (token for token in target if 0 <= token < 10))))
            heard.append(" ".join(map(str, (token for token in sequence if 0 <= token < 10))))
    assert tones_task.evaluate(teacher, "validation", Split(0))["wer"] == pytest.approx(word_error_rate(said, heard))


def test_the_decoded_sequence_is_what_its_own_tokens_make_most_probable(tones_task: SpeechTask, teacher: nn.Module):
    inputs = first(tones_task).teacher_inputs
    decoded = tones_task.decode(teacher, inputs)
    logits = tones_task.forward(teacher, inputs, decoder_inputs=tones_task.decoder_inputs(decoded)).logits
    counted = decoded != -100
    assert torch.equal(logits.argmax(dim=2)[counted], decoded[counted])


def test_a_beam_is_no_less_probable_on_the_whole(tones_task: SpeechTask, teacher: nn.Module):
    inputs = first(tones_task).inputs

    def log_probability(decoded: torch.Tensor) -> torch.Tensor:
        logits = tones_task.forward(teacher, inputs, decoder_inputs=tones_task.decoder_inputs(decoded)).logits.log_softmax(dim=2)
        return logits.gather(2, decoded.clamp(min=0).unsqueeze(2)).squeeze(2).masked_fill(decoded == -100, 0.0).sum(dim=1)

    assert log_probability(tones_task.decode(teacher, inputs, beam=4)).mean() > log_probability(tones_task.decode(teacher, inputs)).mean()


def test_an_ensemble_decodes_and_is_scored(tones_task: SpeechTask, teacher: nn.Module):
    twins = Ensemble([teacher, copy.deepcopy(teacher)]).eval()
    inputs = first(tones_task).teacher_inputs
    assert torch.equal(tones_task.decode(twins, inputs), tones_task.decode(teacher, inputs))
    alone = tones_task.evaluate(teacher, "validation", Split(0), teacher_inputs=True)
    assert tones_task.evaluate(twins, "validation", Split(0), teacher_inputs=True) == pytest.approx(alone, rel=1e-5)


def test_a_report_sees_the_tokens_that_count(tones_task: SpeechTask, teacher: nn.Module):
    evaluation = tones_task.evaluation("validation", Split(0))
    logits = evaluation.outputs(teacher).logits
    assert logits.shape == (len(evaluation.targets), 11) and (evaluation.targets >= 0).all()
    accuracy = 100 * (logits.argmax(dim=1) == evaluation.targets).double().mean()
    assert tones_task.evaluate(teacher, "validation", Split(0))["token_accuracy"] == pytest.approx(float(accuracy))
    assert tones_task.detection(teacher, "validation", Split(0))


def test_bf16_gives_fp32_results_near_the_exact_ones(tones_task: SpeechTask, teacher: nn.Module):
    coarse = card("tones").load(card("tones"), Setting(precision="bf16"))
    assert isinstance(coarse, SpeechTask)
    batch = first(tones_task)
    exact, rounded = tones_task.answered(teacher, batch), coarse.answered(teacher, batch)
    assert rounded.logits.dtype == rounded.features["stage1"].dtype == torch.float32
    torch.testing.assert_close(exact.logits, rounded.logits, atol=0.5, rtol=0.1)
    assert coarse.decode(teacher, batch.inputs).shape[0] == 32


def test_librispeech_trains_and_is_scored_in_words(librispeech_root: Path):
    one = card("librispeech:aed32-aed32", str(librispeech_root))
    task = one.load(one, Setting(data_root=str(librispeech_root)))
    assert isinstance(task, SpeechTask) and (task.card.train, task.card.validation, task.card.test) == (3, 2, 2)
    batch = next(task.batches(Split(0), "augmented"))
    network = task.new_network("aed32")
    task.loss(task.answered(network, batch), batch.targets).backward()
    assert batch.inputs.shape[2] == 241 and batch.targets.shape[1] == len("a cat's hat") + 1
    assert set(task.evaluate(network, "test", Split(0), network)) == {"word_accuracy", "wer", "token_accuracy", "nll", "agreement", "teacher_kl"}
