"""The student of this folder, with onnxruntime and numpy. ``python load.py`` asks it about the example that lies here.

From Python: ``import load; load.answer(**inputs)``, the inputs by name as numpy arrays of the shapes that ``config.json`` says.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime

FOLDER = Path(__file__).resolve().parent
CONFIG = json.loads((FOLDER / "config.json").read_text("utf-8"))
for name, digest in CONFIG["files"].items():
    if hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() != digest:
        raise SystemExit(f"{FOLDER / name}: it is not the file that was exported; export the student again")
student = onnxruntime.InferenceSession(FOLDER / "model.onnx")


def scores(**inputs: np.ndarray) -> np.ndarray:
    """Scores of the classes, whose names are in ``CONFIG["labels"]``; of a regression its values."""
    found: np.ndarray = student.run(None, inputs)[0]
    return found


def answer(**inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray] | np.ndarray:
    """Of each sample, or of each of its pixels: probability and number of its class, whose name is in ``CONFIG["labels"]``; or its value."""
    found = scores(**inputs)
    if not CONFIG["labels"]:
        return found[:, 0]
    powers = np.exp(found - found.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    return probabilities.max(axis=1), probabilities.argmax(axis=1)


if __name__ == "__main__":
    example = np.load(FOLDER / "example.npz", allow_pickle=False)
    inputs = {name: example[name] for name in example.files if name != "scores"}
    difference = abs(scores(**inputs) - example["scores"]).max()
    print(f"the scores of the example differ by {difference:.1e} at most from those where it was exported")
    print(answer(**inputs))
