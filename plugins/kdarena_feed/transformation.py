"""The non-linear transformation layer NTL_n and the loss L_FEED_n, which pFEED and sFEED share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from kdarena import Outputs


class NTL(nn.Module):
    """Three 3 × 3 convolutions with LeakyReLU(0.1) after each, on the student's side only.

    The paper gives the three convolutions; biases, a LeakyReLU after each and no batch norm are those of the translator in the same
    group's factor-transfer code; the width of the inner maps is ours.

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

    def forward(self, x_s: Tensor, real: Tensor | None = None) -> Tensor:
        """[B, C_S, H, W] to [B, C_T, H, W]; where ``real`` [B, 1, H, W] is given, every layer's map is zero at all other positions."""
        for layer in self.layers:
            x_s = layer(x_s) if real is None else _padded(layer, x_s, real)
        return x_s


def _padded(layer: nn.Module, maps: Tensor, real: Tensor) -> Tensor:
    if not isinstance(layer, nn.BatchNorm2d):
        padded: Tensor = layer(maps) * real
        return padded
    # the statistics are those of the real positions
    places, columns = real.squeeze(1), maps.movedim(1, 3)
    rows: Tensor = layer(columns[places][:, :, None, None])
    return rows.new_zeros(columns.shape).masked_scatter(places.unsqueeze(3), rows).movedim(3, 1)


def real_positions(outputs: Outputs) -> Tensor | None:
    """Where the last map of a sequence is no padding [B, 1, L, 1]; None for maps without any."""
    return None if outputs.tokens is None else outputs.tokens[:, None, :, None]


def l_feed(x_t: Tensor, transformed: Tensor, reduction: str, real: Tensor | None = None) -> Tensor:
    """L_FEED_n of a teacher's map and the student's transformed one, both [B, C_T, H, W], zero where ``real`` [B, 1, H, W] is false.

    ‖x^T/‖x^T‖₂ − NTL(x^S)/‖NTL(x^S)‖₂‖₁, each sample normalised over all its C_T · H · W entries; mean over samples.
    ``mean`` divides it by C_T · H · W besides (of real positions), as the factor-transfer code does.
    """
    difference = (functional.normalize(x_t.flatten(1), dim=1) - functional.normalize(transformed.flatten(1), dim=1)).abs()
    if reduction == "sum":
        return difference.sum(dim=1).mean()
    return difference.mean() if real is None else (difference.sum(dim=1) / (x_t.shape[1] * real.sum(dim=(1, 2, 3)))).mean()
