"""Cards: names of tasks, the standard recipe, what is missing."""

from __future__ import annotations

import pytest

from kdarena.tracks.classification.cards import CIFAR100_PAIRS, card, cards


def test_every_listed_card_is_found_by_its_name():
    assert [card(each.name) for each in cards()] == list(cards())
    assert len({each.name for each in cards()}) == len(cards()) == 2 + len(CIFAR100_PAIRS)


@pytest.mark.parametrize(
    ("name", "teacher", "student", "full"),
    [
        ("digits", "digits-teacher", "digits-student", "digits"),
        ("cifar10", "resnet56", "resnet20", "cifar10:resnet56-resnet20"),
        ("cifar100", "resnet32x4", "resnet8x4", "cifar100:resnet32x4-resnet8x4"),
        ("cifar100:wrn-40-2-wrn-16-2", "wrn-40-2", "wrn-16-2", "cifar100:wrn-40-2-wrn-16-2"),
        ("cifar100:wrn-40-2-resnet20", "wrn-40-2", "resnet20", "cifar100:wrn-40-2-resnet20"),
        ("cifar100:vgg13-wrn-40-1", "vgg13", "wrn-40-1", "cifar100:vgg13-wrn-40-1"),
        ("cifar100:ResNet50-MobileNetV2", "resnet50", "mobilenetv2", "cifar100:resnet50-mobilenetv2"),
        ("CIFAR100:wrn_40_2-wrn_16_2", "wrn-40-2", "wrn-16-2", "cifar100:wrn-40-2-wrn-16-2"),
    ],
)
def test_a_name_says_data_set_teacher_and_student(name: str, teacher: str, student: str, full: str):
    found = card(name)
    assert (found.teacher, found.student, found.name) == (teacher, student, full)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("mnist", "unknown task 'mnist'; known: digits, cifar10, cifar100"),
        ("digits:resnet20-resnet8", "unknown task 'digits:resnet20-resnet8'"),
        ("cifar100:resnet32x4", "is no TEACHER-STUDENT of known architectures: .*resnet32x4"),
        ("cifar100:resnet21-resnet20", "'resnet21-resnet20' is no TEACHER-STUDENT"),
        ("cifar100:digits-teacher-digits-student", "is no TEACHER-STUDENT"),
    ],
)
def test_an_unknown_name_is_refused_in_one_line(name: str, problem: str):
    with pytest.raises(ValueError, match=problem) as caught:
        card(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("pair", "lr"), [("resnet32x4-resnet8x4", 0.05), ("vgg13-mobilenetv2", 0.01), ("wrn-40-2-shufflenetv1", 0.01)])
def test_the_recipe_is_the_public_benchmarks(pair: str, lr: float):
    recipe = card(f"cifar100:{pair}").recipe
    assert (recipe.lr, recipe.momentum, recipe.nesterov, recipe.weight_decay, recipe.batch_size) == (lr, 0.9, False, 5e-4, 64)
    assert (recipe.milestones, recipe.gamma, recipe.teacher_epochs) == ((0.625, 0.75, 0.875), 0.1, 240)
    assert (recipe.teacher_lr or recipe.lr) == 0.05


def test_a_network_that_the_benchmark_trains_slowly_is_so_trained_as_a_teacher_too():
    recipe = card("cifar100:mobilenetv2-resnet20").recipe
    assert (recipe.lr, recipe.teacher_lr) == (0.05, 0.01)
    assert card("cifar100:mobilenetv2-shufflenetv1").recipe.teacher_lr is None


def test_digits_are_embedded_and_cifar_says_what_is_missing():
    assert card("digits").missing(None) is None and card("digits").embedded
    assert "--data-root" in str(card("cifar100").missing(None))
