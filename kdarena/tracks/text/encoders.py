"""Encoders of the field's library by their local folders, of any kind that shows hidden states and attentions, with the head of their kind on top."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdarena.tracks.text import checkpoint
from kdarena.tracks.text.labels import order_of
from kdarena.tracks.text.models import Encoding
from kdarena.tracks.text.vocabulary import PADDING
from kdarena.tracks.torchvision import import_torchvision

import_torchvision()

from transformers import AttentionInterface, AttentionMaskInterface, AutoConfig, AutoModelForSequenceClassification  # noqa: E402
from transformers.masking_utils import eager_mask  # noqa: E402

if TYPE_CHECKING:
    from transformers import PreTrainedModel

RETURNED = "kdarena_returned"
"""Name of :func:`returned_attention` among the library's implementations of attention."""
DROPOUTS = (
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "embedding_dropout", "mlp_dropout"),
    *("classifier_dropout", "classifier_dropout_prob", "seq_classif_dropout", "pooler_dropout", "summary_last_dropout"),
)
"""Names of rates in configurations."""


def returned_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, *, scaling: float, dropout: float = 0.0, **_: Any
) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention that returns its probabilities before dropout [B, heads, L, L]; see :func:`~kdarena.tracks.text.models.shown_attention`."""
    scores = torch.matmul(query * scaling, key.transpose(2, 3))
    probabilities = torch.softmax(scores if attention_mask is None else scores + attention_mask, dim=-1)
    own = getattr(module, "dropout", None)
    kept = own(probabilities) if isinstance(own, nn.Module) else functional.dropout(probabilities, dropout, module.training)
    return torch.matmul(kept, value).transpose(1, 2), probabilities


def _whole_mask(*arguments: Any, **named: Any) -> Tensor:
    """The library's mask of numbers, also where nothing is masked: whether that is so would be read back from the device."""
    return eager_mask(*arguments, **{**named, "allow_is_bidirectional_skip": False})


AttentionInterface.register(RETURNED, returned_attention)
AttentionMaskInterface.register(RETURNED, _whole_mask)


class KeptDropout(nn.Dropout):
    """Dropout of attention probabilities that keeps what it was given, for kinds that compute attention themselves."""

    given: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        """See ``nn.Dropout``."""
        self.given = input
        return super().forward(input)


class PretrainedEncoder(nn.Module):
    """Token ids to classes by a sequence classifier of the library.

    Args:
        model: the classifier.
        padding: its own id of padding; the task's id 0 and this one change places.
        separator: the task's id of the token that ends a text; what is behind the first is the second segment.
    """

    def __init__(self, model: PreTrainedModel, padding: int, separator: int):
        super().__init__()
        self.model = model
        self.padding, self.separator = padding, separator
        self.segments = int(getattr(model.config, "type_vocab_size", 0) or 0) > 1 and model.config.model_type not in ("roberta", "xlm-roberta", "camembert")
        self.head = _last_linear(model)
        self._kept = [name for name, module in model.named_modules() if isinstance(module, KeptDropout)]

    def forward(self, ids: Tensor) -> Encoding:
        """[B, L] of int64, 0 at padding, to an :class:`~kdarena.tracks.text.models.Encoding`."""
        given: dict[str, Tensor] = {"attention_mask": (ids != PADDING).long()}
        if self.segments:
            separators = ids == self.separator
            given["token_type_ids"] = ((separators.cumsum(dim=1) > separators) & (ids != PADDING)).long()
        own = ids
        if self.padding != PADDING:
            own = torch.where(ids == PADDING, self.padding, torch.where(ids == self.padding, PADDING, ids))
        answer = self.model(input_ids=own, output_hidden_states=True, output_attentions=True, return_dict=True, **given)
        attentions = tuple(answer.attentions)
        if self._kept:
            attentions = tuple(self._taken(name, like) for name, like in zip(self._kept, attentions, strict=True))
        return Encoding(answer.logits, tuple(answer.hidden_states), attentions)

    def _taken(self, name: str, like: Tensor) -> Tensor:
        """The probabilities before dropout that a layer kept."""
        dropout = self.model.get_submodule(name)
        given = dropout.given
        dropout.given = None  # type: ignore[assignment]
        return given.view_as(like)  # type: ignore[operator, union-attr]


def load_pretrained(folder: str, classes: int, separator: int, dropout: float | None, labels: tuple[str, ...] | None) -> PretrainedEncoder:
    """An encoder with the weights of a local folder, and with its own head where it has one for these labels, else with a new one.

    Args:
        classes: C.
        separator: the task's id of the token that ends a text.
        dropout: of all its parts; None: as its configuration says.
        labels: names of the task's classes; None: the head is new.

    Raises:
        ValueError: in one line: the folder has no such encoder, or its head is of other labels.
    """
    place = checkpoint.place_of(folder)
    own_head = labels is not None and checkpoint.fine_tuned(folder)
    order = order_of(folder, checkpoint.config(folder), labels) if own_head and labels is not None else None
    try:
        with checkpoint.quiet():
            settings = AutoConfig.from_pretrained(place, local_files_only=True, trust_remote_code=False)
            for name in DROPOUTS if dropout is not None else ():
                if isinstance(getattr(settings, name, None), float):
                    setattr(settings, name, dropout)
            if order is None:
                settings.num_labels = classes
            model = AutoModelForSequenceClassification.from_pretrained(
                place,
                config=settings,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=order is None,
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"{place}: it can't be loaded as an encoder with a classifier: {' '.join(str(error).split())[:300]}") from None
    _show_attentions(model)
    encoder = PretrainedEncoder(model, checkpoint.vocabulary(folder).padding, separator)
    head = encoder.get_submodule(encoder.head)
    if order is None and checkpoint.fine_tuned(folder):
        head.reset_parameters()  # type: ignore[operator]
    elif order is not None:
        _reorder(head, order)
        model.config.id2label = dict(enumerate(labels or ()))
        model.config.label2id = {name: place for place, name in enumerate(labels or ())}
    return encoder


def _show_attentions(model: PreTrainedModel) -> None:
    """Make each layer's probabilities before dropout visible."""
    if getattr(model, "_supports_attention_backend", False) or getattr(model, "_supports_sdpa", False):
        model.set_attn_implementation(RETURNED)
        return
    for module in model.modules():
        if type(module).__name__.endswith("SelfAttention") and isinstance(getattr(module, "dropout", None), nn.Module):
            module.dropout = KeptDropout(getattr(module.dropout, "p", 0.0))


def _last_linear(model: PreTrainedModel) -> str:
    """The path of the layer that gives the logits."""
    base = model.base_model_prefix
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and not name.startswith(f"{base}.")]
    if not names:
        raise ValueError(f"a {model.config.model_type} has no linear layer behind its encoder")
    return f"model.{names[-1]}"


def _reorder(head: nn.Module, order: tuple[int, ...]) -> None:
    """Put the rows of a head into the order of the task's classes."""
    with torch.no_grad():
        for parameter in (head.weight, head.bias):
            if parameter is not None:
                parameter.copy_(parameter[list(order)].clone())  # type: ignore[operator, index]
