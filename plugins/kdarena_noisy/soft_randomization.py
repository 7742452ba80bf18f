"""Soft randomization: the student learns from noisy inputs what the teacher says of the clean ones.

Arani, Sarfraz, Zonooz: "Noise as a Resource for Learning in Knowledge Distillation", WACV 2021, https://arxiv.org/abs/1910.05057

x: images [B, C, H, W] with pixels in [0, 1] before normalisation; δ: as large, drawn anew at every step; S(x), T(x): logits of
student and teacher; S^τ, T^τ: their softmax at temperature τ; y: labels.

    δ ~ N(0, σ² I)
    L = (1 − a) · CE(S(x + δ), y) + a · τ² · KL(T^τ(x) ‖ S^τ(x + δ)), mean over rows of logits

The paper prints the divergence the other way round, KL(S^τ(x + δ) ‖ T^τ(x)): ``kl_direction="student-first"``. x + δ is not clipped.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kdarena import ROWS, Choice, Float, Method, Step, Terms, hookimpl
from kdarena_noisy.distillation import PAPER, NoisyParams, distillation


@dataclass(frozen=True)
class SoftRandomizationParams(NoisyParams):
    """And the noise."""

    sigma: float = Float(0.05, 0.01, 0.3, least=0, log=True, source="ours", help="standard deviation of the noise on pixels in [0, 1]")
    kl_direction: str = Choice(
        "teacher-first", ("teacher-first", "student-first"), source="code", help="KL(T || S), as code computes it, or KL(S || T), as the paper prints it"
    )


method = Method(
    "soft-randomization",
    "distillation with Gaussian noise on the student's input",
    PAPER,
    extended={track: ROWS[track] for track in ("segmentation", "detection")},
    excluded={"text": "its noise is in units of pixels, and tokens have none", "speech": "its noise is in units of pixels, and spectra have none"},
    Params=SoftRandomizationParams,
    requires=("class scores", "images"),
)


def noise(inputs: Tensor, sigma: float, pixel_std: Tensor, generator: torch.Generator) -> Tensor:
    """δ in units of normalised inputs [B, C, H, W]: normalisation has divided pixels by ``pixel_std`` [C, 1, 1]."""
    return sigma / pixel_std * torch.randn(inputs.shape, generator=generator, device=inputs.device)


@hookimpl
def loss(step: Step, params: SoftRandomizationParams) -> Terms:
    """CE and KL of the student on x + δ."""
    assert step.task.pixel_std is not None  # it requires images
    delta = noise(step.inputs, params.sigma, step.task.pixel_std, step.run.generator)
    student = step.forward(step.learner.student, step.inputs + delta)
    return distillation(step, student, params, student_first=params.kl_direction == "student-first")
