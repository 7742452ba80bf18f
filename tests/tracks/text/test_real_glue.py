"""The real files of GLUE, where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kdarena.tracks.overlap import texts_in_train
from kdarena.tracks.text import glue
from kdarena.tracks.text.vocabulary import train_wordpieces


@pytest.fixture(scope="module")
def shared() -> str:
    found = Path(os.environ.get("KDARENA_DATA") or Path(__file__).parents[4] / "shared" / "data")
    if not (found / "text").is_dir():
        pytest.skip(f"GLUE is not at {found / 'text'}; set KDARENA_DATA to the folder above text")
    return str(found)


@pytest.mark.parametrize("name", ["cola", "sst2", "mrpc", "rte"])
def test_all_rows_are_read_and_as_many_as_the_layout_says(shared: str, name: str):
    layout = glue.LAYOUTS[name]
    train, test = (glue.read(name, split, shared) for split in glue.FILES)
    assert (len(train.labels), len(test.labels)) == (layout.train, layout.test)
    assert (glue.size(name, "train", shared), glue.size(name, "test", shared)) == (layout.train, layout.test)
    assert set(train.labels) == set(test.labels) == {0, 1}
    assert (train.second is None) == (len(layout.texts) == 1)


def test_known_rows_lie_as_published(shared: str):
    cola, mrpc, rte = (glue.read(name, "test", shared) for name in ("cola", "mrpc", "rte"))
    assert cola.first[0] == "The sailors rode the breeze clear of the rocks." and cola.labels[:6] == (1, 1, 1, 1, 0, 0)
    assert mrpc.second is not None and mrpc.second[1].startswith("His wife said") and mrpc.labels[:2] == (1, 0)
    assert rte.second is not None and rte.second[0] == "Christopher Reeve had an accident." and rte.labels[0] == 1


def test_colas_vocabulary_covers_its_test_sentences(shared: str):
    pieces = train_wordpieces(glue.read("cola", "train", shared).texts())
    ids = pieces.encode(glue.read("cola", "test", shared).first)
    unknown = sum(one == 1 for each in ids for one in each)
    assert unknown < 0.001 * sum(map(len, ids)) and pieces.size < 9000


@pytest.mark.parametrize(("name", "overlap"), [("cola", 16), ("sst2", 0), ("mrpc", 0), ("rte", 0)])
def test_few_of_the_published_test_sentences_are_also_published_for_training(shared: str, name: str, overlap: int):
    train, test = (glue.read(name, split, shared) for split in glue.FILES)
    assert texts_in_train(test.samples(), train.samples()) == overlap
    assert glue.check(name, shared, len(test.labels)) == []
