"""Soft randomization: the student learns from noisy inputs what the teacher says of the clean ones.

Arani, Sarfraz, Zonooz: "Noise as a Resource for Learning in Knowledge Distillation", WACV 2021, https://arxiv.org/abs/1910.05057

x: images [B, C, H, W] with pixels in [0, 1] before normalisation; δ: as large, drawn anew at every step.

    δ ~ N(0, σ² I)
    L = (1 − a) · CE(S(x + δ), y) + a · τ² · KL(T^τ(x) ‖ S^τ(x + δ))

The paper prints the divergence the other way round, KL(S^τ(x + δ) ‖ T^τ(x)): ``kl_direction="student-first"``. x + δ is not clipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from kdarena import ROWS, Choice, Float, Method, hookimpl
from kdarena_noisy.distillation import PAPER, NoisyParams, distillation, refuse_weights

if TYPE_CHECKING:
    from torch import Tensor

    from kdarena import Step, TaskCard


@dataclass(frozen=True)
class SoftRandomizationParams(NoisyParams):
    """And the noise."""

    sigma: float = Float(0.05, 0.01, 0.3, log=True, source="ours", help="standard deviation of the noise on pixels in [0, 1]")
    kl_direction: str = Choice(
        "teacher-first", ("teacher-first", "student-first"), source="code", help="KL(T || S), as code computes it, or KL(S || T), as the paper prints it"
    )


def applies(card: TaskCard, params: SoftRandomizationParams) -> str | None:
    """Why it can't run on a task, or None."""
    if not card.pixels:
        return "it adds noise to pixels; the task's inputs are no images"
    if params.sigma < 0:
        return f"sigma is a standard deviation, 0 or more; it is {params.sigma:g}"
    return refuse_weights(params)


def noise(inputs: Tensor, sigma: float, pixel_std: Tensor, generator: torch.Generator) -> Tensor:
    """δ in units of normalised inputs [B, C, H, W]: normalisation has divided pixels by ``pixel_std`` [C, 1, 1]."""
    return sigma / pixel_std * torch.randn(inputs.shape, generator=generator, device=inputs.device)


class SoftRandomization:
    """Noise on the student's input, none on the teacher's."""

    method = Method(
        name="soft-randomization",
        title="distillation with Gaussian noise on the student's input",
        paper=PAPER,
        equations="L = (1 - a) CE(y, S(x + delta)) + a tau^2 KL(T^tau(x) || S^tau(x + delta)), delta ~ N(0, sigma^2 I)",
        extended={"segmentation": ROWS["segmentation"]},
        excluded={"text": "its noise is in units of pixels, and tokens have none", "speech": "its noise is in units of pixels, and spectra have none"},
        Params=SoftRandomizationParams,
        applies=applies,
    )

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE and KL of the student on x + δ."""
        params = cast(SoftRandomizationParams, step.params)
        assert step.task.pixel_std is not None  # applies
        delta = noise(step.inputs, params.sigma, step.task.pixel_std, step.run.generator)
        student = step.forward(step.learner.student, step.inputs + delta)
        return distillation(step, student, params, student_first=params.kl_direction == "student-first")
