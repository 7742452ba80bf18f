from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from kdarena.tracks.speech.decoding import decode
from kdarena.tracks.speech.models import Recogniser

END, START = 2, 3


@torch.no_grad()
def log_probability(networks: list[Recogniser], inputs: Tensor, sequence: tuple[int, ...]) -> float:
    """Of a sequence that ends with END, teacher-forced; of several networks by the mean of their probabilities of each token."""
    history = torch.tensor([[START, *sequence[:-1]]])
    probabilities = torch.stack([network(inputs, history).logits[0].softmax(dim=1) for network in networks]).mean(dim=0)
    return sum(float(probabilities[position, token].log()) for position, token in enumerate(sequence))


def every_sequence(longest: int) -> list[tuple[int, ...]]:
    return [(*body, END) for length in range(longest) for body in product(range(END), repeat=length)]


def trimmed(row: Tensor) -> tuple[int, ...]:
    return tuple(row[row != -100].tolist())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("members", [1, 2])
def test_a_wide_beam_finds_the_most_probable_of_all_sequences(small: Callable[..., Recogniser], audio: Callable[..., Tensor], seed: int, members: int):
    networks = [small(seed + 50 * member) for member in range(members)]
    inputs = audio([4, 3, 4], seed)
    found = decode(networks, inputs, end=END, beam=16)
    for row, longest in enumerate((4, 3, 4)):
        one = inputs[row : row + 1, :longest]
        best = max(every_sequence(longest), key=lambda sequence: log_probability(networks, one, sequence))
        assert trimmed(found[row]) == best


def test_one_beam_takes_the_most_probable_token_each_time(small: Callable[..., Recogniser], audio: Callable[..., Tensor]):
    for seed in range(8):
        network, inputs = small(seed), audio([5, 6], seed)
        found = decode([network], inputs, end=END)
        for row, longest in enumerate((5, 6)):
            sequence = list[int]()
            while END not in sequence:
                logits = network(inputs[row : row + 1], torch.tensor([[START, *sequence]])).logits[0, -1]
                sequence.append(END if len(sequence) == longest - 1 else int(logits.argmax()))
            assert trimmed(found[row]) == tuple(sequence)


def test_a_wider_beam_is_no_less_probable_than_greedy_on_the_whole(small: Callable[..., Recogniser], audio: Callable[..., Tensor]):
    gained = []
    for seed in range(12):
        network, inputs = small(seed), audio([6], seed)
        greedy, wide = (trimmed(decode([network], inputs, end=END, beam=beam)[0]) for beam in (1, 4))
        gained.append(log_probability([network], inputs, wide) - log_probability([network], inputs, greedy))
    assert min(gained) >= -1e-5 and max(gained) > 0


@pytest.mark.parametrize("beam", [1, 3])
def test_sequences_end_once_and_are_padded_behind(small: Callable[..., Recogniser], audio: Callable[..., Tensor], beam: int):
    lengths = [1, 2, 5, 9, 9, 9]
    for seed in range(4):
        found = decode([small(seed)], audio(lengths, seed), end=END, beam=beam)
        assert found.dtype == torch.int64
        for row, longest in zip(found, lengths, strict=True):
            sequence = trimmed(row)
            assert sequence[-1] == END and sequence.count(END) == 1 and len(sequence) <= longest
            assert (row[len(sequence) :] == -100).all()


@pytest.mark.parametrize("beam", [1, 4])
def test_an_utterance_decodes_alone_as_among_others_of_other_lengths(small: Callable[..., Recogniser], audio: Callable[..., Tensor], beam: int):
    network, inputs = small(3), audio([3, 7, 5], padding=2)
    together = decode([network], inputs, end=END, beam=beam)
    for row, length in enumerate((3, 7, 5)):
        assert trimmed(decode([network], inputs[row : row + 1, :length], end=END, beam=beam)[0]) == trimmed(together[row])


def test_the_encoder_runs_once_and_no_gradient_is_kept(small: Callable[..., Recogniser], audio: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch):
    network, calls = small(), []
    encode = network.encode
    monkeypatch.setattr(network, "encode", lambda inputs: calls.append(len(inputs)) or encode(inputs))
    found = decode([network], audio([6, 6]), end=END, beam=4)
    assert calls == [2] and not found.requires_grad
