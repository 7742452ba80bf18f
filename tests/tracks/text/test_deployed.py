"""Text students as transformers keeps them, and ids that are made elsewhere."""

import json
import runpy

import pytest
import torch
from torch import nn

from kdarena.api import export_files
from kdarena.tracks.text.architectures import Architecture
from kdarena.tracks.text.deployed import Elsewhere, deployed, save_pretrained
from kdarena.tracks.text.models import new_encoder
from kdarena.tracks.text.vocabulary import train_wordpieces

FIRST, SECOND = ["A cat sleeps.", "Dogs bark loudly, don't they?"], ["It is tired.", "They do."]


@pytest.fixture(scope="module")
def vocabulary():
    return train_wordpieces((*FIRST, *SECOND))


@pytest.fixture
def encoder(vocabulary):
    torch.manual_seed(0)
    return new_encoder(Architecture(layers=1, width=16, heads=2, dropout=0.1), 2, vocabulary.size, vocabulary.separator).eval()


def known(vocabulary):
    return Elsewhere(("yes", "no"), vocabulary.size, vocabulary.file)


def padded(rows, length=24):
    return torch.tensor([row + [0] * (length - len(row)) for row in rows])


def test_a_bert_of_pairs_is_read_back_with_its_tokenizer(encoder, vocabulary, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    save_pretrained(encoder, tmp_path, known(vocabulary))
    library = AutoModelForSequenceClassification.from_pretrained(tmp_path, local_files_only=True).eval()
    inputs = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)(FIRST, SECOND, padding=True, return_tensors="pt")
    ids = padded(vocabulary.encode(FIRST, SECOND), inputs["input_ids"].shape[1])
    assert torch.equal(inputs["input_ids"], ids)
    with torch.no_grad():
        assert torch.allclose(library(**inputs).logits, encoder(ids).logits, atol=1e-5)
    assert library.config.id2label == {0: "yes", 1: "no"}


def test_a_classifier_of_the_library_itself_is_saved_as_it_is(tmp_path):
    from transformers import AutoModelForSequenceClassification, DistilBertConfig, DistilBertForSequenceClassification

    class Wrapped(nn.Module):
        """As an encoder by its local folder is: the library's own id of padding and 0 change places."""

        padding, separator, segments = 5, 3, False

        def __init__(self):
            super().__init__()
            self.model = DistilBertForSequenceClassification(DistilBertConfig(vocab_size=20, dim=16, n_layers=1, n_heads=2, hidden_dim=16, pad_token_id=5))

        def forward(self, ids):
            own = torch.where(ids == 0, 5, torch.where(ids == 5, 0, ids))
            return (self.model(input_ids=own, attention_mask=(ids != 0).long()).logits,)

    network = Wrapped().eval()
    save_pretrained(network, tmp_path, Elsewhere(("a", "b"), 20, None, padding=5))
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path, local_files_only=True).config.id2label == {0: "a", 1: "b"}


def test_another_network_is_none_of_the_library(vocabulary, tmp_path):
    with pytest.raises(ValueError, match="Linear is no classifier of sequences of transformers"):
        save_pretrained(nn.Linear(2, 2), tmp_path, known(vocabulary))


def test_ids_are_made_elsewhere_as_here(encoder, vocabulary, tmp_path):
    export_files.write(tmp_path, deployed(encoder, known(vocabulary)), "torch.export", {})
    loaded = runpy.run_path(str(tmp_path / "load.py"))
    wanted = vocabulary.encode(FIRST, SECOND)
    assert torch.equal(loaded["ids_of"](list(zip(FIRST, SECOND, strict=True))), padded(wanted, max(16, *map(len, wanted))))
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["vocabulary"], config["longest"], config["labels"]) == ("tokenizer.json", 128, ["yes", "no"])
