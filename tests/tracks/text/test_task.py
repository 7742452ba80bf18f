"""The task at work: batches, outputs, networks, evaluation."""

from __future__ import annotations

import copy
import math
import random
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kdarena.tracks.branch import Ensemble
from kdarena.tracks.checkpoints import load_into, save
from kdarena.tracks.text.architectures import Architecture
from kdarena.tracks.text.cards import card
from kdarena.tracks.text.checkpoint import load_bert
from kdarena.tracks.text.grammar import sentences
from kdarena.tracks.text.models import Encoder, new_encoder
from kdarena.tracks.text.task import TextTask
from kdarena.tracks.text.vocabulary import Morphemes
from kdarena.tracks.values import Batch, Outputs, Setting, Split


def first(task: TextTask, count: int, seed: int = 0, data: str = "augmented") -> list[Batch]:
    return list(islice(task.batches(Split(seed), data), count))  # type: ignore[arg-type]


def student(task: TextTask, seed: int = 0, dropout: float = 0.0) -> Encoder:
    torch.manual_seed(seed)
    network = task.new_network(task.card.student, dropout=dropout)
    assert isinstance(network, Encoder)
    return network


# batches
def test_a_seed_gives_the_same_batches_whatever_else_draws(grammar_task: TextTask):
    torch.manual_seed(1)
    undisturbed = first(grammar_task, 10)
    drawn = []
    for batch in islice(grammar_task.batches(Split(0), "augmented"), 10):
        torch.rand(3), torch.manual_seed(5), np.random.rand(), random.random()
        drawn.append(batch)
    assert all(torch.equal(one.inputs, other.inputs) and torch.equal(one.index, other.index) for one, other in zip(undisturbed, drawn, strict=True))
    assert not torch.equal(first(grammar_task, 1, seed=1)[0].index, undisturbed[0].index)


def test_a_batch_holds_the_sentences_of_its_index_padded_to_a_length_that_is_fast(grammar_task: TextTask):
    vocabulary, train = Morphemes(), sentences()["train"]
    for batch in first(grammar_task, 5):
        chosen = [train[position] for position in batch.index.tolist()]
        expected = vocabulary.encode(sentence.morphemes for sentence in chosen)
        assert batch.inputs.dtype == torch.int64 and batch.inputs.shape == (32, 16) and max(map(len, expected)) <= 16
        assert [row[row != 0].tolist() for row in batch.inputs] == expected
        assert all(not row[len(ids) :].any() for row, ids in zip(batch.inputs, expected, strict=True))
        assert batch.targets.tolist() == [int(sentence.acceptable) for sentence in chosen]


def test_validation_is_fixed_and_has_words_of_its_own(grammar_task: TextTask):
    rows = [grammar_task.parts.rows("validation", Split(seed)).tolist() for seed in (0, 1)]
    assert rows[0] == rows[1] == list(range(8000, 8500))
    labels = torch.cat([batch.targets for batch in grammar_task.part_batches("validation", Split(0))])
    assert labels.tolist() == [int(sentence.acceptable) for sentence in sentences()["validation"]]


def test_glue_cuts_another_validation_part_for_each_seed_and_reads_dev_as_test(cola: Path):
    found = card("cola", str(cola))
    task = found.load(found, Setting(data_root=str(cola)))
    assert isinstance(task, TextTask)
    parts = [set(task.parts.rows("validation", Split(seed)).tolist()) for seed in (0, 1)]
    assert parts[0] != parts[1] and len(parts[0]) == 20
    assert not parts[0] & set(task.parts.rows("train", Split(0)).tolist())
    assert task.size("test", Split(0)) == 20 and task.size("train", Split(0, "published")) == 90
    assert task.part_targets("test", Split(0)).tolist() == [number % 2 for number in range(20)]
    assert torch.equal(task.targets(Split(0))[first(task, 1)[0].index], first(task, 1)[0].targets)


def test_a_pair_is_one_row_of_two_segments(rte: Path):
    found = card("rte:bert-1-16:bert-1-16", str(rte))
    task = found.load(found, Setting(data_root=str(rte)))
    assert isinstance(task, TextTask)
    ids = first(task, 1)[0].inputs
    assert ((ids == 3).sum(dim=1) == 2).all() and (ids[:, 0] == 2).all()


# outputs
def test_outputs_show_hidden_states_attentions_and_maps(grammar_task: TextTask):
    network, batch = student(grammar_task), first(grammar_task, 1)[0]
    found = grammar_task.forward(network, batch.inputs)
    length = batch.inputs.shape[1]
    assert found.logits.shape == (32, 2) and len(found.hidden) == 3 and len(found.attentions) == grammar_task.card.attentions == 2
    assert all(states.shape == (32, length, 32) for states in found.hidden)
    assert all(probabilities.shape == (32, 4, length, length) for probabilities in found.attentions)
    assert found.tokens is not None and torch.equal(found.tokens, batch.inputs != 0)
    assert list(found.features) == ["layer1", "layer2"] and found.feature_map is found.features["layer2"]
    for number, name in enumerate(found.features, start=1):
        expected = found.hidden[number].clone()
        expected[~found.tokens] = 0
        assert torch.equal(found.features[name], expected.transpose(1, 2).unsqueeze(3))
    assert found.embedding is not None and torch.equal(network.classifier(found.embedding), found.logits)
    logits, mask = grammar_task.rows(found)
    assert logits is found.logits and mask is None


def test_the_loss_is_cross_entropy_and_earlier_exits_add_theirs(grammar_task: TextTask):
    logits, targets = torch.randn(6, 2), torch.tensor([0, 1, 1, 0, 1, 0])
    expected = -logits.log_softmax(dim=1)[torch.arange(6), targets].mean()
    assert torch.allclose(grammar_task.loss(Outputs(logits), targets), expected)
    assert torch.allclose(grammar_task.loss(Outputs(logits, exits=(logits,)), targets), 2 * expected)


def test_networks_that_are_no_encoders_answer_with_logits_or_with_exits(grammar_task: TextTask):
    class Constant(nn.Module):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(ids), 2)

    batch = first(grammar_task, 1)[0]
    assert grammar_task.forward(Constant(), batch.inputs).logits.shape == (32, 2)
    found = grammar_task.forward(Ensemble([student(grammar_task, 0), student(grammar_task, 1)]), batch.inputs)
    assert found.logits.shape == (32, 2) and len(found.exits) == 2


def test_shapes_are_of_one_sentence_and_change_no_generator(grammar_task: TextTask):
    network = student(grammar_task)
    before = torch.random.get_rng_state()
    shapes = grammar_task.shapes(network)
    assert torch.equal(before, torch.random.get_rng_state())
    assert shapes.logits == (2,) and shapes.embedding == (32,)
    assert {name: (shape[0], shape[2]) for name, shape in shapes.features.items()} == {"layer1": (32, 1), "layer2": (32, 1)}
    assert grammar_task.latency_ms(network) > 0


def test_padding_changes_no_outputs_of_the_task(grammar_task: TextTask):
    network, ids = student(grammar_task).eval(), first(grammar_task, 1)[0].inputs
    one, other = grammar_task.forward(network, ids), grammar_task.forward(network, nn.functional.pad(ids, (0, 5)))
    assert torch.allclose(one.logits, other.logits, atol=1e-5)
    assert torch.allclose(one.features["layer2"], other.features["layer2"][:, :, :-5], atol=1e-5) and not other.features["layer2"][:, :, -5:].any()


def test_in_bf16_all_outputs_are_fp32_and_attentions_sum_to_one():
    found = card("grammar")
    task = found.load(found, Setting(precision="bf16"))
    assert isinstance(task, TextTask)
    outputs = task.forward(student(task), first(task, 1)[0].inputs)
    assert outputs.embedding is not None
    every = (outputs.logits, outputs.embedding, *outputs.attentions, *outputs.hidden, *outputs.features.values())
    assert {tensor.dtype for tensor in every} == {torch.float32}
    assert torch.allclose(outputs.attentions[1].sum(dim=3), torch.ones(()), atol=1e-5)


# networks
def test_an_encoders_weights_survive_a_file_and_a_copy_answers_alike(grammar_task: TextTask, tmp_path: Path):
    network, ids = student(grammar_task).eval(), first(grammar_task, 1)[0].inputs
    expected = grammar_task.forward(network, ids).logits
    save(network, tmp_path / "student.safetensors")
    other = student(grammar_task, seed=1).eval()
    load_into(other, tmp_path / "student.safetensors")
    assert torch.equal(grammar_task.forward(other, ids).logits, expected)
    copied = grammar_task.forward(copy.deepcopy(network), ids)
    assert torch.equal(copied.logits, expected) and copied.embedding is not None


def test_a_seed_gives_the_same_network(grammar_task: TextTask):
    assert all(torch.equal(one, other) for one, other in zip(student(grammar_task).parameters(), student(grammar_task).parameters(), strict=True))


def test_dropout_may_be_asked_for(grammar_task: TextTask):
    def rates(network: nn.Module) -> set[float]:
        return {module.p for module in network.modules() if isinstance(module, nn.Dropout)}

    assert rates(student(grammar_task, dropout=0.3)) == {0.3}
    assert grammar_task.card.teacher_dropout


def test_an_unknown_architecture_is_refused(grammar_task: TextTask):
    with pytest.raises(ValueError, match="unknown architecture 'resnet20'"):
        grammar_task.new_network("resnet20")


def test_a_checkpoint_by_path_gives_tokens_and_weights(cola: Path, tmp_path: Path):
    torch.manual_seed(3)
    original = new_encoder(Architecture(1, 16, 4, 0.0), 2, 40, 3)
    folder = tmp_path / "teacher"
    original.bert.save_pretrained(folder)
    letters = "abcdefghijklmnopqrstuvwxyz"
    (folder / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "dog", "barks", *letters, ".", *(str(digit) for digit in range(6))])
    )
    found = card(f"cola:{folder}:bert-1-16", str(cola))
    assert (found.teacher, found.student, found.recipe.lr) == (str(folder), "bert-1-16", card("cola").recipe.lr)
    assert (found.recipe.teacher_lr, found.recipe.teacher_epochs) == (5e-5, 4), "a teacher from a checkpoint is fine-tuned as one"
    assert card(f"cola:{folder}:{folder}", str(cola)).recipe.lr == 5e-5
    scratch = card(f"cola:bert-1-16:{folder}", str(cola)).recipe
    assert (scratch.lr, scratch.teacher_lr, scratch.teacher_epochs) == (5e-5, 5e-4, 10)
    task = found.load(found, Setting(data_root=str(cola)))
    assert first(task, 1)[0].inputs[0, :3].tolist() == [2, 4, 5]  # type: ignore[arg-type]
    loaded = task.new_network(found.teacher)
    assert torch.equal(loaded.bert.pooler.dense.weight, original.bert.pooler.dense.weight)  # type: ignore[union-attr]
    assert task.new_network(found.student).bert.config.vocab_size == 40  # type: ignore[union-attr]
    assert found.digest(str(cola)) != card("cola", str(cola)).digest(str(cola))


def test_a_checkpoint_in_half_precision_becomes_a_network_in_fp32(tmp_path: Path):
    new_encoder(Architecture(1, 16, 4, 0.0), 2, 40, 3).bert.to(torch.bfloat16).save_pretrained(tmp_path)
    assert {weight.dtype for weight in load_bert(str(tmp_path), None).parameters()} == {torch.float32}


def test_checkpoints_with_different_vocabularies_are_refused(cola: Path, tmp_path: Path):
    folders = []
    for name, words in (("one", "the dog"), ("two", "the cat")):
        folders.append(tmp_path / name)
        new_encoder(Architecture(1, 16, 4, 0.0), 2, 6, 3).bert.save_pretrained(folders[-1])
        (folders[-1] / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words.split()]))
    found = card(f"cola:{folders[0]}:{folders[1]}", str(cola))
    with pytest.raises(ValueError, match=f"{folders[1]}: its vocabulary differs from that of {folders[0]}"):
        found.load(found, Setting(data_root=str(cola)))


# evaluation
def test_evaluation_gives_the_fields_metrics_and_changes_no_mode(grammar_task: TextTask):
    network = student(grammar_task, dropout=0.2).train()
    found = grammar_task.evaluate(network, "test", Split(0), network.eval())
    assert set(found) == {"accuracy", "matthews", "f1", "nll", "ece", "agreement", "teacher_kl"} and grammar_task.card.metric in found
    assert found["agreement"] == 100 and found["teacher_kl"] == pytest.approx(0, abs=1e-6)
    network.train()
    assert grammar_task.evaluate(network, "test", Split(0)) == {name: found[name] for name in ("accuracy", "matthews", "f1", "nll", "ece")}
    assert all(module.training for module in network.modules())


def test_the_divergence_weighs_by_the_teachers_probabilities(grammar_task: TextTask):
    class Constant(nn.Module):
        def __init__(self, odds: float):
            super().__init__()
            self.logits = torch.tensor([[odds, 1.0]]).log()

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.logits.expand(len(ids), 2)

    # the teacher's 3/4 and 1/4 against 1/2
    found = grammar_task.evaluate(Constant(1), "validation", Split(0), Constant(3))
    assert found["teacher_kl"] == pytest.approx(3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2), rel=1e-5)


def test_uncertainty_is_a_group_of_metrics(grammar_task: TextTask):
    found = grammar_task.further_metrics("uncertainty", student(grammar_task), Split(0))
    assert found and all(name.startswith("prr/") for name in found)
    with pytest.raises(ValueError, match="knows no group of metrics 'gap'"):
        grammar_task.further_metrics("gap", student(grammar_task), Split(0))


def test_the_published_protocol_leaves_out_the_fixed_validation_part(grammar_task: TextTask):
    assert grammar_task.size("train", Split(0, "published")) == 8000
    with pytest.raises(ValueError, match="no validation part"):
        grammar_task.evaluate(student(grammar_task), "validation", Split(0, "published"))
