"""Files as people have them in folders of pictures, made by Pillow: those that can be used, with the colour that they have to show, and those that can't."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

RED, WHITE = (200, 30, 40), (255, 255, 255)
SIDE = 24


def picture(mode: str = "RGB", colour: Any = RED, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    return Image.new(mode, size, colour)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def sixteen_bits(value: int) -> bytes:
    return saved(Image.fromarray(np.full((SIDE, SIDE), value, np.uint16)), "PNG")


def palette(transparent: bool = False) -> bytes:
    image = picture("P", 1)
    image.putpalette([0, 0, 0, *RED])
    return saved(image, "PNG", **({"transparency": 1} if transparent else {}))


def turned() -> bytes:
    """A picture that is red on the left, and that EXIF says to turn by a quarter to the right: it is to be red at the top."""
    image = picture(colour=(0, 0, 0))
    image.paste(RED, (0, 0, SIDE // 2, SIDE))
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(image, "PNG", exif=exif)


def animated(format: str) -> bytes:
    return saved(picture(), format, save_all=True, append_images=[picture(colour=(0, 0, 255)), picture(colour=(0, 255, 0))])


def cmyk() -> Image.Image:
    return picture("CMYK", (*(255 - value for value in RED), 0))


USABLE: Mapping[str, tuple[Callable[[], bytes], tuple[int, int, int]]] = {
    "plain.png": (lambda: saved(picture(), "PNG"), RED),
    "PHOTO.JPG": (lambda: saved(picture(), "JPEG", quality=95), RED),
    "photo.jpeg": (lambda: saved(picture(), "JPEG", progressive=True, quality=95), RED),
    "modern.webp": (lambda: saved(picture(), "WEBP", lossless=True), RED),
    "scan.TIF": (lambda: saved(picture(), "TIFF"), RED),
    "packed.tiff": (lambda: saved(picture(), "TIFF", compression="tiff_lzw"), RED),
    "old.bmp": (lambda: saved(picture(), "BMP"), RED),
    "targa.TGA": (lambda: saved(picture(), "TGA"), RED),
    "plain.ppm": (lambda: saved(picture(), "PPM"), RED),
    "new.jp2": (lambda: saved(picture(), "JPEG2000"), RED),
    "icon.ico": (lambda: saved(picture(), "ICO", sizes=[(SIDE, SIDE)]), RED),
    "grey.png": (lambda: saved(picture("L", 90), "PNG"), (90, 90, 90)),
    "grey.jpg": (lambda: saved(picture("L", 90), "JPEG"), (90, 90, 90)),
    "black and white.png": (lambda: saved(picture("1", 1), "PNG"), WHITE),
    "print.jpg": (lambda: saved(cmyk(), "JPEG", quality=95), RED),
    "print.tif": (lambda: saved(cmyk(), "TIFF"), RED),
    "sixteen bits.png": (lambda: sixteen_bits(90 * 257), (90, 90, 90)),
    "sixteen bits.tif": (lambda: saved(Image.fromarray(np.full((SIDE, SIDE), 90 * 257, np.uint16)), "TIFF"), (90, 90, 90)),
    "thirty-two bits.tif": (lambda: saved(Image.fromarray(np.full((SIDE, SIDE), 90, np.int32)), "TIFF"), (90, 90, 90)),
    "between 0 and 1.tif": (lambda: saved(Image.fromarray(np.full((SIDE, SIDE), 0.2, np.float32)), "TIFF"), (51, 51, 51)),
    "palette.png": (palette, RED),
    "palette.gif": (lambda: saved(picture(), "GIF"), RED),
    "transparent palette.png": (lambda: palette(transparent=True), WHITE),
    "transparent.png": (lambda: saved(picture("RGBA", (*RED, 0)), "PNG"), WHITE),
    "half transparent.png": (lambda: saved(picture("RGBA", (0, 0, 0, 128)), "PNG"), (127, 127, 127)),
    "grey with alpha.png": (lambda: saved(picture("LA", (90, 255)), "PNG"), (90, 90, 90)),
    "animated.gif": (lambda: animated("GIF"), RED),
    "animated.webp": (lambda: animated("WEBP"), RED),
    "animated.png": (lambda: animated("PNG"), RED),
    "pages.tif": (lambda: animated("TIFF"), RED),
    "größe 猫 №1 😀.png": (lambda: saved(picture(), "PNG"), RED),
    "a png named.jpg": (lambda: saved(picture(), "PNG"), RED),
    "no suffix": (lambda: saved(picture(), "JPEG", quality=95), RED),
    "not a picture's suffix.dat": (lambda: saved(picture(), "PNG"), RED),
    "one pixel.png": (lambda: saved(picture(size=(1, 1)), "PNG"), RED),
    "strip.png": (lambda: saved(picture(size=(1, 3000)), "PNG"), RED),
    "damaged exif.jpg": (lambda: saved(picture(), "JPEG", quality=95, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01"), RED),
}
"""Files by name, each with the colour that is to be seen."""

CUT = saved(Image.fromarray(np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)), "JPEG")


def large_in_few_bytes() -> bytes:
    """A PNG whose head promises 60,000 x 60,000 pixels."""
    content = saved(picture("1", 0), "PNG")
    import zlib

    head = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + content[24:29]
    return content[:12] + head + zlib.crc32(head).to_bytes(4, "big") + content[33:]


UNUSABLE: Mapping[str, tuple[Callable[[], bytes], str]] = {
    "empty.png": (lambda: b"", r"is empty \(zero bytes\): get it again"),
    "cut.jpg": (lambda: CUT[: len(CUT) // 2], r"is damaged or cut off \(.*truncated.*\): get it again"),
    "cut.png": (lambda: saved(Image.fromarray(np.random.RandomState(0).randint(0, 256, (64, 64), dtype=np.uint8)), "PNG")[:2000], "is damaged or cut off"),
    "cut.webp": (lambda: saved(picture(size=(64, 64)), "WEBP")[:-20], "is damaged or cut off|is no picture"),
    "head alone.gif": (lambda: b"GIF89a", "is damaged or cut off|is no picture"),
    "text.jpg": (lambda: "a text, größer als nichts".encode(), "is a text file: remove it"),
    "page.jpg": (lambda: b"<!DOCTYPE html><html>404</html>", "is a web page: download the picture again"),
    "pointer.png": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "is a pointer of Git LFS: run git lfs pull"),
    "drawing.svg": (lambda: b"<?xml version='1.0'?><svg></svg>", "is an SVG drawing: export it as PNG"),
    "drawing.eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is a PostScript drawing: export it as PNG"),
    "document.pdf": (lambda: b"%PDF-1.7\n%\xe2\xe3", "is a PDF document: export it as PNG"),
    "phone.heic": (lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC picture, which Pillow doesn't read: convert it to JPEG"),
    "archive.png": (lambda: b"PK\x03\x04\x14\0", "is a zip archive: unpack it"),
    "noise.png": (lambda: np.random.RandomState(1).bytes(999), "is no picture that Pillow reads"),
    "bomb.png": (large_in_few_bytes, "has more than 89 million pixels: make it smaller"),
    "below zero.tif": (
        lambda: saved(Image.fromarray(np.full((SIDE, SIDE), -3.5, np.float32)), "TIFF"),
        "has values from -3.5 to -3.5: save it with 8 or 16 bits",
    ),
    "not a number.tif": (lambda: saved(Image.fromarray(np.full((SIDE, SIDE), np.nan, np.float32)), "TIFF"), "has values from nan to nan"),
}
"""Files by name, each with what is to be said of it."""
