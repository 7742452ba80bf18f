"""Uncertainties of a Dirichlet distribution and of an ensemble against Monte Carlo, closed forms and naive loops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kdarena_endd.endd import EnDD
from kdarena_endd.ensemble import ensemble_uncertainties
from scipy.special import rel_entr
from torch.distributions import Categorical, Dirichlet, kl_divergence

from kdarena import Outputs

EXACT = {"rtol": 1e-9, "atol": 1e-9}


def drawn(seed=0, samples=3, members=4, classes=5, scale=2.0):
    """The members' logits [B, M, N] and the student's [B, N], in float64."""
    generator = torch.Generator().manual_seed(seed)
    return (
        scale * torch.randn(samples, members, classes, generator=generator, dtype=torch.double),
        scale * torch.randn(samples, classes, generator=generator, dtype=torch.double),
    )


def of_student(z):
    return EnDD().uncertainties(Outputs(z))


def of_members(z_m):
    return ensemble_uncertainties(Outputs(z_m.mean(dim=1), exits=tuple(z_m.unbind(dim=1))))


class TestUncertaintyOfADirichlet:
    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 10_000), st.floats(-5, 12))
    def test_total_is_data_and_knowledge_and_none_of_them_is_negative(self, seed, shift):
        found = of_student(drawn(seed)[1] + shift)
        torch.testing.assert_close(found["total"], found["data"] + found["knowledge"], **EXACT)
        assert all(float(found[name].min()) >= -1e-12 for name in ("total", "data", "knowledge", "epkl"))

    def test_data_uncertainty_is_the_expected_entropy_of_drawn_distributions(self):
        torch.manual_seed(0)
        z = drawn()[1]
        samples = Categorical(probs=Dirichlet(z.exp()).sample((100_000,))).entropy()
        torch.testing.assert_close(of_student(z)["data"], samples.mean(dim=0), rtol=0, atol=0.01)

    def test_knowledge_is_the_expected_divergence_of_drawn_distributions_from_their_mean(self):
        torch.manual_seed(0)
        z = drawn()[1]
        dirichlet = Dirichlet(z.exp())
        samples = kl_divergence(Categorical(probs=dirichlet.sample((100_000,))), Categorical(probs=dirichlet.mean)).mean(dim=0)
        torch.testing.assert_close(of_student(z)["knowledge"], samples, rtol=0, atol=0.01)

    def test_epkl_is_the_expected_divergence_between_two_drawn_distributions(self):
        torch.manual_seed(0)
        dirichlet = Dirichlet(torch.tensor([[8.0, 5.0, 3.0]], dtype=torch.double))
        pairs = kl_divergence(*(Categorical(probs=dirichlet.sample((200_000,))) for _ in range(2))).mean(dim=0)
        found = of_student(dirichlet.concentration.log())["epkl"]
        torch.testing.assert_close(found, torch.tensor([2 / 16], dtype=torch.double), **EXACT)
        torch.testing.assert_close(found, pairs, rtol=0.02, atol=0)

    def test_differential_entropy_is_that_of_the_distribution(self):
        z = drawn()[1]
        torch.testing.assert_close(of_student(z)["differential-entropy"], Dirichlet(z.exp()).entropy(), **EXACT)

    def test_a_flat_distribution_over_ten_classes_has_knowledge_of_0_3736(self):
        found = of_student(torch.zeros(1, 10))
        assert float(found["total"]) == pytest.approx(math.log(10))
        # psi(n) of a whole n is a harmonic number less Euler's constant, which cancels
        harmonic = sum(1 / k for k in range(1, 11)) - 1
        assert float(found["knowledge"]) == pytest.approx(math.log(10) - harmonic)
        assert float(found["knowledge"]) == pytest.approx(0.3736, abs=1e-4)

    def test_knowledge_vanishes_and_total_stays_where_the_distribution_is_sharp(self):
        z = drawn()[1]
        sharp = of_student(z + math.log(1e6))
        torch.testing.assert_close(sharp["total"], Categorical(logits=z).entropy(), **EXACT)
        assert float(sharp["knowledge"].max()) < 1e-4
        assert bool((sharp["knowledge"] > 0).all())

    def test_total_is_the_entropy_of_the_distributions_mean(self):
        z = drawn()[1]
        torch.testing.assert_close(of_student(z)["total"], Categorical(probs=Dirichlet(z.exp()).mean).entropy(), **EXACT)

    @pytest.mark.parametrize("lowest", [-800.0, -1e4])
    @pytest.mark.parametrize("highest", [0.0, -800.0])
    def test_a_concentration_that_underflows_makes_no_score_infinite(self, lowest, highest):
        z = torch.full((2, 1000), lowest)
        z[1, 0] = highest
        assert all(bool(score.isfinite().all()) for score in of_student(z).values())


class TestUncertaintyOfAnEnsemble:
    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 10_000), st.floats(0.01, 50))
    def test_knowledge_is_the_mean_divergence_of_members_from_their_mean(self, seed, scale):
        z_m, _ = drawn(seed, scale=scale)
        found = of_members(z_m)
        mean = Categorical(logits=z_m).probs.mean(dim=1)
        expected = sum(torch.from_numpy(rel_entr(Categorical(logits=z_m[:, m]).probs.numpy(), mean.numpy())).sum(dim=1) for m in range(4)) / 4
        torch.testing.assert_close(found["knowledge"], expected, rtol=1e-6, atol=1e-9)
        assert float(found["knowledge"].min()) >= -1e-12
        torch.testing.assert_close(found["total"], found["data"] + found["knowledge"], **EXACT)

    def test_total_is_the_entropy_of_the_mean_and_data_the_mean_of_entropies(self):
        z_m, _ = drawn()
        members = Categorical(logits=z_m)
        found = of_members(z_m)
        torch.testing.assert_close(found["total"], Categorical(probs=members.probs.mean(dim=1)).entropy(), **EXACT)
        torch.testing.assert_close(found["data"], members.entropy().mean(dim=1), **EXACT)

    def test_epkl_is_averaged_over_all_pairs_not_summed(self):
        z_m, _ = drawn()
        members = [Categorical(logits=z_m[:, m]) for m in range(4)]
        expected = sum(kl_divergence(one, other) for one in members for other in members) / 16
        torch.testing.assert_close(of_members(z_m)["epkl"], expected, **EXACT)

    def test_identical_members_know_all_that_there_is(self):
        found = of_members(drawn()[0][:, :1].expand(-1, 3, -1))
        for name in ("knowledge", "epkl"):
            assert float(found[name].abs().max()) < 1e-12

    def test_a_member_that_is_sure_has_no_nan(self):
        found = of_members(1e5 * torch.eye(4).expand(2, 4, 4))
        torch.testing.assert_close(found["knowledge"], torch.full((2,), math.log(4), dtype=torch.double), **EXACT)
