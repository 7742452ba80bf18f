"""The critic of the holistic loss: five convolutions with self-attention, of scores and the image they were made for."""

import torch
from torch import Tensor, nn
from torch.nn import functional

LAST = 4
"""Kernel of the last convolution."""
SHORTEST = 3
"""Side that a strided convolution has to leave."""
NARROWEST = 8
"""Channels that self-attention, whose queries and keys have an eighth of them, needs at least."""
FIRST_ITERATIONS = 15
"""Power iterations before a spectral norm is first used."""


class SpectralConvolution(nn.Conv2d):
    """A convolution with its weight divided by an estimate of its largest singular value (Miyato et al. 2018, arXiv 1802.05957).

    Each call in train mode takes one power iteration. Not torch's parametrisation: that hands the weight to a module of its own, and
    where a step has several updates the counter of operations can't watch one whose input is a leaf.
    """

    u: Tensor
    v: Tensor

    def __init__(self, channels: int, out: int, kernel: int, stride: int):
        super().__init__(channels, out, kernel, stride, padding=1)
        self.register_buffer("u", functional.normalize(torch.randn(out), dim=0))
        self.register_buffer("v", torch.zeros(channels * kernel**2))
        for _ in range(FIRST_ITERATIONS):
            self._iterate()

    @torch.no_grad()
    def _iterate(self) -> None:
        matrix = self.weight.flatten(1)
        self.v.copy_(functional.normalize(matrix.T @ self.u, dim=0))
        self.u.copy_(functional.normalize(matrix @ self.v, dim=0))

    def normalised(self) -> Tensor:
        """The weight divided by uᵀ W v."""
        # copies, since the next call changes both in place while this one's graph still holds them
        return self.weight / torch.dot(self.u.clone(), self.weight.flatten(1) @ self.v.clone())

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, H, W] to [B, out, H', W']."""
        if self.training:
            self._iterate()
        return functional.conv2d(input, self.normalised(), self.bias, self.stride, self.padding)


class SelfAttention(nn.Module):
    """SAGAN's: x + γ · (each place a mean of all places' values, weighted by softmax over keys of qᵀk), γ = 0 at first.

    Args:
        channels: C; queries and keys have C / 8.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.parts = (channels // 8, channels // 8, channels)
        # the three convolutions 1 × 1 as one product of matrices: on small maps their calls would cost more than their arithmetic
        self.query_key_value = nn.Linear(channels, sum(self.parts))
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        # not the fused attention: the gradient penalty needs its second derivative
        query, key, value = self.query_key_value(x.flatten(2).transpose(1, 2)).split(self.parts, dim=2)
        weights = torch.softmax(query @ key.transpose(1, 2), dim=-1)
        attended: Tensor = weights @ value
        return self.gamma * attended.transpose(1, 2).reshape(x.shape) + x


def strides(size: tuple[int, int], layers: int = 4) -> tuple[int, ...]:
    """Of the convolutions before the last: 2 as long as a side of 3 is left, then 1. 65 × 65 gives 2, 2, 2, 2."""
    chosen: list[int] = []
    shortest = min(size)
    for _ in range(layers):
        chosen.append(2 if shortest // 2 >= SHORTEST else 1)
        shortest //= chosen[-1]
    return tuple(chosen)


def fitted_width(width: int, size: tuple[int, int]) -> int:
    """Channels of the first convolution: ``width`` on maps of 64 and more, on smaller ones in proportion to the shorter side; a multiple of 8."""
    return max(NARROWEST, 8 * round(width * min(1.0, min(size) / 64) / 8))


class Critic(nn.Module):
    """D(Q | I): high where it takes a score map for the teacher's.

    Batch norm on the input; four convolutions with spectral norm and LeakyReLU(0.1), of w, 2w, 4w and 8w channels, with
    self-attention behind the third and the fourth; a last convolution 4 × 4 without padding and without spectral norm. Those
    with stride 2 are 4 × 4; on maps too small for four of them the later ones are 3 × 3 with stride 1.
    On maps that leave more than one place, D is the mean over places.

    Args:
        channels: of the scores, and of the image where it is concatenated.
        size: height and width of the score map.
        width: w.
    """

    def __init__(self, channels: int, size: tuple[int, int], width: int = 64):
        super().__init__()
        widths = [channels, width, 2 * width, 4 * width, 8 * width]
        layers: list[nn.Module] = [nn.BatchNorm2d(channels)]
        for number, stride in enumerate(strides(size)):
            layers += [SpectralConvolution(widths[number], widths[number + 1], 4 if stride == 2 else 3, stride), nn.LeakyReLU(0.1)]
            if number >= 2:
                layers.append(SelfAttention(widths[number + 1]))
            size = (size[0] // stride, size[1] // stride)
        layers.append(nn.Conv2d(widths[-1], 1, (min(LAST, size[0]), min(LAST, size[1]))))
        self.layers = nn.Sequential(*layers)

    def forward(self, scores: Tensor, image: Tensor | None = None) -> Tensor:
        """Q [B, C, h, w] and I [B, 3, h, w], or Q alone, to D [B], in fp32 whatever the precision of the run."""
        with torch.autocast(scores.device.type, enabled=False):
            seen = scores.float() if image is None else torch.cat([scores.float(), image.float()], dim=1)
            answer: Tensor = self.layers(seen)
            return answer.mean(dim=(1, 2, 3))
