"""Where MSD does not hold."""

import pytest
from kdarena_msd import variants

from kdarena.tracks import cards

(MSD,) = variants


@pytest.mark.parametrize("track", ["segmentation", "detection", "text", "speech"])
def test_no_student_of_the_track_has_exits_or_can_be_cut_and_the_reason_says_so(track):
    assert not any(card.exits or card.branches for card in cards() if card.track == track)
    assert not MSD.method.covers(track)
    assert "exit" in MSD.method.exclusion(track)
