"""A text student as it is used without kdarena: as a program over token ids, or as Hugging Face's library keeps one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdarena.tracks.deployed import EXAMPLES, Deployed, scores_of
from kdarena.tracks.text.vocabulary import LONGEST, PADDING

SHORTEST = 16
"""Least padded length: a softmax over fewer than 16 keys is not vectorised on CPUs (8 times slower at 14 than at 16)."""


class _FromIds(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor) -> Tensor:
        """Ids [B, L] to scores [B, C]."""
        return scores_of(self.network(ids)).float()


def deployed(network: nn.Module, labels: Sequence[str], vocabulary: int, file: tuple[str, str] | None) -> Deployed:
    """An encoder over ids [B, L], 0 at padding.

    Args:
        labels: names of the classes.
        vocabulary: number of ids.
        file: name and text of the file that makes ids of texts.
    """
    random = torch.Generator().manual_seed(0)
    inputs = []
    for count in EXAMPLES:
        ids = torch.randint(1, vocabulary, (count, SHORTEST + count), generator=random)
        ids[-1, SHORTEST - 3 :] = PADDING
        inputs.append({"ids": ids})
    config = {"labels": list(labels), "longest": LONGEST, "shortest": SHORTEST, "vocabulary": file and file[0], "padding": PADDING}
    return Deployed(_FromIds(network).eval(), inputs, {"ids": {0: "batch", 1: "length"}}, config, "text", dict([file] if file else []))


def _compare(network: nn.Module, library: Any) -> None:
    """Raise ``ValueError`` where the library's network gives other scores."""
    ids = torch.randint(1, library.config.vocab_size, (3, SHORTEST), generator=torch.Generator().manual_seed(0))
    ids[0, -4:] = PADDING
    separator: Any = network.separator
    separators = ids == separator
    segments = ((separators.cumsum(dim=1) > separators) & (ids != PADDING)).long()
    with torch.no_grad():
        wanted, given = scores_of(network(ids)), library(ids, attention_mask=ids != PADDING, token_type_ids=segments).logits
    if not torch.allclose(wanted, given, atol=1e-4, rtol=1e-4):
        raise ValueError(f"the library's network gives other scores: they differ by {float((wanted - given).abs().max()):.1e}")


def save_pretrained(network: nn.Module, folder: Path, labels: Sequence[str], file: tuple[str, str] | None) -> None:
    """Write an encoder as ``from_pretrained`` of Hugging Face's library reads it: ``AutoModelForSequenceClassification``, and the tokenizer where there is one.

    Raises:
        ValueError: in one line: it is no network of that library with a classifier of its own.
    """
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    own: Any = network
    found: Any = getattr(own, "bert", None)
    if not isinstance(getattr(found, "config", None), BertConfig) or not isinstance(getattr(own, "classifier", None), nn.Linear):
        raise ValueError(f"{type(network).__name__} is no BERT with one linear classifier, as the library's BertForSequenceClassification is")
    settings = BertConfig.from_dict({**found.config.to_dict(), "num_labels": len(labels)})
    settings.id2label, settings.label2id = dict(enumerate(labels)), {label: number for number, label in enumerate(labels)}
    library = BertForSequenceClassification(settings)
    library.load_state_dict(network.state_dict())
    _compare(network, library.eval())  # type: ignore[no-untyped-call]
    with redirect_stderr(StringIO()):  # a bar of progress
        library.save_pretrained(folder)
    if file is None or file[0] != "tokenizer.json":
        return
    (folder / file[0]).write_text(file[1], "utf-8")
    names = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]"}
    tokenizer: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_file=str(folder / file[0]), model_max_length=LONGEST, **names
    )
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer.save_pretrained(folder)
