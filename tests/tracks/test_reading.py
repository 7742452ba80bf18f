"""What is read of outputs is noted, part by part."""

import torch

from kdarena.tracks.reading import Layout, PartialOutputs, noted, part_of
from kdarena.tracks.values import FeatureMaps, Outputs


def outputs():
    maps = FeatureMaps({f"stage{number}": torch.full((2, 3, 4, 4), float(number)) for number in (1, 2)})
    hidden = tuple(torch.full((2, 5, 3), float(number)) for number in range(3))
    return Outputs(torch.zeros(2, 7), maps, embedding=torch.ones(2, 3), hidden=hidden)


def notes_of(read):
    notes = set()
    read(noted(outputs(), notes))
    return notes


def test_a_field_that_nobody_reads_is_not_noted():
    assert notes_of(lambda found: found.logits) == {"logits"}


def test_of_maps_those_are_noted_that_are_read():
    assert notes_of(lambda found: found.features["stage1"]) == {"features/stage1"}
    assert notes_of(lambda found: found.feature_map) == {"features/stage2"}
    assert notes_of(lambda found: list(found.features)) == set()


def test_of_hidden_states_those_are_noted_that_are_asked_for():
    assert notes_of(lambda found: found.hidden[-1]) == {"hidden", "hidden/2"}
    assert notes_of(lambda found: found.hidden[1:]) == {"hidden", "hidden/1", "hidden/2"}


def test_of_a_tuple_that_is_taken_as_a_whole_all_count():
    read = notes_of(lambda found: torch.stack(found.hidden))
    assert Layout.of(outputs()).parts(sorted(read)) == ("hidden/0", "hidden/1", "hidden/2")


def test_what_is_not_there_stays_none():
    assert noted(outputs(), set()).tokens is None
    assert noted(outputs(), set()).attentions == ()


def test_a_part_is_made_once():
    made = []

    def read(name):
        made.append(name)
        return part_of(outputs(), name)

    found = PartialOutputs(Layout.of(outputs()), read, lambda name: [None] * 3)
    assert found.features["stage1"] is found.features["stage1"]
    assert found.hidden[2] is found.hidden[2]
    assert found.logits is found.logits
    assert made == ["features/stage1", "hidden/2", "logits"]
