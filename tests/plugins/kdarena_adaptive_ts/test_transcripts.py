"""Y^T as a table that is written and read by index."""

import pytest
import torch
from kdarena_adaptive_ts.transcripts import Transcripts

CPU = torch.device("cpu")
_ = -100


def test_a_sequence_is_read_as_it_was_written_whatever_the_order_and_the_lengths():
    transcripts = Transcripts(4, CPU)
    transcripts.add(torch.tensor([3, 0]), torch.tensor([[5, 9], [9, _]]))
    transcripts.add(torch.tensor([2, 1]), torch.tensor([[6, 7, 9], [8, 9, _]]))
    assert transcripts[torch.arange(4)].tolist() == [[9, _, _], [8, 9, _], [6, 7, 9], [5, 9, _]]


def test_every_batch_is_padded_to_the_longest_sequence_of_all_so_that_no_length_is_read_back():
    transcripts = Transcripts(3, CPU)
    transcripts.add(torch.arange(3), torch.tensor([[1, 2, 9], [1, 9, _], [9, _, _]]))
    transcripts.complete()
    assert transcripts[torch.tensor([2, 1])].tolist() == [[9, _, _], [1, 9, _]]


def test_columns_that_are_padding_of_all_utterances_cost_nothing_once_it_is_complete():
    transcripts = Transcripts(2, CPU)
    transcripts.add(torch.arange(2), torch.tensor([[1, 9, _, _], [9, _, _, _]]))
    transcripts.complete()
    assert transcripts[torch.arange(2)].shape == (2, 2)


def test_an_utterance_that_is_decoded_again_has_its_last_sequence():
    transcripts = Transcripts(2, CPU)
    transcripts.add(torch.arange(2), torch.tensor([[1, 2, 9], [3, 4, 9]]))
    transcripts.add(torch.tensor([0]), torch.tensor([[9]]))
    assert transcripts[torch.arange(2)].tolist() == [[9, _, _], [3, 4, 9]]


def test_completing_gives_those_without_a_sequence_that_of_another_and_changes_no_other():
    transcripts = Transcripts(5, CPU)
    transcripts.add(torch.tensor([1, 4]), torch.tensor([[1, 9], [9, _]]))
    transcripts.complete()
    assert transcripts.known.tolist() == [False, True, False, False, True]
    assert transcripts[torch.arange(5)].tolist() == [[1, 9], [1, 9], [9, _], [1, 9], [9, _]]


def test_completing_a_whole_pass_changes_nothing():
    transcripts = Transcripts(2, CPU)
    transcripts.add(torch.arange(2), torch.tensor([[1, 9], [9, _]]))
    transcripts.complete()
    assert transcripts[torch.arange(2)].tolist() == [[1, 9], [9, _]]


def test_completing_without_any_sequence_is_an_error_that_names_the_phase():
    with pytest.raises(ValueError, match="the phase 'decode' has to come first"):
        Transcripts(2, CPU).complete()
