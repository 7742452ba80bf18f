"""The track's cards: what the parent process knows of a task, without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kdarena.method.student import Student
from kdarena.tracks import TRACKS, find_card
from kdarena.tracks.detection import cards, coco, voc


def test_the_embedded_task_goes_by_the_name_of_its_data():
    card = find_card("scenes-boxes")
    assert (card.track, card.metric, card.teacher, card.student, card.embedded) == ("detection", "map", "fcos-small", "fcos-tiny", True)
    assert (card.train, card.validation, card.test, card.classes) == (512, 96, 192, 10)
    assert "class scores" in card.offers and "images" in card.offers
    assert "one label a sample" not in card.offers and "one embedding a sample" not in card.offers


@pytest.mark.parametrize(("name", "train", "test", "classes"), [("coco-boxes", 118_287, 5_000, 80), ("voc-boxes", 5_717, 5_823, 20)])
def test_real_sets_have_the_official_sizes_and_say_what_is_missing(tmp_path, name: str, train: int, test: int, classes: int):
    card = find_card(name)
    assert (card.train + card.validation, card.test, card.classes) == (train, test, classes)
    assert (card.teacher, card.student) == ("fcos-resnet50", "fcos-mobilenetv3")
    missing = card.missing(str(tmp_path))
    assert missing and "is missing" in missing and "\n" not in missing


def test_real_sets_read_their_own_layouts():
    assert (cards.LISTED["coco-boxes"].read, cards.LISTED["voc-boxes"].read) == (coco.read, voc.read)


def test_other_pairs_have_a_name_where_both_look_at_the_same_places():
    assert find_card("voc_boxes:fcos-small-fcos-small").name == "voc-boxes:fcos-small-fcos-small"
    with pytest.raises(ValueError, match="task 'voc-boxes:fcos-resnet50-fcos-tiny': .* look at different places"):
        cards.card("voc-boxes:fcos-resnet50-fcos-tiny")
    with pytest.raises(ValueError, match="is no TEACHER-STUDENT of known architectures"):
        cards.card("voc-boxes:yolo-fcos-tiny")
    with pytest.raises(ValueError, match="unknown task 'lvis'; known: scenes-boxes, coco-boxes, voc-boxes"):
        cards.card("lvis")


def test_detection_is_a_track_and_the_student_alone_runs_on_it():
    assert "detection" in TRACKS
    assert Student.method.reason_against(find_card("scenes-boxes"), Student.method.Params()) is None


def test_cards_import_no_torch():
    code = (
        "import sys; from kdarena.tracks.detection import cards; cards.cards(); [card.missing(None) for card in cards.cards()];"
        "assert not {'torch', 'pycocotools', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
