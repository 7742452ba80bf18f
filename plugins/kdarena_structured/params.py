"""The parameters of the three rows, each with those of the one before (symbols: ``method.py``)."""

from dataclasses import dataclass

from kdarena import Choice, Flag, Float, Int, Params
from kdarena_structured.critic import NARROWEST


@dataclass(frozen=True)
class PixelParams(Params):
    """Of the pixel-wise loss."""

    lambda_pi: float = Float(
        10.0, 0.5, 100.0, least=0, log=True, source="recalled", help="weight of l_pi, a mean over the batch (the code's 10, of a sum over 8 images, is 80)"
    )
    target: str = Choice("teacher", ("teacher", "student"), source="code", help="first argument of KL: the teacher's q (code), or the student's as printed")
    places: str = Choice(
        "weighted",
        ("weighted", "all"),
        source="ours",
        tune=False,
        help="of a detector: a place counts by the teacher's largest score there, or all count alike",
    )


@dataclass(frozen=True)
class PairParams(PixelParams):
    """In addition of the pair-wise loss."""

    lambda_pa: float = Float(0.5, 0.1, 20.0, least=0, log=True, source="code", help="weight of l_pa")
    pool: str = Choice("avg", ("avg", "max"), source="recalled", help="how the pixels of a patch become a node")
    patch: int = Int(2, 1, 32, least=1, log=True, cost=True, source="recalled", help="side of a patch; beta is its square")
    alpha: int = Int(
        0, 0, 256, least=0, cost=True, tune=False, source="recalled", help="connections of a node: to itself and the nearest on the grid; 0: to all"
    )
    norm: str = Choice("cosine", ("cosine", "detached"), source="paper", help="gradient through the norms of f, or not (code)")
    levels: str = Choice(
        "all", ("all", "finest"), source="ours", cost=True, tune=False, help="of a detector: levels of the pyramid that are compared, and that the critic sees"
    )

    def conflict(self) -> str | None:
        """``alpha=1`` connects a node to itself alone, whose similarity is always 1."""
        return "alpha: 1 is not possible; a node is connected to itself and at least one other (2 and more), or to all (0)" if self.alpha == 1 else None


@dataclass(frozen=True)
class StructuredParams(PairParams):
    """In addition of the holistic loss."""

    lambda_d: float = Float(0.1, 1e-3, 1.0, least=0, log=True, source="code", help="weight of the critic, on its own turn and on the student's")
    lambda_gp: float = Float(10.0, 1.0, 100.0, least=0, log=True, source="code", help="of the gradient penalty, within lambda_d")
    lr_d: float = Float(4e-4, 1e-4, 1e-3, above=0, log=True, source="code", help="of the critic's optimiser")
    optimizer_d: str = Choice("sgd", ("sgd", "adam"), source="code", help="SGD with momentum 0.9, or Adam with betas 0.9 and 0.99")
    adversarial: str = Choice("wgan-gp", ("wgan-gp", "hinge"), source="paper", cost=True, help="the critic's loss")
    condition: bool = Flag(True, source="paper", cost=True, help="whether the critic sees the image")
    scores: str = Choice("logits", ("logits", "softmax"), source="code", help="what the critic sees of a score map")
    width: int = Int(
        64,
        NARROWEST,
        128,
        least=NARROWEST,
        log=True,
        cost=True,
        source="code",
        help="channels of the critic's first convolution on maps of 64 and more, fewer on smaller ones",
    )
