"""Annotations and pictures that can't be used are named by file and id in one line, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tracks.detection.layouts import Content, save_picture, voc_object, voc_xml

from kdarena.tracks.detection import coco, voc


def refused(check: Callable[[str], object], root: Path) -> str:
    with pytest.raises(ValueError) as error:
        check(str(root))
    message = str(error.value)
    assert "\n" not in message and ": " in message
    return message


def _box(**values: Any) -> Callable[[Content], object]:
    return lambda content: content["annotations"][1].update(values)


def _image(**values: Any) -> Callable[[Content], object]:
    return lambda content: content["images"][1].update(values)


IN_JSON: dict[str, tuple[Callable[[Content], object], str]] = {
    "a box outside": (_box(bbox=[60, 10, 5, 5]), "annotation 200: its box (60, 10, 65, 15) is outside its picture of 40 x 60 pixels"),
    "a box above": (_box(bbox=[0, -20, 5, 10]), "annotation 200: its box (0, -20, 5, -10) is outside"),
    "a negative width": (_box(bbox=[10, 10, -5, 5]), "annotation 200: its box has a width of -5 and a height of 5"),
    "no number": (_box(bbox=[10, 10, float("nan"), 5]), "annotation 200: its box has a number that is not finite"),
    "infinity": (_box(bbox=[10, 10, float("inf"), 5]), "annotation 200: its box has a number that is not finite"),
    "too large a number": (_box(bbox=[10, 10, 10**400, 5]), "annotation 200: its bbox [10, 10, 1000"),
    "three numbers": (_box(bbox=[10, 10, 5]), "annotation 200: its bbox [10, 10, 5] is not four numbers"),
    "texts": (_box(bbox=["10", 10, 5, 5]), "annotation 200: its bbox ['10', 10, 5, 5] is not four numbers"),
    "no box": (lambda content: content["annotations"][1].pop("bbox"), "annotation 200: its bbox None is not four numbers"),
    "an unknown class": (_box(category_id=2), "annotation 200: its category_id 2 is not among the categories"),
    "a class that is a list": (_box(category_id=[1]), "annotation 200: its category_id [1] is not among the categories"),
    "an annotation without its image": (_box(image_id=999), "annotation 200: its image_id 999 is not among the images"),
    "an odd iscrowd": (_box(iscrowd=3), "annotation 200: its iscrowd 3 is neither 0 nor 1"),
    "a negative area": (_box(area=-1), "annotation 200: its area -1 is no number of square pixels"),
    "an annotation's id twice": (_box(id=100), "annotation 100: this id is there twice"),
    "an annotation without an id": (_box(id=None), "annotation number 2 of its list has no id"),
    "an image's id twice": (_image(id=10), "image 10: this id is there twice"),
    "an image without a name": (_image(file_name=""), "image 20 has no file_name"),
    "a name that leads out": (_image(file_name="../../val2017/005.png"), "image 20: its file_name '../../val2017/005.png' leads out of"),
    "a name from the root": (_image(file_name="/etc/passwd"), "image 20: its file_name '/etc/passwd' leads out of"),
    "two images of one file": (_image(file_name="001.png"), "images 10 and 20 have one file_name, '001.png'"),
    "a height of 0": (_image(height=0), "image 20: height and width have to be pixels, these are 0 and 60"),
    "a width in halves": (_image(width=60.5), "image 20: height and width have to be pixels, these are 40 and 60.5"),
    "a category's id twice": (lambda content: content["categories"][1].update(id=3), "category 3: this id is there twice"),
    "a category's name twice": (lambda content: content["categories"][1].update(name="car"), "its name 'car' is that of category"),
    "a category without a name": (lambda content: content["categories"][1].pop("name"), "category 1 has no name"),
    "categories that differ": (
        lambda content: content["categories"][2].update(name="brush"),
        "its categories are not those of instances_train2017.json: 'brush'",
    ),
    "ids that differ": (lambda content: content["categories"].append(content["categories"][0] | {"id": 91, "name": "pen"}), "'pen' is in one of them alone"),
    "no categories": (lambda content: content.update(categories=[], annotations=[]), "it lists no categories"),
    "no images": (lambda content: content.update(images=[], annotations=[]), "it lists no images"),
    "no list of images": (lambda content: content.pop("images"), "images is missing"),
    "annotations that are no list": (lambda content: content.update(annotations={}), "annotations is no list"),
    "an entry that is no object": (lambda content: content["images"].append(7), "image number 5 of its list has no id"),
    "crowd regions alone": (lambda content: [each.update(iscrowd=1) for each in content["annotations"]], "no picture has a box that counts"),
    "no annotations": (lambda content: content.update(annotations=[]), "no picture has a box that counts"),
    "a missing picture": (_image(file_name="gone.png"), "gone.png: the picture of "),
    "a picture of another size": (_image(width=61), "002.png: this picture has 40 x 60 pixels, not 40 x 61 as its annotations say"),
    "a part that is not the official one": (lambda content: content["images"].pop(), "it lists 3 images, officially 4"),
}


@pytest.mark.parametrize("case", IN_JSON)
def test_what_is_wrong_in_annotations_of_coco_is_named_by_file_and_id(case: str, changed: Callable[[Callable[[Content], object]], Path]):
    change, expected = IN_JSON[case]
    message = refused(coco.check, changed(change))
    assert expected in message
    assert "instances_train2017.json" in message or ".png" in message


SPOILT = {
    "no JSON": (b"{'images': []}", "it is no JSON"),
    "JSON that is cut off": (b'{"images": [', "it is no JSON"),
    "nothing": (b"", "it is no JSON"),
    "bytes": (b"\xff\xfe\xfa\x00\x01", "it is no JSON"),
    "a list": (b"[]", "it is no object with the lists images, annotations, categories"),
    "endless nesting": (b"[" * 100_000, "it is no JSON"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_file_of_annotations_that_is_none_is_named(case: str, small_coco: Path):
    content, expected = SPOILT[case]
    listing = small_coco / coco.FOLDER / "annotations" / "instances_val2017.json"
    listing.write_bytes(content)
    message = refused(coco.read, small_coco)
    assert message.startswith(f"{listing}: ") and expected in message


@pytest.mark.parametrize("spoil", [lambda content: b"no picture", lambda content: content[:300], lambda content: b""])
def test_a_picture_that_can_not_be_decoded_is_named(small_coco: Path, spoil: Callable[[bytes], bytes]):
    path = small_coco / coco.FOLDER / "val2017" / "006.png"
    path.write_bytes(spoil(path.read_bytes()))
    assert refused(coco.check, small_coco).startswith(f"{path}: this picture ")
    samples = coco.read(str(small_coco)).test
    assert refused(lambda _: samples.read([1]), small_coco).startswith(f"{path}: this picture ")


IN_XML: dict[str, tuple[str, str]] = {
    "a box outside": (voc_xml(voc_object(box=(61, 1, 70, 9))), "object 1: its box (60, 0, 70, 9) is outside its picture of 40 x 60 pixels"),
    "sides in the wrong order": (voc_xml(voc_object() + voc_object(box=(30, 1, 20, 9))), "object 2: its box has a width of -9 and a height of 9"),
    "no number": (voc_xml(voc_object(box=(1, 2, "nan", 9))), "object 1: its box has a number that is not finite"),
    "a word": (voc_xml(voc_object(box=(1, 2, "x", 9))), "object 1: its bndbox has no numbers xmin, ymin, xmax, ymax"),
    "no box": (voc_xml("<object><name>dog</name></object>"), "object 1: its bndbox has no numbers"),
    "an unknown class": (voc_xml(voc_object("unicorn")), "object 1: its name 'unicorn' is no class of Pascal VOC"),
    "an odd difficult": (voc_xml(voc_object(further="<difficult>yes</difficult>")), "object 1: its difficult 'yes' is neither 0 nor 1"),
    "a height of thousands of digits": (voc_xml("", height="9" * 5000), "its size has the height '9999"),  # type: ignore[arg-type]
    "no size": ("<annotation></annotation>", "its size has the height '', not a number of pixels"),
    "another size": (voc_xml(voc_object(), width=59), "this picture has 40 x 60 pixels, not 40 x 59 as its annotations say"),
    "XML that is cut off": (voc_xml(voc_object())[:-30], "it is no XML"),
    "nothing": ("", "it is no XML"),
    "another root": ("<html></html>", "its root is 'html', not 'annotation'"),
}


@pytest.mark.parametrize("case", IN_XML)
def test_what_is_wrong_in_annotations_of_voc_is_named_by_file_and_object(case: str, small_voc: Path):
    content, expected = IN_XML[case]
    path = small_voc / voc.VOC_FOLDER / "Annotations" / "2008_000002.xml"
    path.write_text(content)
    message = refused(voc.check, small_voc)
    assert expected in message and "2008_000002" in message


def test_a_missing_picture_or_annotation_of_voc_is_named(small_voc: Path):
    picture = small_voc / voc.VOC_FOLDER / "JPEGImages" / "2008_000004.jpg"
    picture.unlink()
    assert refused(voc.read, small_voc).startswith(f"{picture}: the picture of ")
    save_picture(picture, 40, 60)
    annotations = small_voc / voc.VOC_FOLDER / "Annotations" / "2008_000005.xml"
    annotations.unlink()
    assert refused(voc.read, small_voc).startswith(f"{annotations}: it can't be read")


def test_a_name_that_is_twice_in_a_list_of_voc_is_named(small_voc: Path):
    listing = small_voc / voc.VOC_FOLDER / "ImageSets" / "Main" / "train.txt"
    listing.write_text("2008_000001\n2008_000002\n2008_000001\n")
    assert "'2008_000001' is there twice" in refused(voc.read, small_voc)
