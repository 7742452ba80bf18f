"""The pair-wise loss against loops, closed forms and autograd."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kdarena_structured.method import compared
from kdarena_structured.pair_wise import affinity, by_channels, directions, grid, neighbours, nodes, pair_wise, same_grid


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_loops(f_s, f_t, alpha):
    """The definition: cosines of one pair at a time, over each node's nearest nodes."""
    batch, _, height, width = f_s.shape
    places = [(y, x) for y in range(height) for x in range(width)]

    def cosine(f, one, other):
        a, b = f[:, one[0], one[1]], f[:, other[0], other[1]]
        return float(a @ b) / (float(a.norm()) * float(b.norm()))

    total = 0.0
    for image in range(batch):
        for one in places:
            nearest = sorted(places, key=lambda other: math.dist(one, other))[:alpha]
            total += sum((cosine(f_s[image], one, other) - cosine(f_t[image], one, other)) ** 2 for other in nearest)
    return total / (len(places) * alpha) / batch


class TestAffinity:
    def test_a_node_is_alike_to_itself(self):
        a = affinity(directions(drawn(2, 5, 3, 4)))
        assert torch.allclose(a.diagonal(dim1=1, dim2=2), torch.ones(2, 12), atol=1e-6)

    def test_it_is_the_cosine(self):
        f = drawn(2, 5, 3, 4)
        expected = torch.nn.functional.cosine_similarity(f.flatten(2)[:, :, :, None], f.flatten(2)[:, :, None, :], dim=1)
        assert torch.allclose(affinity(directions(f)), expected, atol=1e-6)
        assert torch.allclose(affinity(directions(f, "detached")), expected, atol=1e-6)

    def test_the_true_cosines_gradient_is_at_right_angles_to_each_node(self):
        f = drawn(1, 5, 3, 4).requires_grad_()
        (gradient,) = torch.autograd.grad((affinity(directions(f)) * drawn(1, 12, 12, seed=1)).sum(), f)
        assert torch.allclose((gradient * f.detach()).sum(dim=1), torch.zeros(1, 3, 4), atol=1e-5)
        (gradient,) = torch.autograd.grad((affinity(directions(f, "detached")) * drawn(1, 12, 12, seed=1)).sum(), f)
        assert float((gradient * f.detach()).sum(dim=1).abs().max()) > 0.1

    def test_a_detached_norm_gives_the_gradient_of_a_scaled_product(self):
        f, weight = drawn(1, 5, 2, 2).requires_grad_(), drawn(1, 4, 4, seed=1)
        (gradient,) = torch.autograd.grad((affinity(directions(f, "detached")) * weight).sum(), f)
        length = f.detach().flatten(2).norm(dim=1)
        scaled = weight / (length[:, :, None] * length[:, None, :])
        expected = f.detach().flatten(2) @ (scaled + scaled.transpose(1, 2))
        assert torch.allclose(gradient.flatten(2), expected, atol=1e-5)

    @pytest.mark.parametrize("norm", ["cosine", "detached"])
    def test_a_node_of_zeros_has_a_small_gradient(self, norm):
        f = drawn(1, 5, 2, 2)
        f[:, :, 0, 0] = 0
        f.requires_grad_()
        a = affinity(directions(f, norm))
        assert float(a.detach()[0, 0].abs().max()) == 0
        (gradient,) = torch.autograd.grad((a - 0.5).square().sum(), f)
        assert float(gradient.abs().max()) < 100


class TestNodes:
    @pytest.mark.parametrize(("size", "patch"), [((6, 8), 2), ((7, 5), 2), ((65, 65), 32), ((4, 4), 1), ((3, 5), 8)])
    def test_there_are_as_many_as_patches(self, size, patch):
        for pool in ("avg", "max"):
            assert nodes(drawn(1, 2, *size), patch, pool).shape[2:] == grid(size, patch)

    def test_the_public_codes_setting_gives_nine(self):
        assert grid((65, 65), 32) == (3, 3)

    def test_a_patch_at_the_edge_is_the_mean_of_what_is_there(self):
        f = drawn(1, 2, 5, 5)
        pooled = nodes(f, 2, "avg")
        assert torch.allclose(pooled[:, :, 2, 2], f[:, :, 4, 4])
        assert torch.allclose(pooled[:, :, 0, 2], f[:, :, :2, 4].mean(dim=2))
        assert torch.allclose(pooled[:, :, 1, 1], f[:, :, 2:4, 2:4].mean(dim=(2, 3)))

    def test_the_largest_value_is_of_the_patch(self):
        f = drawn(1, 2, 5, 5)
        assert torch.equal(nodes(f, 2, "max")[:, :, 1, 0], f[:, :, 2:4, :2].amax(dim=(2, 3)))

    def test_unequal_grids_meet_at_the_smaller(self):
        one, other = drawn(1, 2, 6, 4), drawn(1, 3, 3, 8, seed=1)
        fitted = same_grid(one, other)
        assert fitted[0].shape == (1, 2, 3, 4)
        assert fitted[1].shape == (1, 3, 3, 4)
        assert torch.allclose(fitted[0][:, :, 0], (one[:, :, 0] + one[:, :, 1]) / 2)


class TestNeighbours:
    @pytest.mark.parametrize("alpha", [2, 5, 9, 20])
    def test_each_node_has_as_many_and_is_its_own(self, alpha):
        connected = neighbours(4, 5, alpha)
        assert torch.equal(connected.sum(dim=1), torch.full((20,), alpha))
        assert bool(connected.diagonal().all())

    def test_five_are_the_cross_inside(self):
        row = neighbours(5, 5, 5)[12].view(5, 5)
        cross = torch.zeros(5, 5, dtype=torch.bool)
        cross[2, 1:4] = cross[1:4, 2] = True
        assert torch.equal(row, cross)

    def test_nine_are_the_square_inside(self):
        row = neighbours(5, 6, 9)[2 * 6 + 3].view(5, 6)
        assert bool(row[1:4, 2:5].all())
        assert int(row.sum()) == 9

    def test_no_connected_node_is_farther_than_one_left_out(self):
        connected = neighbours(3, 7, 6)
        places = torch.cartesian_prod(torch.arange(3), torch.arange(7)).float()
        distance = torch.cdist(places, places)
        kept = distance.masked_fill(~connected, -1).amax(dim=1)
        left_out = distance.masked_fill(connected, 99).amin(dim=1)
        assert bool((kept <= left_out + 1e-6).all())


class TestLoss:
    def test_full_connection_by_frobenius_norms(self):
        f_s, f_t = drawn(3, 4, 3, 5).double(), drawn(3, 7, 3, 5, seed=1).double()
        u_s, u_t = (torch.nn.functional.normalize(f.flatten(2), dim=1) for f in (f_s, f_t))

        def squared(a):
            return float(a.square().sum())

        # ‖UᵀU‖² = ‖UUᵀ‖², and the cross term is that of the channels
        total = squared(u_t @ u_t.mT) + squared(u_s @ u_s.mT) - 2 * squared(u_t @ u_s.mT)
        assert pair_wise(f_s, f_t).item() == pytest.approx(total / 15**2 / 3, rel=1e-5)

    @pytest.mark.parametrize("norm", ["cosine", "detached"])
    def test_channels_compared_give_the_value_and_gradient_of_nodes_compared(self, norm):
        f_s, f_t = drawn(2, 3, 6, 7).requires_grad_(), drawn(2, 5, 6, 7, seed=1)
        found = []
        for unit_s, unit_t in ((directions(f_s, norm), directions(f_t, norm)), (directions(f_s, norm).double(), directions(f_t, norm).double())):
            loss = by_channels(unit_s, unit_t) if not found else (affinity(unit_s) - affinity(unit_t)).square().mean()
            found.append((loss.item(), torch.autograd.grad(loss, f_s)[0]))
        assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
        assert torch.allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-8)

    def test_maps_nearly_alike_keep_their_small_difference(self):
        f_t = drawn(1, 2, 40, 40).abs()
        f_s = (f_t + 1e-4 * drawn(1, 2, 40, 40, seed=1)).double()
        u_s, u_t = (torch.nn.functional.normalize(f.flatten(2).double(), dim=1) for f in (f_s, f_t))
        expected = (affinity(u_s) - affinity(u_t)).square().mean().item()
        assert expected < 1e-7
        assert pair_wise(f_s.float(), f_t).item() == pytest.approx(expected, rel=1e-2)

    def test_many_nodes_need_no_affinity(self):
        f_s, f_t = drawn(1, 2, 200, 250).requires_grad_(), drawn(1, 3, 200, 250, seed=1)
        # an affinity of 50,000 nodes would take 10 GB
        loss = pair_wise(f_s, f_t)
        assert bool(torch.autograd.grad(loss, f_s)[0].isfinite().all())

    @pytest.mark.parametrize("alpha", [2, 4, 5, 12])
    def test_it_is_the_definition_pair_by_pair(self, alpha):
        f_s, f_t = drawn(2, 4, 3, 4), drawn(2, 7, 3, 4, seed=1)
        assert pair_wise(f_s, f_t, neighbours(3, 4, alpha)).item() == pytest.approx(by_loops(f_s, f_t, alpha), rel=1e-4)

    def test_connected_to_all_is_the_mean_over_all_pairs(self):
        f_s, f_t = drawn(2, 4, 3, 4), drawn(2, 7, 3, 4, seed=1)
        assert pair_wise(f_s, f_t, neighbours(3, 4, 12)).item() == pytest.approx(pair_wise(f_s, f_t).item(), rel=1e-5)

    def test_the_diagonal_adds_nothing(self):
        f_s, f_t = drawn(2, 4, 3, 4), drawn(2, 7, 3, 4, seed=1)
        assert pair_wise(f_s, f_t, torch.eye(12, dtype=torch.bool)).item() == pytest.approx(0, abs=1e-10)

    def test_equal_maps_cost_nothing(self):
        f = drawn(2, 4, 3, 4)
        assert pair_wise(f, f.clone()).item() == 0

    @given(seed=st.integers(0, 1000), who=st.sampled_from(["student", "teacher"]))
    def test_lengths_of_nodes_mean_nothing(self, seed, who):
        f_s, f_t, lengths = drawn(2, 4, 3, 4, seed=seed), drawn(2, 7, 3, 4, seed=seed + 1), drawn(2, 1, 3, 4, seed=seed + 2).exp()
        before = pair_wise(f_s, f_t).item()
        after = pair_wise(f_s * lengths, f_t) if who == "student" else pair_wise(f_s, f_t * lengths)
        assert after.item() == pytest.approx(before, rel=1e-4)

    @given(seed=st.integers(0, 1000), who=st.sampled_from(["student", "teacher"]))
    def test_orthogonal_mixing_of_channels_means_nothing(self, seed, who):
        f_s, f_t = drawn(2, 4, 3, 4, seed=seed), drawn(2, 7, 3, 4, seed=seed + 1)
        before = pair_wise(f_s, f_t).item()
        channels = 4 if who == "student" else 7
        rotation = torch.linalg.qr(drawn(channels, channels, seed=seed + 2)).Q
        f = torch.einsum("dc,bchw->bdhw", rotation, f_s if who == "student" else f_t)
        after = pair_wise(f, f_t) if who == "student" else pair_wise(f_s, f)
        assert after.item() == pytest.approx(before, rel=1e-3)

    @given(seed=st.integers(0, 1000))
    def test_it_is_at_most_four_and_behind_a_relu_at_most_one(self, seed):
        f_s, f_t = drawn(2, 2, 2, 3, seed=seed), drawn(2, 3, 2, 3, seed=seed + 1)
        assert pair_wise(f_s, f_t).item() <= 4
        assert pair_wise(f_s.relu(), f_t.relu()).item() <= 1

    def test_four_is_reached_where_alike_stands_against_opposite(self):
        alike = torch.ones(1, 1, 1, 2)
        opposite = torch.tensor([[[[1.0, -1.0]]]])
        off_diagonal = ~torch.eye(2, dtype=torch.bool)
        assert pair_wise(alike, opposite, off_diagonal).item() == 4

    def test_the_mean_over_the_batch_is_that_of_its_images(self):
        f_s, f_t = drawn(3, 4, 3, 4), drawn(3, 7, 3, 4, seed=1)
        each = [pair_wise(f_s[i : i + 1], f_t[i : i + 1]).item() for i in range(3)]
        assert pair_wise(f_s, f_t).item() == pytest.approx(sum(each) / 3, rel=1e-5)


@pytest.mark.parametrize(
    ("maps", "chosen"),
    [
        (("stage1", "stage2"), ["stage2"]),
        (("psp", "stage1", "stage2"), ["psp"]),
        (("stage1", "stage2", "p2", "p3", "p4"), ["p2", "p3", "p4"]),
        (("pool", "p10x"), ["p10x"]),
    ],
)
def test_the_maps_compared_are_the_feature_pyramids_else_the_one_behind_the_pooled_maps_else_the_last(maps, chosen):
    assert compared(maps) == chosen
