"""COCO's layout: ``coco/annotations/instances_{train2017,val2017}.json`` lists boxes of the pictures in ``coco/{train2017,val2017}``.

Test labels are not public: val2017 is the test here, and each seed holds out others of train2017 for validation. A box is x, y, width and
height in pixels of its picture (Lin et al. 2014, arXiv 1405.0312; https://cocodataset.org/#format-data). Any data set in this layout can be
read, with categories of its own. The JSON is read by the standard library, since pycocotools looks at nothing that is wrong in it. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kdarena.tracks.detection.data import Augmentation, BoxSet
from kdarena.tracks.detection.files import Part, box_set, checked, digest_of
from kdarena.tracks.detection.instances import read_instances
from kdarena.tracks.downloads import remedy
from kdarena.tracks.segmentation.files import require

FOLDER = "coco"
PARTS = {"train2017": 118_287, "val2017": 5_000}
"""Officially; of train2017 :data:`VALIDATION` are held out."""
VALIDATION = 5_000
CLASSES = 80
"""Officially, with ids from 1 to 90."""
SIZE = (512, 512)
"""Rows and columns to which pictures are brought; none of COCO's is larger than 640 x 640."""
SCALE = (0.8, 1.25)
"""The standard scale jitter (Ghiasi et al. 2021, arXiv 2012.07177)."""
_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"))


def missing(data_root: str | None) -> str | None:
    """What of COCO is missing and how to get it, in one line; None where it is there."""
    to_do = remedy("coco", data_root, "give --data-root DIR with coco/annotations, coco/train2017 and coco/val2017")
    if data_root is None:
        return f"no data root for {FOLDER}: {to_do}"
    folder = Path(data_root) / FOLDER
    wanted = [path for part in PARTS for path in (_annotations(folder, part), folder / part)]
    absent = [path for path in wanted if not path.exists()]
    return f"{absent[0]} is missing: {to_do}" if absent else None


def digest(data_root: str | None) -> str:
    """See :func:`kdarena.tracks.detection.files.digest_of`; of all pictures in the folders."""
    require(missing(data_root))
    folder = Path(str(data_root)) / FOLDER
    pictures = (path for part in PARTS for path in sorted((folder / part).rglob("*")) if path.suffix.lower() in _SUFFIXES)
    return digest_of(folder, [_annotations(folder, part) for part in PARTS], pictures)


def read(data_root: str | None) -> BoxSet:
    """COCO below a data root, every annotation checked; pictures are looked at by :meth:`Pictures.check_images`.

    Raises:
        ValueError: in one line that names file and id: an annotation can't be used, a picture is missing, or a part is not the official one.
    """
    require(missing(data_root))
    folder = Path(str(data_root)) / FOLDER
    found = read_folder(folder)
    for samples, (part, size) in zip((found.train, found.test), PARTS.items(), strict=True):
        if len(samples) != size:
            raise ValueError(f"{_annotations(folder, part)}: it lists {len(samples)} images, officially {size}; restore it")
    if len(found.classes) != CLASSES:
        raise ValueError(f"{_annotations(folder, next(iter(PARTS)))}: it has {len(found.classes)} categories, officially {CLASSES}; restore it")
    return found


def read_folder(folder: Path, parts: Sequence[str] = tuple(PARTS), name: str = "coco-boxes") -> BoxSet:
    """Any data set in this layout, of whatever size and categories; raises ``ValueError`` as :func:`read` does.

    Args:
        folder: of the annotations and of the pictures.
        parts: names of what is trained on and of what is tested on.
        name: of the data set.
    """
    train, test = (read_instances(_annotations(folder, part), folder / part) for part in parts)
    if (train.ids, train.names) != (test.ids, test.names):
        strange = sorted(set(train.names) ^ set(test.names))
        which = f"{strange[0]!r} is in one of them alone" if strange else "their ids differ"
        raise ValueError(f"{test.listing}: its categories are not those of {train.listing.name}: {which}; give both the same")
    read = [Part(str(part.listing), part.pictures, part.boxes, part.without_area) for part in (train, test)]
    return box_set(name, read[0], read[1], train.names, SIZE, Augmentation(SIZE, SCALE))


def check(data_root: str | None) -> tuple[str, ...]:
    """See :attr:`kdarena.tracks.card.TaskCard.check`."""
    return checked(read(data_root))


def _annotations(folder: Path, part: str) -> Path:
    return folder / "annotations" / f"instances_{part}.json"
