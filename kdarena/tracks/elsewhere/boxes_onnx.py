"""The student of this folder, with onnxruntime and numpy. ``python load.py`` asks it about the example that lies here.

From Python: ``import load; load.detect(images)``, images [B, 3, H, W] of float32 with pixels from 0 to 1, in the size that ``config.json`` says: scale a
picture so that it fits, and fill it up at the right and the bottom with the colour that ``config.json`` says (``preparation.filling``, bytes from 0 to
255: divide them by 255). ``detect`` then takes the size of each scaled picture too, to which boxes are cut.
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
student = onnxruntime.InferenceSession(FOLDER / "model.onnx")  # normalisation and decoding are a part of it
HOW = CONFIG["decoding"]


def places(images: np.ndarray) -> np.ndarray:
    """Of each place of each image the four sides of its box in pixels and the score of each class [B, P, 4 + C]."""
    found: np.ndarray = student.run(None, {"images": images})[0]
    return found


def detect(images: np.ndarray, sizes: list[tuple[int, int]] | None = None) -> list[dict[str, np.ndarray]]:
    """What is in each image: boxes [K, 4] in its pixels (left, top, right, bottom), scores [K], and numbers of classes [K], whose names are in ``CONFIG["labels"]``.

    ``sizes`` are rows and columns of each picture in its image, without what fills it up; without them a picture fills its image.
    """
    said = places(images)
    sizes = [tuple(CONFIG["preparation"]["size"])] * len(said) if sizes is None else sizes
    return [chosen(image[:, :4], image[:, 4:], *size) for image, size in zip(said, sizes, strict=True)]


def chosen(boxes: np.ndarray, scores: np.ndarray, height: int, width: int) -> dict[str, np.ndarray]:
    """The detections among the boxes [P, 4] and the scores [P, C] of all places of an image: of boxes of a class that overlap, the one with the highest score."""
    at = (-scores.T.ravel()).argsort(kind="stable")[: min(HOW["candidates"], len(scores))]
    at = at[scores.T.ravel()[at] > HOW["threshold"]]
    best, classes = scores.T.ravel()[at], at // len(scores)
    sides = boxes[at % len(scores)].clip(0, [width, height, width, height])
    left = np.ones(len(best), bool)
    kept = []
    for number in range(len(best)):
        if left[number]:
            kept.append(number)
            left &= ~((overlap(sides[number], sides) > HOW["overlap"]) & (classes == classes[number]))
    first = np.array(kept[: HOW["most"]], int)
    return {"boxes": sides[first], "scores": best[first], "classes": classes[first]}


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of a box [4] and boxes [K, 4]."""
    common = (np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])).clip(0).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - common
    shares: np.ndarray = common / union.clip(1e-9)
    return shares


if __name__ == "__main__":
    example = np.load(FOLDER / "example.npz", allow_pickle=False)
    difference = abs(places(example["images"]) - example["scores"]).max()
    print(f"the scores of the example differ by {difference:.1e} at most from those where it was exported")
    for number, found in enumerate(detect(example["images"])):
        print(f"image {number}: {len(found['scores'])} boxes, the first with the highest score:", {name: values[:1].tolist() for name, values in found.items()})
