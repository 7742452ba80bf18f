"""Mixed images: mixup, cutmix and random erasing of a whole batch at once, on the device where it is.

A mixed image is made of two of the batch, and so is its label. The label of the larger part is the one that ``Batch.targets`` has, so that what is kept by
sample (``Batch.index``) and what needs one label is of that part; the task's own loss takes both (:meth:`kdarena.Task.loss`).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from kdarena.seeds import derive
from kdarena.tracks.recipe import Recipe
from kdarena.tracks.values import Batch

DRAWN_AHEAD = 64
"""Batches whose numbers are drawn at once, so that few copies go to the device."""
ERASED_AREA = (0.02, 1 / 3)
ERASED_RATIO = (0.3, 3.3)
"""Part of the image, and height over width, of what is erased (Zhong et al. 2020, arXiv 1708.04896)."""
PARTNER, SHARE, WEIGHT = range(3)
CUT, ERASED = slice(3, 7), slice(7, 11)
"""Columns of what is drawn: the other sample, the own part of the label, the own part of every pixel; boxes of top, bottom, left, right."""


class Mixing:
    """Mixes the batches of one run, in their order.

    Args:
        recipe: how strongly, and how large a batch is.
        seed: of the split, which alone decides what is drawn.
    """

    def __init__(self, recipe: Recipe, seed: int):
        self._recipe = recipe
        self._random = np.random.RandomState(derive(seed, "mixing") % 2**32)  # this generator's streams are frozen across versions of numpy
        self._drawn: list[Tensor] = []

    def __call__(self, batch: Batch) -> Batch:
        """Images [B, C, H, W], erased and mixed, of one batch or of several one behind the other; both teacher and student see them."""
        count, _, height, width = batch.inputs.shape
        size = min(count, self._recipe.batch_size)
        drawn = [self._next(size, height, width, batch.inputs.device) for _ in range(count // size)]
        if count % size:
            drawn.append(torch.from_numpy(self.draw(1, count % size, height, width)[0]).to(batch.inputs.device))
        return mixed(batch, torch.cat(drawn), size)

    def _next(self, count: int, height: int, width: int, device: torch.device) -> Tensor:
        if not self._drawn or len(self._drawn[-1]) != count:
            self._drawn = [*torch.from_numpy(self.draw(DRAWN_AHEAD, count, height, width)).to(device).unbind()]
        return self._drawn.pop()

    def draw(self, batches: int, count: int, height: int, width: int) -> np.ndarray:
        """Numbers for batches of ``count`` images [batches, count, 11] in fp32, see :data:`PARTNER`."""
        random, shape = self._random, (batches, count)
        numbers = np.zeros((*shape, 11), np.float32)
        numbers[..., PARTNER] = random.random_sample(shape).argsort(axis=1)
        cut = random.random_sample(shape) < self._recipe.cut_part
        shares = np.where(cut, _betas(random, self._recipe.cutmix, shape), _betas(random, self._recipe.mixup, shape))
        side = np.sqrt(1 - shares) * cut
        numbers[..., CUT] = box = _boxes(random.random_sample((2, *shape)), side * height, side * width, height, width)
        outside = 1 - (box[..., 1] - box[..., 0]) * (box[..., 3] - box[..., 2]) / (height * width)
        numbers[..., SHARE], numbers[..., WEIGHT] = np.where(cut, outside, shares), np.where(cut, 1, shares)
        erased = random.random_sample(shape) < self._recipe.erasing
        area = random.uniform(*ERASED_AREA, shape) * height * width * erased
        ratio = np.exp(random.uniform(math.log(ERASED_RATIO[0]), math.log(ERASED_RATIO[1]), shape))
        numbers[..., ERASED] = _boxes(random.random_sample((2, *shape)), np.sqrt(area * ratio), np.sqrt(area / ratio), height, width)
        return numbers


def _betas(random: np.random.RandomState, alpha: float, shape: tuple[int, ...]) -> np.ndarray:
    """Parts of the larger of two images: max(λ, 1 − λ), λ ~ Beta(α, α); 1 where α is 0. With partners drawn at random the pairs are as with λ itself."""
    if not alpha:
        return np.ones(shape)
    drawn = random.beta(alpha, alpha, shape)
    return np.maximum(drawn, 1 - drawn)


def _boxes(places: np.ndarray, heights: np.ndarray, widths: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes [..., 4] of whole pixels of at most these heights and widths, their centres anywhere in the image; what would lie outside is cut off."""
    sides = []
    for place, length, whole in ((places[0], heights, height), (places[1], widths, width)):
        length = np.floor(length)
        start = np.floor(place * whole - length / 2)
        sides += [start.clip(0, whole), (start + length).clip(0, whole)]
    return np.stack(sides, axis=-1)


def mixed(batch: Batch, drawn: Tensor, size: int) -> Batch:
    """Batches of ``size`` samples, one behind the other, as ``drawn`` [B, 11] says; nothing is read back from the device."""
    images = batch.inputs.masked_fill(_inside(drawn[:, ERASED], batch.inputs), 0.0)  # of normalised images 0 is the mean colour
    first = torch.arange(len(drawn), device=drawn.device).div(size, rounding_mode="floor") * size
    partner = drawn[:, PARTNER].long() + first
    weight = drawn[:, WEIGHT, None, None, None] * ~_inside(drawn[:, CUT], images)
    inputs = torch.lerp(images.index_select(0, partner), images, weight, out=torch.empty_like(batch.inputs))
    return replace(batch, inputs=inputs, mixed_with=batch.targets.index_select(0, partner), share=drawn[:, SHARE].clone(), view=None)


def _inside(boxes: Tensor, images: Tensor) -> Tensor:
    """Whether a pixel is in its image's box [B, 1, H, W]."""
    top, bottom, left, right = boxes[:, :, None, None].unbind(1)
    rows = torch.arange(images.shape[2], device=images.device)[:, None]
    columns = torch.arange(images.shape[3], device=images.device)
    return ((rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)).unsqueeze(1)
