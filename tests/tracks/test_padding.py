"""Layers over padded sequences: batch norm against torch's own on the real positions alone."""

import pytest
import torch
from torch import nn

from kdarena import masked_layer

LENGTHS = (7, 4, 1, 6)


def sequences(seed=0, channels=5, longest=9):
    """Maps of one column [B, C, L, 1], zero at padding, and their real positions [B, 1, L, 1]."""
    real = (torch.arange(longest) < torch.tensor(LENGTHS)[:, None])[:, None, :, None]
    return torch.randn(len(LENGTHS), channels, longest, 1, generator=torch.Generator().manual_seed(seed)) * real, real


def norms():
    """Two batch norms alike, whose weights are not the first ones."""
    one, other = nn.BatchNorm2d(5), nn.BatchNorm2d(5)
    nn.init.uniform_(one.weight, 0.5, 2.0)
    nn.init.uniform_(one.bias, -1.0, 1.0)
    other.load_state_dict(one.state_dict())
    return one, other


def rows_of(maps, real):
    """The real positions as a batch of single ones [P, C, 1, 1]."""
    return maps.movedim(1, 3)[real[:, 0]][:, :, None, None]


def test_batch_norm_is_torchs_own_on_the_real_positions_with_its_gradients_and_its_running_statistics():
    norm, reference = norms()
    maps, real = sequences()
    maps.requires_grad_()
    weights = torch.randn(maps.shape, generator=torch.Generator().manual_seed(1))
    found = masked_layer(norm, maps, real)
    expected = reference(rows_of(maps, real))
    torch.testing.assert_close(rows_of(found, real), expected, rtol=1e-5, atol=1e-6)
    assert not (found * ~real).any()
    ours = torch.autograd.grad((found * weights).sum(), [maps, norm.weight, norm.bias])
    theirs = torch.autograd.grad((expected * rows_of(weights, real)).sum(), [maps, reference.weight, reference.bias])
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm.state_dict(), reference.state_dict(), rtol=1e-5, atol=1e-6)


def test_batch_norm_in_eval_mode_has_its_running_statistics():
    norm, reference = norms()
    maps, real = sequences()
    torch.testing.assert_close(rows_of(masked_layer(norm.eval(), maps, real), real), reference.eval()(rows_of(maps, real)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("layer", [nn.Conv2d(5, 3, 3, padding=1), nn.LeakyReLU(0.1)], ids=["convolution", "activation"])
def test_other_layers_are_zero_at_padding(layer):
    maps, real = sequences()
    torch.testing.assert_close(masked_layer(layer, maps, real), layer(maps) * real, rtol=0, atol=0)


def test_as_a_fixed_function_it_moves_no_buffer():
    norm, _ = norms()
    maps, real = sequences()
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}

    class Helper(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = norm

        def forward(self, maps):
            return masked_layer(self.norm, maps, real)

    helper = Helper()
    state = {name: tensor.detach().clone() for name, tensor in helper.state_dict().items()}
    torch.func.functional_call(helper, state, (maps,))
    assert all(torch.equal(before[name], buffer) for name, buffer in norm.named_buffers())
