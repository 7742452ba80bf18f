"""What detection adds to a step: the assignment of boxes to places and its losses, and decoding at an evaluation."""

from __future__ import annotations

import time

import pytest
import torch

from benchmarks import tools
from kdarena.tracks import find_card, load_task
from kdarena.tracks.detection.decode import decoded
from kdarena.tracks.detection.losses import detection_loss
from kdarena.tracks.detection.task import DetectionTask, boxes_of
from kdarena.tracks.values import Setting, Split


@pytest.fixture(scope="module")
def task() -> DetectionTask:
    loaded = load_task(find_card("scenes-boxes"), Setting())
    assert isinstance(loaded, DetectionTask)
    return loaded


@pytest.mark.benchmark
def test_assignment_and_loss_take_at_most_a_tenth_of_a_step_of_distillation(task, figure):
    batch, student = next(task.batches(Split(0), "augmented")), task.new_network(task.card.student).train()
    outputs = task.answered(student, batch)
    logits, boxes = (part.detach().requires_grad_() for part in (outputs.logits, boxes_of(outputs)))
    of_loss = lambda: detection_loss(logits, boxes, task.assigned(outputs, batch.targets)).backward()  # noqa: E731
    share, loss, step = tools.in_turn(of_loss, tools.harness_step(task), steps=5 if tools.SHORT else 15, groups=4 if tools.SHORT else 8)
    figure(
        "assignment and loss of a step of detection (`scenes-boxes`), in parts of the step", f"{loss * 1e3:.1f} ms / {step * 1e3:.1f} ms = {share:.3f}", "≤ 0.1"
    )
    figure("a step of distillation of detection (`scenes-boxes`)", f"{step * 1e3:.1f} ms", "≤ 25 ms")
    assert share <= (0.1 * tools.GROSS if tools.SHORT else 0.1)
    if not tools.SHORT:
        assert step <= 0.025


@pytest.mark.benchmark
def test_300_pictures_are_decoded_in_two_seconds(task, figure):
    random = torch.Generator().manual_seed(0)
    places = task.places(task.data.test.size)
    logits = torch.randn(300, task.classes, len(places.x), generator=random) - 3
    boxes = torch.cat([4 * torch.rand(300, 4, len(places.x), generator=random), torch.randn(300, 1, len(places.x), generator=random)], dim=1)
    began = time.process_time()
    found = decoded(logits, boxes, places, torch.tensor([task.data.test.size]).float().expand(300, 2))
    seconds = time.process_time() - began
    figure("decoding and suppression of 300 pictures", f"{seconds:.2f} s", "≤ 2 s")
    assert int(found.count.min()) == 100
    assert seconds <= 2 * (tools.GROSS if tools.SHORT else 1)
