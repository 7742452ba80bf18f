"""Pictures in files with boxes: decoded as they are asked for, scaled to fit one size, and filled up at the bottom and on the right.

What the annotations of a layout have in common is checked here. Nothing imports torch.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdarena.tracks.detection.data import COUNTED, CROWD, Augmentation, BoxSet, Truth
from kdarena.tracks.overlap import files_in_train
from kdarena.tracks.segmentation.data import IMAGENET_MEAN, IMAGENET_STD
from kdarena.tracks.segmentation.files import FILLING

if TYPE_CHECKING:
    import numpy as np

ROUNDING = 1e-6
"""Pixels by which a scaled side may miss a whole number."""


@dataclass(frozen=True)
class Picture:
    """A picture of a data set.

    Attributes:
        path: of the file.
        height, width: as its annotations say.
        listed: where it is listed, for messages.
    """

    path: Path
    height: int
    width: int
    listed: str


@dataclass(frozen=True)
class Box:
    """A box as it is annotated, in pixels of its picture.

    Attributes:
        corners: x1, y1, x2, y2.
        label: the number of its class.
        crowd: whether it is a crowd region.
        area: of the object in square pixels; None: that of the box.
    """

    corners: tuple[float, float, float, float]
    label: int
    crowd: bool
    area: float | None = None

    def within(self, picture: Picture, where: str) -> tuple[float, ...] | None:
        """Corners that are cut at the picture's edges, class, flag and area; None where the box has no area, so that there is nothing to find.

        Raises:
            ValueError: in one line that begins with ``where``: the box is not finite, ends before it begins, or is outside the picture.
        """
        x1, y1, x2, y2 = self.corners
        if not all(map(math.isfinite, self.corners)):
            raise ValueError(f"{where}: its box has a number that is not finite; correct it, or remove the annotation")
        if x2 < x1 or y2 < y1:
            raise ValueError(f"{where}: its box has a width of {x2 - x1:g} and a height of {y2 - y1:g}; correct it, or remove the annotation")
        if x2 == x1 or y2 == y1:
            return None
        cut = max(x1, 0.0), max(y1, 0.0), min(x2, float(picture.width)), min(y2, float(picture.height))
        if cut[2] <= cut[0] or cut[3] <= cut[1]:
            corners = ", ".join(f"{value:g}" for value in self.corners)
            raise ValueError(
                f"{where}: its box ({corners}) is outside its picture of {picture.height} x {picture.width} pixels; correct it, or remove the annotation"
            )
        area = (cut[2] - cut[0]) * (cut[3] - cut[1]) if self.area is None else self.area
        return *cut, self.label, CROWD if self.crowd else COUNTED, area


@dataclass(frozen=True, eq=False)
class Pictures:
    """Samples in files; see :class:`kdarena.tracks.detection.data.Samples`.

    Attributes:
        pictures: N of them.
        objects: of each picture its boxes as :meth:`Box.within` gives them [n, 7], float64.
        size: rows and columns to which pictures are brought.
        most: M.
        notes: what a user has to know of the annotations, one line each.
    """

    pictures: tuple[Picture, ...]
    objects: tuple[np.ndarray, ...]
    size: tuple[int, int]
    most: int
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pictures)

    def read(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Samples`."""
        import numpy as np

        wanted = [int(row) for row in rows]
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:  # decoding lets others run
            images = list(threads.map(lambda row: self._image(self.pictures[row]), wanted))
        boxes = np.zeros((len(wanted), self.most, 6), np.float32)
        for place, row in enumerate(wanted):
            height, width, scale = self._scaled(self.pictures[row])
            scaled = self.objects[row][:, :6].copy()
            scaled[:, :4] = np.clip(scaled[:, :4] * scale, 0, [width, height, width, height])
            # a sliver at the edge may be lost with the part of a pixel that is left over there
            left = scaled[(scaled[:, 2] > scaled[:, 0]) & (scaled[:, 3] > scaled[:, 1])]
            boxes[place, : len(left)] = left
        return np.stack(images), boxes

    def sizes(self, rows: Sequence[int]) -> np.ndarray:
        """See :class:`Samples`."""
        import numpy as np

        chosen = [self.pictures[int(row)] for row in rows]
        return np.array([(picture.height, picture.width, self._scaled(picture)[2]) for picture in chosen], np.float64).reshape(-1, 3)

    def truth(self, rows: Sequence[int]) -> Truth:
        """See :class:`Samples`."""
        import numpy as np

        values = np.zeros((len(rows), self.most, 7))
        for place, row in enumerate(rows):
            values[place, : len(self.objects[int(row)])] = self.objects[int(row)]
        return Truth(values[..., :6], values[..., 6])

    def overlap(self, train: Pictures) -> int:
        """See :class:`Samples`: of the bytes of the files."""
        return files_in_train([picture.path for picture in self.pictures], [picture.path for picture in train.pictures])

    def check_images(self) -> None:
        """See :class:`Samples`; a picture of another size than its annotations say is named too."""
        from kdarena.tracks.classification.pictures import large_pictures_refused

        with large_pictures_refused(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            for _ in threads.map(_check, self.pictures):
                pass

    def _scaled(self, picture: Picture) -> tuple[int, int, float]:
        """Rows and columns that a picture has at the common size, and the scale; what is left of a pixel at its end is cut off."""
        scale = min(self.size[0] / picture.height, self.size[1] / picture.width)
        return max(1, int(picture.height * scale + ROUNDING)), max(1, int(picture.width * scale + ROUNDING)), scale

    def _image(self, picture: Picture) -> np.ndarray:
        import numpy as np
        from PIL import Image

        from kdarena.tracks.classification.pictures import Unreadable, decode_whole

        try:
            whole = decode_whole(_content(picture), picture.height, picture.width)
        except Unreadable as error:
            raise ValueError(f"{picture.path}: this picture {error}") from None
        height, width, scale = self._scaled(picture)
        window = (0.0, 0.0, min(width / scale, picture.width), min(height / scale, picture.height))
        image = np.empty((*self.size, 3), np.uint8)
        image[:] = FILLING
        image[:height, :width] = np.asarray(whole.resize((width, height), Image.Resampling.BILINEAR, box=window))
        return image


@dataclass(frozen=True)
class Part:
    """A part of a data set as it is annotated.

    Attributes:
        where: its list, for messages.
        pictures: N of them.
        boxes: of each picture, as :meth:`Box.within` gives them.
        without_area: where boxes of no area are listed, which are left out.
    """

    where: str
    pictures: Sequence[Picture]
    boxes: Sequence[Sequence[tuple[float, ...]]]
    without_area: Sequence[str]

    def samples(self, size: tuple[int, int], most: int) -> Pictures:
        """Its pictures, brought to so many rows and columns, with so many lines of boxes.

        Raises:
            ValueError: in one line: no box counts, or the file of a picture is missing.
        """
        import numpy as np

        objects = tuple(np.array(each, np.float64).reshape(-1, 7) for each in self.boxes)
        if not any((boxes[:, 5] == COUNTED).any() for boxes in objects):
            raise ValueError(f"{self.where}: no picture has a box that counts; add annotations that are no crowd regions")
        for picture in self.pictures:
            if not picture.path.is_file():
                raise ValueError(f"{picture.path}: the picture of {picture.listed} is missing; restore it, or take it out of the annotations")
        return Pictures(tuple(self.pictures), objects, size, most, _note(self.without_area))


def _note(without_area: Sequence[str]) -> tuple[str, ...]:
    if not without_area:
        return ()
    more = f"; so are those of {len(without_area) - 1} more annotations" if without_area[1:] else ""
    return (f"{without_area[0]}: its box has no area and is left out{more}",)


def box_set(name: str, train: Part, test: Part, classes: tuple[str, ...], size: tuple[int, int], augmentation: Augmentation) -> BoxSet:
    """A data set of two parts without a fixed validation part; raises ``ValueError`` as :meth:`Part.samples` does."""
    most = max(1, *(len(boxes) for part in (train, test) for boxes in part.boxes))
    read = [part.samples(size, most) for part in (train, test)]
    return BoxSet(name, read[0], read[1], False, classes, IMAGENET_MEAN, IMAGENET_STD, augmentation, most)


def checked(data: BoxSet) -> tuple[str, ...]:
    """Look at every picture of a data set in files.

    Returns:
        What a user has to know of it, one line each.

    Raises:
        ValueError: in one line that names the file of a picture that can't be decoded, or has another size than its annotations say.
    """
    data.train.check_images()
    data.test.check_images()
    return tuple(note for samples in (data.train, data.test) if isinstance(samples, Pictures) for note in samples.notes)


def digest_of(root: Path, annotations: Iterable[Path], pictures: Iterable[Path]) -> str:
    """16 hexadecimal digits over the names and the bytes of annotations, and the names and sizes of pictures; raises ``ValueError`` in one line."""
    hashed, path = hashlib.sha256(), root
    try:
        for path in annotations:
            hashed.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                hashed.update(hashlib.file_digest(file, "sha256").digest())
        for path in pictures:
            hashed.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n".encode())
    except OSError as error:
        raise ValueError(f"{path}: it can't be read ({error.strerror}); restore it") from None
    return hashed.hexdigest()[:16]


def _content(picture: Picture) -> bytes:
    try:
        return picture.path.read_bytes()
    except OSError as error:
        raise ValueError(f"{picture.path}: the picture of {picture.listed} can't be read ({error.strerror}); restore it") from None


def _check(picture: Picture) -> None:
    from kdarena.tracks.classification.pictures import Unreadable, check_whole

    try:
        check_whole(_content(picture), picture.height, picture.width)
    except Unreadable as error:
        raise ValueError(f"{picture.path}: this picture {error}") from None
