"""OKDDip: online knowledge distillation with diverse peers and a group leader.

Chen, Mei, Wang, Feng, Chen: "Online Knowledge Distillation with Diverse Peers", AAAI 2020, https://arxiv.org/abs/1912.00350

m students of one architecture: peers a = 1 … m − 1 and a leader. h_a: embedding [B, d]; z_a: logits [P, C]; q′_a = softmax(z_a / T).

    α_ab = exp(L(h_a)ᵀ E(h_b)) / Σ_f exp(L(h_a)ᵀ E(h_f))       L, E linear, shared; self included, the leader not
    t_a = softmax(Σ_b α_ab z_b / T)                              (mix=prob: Σ_b α_ab q′_b)
    L_dis1 = Σ_a KL(t_a, q′_a)                                   peers learn from peers
    t_m = softmax(mean_b z_b / T)                                (mix=prob: mean_b q′_b);  L_dis2 = KL(t_m, q′_m)
    L = Σ_{a=1..m} CE(y, z_a) + r · w · T² · (L_dis1 + L_dis2)   r rises from e⁻⁵ to 1 over the first part of a run (ramp_up=0: it is 1)

The paper prints mix=prob and no ramp-up r. The public code mixes logits and has r; both are the defaults, because the published
results come from that code. No target is detached, as in the code; the paper prints nothing about it. L and E learn through the
targets alone.

The leader is the student and alone is deployed; peers, L and E are thrown away. Rows: ``okddip``, m whole networks;
``okddip-branch``, m last stages and heads on one stem.

Where a sample has several rows of logits (pixels), all have its α; where its network shows no embedding, h_a is the
mean of its last map over the positions, as an embedding before a linear layer is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from kdarena import Choice, Float, Int, Learner, Method, NotApplicable, Outputs, Paper, Params, hookimpl, losses, no_teachers
from kdarena_okddip.peers import PeerAttention, PeerBranches, PeerNetworks, diversity, mixed

if TYPE_CHECKING:
    from kdarena import Evaluation, Run, Step, Task, TaskCard

PAPER = Paper("Online Knowledge Distillation with Diverse Peers", "AAAI", 2020, "https://arxiv.org/abs/1912.00350")
EQUATIONS = (
    "L = sum_a CE(y, z_a) + r w T^2 (sum_a KL(t_a, q'_a) + KL(t_m, q'_m)); "
    "mix=logit (default, the code's): t_a = softmax(sum_b alpha_ab z_b / T), t_m = softmax(mean_b z_b / T); "
    "mix=prob (as printed): t_a = sum_b alpha_ab q'_b, t_m = mean_b q'_b; "
    "the ramp-up r is the code's, ramp_up=0 as printed"
)
EXTENDED = {
    "segmentation": "each pixel of the score map is a row of logits; alpha is one an image",
    "text": "each sequence is a row of logits",
}
EXCLUDED = {"speech": "a token has no embedding, and all students start from the teacher's weights"}
UNCUT = "its students can't be cut into a stem and last stages"


@dataclass(frozen=True)
class OKDDipParams(Params):
    """The group, its attention, and what its members tell each other."""

    students: int = Int(4, 3, 6, source="code", cost=True, help="m, students, the leader among them")
    temperature: float = Float(3.0, 1.0, 6.0, source="code", help="T, softens the distributions that are matched")
    w: float = Float(1.0, 0.1, 5.0, log=True, source="code", help="weight of both distillation terms (the code's alpha)")
    ramp_up: float = Float(80 / 300, 0.0, 0.4, source="code", help="share of a run over which their weight rises to 1 (code); 0: it is 1 (paper)")
    factor: int = Int(8, 2, 16, log=True, source="code", cost=True, help="by which the attention's projections narrow an embedding")
    mix: str = Choice("logit", ("logit", "prob"), source="code", help="what targets are mixed of: logits (code) or probabilities (paper)")
    detach: str = Choice("none", ("none", "logits_only", "all"), source="code", help="of the targets: nothing, the peers' logits, or the attention too")


def embedding(outputs: Outputs) -> Tensor:
    """h_a [B, d]: what the last linear layer sees, else the mean of the last map over its positions."""
    return outputs.feature_map.mean(dim=(2, 3)) if outputs.embedding is None else outputs.embedding


class OKDDip:
    """Each peer learns from its own mixture of all peers, the leader from their mean."""

    def __init__(self, name: str, branches: bool):
        self.branches = branches
        members = "branches on one stem" if branches else "whole networks"
        self.method = Method(
            name=name,
            title=f"online distillation with diverse peers and a group leader, {members}",
            paper=PAPER,
            equations=EQUATIONS,
            extended={} if branches else EXTENDED,
            excluded=dict.fromkeys(("segmentation", "text", "speech"), UNCUT) if branches else EXCLUDED,
            Params=OKDDipParams,
            teachers=no_teachers,
            applies=self.applies,
        )

    def applies(self, card: TaskCard, params: OKDDipParams) -> str | None:
        """Why it can't run on a task with these parameters, or None."""
        if params.students < 2:
            return f"it needs a leader and at least one peer, two students, not {params.students}"
        if params.factor < 1:
            return f"its attention narrows embeddings by a factor of at least 1, not {params.factor}"
        if reason := losses.refuse_temperature(params.temperature):
            return reason
        if self.branches and not card.branches:
            return f"it needs a student that can be cut behind its last stage but one; {card.student} can't"
        return None

    @hookimpl
    def build_student(self, task: Task, params: OKDDipParams, run: Run) -> Learner:
        """The leader, m − 1 peers, each from a seed of its own, and the attention."""
        leader = run.new_student()
        shapes = task.shapes(leader)
        if shapes.embedding is None and not shapes.features:
            raise NotApplicable("it needs the embedding before the last linear layer, or a feature map, and the student shows neither")
        dimension = (shapes.embedding or shapes.feature_map)[0]
        whole = {f"peer{a}": run.new_student(peer=a) for a in range(1, params.students)}
        peers: dict[str, nn.Module] = dict(whole)
        if self.branches:
            stage = run.store["stage"] = list(shapes.features)[-2]
            peers = {name: task.branch(network, after=stage) for name, network in whole.items()}
            together: nn.Module = PeerBranches(task.forward, leader, stage, list(peers.values()))
        else:
            together = PeerNetworks(task.forward, list(peers.values()))
        attention = PeerAttention(dimension, params.factor).to(task.device)

        def report(evaluation: Evaluation) -> Mapping[str, float]:
            probabilities = torch.stack(evaluation.outputs(together).exits, dim=1).softmax(dim=2)
            return {"diversity": diversity(probabilities)}

        # with a single peer α is 1 whatever the projections are, and they would get no gradient
        helpers = {**peers, **({"attention": attention} if params.students > 2 and params.detach != "all" else {})}
        run.store["attention"] = attention
        return Learner(leader, helpers, deploy={"ensemble": together}, report=report)

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE of all students; KL of each peer to its mixture, and of the leader to the mean."""
        params = cast(OKDDipParams, step.params)
        peers = self._peers(step)
        z_m, mask = step.task.rows(step.student)
        terms = {"ce_leader": step.task.loss(step.student, step.targets)}
        for a, peer in enumerate(peers, start=1):
            terms[f"ce{a}"] = step.task.loss(peer, step.targets)
        z = torch.stack([step.task.rows(peer)[0] for peer in peers], dim=1)
        h = torch.stack([embedding(peer) for peer in peers], dim=1)
        known = z if params.detach == "none" else z.detach()
        # the rows of a sample stand together, and share its attention
        alpha = step.apply(step.run.store["attention"], h).repeat_interleave(len(z) // len(h), dim=0)
        uniform = torch.full_like(alpha[:1, :1], 1 / len(peers))
        t = mixed(alpha.detach() if params.detach == "all" else alpha, known, params.temperature, params.mix)
        t_m = mixed(uniform, known, params.temperature, params.mix).squeeze(1)
        weight = losses.ramp_up(step.run_progress, params.ramp_up) * params.w
        # KL is a mean over rows, here samples and peers; the sum over peers is m − 1 times that
        of_peers = None if mask is None else mask.repeat_interleave(len(peers))
        terms["dis1"] = weight * len(peers) * losses.kl(t.flatten(0, 1), z.flatten(0, 1), params.temperature, of_peers)
        terms["dis2"] = weight * losses.kl(t_m, z_m, params.temperature, mask)
        return terms

    def _peers(self, step: Step) -> list[Outputs]:
        """Logits z_a and embedding h_a of every peer."""
        peers = [helper for name, helper in step.learner.helpers.items() if name != "attention"]
        if not self.branches:
            return [step.forward(peer) for peer in peers]
        stem = step.student.features[step.run.store["stage"]]
        embeddings = [step.apply(peer, stem) for peer in peers]
        return [Outputs(step.apply(cast(nn.Module, peer.head), h_a), embedding=h_a) for peer, h_a in zip(peers, embeddings, strict=True)]
