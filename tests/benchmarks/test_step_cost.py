"""What the harness adds to a step of knowledge distillation, against a minimal loop of the same operations."""

from __future__ import annotations

import pytest

from benchmarks import tools
from kdarena.tracks import find_card
from kdarena.tracks.values import Setting


@pytest.mark.benchmark
def test_a_long_step_costs_at_most_three_percent_more_than_a_minimal_loop():
    task = tools.cifar_task("resnet20-resnet8")
    ratio, own, minimal = tools.in_turn(tools.harness_step(task), tools.minimal_step(task), steps=5 if tools.SHORT else 15, groups=4 if tools.SHORT else 8)
    print(f"\nlong step: {own * 1e3:.2f} ms against {minimal * 1e3:.2f} ms, ratio {ratio:.4f}")
    assert minimal >= 0.005
    assert ratio <= (tools.GROSS if tools.SHORT else 1.03)


@pytest.mark.benchmark
def test_a_short_step_costs_at_most_a_tenth_of_a_millisecond_more_than_a_minimal_loop():
    card = find_card("digits")
    task = card.load(card, Setting())
    ratio, own, minimal = tools.in_turn(tools.harness_step(task), tools.minimal_step(task), steps=50 if tools.SHORT else 200, groups=8 if tools.SHORT else 10)
    print(f"\nshort step: {own * 1e3:.3f} ms against {minimal * 1e3:.3f} ms, ratio {ratio:.4f}, {(ratio - 1) * minimal * 1e3:.3f} ms added")
    if tools.SHORT:
        assert ratio <= tools.GROSS
    else:
        assert (ratio - 1) * minimal <= 0.1e-3
