"""Parameters of KSANC, and the tasks and values that it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdarena import Choice, Float, Int, Params

if TYPE_CHECKING:
    from kdarena import TaskCard


@dataclass(frozen=True)
class KSANCParams(Params):
    """Weights, the critic and its regularisers, and how attention is read and pooled."""

    lambda1: float = Float(1.0, 0.01, 10.0, log=True, source="ours", help="weight of L_b, the logits")
    lambda2: float = Float(0.1, 0.001, 1.0, log=True, source="ours", help="weight of L_adv")
    lambda3: float = Float(1.0, 0.01, 1000.0, log=True, source="ours", help="weight of L_is; 1 belongs to pool=sum")
    mu1: float = Float(1e-4, 1e-5, 0.1, log=True, source="ours", help="of |w_D|_1")
    mu2: float = Float(1e-4, 1e-5, 0.1, log=True, source="ours", help="of the square of w_D")
    mu3: float = Float(1e-2, 1e-5, 0.1, log=True, source="ours", help="of the student's samples that D is rewarded to take for the teacher's")
    lr_d: float = Float(1e-3, 1e-4, 1e-2, log=True, source="ours", help="of Adam on the critic")
    clip: float = Float(1.0, 0.1, 10.0, log=True, source="ours", help="largest gradient norm of student and estimators: squared errors have no bound")
    width: int = Int(128, 64, 256, log=True, source="ours", cost=True, help="of the critic's hidden layers")
    critic_steps: int = Int(1, 1, 3, source="ours", cost=True, help="of the critic, for each of the student")
    dimension: int = Int(128, 32, 256, log=True, source="paper", cost=True, help="of the global descriptor g^b")
    share: float = Float(0.1, 0.02, 0.3, source="ours", cost=True, help="of the budget that trains the teacher's estimators")
    attend: str = Choice("sum", ("sum", "map"), source="paper", cost=True, help="what attention weights: L + g (equation) or L (figure)")
    pool: str = Choice("sum", ("sum", "avg"), source="ours", cost=True, help="of the weighted map: sum, or avg as printed, which makes L_is tiny")
    generator: str = Choice(
        "non-saturating", ("non-saturating", "saturating"), source="ours", help="student's side of D: -log D(l_S), or log(1 - D(l_S)) as printed"
    )
    student_class_sign: int = Choice(1, (1, -1), source="ours", help="of CE(C(l_S), y) in J_S; -1 is the literal min over S")


def applies(card: TaskCard, params: KSANCParams) -> str | None:
    """Why it can't run on a task, or None."""
    if params.critic_steps < 1:
        return f"it needs a step of the critic at least, not {params.critic_steps}"
    if min(params.width, params.dimension) < 1:
        return f"it needs hidden layers and a descriptor of at least one entry, not width={params.width}, dimension={params.dimension}"
    if params.clip <= 0 or params.lr_d <= 0:
        return f"the largest gradient norm and the critic's learning rate have to be positive, not clip={params.clip:g}, lr_d={params.lr_d:g}"
    for name in ("lambda1", "lambda2", "lambda3", "mu1", "mu2", "mu3"):
        if getattr(params, name) < 0:
            return f"it needs weights of 0 or more, not {name}={getattr(params, name):g}"
    if not 0 < params.share < 1:
        return f"both of its phases need a share of the budget: share={params.share:g} is not between 0 and 1"
    if card.recipe.batch_size < 2:
        return f"its critic's batch norm needs batches of two samples at least, not {card.recipe.batch_size}"
    return None if card.feature_maps else "its networks have no feature maps [B, C, H, W] to squeeze"
