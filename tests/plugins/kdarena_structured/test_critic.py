"""The critic's layers, sizes and parameters."""

import pytest
import torch
from kdarena_structured.critic import Critic, SelfAttention, SpectralConvolution, fitted_width, strides
from torch import nn
from torch.nn.functional import leaky_relu, scaled_dot_product_attention
from torch.nn.utils.parametrizations import spectral_norm


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class TestSelfAttention:
    def test_at_first_it_is_the_identity(self):
        x = drawn(2, 16, 3, 4)
        assert torch.equal(SelfAttention(16)(x), x)

    def test_it_is_attention_over_places_with_a_scale_of_one(self):
        layer, x = SelfAttention(16), drawn(2, 16, 3, 4)
        layer.gamma.data.fill_(0.7)
        weight, bias = layer.query_key_value.weight, layer.query_key_value.bias
        rows = (slice(0, 2), slice(2, 4), slice(4, 20))
        query, key, value = (nn.functional.conv2d(x, weight[part, :, None, None], bias[part]).flatten(2).transpose(1, 2) for part in rows)
        expected = scaled_dot_product_attention(query, key, value, scale=1.0).transpose(1, 2).reshape(2, 16, 3, 4)
        assert torch.allclose(layer(x), 0.7 * expected + x, atol=1e-5)

    def test_moving_the_places_moves_the_answer_along(self):
        layer, x = SelfAttention(16), drawn(2, 16, 3, 4)
        layer.gamma.data.fill_(1.0)
        order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
        moved = x.flatten(2)[:, :, order].view_as(x)
        assert torch.allclose(layer(moved).flatten(2), layer(x).flatten(2)[:, :, order], atol=1e-5)


def with_singular_values_8_to_1(layer):
    """Its weight gets the singular values 8, 7, …, 1: the power iteration settles at a known rate, whatever the seed."""
    left, _, right = torch.linalg.svd(drawn(8, layer.weight[0].numel()), full_matrices=False)
    layer.weight.data = (left * torch.arange(8.0, 0.0, -1.0) @ right).view_as(layer.weight)
    return layer


class TestSpectralConvolution:
    def test_once_settled_it_is_torchs_spectral_norm(self):
        ours = with_singular_values_8_to_1(SpectralConvolution(3, 8, 4, 2))
        for _ in range(100):
            ours._iterate()
        theirs = nn.Conv2d(3, 8, 4, 2, padding=1)
        theirs.load_state_dict({"weight": ours.weight.detach().clone(), "bias": ours.bias.detach().clone()})
        theirs = spectral_norm(theirs)
        theirs.parametrizations.weight[0]._u.copy_(ours.u)
        theirs.parametrizations.weight[0]._v.copy_(ours.v)
        x = drawn(2, 3, 8, 8)
        for _ in range(2):
            assert torch.allclose(ours(x), theirs(x), atol=1e-5)
        (down,) = torch.autograd.grad(ours(x).square().sum(), ours.weight)
        (expected,) = torch.autograd.grad(theirs(x).square().sum(), theirs.parametrizations.weight.original)
        assert torch.allclose(down, expected, rtol=1e-4, atol=1e-4)

    def test_scaling_the_weight_changes_nothing(self):
        layer, x = SpectralConvolution(3, 8, 3, 1).eval(), drawn(2, 3, 8, 8)
        before = layer(x)
        layer.weight.data.mul_(7)
        assert torch.allclose(layer(x), before, atol=1e-5)

    def test_its_vectors_rest_in_eval_mode(self):
        layer, x = SpectralConvolution(3, 8, 3, 1), drawn(2, 3, 8, 8)
        layer.weight.data.add_(drawn(*layer.weight.shape, seed=1))
        before = layer.u.clone()
        layer.eval()(x)
        assert torch.equal(layer.u, before)
        layer.train()(x)
        assert not torch.equal(layer.u, before)


class TestSizes:
    @pytest.mark.parametrize(
        ("size", "expected"),
        [
            ((65, 65), (2, 2, 2, 2)),
            ((64, 64), (2, 2, 2, 2)),
            ((45, 60), (2, 2, 2, 1)),
            ((32, 64), (2, 2, 2, 1)),
            ((16, 16), (2, 2, 1, 1)),
            ((12, 13), (2, 2, 1, 1)),
            ((6, 6), (2, 1, 1, 1)),
            ((5, 5), (1, 1, 1, 1)),
            ((8, 8), (2, 1, 1, 1)),
        ],
    )
    def test_as_many_have_stride_two_as_fit(self, size, expected):
        assert strides(size) == expected

    @pytest.mark.parametrize("size", [(65, 65), (45, 60), (16, 16), (9, 33), (8, 8), (4, 5), (3, 3), (1, 2), (130, 70)])
    def test_every_size_gets_one_number_a_sample(self, size):
        critic = Critic(4, size, 8)
        assert critic(drawn(3, 4, *size)).shape == (3,)

    def test_larger_maps_than_planned_are_taken(self):
        assert Critic(4, (16, 16), 8)(drawn(2, 4, 24, 40)).shape == (2,)

    @pytest.mark.parametrize("size", [(65, 65), (16, 16), (3, 3)])
    def test_there_are_five_convolutions_and_two_attentions(self, size):
        critic = Critic(4, size, 8)
        kernels = [layer for layer in critic.layers if isinstance(layer, nn.Conv2d)]
        assert len(kernels) == 5
        assert sum(isinstance(layer, SelfAttention) for layer in critic.layers) == 2

    @pytest.mark.parametrize(("size", "expected"), [((65, 65), 64), ((128, 256), 64), ((45, 60), 48), ((16, 99), 16), ((2, 2), 8)])
    def test_smaller_maps_get_narrower_critics(self, size, expected):
        assert fitted_width(64, size) == expected


class TestCritic:
    def test_the_papers_has_its_number_of_parameters(self):
        critic = Critic(19, (65, 65), fitted_width(64, (65, 65)))
        assert sum(one.numel() for one in critic.parameters()) == 3_191_721

    def test_the_grids_between_its_layers_are_the_papers(self):
        critic, grids = Critic(19, (65, 65), 8).eval(), []
        for layer in critic.layers:
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(lambda module, inputs, output: grids.append(tuple(output.shape[2:])))
        critic(drawn(1, 19, 65, 65))
        assert grids == [(32, 32), (16, 16), (8, 8), (4, 4), (1, 1)]

    def test_it_is_the_layers_in_a_row(self):
        critic = Critic(3, (64, 64), 8).eval()
        x = drawn(2, 3, 64, 64)
        by_hand = critic.layers[0](x)
        rest = list(critic.layers)[1:]
        for convolution in [layer for layer in rest if isinstance(layer, nn.Conv2d)][:-1]:
            by_hand = leaky_relu(nn.functional.conv2d(by_hand, convolution.normalised(), convolution.bias, stride=2, padding=1), 0.1)
        last = rest[-1]
        by_hand = (by_hand * last.weight).sum(dim=(1, 2, 3)) + last.bias
        assert torch.allclose(critic(x), by_hand, atol=1e-5)

    def test_all_but_the_last_convolution_have_a_spectral_norm_of_one(self):
        critic = Critic(3, (65, 65), 8)
        for _ in range(60):
            critic(drawn(2, 3, 65, 65))
        critic.eval()
        convolutions = [layer for layer in critic.layers if isinstance(layer, nn.Conv2d)]
        norms = [float(torch.linalg.matrix_norm(layer.normalised().detach().flatten(1), 2)) for layer in convolutions[:4]]
        assert norms == pytest.approx([1.0] * 4, rel=0.02)
        assert type(convolutions[4]) is nn.Conv2d

    def test_the_input_is_normalised(self):
        critic = Critic(3, (16, 16), 8)
        x = drawn(4, 3, 16, 16)
        assert torch.allclose(critic(x), critic(5 * x + 2), atol=1e-3)

    def test_the_image_counts(self):
        critic = Critic(5 + 3, (16, 16), 8)
        scores = drawn(2, 5, 16, 16)
        seen = [critic(scores, drawn(2, 3, 16, 16, seed=seed)) for seed in (1, 2)]
        assert not torch.allclose(seen[0], seen[1], atol=1e-3)

    def test_it_works_in_fp32_whatever_the_precision(self):
        critic = Critic(4, (16, 16), 8).eval()
        x = drawn(2, 4, 16, 16)
        with torch.autocast("cpu", torch.bfloat16):
            inside = critic(x)
        assert inside.dtype == torch.float32
        assert torch.equal(inside, critic(x))
