from collections.abc import Callable

import pytest
import torch

from kdarena.tracks.speech.models import Recogniser

HISTORY = torch.tensor([[3, 1, 0, 2], [3, 2, 2, 1], [3, 0, 1, 1]])


@pytest.mark.parametrize("together", [1, 2])
def test_padding_changes_nothing(small: Callable[..., Recogniser], audio: Callable[..., torch.Tensor], together: int):
    network = small(together=together)
    alone = [network(audio([5, 3, 8])[row : row + 1, :length], HISTORY[row : row + 1]) for row, length in enumerate((5, 3, 8))]
    padded = audio([5, 3, 8], padding=3)
    # whatever is at padding
    padded[..., 1:] += (1 - padded[..., :1]) * 7.0
    found = network(padded, HISTORY)
    for row, one in enumerate(alone):
        torch.testing.assert_close(found.logits[row], one.logits[0])
        frames = one.tokens.shape[1]
        assert found.tokens[row].tolist() == [True] * frames + [False] * (found.tokens.shape[1] - frames)
        for states, own in zip(found.hidden, one.hidden, strict=True):
            torch.testing.assert_close(states[row, :frames], own[0])
            assert not states[row, frames:].any()


def test_an_encoder_layer_is_a_bidirectional_gru_with_layer_norm(small: Callable[..., Recogniser], audio: Callable[..., torch.Tensor]):
    network, inputs = small(), audio([7, 7])
    layer = network.layers[0]
    gru = torch.nn.GRU(12, 6, batch_first=True, bidirectional=True)
    state = {f"{name}": value for name, value in layer.forwards.state_dict().items()}
    state |= {f"{name}_reverse": value for name, value in layer.backwards.state_dict().items()}
    gru.load_state_dict(state)
    hidden = network(inputs, HISTORY[:2]).hidden
    torch.testing.assert_close(hidden[1], layer.norm(gru(hidden[0])[0]))


def test_a_position_sees_no_later_token(small: Callable[..., Recogniser], audio: Callable[..., torch.Tensor]):
    network, inputs = small(), audio([6, 6, 6])
    changed = HISTORY.clone()
    changed[:, 2] = 1 - changed[:, 2].clamp(max=1)
    before, behind = network(inputs, HISTORY).logits, network(inputs, changed).logits
    torch.testing.assert_close(before[:, :2], behind[:, :2])
    assert not torch.allclose(before[:, 2:], behind[:, 2:])


def test_all_positions_at_once_are_the_positions_one_by_one(small: Callable[..., Recogniser], audio: Callable[..., torch.Tensor]):
    network, inputs = small(), audio([6, 4, 5])
    memory, _ = network.encode(inputs)
    state, found = None, []
    for token in HISTORY.T:
        logits, state = network.advance(memory, token, state)
        found.append(logits)
    torch.testing.assert_close(torch.stack(found, dim=1), network(inputs, HISTORY).logits)


def test_the_context_is_the_mean_of_the_values_under_the_attention(small: Callable[..., Recogniser], audio: Callable[..., torch.Tensor]):
    network, inputs = small(), audio([4, 2])
    memory, _ = network.encode(inputs)
    queries, _ = network.asking(network.embedding(HISTORY[:2]))
    contexts = []
    for row, length in enumerate((4, 2)):
        for query in queries[row]:
            scores = torch.stack([query @ memory.keys[row, frame] / 6**0.5 for frame in range(length)])
            weights = scores.exp() / scores.exp().sum()
            contexts.append(sum(weight * memory.values[row, frame] for frame, weight in enumerate(weights)))
    context = torch.stack(contexts).view(2, 4, 6)
    answers, _ = network.answering(torch.cat([queries, context], dim=2))
    torch.testing.assert_close(network(inputs, HISTORY[:2]).logits, network.classifier(torch.cat([answers, context], dim=2)))


def test_every_parameter_learns(small: Callable[..., Recogniser], audio: Callable[..., torch.Tensor]):
    network = small()
    network(audio([6, 4, 5]), HISTORY).logits.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_dropout_is_alive_in_train_mode_alone(small: Callable[..., Recogniser], audio: Callable[..., torch.Tensor]):
    network, inputs = small(dropout=0.5), audio([6, 4, 5])
    one, other = (network(inputs, HISTORY).logits for _ in range(2))
    assert torch.equal(one, other)
    network.train()
    one, other = (network(inputs, HISTORY).logits for _ in range(2))
    assert not torch.allclose(one, other)


def test_the_papers_size_has_six_layers_of_512_and_a_decoder_of_two():
    from kdarena.tracks.speech.architectures import architecture

    with torch.device("meta"):
        network = Recogniser(architecture("aed512"), 240, 29)
    assert len(network.layers) == 6 and {layer.forwards.hidden_size for layer in network.layers} == {512}
    assert (network.asking.hidden_size, network.answering.hidden_size) == (512, 512)
