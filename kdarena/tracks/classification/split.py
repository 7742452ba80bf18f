"""The pictures of a folder in training, validation and test parts.

Where folders name the parts, those are taken. Otherwise a picture is a test picture by its own content alone, so that adding or removing others never
moves it, and a picture and its copies are in one part.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kdarena.tracks.classification.listing import Listing, Problem, first_few, shown
from kdarena.tracks.classification.store import Verdict

TEST_SHARE = 0.2
"""Of the pictures of each class, on average."""
VALIDATION_SHARE = 0.125
"""Of what is not test, where no folder names a validation part."""
LARGEST_VALIDATION = 5_000
IMBALANCED_FROM = 10.0
"""Ratio of the largest class to the smallest from which it is said."""
NAMED = 3
"""Classes that a line names."""


@dataclass(frozen=True, order=True)
class Sample:
    """A picture: the number of its class, and the digest of its file."""

    label: int
    digest: str


@dataclass(frozen=True)
class Division:
    """The parts of a folder.

    Attributes:
        classes: their names, in the order of their numbers.
        train: ordered by class and content; the validation part is the last of it where ``fixed_validation``.
        validation: samples of that part.
        fixed_validation: whether folders name it; otherwise each seed holds out others.
        test: ordered as ``train``.
        overlap: test pictures whose file is also one of train.
        problems: classes without a picture.
        notes: what a user has to know, one line each.
    """

    classes: tuple[str, ...]
    train: tuple[Sample, ...]
    validation: int
    fixed_validation: bool
    test: tuple[Sample, ...]
    overlap: int
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def divided(listing: Listing, verdicts: Mapping[str, Verdict]) -> Division:
    """The pictures of a folder that can be used, in parts."""
    usable = [file for file in listing.files if verdicts[file.path].problem is None]
    classes = tuple(sorted({file.label for file in usable}))
    number = {name: place for place, name in enumerate(classes)}
    problems = tuple(
        Problem(name, "is a class without a picture that can be used: add some, or remove the folder") for name in listing.classes if name not in number
    )
    by_part: dict[str | None, list[Sample]] = defaultdict(list)
    for file in usable:
        by_part[file.part].append(Sample(number[file.label], verdicts[file.path].digest))
    notes: list[str] = []
    train, validation, test = (sorted(by_part[part]) for part in ("train", "validation", "test"))
    fixed = "validation" in listing.parts and "test" in listing.parts
    if "test" not in listing.parts and "validation" in listing.parts:
        notes.append("there is no test folder: the validation folder is the test part, and the validation part is taken from train")
        validation, test = [], validation
    elif "test" not in listing.parts:
        train, test = _by_content(sorted((*train, *by_part[None])))
    held_out = len(validation) if fixed else min(LARGEST_VALIDATION, round(len(train) * VALIDATION_SHARE))
    notes += _notes(classes, (*train, *validation), test)
    known = {sample.digest for sample in (*train, *validation)}
    overlap = sum(sample.digest in known for sample in test)
    return Division(classes, (*train, *validation), held_out, fixed, tuple(test), overlap, problems, tuple(notes))


def is_test(digest: str) -> bool:
    """Whether the content of a file makes it a test picture."""
    return int(digest[:16], 16) / 2**64 < TEST_SHARE


def _by_content(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Training and test part; of a class of which all would be test pictures, one stays in train."""
    train: list[Sample] = []
    test: list[Sample] = []
    last = {sample.label: sample for sample in samples}  # of each class the one with the largest digest
    for sample in samples:
        (test if is_test(sample.digest) and sample != last[sample.label] else train).append(sample)
    return train, test


def _notes(classes: Sequence[str], train: Iterable[Sample], test: Iterable[Sample]) -> list[str]:
    """What is odd about the numbers of pictures."""
    train_counts, test_counts = (Counter(sample.label for sample in part) for part in (train, test))
    notes = []
    untested = [f"{shown(classes[label])} ({count})" for label, count in sorted(train_counts.items()) if not test_counts[label]]
    if untested:
        notes.append(f"no test picture of {_classes(len(untested))} (in train): {first_few(untested, NAMED)}; add pictures to have such classes scored")
    if train_counts and max(train_counts.values()) >= IMBALANCED_FROM * min(train_counts.values()):
        least, most = min(train_counts.values()), max(train_counts.values())
        notes.append(f"classes have from {least:,} to {most:,} pictures to train on: compare balanced_accuracy, too; --class-weights weighs the loss")
    labels: dict[str, set[int]] = defaultdict(set)
    for sample in (*train, *test):
        labels[sample.digest].add(sample.label)
    twice = [names for names in labels.values() if len(names) > 1]
    if twice:
        some = [" and ".join(shown(classes[label]) for label in sorted(names)) for names in twice]
        notes.append(f"{len(twice):,} picture{'s are' if len(twice) > 1 else ' is'} in two classes or more: {first_few(some, NAMED)}")
    return notes


def _classes(count: int) -> str:
    return f"{count} classes" if count > 1 else "a class"
