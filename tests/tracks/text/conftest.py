"""Data for the track's tests: the generated sentences, and small GLUE files."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdarena.tracks.text.cards import card
from kdarena.tracks.text.task import TextTask
from kdarena.tracks.values import Setting


@pytest.fixture(scope="session")
def grammar_task() -> TextTask:
    task = card("grammar").load(card("grammar"), Setting())
    assert isinstance(task, TextTask)
    return task


def cola_row(number: int) -> str:
    return f"gj04\t{number % 2}\t{'' if number % 2 else '*'}\tthe dog number{number % 7} barks {'well' if number % 2 else 'good'} ."


def write_cola(root: Path, train: int = 90, test: int = 20) -> Path:
    """CoLA's layout with made-up rows."""
    folder = root / "CoLA"
    folder.mkdir(parents=True)
    (folder / "train.tsv").write_text("".join(f"{cola_row(number)}\n" for number in range(train)), "utf-8")
    (folder / "dev.tsv").write_text("\n".join(cola_row(number) for number in range(test)), "utf-8")  # without a last line feed
    return root


def write_rte(root: Path, train: int = 60, test: int = 10) -> Path:
    """RTE's layout with made-up rows, one of them with a quotation mark that nothing closes."""
    folder = root / "RTE"
    folder.mkdir(parents=True)
    for file, count in (("train.tsv", train), ("dev.tsv", test)):
        rows = [f'{number}\t"A dog {number} barks .\tAn animal is loud .\t{("entailment", "not_entailment")[number % 2]}' for number in range(count)]
        (folder / file).write_text("index\tsentence1\tsentence2\tlabel\n" + "".join(f"{row}\n" for row in rows), "utf-8")
    return root


@pytest.fixture
def cola(tmp_path: Path) -> Path:
    return write_cola(tmp_path)


@pytest.fixture
def rte(tmp_path: Path) -> Path:
    return write_rte(tmp_path)
