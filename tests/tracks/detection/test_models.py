"""Detectors: what they show and answer, and that teachers are the larger ones."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from kdarena.tracks import find_card, load_task
from kdarena.tracks.capture import Capture
from kdarena.tracks.detection.cards import LISTED
from kdarena.tracks.detection.models import ARCHITECTURES, create, find, pyramid_of
from kdarena.tracks.detection.models.head import PRIOR, FeaturePyramid, Head
from kdarena.tracks.values import Setting


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_network_answers_at_the_places_of_its_levels_and_shows_its_stages_and_its_pyramid(name: str):
    size, pyramid = (70, 100), find(name).pyramid
    network = create(name, 3).eval()
    with torch.no_grad(), Capture(network) as capture:
        scores, boxes = network(torch.randn(2, 3, *size))
    assert scores.shape == (2, 3, pyramid.places(size))
    assert boxes.shape == (2, 5, pyramid.places(size))
    assert float(boxes[:, :4].min()) >= 0
    maps = capture.features()
    assert list(maps)[:3] == ["stage1", "stage2", "stage3"]
    shown = {level: grid for level, grid in zip(pyramid.names, pyramid.grids(size), strict=True) if level in maps}
    assert list(shown) == list(pyramid.names[:3])
    assert all(maps[level].shape[2:] == grid for level, grid in shown.items())


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "fcos-resnet50"])
def test_every_score_begins_at_the_prior(name: str):
    scores, _ = create(name, 3)(torch.randn(2, 3, 64, 64))
    assert float(scores.detach().mean()) == pytest.approx(-math.log((1 - PRIOR) / PRIOR), abs=0.3)


@pytest.mark.parametrize("name", ["fcos-tiny", "fcos-small"])
def test_the_gradient_reaches_every_weight(name: str):
    """Of the loss of a training batch of the embedded task."""
    task = load_task(find_card("scenes-boxes"), Setting())
    network = task.new_network(name)
    rows = torch.arange(4)
    batch = task.batch("train", rows, rows, None)
    task.loss(task.answered(network, batch), batch.targets).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None or not bool(parameter.grad.any())] == []


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_dropout_is_a_module_before_the_classifier_where_it_is_asked_for(name: str):
    found = [module for module in create(name, 3, dropout=0.2).modules() if isinstance(module, nn.Dropout2d)]
    assert [module.p for module in found] == [0.2]
    assert not any(isinstance(module, nn.Dropout2d) for module in create(name, 3).modules())


def test_the_head_is_shared_by_all_levels():
    head = Head(8, 3, levels=2, depth=1, groups=1).eval()
    one = torch.randn(1, 8, 4, 4)
    with torch.no_grad():
        scores, boxes = head([one, one])
    assert torch.equal(scores[:, :, :16], scores[:, :, 16:])
    assert torch.equal(boxes[:, :, :16], boxes[:, :, 16:])
    with torch.no_grad():
        head.scales[1] = 2.0
        _, scaled = head([one, one])
    assert torch.allclose(scaled[:, :4, 16:], boxes[:, :4, 16:] ** 2)


def test_a_finer_map_of_the_pyramid_sees_the_coarser_ones():
    pyramid = FeaturePyramid((4, 4), 8)
    fine, coarse = torch.randn(1, 4, 7, 9), torch.randn(1, 4, 4, 5)
    before, after = pyramid([fine, coarse]), pyramid([fine, coarse + 1])
    assert [tuple(each.shape) for each in before] == [(1, 8, 7, 9), (1, 8, 4, 5)]
    assert not torch.equal(before[0], after[0])
    assert torch.equal(pyramid([fine + 1, coarse])[1], before[1])


def test_fcos_resnet50_says_what_torchvisions_says():
    """Its decoded boxes are torchvision's, from the same weights."""
    from kdarena.tracks.detection.decode import corners
    from kdarena.tracks.detection.targets import Places
    from kdarena.tracks.torchvision import import_torchvision

    detection = import_torchvision().models.detection
    theirs = detection.fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3).eval()
    nn.init.normal_(theirs.head.regression_head.bbox_reg.bias, 1.0)
    own = create("fcos-resnet50", 3).eval()
    own.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 128, 256)
    with torch.no_grad():
        scores, boxes = own(images)
        maps = list(theirs.backbone(images).values())
        heads = theirs.head(maps)
        anchors = theirs.anchor_generator(detection.image_list.ImageList(images, [(128, 256)]), maps)[0]
        decoded = theirs.box_coder.decode(heads["bbox_regression"][0], anchors)
    assert torch.allclose(scores.transpose(1, 2), heads["cls_logits"], atol=1e-5)
    assert torch.allclose(boxes[:, 4:].transpose(1, 2), heads["bbox_ctrness"], atol=1e-5)
    places = Places.of(find("fcos-resnet50").pyramid, (128, 256), torch.device("cpu"))
    assert torch.allclose(corners(boxes[:, :4], places)[0], decoded, atol=1e-3)


@pytest.mark.parametrize("pair", sorted({pair for listed in LISTED.values() for pair in listed.pairs}))
def test_teachers_are_larger_than_students_and_look_at_the_same_places(pair: tuple[str, str]):
    teacher, student = (sum(parameter.numel() for parameter in create(name, 3).parameters()) for name in pair)
    assert teacher > 4 * student
    assert pyramid_of(*pair).strides


def test_a_pair_that_looks_at_different_places_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"fcos-resnet50 on levels of stride 8, 16, 32, 64, 128 and fcos-tiny on .* look at different places") as error:
        pyramid_of("fcos-resnet50", "fcos-tiny")
    assert "\n" not in str(error.value)


def test_an_unknown_architecture_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown architecture 'yolo'; known: fcos-tiny, fcos-small"):
        create("yolo", 3)


@pytest.mark.parametrize("name", ["fcos-tiny", "fcos-mobilenetv3"])
def test_boxes_are_calculated_in_fp32_from_the_towers_answer_under_autocast(name: str):
    network = create(name, 3).eval()
    regressor = network.get_submodule("detector.regressor")
    seen: list[torch.dtype] = []
    regressor.register_forward_hook(lambda module, inputs, output: seen.extend((inputs[0].dtype, output.dtype)))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        scores, boxes = network(torch.randn(1, 3, 64, 64))
    assert set(seen) == {torch.float32} and boxes.dtype == torch.float32
    assert scores.dtype == torch.bfloat16
