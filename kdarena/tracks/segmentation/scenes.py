"""Embedded scenes: scikit-learn's handwritten digits float over the two photographs that it carries.

The camera looks down on a sloping ground, a patch of a photograph, and lights it by a flash. Each digit floats at a height of its
own above the ground: the nearer to the camera, the larger and the lighter it is, and it hides what is below. So one picture has
labels (background and ten classes) and distances, and both can be read from it. Around each digit runs a border of one pixel that has neither.

Digits, and the columns of the photographs, are divided among train, validation and test for ever. All arithmetic is elementwise
and in double precision, and the generator's streams are frozen across versions of numpy, so that the pixels are the same everywhere.
Nothing here imports torch.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SIDE = 48
IGNORED = 255
CLASSES = ("background", *"0123456789")
SIZES: Mapping[str, int] = {"train": 512, "validation": 96, "test": 192}
"""Scenes of each part."""
DIGITS: Mapping[str, int] = {"train": 1000, "validation": 300, "test": 497}
"""Handwritten digits that each part's scenes draw from."""
COLUMNS: Mapping[str, tuple[int, int]] = {"train": (0, 352), "validation": (352, 464), "test": (464, 640)}
"""Columns of both photographs from which each part's grounds are cut."""
SEED = 20234
"""Of the division of the digits and of the scenes, for ever."""

CROP = (SIDE, 96)
"""Smallest and largest side of the patch of a photograph that becomes a ground."""
COUNT = (2, 4)
"""Fewest and most digits of a scene."""
GROUND = (3.0, 8.0)
"""Distance of the ground's centre from the camera, in metres."""
SLOPE = 0.3
"""Largest change of the ground's distance from the centre to an edge, along either axis, as a share of the centre's."""
NEARNESS = (0.5, 0.85)
"""Distance of a digit as a share of that of the ground below."""
FOCAL = 1.7 * SIDE
"""Side of a digit in pixels at a distance of one metre."""
DIGIT_SIDE = (SIDE / 3, SIDE * 0.75)
TILT = 0.2
INKS = (
    *((235, 115, 115), (235, 175, 110), (225, 225, 110), (160, 235, 110), (110, 235, 165)),
    *((110, 225, 235), (120, 160, 240), (165, 120, 240), (235, 120, 235), (215, 215, 215)),
)
"""Each class is written in a colour of its own …"""
SPREAD = 45.0
"""… from which a digit's channels differ by up to so much, so that the colour alone does not give the class away."""
HALF_LIGHT = 6.0
"""Distance in metres at which half of the camera's flash is left."""
NOISE = 12.0
"""Of the sensor, uniform up to so much in either direction."""


@dataclass(frozen=True)
class Design:
    """What differs from one set of scenes to another.

    Attributes:
        side: of a picture, in pixels.
        crop: smallest and largest side of the patch of a photograph that becomes a ground.
        count: fewest and most digits of a scene.
    """

    side: int = SIDE
    crop: tuple[int, int] = CROP
    count: tuple[int, int] = COUNT


@dataclass(frozen=True, eq=False)
class Scenes:
    """One part's scenes of side S.

    Attributes:
        images: [N, S, S, 3] of bytes.
        masks: [N, S, S] of bytes: 0 background, 1 + digit, 255 at the borders.
        distances: [N, S, S] of float32 in metres, not a number at the borders.
        digits: rows of scikit-learn's digits that appear, ascending.
        windows: of each ground: photograph, first row, first column, side [N, 4].
        boxes: of each digit's visible pixels, x1, y1, x2, y2, and its class from 0 to 9 [N, M, 5]; M is the most digits of a scene.
        visible: the share of its pixels in the picture that no other digit hides [N, M]; 0 where there is no digit.
    """

    images: np.ndarray
    masks: np.ndarray
    distances: np.ndarray
    digits: np.ndarray
    windows: np.ndarray
    boxes: np.ndarray
    visible: np.ndarray


@functools.cache
def load_scenes() -> Mapping[str, Scenes]:
    """The scenes of ``train``, ``validation`` and ``test``; made once a process, in about a second."""
    return scenes_of(Design(), SEED + 1)


def scenes_of(design: Design, seed: int) -> Mapping[str, Scenes]:
    """Scenes of ``train``, ``validation`` and ``test`` of a design; the parts' digits and columns are the same for every seed."""
    import numpy as np
    from sklearn.datasets import load_digits, load_sample_images

    bunch = load_digits()
    photographs = np.stack(load_sample_images().images).astype(np.float64)
    order = np.random.RandomState(SEED).permutation(len(bunch.target))
    scenes, first = {}, 0
    for number, part in enumerate(SIZES):
        rows = order[first : first + DIGITS[part]]
        first += DIGITS[part]
        scenes[part] = _part(np.random.RandomState(seed + number), design, part, photographs, bunch.images / 16, bunch.target, rows)
    return scenes


@functools.cache
def digest() -> str:
    """16 hexadecimal digits of the sha256 of all pixels, labels and distances."""
    hashed = hashlib.sha256()
    for scenes in load_scenes().values():
        for array in (scenes.images, scenes.masks, scenes.distances):
            hashed.update(array.tobytes())
    return hashed.hexdigest()[:16]


def _part(
    random: np.random.RandomState, design: Design, part: str, photographs: np.ndarray, digits: np.ndarray, labels: np.ndarray, rows: np.ndarray
) -> Scenes:
    import numpy as np

    size, shape = SIZES[part], (SIZES[part], design.side, design.side)
    images, masks, distances = np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint8), np.empty(shape, np.float32)
    windows = np.empty((size, 4), np.int64)
    boxes, visible = np.zeros((size, design.count[1], 5), np.float32), np.zeros((size, design.count[1]), np.float32)
    used: list[int] = []
    for number in range(size):
        windows[number] = _window(random, photographs.shape, COLUMNS[part], design.crop)
        scene = _Scene(random, _ground(random, photographs, windows[number], design.side))
        chosen = rows[random.randint(len(rows), size=random.randint(design.count[0], design.count[1] + 1))]
        for row in chosen:
            scene.add(digits[row], int(labels[row]))
        used.extend(chosen)
        images[number], masks[number], distances[number] = scene.pixels(), scene.mask, scene.distance
        for place, (box, share) in enumerate(scene.boxes()):
            boxes[number, place], visible[number, place] = box, share
    return Scenes(images, masks, distances, np.unique(used), windows, boxes, visible)


def _window(random: np.random.RandomState, shape: tuple[int, ...], columns: tuple[int, int], crop: tuple[int, int]) -> tuple[int, int, int, int]:
    """Photograph, first row, first column and side of a patch that is within the columns."""
    side = random.randint(crop[0], crop[1] + 1)
    return random.randint(shape[0]), random.randint(shape[1] - side + 1), random.randint(columns[0], columns[1] - side + 1), side


def _ground(random: np.random.RandomState, photographs: np.ndarray, window: np.ndarray, size: int) -> np.ndarray:
    """The patch, at half of all times mirrored, at the size S of a scene [S, S, 3]."""
    import numpy as np

    photograph, row, column, side = window
    patch = photographs[photograph, row : row + side, column : column + side]
    if random.randint(2):
        patch = patch[:, ::-1]
    steps = np.arange(size) * ((side - 1) / (size - 1))
    return bilinear(patch, steps[:, None], steps[None, :])


def bilinear(picture: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """A picture [H, W] or [H, W, C] at fractional positions, zero outside; by elementwise arithmetic alone."""
    import numpy as np

    rows, columns = np.broadcast_arrays(rows, columns)
    height, width = picture.shape[:2]
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = rows - top, columns - left
    total: np.ndarray = np.zeros(rows.shape + picture.shape[2:])
    for below in (0, 1):
        for right_of in (0, 1):
            weight = (down if below else 1 - down) * (right if right_of else 1 - right)
            y, x = top + below, left + right_of
            weight = weight * ((y >= 0) & (y < height) & (x >= 0) & (x < width))
            corner = picture[y.clip(0, height - 1), x.clip(0, width - 1)]
            total += corner * (weight[..., None] if picture.ndim == 3 else weight)
    return total


class _Scene:
    """A picture in the making: what is seen at each pixel, its label, its distance and whose it is."""

    def __init__(self, random: np.random.RandomState, ground: np.ndarray):
        import numpy as np

        self._random = random
        self._side = side = len(ground)
        self._positions = np.arange(side, dtype=np.float64)
        across = self._positions * (2 / (side - 1)) - 1
        slopes = random.uniform(-SLOPE, SLOPE, size=2)
        self._below = random.uniform(*GROUND) * (1 + slopes[0] * across[:, None] + slopes[1] * across[None, :])
        self._picture = _lit(ground, self._below)
        self.mask = np.zeros((side, side), np.uint8)
        self._topmost = np.full((side, side), -1)  # the digit that is seen at each pixel, by its number
        self._digits: list[tuple[int, int]] = []  # of each digit: its class and its pixels
        self.distance = self._below.copy()

    def add(self, digit: np.ndarray, label: int) -> None:
        """Let a digit [8, 8] with values in [0, 1] float over what is there."""
        import numpy as np

        random = self._random
        centre = random.uniform(DIGIT_SIDE[0] / 2, self._side - DIGIT_SIDE[0] / 2, size=2)
        below = self._below[int(centre[0]), int(centre[1])]
        distance = float(np.clip(below * random.uniform(*NEARNESS), FOCAL / DIGIT_SIDE[1], FOCAL / DIGIT_SIDE[0]))
        side = FOCAL / distance
        window = tuple(slice(max(0, int(middle - 0.75 * side)), int(middle + 0.75 * side) + 2) for middle in centre)
        strength = bilinear(digit, *self._places(window, centre, side, random.uniform(-TILT, TILT)))
        # strokes are soft at 8 x 8 pixels; a slope of 4 makes their edges about a pixel wide
        opacity = np.clip(4 * (strength - 0.3), 0, 1)
        inside = opacity > 0.5
        if not inside.any():
            return
        ink = np.clip(np.array(INKS[label]) + random.uniform(-SPREAD, SPREAD, size=3), 0, 255)
        seen = _lit(ink, np.full((1, 1), distance))
        self._picture[window] += opacity[..., None] * (seen - self._picture[window])
        border = _grown(inside) & ~inside
        mask, known = self.mask[window], self.distance[window]
        mask[inside], mask[border] = label + 1, IGNORED
        known[inside], known[border] = distance, np.nan
        self._topmost[window][inside] = len(self._digits)
        self._digits.append((label, int(inside.sum())))

    def boxes(self) -> list[tuple[tuple[int, int, int, int, int], float]]:
        """Of each digit that is seen at all: the box of its visible pixels with its class, and the visible share of its pixels."""
        import numpy as np

        seen = []
        for number, (label, pixels) in enumerate(self._digits):
            rows, columns = np.nonzero(self._topmost == number)
            if len(rows):
                box = int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1, label
                seen.append((box, len(rows) / pixels))
        return seen

    def _places(self, window: tuple[slice, ...], centre: np.ndarray, side: float, tilt: float) -> tuple[np.ndarray, np.ndarray]:
        """Where in the digit each pixel of a window is, for a digit turned by an angle whose tangent is the tilt."""
        import numpy as np

        down, right = self._positions[window[0], None] - centre[0], self._positions[None, window[1]] - centre[1]
        scale = 8 / side / np.sqrt(1 + tilt * tilt)
        return scale * (down - tilt * right) + 3.5, scale * (right + tilt * down) + 3.5

    def pixels(self) -> np.ndarray:
        """The picture with the sensor's noise, in bytes."""
        import numpy as np

        noise = self._random.uniform(-NOISE, NOISE, size=self._picture.shape)
        pixels: np.ndarray = np.rint(np.clip(self._picture + noise, 0, 255)).astype(np.uint8)
        return pixels


def _lit(colours: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Colours [H, W, 3] or [3] in the light of a flash at the camera, at a distance [H, W]."""
    share = 1 / (1 + (distance / HALF_LIGHT) ** 2)
    lit: np.ndarray = share[..., None] * colours
    return lit


def _grown(inside: np.ndarray) -> np.ndarray:
    """A mask [H, W] grown by one pixel to all eight sides."""
    import numpy as np

    padded = np.pad(inside, 1)
    height, width = inside.shape
    grown: np.ndarray = np.zeros_like(inside)
    for down in range(3):
        for right in range(3):
            grown |= padded[down : down + height, right : right + width]
    return grown
