"""The student of this folder, with timm. ``python load.py IMAGE…`` says what it takes each picture for."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image

FOLDER = Path(__file__).resolve().parent
for name, digest in json.loads((FOLDER / "card.json").read_text("utf-8"))["files"].items():
    if hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() != digest:
        raise SystemExit(f"{FOLDER / name}: it is not the file that was exported; export the student again")
student: Any = timm.create_model(f"local-dir:{FOLDER}", pretrained=True).eval()
data: Any = timm.data
prepare = data.create_transform(**data.resolve_model_data_config(student))


@torch.no_grad()
def answer(files: list[str]) -> list[str]:
    """The name of each picture's class."""
    numbers = student(torch.stack([prepare(Image.open(file).convert("RGB")) for file in files])).argmax(dim=1)
    return [student.pretrained_cfg["label_names"][number] for number in numbers.tolist()]


if __name__ == "__main__":
    print(answer(sys.argv[1:]) if sys.argv[1:] else student.pretrained_cfg)
