"""The student of this folder, with torch alone. ``python load.py`` asks it about the example that lies here.

From Python: ``import load; load.answer(inputs)``, inputs [B, …] as the student was trained on them: ``config.json`` has their type and shape.
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
student = torch.export.load(FOLDER / "model.pt2").module()


@torch.no_grad()
def answer(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Probability and number of the class of each input."""
    probability, number = student(inputs).softmax(dim=1).max(dim=1)
    return probability, number


if __name__ == "__main__":
    example = torch.load(FOLDER / "example.pt", weights_only=True)
    with torch.no_grad():
        difference = (student(*example["inputs"].values()) - example["scores"]).abs().max()
    print(f"the scores of the example differ by {difference:.1e} at most from those where it was exported")
    print(answer(**example["inputs"]))
