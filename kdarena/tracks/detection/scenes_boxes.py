"""Embedded scenes with boxes: the digits of :mod:`kdarena.tracks.segmentation.scenes` on larger grounds, 2 to 5 in a picture.

A digit's box is drawn around its pixels that no other digit hides. Of a digit less than half of whose pixels are seen it is a crowd
region, which is neither right nor wrong to detect; a digit that is hidden entirely has none. Train, validation and test draw from the digits and from
the columns of the photographs that they have in the other embedded scenes. Nothing here imports torch.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kdarena.tracks.detection.data import COUNTED, CROWD, Arrays, Augmentation, BoxSet
from kdarena.tracks.segmentation import scenes

if TYPE_CHECKING:
    import numpy as np

SIZES: Mapping[str, int] = scenes.SIZES
"""Scenes of each part."""
CLASSES = scenes.CLASSES[1:]
SIDE = 64
CROP = (SIDE, 96)
COUNT = (2, 5)
SEED = 20260
"""Of the scenes, for ever."""
VISIBLE = 0.5
"""Share of a digit's pixels from which on its box counts."""
SCALE = (0.8, 1.25)
MARGIN = 4
"""Ours, as of the other embedded scenes: digits are neither mirrored nor made so small that they can't be read."""


def missing(data_root: str | None) -> str | None:
    """See :func:`kdarena.tracks.card.missing_scikit_learn`."""
    from kdarena.tracks.card import missing_scikit_learn

    return missing_scikit_learn(data_root)


@functools.cache
def made() -> Mapping[str, scenes.Scenes]:
    """The scenes of ``train``, ``validation`` and ``test``; made once a process, in a second or two."""
    return scenes.scenes_of(scenes.Design(SIDE, CROP, COUNT), SEED)


def load() -> Mapping[str, Arrays]:
    """Pictures and boxes of ``train``, ``validation`` and ``test``."""
    return {part: Arrays(found.images, _flagged(found.boxes, found.visible)) for part, found in made().items()}


def _flagged(boxes: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Boxes with class and flag [N, M, 6]."""
    import numpy as np

    flags = np.where(visible >= VISIBLE, COUNTED, np.where(visible > 0, CROWD, 0))
    return np.concatenate([boxes, flags[..., None].astype(np.float32)], axis=2)


@functools.cache
def digest(data_root: str | None = None) -> str:
    """16 hexadecimal digits of the sha256 of all pixels and boxes."""
    hashed = hashlib.sha256()
    for samples in load().values():
        for array in (samples.images, samples.boxes):
            hashed.update(array.tobytes())
    return hashed.hexdigest()[:16]


def read(data_root: str | None = None) -> BoxSet:
    """The embedded scenes; validation is the last part of ``train``."""
    import numpy as np

    parts = load()
    both = [parts[part] for part in ("train", "validation")]
    pixels = parts["train"].images / 255
    return BoxSet(
        name="scenes-boxes",
        train=Arrays(np.concatenate([part.images for part in both]), np.concatenate([part.boxes for part in both])),
        test=parts["test"],
        fixed_validation=True,
        classes=CLASSES,
        mean=tuple(round(float(value), 4) for value in pixels.mean(axis=(0, 1, 2))),
        std=tuple(round(float(value), 4) for value in pixels.std(axis=(0, 1, 2))),
        augmentation=Augmentation((SIDE, SIDE), SCALE, flip=False, margin=MARGIN),
        most=COUNT[1],
    )
