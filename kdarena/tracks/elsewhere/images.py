"""The student of this folder, with torch alone. ``python load.py`` asks it about the example that lies here.

From Python: ``import load; load.answer(images)``, images [B, C, H, W] of fp32 with pixels from 0 to 1, in the size that ``config.json`` says.
"""

import hashlib
import json
from pathlib import Path

import torch

FOLDER = Path(__file__).resolve().parent
CONFIG = json.loads((FOLDER / "config.json").read_text("utf-8"))
for name, digest in CONFIG["files"].items():
    if hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() != digest:
        raise SystemExit(f"{FOLDER / name}: it is not the file that was exported; export the student again")
student = torch.export.load(FOLDER / "model.pt2").module()  # normalisation is a part of it


@torch.no_grad()
def answer(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | torch.Tensor:
    """Of each image, or of each of its pixels: probability and number of its class, whose name is in ``CONFIG["labels"]``; or its distance in metres."""
    scores: torch.Tensor = student(images)
    return scores.softmax(dim=1).max(dim=1) if CONFIG["labels"] else scores[:, 0]


if __name__ == "__main__":
    example = torch.load(FOLDER / "example.pt", weights_only=True)
    with torch.no_grad():
        difference = (student(*example["inputs"].values()) - example["scores"]).abs().max()
    print(f"the scores of the example differ by {difference:.1e} at most from those where it was exported")
    print(answer(**example["inputs"]))
