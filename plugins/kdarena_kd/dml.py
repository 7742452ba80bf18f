"""DML: deep mutual learning, K students that teach each other from scratch.

Zhang, Xiang, Hospedales, Lu: "Deep Mutual Learning", CVPR 2018, https://arxiv.org/abs/1706.00384

z_k: logits of network k [P, C], p_k = softmax(z_k / T); the paper has T = 1.

    L_k = CE(y, z_k) + w · 1/(K−1) Σ_{j≠k} T² · KL(sg p_j ‖ p_k)

sg: the peer is a target, so that L_k trains network k alone. Network 0 is deployed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from kdarena import ROWS, Float, Int, Learner, Method, Paper, Params, hookimpl, losses, no_teachers

if TYPE_CHECKING:
    from torch import Tensor

    from kdarena import Run, Step, TaskCard


@dataclass(frozen=True)
class DMLParams(Params):
    """Number of networks, and weight and temperature of what they tell each other."""

    networks: int = Int(2, 2, 5, source="paper", cost=True, help="K, networks that learn together, the student among them")
    w: float = Float(1.0, 0.1, 10.0, log=True, source="paper", help="weight of the peers' mean term")
    temperature: float = Float(1.0, 1.0, 8.0, log=True, source="paper", help="T, softens the distributions that are matched")


def applies(card: TaskCard, params: DMLParams) -> str | None:
    """Why it can't run on a task with these parameters, or None."""
    if params.networks < 2:
        return f"networks={params.networks}: there is no peer to learn from"
    if reason := losses.refuse_temperature(params.temperature):
        return reason
    return "its networks would all start from the teacher's weights, as one" if card.start else None


class DML:
    """Each network matches the labels and the mean of its peers' distributions in KL."""

    method = Method(
        name="dml",
        title="deep mutual learning of K students without a teacher",
        paper=Paper("Deep Mutual Learning", "CVPR", 2018, "https://arxiv.org/abs/1706.00384"),
        equations="L_k = CE(y, z_k) + w 1/(K-1) sum_{j != k} T^2 KL(sg p_j || p_k)",
        extended=ROWS,
        Params=DMLParams,
        teachers=no_teachers,
        applies=applies,
    )

    @hookimpl
    def build_student(self, params: DMLParams, run: Run) -> Learner:
        """The student and K − 1 peers of its architecture, each from a seed of its own."""
        peers = {f"peer{k}": run.new_student(peer=k) for k in range(1, params.networks)}
        return Learner(run.new_student(), helpers=dict(peers))

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """Σ_k L_k: no two L_k share a parameter, so that one backward pass serves all."""
        params = cast(DMLParams, step.params)
        networks = step.learner.modules()
        outputs = [step.forward(network) for network in networks]
        rows = [step.task.rows(output) for output in outputs]
        terms: dict[str, Tensor] = {}
        for k, (z_k, mask) in enumerate(rows):
            terms[f"ce{k}"] = step.task.loss(outputs[k], step.targets)
            for j, (z_j, _) in enumerate(rows):
                if j != k:
                    terms[f"kl{j}to{k}"] = params.w / (len(rows) - 1) * losses.kl(z_j.detach(), z_k, params.temperature, mask)
        return terms
