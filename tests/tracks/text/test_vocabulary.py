"""The WordPiece vocabulary: of the training split alone, the same every time."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np

from kdarena.tracks.text.data import load_glue
from kdarena.tracks.text.vocabulary import LONGEST, train_wordpieces

TEXTS = ("The dog barks loudly .", "A dog barked at dogs .", "The cats were barking !") * 3


def test_a_sentence_begins_with_cls_and_each_ends_with_sep():
    pieces = train_wordpieces(TEXTS)
    (one,), (two,) = pieces.encode(["the dog"]), pieces.encode(["the dog"], ["a cat"])
    assert one[0] == 2 and one[-1] == 3 and one.count(3) == 1
    assert two[: len(one)] == one and two[-1] == 3 and two.count(3) == 2
    assert [pieces.tokens()[token] for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")] == [0, 1, 2, 3] and pieces.separator == 3


def test_case_and_accents_make_no_difference_and_unknown_characters_are_unknown():
    pieces = train_wordpieces(TEXTS)
    assert pieces.encode(["THE DÖG"]) == pieces.encode(["the dog"])
    assert pieces.encode(["漢"]) == [[2, 1, 3]]


def test_the_longer_sentence_of_a_pair_is_cut_first():
    pieces = train_wordpieces(TEXTS)
    (found,) = pieces.encode(["the dog"], ["the cats . " * 100])
    (short,) = pieces.encode(["the dog"])
    assert len(found) == LONGEST and found[: len(short)] == short and found[-1] == 3


def test_it_is_learnt_of_training_sentences_alone(cola: Path):
    before = load_glue("cola", str(cola))
    path = cola / "CoLA" / "dev.tsv"
    path.write_text(path.read_text().replace("barks", "zzzyzx"))
    after = load_glue("cola", str(cola))
    assert before.vocabulary == after.vocabulary and np.array_equal(before.train.ids, after.train.ids)
    assert not np.array_equal(before.test.ids, after.test.ids)


def test_it_is_the_same_in_every_process():
    script = (
        "import hashlib; from kdarena.tracks.text.vocabulary import train_wordpieces\n"
        f"print(hashlib.sha256(repr(sorted(train_wordpieces({TEXTS!r}).tokens().items())).encode()).hexdigest())"
    )
    here = hashlib.sha256(repr(sorted(train_wordpieces(TEXTS).tokens().items())).encode()).hexdigest()
    found = {subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() for _ in range(2)}
    assert found == {here}
