"""Decoupled distillation and correlation against torch.distributions, SciPy and closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kdarena_baselines import dist, dkd
from kdarena_baselines.dist import l_inter_intra, pearson
from kdarena_baselines.dkd import tckd_nckd
from scipy.stats import pearsonr
from torch.distributions import Bernoulli, Categorical, kl_divergence
from torch.utils._python_dispatch import TorchDispatchMode

from kdarena.testing.run import make_run, new_step
from kdarena.testing.task import toy_task
from kdarena.tracks import find_card
from kdarena.tracks.values import Setting


def logits(seed=0, rows=6, classes=5, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    z_s, z_t = scale * torch.randn(2, rows, classes, generator=generator)
    return z_s, z_t, torch.randint(classes, (rows,), generator=generator)


def naive_parts(z_s, z_t, y, temperature):
    """TCKD and NCKD row by row: a Bernoulli, and a categorical without the target's entry."""
    tckd, nckd = [], []
    for s, t, label in zip(z_s.double() / temperature, z_t.double() / temperature, y.tolist(), strict=True):
        p_s, p_t = torch.softmax(s, 0), torch.softmax(t, 0)
        tckd.append(float(kl_divergence(Bernoulli(p_t[label]), Bernoulli(p_s[label]))))
        others = [c for c in range(len(s)) if c != label]
        nckd.append(float(kl_divergence(Categorical(logits=t[others]), Categorical(logits=s[others]))))
    return np.array(tckd), np.array(nckd)


class TestDecoupled:
    @pytest.mark.parametrize("temperature", [1.0, 4.0])
    def test_both_parts_are_divergences_of_a_bernoulli_and_of_the_other_classes(self, temperature):
        z_s, z_t, y = logits()
        for found, expected in zip(tckd_nckd(z_s, z_t, y, temperature), naive_parts(z_s, z_t, y, temperature), strict=True):
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-6)

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 10_000), st.sampled_from([1.0, 2.0, 4.0]), st.integers(3, 12))
    def test_with_the_share_of_the_other_classes_as_weight_it_is_the_whole_divergence(self, seed, temperature, classes):
        z_s, z_t, y = (one.double() if one.is_floating_point() else one for one in logits(seed, classes=classes))
        tckd, nckd = tckd_nckd(z_s, z_t, y, temperature)
        p_t = Categorical(logits=z_t / temperature)
        share = 1 - p_t.probs.gather(1, y[:, None]).squeeze(1)
        whole = kl_divergence(p_t, Categorical(logits=z_s / temperature))
        np.testing.assert_allclose((tckd + share * nckd).numpy(), whole.numpy(), rtol=2e-4, atol=2e-6)

    def test_the_non_target_part_does_not_know_the_targets_logits(self):
        z_s, z_t, y = logits()
        _, nckd = tckd_nckd(z_s, z_t, y, 2.0)
        moved = [z + 7 * torch.nn.functional.one_hot(y, 5) for z in (z_s, z_t)]
        torch.testing.assert_close(tckd_nckd(*moved, y, 2.0)[1], nckd, rtol=1e-4, atol=1e-5)

    def test_the_target_part_does_not_know_how_the_others_share(self):
        z_s, z_t, y = logits(classes=3)
        others = [[c for c in range(3) if c != label] for label in y.tolist()]
        swapped = z_s.clone()
        for row, (a, b) in enumerate(others):
            swapped[row, a], swapped[row, b] = z_s[row, b], z_s[row, a]
        torch.testing.assert_close(tckd_nckd(swapped, z_t, y, 2.0)[0], tckd_nckd(z_s, z_t, y, 2.0)[0])

    @pytest.mark.parametrize("size", [50.0, 500.0])
    def test_confident_teachers_and_students_give_finite_values_and_gradients(self, size):
        y = torch.tensor([0, 1])
        z_t, z_s = size * torch.eye(2, 4), (size * torch.eye(2, 4).flip(0)).requires_grad_()
        parts = tckd_nckd(z_s, z_t, y, 1.0)
        (gradient,) = torch.autograd.grad(sum(part.sum() for part in parts), z_s)
        assert all(bool(torch.isfinite(one).all()) for one in (*parts, gradient))
        assert float(gradient.abs().max()) > 0.5

    def test_the_total_has_the_squared_temperature_the_weights_and_the_warm_up(self):
        run = make_run(dkd, toy_task(), {"alpha": 2.0, "beta": 3.0, "temperature": 5.0, "warmup": 0.2})
        batch = next(run.augmented)
        step = new_step(run, batch=batch, progress=0.6)
        tckd, nckd = naive_parts(step.student.logits.detach(), step.teacher.logits, step.targets, 5.0)
        for progress, factor in ((0.6, 1.0), (0.05, 0.25), (0.0, 0.0)):
            terms = run.loss(new_step(run, batch=batch, progress=progress))
            assert float(terms["tckd"].detach()) == pytest.approx(factor * 25 * 2 * tckd.mean(), rel=1e-3, abs=1e-8)
            assert float(terms["nckd"].detach()) == pytest.approx(factor * 25 * 3 * nckd.mean(), rel=1e-3, abs=1e-8)
            assert float(terms["ce"].detach()) == pytest.approx(float(-Categorical(logits=step.student.logits).log_prob(step.targets).mean()), rel=1e-5)

    def test_without_warm_up_the_weight_is_whole_from_the_first_step(self):
        run = make_run(dkd, toy_task(), {"warmup": 0.0})
        batch = next(run.augmented)
        first, late = (run.loss(new_step(run, batch=batch, progress=progress)) for progress in (0.0, 0.9))
        assert torch.equal(first["tckd"], late["tckd"]) and torch.equal(first["nckd"], late["nckd"])
        assert float(first["nckd"].detach()) > 0

    def test_the_target_is_marked_without_reading_labels_back_to_the_host(self):
        class Watch(TorchDispatchMode):
            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                assert function._schema.name not in ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select")
                return function(*args, **(kwargs or {}))

        run = make_run(dkd, toy_task())
        step = new_step(run, progress=0.5)
        with Watch():
            run.loss(step)

    def test_two_classes_leave_too_few_but_the_target_and_are_refused(self):
        reason = dkd.method.reason_against(toy_task(classes=2).card, dkd.method.Params())
        assert reason == "it distils the classes other than the target, and the task has only 2 classes"


class TestCorrelation:
    @pytest.mark.parametrize("dim", [0, 1])
    def test_it_is_pearsons_of_each_row_or_column(self, dim):
        one, other, _ = logits()
        expected = [pearsonr(a, b).statistic for a, b in zip(*((x if dim else x.T).numpy() for x in (one, other)), strict=True)]
        np.testing.assert_allclose(pearson(one, other, dim).numpy(), expected, rtol=1e-5, atol=1e-6)

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 10_000), st.floats(0.05, 20), st.floats(-5, 5))
    def test_scale_and_shift_of_a_row_change_nothing_and_a_negative_scale_turns_the_sign(self, seed, scale, shift):
        one, other, _ = logits(seed)
        rho = pearson(one, other, 1)
        torch.testing.assert_close(pearson(scale * one + shift, other, 1), rho, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(pearson(-scale * one + shift, other, 1), -rho, rtol=1e-3, atol=1e-4)

    def test_both_terms_are_means_of_one_minus_the_correlation_of_softened_probabilities(self):
        z_s, z_t, _ = logits()
        y_s, y_t = (torch.softmax(z.double() / 4, 1).numpy() for z in (z_s, z_t))
        inter, intra = l_inter_intra(z_s, z_t, 4.0)
        assert float(inter) == pytest.approx(np.mean([1 - pearsonr(a, b).statistic for a, b in zip(y_s, y_t, strict=True)]), rel=1e-4)
        assert float(intra) == pytest.approx(np.mean([1 - pearsonr(a, b).statistic for a, b in zip(y_s.T, y_t.T, strict=True)]), rel=1e-4)

    def test_a_shift_of_a_rows_logits_changes_nothing(self):
        z_s, z_t, _ = logits()
        shifted = l_inter_intra(z_s + torch.arange(6.0)[:, None], z_t, 4.0)
        for one, other in zip(shifted, l_inter_intra(z_s, z_t, 4.0), strict=True):
            assert float(one) == pytest.approx(float(other), rel=1e-4)

    def test_equal_logits_have_no_loss_and_opposite_probabilities_have_two(self):
        z_s, *_ = logits()
        assert [float(term) for term in l_inter_intra(z_s, z_s, 4.0)] == pytest.approx([0, 0], abs=1e-4)
        opposite = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        assert [float(term) for term in l_inter_intra(opposite, -opposite, 1.0)] == pytest.approx([2, 2], abs=1e-4)

    def test_a_constant_row_gives_finite_gradients(self):
        z_s = torch.zeros(4, 5, requires_grad=True)
        (gradient,) = torch.autograd.grad(sum(l_inter_intra(z_s, logits(rows=4)[1], 4.0)), z_s)
        assert bool(torch.isfinite(gradient).all())

    def test_the_total_has_the_squared_temperature_and_the_weights(self):
        run = make_run(dist, toy_task(), {"beta": 2.0, "gamma": 3.0, "temperature": 5.0})
        step = new_step(run)
        terms = run.loss(step)
        y_s, y_t = (torch.softmax(z.detach().double() / 5, 1).numpy() for z in (step.student.logits, step.teacher.logits))
        rows, columns = (np.mean([1 - pearsonr(a, b).statistic for a, b in zip(one, other, strict=True)]) for one, other in ((y_s, y_t), (y_s.T, y_t.T)))
        assert float(terms["inter"].detach()) == pytest.approx(50 * rows, rel=1e-3)
        assert float(terms["intra"].detach()) == pytest.approx(75 * columns, rel=1e-3)

    def test_on_segmentation_a_row_is_a_pixel_of_the_score_map_with_or_without_a_label(self):
        scenes = find_card("scenes")
        assert "segmentation" in dist.method.tracks
        run = make_run(dist, scenes.load(scenes, Setting()), {"beta": 1.0, "gamma": 1.0, "temperature": 1.0})
        step = new_step(run)
        assert bool((step.targets == 255).any())
        terms = run.loss(step)

        def probabilities(scores):
            return torch.softmax(torch.stack([image[:, i, j] for image in scores for i in range(image.shape[1]) for j in range(image.shape[2])]), dim=1).numpy()

        y_s, y_t = (probabilities(outputs.logits.detach().double()) for outputs in (step.student, step.teacher))
        rows, columns = (np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(one, other, strict=True)]) for one, other in ((y_s, y_t), (y_s.T, y_t.T)))
        assert float(terms["inter"].detach()) == pytest.approx(rows, rel=1e-3)
        assert float(terms["intra"].detach()) == pytest.approx(columns, rel=1e-3)
