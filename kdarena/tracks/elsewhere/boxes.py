"""The student of this folder, with torch alone. ``python load.py`` asks it about the example that lies here.

From Python: ``import load; load.detect(images)``, images [B, 3, H, W] of fp32 with pixels from 0 to 1, in the size that ``config.json`` says: scale a
picture so that it fits, and fill it up at the right and the bottom with the colour that ``config.json`` says (``preparation.filling``, bytes from 0 to
255: divide them by 255). ``detect`` then takes the size of each scaled picture too, to which boxes are cut.
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
student = torch.export.load(FOLDER / "model.pt2").module()  # normalisation and decoding are a part of it
HOW = CONFIG["decoding"]


@torch.no_grad()
def detect(images: torch.Tensor, sizes: list[tuple[int, int]] | None = None) -> list[dict[str, torch.Tensor]]:
    """What is in each image: boxes [K, 4] in its pixels (left, top, right, bottom), scores [K], and numbers of classes [K], whose names are in ``CONFIG["labels"]``.

    ``sizes`` are rows and columns of each picture in its image, without what fills it up; without them a picture fills its image.
    """
    said = student(images)
    sizes = [tuple(CONFIG["preparation"]["size"])] * len(said) if sizes is None else sizes
    return [chosen(places[:, :4], places[:, 4:], *size) for places, size in zip(said, sizes, strict=True)]


def chosen(boxes: torch.Tensor, scores: torch.Tensor, height: int, width: int) -> dict[str, torch.Tensor]:
    """The detections among the boxes [P, 4] and the scores [P, C] of all places of an image: of boxes of a class that overlap, the one with the highest score."""
    best, at = scores.T.flatten().topk(min(HOW["candidates"], len(scores)))
    best, at = best[best > HOW["threshold"]], at[best > HOW["threshold"]]
    classes, sides = at // len(scores), boxes[at % len(scores)].clamp(min=0).minimum(torch.tensor([width, height, width, height]))
    left = torch.ones(len(best), dtype=torch.bool)
    kept = []
    for number in range(len(best)):
        if left[number]:
            kept.append(number)
            left &= ~((overlap(sides[number], sides) > HOW["overlap"]) & (classes == classes[number]))
    first = torch.tensor(kept[: HOW["most"]], dtype=torch.long)
    return {"boxes": sides[first], "scores": best[first], "classes": classes[first]}


def overlap(box: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Intersection over union of a box [4] and boxes [K, 4]."""
    common = (torch.minimum(box[2:], boxes[:, 2:]) - torch.maximum(box[:2], boxes[:, :2])).clamp(min=0).prod(dim=1)
    union = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) - common
    return common / union.clamp(min=1e-9)


if __name__ == "__main__":
    example = torch.load(FOLDER / "example.pt", weights_only=True)
    with torch.no_grad():
        difference = (student(*example["inputs"].values()) - example["scores"]).abs().max()
    print(f"the scores of the example differ by {difference:.1e} at most from those where it was exported")
    for number, found in enumerate(detect(**example["inputs"])):
        print(f"image {number}: {len(found['scores'])} boxes, the first with the highest score:", {name: values[:1].tolist() for name, values in found.items()})
