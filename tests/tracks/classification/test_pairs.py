"""A listed data set with networks that the user names: its card, and that every process makes the same of its settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kdarena.errors import UserError
from kdarena.tracks import find_card, load_task
from kdarena.tracks.classification.pairs import own_card
from kdarena.tracks.own import OwnTask
from kdarena.tracks.values import Setting, Split

VIT = "timm:test_vit,patch_size=2"
RESNET = "timm:test_resnet"


def card_of(**settings: str):
    return OwnTask("pair", {"task": "digits", **settings}).card()


def test_the_card_is_the_listed_one_with_other_networks():
    card, listed = card_of(teacher=RESNET, student=VIT), find_card("digits")
    assert card.name.startswith("digits:timm.test-resnet-timm.test-vit.")
    assert (card.teacher, card.student, card.classes, card.metric) == (RESNET, VIT, listed.classes, listed.metric)
    assert {"feature maps", "one embedding a sample"} <= card.offers
    assert "a student that can be cut behind a stage" not in card.offers
    assert card.digest(None) != listed.digest(None) and card.digest(None) == card.digest(None)
    assert find_card(card.name, own=[OwnTask("pair", {"task": "digits", "teacher": RESNET, "student": VIT})]) == card


def test_one_of_the_networks_may_be_the_listed_tasks_own():
    card = card_of(student=VIT)
    assert card.teacher == "digits-teacher" and card.teacher_dropout
    assert card_of(teacher="resnet20", student="resnet8").digest(None) == find_card("digits").digest(None)


def test_networks_that_the_recipe_would_not_train_have_another():
    assert card_of(teacher=RESNET).recipe.optimizer == "sgd"
    with_vit = card_of(student=VIT).recipe
    assert (with_vit.optimizer, with_vit.decay, with_vit.teacher_epochs) == ("adamw", "cosine", find_card("digits").recipe.teacher_epochs)


def test_its_networks_see_images_of_one_channel_and_show_maps():
    card = card_of(teacher=RESNET, student=VIT)
    task = load_task(card, Setting())
    for architecture in (card.teacher, card.student):
        shapes = task.shapes(task.new_network(architecture))
        assert shapes.logits == (10,) and len(shapes.features) == 4 and shapes.embedding is not None
    student = task.new_network(card.student)
    batch = next(task.batches(Split(0), "augmented"))
    task.loss(task.answered(student, batch), batch.targets).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in student.parameters() if parameter.grad is not None)


def test_named_stages_are_those_of_the_networks_and_part_of_the_cards_name():
    card = card_of(student=VIT, taps="student.early=blocks.0,student.late=blocks.5")
    task = load_task(card, Setting())
    assert list(task.shapes(task.new_network(card.student)).features) == ["early", "late"]
    assert card.name != card_of(student=VIT).name


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"student": "torchvision:vgg11"}, "network torchvision:vgg11 can't take images of 1 x 8 x 8 pixels"),
        ({"student": "timm:no_such_net"}, "timm has no 'no_such_net'"),
        ({"teacher": "resnet21"}, "unknown architecture 'resnet21'"),
        ({"student": VIT, "taps": "student.a=nowhere"}, "has no module 'nowhere'"),
        ({"student": "resnet8", "taps": "a=layer1"}, "the stages of listed networks are declared"),
        ({"task": "imagenet", "student": VIT}, "unknown task 'imagenet'"),
    ],
)
def test_what_can_not_be_is_refused_in_a_line_before_anything_is_loaded(settings: dict[str, str], says: str):
    with pytest.raises(UserError) as caught:
        card_of(**settings)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_another_code_of_an_own_network_is_other_data(tmp_path: Path):
    file = tmp_path / "nets.py"
    file.write_text("from torch import nn\n\ndef small(classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))\n")
    settings = {"task": "digits", "student": f"{file}:small"}
    before = own_card(settings).digest(None)
    assert "feature maps" not in own_card(settings).offers
    file.write_text(file.read_text() + "# another\n")
    assert own_card(settings).digest(None) != before
