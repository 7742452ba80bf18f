"""The student of this folder, with onnxruntime and numpy. ``python load.py`` asks it about the example that lies here.

From Python: ``import load; load.scores(**inputs)``, the inputs by name as numpy arrays of the shapes that ``config.json`` says.
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


if __name__ == "__main__":
    example = np.load(FOLDER / "example.npz", allow_pickle=False)
    inputs = {name: example[name] for name in example.files if name != "scores"}
    difference = abs(scores(**inputs) - example["scores"]).max()
    print(f"the scores of the example differ by {difference:.1e} at most from those where it was exported")
    print(scores(**inputs).argmax(axis=1))
