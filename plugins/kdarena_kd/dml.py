"""DML: deep mutual learning, K students that teach each other from scratch.

Zhang, Xiang, Hospedales, Lu: "Deep Mutual Learning", CVPR 2018, https://arxiv.org/abs/1706.00384

z_k: logits of network k [P, C], p_k = softmax(z_k / T); the paper has T = 1.

    L_k = CE(y, z_k) + w · 1/(K−1) Σ_{j≠k} T² · KL(sg p_j ‖ p_k)

sg: the peer is a target, so that L_k trains network k alone. Network 0 is deployed.
"""

from dataclasses import dataclass

from torch import Tensor

from kdarena import ROWS, Float, Int, Learner, Method, Paper, Params, Run, Step, Terms, hookimpl, losses, no_teachers


@dataclass(frozen=True)
class DMLParams(Params):
    """Number of networks, and weight and temperature of the term between them."""

    networks: int = Int(2, 2, 5, least=2, source="paper", cost=True, help="K, networks that learn together, the student among them")
    w: float = Float(1.0, 0.1, 10.0, least=0, log=True, source="paper", help="weight of the peers' mean term")
    temperature: float = Float(1.0, 1.0, 8.0, above=0, log=True, source="paper", help="T, softens the distributions that are matched")


method = Method(
    "dml",
    "deep mutual learning of K students without a teacher",
    Paper("Deep Mutual Learning", "CVPR", 2018, "https://arxiv.org/abs/1706.00384"),
    extended=ROWS,
    Params=DMLParams,
    requires=("class scores", "students that start afresh"),
    teachers=no_teachers,
)


@hookimpl
def build_student(params: DMLParams, run: Run) -> Learner:
    """The student and K − 1 peers of its architecture, each from a seed of its own."""
    return Learner(run.new_student(), helpers={f"peer{k}": run.new_student(peer=k) for k in range(1, params.networks)})


@hookimpl
def loss(step: Step, params: DMLParams) -> Terms:
    """Σ_k L_k: no two L_k share a parameter, so that one backward pass serves all."""
    outputs = [step.forward(network) for network in step.learner.modules()]
    rows = [step.task.rows(output) for output in outputs]
    terms: dict[str, Tensor] = {}
    for k, (z_k, _) in enumerate(rows):
        terms[f"ce{k}"] = step.task.loss(outputs[k], step.targets)
        for j, (z_j, mask) in enumerate(rows):
            if j != k:
                terms[f"kl{j}to{k}"] = params.w / (len(rows) - 1) * losses.kl(z_j.detach(), z_k, params.temperature, mask)
    return terms
