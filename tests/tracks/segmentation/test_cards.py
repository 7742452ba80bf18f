"""The cards: names, pairs, and what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kdarena.tracks.segmentation import cards


@pytest.mark.parametrize("name", ["scenes", "scenes-depth", "camvid", "voc", "cityscapes", "nyuv2"])
def test_every_data_set_has_a_card_with_its_default_pair(name: str) -> None:
    card = cards.card(name)
    assert (card.track, card.data_set) == ("segmentation", name)
    assert (card.teacher, card.student) == cards.LISTED[name].pairs[0]
    assert card.architecture("teacher") == card.teacher


def test_every_listed_card_is_found_again_by_its_name() -> None:
    listed = cards.cards()
    assert len({card.name for card in listed}) == len(listed)
    for card in listed:
        assert cards.card(card.name) == card


def test_embedded_tasks_go_by_their_data_sets_name_and_need_nothing() -> None:
    embedded = [card for card in cards.cards() if card.embedded]
    assert [card.name for card in embedded] == ["scenes", "scenes-depth"]
    assert all(card.missing(None) is None for card in embedded)


def test_another_pair_of_architectures_makes_a_task_of_its_own() -> None:
    card = cards.card("camvid:pspnet18-pspnet18-quarter")
    assert (card.teacher, card.student) == ("pspnet18", "pspnet18-quarter")
    assert cards.card("CamVid:UNet-Small_UNet_Tiny".replace("_UNet", "-UNet")).student == "unet-tiny"
    assert cards.card("scenes:unet-small-unet-tiny").name == "scenes:unet-small-unet-tiny"


def test_depth_is_ranked_by_close_pixels_and_segmentation_by_miou() -> None:
    assert {card.metric for card in cards.cards() if card.output == "values"} == {"delta1"}
    assert {card.metric for card in cards.cards() if card.output == "classes"} == {"miou"}
    assert all(card.classes == 1 for card in cards.cards() if card.output == "values")


@pytest.mark.parametrize("name", ["scenery", "camvid:pspnet18", "camvid:resnet20-resnet8"])
def test_an_unknown_task_or_pair_is_named_in_one_line(name: str) -> None:
    with pytest.raises(ValueError, match="known") as error:
        cards.card(name)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["camvid", "voc", "cityscapes", "nyuv2"])
def test_what_is_missing_is_said_in_one_line_with_what_to_do(name: str, tmp_path: Path) -> None:
    card = cards.card(name)
    for root in (None, str(tmp_path)):
        missing = card.missing(root)
        assert missing is not None and "--data-root" in missing and "\n" not in missing
        with pytest.raises(ValueError) as error:
            card.digest(root)
        assert str(error.value) == missing


def test_cards_are_read_without_torch_numpy_or_pictures() -> None:
    code = (
        "import sys; from kdarena.tracks.segmentation import cards; cards.cards(); [card.missing(None) for card in cards.cards()];"
        "print([name for name in ('torch', 'numpy', 'PIL', 'torchvision', 'sklearn') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
