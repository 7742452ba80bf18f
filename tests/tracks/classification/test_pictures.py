"""Pictures as people have them are decoded to what one sees, or refused with the reason and what to do."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from PIL import Image
from tracks.classification import odd_files
from tracks.classification.odd_files import RED, SIDE, UNUSABLE, USABLE, picture, saved

from kdarena.tracks.classification.pictures import ALPHA, DARK, SEVERAL_FRAMES, Unreadable, decode, large_pictures_refused, short_side, suffixes


@pytest.mark.parametrize("name", USABLE)
def test_a_picture_of_any_kind_shows_its_colour(name: str):
    content, colour = USABLE[name]
    pixels = decode(content(), 16).pixels
    assert (pixels.shape, pixels.dtype) == ((16, 16, 3), np.uint8)
    assert np.abs(pixels.astype(int) - np.array(colour)).max() <= 4


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_is_no_picture_is_refused_in_one_line_that_says_what_to_do(name: str):
    content, why = UNUSABLE[name]
    with large_pictures_refused(), pytest.raises(Unreadable, match=why) as caught:
        decode(content(), 16)
    assert "\n" not in str(caught.value) and ": " in str(caught.value)


def test_a_picture_of_the_size_keeps_its_pixels():
    pixels = np.random.RandomState(0).randint(0, 256, (32, 32, 3)).astype(np.uint8)
    assert (decode(saved(Image.fromarray(pixels), "PNG"), 32).pixels == pixels).all()


def test_the_short_side_is_resized_and_the_middle_is_cut_out():
    image = picture(colour=(0, 0, 0), size=(96, 32))
    image.paste(RED, (32, 0, 64, 32))
    assert (decode(saved(image, "PNG"), 16).pixels == RED).all()


def test_a_photograph_is_turned_as_its_camera_was_held():
    pixels = decode(odd_files.turned(), SIDE).pixels
    assert (pixels[: SIDE // 2] == RED).all() and not pixels[SIDE // 2 :].any()


def test_a_large_photograph_is_the_same_as_one_that_is_made_smaller_at_once():
    smooth = np.add.outer(np.arange(512), np.arange(512))[..., None] * np.array([0.25, 0.2, 0.1])
    content = saved(Image.fromarray(smooth.astype(np.uint8)), "JPEG", quality=95)
    whole = Image.open(io.BytesIO(content)).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.abs(decode(content, 32).pixels.astype(int) - np.asarray(whole)).max() <= 3


@pytest.mark.parametrize(
    ("content", "oddity"),
    [
        (odd_files.animated("GIF"), SEVERAL_FRAMES),
        (odd_files.animated("TIFF"), SEVERAL_FRAMES),
        (saved(picture("RGBA", (*RED, 9)), "PNG"), ALPHA),
        (odd_files.sixteen_bits(4000), DARK),
    ],
)
def test_what_a_user_has_to_know_of_a_picture_goes_with_it(content: bytes, oddity: str):
    assert decode(content, 8).oddities == (oddity,)


def test_an_alpha_channel_that_hides_nothing_is_not_odd():
    assert decode(saved(picture("RGBA", (*RED, 255)), "PNG"), 8).oddities == ()


def test_the_short_side_is_read_from_a_files_head(tmp_path):
    (tmp_path / "a").write_bytes(saved(picture(size=(40, 30)), "JPEG"))
    (tmp_path / "b").write_text("text")
    assert [short_side(tmp_path / name) for name in ("a", "b", "absent")] == [30, None, None]


def test_warnings_of_damaged_metadata_are_not_shown():
    with warnings.catch_warnings(record=True) as said:
        with large_pictures_refused():
            warnings.warn("Corrupt EXIF data", stacklevel=1)
    assert not said


def test_usual_suffixes_promise_a_picture_in_lower_case():
    assert {".jpg", ".jpeg", ".png", ".tif", ".webp", ".heic", ".bmp", ".gif"} <= suffixes()
    assert not {".txt", ".csv", ".json", ".xml", ""} & suffixes()
