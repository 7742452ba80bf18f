"""Encoders: parameters, attention before dropout, padding, segments, checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer as Pieces
from tokenizers import models
from torch import Tensor, nn
from torch.nn import functional

from kdarena.tracks.text import checkpoint
from kdarena.tracks.text.architectures import Architecture, architecture
from kdarena.tracks.text.models import Encoder, load_encoder, new_encoder

SMALL = Architecture(layers=2, width=16, heads=4, dropout=0.0)


def encoder(size: Architecture = SMALL, dropout: float | None = None, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return new_encoder(size, 2, 30, 3, dropout).eval()


def sentences(*lengths: int, longest: int | None = None) -> Tensor:
    """[CLS] … [SEP] of random ids, padded."""
    generator = torch.Generator().manual_seed(7)
    ids = torch.zeros(len(lengths), longest or max(lengths), dtype=torch.long)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = torch.randint(4, 30, (length,), generator=generator)
        row[0], row[length - 1] = 2, 3
    return ids


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# sizes
def test_bert_base_has_the_papers_parameters():
    with torch.device("meta"):
        twelve, six = (new_encoder(architecture(name), 2, 30522, 102) for name in ("bert-12", "bert-6"))
    assert parameters(twelve.bert.encoder.layer[0]) == 7_087_872
    assert parameters(twelve.bert.pooler) == 590_592
    assert parameters(twelve.bert.encoder) + parameters(twelve.bert.pooler) == 85_645_056
    assert parameters(six.bert.encoder) + parameters(six.bert.pooler) == 43_117_824


@pytest.mark.parametrize(
    ("name", "layers", "width", "heads"),
    [("bert-12", 12, 768, 12), ("bert-6", 6, 768, 12), ("bert-6-256", 6, 256, 4), ("bert-8-512", 8, 512, 8), ("bert-2-64", 2, 64, 4)],
)
def test_a_name_says_layers_and_width(name: str, layers: int, width: int, heads: int):
    found = architecture(name)
    assert (found.layers, found.width, found.heads) == (layers, width, heads)


@pytest.mark.parametrize("name", ["bert", "bert-0", "bert-2-50", "bert-2-", "gpt-2", "bert-2-64-4"])
def test_another_name_is_refused_in_one_line(name: str):
    with pytest.raises(ValueError, match="architecture") as caught:
        architecture(name)
    assert "\n" not in str(caught.value)


def test_wide_encoders_have_berts_dropout_and_narrow_ones_none():
    assert architecture("bert-6").dropout == architecture("bert-2-128").dropout == 0.1
    assert architecture("bert-2-64").dropout == 0


# attention
def by_hand(network: Encoder, layer: int, states: Tensor, ids: Tensor) -> Tensor:
    """Softmax of scaled products of one layer, head by head, over real keys."""
    attention = network.bert.encoder.layer[layer].attention.self
    rows = []
    for batch, length in enumerate((ids != 0).sum(dim=1).tolist()):
        heads = []
        for head in range(4):
            part = slice(4 * head, 4 * head + 4)
            query, key = (projection(states[batch])[:, part] for projection in (attention.query, attention.key))
            probabilities = torch.zeros(len(query), len(query))
            probabilities[:, :length] = functional.softmax(query @ key[:length].T / 2, dim=1)
            heads.append(probabilities)
        rows.append(torch.stack(heads))
    return torch.stack(rows)


def test_attentions_are_the_layers_probabilities_over_real_keys():
    network, ids = encoder(), sentences(7, 4)
    found = network(ids)
    assert len(found.attentions) == 2 and len(found.hidden) == 3
    for layer in (0, 1):
        assert torch.allclose(found.attentions[layer], by_hand(network, layer, found.hidden[layer], ids), atol=1e-6)
        assert not found.attentions[layer][1, :, :, 4:].any()


def test_attentions_are_those_before_dropout():
    network, ids = encoder(dropout=0.5).train(), sentences(7, 4)
    torch.manual_seed(0)
    found = network(ids)
    for layer in (0, 1):
        assert torch.allclose(found.attentions[layer].sum(dim=-1), torch.ones(2, 4, 7))
        assert torch.allclose(found.attentions[layer], by_hand(network, layer, found.hidden[layer], ids), atol=1e-6)


def test_dropout_of_attention_is_a_module_that_can_be_kept_alive_in_eval_mode():
    network, ids = encoder(dropout=0.5), sentences(7, 4)
    assert torch.equal(network(ids).logits, network(ids).logits)
    network.bert.encoder.layer[0].attention.self.dropout.train()
    one, other = network(ids), network(ids)
    assert torch.equal(one.attentions[0], other.attentions[0]) and not torch.allclose(one.hidden[1], other.hidden[1])


def test_gradients_reach_the_queries_through_the_attentions():
    network = encoder()
    network(sentences(6))[2][1].square().sum().backward()
    assert network.bert.encoder.layer[0].attention.self.query.weight.grad is not None
    assert float(network.bert.encoder.layer[1].attention.self.query.weight.grad.abs().sum()) > 0
    assert network.classifier.weight.grad is None


def test_the_encoder_computes_what_the_library_does():
    network, ids = encoder(), sentences(7, 4)
    network.bert.set_attn_implementation("eager")
    expected = network.bert(ids, attention_mask=(ids != 0).long(), output_hidden_states=True)
    network.bert.set_attn_implementation("kdarena_shown")
    found = network(ids)
    real = (ids != 0)[..., None]
    for one, other in zip(found.hidden, expected.hidden_states, strict=True):
        assert torch.allclose(one * real, other * real, atol=1e-5)
    assert torch.allclose(found.logits, network.classifier(expected.pooler_output), atol=1e-5)


# padding and segments
def test_padding_changes_nothing():
    network = encoder()
    short, long = network(sentences(7, 4)), network(sentences(7, 4, longest=11))
    assert torch.allclose(short.logits, long.logits, atol=1e-6)
    for one, other in zip(short.attentions, long.attentions, strict=True):
        assert torch.allclose(one, other[:, :, :7, :7], atol=1e-6) and not other[:, :, :, 7:].any()
    for one, other in zip(short.hidden, long.hidden, strict=True):
        assert torch.allclose(one[1, :4], other[1, :4], atol=1e-6)
    alone = network(sentences(7, 4)[1:, :4])
    assert torch.allclose(alone.logits, short.logits[1:], atol=1e-6)


def test_padding_alone_is_no_nan():
    assert bool(encoder()(torch.zeros(1, 5, dtype=torch.long)).logits.isfinite().all())


def test_the_second_segment_starts_behind_the_first_separator():
    network = encoder()
    ids = torch.tensor([[2, 9, 3, 8, 7, 3, 0], [2, 9, 8, 7, 6, 5, 3]])
    expected = network.bert.embeddings(ids, torch.tensor([[0, 0, 0, 1, 1, 1, 0], [0] * 7]))
    assert torch.equal(network(ids).hidden[0], expected)


def test_a_seed_gives_the_same_weights_and_their_size_follows_the_width():
    assert all(torch.equal(one, other) for one, other in zip(encoder().parameters(), encoder().parameters(), strict=True))
    wide = encoder(Architecture(1, 192, 4, 0.0))
    assert float(wide.bert.encoder.layer[0].intermediate.dense.weight.detach().std()) == pytest.approx(0.04, rel=0.02)


# checkpoints
@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "bert"
    encoder(seed=5).bert.save_pretrained(place)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz"]
    (place / "vocab.txt").write_text("\n".join(tokens))
    return place


def test_a_local_checkpoint_gives_weights_and_tokenizer(folder: Path):
    assert checkpoint.is_folder(str(folder)) and checkpoint.missing(str(folder)) is None
    loaded, original = load_encoder(str(folder), 3, 3).eval(), encoder(seed=5)
    ids = sentences(7, 4)
    assert all(torch.equal(one, other) for one, other in zip(loaded(ids).hidden, original(ids).hidden, strict=True))
    assert loaded(ids).logits.shape == (2, 3)
    vocabulary = checkpoint.vocabulary(str(folder))
    assert vocabulary.encode(["A b"], ["c"]) == [[2, 4, 5, 3, 6, 3]] and (vocabulary.size, vocabulary.separator) == (30, 3)


def test_a_checkpoints_dropout_may_be_replaced(folder: Path):
    assert {module.p for module in load_encoder(str(folder), 2, 3, 0.3).modules() if isinstance(module, nn.Dropout)} == {0.3}
    assert {module.p for module in load_encoder(str(folder), 2, 3).modules() if isinstance(module, nn.Dropout)} == {0.0}


def test_a_checkpoints_digest_follows_its_files(folder: Path):
    before = checkpoint.digest(str(folder))
    assert before == checkpoint.digest(str(folder))
    (folder / "vocab.txt").write_text("[PAD]")
    assert checkpoint.digest(str(folder)) != before


@pytest.mark.parametrize(
    ("file", "named"), [("config.json", "config.json"), ("model.safetensors", "model.safetensors"), ("vocab.txt", "tokenizer.json or vocab.txt")]
)
def test_a_missing_file_is_named(folder: Path, file: str, named: str):
    (folder / file).unlink()
    assert f"{folder / named} is missing" in str(checkpoint.missing(str(folder)))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2'"),
        ({"pad_token_id": 1}, "pad_token_id is 1"),
        ({"max_position_embeddings": 64}, "max_position_embeddings is 64; it has to be 128 at least"),
        ({"type_vocab_size": 1}, "type_vocab_size is 1"),
    ],
)
def test_another_kind_of_model_is_refused(folder: Path, change: dict[str, object], problem: str):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=problem):
        checkpoint.config(str(folder))


def test_a_tokenizer_that_is_none_or_has_more_tokens_than_the_model_is_refused(folder: Path):
    tokens = (folder / "vocab.txt").read_text()
    (folder / "vocab.txt").write_text(f"{tokens}\none\nmore")
    with pytest.raises(ValueError, match="its tokenizer has 32 tokens, but config.json has a vocab_size of 30"):
        checkpoint.vocabulary(str(folder))
    (folder / "vocab.txt").write_text(tokens.replace("[SEP]", "[END]"))
    with pytest.raises(ValueError, match="its tokenizer can.t be read"):
        checkpoint.vocabulary(str(folder))
    Pieces(models.WordPiece({"[PAD]": 0, "[UNK]": 1}, unk_token="[UNK]")).save(str(folder / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"has no \[SEP\]"):
        checkpoint.vocabulary(str(folder))
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match="its tokenizer can't be read"):
        checkpoint.vocabulary(str(folder))
