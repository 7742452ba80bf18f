"""Which samples make up a part."""

from __future__ import annotations

import pytest

from kdarena.tracks.parts import Parts, samples_a_pass
from kdarena.tracks.values import Split

PARTS = Parts(train=15, validation=5, test=7)
FIXED = Parts(train=15, validation=5, test=7, fixed_validation=True)


def test_parts_are_cut_by_seed_disjoint_and_complete():
    train, validation = (PARTS.rows(part, Split(3)).tolist() for part in ("train", "validation"))  # type: ignore[arg-type]
    assert sorted(train + validation) == list(range(15))
    assert (len(train), len(validation), len(PARTS.rows("test", Split(3)))) == (10, 5, 7)
    assert validation != PARTS.rows("validation", Split(4)).tolist()


def test_published_trains_on_all_of_train_and_holds_nothing_out():
    assert PARTS.rows("train", Split(0, "published")).tolist() == list(range(15))
    assert len(PARTS.rows("validation", Split(0, "published"))) == 0


def test_a_fixed_validation_part_is_the_last_rows_under_every_seed_and_never_trained_on():
    for seed in (0, 1):
        assert FIXED.rows("validation", Split(seed)).tolist() == list(range(10, 15))
    for split in (Split(0), Split(0, "published")):
        assert FIXED.rows("train", split).tolist() == list(range(10))
    assert len(FIXED.rows("validation", Split(0, "published"))) == 0


def test_parts_of_the_same_samples_have_the_same_key():
    assert PARTS.key("test", Split(0)) == PARTS.key("test", Split(1, "published"))
    assert FIXED.key("validation", Split(0)) == FIXED.key("validation", Split(1))
    assert len({PARTS.key("train", split) for split in (Split(0), Split(1), Split(0, "published"))}) == 3


@pytest.mark.parametrize(("count", "augmented", "taken"), [(10, True, 8), (10, False, 10), (3, True, 3), (8, True, 8)])
def test_augmented_passes_drop_an_incomplete_last_batch_unless_it_is_the_only_one(count, augmented, taken):
    assert samples_a_pass(count, 4, augmented) == taken
