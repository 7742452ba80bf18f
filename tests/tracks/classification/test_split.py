"""Parts of a folder: test by content, so that nothing ever moves, or as folders say."""

from __future__ import annotations

import hashlib
from pathlib import Path

from kdarena.tracks.classification.listing import File, Listing
from kdarena.tracks.classification.split import Division, divided, is_test
from kdarena.tracks.classification.store import Verdict


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def division(*files: tuple[str | None, str, str], unreadable: frozenset[str] = frozenset(), classes: tuple[str, ...] = ()) -> Division:
    """Of files of a part, a class and a content."""
    made = tuple(File(f"{part}/{label}/{content}/{number}", part, label, 1, 1) for number, (part, label, content) in enumerate(files))  # type: ignore[arg-type]
    verdicts = {file.path: Verdict(digest(content), "is cut off" if content in unreadable else None) for file, (_, _, content) in zip(made, files, strict=True)}
    parts = tuple(dict.fromkeys(part for part, _, _ in files if part is not None))
    names = classes or tuple(sorted({label for _, label, _ in files}))
    return divided(Listing(Path("/"), made, names, (), parts=parts), verdicts)  # type: ignore[arg-type]


def pictures(label: str, count: int, part: str | None = None, start: int = 0) -> list[tuple[str | None, str, str]]:
    return [(part, label, f"{label}{number}") for number in range(start, start + count)]


def contents(samples: object) -> set[str]:
    return {sample.digest for sample in samples}  # type: ignore[attr-defined]


def test_about_a_fifth_of_each_class_is_test_and_an_eighth_of_the_rest_validation():
    found = division(*pictures("cat", 1000), *pictures("dog", 500))
    for label, count in enumerate((1000, 500)):
        assert abs(sum(sample.label == label for sample in found.test) / count - 0.2) < 0.04
    assert len(found.train) + len(found.test) == 1500
    assert found.validation == round(len(found.train) / 8) and not found.fixed_validation


def test_adding_pictures_never_moves_others():
    before, after = division(*pictures("cat", 50)), division(*pictures("ant", 30), *pictures("cat", 80))
    assert contents(before.test) <= contents(after.test) and contents(before.train) <= contents(after.train)


def test_copies_of_a_picture_are_in_one_part():
    found = division(*pictures("cat", 50), *pictures("cat", 50))
    assert found.overlap == 0 and len(found.train) + len(found.test) == 100


def test_order_follows_from_contents_and_not_from_names():
    assert division(*pictures("cat", 20)).train == division(*reversed(pictures("cat", 20))).train


def test_a_class_always_has_a_picture_to_train_on():
    alone = next(f"ant{number}" for number in range(100) if is_test(digest(f"ant{number}")))
    found = division(*pictures("cat", 20), (None, "ant", alone))
    assert digest(alone) in contents(found.train)
    assert "no test picture of a class (in train): ant (1); add pictures to have such classes scored" in found.notes


def test_folders_of_parts_are_taken_as_they_are():
    found = division(*pictures("cat", 9, "train"), *pictures("cat", 4, "validation", 10), *pictures("cat", 3, "test", 20))
    assert (len(found.train), found.validation, found.fixed_validation, len(found.test)) == (13, 4, True, 3)
    assert contents(found.train[-4:]) == {digest(f"cat{number}") for number in range(10, 14)}


def test_a_missing_validation_part_is_taken_from_train():
    found = division(*pictures("cat", 16, "train"), *pictures("cat", 3, "test", 20))
    assert (len(found.train), found.validation, found.fixed_validation, len(found.test)) == (16, 2, False, 3)


def test_without_a_test_folder_the_validation_folder_is_the_test_part():
    found = division(*pictures("cat", 16, "train"), *pictures("cat", 3, "validation", 20))
    assert (len(found.train), found.validation, len(found.test)) == (16, 2, 3)
    assert any("the validation folder is the test part" in note for note in found.notes)


def test_with_a_train_folder_alone_the_test_part_is_taken_from_it():
    found = division(*pictures("cat", 50, "train"))
    assert found.test == division(*pictures("cat", 50)).test


def test_test_pictures_that_are_also_in_train_are_counted():
    assert division(*pictures("cat", 9, "train"), *pictures("cat", 3, "test", 8)).overlap == 1


def test_a_class_without_a_usable_picture_is_a_problem_and_no_class():
    found = division(*pictures("cat", 5), (None, "dog", "bad"), unreadable=frozenset({"bad"}), classes=("ant", "cat", "dog"))
    assert found.classes == ("cat",)
    assert [str(problem) for problem in found.problems] == [
        f"{name} is a class without a picture that can be used: add some, or remove the folder" for name in ("ant", "dog")
    ]


def test_a_picture_in_two_classes_is_named():
    found = division(*pictures("cat", 9), (None, "dog", "cat3"), *pictures("dog", 9))
    assert "1 picture is in two classes or more: cat and dog" in found.notes


def test_classes_of_very_different_sizes_are_named():
    notes = division(*pictures("cat", 100, "train"), *pictures("dog", 10, "train"), *pictures("cat", 1, "test"), *pictures("dog", 1, "test")).notes
    assert any("classes have from 10 to 100 pictures to train on" in note and "--class-weights" in note for note in notes)
    assert not any("classes have" in note for note in division(*pictures("cat", 50), *pictures("dog", 40)).notes)
