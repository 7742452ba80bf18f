"""AFD: feature-map-level online adversarial knowledge distillation.

Chung, Park, Kim, Kwak: "Feature-map-level Online Adversarial Knowledge Distillation", ICML 2020, https://arxiv.org/abs/2002.01775

K networks learn together from scratch. Network k: feature extractor G_k (all of it but its last linear layer), f_k = G_k(x)
[B, C, H, W]; logits z_k [P, classes]; discriminator D_k in (0, 1). Knowledge flows 1 → 2 → … → K → 1, prev(k) being the one before k;
for K = 2 that is both ways. sg: no gradient.

    L_logit^k = CE(y, z_k) + w · T² · KL(softmax(sg z_prev / T) ‖ softmax(z_k / T))
    L_Dk = [1 − D_k(f_prev)]² + [D_k(f_k)]²           real: the other's map; fake: its own
    L_Gk = [1 − D_k(f_k)]²
    L_k = L_logit^k + L_Gk, by two optimisers, since L_Gk needs a far smaller learning rate

Where the networks' maps differ in shape, a transfer layer T_k comes before D; it learns from L_Gk. Network 1 is deployed. ``afd``:
K = 2 networks of the student's architecture; ``afd-cycle``: K = 3; ``afd-large``: the others are of the teacher's architecture.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdarena import (
    Choice,
    Float,
    Int,
    Learner,
    Method,
    NotApplicable,
    Paper,
    Params,
    Phase,
    Run,
    Step,
    Task,
    Terms,
    Update,
    hookimpl,
    losses,
    no_teachers,
)
from kdarena_afd.networks import Discriminator, TransferLayer, feature_extractor

PAPER = Paper("Feature-map-level Online Adversarial Knowledge Distillation", "ICML", 2020, "https://arxiv.org/abs/2002.01775")


@dataclass(frozen=True)
class AFDParams(Params):
    """Number of networks, weights, temperature and the adversarial optimisers."""

    networks: int = Int(2, 2, 5, least=2, source="paper", cost=True, help="K, networks that learn together, the student among them")
    temperature: float = Float(3.0, 1.0, 5.0, above=0, source="recalled", help="T of the mutual term")
    w_kl: float = Float(1.0, 0.3, 2.0, least=0, log=True, source="paper", help="weight of the mutual term")
    lr_adv: float = Float(2e-5, 1e-6, 1e-3, least=0, log=True, source="recalled", help="of Adam on L_G; 0: deep mutual learning along the cycle")
    lr_d: float = Float(2e-5, 1e-5, 1e-3, least=0, log=True, source="recalled", help="of Adam on L_D; 0: critics that stay as they are")
    wd_adv: float = Float(0.0, 0.0, 0.1, least=0, source="ours", tune=False, help="weight decay of both; that of the task's optimiser comes on top for G")
    depth: int = Int(2, 1, 3, least=1, source="ours", cost=True, help="strided convolutions of each discriminator")
    peer: str = Choice("student", ("student", "teacher"), source="paper", cost=True, help="architecture of the other networks")


@dataclass(frozen=True)
class AFDCycleParams(AFDParams):
    """Three networks in a cycle."""

    networks: int = Int(3, 2, 5, least=2, source="paper", cost=True, help="K, networks that learn together, the student among them")


@dataclass(frozen=True)
class AFDLargeParams(AFDParams):
    """A small network learns with a large one."""

    peer: str = Choice("teacher", ("student", "teacher"), source="paper", cost=True, help="architecture of the other networks")


class AFD:
    """Each network matches the one before it, in logits by KL and in feature maps against a discriminator.

    Attributes:
        peers: the networks that learn along with the student, K − 1.
        transfers: T_k of each of the K networks; none where their maps are of one shape.
        critics: D_k of each.
    """

    method = Method(
        "afd",
        "online adversarial distillation on feature maps among a pair of networks, or more",
        PAPER,
        extended={
            "segmentation": "f_k is the last map before the score map; a row of logits is a pixel",
            "text": "f_k is the last layer's states as a map of one column",
            "speech": "f_k is the encoder's last states as a map of one column",
        },
        Params=AFDParams,
        requires=("class scores", "feature maps", "students that start afresh"),
        teachers=no_teachers,
    )
    params: AFDParams

    def __init__(self) -> None:
        self.peers: list[nn.Module] = []
        self.transfers: list[TransferLayer] = []
        self.critics: list[Discriminator] = []

    @hookimpl
    def build_student(self, task: Task, run: Run) -> Learner:
        """K networks, K discriminators, and transfer layers where the networks' maps differ."""
        params, student = self.params, run.new_student()
        self.peers = [run.new_student(peer=k, architecture=params.peer) for k in range(1, params.networks)]
        shapes = [task.shapes(network).feature_map for network in (student, *self.peers)]
        channels, grids = shapes[0][0], {shape[1:] for shape in shapes}
        if len(set(shapes)) > 1:
            grid = None if len(grids) == 1 else (min(height for height, _ in grids), min(width for _, width in grids))
            self.transfers = [TransferLayer(shape[0], channels, grid).to(task.device) for shape in shapes]
        self.critics = [Discriminator(channels, params.depth).to(task.device) for _ in shapes]
        helpers = {f"peer{k}": peer for k, peer in enumerate(self.peers, start=1)}
        helpers |= {f"transfer{k}": transfer for k, transfer in enumerate(self.transfers)}
        return Learner(student, helpers | {f"critic{k}": critic for k, critic in enumerate(self.critics)})

    @hookimpl
    def schedule(self) -> Sequence[Phase]:
        """One phase, three updates of the same forward pass."""
        return [Phase("train", self.updates)]

    def updates(self, run: Run) -> list[Update]:
        """All networks by the recipe, feature extractors and transfer layers by Adam on L_G, critics by Adam on L_D."""
        networks = (run.learner.student, *self.peers)
        extractors = [parameter for network in networks for parameter in feature_extractor(network)]
        return [
            Update("logit", _parameters(networks)),
            # optional: no L_G reaches what lies behind the last map: a convolution before the pooling, a score layer, a decoder
            Update("adversarial", extractors + _parameters(self.transfers), lambda trained: self.adam(trained, self.params.lr_adv), optional=True),
            Update("critic", _parameters(self.critics), lambda trained: self.adam(trained, self.params.lr_d)),
        ]

    def adam(self, trained: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        """Of both adversarial updates."""
        return torch.optim.Adam(trained, lr=lr, weight_decay=self.params.wd_adv, fused=True)

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """Σ_k of the loss of the update whose turn it is."""
        return {"logit": self.logit_loss, "adversarial": self.adversarial_loss, "critic": self.critic_loss}[step.update](step)

    def logit_loss(self, step: Step) -> Terms:
        """L_logit of all networks."""
        outputs = [step.forward(network) for network in (step.learner.student, *self.peers)]
        rows = [step.task.rows(output) for output in outputs]
        terms: dict[str, Tensor] = {}
        for k, (z_k, mask) in enumerate(rows):
            z_prev, _ = rows[k - 1]
            terms[f"ce{k}"] = step.task.loss(outputs[k], step.targets)
            terms[f"kl{k}"] = self.params.w_kl * losses.kl(z_prev.detach(), z_k, self.params.temperature, mask)
        return terms

    def adversarial_loss(self, step: Step) -> Terms:
        """L_G of all networks."""
        maps, padding = self.maps(step), tokens_of(step)
        return {f"g{k}": (1 - step.call_frozen(self.critics[k], f_k, *padding)).square().mean() for k, f_k in enumerate(maps)}

    def critic_loss(self, step: Step) -> Terms:
        """L_D of all critics."""
        maps, padding = [f_k.detach() for f_k in self.maps(step)], tokens_of(step)
        terms: dict[str, Tensor] = {}
        for k, f_k in enumerate(maps):
            # real and fake in batches of their own, so that D's batch norm sees what it sees in L_G
            real, fake = (step.apply(self.critics[k], shown, *padding) for shown in (maps[k - 1], f_k))
            terms[f"d{k}"] = (1 - real).square().mean() + fake.square().mean()
        return terms

    def maps(self, step: Step) -> list[Tensor]:
        """f_k, or T_k(f_k) where there are transfer layers: K maps of the common shape."""
        maps = [step.forward(network).feature_map for network in (step.learner.student, *self.peers)]
        padding = tokens_of(step)
        lengths = {f_k.shape[2] for f_k in maps}
        if padding and len(lengths) > 1:
            raise NotApplicable(
                f"its networks make sequences of {' and '.join(map(str, sorted(lengths)))} positions of the same samples; choose a pair that makes as many"
            )
        return [step.apply(transfer, f_k, *padding) for transfer, f_k in zip(self.transfers, maps, strict=True)] if self.transfers else maps


class AFDCycle(AFD):
    """Three networks unless asked otherwise."""

    method = dataclasses.replace(
        AFD.method, name="afd-cycle", title="online adversarial distillation on feature maps in a cycle of three networks, or more", Params=AFDCycleParams
    )


class AFDLarge(AFD):
    """The other networks are of the teacher's architecture."""

    method = dataclasses.replace(
        AFD.method, name="afd-large", title="online adversarial distillation on feature maps among a small and a large network, or more", Params=AFDLargeParams
    )


def tokens_of(step: Step) -> tuple[Tensor, ...]:
    """Where a sequence's maps are no padding [B, L], the same for all networks; nothing for maps without any.

    The very tensor of the student's outputs, so that a helper that was called with it in this step is not called again.
    """
    tokens = step.student.tokens
    return () if tokens is None else (tokens,)


def _parameters(modules: Sequence[nn.Module]) -> list[nn.Parameter]:
    return [parameter for module in modules for parameter in module.parameters()]
