"""What the page on detection shows is run, and what it states is so."""

import contextlib
import io
import re
from pathlib import Path

from kdarena.tracks.detection import coco, scenes_boxes, voc

PAGE = (Path(__file__).parent.parent / "docs" / "detection.md").read_text(encoding="utf-8")


def test_the_example_of_reading_boxes_prints_them():
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(example, {})
    first, *boxes = said.getvalue().splitlines()
    assert first == "(2, 64, 64, 3) (2, 5, 6) 5"
    assert boxes and all(re.fullmatch(r"\d( \d+\.0){4}", line) for line in boxes)


def test_the_page_states_the_sizes_that_the_data_have():
    train, validation, test = scenes_boxes.SIZES.values()
    assert f"{train} pictures to train on, {validation} for validation and {test} to test on, of {scenes_boxes.SIDE} x {scenes_boxes.SIDE} pixels" in PAGE
    assert f"holds out {coco.VALIDATION:,} other pictures" in PAGE
    for size, scale in ((coco.SIZE, coco.SCALE), (voc.SIZE, voc.SCALE)):
        assert f"to fit {size[0]} x {size[1]} pixels" in PAGE and PAGE.count(f"enlarged by {scale[0]} to {scale[1]}") == 2
