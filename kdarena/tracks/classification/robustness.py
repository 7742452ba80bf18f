"""How well a network withstands noise, natural corruptions and an attack: functions on ``predict``, from raw images to logits.

``predict`` takes images [B, C, H, W] with pixels in [0, 1] and owns whatever normalisation there is, so that radii and noise
are in units of pixels. Its network has to be in eval mode. Whatever is random comes from a generator, drawn on that
generator's device, so that with one on the CPU every device and every network gets the same noise.

The corruptions are of the kinds of CIFAR-10-C (Hendrycks and Dietterich 2019, arXiv 1903.12261), made here from the clean
images at one severity each. They are **not** the files of CIFAR-10-C: numbers must not be compared with published mCE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Generator, Tensor
from torch.nn import functional

Predict = Callable[[Tensor], Tensor]
Corruption = Callable[[Tensor, Generator], Tensor]

SIGMAS = (0.02, 0.05, 0.1, 0.2)
"""Standard deviations of the Gaussian noise of ``noise/SIGMA``."""


def _draw(sample: Callable[..., Tensor], images: Tensor, generator: Generator) -> Tensor:
    """Random numbers in the shape of the images, from the generator's device to theirs."""
    return sample(images.shape, generator=generator, device=generator.device).to(images)


# noise
def gaussian_noise(images: Tensor, sigma: float, generator: Generator) -> Tensor:
    """x + N(0, σ²), clipped to [0, 1]."""
    return (images + sigma * _draw(torch.randn, images, generator)).clamp(0, 1)


def shot_noise(images: Tensor, photons: float, generator: Generator) -> Tensor:
    """Poisson(n · x) / n, clipped to [0, 1]: a white pixel counts n photons."""
    counted = torch.poisson((photons * images).to(generator.device), generator=generator)
    return (counted.to(images) / photons).clamp(0, 1)


def impulse_noise(images: Tensor, share: float, generator: Generator) -> Tensor:
    """A share of the values is 0 or 1, by even chance (salt and pepper, in each channel apart)."""
    drawn = _draw(torch.rand, images, generator)
    # below the share: uniform on [0, share), so that its halves are the coin
    return torch.where(drawn < share, (drawn < share / 2).to(images), images)


# no randomness
def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Convolution with a Gaussian of standard deviation σ pixels, cut at 3 σ; the border is repeated outwards."""
    radius = int(3 * sigma + 0.5)
    if radius == 0:
        return images.clone()
    positions = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-(positions**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    count, channels, height, width = images.shape
    planes = functional.pad(images.reshape(count * channels, 1, height, width), (radius,) * 4, mode="replicate")
    blurred = functional.conv2d(functional.conv2d(planes, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    return blurred.reshape(images.shape).clamp(0, 1)


def contrast(images: Tensor, factor: float) -> Tensor:
    """Each channel of an image drawn towards its mean m: m + f · (x − m), clipped to [0, 1]."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return (mean + factor * (images - mean)).clamp(0, 1)


def brightness(images: Tensor, shift: float) -> Tensor:
    """x + b, clipped to [0, 1]."""
    return (images + shift).clamp(0, 1)


def pixelate(images: Tensor, share: float) -> Tensor:
    """Means over the cells of a grid with this share of the rows and columns, each cell as one block of colour."""
    height, width = images.shape[2:]
    coarse = functional.adaptive_avg_pool2d(images, (max(1, round(share * height)), max(1, round(share * width))))
    return functional.interpolate(coarse, size=(height, width), mode="nearest").clamp(0, 1)


def _side(images: Tensor) -> int:
    return min(images.shape[2:])


CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": lambda images, generator: gaussian_noise(images, 0.08, generator),
    "shot_noise": lambda images, generator: shot_noise(images, 60.0, generator),
    "impulse_noise": lambda images, generator: impulse_noise(images, 0.05, generator),
    "gaussian_blur": lambda images, generator: gaussian_blur(images, _side(images) / 32),
    "contrast": lambda images, generator: contrast(images, 0.4),
    "brightness": lambda images, generator: brightness(images, 0.2),
    "pixelate": lambda images, generator: pixelate(images, 0.5),
}
"""One severity each: σ = 0.08; 60 photons; 5 % of the values; a blur of 1 / 32 of the shorter side (1 pixel of 32); contrast × 0.4;
+ 0.2; half of the rows and columns. Severities are ours; blur and pixelation scale with the image."""


# attack
def pgd(predict: Predict, images: Tensor, targets: Tensor, *, generator: Generator, epsilon: float = 0.031, step: float = 0.003, steps: int = 20) -> Tensor:
    """Adversarial images by projected gradient ascent on cross-entropy (Madry et al. 2018, arXiv 1706.06083), in the maximum norm.

        x₀ = clip(x + U(−ε, ε)),  x_{i+1} = clip(Π_ε(x_i + step · sign ∇ CE(y, predict(x_i))))

    Π_ε: onto the pixels within ε of x; clip: to [0, 1]. Gradients are taken for the images alone.

    Args:
        predict: its network in eval mode.
        images: x [B, C, H, W] in [0, 1].
        targets: y [B].
    """
    images = images.detach()
    low, high = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
    start = epsilon * (2 * _draw(torch.rand, images, generator) - 1)
    attacked = torch.clamp(images + start, low, high)
    for _ in range(steps):
        attacked.requires_grad_()
        with torch.enable_grad():
            # a sum, since a mean over the batch could underflow; the sign is the same
            loss = functional.cross_entropy(predict(attacked), targets, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, attacked)
        attacked = torch.clamp(attacked.detach() + step * gradient.sign(), low, high)
    return attacked


# metrics
def robustness_metrics(predict: Predict, images: Tensor, targets: Tensor, generator: Generator, batch: int = 250) -> dict[str, float]:
    """Top-1 in percent: ``noise/SIGMA``, ``corruption/NAME`` and their ``corruption/mean``, ``pgd20``.

    Args:
        predict: its network in eval mode.
        images: raw, in [0, 1], [P, C, H, W].
        targets: [P].
        batch: images at once.
    """

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        return zip(images.split(batch), targets.split(batch), strict=True)

    def top1(change: Corruption) -> float:
        with torch.no_grad():
            hits = [(predict(change(x, generator)).argmax(dim=1) == y).sum() for x, y in batches()]
        return 100 * float(torch.stack(hits).sum()) / len(targets)

    def attacked_top1() -> float:
        hits = []
        for x, y in batches():
            adversarial = pgd(predict, x, y, generator=generator)
            with torch.no_grad():
                hits.append((predict(adversarial).argmax(dim=1) == y).sum())
        return 100 * float(torch.stack(hits).sum()) / len(targets)

    metrics = {f"noise/{sigma:g}": top1(lambda x, draws, sigma=sigma: gaussian_noise(x, sigma, draws)) for sigma in SIGMAS}  # type: ignore[misc]
    corrupted = {f"corruption/{name}": top1(corruption) for name, corruption in CORRUPTIONS.items()}
    return {**metrics, **corrupted, "corruption/mean": sum(corrupted.values()) / len(corrupted), "pgd20": attacked_top1()}
