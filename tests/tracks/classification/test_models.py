"""Architectures: sizes and names of the public benchmark, taps that hold what they promise."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from kdarena.tracks.capture import Capture
from kdarena.tracks.classification.models import ARCHITECTURES, create

PARAMETERS = {
    "msdnet": 3_067_960,
    "resnet8": 83_892,
    "resnet14": 181_108,
    "resnet20": 278_324,
    "resnet32": 472_756,
    "resnet44": 667_188,
    "resnet56": 861_620,
    "resnet110": 1_736_564,
    "resnet8x4": 1_233_540,
    "resnet32x4": 7_433_860,
    "resnet50": 23_705_252,
    "wrn-16-1": 180_916,
    "wrn-16-2": 703_284,
    "wrn-40-1": 569_780,
    "wrn-40-2": 2_255_156,
    "vgg8": 3_965_028,
    "vgg11": 9_277_284,
    "vgg13": 9_462_180,
    "vgg16": 14_774_436,
    "vgg19": 20_086_692,
    "mobilenetv2": 812_836,
    "shufflenetv1": 949_258,
    "shufflenetv2": 1_355_528,
}
"""With 100 classes: counted in the public benchmark's own models (RepDistiller), whose weights load into ours and give the same logits."""

LAYOUT = {
    "resnet20": ("conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer2.0.downsample.0.weight", "layer3.2.bn2.bias", "fc.weight"),
    "resnet50": ("conv1.weight", "layer1.0.shortcut.0.weight", "layer1.0.shortcut.1.running_var", "layer4.2.conv3.weight", "linear.bias"),
    "wrn-16-2": ("conv1.weight", "block1.layer.0.bn1.weight", "block1.layer.0.convShortcut.weight", "block3.layer.1.conv2.weight", "bn1.bias", "fc.bias"),
    "vgg13": ("block0.0.weight", "block0.0.bias", "block0.1.running_mean", "block0.3.weight", "block4.4.weight", "classifier.weight"),
    "mobilenetv2": ("conv1.0.weight", "blocks.0.0.conv.0.weight", "blocks.6.0.conv.7.bias", "conv2.1.weight", "classifier.0.weight"),
    "shufflenetv1": ("conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer3.3.bn3.bias", "linear.weight"),
    "shufflenetv2": ("conv1.weight", "layer1.0.conv5.weight", "layer1.3.conv3.weight", "conv2.weight", "bn2.bias", "linear.weight"),
}

GRIDS = {
    "resnet20": [(16, 32, 32), (32, 16, 16), (64, 8, 8)],
    "resnet8x4": [(64, 32, 32), (128, 16, 16), (256, 8, 8)],
    "resnet50": [(256, 32, 32), (512, 16, 16), (1024, 8, 8), (2048, 4, 4)],
    "wrn-16-2": [(32, 32, 32), (64, 16, 16), (128, 8, 8)],
    "vgg8": [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 4, 4)],
    "mobilenetv2": [(12, 16, 16), (16, 8, 8), (48, 4, 4), (160, 2, 2)],
    "shufflenetv1": [(240, 16, 16), (480, 8, 8), (960, 4, 4)],
    "shufflenetv2": [(116, 16, 16), (232, 8, 8), (464, 4, 4)],
}
SMALL = ["digits-student", "digits-teacher", "resnet8", "resnet50", "wrn-16-1", "vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2"]


def network(name: str, classes: int = 10) -> nn.Module:
    torch.manual_seed(0)
    return create(name, classes, in_channels=1 if name.startswith("digits") else 3)


def images(name: str, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8) if name.startswith("digits") else torch.randn(count, 3, 32, 32)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_as_many_as_in_the_public_benchmark(name: str):
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in create(name, 100).parameters()) == PARAMETERS[name]


def test_every_architecture_but_the_digits_has_its_size_asserted():
    assert {name for name in ARCHITECTURES if not name.startswith("digits")} == set(PARAMETERS)


@pytest.mark.parametrize("name", LAYOUT)
def test_tensors_are_named_as_in_public_checkpoints(name: str):
    with torch.device("meta"):
        assert set(LAYOUT[name]) <= set(create(name, 100).state_dict())


@pytest.mark.parametrize("name", GRIDS)
def test_taps_are_the_stages_of_the_paper(name: str):
    built = network(name).eval()
    with torch.no_grad(), Capture(built) as capture:
        built(images(name))
    features = capture.features()
    assert list(features) == [f"stage{number}" for number in range(1, len(GRIDS[name]) + 1)]
    assert [tuple(feature.shape[1:]) for feature in features.values()] == GRIDS[name]


def test_student_and_teacher_of_digits_have_last_maps_on_one_grid_of_positions():
    shapes = []
    for name in ("digits-student", "digits-teacher"):
        built = network(name)
        with Capture(built) as capture:
            built(images(name))
        shapes.append(tuple(list(capture.features().values())[-1].shape[2:]))
    assert shapes == [(4, 4), (4, 4)]


@pytest.mark.parametrize("name", SMALL)
def test_nothing_after_a_tap_overwrites_what_it_holds(name: str):
    """In-place activations run before a tap, never on it: each map has the values that it had when its stage ended."""
    built = network(name).train()
    at_the_time: dict[str, torch.Tensor] = {}
    for stage, path in built.taps:
        built.get_submodule(path).register_forward_hook(lambda _, __, output, stage=stage: at_the_time.__setitem__(stage, output.detach().clone()))
    with Capture(built) as capture:
        built(images(name))
    for stage, feature in capture.features().items():
        assert torch.equal(feature, at_the_time[stage]), stage


@pytest.mark.parametrize("name", [name for name in SMALL if name != "mobilenetv2"])
def test_taps_come_after_the_last_activation_of_their_stage(name: str):
    built = network(name).train()
    with Capture(built) as capture:
        built(images(name))
    assert all(float(feature.detach().min()) >= 0 for feature in capture.features().values())


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_every_parameter_and_every_tap(name: str):
    built = network(name).train()
    with Capture(built) as capture:
        logits = built(images(name, 4))
    features = list(capture.features().values())
    found = torch.autograd.grad(functional.cross_entropy(logits, torch.arange(4)), [*features, *built.parameters()], allow_unused=True)
    assert all(gradient is not None for gradient in found)


@pytest.mark.parametrize("name", ["digits-student", "resnet8", "resnet50", "wrn-16-1", "vgg8", "shufflenetv1"])
def test_the_embedding_is_the_pooled_last_map_where_the_paper_says_so(name: str):
    built = network(name).eval()
    with torch.no_grad(), Capture(built) as capture:
        logits = built(images(name))
    embedding = capture.embedding()
    assert embedding is not None
    torch.testing.assert_close(embedding, list(capture.features().values())[-1].mean(dim=(2, 3)))
    torch.testing.assert_close(built.get_submodule(built.head)(embedding), logits)


def test_a_wide_residual_network_is_tapped_after_batch_norm_and_relu():
    built = network("wrn-16-1").eval()
    sums: list[torch.Tensor] = []
    for path in ("block1", "block2", "block3"):
        built.get_submodule(path).register_forward_hook(lambda _, __, output: sums.append(output))
    with torch.no_grad(), Capture(built) as capture:
        built(images("wrn-16-1"))
    norms = [built.get_submodule(path) for path in ("block2.layer.0.bn1", "block3.layer.0.bn1", "bn1")]
    for feature, total, norm in zip(capture.features().values(), sums, norms, strict=True):
        torch.testing.assert_close(feature, functional.relu(norm(total)))


def test_a_copied_network_is_captured_like_the_original_and_without_it():
    original = network("resnet8").eval()
    with Capture(original):
        original(images("resnet8"))
    copied = copy.deepcopy(original)
    with torch.no_grad():
        next(copied.parameters()).mul_(2)
        x = images("resnet8")
        with Capture(original) as first:
            original(x)
        with Capture(copied) as second:
            copied(x)
    assert list(second.features()) == list(first.features())
    assert not torch.equal(first.features()["stage1"], second.features()["stage1"])


def test_a_network_run_outside_a_capture_keeps_nothing():
    built = network("resnet8")
    with Capture(built) as capture:
        pass
    built(images("resnet8"))
    assert not capture.features() and capture.embedding() is None


@pytest.mark.parametrize("name", [name for name in SMALL if ARCHITECTURES[name].dropout])
def test_dropout_changes_no_weights_and_works_only_while_its_modules_train(name: str):
    torch.manual_seed(0)
    dropped = create(name, 10, dropout=0.5, in_channels=1 if name.startswith("digits") else 3).eval()
    plain = network(name).eval()
    assert list(dropped.state_dict()) == list(plain.state_dict())
    x = images(name)
    with torch.no_grad():
        assert torch.equal(dropped(x), plain(x))
        for module in dropped.modules():
            if isinstance(module, nn.Dropout):
                module.train()
        assert not torch.equal(dropped(x), dropped(x))


@pytest.mark.parametrize("name", ["vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2"])
def test_dropout_where_there_are_no_blocks_for_it_is_refused(name: str):
    with pytest.raises(ValueError, match=f"architecture '{name}' has no dropout; these have: .*resnet20"):
        create(name, 10, dropout=0.1)


def test_an_unknown_architecture_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown architecture 'resnet21'; known: .*resnet20.*wrn-16-2") as caught:
        create("resnet21", 10)
    assert "\n" not in str(caught.value)


def test_names_are_listed_without_torch():
    code = "import sys; from kdarena.tracks.classification import cards; cards.cards(); assert not {'torch', 'numpy', 'sklearn'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
