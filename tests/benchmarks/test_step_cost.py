"""What the harness adds to a step of knowledge distillation, against a minimal loop of the same operations."""

from __future__ import annotations

import pytest

from benchmarks import tools
from kdarena.tracks import find_card
from kdarena.tracks.values import Setting


@pytest.mark.benchmark
def test_a_long_step_costs_at_most_three_percent_more_than_a_minimal_loop(figure):
    task = tools.cifar_task("resnet20-resnet8")
    ratio, own, minimal = tools.in_turn(tools.harness_step(task), tools.minimal_step(task), steps=5 if tools.SHORT else 15, groups=4 if tools.SHORT else 8)
    figure("a long eager step / a minimal loop of the same operations, written by hand", f"{own * 1e3:.1f} ms / {minimal * 1e3:.1f} ms = {ratio:.3f}", "≤ 1.03")
    assert minimal >= 0.005
    assert ratio <= (tools.GROSS if tools.SHORT else 1.03)


@pytest.mark.benchmark
def test_a_short_step_costs_at_most_a_tenth_of_a_millisecond_more_than_a_minimal_loop(figure):
    card = find_card("digits")
    task = card.load(card, Setting())
    ratio, _, minimal = tools.in_turn(tools.harness_step(task), tools.minimal_step(task), steps=50 if tools.SHORT else 200, groups=8 if tools.SHORT else 10)
    figure(f"a short eager step (digits, {minimal * 1e3:.2f} ms by hand), in addition", f"{(ratio - 1) * minimal * 1e3:.2f} ms", "≤ 0.1 ms")
    if tools.SHORT:
        assert ratio <= tools.GROSS
    else:
        assert (ratio - 1) * minimal <= 0.1e-3
