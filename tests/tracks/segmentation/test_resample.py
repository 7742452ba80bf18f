"""Resizing by matrices is that of torch's own functions, with gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from kdarena.tracks.segmentation.models.resample import average_pooled, interpolation, regions, spread, upsampled


@pytest.mark.parametrize(("before", "after"), [((3, 5), (12, 7)), ((1, 4), (6, 9)), ((6, 6), (2, 3)), ((4, 4), (1, 8)), ((12, 12), (48, 48))])
def test_resizing_is_bilinear_with_aligned_corners(before: tuple[int, int], after: tuple[int, int]):
    ours = torch.randn(2, 3, *before, dtype=torch.float32, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    out, expected = upsampled(ours, after), functional.interpolate(theirs, size=after, mode="bilinear", align_corners=True)
    assert torch.allclose(out, expected, atol=1e-5)
    weight = torch.randn_like(expected)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    assert ours.grad is not None and theirs.grad is not None
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-4)


@pytest.mark.parametrize(("size", "bins"), [((12, 12), (1, 2, 3, 6)), ((5, 9), (3,)), ((4, 4), (6, 2)), ((7, 3), (1,))])
def test_pooling_is_adaptive_average_pooling_to_every_grid(size: tuple[int, int], bins: tuple[int, ...]):
    maps = torch.randn(2, 3, *size)
    expected = torch.cat([functional.adaptive_avg_pool2d(maps, each).flatten(2) for each in bins], dim=2)
    assert torch.allclose(average_pooled(maps, bins), expected, atol=1e-5)


def test_a_grids_cells_are_spread_as_maps_are_resized():
    cells = torch.randn(2, 3, 6, 6)
    assert torch.allclose(spread(cells.flatten(2), (9, 14)), upsampled(cells, (9, 14)), atol=1e-5)


def test_every_row_of_both_matrices_sums_to_one():
    cpu = torch.device("cpu")
    for matrix in (interpolation(5, 13, cpu), regions(13, 5, cpu)):
        assert torch.allclose(matrix.sum(dim=1), torch.ones(len(matrix)), atol=1e-6)


def test_a_matrix_first_made_without_gradients_serves_a_training_step():
    interpolation.cache_clear()
    with torch.inference_mode():
        upsampled(torch.ones(1, 1, 3, 3), (5, 5))
    maps = torch.ones(1, 1, 3, 3, requires_grad=True)
    upsampled(maps, (5, 5)).sum().backward()
    assert maps.grad is not None and torch.isclose(maps.grad.sum(), torch.tensor(25.0))


def test_weights_stay_in_single_precision_under_autocast():
    maps = torch.randn(1, 2, 3, 3).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        out = upsampled(maps, (7, 7))
    assert out.dtype == torch.float32
    assert torch.allclose(out, functional.interpolate(maps.float(), size=(7, 7), mode="bilinear", align_corners=True), atol=1e-6)
