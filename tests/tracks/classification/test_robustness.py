"""Noise, corruptions and the attack against closed forms on linear models, scipy's filters and counted draws."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from torch import Tensor, nn
from torch.nn import functional

from kdarena.tracks.classification.models import create
from kdarena.tracks.classification.robustness import (
    CORRUPTIONS,
    SIGMAS,
    brightness,
    contrast,
    gaussian_blur,
    gaussian_noise,
    impulse_noise,
    pgd,
    pixelate,
    robustness_metrics,
    shot_noise,
)
from kdarena.tracks.classification.task import ClassificationTask
from kdarena.tracks.values import Split

SHAPES = pytest.mark.parametrize("shape", [(5, 1, 8, 8), (4, 3, 32, 32), (2, 3, 7, 12), (1, 1, 1, 1)], ids=str)
NAMES = pytest.mark.parametrize("name", list(CORRUPTIONS))
CLASSES = 4


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=draws(seed))


def linear(channels: int = 1, side: int = 6, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, CLASSES)).eval()


def cross_entropies(predict: Callable[[Tensor], Tensor], images: Tensor, targets: Tensor) -> Tensor:
    with torch.no_grad():
        return functional.cross_entropy(predict(images), targets, reduction="none")


# corruptions
@NAMES
@SHAPES
def test_corrupted_images_are_images_of_the_same_kind(name: str, shape: tuple[int, ...]) -> None:
    images = pictures(*shape)
    before = images.clone()
    found = CORRUPTIONS[name](images, draws())
    assert (found.shape, found.dtype) == (images.shape, images.dtype)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert torch.equal(images, before)


@NAMES
def test_black_and_white_images_stay_in_range(name: str) -> None:
    found = CORRUPTIONS[name](pictures(3, 3, 8, 8).round(), draws())
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


@NAMES
def test_a_corruption_changes_images_and_the_seed_decides_how(name: str) -> None:
    images = pictures(4, 3, 32, 32)
    found = CORRUPTIONS[name](images, draws(1))
    assert not torch.allclose(found, images, atol=1e-3)
    assert torch.equal(found, CORRUPTIONS[name](images, draws(1)))
    random = name.endswith("noise")
    assert torch.equal(found, CORRUPTIONS[name](images, draws(2))) != random


@NAMES
def test_nothing_is_drawn_from_the_global_generator(name: str) -> None:
    before, images = torch.random.get_rng_state(), pictures(2, 1, 8, 8)
    pgd(lambda x: x.flatten(1), CORRUPTIONS[name](images, draws()), torch.zeros(2, dtype=torch.long), steps=1, generator=draws())
    assert torch.equal(before, torch.random.get_rng_state())


@SHAPES
def test_at_severity_zero_every_corruption_is_the_identity(shape: tuple[int, ...]) -> None:
    images = pictures(*shape)
    for found in (gaussian_noise(images, 0.0, draws()), impulse_noise(images, 0.0, draws()), gaussian_blur(images, 0.0), brightness(images, 0.0)):
        assert torch.equal(found, images)
    torch.testing.assert_close(contrast(images, 1.0), images)
    torch.testing.assert_close(pixelate(images, 1.0), images)
    torch.testing.assert_close(shot_noise(images, 1e7, draws()), images, rtol=0, atol=3e-3)


def test_gaussian_noise_has_the_standard_deviation_sigma() -> None:
    added = gaussian_noise(torch.full((50, 3, 32, 32), 0.5), 0.1, draws()) - 0.5
    assert float(added.std()) == pytest.approx(0.1, rel=0.01)
    assert stats.kstest(added.flatten()[:20_000].numpy() / 0.1, "norm").pvalue > 1e-3


def test_shot_noise_keeps_the_mean_and_has_the_variance_of_counted_photons() -> None:
    found = shot_noise(torch.full((50, 3, 32, 32), 0.3), 60.0, draws())
    assert float(found.mean()) == pytest.approx(0.3, rel=0.01)
    assert float(found.var()) == pytest.approx(0.3 / 60, rel=0.03)
    torch.testing.assert_close(60 * found, (60 * found).round(), rtol=0, atol=1e-4)


def test_impulse_noise_sets_the_share_of_values_half_to_black_and_half_to_white() -> None:
    found = impulse_noise(torch.full((50, 3, 32, 32), 0.5), 0.1, draws())
    count = found.numel()
    for value in (0.0, 1.0):
        assert abs(int((found == value).sum()) - 0.05 * count) < 5 * math.sqrt(0.05 * 0.95 * count)
    assert bool(((found == 0) | (found == 0.5) | (found == 1)).all())


@pytest.mark.parametrize("sigma", [0.25, 1.0, 2.5])
@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 1, 8, 8), (1, 3, 7, 12)], ids=str)
def test_blur_is_scipys_gaussian_filter_of_each_plane(sigma: float, shape: tuple[int, ...]) -> None:
    images = pictures(*shape)
    expected = ndimage.gaussian_filter(images.double().numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=3.0)
    torch.testing.assert_close(gaussian_blur(images, sigma).double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


def test_contrast_scales_each_channels_deviations_and_keeps_its_mean() -> None:
    images = pictures(3, 3, 8, 8)
    found = contrast(images, 0.4)
    torch.testing.assert_close(found.mean(dim=(2, 3)), images.mean(dim=(2, 3)))
    torch.testing.assert_close(found.std(dim=(2, 3)), 0.4 * images.std(dim=(2, 3)))


def test_brightness_is_added_up_to_white() -> None:
    found = brightness(torch.tensor([0.0, 0.5, 0.9]).view(1, 1, 1, 3), 0.2)
    torch.testing.assert_close(found.flatten(), torch.tensor([0.2, 0.7, 1.0]))


def test_pixelation_by_half_makes_blocks_of_two_by_two_means() -> None:
    images = pictures(1, 3, 4, 6)
    found = pixelate(images, 0.5)
    for row, column in itertools.product((0, 2), (0, 2, 4)):
        block = images[:, :, row : row + 2, column : column + 2].mean(dim=(2, 3), keepdim=True)
        torch.testing.assert_close(found[:, :, row : row + 2, column : column + 2], block.expand(1, 3, 2, 2))


# the attack
@settings(max_examples=25, deadline=None)
@given(st.floats(0, 0.3), st.floats(0, 0.2), st.integers(0, 5), st.integers(0, 2**32))
def test_attacked_images_are_within_epsilon_and_in_range(epsilon: float, step: float, steps: int, seed: int) -> None:
    images, targets = pictures(5, 1, 6, 6, seed=seed), torch.tensor([0, 1, 2, 3, 0])
    found = pgd(linear(), images, targets, epsilon=epsilon, step=step, steps=steps, generator=draws(seed))
    assert float((found - images).abs().max()) <= epsilon + 1e-6
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1


def test_on_a_linear_model_the_attack_raises_every_samples_loss() -> None:
    images, targets = 0.1 + 0.8 * pictures(40, 1, 6, 6), torch.arange(40) % CLASSES
    for seed in range(3):
        model = linear(seed=seed)
        found = pgd(model, images, targets, generator=draws(seed))
        assert bool((cross_entropies(model, found, targets) > cross_entropies(model, images, targets)).all())


@pytest.mark.parametrize("step", [0.062, 1.0])
def test_on_a_linear_model_one_large_step_is_epsilon_along_the_sign_of_the_gradient(step: float) -> None:
    model, images = linear(), 0.1 + 0.8 * pictures(9, 1, 6, 6)
    # of two classes the direction is w_other - w_true wherever the attack starts
    weight = model[1].weight.detach()[:2]  # type: ignore[index,union-attr]
    targets = torch.arange(9) % 2
    found = pgd(lambda x: x.flatten(1) @ weight.T, images, targets, epsilon=0.031, step=step, steps=1, generator=draws())
    direction = (weight[1 - targets] - weight[targets]).sign().view_as(images)
    torch.testing.assert_close(found, images + 0.031 * direction)


def test_twenty_small_steps_reach_the_same_corner_on_a_linear_model() -> None:
    weight, images = torch.randn(2, 36, generator=draws(5)), 0.1 + 0.8 * pictures(9, 1, 6, 6)
    targets = torch.arange(9) % 2
    found = pgd(lambda x: x.flatten(1) @ weight.T, images, targets, step=0.0032, generator=draws())
    torch.testing.assert_close(found, images + 0.031 * (weight[1 - targets] - weight[targets]).sign().view_as(images))


def test_the_start_is_uniform_within_epsilon() -> None:
    start = pgd(linear(side=32), torch.full((40, 1, 32, 32), 0.5), torch.zeros(40, dtype=torch.long), epsilon=0.1, steps=0, generator=draws()) - 0.5
    assert stats.kstest(start.flatten().numpy(), "uniform", args=(-0.1, 0.2)).pvalue > 1e-3


def test_the_start_follows_the_generator_alone() -> None:
    images, targets, model = pictures(5, 1, 6, 6), torch.zeros(5, dtype=torch.long), linear()
    first, again, other = (pgd(model, images, targets, steps=2, generator=draws(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_sample_is_attacked_as_if_it_were_alone() -> None:
    model, images, targets = linear(), pictures(6, 1, 6, 6), torch.arange(6) % CLASSES
    seen: list[Tensor] = []

    def predict(x: Tensor) -> Tensor:
        seen.append(x.detach().clone())
        return model(x)  # type: ignore[no-any-return]

    found = pgd(predict, images, targets, steps=1, generator=draws())
    for row in range(6):
        x = seen[0][row : row + 1].requires_grad_()
        functional.cross_entropy(model(x), targets[row : row + 1]).backward()
        assert x.grad is not None
        stepped = (x.detach() + 0.003 * x.grad.sign()).clamp(0, 1)
        torch.testing.assert_close(found[row : row + 1], images[row : row + 1] + (stepped - images[row : row + 1]).clamp(-0.031, 0.031))


@pytest.mark.parametrize("gradients", [True, False])
def test_the_attacked_network_and_the_images_stay_as_they_are(gradients: bool) -> None:
    network = create("digits-student", 10, in_channels=1).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images = pictures(6, 1, 8, 8)
    unchanged = images.clone()
    with torch.set_grad_enabled(gradients):
        found = pgd(network, images, torch.arange(6), generator=draws())
        assert torch.is_grad_enabled() == gradients
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(images, unchanged)
    assert not found.requires_grad
    assert not network.training


def test_images_that_want_gradients_can_be_attacked() -> None:
    images = pictures(3, 1, 6, 6).requires_grad_()
    assert not pgd(linear(), images, torch.arange(3), generator=draws()).requires_grad
    assert images.grad is None


# metrics
def lightness(images: Tensor) -> Tensor:
    """Class 1 where an image is light."""
    margin = 50 * (images.mean(dim=(1, 2, 3)) - 0.5)
    return torch.stack([-margin, margin], dim=1)


def test_metrics_are_named_percentages_with_the_mean_of_the_corruptions() -> None:
    images, targets = pictures(20, 1, 8, 8), torch.arange(20) % 2
    found = robustness_metrics(lightness, images, targets, draws(), batch=7)
    expected = [*(f"noise/{sigma}" for sigma in SIGMAS), *(f"corruption/{name}" for name in CORRUPTIONS), "corruption/mean", "pgd20"]
    assert list(found) == expected
    assert all(type(value) is float and 0 <= value <= 100 for value in found.values())
    assert found["corruption/mean"] == pytest.approx(sum(found[f"corruption/{name}"] for name in CORRUPTIONS) / len(CORRUPTIONS))


def test_a_classifier_with_a_wide_margin_withstands_everything_and_one_with_none_falls_to_the_attack() -> None:
    levels = torch.tensor([0.1, 0.9]).repeat(10)
    images = levels.view(-1, 1, 1, 1).expand(20, 1, 8, 8)
    assert set(robustness_metrics(lightness, images, torch.arange(20) % 2, draws(), batch=6).values()) == {100.0}
    found = robustness_metrics(lightness, 0.5 + (images - 0.5) / 40, torch.arange(20) % 2, draws(), batch=6)
    assert found["pgd20"] == 0
    assert found["corruption/brightness"] == 50
    assert found["corruption/contrast"] == 100


def test_each_sample_counts_once_whatever_the_batch() -> None:
    images, targets = torch.full((10, 1, 4, 4), 0.5), torch.tensor([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    for batch in (1, 4, 10, 250):
        found = robustness_metrics(lambda x: torch.tensor([0.0, 1.0]).expand(len(x), 2) + 0 * x.sum(), images, targets, draws(), batch=batch)
        assert list(found.values()) == pytest.approx([30.0] * len(found))


def test_every_network_gets_the_same_noise() -> None:
    seen: list[list[Tensor]] = []
    for sign in (1, -1):
        shown: list[Tensor] = []

        def predict(x: Tensor, shown: list[Tensor] = shown, sign: int = sign) -> Tensor:
            if not x.requires_grad:
                shown.append(x.clone())
            return sign * lightness(x)

        robustness_metrics(predict, pictures(6, 1, 8, 8), torch.arange(6) % 2, draws(3))
        seen.append(shown[:-1])
    assert len(seen[0]) == len(SIGMAS) + len(CORRUPTIONS)
    assert all(torch.equal(one, other) for one, other in zip(*seen, strict=True))


def test_the_task_measures_robustness_of_a_network_with_its_own_normalisation(digits: ClassificationTask) -> None:
    torch.manual_seed(0)
    network = digits.new_network("digits-student").train()
    first, again = (digits.further_metrics("robustness", network, Split(0)) for _ in range(2))
    assert first == again
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())
