"""Pictures as people have them: the bytes of a file to pixels of one size, whatever its format and mode, or why it can't be used.

What a file is, its content decides and not its name. Nothing here imports torch.

A picture has 8 bits a channel and three channels (RGB) in the end: its short side is resized to the size, and the middle is cut out; grey is
repeated, alpha is put on white, 16 bits are scaled from their full range, EXIF's rotation is applied, and of several frames or pages the first is
taken.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

REFUSED_FORMATS = frozenset({"EPS", "WMF"})
"""Formats that Pillow gives to another program to draw, which then carries out what is in the file."""
ORIENTATION = 0x0112
"""EXIF's number of the rotation."""
SEVERAL_FRAMES, ALPHA, DARK = "several frames or pages, of which the first is used", "alpha, which is put on white", "16 bits of which less than 12 are used"
"""What a user has to know of pictures that are used."""
DARK_BELOW = 4096
"""Largest value of 16 bits under which a picture is nearly black."""
_HEIC = (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1", b"ftypmsf1")


class Unreadable(ValueError):
    """Why the bytes of a file are no picture to train on, and what to do, without the file's name."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: [S, S, 3] of bytes.
        oddities: of :data:`SEVERAL_FRAMES`, :data:`ALPHA` and :data:`DARK`, those that it has.
    """

    pixels: np.ndarray
    oddities: tuple[str, ...]


def decode(content: bytes, size: int) -> Picture:
    """A file's content as a picture of ``size`` x ``size`` pixels; safe in threads within :func:`large_pictures_refused`.

    Raises:
        Unreadable: it can't be used.
    """
    if not content:
        raise Unreadable("is empty (zero bytes): get it again, or remove it")
    with _opened(io.BytesIO(content)) as picture:
        # a JPEG can be decoded at a half, a quarter or an eighth of its size; twice the size is kept for a good resize
        picture.draft(None, (2 * size, 2 * size))
        upright = _upright(picture)
        whole, odd = _rgb(upright)
        width, height = whole.size
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        # the middle alone is resized: a strip of 10 x 10,000 pixels would become gigabytes
        middle = whole.crop((left, top, left + side, top + side))
        square = middle.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
        return Picture(np.asarray(square), (*odd, SEVERAL_FRAMES) if _several(picture) else odd)


def decode_whole(content: bytes, height: int, width: int) -> Image.Image:
    """A file's content as an RGB picture of a size that is known; it is rotated as EXIF says where it has that size only then.

    Raises:
        Unreadable: it can't be used, or has another size.
    """
    with _opened(io.BytesIO(content)) as picture:
        return _rgb(_of_size(picture, height, width))[0]


def check_whole(content: bytes, height: int, width: int) -> None:
    """Raise as :func:`decode_whole` does; a JPEG is decoded at an eighth of its size, which looks at all bytes in a fraction of the time."""
    with _opened(io.BytesIO(content)) as picture:
        upright = _of_size(picture, height, width)
        if upright is picture:
            picture.draft(None, (1, 1))
        _rgb(upright)


def _of_size(picture: Image.Image, height: int, width: int) -> Image.Image:
    upright = picture if picture.size == (width, height) else _upright(picture)
    if upright.size != (width, height):
        raise Unreadable(f"has {upright.height} x {upright.width} pixels, not {height} x {width} as its annotations say: restore it, or correct them")
    return upright


def short_side(path: Path) -> int | None:
    """Pixels of a picture's short side, from its head; None where it is no picture that can be read."""
    try:
        with path.open("rb") as file, _opened(file) as picture:
            return min(picture.size)
    except (OSError, Unreadable):
        return None


@functools.cache
def suffixes() -> frozenset[str]:
    """Ends of names, in lower case, that promise a picture."""
    return frozenset((*Image.registered_extensions(), ".heic", ".heif", ".svg"))


@contextmanager
def large_pictures_refused() -> Iterator[None]:
    """Context in which a picture of too many pixels is refused before memory is taken for it; warnings are set for all threads."""
    formats()  # before threads do it side by side
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged metadata, say, which says nothing about the pixels
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@functools.cache
def formats() -> tuple[str, ...]:
    """Names of the formats that are read."""
    Image.init()
    return tuple(name for name in Image.ID if name not in REFUSED_FORMATS)


@contextmanager
def _opened(file: BinaryIO) -> Iterator[Image.Image]:
    """A picture that can be used within the block; whatever Pillow raises becomes :class:`Unreadable`."""
    try:
        with Image.open(file, formats=formats()) as picture:
            yield picture
    except Unreadable:
        raise
    except UnidentifiedImageError:
        file.seek(0)
        raise Unreadable(_what_else(file.read(1024))) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Unreadable(f"has more than {_millions(Image.MAX_IMAGE_PIXELS)} million pixels: make it smaller") from None
    except MemoryError:
        raise Unreadable("takes more memory than there is: make it smaller") from None
    except Exception as error:
        # decoders of damaged files raise whatever their parsers meet: struct.error, IndexError, zlib.error, …
        raise Unreadable(f"is damaged or cut off ({_one_line(error)}): get it again") from None


def _millions(pixels: int | None) -> int:
    return round((pixels or 0) / 1e6)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:80] or type(error).__name__


def _upright(picture: Image.Image) -> Image.Image:
    """The picture as its camera was held."""
    try:
        orientation = picture.getexif().get(ORIENTATION, 1)
    except Exception:
        return picture  # damaged metadata say nothing about the pixels
    if orientation not in range(2, 9):
        return picture
    turned: Image.Image = ImageOps.exif_transpose(picture)
    return turned


def _several(picture: Image.Image) -> bool:
    try:
        # a photograph with a preview or a second view in it is one picture
        return picture.format != "MPO" and bool(getattr(picture, "is_animated", False))
    except Exception:
        return True  # a damaged later frame


def _rgb(picture: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """A picture of any mode in RGB, and its oddities."""
    picture.load()
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return _from_wide(picture)
    if not picture.has_transparency_data:
        return (picture if picture.mode == "RGB" else picture.convert("RGB")), ()
    layered = picture.convert("RGBA")
    least, _ = layered.getchannel("A").getextrema()
    white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layered).convert("RGB"), ((ALPHA,) if least != 255 else ())


def _from_wide(picture: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Grey of 16 bits, of 32 bits or of floating point in RGB: 16 bits from their full range, the others by the range that their values show."""
    values = np.asarray(picture)
    least, most = float(values.min()), float(values.max())
    if not (np.isfinite(least) and np.isfinite(most)) or least < 0 or most > 65535:
        raise Unreadable(f"has values from {least:g} to {most:g}: save it with 8 or 16 bits a channel")
    if picture.mode == "F" and most <= 1:
        peak = 1.0
    elif not picture.mode.startswith("I;16") and most <= 255:
        peak = 255.0
    else:
        peak = 65535.0
    grey = Image.fromarray(np.round(values.astype(np.float32) * np.float32(255 / peak)).astype(np.uint8))
    return grey.convert("RGB"), ((DARK,) if peak == 65535.0 and 0 < most < DARK_BELOW else ())


def _what_else(start: bytes) -> str:
    """What a file is that no decoder knows, by its first bytes, and what to do."""
    head = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start[4:12] in _HEIC:
        return "is a HEIC picture, which Pillow doesn't read: convert it to JPEG"
    if head.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS: run git lfs pull"
    for magic, what in ((b"%pdf", "a PDF document"), (b"%!ps", "a PostScript drawing"), (b"\xc5\xd0\xd3\xc6", "a PostScript drawing")):
        if head.startswith(magic):
            return f"is {what}: export it as PNG"
    if b"<svg" in head:
        return "is an SVG drawing: export it as PNG"
    if head.startswith((b"<!doctype html", b"<html")):
        return "is a web page: download the picture again"
    if head.startswith(b"pk\x03\x04"):
        return "is a zip archive: unpack it"
    if b"\0" not in start and not head.startswith(b"gif8") and _is_text(start):
        return "is a text file: remove it"
    return "is no picture that Pillow reads, or its head is damaged: get it again, or remove it"


def _is_text(content: bytes) -> bool:
    try:
        content[: max(1, len(content) - 4)].decode()  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True
