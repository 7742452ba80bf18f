"""The attention among peers, what it mixes and the diversity, each against closed forms."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kdarena_okddip.peers import PeerAttention, diversity, mixed

T = 2.0


class TestAttention:
    @given(st.integers(0, 1000), st.integers(1, 5))
    def test_rows_sum_to_one(self, seed, peers):
        torch.manual_seed(seed)
        alpha = PeerAttention(8, 4)(torch.randn(7, peers, 8))
        assert torch.allclose(alpha.sum(dim=2), torch.ones(7, peers), atol=1e-6)
        assert bool((alpha >= 0).all())

    def test_equal_features_get_equal_weights(self):
        alpha = PeerAttention(8, 4)(torch.randn(7, 1, 8).expand(7, 3, 8))
        assert torch.allclose(alpha, torch.full((7, 3, 3), 1 / 3), atol=1e-6)

    @pytest.mark.parametrize("mix", ["logit", "prob"])
    def test_a_query_of_zero_makes_every_target_the_leaders(self, mix):
        attention = PeerAttention(8, 4)
        torch.nn.init.zeros_(attention.query.weight)
        z = torch.randn(7, 3, 5)
        t = mixed(attention(torch.randn(7, 3, 8)), z, T, mix)
        t_m = mixed(torch.full((1, 1, 3), 1 / 3), z, T, mix)
        assert torch.allclose(t, t_m.expand_as(t), atol=1e-5)
        mean = torch.softmax(z / T, dim=2).mean(dim=1) if mix == "prob" else torch.softmax(z.mean(dim=1) / T, dim=1)
        assert torch.allclose(torch.softmax(t / T, dim=2), mean.unsqueeze(1).expand(-1, 3, -1), atol=1e-6)

    @pytest.mark.parametrize(("dimension", "factor", "shape"), [(64, 8, (8, 64)), (256, 8, (32, 256)), (132, 8, (16, 132)), (6, 8, (1, 6))])
    def test_projections_narrow_an_embedding_by_the_factor_but_to_one_entry_at_least(self, dimension, factor, shape):
        attention = PeerAttention(dimension, factor)
        assert [layer.weight.shape for layer in (attention.query, attention.key)] == [shape, shape]
        assert attention.query.bias is None
        assert attention.key.bias is None

    def test_permuted_peers_permute_rows_and_columns(self):
        attention, h, order = PeerAttention(8, 4), torch.randn(7, 4, 8), torch.tensor([2, 0, 3, 1])
        assert torch.allclose(attention(h[:, order]), attention(h)[:, order][:, :, order], atol=1e-6)

    def test_it_is_not_symmetric_and_differs_by_sample(self):
        alpha = PeerAttention(8, 4)(3 * torch.randn(7, 3, 8))
        assert not torch.allclose(alpha, alpha.transpose(1, 2), atol=1e-3)
        assert not torch.allclose(alpha[0], alpha[1], atol=1e-3)

    def test_a_peer_asks_with_L_and_is_answered_with_E(self):
        attention = PeerAttention(2, 1)
        with torch.no_grad():
            attention.query.weight.copy_(torch.tensor([[1.0, 0], [0, 0]]))
            attention.key.weight.copy_(torch.tensor([[0, 1.0], [0, 0]]))
        h = torch.tensor([[[2.0, 1.0], [3.0, 4.0]]])
        # L(h_a) E(h_b) is the first entry of h_a times the second of h_b
        expected = torch.softmax(torch.tensor([[2.0, 8.0], [3.0, 12.0]]), dim=1)
        assert torch.allclose(attention(h)[0], expected, atol=1e-6)

    def test_scores_are_not_scaled(self):
        attention = PeerAttention(4, 2)
        with torch.no_grad():
            attention.query.weight.fill_(0.5)
            attention.key.weight.fill_(0.5)
        h = torch.tensor([[[1.0, 0, 0, 0], [2.0, 0, 0, 0]]])
        # L(h_a) E(h_b) = 2 entries of 0.25 a b
        expected = torch.softmax(torch.tensor([[0.5, 1.0], [1.0, 2.0]]), dim=1)
        assert torch.allclose(attention(h)[0], expected, atol=1e-6)


class TestMixing:
    def test_mixed_logits_are_the_normalised_geometric_mean(self):
        z, alpha = torch.randn(6, 3, 5).double(), torch.softmax(torch.randn(6, 3, 3).double(), dim=2)
        q = torch.softmax(z / T, dim=2)
        geometric = torch.stack([torch.prod(q ** alpha[:, a, :, None], dim=1) for a in range(3)], dim=1)
        found = torch.softmax(mixed(alpha, z, T, "logit") / T, dim=2)
        assert torch.allclose(found, geometric / geometric.sum(dim=2, keepdim=True))

    def test_mixed_probabilities_are_the_arithmetic_mean(self):
        z, alpha = torch.randn(6, 3, 5).double(), torch.softmax(torch.randn(6, 3, 3).double(), dim=2)
        found = torch.softmax(mixed(alpha, z, T, "prob") / T, dim=2)
        assert torch.allclose(found, torch.einsum("bac,bcn->ban", alpha, torch.softmax(z / T, dim=2)))

    def test_a_probability_that_underflows_gives_a_finite_target(self):
        z = torch.tensor([[[0.0, 800.0], [0.0, 800.0]]])
        assert bool(torch.isfinite(mixed(torch.full((1, 2, 2), 0.5), z, 1.0, "prob")).all())


class TestDiversity:
    def test_equal_peers_have_none(self):
        assert diversity(torch.softmax(torch.randn(9, 1, 4), dim=2).expand(9, 3, 4)) == pytest.approx(0.0, abs=1e-7)

    def test_opposite_peers_are_the_root_of_two_apart(self):
        assert diversity(torch.eye(2).expand(9, 2, 2)) == pytest.approx(math.sqrt(2))

    def test_one_peer_has_none(self):
        assert diversity(torch.ones(9, 1, 4) / 4) == 0.0
