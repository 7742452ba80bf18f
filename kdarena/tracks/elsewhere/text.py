"""The student of this folder, with torch alone. ``python load.py`` asks it about the example that lies here.

From Python: ``import load; load.answer(ids)``, ids [B, L] of int64, padded with 0. ``load.ids_of(texts)`` makes them.
"""

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(__file__).resolve().parent
CONFIG = json.loads((FOLDER / "config.json").read_text("utf-8"))
for name, digest in CONFIG["files"].items():
    if hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() != digest:
        raise SystemExit(f"{FOLDER / name}: it is not the file that was exported; export the student again")
student = torch.export.load(FOLDER / "model.pt2").module()


def ids_of(texts: list[Any]) -> torch.Tensor:
    """Ids of texts, or of pairs of texts (for which the tokenizers library is needed), or of lists of morphemes where that is the vocabulary."""
    if CONFIG["vocabulary"] == "tokenizer.json":
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
        padding = CONFIG["tokenizer_padding"]  # changes places with 0
        rows = [[{0: padding, padding: 0}.get(one, one) for one in encoded.ids] for encoded in tokenizer.encode_batch(texts)]
    else:
        known = json.loads((FOLDER / "vocabulary.json").read_text("utf-8"))
        number = {morpheme: position for position, morpheme in enumerate(known["tokens"])}
        hashed = [[number.get(word, len(number) + zlib.crc32(word.encode()) % known["stems"]) for word in text] for text in texts]
        rows = [[number["[CLS]"], *row, number["[SEP]"]] for row in hashed]
    longest = max(CONFIG["shortest"], *map(len, rows))
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


@torch.no_grad()
def answer(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Probability and number of the class of each text, whose name is in ``CONFIG["labels"]``."""
    probability, number = student(ids).softmax(dim=1).max(dim=1)
    return probability, number


if __name__ == "__main__":
    example = torch.load(FOLDER / "example.pt", weights_only=True)
    with torch.no_grad():
        difference = (student(*example["inputs"].values()) - example["scores"]).abs().max()
    print(f"the scores of the example differ by {difference:.1e} at most from those where it was exported")
    print(answer(**example["inputs"]))
