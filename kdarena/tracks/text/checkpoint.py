"""A local folder of an encoder as Hugging Face's library saves it: ``config.json``, ``model.safetensors`` and a tokenizer.

Nothing is fetched and no pickle is read.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kdarena.tracks.text.vocabulary import LONGEST, PADDING, WordPieces

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import BertModel

PREFIX = "hf:"
"""Before the path of a folder, where networks of other kinds may be named."""
CONFIG, WEIGHTS = "config.json", "model.safetensors"
TOKENIZERS = ("tokenizer.json", "vocab.txt")
SHARDS = "model.safetensors.index.json"
OTHER_TOKENIZERS = ("vocab.json", "merges.txt", "spm.model", "spiece.model", "sentencepiece.bpe.model", "special_tokens_map.json")
"""Files of tokenizers that are no BERT's."""
ENCODERS: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("bert", "distilbert", "albert", "electra", "deberta", "deberta-v2", "modernbert"), LONGEST),
        **dict.fromkeys(("roberta", "xlm-roberta", "camembert", "mpnet"), LONGEST + 2),
    }
)
"""Kinds of models that are known to show hidden states and attentions, and the positions that they need: some number them from 2 on."""
DEFAULT_LAYERS = {"distilbert": 6, "modernbert": 22}
"""Where a configuration doesn't say it; of all others 12."""
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
    absent = None if (place / CONFIG).is_file() else CONFIG
    if absent is None and not any((place / file).is_file() for file in (WEIGHTS, SHARDS)):
        absent = WEIGHTS
    known = TOKENIZERS if absent is None and _kind(folder) == "bert" else (*TOKENIZERS, *OTHER_TOKENIZERS)
    if absent is None and not any((place / file).is_file() for file in known):
        absent = " or ".join(TOKENIZERS)
    if absent is None:
        return None
    return f"{place / absent} is missing: save it there with save_pretrained(), model and tokenizer (safetensors only)"


def _read(folder: str) -> dict[str, Any]:
    path = place_of(folder) / CONFIG
    if not path.is_file():
        wrong = f"{CONFIG} is missing" if path.parent.is_dir() else "no such folder"
        raise ValueError(f"{path.parent}: {wrong}: name a folder that save_pretrained() wrote, with model and tokenizer")
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: can't be read as a model's configuration: {error}") from None
    return found if isinstance(found, dict) else {}


def _kind(folder: str) -> str:
    """The kind of model, or nothing where that can't be read."""
    with contextlib.suppress(ValueError):
        return str(_read(folder).get("model_type"))
    return ""


def config(folder: str) -> dict[str, Any]:
    """The model's configuration.

    Raises:
        ValueError: in one line: it can't be read, or is of a kind of model that is no encoder, or too small.
    """
    path, found = place_of(folder) / CONFIG, _read(folder)
    kind = str(found.get("model_type"))
    if kind not in ENCODERS:
        raise ValueError(f"{path}: model_type is {kind!r}; only encoders are supported: {', '.join(ENCODERS)}")
    if kind == "bert" and found.get("pad_token_id", PADDING) != PADDING:
        raise ValueError(f"{path}: pad_token_id is {found['pad_token_id']}; it has to be {PADDING}")
    for name, least in (LEAST if kind == "bert" else {"max_position_embeddings": ENCODERS[kind]}).items():
        if found.get(name, least) < least:
            raise ValueError(f"{path}: {name} is {found[name]}; it has to be {least} at least")
    return found


def layers(folder: str) -> int:
    """Layers of its encoder."""
    found = config(folder)
    return int(found.get("num_hidden_layers") or found.get("n_layers") or DEFAULT_LAYERS.get(found["model_type"], 12))


def fine_tuned(folder: str) -> bool:
    """Whether it is a classifier of sequences, with a head of its own."""
    return any(str(name).endswith("ForSequenceClassification") for name in _read(folder).get("architectures") or ())


def digest(folder: str) -> str:
    """The sha256 of configuration, weights and tokenizer."""
    hashed, place = hashlib.sha256(), place_of(folder).resolve()
    files = [CONFIG, WEIGHTS, *TOKENIZERS, "tokenizer_config.json"]
    if _kind(folder) != "bert" or not (place / WEIGHTS).is_file():
        files += [SHARDS, *OTHER_TOKENIZERS, *sorted(path.name for path in place.glob("model-*.safetensors"))]
    for file in files:
        path = place / file
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
        ValueError: in one line: it can't be read, is of another kind of model, or has more tokens than the model.
    """
    place = place_of(folder)
    found = WordPieces(_bert_tokenizer(place)) if config(folder)["model_type"] == "bert" else WordPieces(*_other_tokenizer(place))
    known = config(folder).get("vocab_size", found.size)
    if known < found.size:
        raise ValueError(f"{place}: its tokenizer has {found.size} tokens, but {CONFIG} has a vocab_size of {known}")
    return found


def _bert_tokenizer(place: Path) -> Any:
    from tokenizers import Tokenizer
    from tokenizers.implementations import BertWordPieceTokenizer

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
    return tokenizer


def _other_tokenizer(place: Path) -> tuple[Any, str, int]:
    """A tokenizer with its token at the end of a text and its id of padding."""
    from kdarena.tracks.torchvision import import_torchvision

    import_torchvision()
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=False, use_fast=True)
        tokenizer, end, padding = found.backend_tokenizer, found.sep_token or found.eos_token, found.pad_token_id
    except Exception as error:  # the library raises whatever its parsers do
        raise ValueError(f"{place}: its tokenizer can't be read: {' '.join(str(error).split())[:300]}") from None
    if end is None or padding is None or not tokenizer.encode("a").ids:
        raise ValueError(f"{place}: its tokenizer has no token at the end of a text, or none of padding: save the encoder's own next to it")
    return tokenizer, end, padding


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What the library says while it loads is kept from the user's terminal: heads that are new, and how far a file is read."""
    from transformers.utils import logging as library

    logging: Any = library  # some of it has no types
    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.ERROR)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


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
    with quiet():
        return BertModel.from_pretrained(place_of(folder), config=settings, local_files_only=True, use_safetensors=True, dtype=torch.float32)


def tensor(folder: str, name: str) -> Tensor:
    """One tensor of a checkpoint; raises ``ValueError`` in one line where there is none of that name."""
    from safetensors import safe_open

    place = place_of(folder)
    index = place / SHARDS
    file = place / (WEIGHTS if not index.is_file() else json.loads(index.read_text("utf-8"))["weight_map"].get(name, WEIGHTS))
    with safe_open(file, "pt") as opened:
        if name not in opened.keys():  # noqa: SIM118
            raise ValueError(f"{file}: tensor {name!r} is missing: is it a classifier, as {CONFIG} says?")
        found: Tensor = opened.get_tensor(name)
        return found
