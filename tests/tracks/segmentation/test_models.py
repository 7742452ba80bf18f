"""Architectures: what they show, and that teachers are the larger ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdarena.tracks.capture import Capture
from kdarena.tracks.segmentation.cards import LISTED
from kdarena.tracks.segmentation.models import ARCHITECTURES, create

SMALL = [name for name in ARCHITECTURES if "resnet" not in name and name not in ("pspnet18", "pspnet34", "unet")]


def scores(answer: torch.Tensor | tuple[torch.Tensor, torch.Tensor | None]) -> torch.Tensor:
    return answer if isinstance(answer, torch.Tensor) else answer[0]


@pytest.mark.parametrize("name", SMALL)
def test_a_network_shows_its_stages_and_scores_on_its_own_grid(name: str):
    network = create(name, 5).eval()
    with torch.no_grad(), Capture(network) as capture:
        answer = scores(network(torch.randn(2, 3, 64, 96)))
    maps = capture.features()
    assert list(maps)[:4] == ["stage1", "stage2", "stage3", "stage4"]
    assert all(one.dim() == 4 and len(one) == 2 for one in maps.values())
    stride = 2 if name.startswith("unet") else 4 if name in ("pspnet-tiny", "pspnet-small") else 8
    assert answer.shape == (2, 5, 64 // stride, 96 // stride)
    assert ("psp" in maps) == name.startswith("pspnet")
    if "psp" in maps:
        assert maps["psp"].shape[2:] == answer.shape[2:]


@pytest.mark.parametrize("name", ["pspnet-tiny", "pspnet18-quarter"])
def test_the_auxiliary_head_answers_in_training_alone(name: str):
    network = create(name, 5)
    images = torch.randn(2, 3, 64, 64)
    answer, auxiliary = network.train()(images)
    assert auxiliary is not None and auxiliary.shape == answer.shape
    assert network.eval()(images)[1] is None


@pytest.mark.parametrize("name", ["pspnet-tiny", "unet-tiny", "lraspp-mobilenetv3"])
def test_a_loss_of_the_scores_alone_leaves_no_parameter_without_a_gradient(name: str):
    network = create(name, 5).train()
    scores(network(torch.randn(2, 3, 64, 64))).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    for parameter_name, parameter in network.named_parameters():
        assert not parameter_name.startswith("auxiliary") or not parameter.grad.any()  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["pspnet-small", "unet-tiny", "lraspp-mobilenetv3"])
def test_dropout_is_a_module_before_the_classifier_and_absent_without(name: str):
    with_dropout = [module.p for module in create(name, 5, dropout=0.3).modules() if isinstance(module, nn.Dropout2d)]
    assert with_dropout and set(with_dropout) == {0.3}
    assert not any(isinstance(module, nn.Dropout2d) for module in create(name, 5).modules())


@pytest.mark.parametrize("name", SMALL)
def test_every_score_layer_adds_to_the_scores(name: str):
    network = create(name, 3).train()
    for path in network.score_layers:  # type: ignore[union-attr]
        layer = network.get_submodule(path)
        assert layer.bias.shape == (3,)  # type: ignore[union-attr]
    answer = network(torch.randn(2, 3, 64, 64))
    heads = [answer] if isinstance(answer, torch.Tensor) else [one for one in answer if one is not None]
    assert len(heads) == len(network.score_layers)  # type: ignore[arg-type]


def test_every_listed_teacher_has_at_least_three_times_its_students_parameters():
    pairs = {pair for listed in LISTED.values() for pair in listed.pairs}
    with torch.device("meta"):
        sizes = {name: sum(p.numel() for p in create(name, 11).parameters()) for pair in pairs for name in pair}
    assert all(sizes[teacher] > 3 * sizes[student] for teacher, student in pairs)


def test_torchvisions_deeplab_shows_its_stages_pyramid_and_auxiliary_head():
    network = create("deeplabv3-resnet50", 4).train()
    with torch.no_grad(), Capture(network) as capture:
        answer, auxiliary = network(torch.randn(2, 3, 32, 32))
    assert list(capture.features()) == ["stage1", "stage2", "stage3", "stage4", "psp"]
    assert answer.shape == auxiliary.shape == (2, 4, 4, 4)
    assert all(network.get_submodule(path).out_channels == 4 for path in network.score_layers)  # type: ignore[union-attr]


def test_scaled_up_scores_are_those_of_torchvisions_own_forward_pass():
    from torch.nn import functional

    from kdarena.tracks.torchvision import import_torchvision

    ours = create("lraspp-mobilenetv3", 4).eval()
    theirs = import_torchvision().models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4).eval()
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = theirs(images)["out"]
        assert torch.allclose(functional.interpolate(ours(images), size=(64, 64), mode="bilinear", align_corners=False), expected, atol=1e-5)


def test_an_unknown_architecture_is_named():
    with pytest.raises(ValueError, match="'resnet'.*pspnet18"):
        create("resnet", 5)
