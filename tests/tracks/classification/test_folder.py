"""A folder of pictures as a task: what its card says, what is named before anything trains, and what changes its digest."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tracks.classification.odd_files import UNUSABLE, USABLE

from kdarena.tracks.card import TaskCard
from kdarena.tracks.classification.folder import own_card
from kdarena.tracks.classification.folder_task import FolderTask
from kdarena.tracks.classification.models.references import Facts
from kdarena.tracks.values import Setting, Split

SPLIT = Split(0)
COLOURS = {"cat": (200, 0, 0), "dog": (0, 200, 0), "emu": (0, 0, 200)}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDARENA_CACHE", str(tmp_path / "cache"))


def write(folder: Path, colour: tuple[int, int, int], count: int, size: int = 8, start: int = 0) -> None:
    """Pictures of one colour, each with another pixel in the corner."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        image = Image.new("RGB", (size, size), colour)
        image.putpixel((0, 0), (number % 256, number // 256, 7))
        image.save(folder / f"{number}.png")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for name, colour in COLOURS.items():
        write(tmp_path / "my Pets" / name, colour, 30)
    return tmp_path / "my Pets"


def card(folder: Path, **settings: Any) -> TaskCard:
    return own_card({"images": str(folder), "teacher": "resnet14", "student": "resnet8", "image_size": 8, **settings})


def task(found: TaskCard) -> FolderTask:
    made = found.load(found, Setting())
    assert isinstance(made, FolderTask)
    return made


def test_a_card_says_what_the_folder_has(pets: Path):
    found = card(pets)
    assert (found.name, found.classes, found.metric, found.track) == ("images:my-pets:resnet14-resnet8", 3, "top1", "classification")
    assert found.train + found.validation + found.test == 90 and found.validation == round((found.train + found.validation) / 8)
    assert found.missing(None) is None and found.check(None) == [] and not found.embedded
    assert found.branches and found.teacher_dropout and found.auxiliary is None


def test_the_default_pair_is_the_first_of_the_public_benchmark(pets: Path):
    assert own_card({"images": str(pets)}).name == "images:my-pets:resnet32x4-resnet8x4"


@pytest.mark.parametrize(("side", "size"), [(8, 32), (48, 32), (49, 64), (200, 64)])
def test_the_size_follows_from_the_pictures(tmp_path: Path, side: int, size: int):
    for name, colour in COLOURS.items():
        write(tmp_path / name, colour, 6, size=side)
    assert task(card(tmp_path, image_size=None)).one_input().shape == (1, 3, size, size)


def test_every_kind_of_odd_file_is_used_or_named(pets: Path):
    for name, (content, _) in {**USABLE, **UNUSABLE}.items():
        (pets / "emu" / name).write_bytes(content())
    (pets / "owl").mkdir()
    (pets / "emu" / "notes.txt").write_text("what they are")
    (pets / "loose.jpg").write_bytes(USABLE["PHOTO.JPG"][0]())
    with pytest.raises(ValueError) as caught:
        card(pets).check(None)
    line = str(caught.value)
    assert f"{len(UNUSABLE)} of {91 + len(USABLE) + len(UNUSABLE)} files and 1 class can't be used: " in line and line.count("; ") == 3 and "\n" not in line
    assert f"and {len(UNUSABLE) + 1 - 3} more" in line and line.endswith("go on without them by --skip-unreadable")
    every = Path(re.search(r"\(all: (.*?problems.txt)\)", line)[1]).read_text().splitlines()  # type: ignore[index]
    assert len(every) == len(UNUSABLE) + 1
    for name, (_, why) in UNUSABLE.items():
        assert any(re.match(rf"emu/{re.escape(name)} ({why})", one) for one in every), name
    skipping = card(pets, skip_unreadable=True)
    lines = skipping.check(None)
    assert f"{len(UNUSABLE)} of " in lines[0] and "are left out" in lines[0]
    assert (
        any("emu/notes.txt" in line for line in lines)
        and any("loose.jpg" in line for line in lines)
        and any("alpha, which is put on white" in line for line in lines)
    )
    assert skipping.classes == 3 and skipping.train + skipping.validation + skipping.test == 90 + len(USABLE)
    assert task(skipping).left_out == len(UNUSABLE) + 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"images": "/absent/folder"}, "/absent/folder: No such file or directory"),
        ({"image_size": 5}, "--image-size 5: use a number of pixels from 8 to 1,024"),
        ({"teacher": "resnet21"}, "unknown architecture 'resnet21'"),
        ({"unlabelled": "/absent"}, "/absent: No such file or directory: give --unlabelled a folder of pictures"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(pets: Path, change: dict[str, Any], problem: str):
    with pytest.raises(ValueError, match=problem) as caught:
        own_card({"images": str(pets), "teacher": "resnet14", "student": "resnet8", **change})
    assert "\n" not in str(caught.value)


def test_one_class_alone_is_refused(tmp_path: Path):
    write(tmp_path / "pets" / "cat", (1, 2, 3), 20)
    with pytest.raises(ValueError, match="all .* samples are of one class, 'cat': add samples of another class"):
        card(tmp_path / "pets").check(None)


def test_a_class_that_train_lacks_is_named(tmp_path: Path):
    for part, names in (("train", "cat dog"), ("test", "cat dog emu")):
        for name in names.split():
            write(tmp_path / part / name, COLOURS[name], 9)
    assert any("no sample of class 'emu', of which the test part has some" in line for line in card(tmp_path).check(None))


def rename(pets: Path) -> None:
    (pets / "cat" / "0.png").rename(pets / "cat" / "other.png")


def move(pets: Path) -> None:
    (pets / "cat" / "0.png").rename(pets / "dog" / "from cat.png")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda pets: (pets / "cat" / "3.png").touch(), True),
        (rename, True),
        (lambda pets: (pets / "cat" / ".hidden").write_text("x"), True),
        (move, False),
        (lambda pets: (pets / "cat" / "0.png").unlink(), False),
        (lambda pets: write(pets / "cat", (1, 1, 1), 1, start=500), False),
        (lambda pets: (pets / "cat").rename(pets / "cow"), False),
    ],
)
def test_the_digest_is_of_contents_and_classes_and_not_of_names_and_times(pets: Path, change: Callable[[Path], object], same: bool):
    found = card(pets)
    before = found.digest(None)
    change(pets)
    assert (card(pets).digest(None) == before) == same == (found.digest(None) == before)


@pytest.mark.parametrize("change", [{"image_size": 16}, {"class_weights": "balanced"}, {"unlabelled": True}])
def test_what_changes_inputs_or_loss_changes_the_digest(pets: Path, tmp_path: Path, change: dict[str, Any]):
    write(tmp_path / "more", (9, 9, 9), 5)
    further = {name: str(tmp_path / "more") if name == "unlabelled" else value for name, value in change.items()}
    assert card(pets, **further).digest(None) != card(pets).digest(None)


def test_batches_show_the_pictures_of_their_classes(pets: Path):
    made = task(card(pets))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (made._data.mean, made._data.std))
    batch = next(made.part_batches("test", SPLIT))
    colours = ((batch.inputs * std + mean) * 255).round()[:, :, 4, 4]
    assert colours.tolist() == [list(map(float, list(COLOURS.values())[int(label)])) for label in batch.targets]
    assert made._data.labels == ("cat", "dog", "emu")


def test_pictures_stay_on_disk_where_they_are_many(pets: Path, monkeypatch: pytest.MonkeyPatch):
    few = task(card(pets))
    monkeypatch.setattr("kdarena.tracks.classification.folder_task.MOST_IN_MEMORY", {"cpu": 0, "cuda": 0})
    many = task(card(pets))
    assert type(few._train).__name__ == "Resident" and type(many._train).__name__ == "Streaming"
    for kind in ("augmented", "plain"):
        for one, other, _ in zip(few.batches(SPLIT, kind), many.batches(SPLIT, kind), range(9), strict=False):
            assert torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets) and torch.equal(one.index, other.index)
    assert many.overlap == 0
    many.without_test()


def test_larger_pictures_are_cropped_at_random(pets: Path):
    made = task(card(pets, image_size=64))
    first, second = (next(made.batches(Split(seed), "augmented")).inputs for seed in (0, 0))
    assert torch.equal(first, second) and first.shape[1:] == (3, 64, 64) and made.views is None


def test_a_validation_part_that_folders_name_is_the_same_for_every_seed(tmp_path: Path):
    for part, count in (("train", 20), ("val", 6), ("test", 5)):
        for name, colour in COLOURS.items():
            write(tmp_path / part / name, colour, count, start=100 * count)
    found = card(tmp_path)
    assert (found.train, found.validation, found.test) == (60, 18, 15)
    made = task(found)
    assert torch.equal(made.part_targets("validation", Split(0)), made.part_targets("validation", Split(1)))
    assert made.part_targets("validation", SPLIT).bincount().tolist() == [6, 6, 6] and made.overlap == 0


def test_copies_of_training_pictures_in_the_test_folder_are_counted(tmp_path: Path):
    for part in ("train", "test"):
        for name, colour in COLOURS.items():
            write(tmp_path / part / name, colour, 9)
    assert task(card(tmp_path)).overlap == 27


# unlabelled pictures
def test_unlabelled_pictures_are_the_auxiliary_inputs(pets: Path, tmp_path: Path):
    write(tmp_path / "more" / "deep", (90, 90, 90), 40)
    found = card(pets, unlabelled=str(tmp_path / "more"))
    assert found.auxiliary == "unlabelled" and "auxiliary inputs" in found.offers
    made = task(found)
    inputs = next(made.auxiliary(SPLIT))
    assert inputs.shape == (found.recipe.batch_size, 3, 8, 8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (made._data.mean, made._data.std))
    assert set(((inputs * std + mean) * 255).round()[:, :, 4, 4].flatten().tolist()) <= {90.0, 0.0}


def test_without_unlabelled_pictures_there_are_no_auxiliary_inputs(pets: Path):
    with pytest.raises(ValueError, match="has no auxiliary images"):
        task(card(pets)).auxiliary(SPLIT)


def test_unlabelled_pictures_that_are_test_pictures_are_named(pets: Path):
    assert any("unlabelled pictures are also test pictures" in line for line in card(pets, unlabelled=str(pets / "cat")).check(None))


def test_problems_among_unlabelled_files_are_named_too(pets: Path, tmp_path: Path):
    write(tmp_path / "more", (90, 90, 90), 2)
    (tmp_path / "more" / "bad.png").write_text("x")
    with pytest.raises(ValueError, match="Pets and .*more: 1 of 93 files can't be used: .*/more/bad.png is a text file"):
        card(pets, unlabelled=str(tmp_path / "more")).check(None)


# classes of different sizes
def test_balanced_accuracy_counts_classes_alike(pets: Path):
    made = task(card(pets))
    logits, targets = torch.zeros(10, 3), torch.tensor([0] * 8 + [1, 2])
    logits[:, 0] = 1
    found = made.metrics(logits, targets, None)
    assert found["top1"] == pytest.approx(80) and found["balanced_accuracy"] == pytest.approx(100 / 3)


def test_weights_of_classes_make_their_losses_alike(tmp_path: Path):
    for name, count in (("cat", 90), ("dog", 10)):
        write(tmp_path / name, COLOURS[name], count)
    plain, weighed = (task(card(tmp_path, class_weights=weights)) for weights in ("none", "balanced"))
    network = plain.new_network("resnet8")
    batch = next(plain.part_batches("train", SPLIT))
    outputs = plain.forward(network, batch.inputs)
    losses = torch.nn.functional.cross_entropy(outputs.logits, batch.targets, reduction="none")
    counts = np.bincount(plain._data.train_labels)
    weights = torch.tensor(counts.sum() / (2 * counts), dtype=torch.float32)[batch.targets]
    assert torch.allclose(plain.loss(outputs, batch.targets), losses.mean())
    assert torch.allclose(weighed.loss(outputs, batch.targets), (weights * losses).sum() / weights.sum())


def test_few_pictures_are_trained_on_in_small_batches(pets: Path):
    assert card(pets).recipe.batch_size == 8


# networks by reference
def test_the_size_and_the_normalisation_are_those_of_a_network_by_reference(pets: Path):
    found = own_card({"images": str(pets), "teacher": "torchvision:resnet18", "student": "torchvision:mobilenet_v3_small"})
    made = task(found)
    assert made.one_input().shape == (1, 3, 224, 224) and made._data.mean == (0.485, 0.456, 0.406)
    assert found.name == "images:my-pets:torchvision.resnet18-torchvision.mobilenet-v3-small" and "robustness" not in found.metric_groups


def test_a_pair_with_a_network_without_batch_norm_is_trained_as_such_pairs_are(pets: Path):
    pytest.importorskip("timm")
    recipe = card(pets, student="timm:vit_tiny_patch16_224,img_size=32,patch_size=8", image_size=32).recipe
    assert (recipe.optimizer, recipe.batch_size) == ("adamw", 8) and recipe.warmup > 0


def test_a_large_network_alone_needs_a_partner(pets: Path):
    with pytest.raises(ValueError, match="is meant for pictures of 224 pixels, and the default student is not: name one by --student"):
        own_card({"images": str(pets), "teacher": "torchvision:resnet18"})


def test_a_student_that_cannot_be_trained_is_refused(pets: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kdarena.tracks.classification.survey.facts", lambda *given: Facts(trainable=False))
    with pytest.raises(ValueError, match="network resnet8: an ONNX file can only be a teacher"):
        card(pets)


def test_a_card_over_listed_networks_imports_no_torch(pets: Path):
    code = (
        "import sys; from kdarena.tracks.classification.folder import own_card; card = own_card({'images': sys.argv[1]}); card.digest(None), card.check(None)"
    )
    asked = f"{code}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked, pets], capture_output=True, text=True, check=True).stdout.strip() == "False"
