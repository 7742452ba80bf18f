"""A detector that leaves: what its program says of each place, and that the programs that load it find the same boxes."""

from __future__ import annotations

import importlib.util
import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdarena.api import export_files
from kdarena.tracks.detection.decode import corners, decoded, scores_of_classes
from kdarena.tracks.detection.task import DetectionTask, boxes_of


@pytest.fixture(scope="module")
def trained(boxes_task: DetectionTask) -> torch.nn.Module:
    """A student that finds something: with random weights that say more than the prior."""
    torch.manual_seed(0)
    network = boxes_task.new_network("fcos-tiny").eval()
    with torch.no_grad():
        network.get_submodule("detector.classifier").weight.normal_(std=0.3)
        network.get_submodule("detector.classifier").bias.fill_(-1.0)
        network.get_submodule("detector.regressor").weight.normal_(std=0.05)
    return network


def pixels(task: DetectionTask, count: int = 4) -> torch.Tensor:
    images, _ = task.data.test.read(range(count))
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def test_the_program_gives_the_box_and_the_scores_of_every_place(boxes_task: DetectionTask, trained: torch.nn.Module):
    said = boxes_task.deployed(trained).scores({"images": pixels(boxes_task)})
    rows = torch.arange(4)
    with torch.no_grad():
        outputs = boxes_task.answered(trained, boxes_task.batch("test", rows, rows, None))
    boxes = boxes_of(outputs)
    assert said.shape == (4, outputs.logits.shape[2], 4 + 10)
    assert torch.allclose(said[..., :4], corners(boxes[:, :4], boxes_task.places((64, 64))), atol=1e-3)
    assert torch.allclose(said[..., 4:].transpose(1, 2), scores_of_classes(outputs.logits, boxes[:, 4]), atol=1e-5)


@pytest.mark.parametrize("format", ["torch.export", pytest.param("onnx", marks=pytest.mark.slow)])
def test_the_program_that_loads_it_finds_the_boxes_that_are_found_here(boxes_task: DetectionTask, trained: torch.nn.Module, tmp_path: Path, format: Any):
    if format == "onnx" and any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
        pytest.skip("onnx, onnxscript and onnxruntime are not installed")
    export_files.write(tmp_path, boxes_task.deployed(trained), format, {})
    images = pixels(boxes_task)
    loaded = runpy.run_path(str(tmp_path / "load.py"))
    elsewhere = loaded["detect"](images if format == "torch.export" else images.numpy())
    rows = torch.arange(4)
    with torch.no_grad():
        outputs = boxes_task.answered(trained, boxes_task.batch("test", rows, rows, None))
    found = decoded(outputs.logits, boxes_of(outputs), boxes_task.places((64, 64)), torch.full((4, 2), 64.0))
    assert int(found.count.min()) > 10  # so that there is something to suppress
    for image, detections in enumerate(elsewhere):
        count = int(found.count[image])
        assert len(detections["scores"]) == count
        assert np.allclose(detections["scores"], found.scores[image, :count], atol=1e-4)
        assert np.allclose(detections["boxes"], found.boxes[image, :count], atol=2e-3)
        assert np.array_equal(detections["classes"], found.classes[image, :count])
    _cut_to_the_picture(loaded["detect"], images if format == "torch.export" else images.numpy(), outputs, boxes_task)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert config["labels"] == list(boxes_task.data.classes)
    assert config["decoding"] == {"threshold": 0.05, "candidates": 1000, "overlap": 0.6, "most": 100}
    assert config["preparation"]["size"] == [64, 64]
    assert config["preparation"]["filling"] == [124, 116, 104]  # as pictures in files are filled up, in bytes


def _cut_to_the_picture(detect: Any, images: Any, outputs: Any, task: DetectionTask) -> None:
    """A picture that isn't square fills a part of its image: its boxes end there, as they do here."""
    found = decoded(outputs.logits, boxes_of(outputs), task.places((64, 64)), torch.tensor([[40.0, 64.0]] * 4))
    for image, detections in enumerate(detect(images, [(40, 64)] * 4)):
        count = int(found.count[image])
        assert detections["boxes"][:, 3].max() <= 40
        assert np.allclose(detections["boxes"], found.boxes[image, :count], atol=2e-3)
