"""A local folder of a BERT as Hugging Face's library saves it: ``config.json``, ``model.safetensors`` and a tokenizer.

Nothing is fetched and no pickle is read.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdarena.tracks.text.vocabulary import LONGEST, PADDING, WordPieces

if TYPE_CHECKING:
    from transformers import BertModel

PREFIX = "hf:"
"""Before the path of a folder, where networks of other kinds may be named."""
CONFIG, WEIGHTS = "config.json", "model.safetensors"
TOKENIZERS = ("tokenizer.json", "vocab.txt")
LEAST = {"max_position_embeddings": LONGEST, "type_vocab_size": 2}
"""What its embeddings have to have room for."""


def is_folder(name: str) -> bool:
    """Whether the name of a network is a path, with or without ``hf:`` before it, and no architecture."""
    return name.startswith((PREFIX, ".", "~")) or "/" in name or "\\" in name


def place_of(name: str) -> Path:
    """The folder that a name of a network means."""
    return Path(name.removeprefix(PREFIX)).expanduser()


def absolute(name: str) -> str:
    """The name of a network with a path that holds wherever a worker is."""
    return f"{PREFIX}{place_of(name).resolve()}" if is_folder(name) else name


def short(name: str) -> str:
    """A name for tables: of a path its last part."""
    return place_of(name).resolve().name if is_folder(name) else name


def missing(folder: str) -> str | None:
    """What is missing in a folder, and how to get it, in one line; None where all is there."""
    place = place_of(folder)
    absent = next((file for file in (CONFIG, WEIGHTS) if not (place / file).is_file()), None)
    if absent is None and not any((place / file).is_file() for file in TOKENIZERS):
        absent = " or ".join(TOKENIZERS)
    if absent is None:
        return None
    return f"{place / absent} is missing: save it there with save_pretrained(), model and tokenizer (safetensors only)"


def config(folder: str) -> dict[str, Any]:
    """The model's configuration.

    Raises:
        ValueError: in one line: it can't be read, or is of another kind of model.
    """
    path = place_of(folder) / CONFIG
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: can't be read as a model's configuration: {error}") from None
    kind = found.get("model_type") if isinstance(found, dict) else None
    if kind != "bert":
        raise ValueError(f"{path}: model_type is {kind!r}; only 'bert' is supported")
    if found.get("pad_token_id", PADDING) != PADDING:
        raise ValueError(f"{path}: pad_token_id is {found['pad_token_id']}; it has to be {PADDING}")
    for name, least in LEAST.items():
        if found.get(name, least) < least:
            raise ValueError(f"{path}: {name} is {found[name]}; it has to be {least} at least")
    return dict(found)


def digest(folder: str) -> str:
    """The sha256 of configuration, weights and tokenizer."""
    hashed = hashlib.sha256()
    for file in (CONFIG, WEIGHTS, *TOKENIZERS, "tokenizer_config.json"):
        path = place_of(folder).resolve() / file
        if path.is_file():
            stat = path.stat()
            hashed.update(f"{file} {_digest(str(path), stat.st_size, stat.st_mtime_ns)}".encode())
    return hashed.hexdigest()


@functools.lru_cache(maxsize=32)
def _digest(path: str, size: int, modified: int) -> str:
    with Path(path).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def vocabulary(folder: str) -> WordPieces:
    """The checkpoint's own tokenizer.

    Raises:
        ValueError: in one line: it can't be read, is no BERT's, or has more tokens than the model.
    """
    from tokenizers import Tokenizer
    from tokenizers.implementations import BertWordPieceTokenizer

    place = place_of(folder)
    try:
        if (place / TOKENIZERS[0]).is_file():
            tokenizer = Tokenizer.from_file(str(place / TOKENIZERS[0]))
        else:
            settings_file = place / "tokenizer_config.json"
            settings = json.loads(settings_file.read_text("utf-8")) if settings_file.is_file() else {}
            tokenizer = BertWordPieceTokenizer(str(place / TOKENIZERS[1]), lowercase=settings.get("do_lower_case", True))._tokenizer
    except Exception as error:  # the library raises bare exceptions
        raise ValueError(f"{place}: its tokenizer can't be read: {error}") from None
    if tokenizer.token_to_id("[SEP]") is None or tokenizer.token_to_id("[PAD]") != PADDING:
        raise ValueError(f"{place}: its tokenizer has no [SEP], or [PAD] is not {PADDING}; is it a BERT's?")
    found = WordPieces(tokenizer)
    known = config(folder).get("vocab_size", found.size)
    if known < found.size:
        raise ValueError(f"{place}: its tokenizer has {found.size} tokens, but {CONFIG} has a vocab_size of {known}")
    return found


def load_bert(folder: str, dropout: float | None) -> BertModel:
    """Embeddings, layers and pooler with the checkpoint's weights.

    Args:
        dropout: of hidden states and attention probabilities; None: as the checkpoint says.
    """
    import torch

    from kdarena.tracks.torchvision import import_torchvision

    import_torchvision()
    from transformers import BertConfig, BertModel

    settings = BertConfig.from_pretrained(place_of(folder), local_files_only=True)
    if dropout is not None:
        settings.hidden_dropout_prob = settings.attention_probs_dropout_prob = dropout
    # in fp32 whatever it was saved in: autocast makes the half precision, and the classifier has none
    return BertModel.from_pretrained(place_of(folder), config=settings, local_files_only=True, use_safetensors=True, dtype=torch.float32)
