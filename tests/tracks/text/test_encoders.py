"""Encoders of any kind by their local folders: what they show, their tokenizers, and heads that come with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from kdarena.arena.teachers import adopt_whole
from kdarena.plan.amounts import parse_amount
from kdarena.plan.request import Request
from kdarena.tracks import check_data, load_task
from kdarena.tracks.capture import Capture, overheard
from kdarena.tracks.text import checkpoint, files
from kdarena.tracks.text.encoders import load_pretrained
from kdarena.tracks.text.labels import order_of
from kdarena.tracks.torchvision import import_torchvision
from kdarena.tracks.values import Setting

import_torchvision()

import transformers  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: E402

SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
KINDS = {
    "distilbert": ("DistilBert", {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}),
    "roberta": ("Roberta", {**SIZE, "type_vocab_size": 1}),
    "xlm-roberta": ("XLMRoberta", {**SIZE, "type_vocab_size": 1}),
    "camembert": ("Camembert", {**SIZE, "type_vocab_size": 1}),
    "albert": ("Albert", {**SIZE, "embedding_size": 8}),
    "electra": ("Electra", {**SIZE, "embedding_size": 8}),
    "deberta": ("Deberta", {**SIZE, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "type_vocab_size": 0}),
    "deberta-v2": ("DebertaV2", {**SIZE, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8, "type_vocab_size": 0}),
    "modernbert": ("ModernBert", {**SIZE, "local_attention": 8, "global_attn_every_n_layers": 2}),
    "mpnet": ("MPNet", SIZE),
    "bert": ("Bert", SIZE),
}
WORDS = ["the", "a", "good", "bad", "film", "number", "was", "it", "is", "they", "say", "of", "text", "and", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
LABELS = ("bad", "good")


def write_tokenizer(place: Path, kind: str) -> int:
    """A word tokenizer with the special tokens of the kind; returns the id of padding."""
    roberta = kind in ("roberta", "xlm-roberta", "camembert", "mpnet")
    special = ("<s>", "<pad>", "</s>", "<unk>") if roberta else ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    names = {"bos": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>"} if roberta else {"pad": "[PAD]", "unk": "[UNK]", "bos": "[CLS]", "sep": "[SEP]"}
    vocabulary = {word: number for number, word in enumerate((*special, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=names["unk"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(names["sep"], vocabulary[names["sep"]]), (names["bos"], vocabulary[names["bos"]])]
    tokenizer.post_processor = processors.BertProcessing(*ends)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=names["pad"], unk_token=names["unk"], sep_token=names["sep"], cls_token=names["bos"], model_max_length=128
    )
    fast.save_pretrained(place)
    return vocabulary[names["pad"]]


def write_folder(place: Path, kind: str, id2label: dict[int, str] | None = None, seed: int = 0, **further: object) -> Path:
    """A tiny encoder of a kind, a classifier where there are labels."""
    name, size = KINDS[kind]
    padding = write_tokenizer(place, kind)
    settings = {**size, "vocab_size": 4 + len(WORDS), "max_position_embeddings": 160, "pad_token_id": padding, **further}
    if kind == "modernbert":
        settings |= {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    if id2label is not None:
        settings |= {"id2label": id2label, "label2id": {label: number for number, label in id2label.items()}}
    torch.manual_seed(seed)
    config = getattr(transformers, f"{name}Config")(**settings)
    model = getattr(transformers, f"{name}{'Model' if id2label is None else 'ForSequenceClassification'}")(config)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(place)
    return place


def encoder(folder: Path, labels: tuple[str, ...] | None = None, dropout: float | None = None) -> nn.Module:
    vocabulary = checkpoint.vocabulary(str(folder))
    return load_pretrained(str(folder), 2, vocabulary.separator, dropout, labels).eval()


def ids_of(folder: Path, *texts: str) -> torch.Tensor:
    every = checkpoint.vocabulary(str(folder)).encode(texts)
    ids = torch.zeros(len(every), max(map(len, every)), dtype=torch.long)
    for row, one in zip(ids, every, strict=True):
        row[: len(one)] = torch.tensor(one)
    return ids


OTHERS = tuple(kind for kind in KINDS if kind != "bert")
TEXTS = ("the film was good they say of it", "a bad film")


@pytest.mark.parametrize("kind", OTHERS)
def test_every_kind_shows_hidden_states_and_attentions_and_padding_changes_nothing(tmp_path: Path, kind: str):
    folder = write_folder(tmp_path, kind)
    assert checkpoint.missing(str(folder)) is None and checkpoint.layers(f"hf:{folder}") == 2
    network, ids = encoder(folder), ids_of(folder, *TEXTS)
    with torch.no_grad():
        found = network(ids)
        alone = network(ids[1:, :5])
        longer = network(nn.functional.pad(ids, (0, 6)))
    assert [tuple(states.shape) for states in found.hidden] == [(2, 10, 16)] * 3
    assert [tuple(one.shape) for one in found.attentions] == [(2, 2, 10, 10)] * 2
    for one in found.attentions:
        assert torch.allclose(one[:, :, :5].sum(dim=-1), torch.ones(2, 2, 5), atol=1e-5) and not one[1, :, :5, 5:].any()
    assert torch.allclose(alone.logits, found.logits[1:], atol=1e-5)
    assert torch.allclose(longer.logits, found.logits, atol=1e-5)
    assert torch.allclose(longer.hidden[2][0, :10], found.hidden[2][0], atol=1e-5)


@pytest.mark.parametrize("kind", OTHERS)
def test_every_kind_computes_what_the_library_does(tmp_path: Path, kind: str):
    folder = write_folder(tmp_path, kind, {0: "bad", 1: "good"})
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = tokenizer(list(TEXTS), padding=True, return_tensors="pt")
    given.pop("token_type_ids", None)
    with torch.no_grad():
        expected, found = model(**given, output_hidden_states=True, output_attentions=True), encoder(folder, LABELS)(ids_of(folder, *TEXTS))
    assert torch.allclose(found.logits, expected.logits, atol=1e-5)
    assert torch.allclose(found.hidden[1][0], expected.hidden_states[1][0], atol=1e-5)
    assert torch.allclose(found.attentions[1][0], expected.attentions[1][0], atol=1e-5)


@pytest.mark.parametrize("kind", OTHERS)
def test_attentions_are_those_before_dropout_and_gradients_reach_the_first_layer(tmp_path: Path, kind: str):
    network = encoder(write_folder(tmp_path, kind), dropout=0.5).train()
    found = network(ids_of(tmp_path, *TEXTS))
    for one in found.attentions:
        assert torch.allclose(one[0].sum(dim=-1), torch.ones(2, 10), atol=1e-5)
    (found.logits.sum() + found.attentions[1].square().sum()).backward()
    assert all(parameter.grad is not None for name, parameter in network.named_parameters() if ".0." in name and "weight" in name)
    network.eval()
    ids = ids_of(tmp_path, *TEXTS)
    assert torch.equal(network(ids).logits, network(ids).logits)


@pytest.mark.parametrize("kind", OTHERS)
def test_the_embedding_is_what_the_last_layer_saw(tmp_path: Path, kind: str):
    network = encoder(write_folder(tmp_path, kind))
    with Capture(network) as capture:
        answer = network(ids_of(tmp_path, *TEXTS))
    head = network.get_submodule(network.head)
    assert torch.allclose(head(capture.embedding()), answer.logits, atol=1e-6) and not overheard(network)


def test_a_networks_dropout_may_be_replaced(tmp_path: Path):
    network = encoder(write_folder(tmp_path, "roberta"), dropout=0.3)
    assert {module.p for module in network.modules() if isinstance(module, nn.Dropout)} == {0.3}


# fine-tuned heads
@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_a_fine_tuned_head_is_taken_by_the_names_of_its_labels(tmp_path: Path, kind: str):
    text = tmp_path / "a.csv"
    text.write_text("text,label\n" + "".join(f"the film {number},{LABELS[number % 2]}\n" for number in range(60)))
    folder = write_folder(tmp_path / "model", kind, {0: "GOOD", 1: "Bad"})
    card = files.own_card({"text": str(text), "teacher": f"hf:{folder}", "student": "bert-1-16"})
    assert card.name == "a:model:bert-1-16" and check_data(card, None) == ()
    task = card.load(card, Setting())
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    given = transformers.AutoTokenizer.from_pretrained(folder)(["the film 7"], return_tensors="pt")
    given.pop("token_type_ids", None)
    with torch.no_grad():
        expected = model(**given).logits
        found = task.forward(task.new_network(card.teacher).eval(), ids_of(folder, "the film 7")).logits
    assert torch.allclose(found, expected[:, [1, 0]], atol=1e-5)


def test_a_head_of_other_labels_is_refused_with_both_lists(tmp_path: Path):
    text = tmp_path / "a.csv"
    text.write_text("text,label\n" + "".join(f"the film {number},{LABELS[number % 2]}\n" for number in range(60)))
    card = files.own_card({"text": str(text), "teacher": f"hf:{write_folder(tmp_path / 'model', 'roberta', {0: 'NEG', 1: 'POS'})}"})
    with pytest.raises(Exception, match=r"its classifier's labels are 'NEG', 'POS', the data's are 'bad', 'good': rename either") as caught:
        check_data(card, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("id2label", "labels", "order"),
    [
        ({"0": "LABEL_0", "1": "LABEL_1"}, ("0", "1"), (0, 1)),
        ({"0": "not_entailment", "1": "entailment"}, ("entailment", "not entailment"), (1, 0)),
        ({str(number): f"LABEL_{number}" for number in range(12)}, tuple(str(number) for number in range(12)), tuple(range(12))),
        ({"0": "LABEL_0", "1": "LABEL_1"}, ("no", "yes"), None),
        ({"0": "a", "1": "b", "2": "c"}, ("a", "b"), None),
    ],
)
def test_labels_are_matched_by_name(id2label: dict[str, str], labels: tuple[str, ...], order: tuple[int, ...] | None):
    if order is None:
        with pytest.raises(ValueError, match="the data's are"):
            order_of("folder", {"id2label": id2label}, labels)
    else:
        assert order_of("folder", {"id2label": id2label}, labels) == order


# folders
def test_encoders_of_different_tokenizers_are_refused(tmp_path: Path):
    text = tmp_path / "a.csv"
    text.write_text("text,label\n" + "".join(f"the film {number},{LABELS[number % 2]}\n" for number in range(60)))
    teacher, student = write_folder(tmp_path / "teacher", "roberta"), write_folder(tmp_path / "student", "distilbert")
    card = files.own_card({"text": str(text), "teacher": f"hf:{teacher}", "student": str(student)})
    with pytest.raises(Exception, match="student: its vocabulary differs from that of .*teacher; teacher and student have to share one"):
        check_data(card, None)


@pytest.mark.parametrize(
    ("change", "problem"), [({"model_type": "gpt2"}, "only encoders are supported: bert, "), ({"max_position_embeddings": 64}, "it has to be 130")]
)
def test_a_model_that_is_no_encoder_or_too_short_is_refused(tmp_path: Path, change: dict[str, object], problem: str):
    path = write_folder(tmp_path, "roberta") / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=problem):
        checkpoint.layers(str(tmp_path))


def test_weights_that_are_pickled_alone_are_missing(tmp_path: Path):
    (write_folder(tmp_path, "roberta") / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    assert "model.safetensors is missing: save it there with save_pretrained()" in str(checkpoint.missing(str(tmp_path)))


def test_weights_in_several_files_are_read(tmp_path: Path):
    place = write_folder(tmp_path / "one", "bert", {0: "bad", 1: "good"})
    transformers.AutoModelForSequenceClassification.from_pretrained(place).save_pretrained(tmp_path / "more", max_shard_size="5KB")
    write_tokenizer(tmp_path / "more", "bert")
    more = str(tmp_path / "more")
    assert checkpoint.missing(more) is None and (tmp_path / "more" / checkpoint.SHARDS).exists()
    assert torch.equal(checkpoint.tensor(more, "classifier.weight"), checkpoint.tensor(str(place), "classifier.weight"))


def test_a_digest_follows_every_file(tmp_path: Path):
    before = checkpoint.digest(str(write_folder(tmp_path, "roberta")))
    (tmp_path / "merges.txt").write_text("a b")
    assert checkpoint.digest(str(tmp_path)) != before


def test_a_fine_tuned_teacher_is_given_and_another_is_trained(tmp_path: Path):
    text = tmp_path / "a.csv"
    text.write_text("text,label\n" + "".join(f"the film {number},{LABELS[number % 2]}\n" for number in range(60)))
    tuned, plain = write_folder(tmp_path / "tuned", "roberta", {0: "bad", 1: "good"}), write_folder(tmp_path / "plain", "roberta")
    cards = [files.own_card({"text": str(text), "teacher": f"hf:{folder}"}) for folder in (tuned, plain)]
    assert [Request().gives_teacher(card) for card in cards] == [True, False]
    assert not Request(teacher_budget=parse_amount("3epochs", "")).gives_teacher(cards[0])
    weights = adopt_whole(cards[0], tmp_path / "teachers", None)
    expected = load_task(cards[0], Setting()).new_network(cards[0].teacher).state_dict()
    adopted = load_file(tmp_path / "teachers" / f"{weights}.safetensors")
    assert all(torch.equal(adopted[name], tensor) for name, tensor in expected.items())


def test_nothing_is_printed_while_a_folder_is_loaded(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    folder = write_folder(tmp_path, "roberta")
    capfd.readouterr()
    encoder(folder)
    assert capfd.readouterr() == ("", "")
