"""OKDDip: online knowledge distillation with diverse peers and a group leader.

Chen, Mei, Wang, Feng, Chen: "Online Knowledge Distillation with Diverse Peers", AAAI 2020, https://arxiv.org/abs/1912.00350

m students of one architecture: peers a = 1 … m − 1 and a leader. h_a: embedding [B, d]; z_a: logits [P, C]; q′_a = softmax(z_a / T).

    α_ab = exp(L(h_a)ᵀ E(h_b)) / Σ_f exp(L(h_a)ᵀ E(h_f))       one attention a sample; self included, the leader not; no 1/√d
    t_a = softmax(Σ_b α_ab z_b / T)                              (mix=prob: Σ_b α_ab q′_b)
    L_dis1 = Σ_a KL(t_a, q′_a)                                   peers learn from peers
    t_m = softmax(mean_b z_b / T)                                (mix=prob: mean_b q′_b)
    L_dis2 = KL(t_m, q′_m)                                       the leader learns from their mean
    L = Σ_{a=1..m} CE(y, z_a) + r · w · T² · (L_dis1 + L_dis2)   r = exp(−5 (1 − e/ramp_up)²) up to e = ramp_up, then 1

L and E are linear without bias, from d to ⌊d / factor⌋ entries, at least 1, shared by all peers. e is the progress of the run.

The paper prints mix=prob and no ramp-up r (ramp_up=0: r = 1). The public code mixes logits and has r; both are the defaults,
because the published results come from that code. No target is detached, as in the code; the paper prints nothing about it.
L and E learn through the targets alone.

The leader is the student and alone is deployed; peers, L and E are thrown away. Rows: ``okddip``, m whole networks;
``okddip-branch``, m last stages and heads on one stem.

Where a sample has several rows of logits (pixels), all have its α; where its network shows no embedding, h_a is the
mean of its last map over the positions, as an embedding before a linear layer is.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdarena import (
    Branch,
    Choice,
    Evaluation,
    Float,
    Int,
    Learner,
    Method,
    NotApplicable,
    Outputs,
    Paper,
    Params,
    Run,
    Step,
    Task,
    Terms,
    hookimpl,
    losses,
    no_teachers,
)
from kdarena.schedules import ramp_up
from kdarena_okddip.peers import PeerAttention, PeerBranches, PeerNetworks, diversity, mixed


@dataclass(frozen=True)
class OKDDipParams(Params):
    """The group, its attention, and what its members tell each other."""

    students: int = Int(4, 3, 6, least=2, source="code", cost=True, help="m, students, the leader among them")
    temperature: float = Float(3.0, 1.0, 6.0, above=0, source="code", help="T, softens the distributions that are matched")
    w: float = Float(1.0, 0.1, 5.0, least=0, log=True, source="code", help="weight of both distillation terms (the code's alpha)")
    ramp_up: float = Float(
        80 / 300, 0.0, 0.4, least=0, most=1, source="code", help="share of a run over which their weight rises to 1 (code); 0: it is 1 (paper)"
    )
    factor: int = Int(8, 2, 16, least=1, log=True, source="code", cost=True, help="by which the attention's projections narrow an embedding")
    mix: str = Choice("logit", ("logit", "prob"), source="code", help="what targets are mixed of: logits (code) or probabilities (paper)")
    detach: str = Choice("none", ("none", "logits_only", "all"), source="code", help="of the targets: nothing, the peers' logits, or the attention too")


def embedding(outputs: Outputs) -> Tensor:
    """h_a [B, d]: what the last linear layer sees, else the mean of the last map over its positions."""
    return outputs.feature_map.mean(dim=(2, 3)) if outputs.embedding is None else outputs.embedding


class OKDDip:
    """Each peer learns from its own mixture of all peers, the leader from their mean; all are whole networks."""

    method = Method(
        "okddip",
        "online distillation with diverse peers and a group leader, whole networks",
        Paper("Online Knowledge Distillation with Diverse Peers", "AAAI", 2020, "https://arxiv.org/abs/1912.00350"),
        extended={
            "segmentation": "each pixel of the score map is a row of logits; alpha is one an image",
            "text": "each sequence is a row of logits",
        },
        excluded={
            "speech": "a token has no embedding, and all students start from the teacher's weights",
            "detection": "a place of a detector's pyramid has no embedding, and its classes no common distribution",
        },
        Params=OKDDipParams,
        requires=("class scores", "students that start afresh"),
        teachers=no_teachers,
    )
    params: OKDDipParams
    peers: Sequence[nn.Module]
    ensemble: PeerNetworks
    attention: PeerAttention

    @hookimpl
    def build_student(self, task: Task, run: Run) -> Learner:
        """The leader, m − 1 peers, each from a seed of its own, and the attention."""
        leader = run.new_student()
        shapes = task.shapes(leader)
        if shapes.embedding is None and not shapes.features:
            raise NotApplicable("it needs the embedding before the last linear layer, or a feature map, and the student shows neither")
        dimension = (shapes.embedding or shapes.feature_map)[0]
        self.ensemble = self.group(task, leader, [run.new_student(peer=a) for a in range(1, self.params.students)])
        self.attention = PeerAttention(dimension, self.params.factor).to(task.device)
        helpers = {f"peer{a}": peer for a, peer in enumerate(self.peers, start=1)}
        # with a single peer α is 1 whatever the projections are, and they would get no gradient
        if self.params.students > 2 and self.params.detach != "all":
            helpers["attention"] = self.attention
        return Learner(leader, helpers, deploy={"ensemble": self.ensemble}, report=self.report)

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """CE of all students; KL of each peer to its mixture, and of the leader to the mean."""
        params = self.params
        peers = self.answers(step)
        z_m, mask = step.task.rows(step.student)
        terms = {"ce_leader": step.task.loss(step.student, step.targets)}
        for a, peer in enumerate(peers, start=1):
            terms[f"ce{a}"] = step.task.loss(peer, step.targets)
        z = torch.stack([step.task.rows(peer)[0] for peer in peers], dim=1)
        h = torch.stack([embedding(peer) for peer in peers], dim=1)
        known = z if params.detach == "none" else z.detach()
        # the rows of a sample follow one another, and share its attention
        alpha = step.apply(self.attention, h).repeat_interleave(len(z) // len(h), dim=0)
        uniform = torch.full_like(alpha[:1, :1], 1 / len(peers))
        t = mixed(alpha.detach() if params.detach == "all" else alpha, known, params.temperature, params.mix)
        t_m = mixed(uniform, known, params.temperature, params.mix).squeeze(1)
        weight = ramp_up(step.run_progress, params.ramp_up) * params.w
        # KL is a mean over rows, here samples and peers; the sum over peers is m − 1 times that
        of_peers = None if mask is None else mask.repeat_interleave(len(peers))
        terms["dis1"] = weight * len(peers) * losses.kl(t.flatten(0, 1), z.flatten(0, 1), params.temperature, of_peers)
        terms["dis2"] = weight * losses.kl(t_m, z_m, params.temperature, mask)
        return terms

    def group(self, task: Task, leader: nn.Module, networks: Sequence[nn.Module]) -> PeerNetworks:
        """Take the peers from networks of the student's architecture; returns them as one network."""
        self.peers = networks
        return PeerNetworks(task.forward, networks)

    def answers(self, step: Step) -> list[Outputs]:
        """Logits z_a and embedding h_a of every peer."""
        return [step.forward(peer) for peer in self.peers]

    def report(self, evaluation: Evaluation) -> Mapping[str, float]:
        """``diversity`` of the peers."""
        return {"diversity": diversity(torch.stack(evaluation.outputs(self.ensemble).exits, dim=1).softmax(dim=2))}


class OKDDipBranch(OKDDip):
    """The same with peers that are last stages with heads, on the stem of the leader."""

    method = dataclasses.replace(
        OKDDip.method,
        name="okddip-branch",
        title="online distillation with diverse peers and a group leader, branches on one stem",
        extended={},
        excluded=dict.fromkeys(("segmentation", "text", "speech", "detection"), "its students can't be cut into a stem and last stages"),
        requires=(*OKDDip.method.requires, "a student that can be cut behind a stage"),
    )
    peers: Sequence[Branch]
    stage: str

    def group(self, task: Task, leader: nn.Module, networks: Sequence[nn.Module]) -> PeerNetworks:
        """Of each network only what is behind the last stage but one."""
        self.stage = list(task.shapes(leader).features)[-2]
        self.peers = [task.branch(network, after=self.stage) for network in networks]
        return PeerBranches(task.forward, leader, self.stage, self.peers)

    def answers(self, step: Step) -> list[Outputs]:
        """Logits z_a and embedding h_a of every peer, on the leader's stem."""
        stem = step.student.features[self.stage]
        embeddings = [step.apply(peer, stem) for peer in self.peers]
        return [Outputs(step.apply(peer.head, h_a), embedding=h_a) for peer, h_a in zip(self.peers, embeddings, strict=True)]
