"""What a data set of the track is: two lists of images with a target for every pixel. Neither torch nor files are touched here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self

from kdarena.tracks.overlap import rows_in_train
from kdarena.tracks.segmentation import scenes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

IGNORED = scenes.IGNORED
"""The label of pixels that don't count."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Augmentation:
    """How training samples are varied.

    Attributes:
        crop: rows and columns of what is trained on.
        scale: smallest and largest enlargement.
        margin: pixels by which a crop may pass the image's edges.
        flip: whether half of all crops are mirrored.
        nearer: whether targets are distances, which an enlarged image shows nearer.
    """

    crop: tuple[int, int]
    scale: tuple[float, float] = (0.5, 2.0)
    margin: int = 0
    flip: bool = True
    nearer: bool = False


class Samples(Protocol):
    """A list of images with their targets, all of one size."""

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        ...

    def __len__(self) -> int: ...

    def read(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Images [B, H, W, 3] of bytes, and targets [B, H, W]: labels in bytes, or distances in float32."""
        ...

    def overlap(self, train: Self) -> int:
        """How many of its images are also in another list of the same kind."""
        ...

    def check_images(self) -> None:
        """Look at every image; raises ``ValueError`` in one line that names the file of one that can't be decoded."""
        ...


@dataclass(frozen=True, eq=False)
class Arrays:
    """Samples in memory: images [N, H, W, 3] of bytes and targets [N, H, W]."""

    images: np.ndarray
    targets: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.images.shape[1], self.images.shape[2]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Samples`."""
        chosen = list(rows)
        return self.images[chosen], self.targets[chosen]

    def overlap(self, train: Arrays) -> int:
        """See :class:`Samples`."""
        return rows_in_train(self.images, train.images)

    def check_images(self) -> None:
        """See :class:`Samples`; there is no file."""


@dataclass(frozen=True, eq=False)
class DenseSet:
    """A data set.

    Attributes:
        name: of the data set.
        train: what is trained on; where the authors say what is validation, that comes last.
        test: what is tested on.
        fixed_validation: whether the last samples of ``train`` are its validation part.
        classes: names of the classes; empty where targets are distances.
        mean, std: of the channels, in units of 255.
        augmentation: of training samples.
        weights: of the classes in the loss, or None where all weigh alike.
    """

    name: str
    train: Samples
    test: Samples
    fixed_validation: bool
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation
    weights: tuple[float, ...] | None = None


SCENES_MARGIN = 4
SCENES_SCALE = (0.8, 1.25)
"""Ours: digits are neither mirrored nor made so small that they can't be read."""


def scenes_set() -> DenseSet:
    """The embedded scenes with their labels.

    Three quarters of all pixels are background. Classes weigh with the inverse square root of their frequency in training, so that
    a run of a second gets past the stage where all is background (ours; ESPNet and ENet weigh classes too, by 1 / ln(1.02 + p)).
    """
    augmentation = Augmentation((scenes.SIDE, scenes.SIDE), SCENES_SCALE, SCENES_MARGIN, flip=False)
    return replace(_embedded("scenes", "masks", scenes.CLASSES, augmentation), weights=_rarity(scenes.load_scenes()["train"].masks))


def _rarity(masks: np.ndarray) -> tuple[float, ...]:
    """Inverse square roots of the classes' frequencies, the rarest 1."""
    import numpy as np

    counts = np.bincount(masks.ravel(), minlength=256)[: len(scenes.CLASSES)]
    return tuple(round(float(value), 4) for value in np.sqrt(counts.min() / counts))


def scenes_depth_set() -> DenseSet:
    """The embedded scenes with their distances; never enlarged, since haze would then belie the distance."""
    augmentation = Augmentation((scenes.SIDE, scenes.SIDE), (1.0, 1.0), SCENES_MARGIN, flip=True)
    return _embedded("scenes-depth", "distances", (), augmentation)


def _embedded(name: str, targets: str, classes: tuple[str, ...], augmentation: Augmentation) -> DenseSet:
    import numpy as np

    parts = scenes.load_scenes()
    images = np.concatenate([parts["train"].images, parts["validation"].images])
    pixels = parts["train"].images / 255
    return DenseSet(
        name=name,
        train=Arrays(images, np.concatenate([getattr(parts[part], targets) for part in ("train", "validation")])),
        test=Arrays(parts["test"].images, getattr(parts["test"], targets)),
        fixed_validation=True,
        classes=classes,
        mean=tuple(round(float(value), 4) for value in pixels.mean(axis=(0, 1, 2))),
        std=tuple(round(float(value), 4) for value in pixels.std(axis=(0, 1, 2))),
        augmentation=augmentation,
    )
