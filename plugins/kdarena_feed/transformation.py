"""The non-linear transformation layer NTL_n and the loss L_FEED_n, which pFEED and sFEED share."""

from torch import Tensor, nn
from torch.nn import functional

from kdarena import masked_layer


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

    def forward(self, x_s: Tensor, tokens: Tensor | None = None) -> Tensor:
        """[B, C_S, H, W] to [B, C_T, H, W]; of sequences [B, C_S, L, 1] every layer's map is zero where ``tokens`` [B, L] is false."""
        for layer in self.layers:
            x_s = layer(x_s) if tokens is None else masked_layer(layer, x_s, tokens[:, None, :, None])
        return x_s


def l_feed(x_t: Tensor, transformed: Tensor, reduction: str, tokens: Tensor | None = None) -> Tensor:
    """L_FEED_n of a teacher's map and the student's transformed one, both [B, C_T, H, W]; of sequences zero where ``tokens`` [B, L] is false.

    ‖x^T/‖x^T‖₂ − NTL(x^S)/‖NTL(x^S)‖₂‖₁, each sample normalised over all its C_T · H · W entries; mean over samples.
    ``mean`` also divides it by C_T · H · W (of real positions), as the factor-transfer code does.
    """
    difference = (functional.normalize(x_t.flatten(1), dim=1) - functional.normalize(transformed.flatten(1), dim=1)).abs()
    if reduction == "sum":
        return difference.sum(dim=1).mean()
    return difference.mean() if tokens is None else (difference.sum(dim=1) / (x_t.shape[1] * tokens.sum(dim=1))).mean()
