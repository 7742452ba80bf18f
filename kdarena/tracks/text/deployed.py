"""A text student as it is used without kdarena: as a program over token ids, or as Hugging Face's library keeps one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdarena.tracks.deployed import EXAMPLES, Deployed, scores_of
from kdarena.tracks.text.vocabulary import LONGEST, PADDING

SHORTEST = 16
"""Least padded length: a softmax over fewer than 16 keys is not vectorised on CPUs (8 times slower at 14 than at 16)."""
TOKENIZER = "tokenizer.json"
SPECIAL_NAMES = {
    "unk_token": ("[UNK]", "<unk>"),
    "sep_token": ("[SEP]", "</s>"),
    "pad_token": ("[PAD]", "<pad>"),
    "cls_token": ("[CLS]", "<s>"),
    "mask_token": ("[MASK]", "<mask>"),
}
"""Special tokens as kinds of encoders call them."""
TOLERANCE = 1e-4
"""Largest difference of scores from the student's, absolute and relative."""


@dataclass(frozen=True)
class Elsewhere:
    """What a student's user has to know.

    Attributes:
        labels: names of the classes.
        vocabulary: number of ids.
        file: gives name and text of the file that makes ids of texts; None: there is none.
        padding: id of padding in that file, which changes places with 0 in what the student sees.
    """

    labels: tuple[str, ...]
    vocabulary: int
    file: Callable[[], tuple[str, str]] | None
    padding: int = PADDING


class _FromIds(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor) -> Tensor:
        """Ids [B, L] to scores [B, C]."""
        return scores_of(self.network(ids)).float()


def deployed(network: nn.Module, known: Elsewhere) -> Deployed:
    """An encoder over ids [B, L], 0 at padding."""
    inputs = [{"ids": ids} for ids in _ids(known.vocabulary)]
    sizes = {"longest": LONGEST, "shortest": SHORTEST, "padding": PADDING}
    files = {} if known.file is None else dict([known.file()])
    vocabulary = {"vocabulary": next(iter(files), None), "tokenizer_padding": known.padding}
    return Deployed(_FromIds(network).eval(), inputs, {"ids": {0: "batch", 1: "length"}}, {"labels": list(known.labels), **sizes, **vocabulary}, "text", files)


def _ids(vocabulary: int) -> list[Tensor]:
    """Ids of several sizes, padded in the last row of each."""
    random, every = torch.Generator().manual_seed(0), []
    for count in EXAMPLES:
        ids = torch.randint(1, vocabulary, (count, SHORTEST + count), generator=random)
        ids[-1, SHORTEST - 3 :] = PADDING
        every.append(ids)
    return every


def save_pretrained(network: nn.Module, folder: Path, known: Elsewhere) -> None:
    """Write an encoder as ``AutoModelForSequenceClassification`` reads it, with the tokenizer where there is one.

    Raises:
        ValueError: in one line: it is no classifier of that library, or what is read back gives other scores.
    """
    from transformers import AutoModelForSequenceClassification

    library = _of_library(network)
    library.config.id2label = dict(enumerate(known.labels))
    library.config.label2id = {label: number for number, label in enumerate(known.labels)}
    with redirect_stderr(StringIO()):  # bars of progress
        library.save_pretrained(folder)
        again = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True)
    _compare(network, again.eval(), known)
    name, text = ("", "") if known.file is None else known.file()
    if name == TOKENIZER:
        _save_tokenizer(folder, text, segments=getattr(network, "segments", True))


def _of_library(network: nn.Module) -> Any:
    """The library's own classifier with the weights of an encoder."""
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedModel

    own: Any = network
    inner, bert = getattr(own, "model", None), getattr(own, "bert", None)
    if isinstance(inner, PreTrainedModel):
        return inner
    if not isinstance(getattr(bert, "config", None), BertConfig) or not isinstance(getattr(own, "classifier", None), nn.Linear):
        raise ValueError(f"{type(network).__name__} is no classifier of sequences of transformers, nor a BERT with one linear classifier")
    found: Any = BertForSequenceClassification(BertConfig.from_dict({**own.bert.config.to_dict(), "num_labels": own.classifier.out_features}))
    found.load_state_dict(network.state_dict())
    return found.eval()


def _save_tokenizer(folder: Path, text: str, *, segments: bool) -> None:
    from transformers import PreTrainedTokenizerFast

    file = folder / TOKENIZER
    file.write_text(text, "utf-8")
    library: Any = PreTrainedTokenizerFast
    known = library(tokenizer_file=str(file)).get_vocab()
    names = {name: next(token for token in tokens if token in known) for name, tokens in SPECIAL_NAMES.items() if any(token in known for token in tokens)}
    inputs = ["input_ids", *(["token_type_ids"] if segments else []), "attention_mask"]
    tokenizer = library(tokenizer_file=str(file), model_max_length=LONGEST, model_input_names=inputs, **names)
    tokenizer.save_pretrained(folder)


def _compare(network: nn.Module, library: Any, known: Elsewhere) -> None:
    """Raise ``ValueError`` where the library's network gives other scores."""
    own: Any = network
    for ids in _ids(known.vocabulary):
        real = ids != PADDING
        swapped = torch.where(real, torch.where(ids == known.padding, PADDING, ids), known.padding)
        separators = ids == own.separator
        segments = {"token_type_ids": ((separators.cumsum(dim=1) > separators) & real).long()} if getattr(own, "segments", True) else {}
        with torch.no_grad():
            wanted, given = scores_of(network(ids)), library(input_ids=swapped, attention_mask=real.long(), **segments).logits
        if not torch.allclose(wanted, given, atol=TOLERANCE, rtol=TOLERANCE):
            raise ValueError(f"what the library reads back gives other scores: they differ by {float((wanted - given).abs().max()):.1e}")
