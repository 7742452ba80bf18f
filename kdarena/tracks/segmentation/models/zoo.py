"""torchvision's networks without their weights and without their resizing, so that scores are seen on the network's own grid."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from kdarena.tracks.segmentation.models.layers import Taps, dropout_before_classifier
from kdarena.tracks.torchvision import import_torchvision


def _built(name: str, **arguments: Any) -> nn.Module:
    network: nn.Module = getattr(import_torchvision().models.segmentation, name)(weights=None, weights_backbone=None, **arguments)
    return network


class DeepLabV3(nn.Module):
    """DeepLabV3 on a dilated ResNet (Chen et al. 2017, arXiv 1706.05587), output stride 8, with an auxiliary head on stage 3.

    Args:
        classes: channels of the score map.
        depth: 50 or 101, of the ResNet.
        dropout: of whole channels before the classifier.
    """

    taps: Taps = (
        ("stage1", "backbone.layer1"),
        ("stage2", "backbone.layer2"),
        ("stage3", "backbone.layer3"),
        ("stage4", "backbone.layer4"),
        ("psp", "classifier.0"),
    )
    score_layers = ("classifier.5", "auxiliary.4")

    def __init__(self, classes: int, depth: int, dropout: float = 0.0):
        super().__init__()
        built = _built(f"deeplabv3_resnet{depth}", num_classes=classes, aux_loss=True)
        self.backbone = built.backbone
        *before, scores = built.classifier.children()  # type: ignore[union-attr]
        self.classifier = nn.Sequential(*before, dropout_before_classifier(dropout), scores)
        self.auxiliary = built.aux_classifier

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images [B, 3, H, W] to scores [B, classes, H / 8, W / 8], and in train mode the auxiliary head's, else None."""
        maps: dict[str, Tensor] = self.backbone(x)  # type: ignore[operator]
        scores: Tensor = self.classifier(maps["out"])
        if not self.training:
            return scores, None
        auxiliary: Tensor = self.auxiliary(maps["aux"])  # type: ignore[operator]
        # as in PSPNet: without a loss of its own this head's gradient is zero, not missing
        return scores + 0 * auxiliary.mean(), auxiliary


class LRASPP(nn.Module):
    """LR-ASPP on MobileNetV3-Large (Howard et al. 2019, arXiv 1905.02244), scores on the grid of output stride 8.

    Args:
        classes: channels of the score map.
        dropout: of whole channels of the deep map before the classifier.
    """

    # the stages end where the published network halves its grid, or widens at the end
    taps: Taps = (("stage1", "backbone.1"), ("stage2", "backbone.3"), ("stage3", "backbone.6"), ("stage4", "backbone.16"))
    score_layers = ("classifier.high_classifier",)

    def __init__(self, classes: int, dropout: float = 0.0):
        super().__init__()
        built = _built("lraspp_mobilenet_v3_large", num_classes=classes)
        self.backbone = built.backbone
        self.dropout = dropout_before_classifier(dropout)
        self.classifier = built.classifier

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, 3, H, W] to scores [B, classes, H / 8, W / 8]."""
        maps: dict[str, Tensor] = self.backbone(x)  # type: ignore[operator]
        scores: Tensor = self.classifier({"low": maps["low"], "high": self.dropout(maps["high"])})  # type: ignore[operator]
        return scores
