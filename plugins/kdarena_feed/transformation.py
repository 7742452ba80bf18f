"""The non-linear transformation layer NTL_n and the loss L_FEED_n, which pFEED and sFEED share."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class NTL(nn.Module):
    """Three 3 × 3 convolutions with LeakyReLU(0.1) after each, on the student's side only.

    The paper gives the three convolutions; bias, non-linearity and no batch norm are those of the same group's factor-transfer code.

    Args:
        channels: C_S, of the student.
        teacher_channels: C_T.
        last_activation: whether a LeakyReLU follows the last convolution.
        width: of the two inner maps, in C_T.
        batch_norm: batch norm after each convolution, instead of its bias.
    """

    def __init__(self, channels: int, teacher_channels: int, last_activation: bool, width: float = 1.0, batch_norm: bool = False):
        super().__init__()
        inner = max(1, round(width * teacher_channels))
        layers: list[nn.Module] = []
        for before, after in ((channels, inner), (inner, inner), (inner, teacher_channels)):
            layers.append(nn.Conv2d(before, after, 3, padding=1, bias=not batch_norm))
            layers += [nn.BatchNorm2d(after)] if batch_norm else []
            layers.append(nn.LeakyReLU(0.1))
        self.layers = nn.Sequential(*layers if last_activation else layers[:-1])

    def forward(self, x_s: Tensor) -> Tensor:
        """[B, C_S, H, W] to [B, C_T, H, W]."""
        transformed: Tensor = self.layers(x_s)
        return transformed


def l_feed(x_t: Tensor, transformed: Tensor, reduction: str) -> Tensor:
    """L_FEED_n of a teacher's map and the student's transformed one, both [B, C_T, H, W].

    ‖x^T/‖x^T‖₂ − NTL(x^S)/‖NTL(x^S)‖₂‖₁, each sample normalised over all its C_T · H · W entries; mean over samples.
    ``mean`` divides it by C_T · H · W besides, as the factor-transfer code does.
    """
    difference = (functional.normalize(x_t.flatten(1), dim=1) - functional.normalize(transformed.flatten(1), dim=1)).abs()
    return difference.mean() if reduction == "mean" else difference.sum(dim=1).mean()
