"""Detectors over torchvision's networks, without torchvision's weights, anchors and post-processing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdarena.tracks.detection.models.head import Head, in_fp32
from kdarena.tracks.segmentation.models.layers import Taps, dropout_before_classifier
from kdarena.tracks.torchvision import import_torchvision

PYRAMID_TAPS: Taps = (("p3", "backbone.fpn.layer_blocks.0"), ("p4", "backbone.fpn.layer_blocks.1"), ("p5", "backbone.fpn.layer_blocks.2"))
CHANNELS = 128
"""Of the pyramid over MobileNetV3, ours; half of the paper's."""


def _detection() -> Any:
    return import_torchvision().models.detection


class FCOSResNet50(nn.Module):
    """torchvision's ``fcos_resnet50_fpn``: the paper's network with group norm, distances by relu, and centre-ness next to them.

    Its modules have torchvision's names, so its published weights can be loaded where their classes are those of the task; batch norm of the
    backbone is an ordinary one.

    Args:
        classes: C.
        dropout: of whole channels before the classifier.
    """

    taps: Taps = (*((f"stage{number}", f"backbone.body.layer{number}") for number in range(1, 5)), *PYRAMID_TAPS)

    def __init__(self, classes: int, dropout: float = 0.0):
        super().__init__()
        built = _detection().fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=classes)
        self.backbone = built.backbone
        self.head = built.head
        self.dropout = dropout_before_classifier(dropout)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, 3, H, W] to scores [B, C, P] and boxes [B, 5, P]."""
        maps: Sequence[Tensor] = list(self.backbone(images).values())  # type: ignore[operator]
        classes, regression = self.head.classification_head, self.head.regression_head
        scores, boxes = [], []
        for each in maps:
            scores.append(classes.cls_logits(self.dropout(classes.conv(each))).flatten(2))  # type: ignore[operator]
            tower = regression.conv(each)  # type: ignore[operator]
            distances = in_fp32(regression.bbox_reg, tower).relu()  # type: ignore[arg-type]
            boxes.append(torch.cat([distances, in_fp32(regression.bbox_ctrness, tower)], dim=1).flatten(2))  # type: ignore[arg-type]
        return torch.cat(scores, dim=2), torch.cat(boxes, dim=2)


class FCOSMobileNetV3(nn.Module):
    """FCOS on MobileNetV3-Large (Howard et al. 2019, arXiv 1905.02244) with a pyramid of half the paper's channels and two convolutions a tower.

    Args:
        classes: C.
        dropout: of whole channels before the classifier.
    """

    # the stages end before the published network halves its grid, the last at its end
    taps: Taps = (*((f"stage{number}", f"backbone.body.{layer}") for number, layer in enumerate((3, 6, 12, 16), start=1)), *PYRAMID_TAPS)

    def __init__(self, classes: int, dropout: float = 0.0):
        super().__init__()
        torchvision = import_torchvision()
        body = torchvision.models.mobilenet_v3_large(weights=None).features
        layers = {"6": "0", "12": "1", "16": "2"}
        widths = [body[int(number)].out_channels for number in layers]
        extra = torchvision.ops.feature_pyramid_network.LastLevelP6P7(CHANNELS, CHANNELS)
        self.backbone = torchvision.models.detection.backbone_utils.BackboneWithFPN(body, layers, widths, CHANNELS, extra_blocks=extra)
        self.detector = Head(CHANNELS, classes, levels=5, depth=2, groups=32, dropout=dropout)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, 3, H, W] to scores [B, C, P] and boxes [B, 5, P]."""
        answer: tuple[Tensor, Tensor] = self.detector(list(self.backbone(images).values()))
        return answer
