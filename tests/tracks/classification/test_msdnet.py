"""MSDNet: sizes and operations of public code, exits in order, taps on the coarsest maps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kdarena.tracks.capture import Capture
from kdarena.tracks.classification.models.msdnet import MSDNet

PUBLIC = {
    "cifar100-anytime": (
        {"classes": 100},
        3_067_960,
        [433_876, 876_792, 1_274_952, 1_695_548, 2_178_352, 2_603_252, 3_067_960],
        [29_934_592, 50_518_016, 73_561_088, 91_944_960, 113_867_776, 133_058_560, 150_975_488],
    ),
    "cifar10-ten-blocks": (
        {"classes": 10, "blocks": 10},
        4_839_544,
        [422_266, 853_572, 1_346_798, 1_781_396, 2_221_486, 2_723_784, 3_288_290, 3_772_068, 4_273_550, 4_839_544],
        [29_911_552, 50_471_936, 74_866_176, 103_243_776, 123_374_080, 147_043_328, 174_251_520, 198_782_976, 218_888_704, 241_943_552],
    ),
    "narrow": (
        {"classes": 10, "blocks": 3, "base": 3, "step": 1, "channels": 8, "growth": 12},
        1_062_206,
        [385_986, 742_044, 1_062_206],
        [36_858_368, 54_543_360, 68_607_488],
    ),
}
"""Parameters, and by exit parameters and operations (two a multiplication with addition, 32 x 32), all earlier exits included.

Counted in kalviny/MSDNet-PyTorch at f654595, whose weights load into ours and give the same logits at every exit, bit by bit.
"""


def small(**changes: int) -> MSDNet:
    torch.manual_seed(0)
    return MSDNet(**{"classes": 10, "in_channels": 1, "blocks": 3, "base": 3, "step": 1, "channels": 4, "growth": 2, **changes})


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", PUBLIC)
def test_parameters_are_as_many_as_in_public_code_at_every_exit(name: str):
    options, total, by_exit, _ = PUBLIC[name]
    with torch.device("meta"):
        network = MSDNet(**options)
    assert parameters(network) == total
    assert [parameters(network.blocks[:exits]) + parameters(network.classifiers[:exits]) for exits in range(1, len(by_exit) + 1)] == by_exit


@pytest.mark.parametrize("name", PUBLIC)
def test_operations_up_to_each_exit_are_those_of_public_code(name: str):
    options, _, _, by_exit = PUBLIC[name]
    counted: list[int] = []
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = MSDNet(**options).eval()
        for classifier in network.classifiers:
            classifier.register_forward_hook(lambda *_: counted.append(counter.get_total_flops()))
        network(torch.zeros(1, 3, 32, 32))
    assert counted == by_exit


@pytest.mark.parametrize("side", [8, 16, 32])
def test_it_answers_with_the_last_logits_the_earlier_exits_and_their_embeddings(side: int):
    logits, exits, embeddings = small()(torch.randn(2, 1, side, side))
    assert logits.shape == (2, 10)
    assert [one.shape for one in exits] == [(2, 10), (2, 10)]
    assert [one.shape for one in embeddings] == [(2, 128), (2, 128)]


def test_it_says_how_many_earlier_exits_it_has():
    assert [small(blocks=blocks).exits for blocks in (1, 3, 5)] == [0, 2, 4]


def test_embeddings_are_what_each_exits_linear_layer_sees():
    network = small().eval()
    _, exits, embeddings = network(torch.randn(2, 1, 8, 8))
    for classifier, embedding, one in zip(network.classifiers, embeddings, exits, strict=False):
        torch.testing.assert_close(classifier.linear(embedding), one)
    with Capture(network) as capture:
        network(torch.randn(2, 1, 8, 8))
    assert capture.embedding().shape == (2, 128)


def test_stopping_at_an_exit_gives_what_the_whole_network_says_there():
    network = small().eval()
    images = torch.randn(2, 1, 8, 8)
    _, exits, embeddings = network(images)
    first, none, nothing = network(images, until=1)
    second, before, seen = network(images, until=2)
    assert (none, nothing) == ((), ())
    assert torch.equal(first, exits[0])
    assert torch.equal(second, exits[1])
    assert torch.equal(before[0], exits[0])
    assert torch.equal(seen[0], embeddings[0])


def test_an_exit_hears_of_its_own_block_and_those_before_it_alone():
    network = small()
    _, exits, _ = network(torch.randn(4, 1, 8, 8))
    named = dict(network.named_parameters())
    gradients = torch.autograd.grad(exits[1].sum(), list(named.values()), allow_unused=True)
    reached = {".".join(name.split(".")[:2]) for name, gradient in zip(named, gradients, strict=True) if gradient is not None}
    assert reached == {"blocks.0", "blocks.1", "classifiers.1"}


def test_every_parameter_serves_some_exit():
    network = small()
    logits, exits, _ = network(torch.randn(4, 1, 8, 8))
    gradients = torch.autograd.grad(logits.sum() + sum(one.sum() for one in exits), list(network.parameters()), allow_unused=True)
    assert sum(gradient is None for gradient in gradients) == 0


def test_a_depth_whose_last_layer_would_keep_a_scale_for_nobody_is_refused():
    with pytest.raises(ValueError, match="4 layers can't be cut into 3 parts of 2"):
        small(base=2)


def test_taps_are_the_coarsest_maps_that_the_exits_see():
    network = small().eval()
    seen: list[torch.Tensor] = []
    for classifier in network.classifiers:
        classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with Capture(network) as capture:
        network(torch.randn(2, 1, 8, 8))
    features = capture.features()
    assert list(features) == ["stage1", "stage2", "stage3"]
    assert all(torch.equal(feature, one) for feature, one in zip(features.values(), seen, strict=True))
    assert {tuple(feature.shape[2:]) for feature in features.values()} == {(2, 2)}


def test_the_coarsest_map_grows_by_each_layer_and_is_halved_where_a_scale_is_dropped():
    network = MSDNet(100)
    with torch.no_grad(), Capture(network) as capture:
        network(torch.randn(2, 3, 32, 32))
    channels, expected, depth = 16, [], 0
    for layers in (4, 2, 2, 2, 2, 2, 2):
        for _ in range(layers):
            channels += 6
            # 16 layers in three parts of 6: the 7th and the 13th drop a scale
            channels = channels // 2 if depth in (6, 12) else channels
            depth += 1
        expected.append((4 * channels, 8, 8))
    assert [tuple(feature.shape[1:]) for feature in capture.features().values()] == expected


def test_convolutions_start_by_fan_out():
    weight = MSDNet(100).classifiers[0].units[1][0].weight
    assert float(weight.detach().std()) == pytest.approx(math.sqrt(2 / (9 * 128)), rel=0.02)
