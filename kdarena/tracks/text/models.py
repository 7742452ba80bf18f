"""BERT-like encoders with a classifier on top, of the field's library, that show attention probabilities before dropout."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdarena.tracks.torchvision import import_torchvision

import_torchvision()  # transformers imports it where it is installed, and would fail with a CPU build of torch

from transformers import AttentionInterface, BertConfig, BertModel  # noqa: E402

from kdarena.tracks.text.architectures import Architecture  # noqa: E402
from kdarena.tracks.text.checkpoint import config, fine_tuned, load_bert, tensor  # noqa: E402
from kdarena.tracks.text.labels import order_of  # noqa: E402
from kdarena.tracks.text.vocabulary import LONGEST, PADDING  # noqa: E402

SHOWN = "kdarena_shown"
"""Name of :func:`shown_attention` among the library's implementations of attention."""


class Encoding(NamedTuple):
    """What an encoder makes of token ids [B, L].

    Attributes:
        logits: [B, C].
        hidden: states [B, L, D] of the embeddings, then of each layer.
        attentions: probabilities of each layer, before dropout [B, heads, L, L]; zero at keys that are padding.
    """

    logits: Tensor
    hidden: tuple[Tensor, ...]
    attentions: tuple[Tensor, ...]


def shown_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, *, scaling: float, shown: list[Tensor], **_: Any
) -> tuple[Tensor, None]:
    """Scaled dot-product attention that appends its probabilities before dropout to ``shown``.

    The library's own eager path hands them out after dropout, where rows don't sum to one and zeros have an infinite KL.

    Args:
        module: the layer's self-attention, whose own dropout module is used, so that it can be kept alive in eval mode.
        query, key, value: [B, heads, L, D / heads].
        attention_mask: added to the scores [B, 1, 1, L].

    Returns:
        the heads' outputs [B, L, heads, D / heads].
    """
    probabilities = torch.softmax(torch.matmul(query * scaling, key.transpose(2, 3)) + attention_mask, dim=-1)
    shown.append(probabilities)
    dropout: nn.Module = module.dropout  # type: ignore[assignment]
    return torch.matmul(dropout(probabilities), value).transpose(1, 2), None


AttentionInterface.register(SHOWN, shown_attention)


class Encoder(nn.Module):
    """Token ids to classes: embeddings, layers, pooler and a linear classifier over [CLS], as BERT is fine-tuned (arXiv 1810.04805, section 4.1).

    Args:
        bert: embeddings, layers and pooler.
        classes: C.
        separator: id of the token that ends each sentence; what comes after the first is the second segment.
    """

    head = "classifier"

    def __init__(self, bert: BertModel, classes: int, separator: int):
        super().__init__()
        bert.set_attn_implementation(SHOWN)
        self.bert = bert
        self.separator = separator
        self.dropout = nn.Dropout(bert.config.hidden_dropout_prob)
        self.classifier = nn.Linear(bert.config.hidden_size, classes)
        nn.init.normal_(self.classifier.weight, std=bert.config.initializer_range)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, ids: Tensor) -> Encoding:
        """[B, L] of int64, 0 at padding, to an :class:`Encoding`."""
        separators = ids == self.separator
        segments = ((separators.cumsum(dim=1) > separators) & (ids != PADDING)).long()
        states = self.bert.embeddings(input_ids=ids, token_type_ids=segments)
        # the smallest number and not -inf: a sentence of padding alone has no NaN, and among real keys it is exactly zero as well
        mask = torch.zeros(ids.shape, device=ids.device).masked_fill(ids == PADDING, torch.finfo(torch.float32).min)[:, None, None]
        hidden, attentions = [states], list[Tensor]()
        for layer in self.bert.encoder.layer:
            states = layer(states, mask, shown=attentions)
            hidden.append(states)
        pooled: Tensor = self.bert.pooler(states)  # type: ignore[misc]
        return Encoding(self.classifier(self.dropout(pooled)), tuple(hidden), tuple(attentions))


def new_encoder(size: Architecture, classes: int, vocabulary: int, separator: int, dropout: float | None = None) -> Encoder:
    """An encoder from scratch, initialised from torch's global generator.

    Args:
        classes: C.
        vocabulary: number of token ids.
        separator: id of [SEP].
        dropout: of hidden states and attention probabilities; None: the architecture's.
    """
    rate = size.dropout if dropout is None else dropout
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.width,
        max_position_embeddings=LONGEST,
        hidden_dropout_prob=rate,
        attention_probs_dropout_prob=rate,
        initializer_range=size.initial_std,
        pad_token_id=PADDING,
    )
    return Encoder(BertModel(config), classes, separator)


def load_encoder(folder: str, classes: int, separator: int, dropout: float | None = None, labels: tuple[str, ...] | None = None) -> Encoder:
    """A BERT with the weights of a local checkpoint, and with its own classifier where it has one for these labels, else with a new one.

    Args:
        labels: names of the classes; None: the classifier is new.

    Raises:
        ValueError: in one line: its own classifier is of other labels.
    """
    encoder = Encoder(load_bert(folder, dropout), classes, separator)
    if labels is not None and fine_tuned(folder):
        order = list(order_of(folder, config(folder), labels))
        with torch.no_grad():
            for name, parameter in encoder.classifier.named_parameters():
                parameter.copy_(tensor(folder, f"classifier.{name}")[order])
    return encoder
