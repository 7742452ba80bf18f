"""The file of what a run scored on each test sample."""

import numpy as np
import pytest

from kdarena.errors import Notice
from kdarena.record import samples
from kdarena.tracks.samples import packed, shares

KEPT = shares(np.array([1, 0, 1]), np.ones(3, dtype=np.int64))


def test_what_is_kept_is_read_again(synthetic, tmp_path):
    run = synthetic.run()
    samples.keep(tmp_path, run.key, packed(KEPT))
    assert samples.reader(tmp_path)(run).counts.tolist() == KEPT.counts.tolist()


def test_a_run_without_a_file_has_none(synthetic, tmp_path, recwarn):
    assert samples.reader(tmp_path)(synthetic.run()) is None
    assert not recwarn.list


@pytest.mark.parametrize("change", [lambda text: text[:-20], lambda text: text.replace('"share"', '"f1"'), lambda text: "[]"])
def test_a_file_that_is_not_whole_or_was_changed_counts_as_missing_with_a_line(synthetic, tmp_path, change):
    run = synthetic.run()
    samples.keep(tmp_path, run.key, packed(KEPT))
    path = samples.file_of(tmp_path, run.key)
    path.write_text(change(path.read_text()))
    with pytest.warns(Notice, match=f"{path.name}: not used"):
        assert samples.reader(tmp_path)(run) is None
