"""Samples in files: pairs of an image and a picture of labels or distances, checked before training, decoded once where memory allows.

Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from kdarena.tracks.overlap import files_in_train

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
KEPT_BYTES = 4 * 2**30
"""Decoded samples that are kept; those beyond are decoded again each time."""
FILLING = (124, 116, 104)
"""The mean colour of ImageNet, which fills images up to the common size."""


@dataclass(frozen=True)
class Pair:
    """An image and the picture of its targets, with the place where they are listed, for messages."""

    image: Path
    target: Path
    listed: str


@dataclass(frozen=True, eq=False)
class Labels:
    """How a picture of labels is read.

    Attributes:
        known: the label that each value in the files means.
        ignored: the label of what doesn't count, with which masks are filled up.
    """

    known: Mapping[int, int]
    ignored: int

    def read(self, path: Path) -> np.ndarray:
        """A mask [H, W] of bytes.

        Raises:
            ValueError: in one line: the file is no picture of labels, or has one that is not known.
        """
        import numpy as np

        mode, values = decoded(path)
        if mode not in ("L", "P"):
            raise ValueError(f"{path}: a mask has one channel of 8 bits with labels, this has mode {mode}; save it as mode L")
        table = np.zeros(256, np.uint8)
        table[list(self.known)] = list(self.known.values())
        present = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
        strangers = [int(value) for value in present if int(value) not in self.known]
        if strangers:
            raise ValueError(f"{path}: unknown label {strangers[0]}; known: {spans(self.known)}; fix the mask, or map the label to the one that is ignored")
        labels: np.ndarray = table[values]
        return labels


@dataclass(frozen=True, eq=False)
class Distances:
    """How a picture of distances is read.

    Attributes:
        unit: metres a step; 0 means an unknown distance.
        largest: of a distance that is believed, in metres.
        window: rows and columns outside which distances count as unknown, or None.
    """

    unit: float
    largest: float
    window: tuple[slice, slice] | None = None
    ignored: float = float("nan")

    def read(self, path: Path) -> np.ndarray:
        """Distances [H, W] in metres, float32; raises ``ValueError`` in one line where the file has no distances."""
        import numpy as np

        mode, steps = decoded(path)
        if not mode.startswith("I"):
            raise ValueError(f"{path}: distances are one channel of 16 bits in steps of {self.unit} m, this has mode {mode}")
        values = steps.astype(np.float32) * np.float32(self.unit)
        known = (values > 0) & (values <= self.largest)
        if self.window is not None:
            within = np.zeros_like(known)
            within[self.window] = True
            known &= within
        if not known.any():
            raise ValueError(f"{path}: no distance between 0 and {self.largest} m is known; are its steps {self.unit} m?")
        return np.where(known, values, np.float32(np.nan))


@dataclass(eq=False)
class Files:
    """Samples in files; see :class:`kdarena.tracks.segmentation.data.Samples`.

    Attributes:
        pairs: the samples.
        how: how targets are read.
        size: rows and columns that all samples have.
        fill: whether smaller ones are filled up at the bottom and on the right; otherwise another size is an error.
    """

    pairs: tuple[Pair, ...]
    how: Labels | Distances
    size: tuple[int, int]
    fill: bool = False
    _kept: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    _bytes: int = 0

    def __len__(self) -> int:
        return len(self.pairs)

    def check(self) -> None:
        """Look at every pair: both files are there, of one size, and the targets can be read.

        Raises:
            ValueError: in one line that names the file.
        """
        self._each(self._target, self.pairs)

    def read(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Samples`."""
        import numpy as np

        wanted = [int(row) for row in rows]
        absent = [row for row in dict.fromkeys(wanted) if row not in self._kept]
        fresh = dict(zip(absent, self._each(self._sample, [self.pairs[row] for row in absent]), strict=True))
        for row, sample in fresh.items():
            if self._bytes < KEPT_BYTES:
                self._kept[row] = sample
                self._bytes += sum(array.nbytes for array in sample)
        samples = [fresh[row] if row in fresh else self._kept[row] for row in wanted]
        return np.stack([image for image, _ in samples]), np.stack([target for _, target in samples])

    def overlap(self, train: Files) -> int:
        """See :class:`Samples`: of the bytes of the files."""
        return files_in_train([pair.image for pair in self.pairs], [pair.image for pair in train.pairs])

    def check_images(self) -> None:
        """See :class:`Samples`."""
        self._each(lambda pair: _check_image(pair.image), self.pairs)

    @staticmethod
    def _each(work: Callable[[Pair], T], pairs: Iterable[Pair]) -> list[T]:
        """In threads, since decoding lets others run."""
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            return list(threads.map(work, pairs))

    def _sample(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        target = self._target(pair)
        _, image = decoded(pair.image, "RGB")
        height, width = image.shape[:2]
        if (height, width) == self.size:
            return image, target
        whole = np.empty((*self.size, 3), np.uint8)
        whole[:] = FILLING
        whole[:height, :width] = image
        return whole, target

    def _target(self, pair: Pair) -> np.ndarray:
        import numpy as np

        _present(pair)
        width, height = _measured(pair.image)
        target = self.how.read(pair.target)
        if target.shape != (height, width):
            raise ValueError(
                f"{pair.target}: {_by(target.shape)} pixels, but its image {pair.image.name} has {_by((height, width))}; they have to be of one size"
            )
        if (height, width) == self.size:
            return target
        if not self.fill or height > self.size[0] or width > self.size[1]:
            bound = "at most " if self.fill else ""
            raise ValueError(f"{pair.image}: {_by((height, width))} pixels, where this data set has {bound}{_by(self.size)}; restore the original")
        whole = np.full(self.size, self.how.ignored, target.dtype)
        whole[:height, :width] = target
        return whole


def decoded(path: Path, mode: str | None = None) -> tuple[str, np.ndarray]:
    """A picture's mode and its pixels [H, W] or [H, W, C], brought to a mode where one is given.

    Raises:
        ValueError: in one line: it can't be decoded.
    """
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.mode, np.asarray(picture if mode is None else picture.convert(mode))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path}: this picture can't be decoded ({error}); restore it") from None


def _check_image(path: Path) -> None:
    """Look at all bytes of a picture; raises as :func:`decoded` does."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            if picture.format == "JPEG":
                picture.draft("L", (1, 1))  # at an eighth of its size, which takes a fraction of the time
                picture.load()
            else:
                picture.verify()
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: this picture can't be decoded ({error}); restore it") from None


def _measured(path: Path) -> tuple[int, int]:
    """Width and height, from the file's head."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path}: this picture can't be decoded ({error}); restore it") from None


def _by(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[1]}"


def spans(values: Iterable[int]) -> str:
    """Numbers as people write them: ``0-11, 255``."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def require(problem: str | None) -> None:
    """Raises ``ValueError`` with what is missing, if anything is."""
    if problem is not None:
        raise ValueError(problem)


def complete(pairs: Sequence[Pair], official: int, what: str) -> tuple[Pair, ...]:
    """The pairs of a part; raises ``ValueError`` in one line unless there are as many as officially."""
    if len(pairs) != official:
        raise ValueError(f"{what} has {len(pairs)} images, officially {official}; restore it")
    return tuple(pairs)


def digest(data_root: str | None, parts: Mapping[str, Sequence[Pair]]) -> str:
    """16 hexadecimal digits over the names and the bytes of all targets, and the names and sizes of all images.

    Raises:
        ValueError: in one line: a file is missing.
    """
    hashed = hashlib.sha256()
    for pair in (pair for part in parts.values() for pair in part):
        _present(pair)
        names = [path.relative_to(str(data_root)).as_posix() for path in (pair.image, pair.target)]
        hashed.update(f"{names} {pair.image.stat().st_size}\n".encode())
        hashed.update(pair.target.read_bytes())
    return hashed.hexdigest()[:16]


def _present(pair: Pair) -> None:
    for kind, path in (("image", pair.image), ("mask", pair.target)):
        if not path.is_file():
            raise ValueError(f"{path}: the {kind} of {pair.listed} is missing; restore it, or take the line out of the list")
