"""What a folder has: classes, files, parts, and what can't be used; no file is opened."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from kdarena.tracks.classification.listing import Listing, listed, listed_without_classes, shown


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")
    return root


def classes(listing: Listing) -> list[tuple[str, str | None, str]]:
    return [(file.path, file.part, file.label) for file in listing.files]


def test_a_folder_is_a_class_with_all_that_is_nested_in_it(tmp_path: Path):
    found = listed(touch(tmp_path, "dog/b.png", "cat/a.png", "cat/2020/may 1/ä.png"))
    assert found.classes == ("cat", "dog") and found.parts == () and found.problems == ()
    assert classes(found) == [("cat/2020/may 1/ä.png", None, "cat"), ("cat/a.png", None, "cat"), ("dog/b.png", None, "dog")]


@pytest.mark.parametrize("validation", ["val", "valid", "Validation"])
def test_folders_of_parts_are_honoured(tmp_path: Path, validation: str):
    found = listed(touch(tmp_path, "train/cat/a", f"{validation}/cat/b", "TEST/dog/c"))
    assert set(classes(found)) == {("train/cat/a", "train", "cat"), (f"{validation}/cat/b", "validation", "cat"), ("TEST/dog/c", "test", "dog")}
    assert found.classes == ("cat", "dog") and set(found.parts) == {"train", "validation", "test"}


def test_a_class_may_be_called_train(tmp_path: Path):
    found = listed(touch(tmp_path, "train/a.png", "bus/b.png", "train/old/c.png"))
    assert found.classes == ("bus", "train") and found.parts == ()


def test_what_lies_next_to_the_folders_of_parts_is_named(tmp_path: Path):
    found = listed(touch(tmp_path, "train/cat/a", "test/cat/b", "extra/c", "readme.png", "train/loose.png"))
    assert found.strangers == ("extra",) and found.loose == ("readme.png", "train/loose.png") and len(found.files) == 2


def test_two_folders_of_one_part_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="val and valid both name the validation part: keep one of them there"):
        listed(touch(tmp_path, "train/cat/a", "val/cat/b", "valid/cat/b"))


def test_a_test_part_without_labels_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"test: the test part has 2 files in no class's folder: .*--unlabelled"):
        listed(touch(tmp_path, "train/cat/a", "test/1.png", "test/2.png"))


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._a.png", ".ipynb_checkpoints/a.png", "__MACOSX/a.png"])
def test_what_systems_put_into_folders_is_not_looked_at(tmp_path: Path, name: str):
    assert classes(listed(touch(tmp_path, "cat/a.png", f"cat/{name}", name))) == [("cat/a.png", None, "cat")]


def test_a_name_is_one_class_however_its_accents_are_written(tmp_path: Path):
    composed, decomposed = (unicodedata.normalize(form, "Pékinois") for form in ("NFC", "NFD"))
    assert listed(touch(tmp_path, f"train/{composed}/a", f"test/{decomposed}/b")).classes == (composed,)


def test_links_are_followed_also_to_the_outside(tmp_path: Path):
    touch(tmp_path, "elsewhere/more/b.png", "pets/cat/a.png")
    (tmp_path / "pets" / "cat" / "link.png").symlink_to(tmp_path / "elsewhere" / "more" / "b.png")
    (tmp_path / "pets" / "dog").symlink_to(tmp_path / "elsewhere" / "more")
    found = listed(tmp_path / "pets")
    assert classes(found) == [("cat/a.png", None, "cat"), ("cat/link.png", None, "cat"), ("dog/b.png", None, "dog")]


def test_links_in_circles_and_to_nothing_are_named(tmp_path: Path):
    touch(tmp_path, "cat/a.png")
    (tmp_path / "cat" / "up").symlink_to(tmp_path)
    (tmp_path / "cat" / "itself").symlink_to(tmp_path / "cat" / "itself")
    (tmp_path / "cat" / "gone.png").symlink_to(tmp_path / "gone.png")
    assert {str(problem) for problem in listed(tmp_path).problems} == {
        "cat/up is a link to a folder that it lies in: remove it",
        "cat/itself is a link in a circle: remove it",
        "cat/gone.png is a link to nothing: remove it, or restore what it leads to",
    }


def test_what_is_no_file_is_named_and_never_opened(tmp_path: Path):
    touch(tmp_path, "cat/a.png")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    assert [str(problem) for problem in listed(tmp_path).problems] == ["cat/pipe.png is a pipe, a socket or a device: remove it"]


@pytest.mark.parametrize(
    ("path", "problem"), [("absent", "No such file or directory: give a folder"), ("file", "Not a directory: give a folder"), ("", "it has no folders")]
)
def test_what_is_no_folder_of_classes_is_refused_in_one_line(tmp_path: Path, path: str, problem: str):
    touch(tmp_path, "file")
    with pytest.raises(ValueError, match=problem) as caught:
        listed(tmp_path / path)
    assert "\n" not in str(caught.value)


def test_an_empty_class_is_a_class(tmp_path: Path):
    (touch(tmp_path, "cat/a.png") / "dog").mkdir()
    assert listed(tmp_path).classes == ("cat", "dog")


def test_unlabelled_files_lie_anywhere(tmp_path: Path):
    assert classes(listed_without_classes(touch(tmp_path, "a.png", "deep/er/b.png", ".hidden"))) == [("a.png", None, ""), ("deep/er/b.png", None, "")]


def test_a_name_that_cannot_be_printed_is_escaped(tmp_path: Path):
    name = os.fsdecode(b"caf\xe9\n.png")
    assert shown(name) == "caf\\udce9\\n.png"
    assert listed(touch(tmp_path, f"cat/{name}")).files[0].path == f"cat/{name}"
