"""AFD: feature-map-level online adversarial knowledge distillation.

Chung, Park, Kim, Kwak: "Feature-map-level Online Adversarial Knowledge Distillation", ICML 2020, https://arxiv.org/abs/2002.01775

K networks learn together from scratch. Network k: feature extractor G_k, f_k = G_k(x) [B, C, H, W]; logits z_k [P, classes];
discriminator D_k in (0, 1). Knowledge flows 1 → 2 → … → K → 1, prev(k) being the one before k; for K = 2 that is both ways.

    L_logit^k = CE(y, z_k) + w · T² · KL(softmax(sg z_prev / T) ‖ softmax(z_k / T))
    L_Dk = [1 − D_k(f_prev)]² + [D_k(f_k)]²           real: the other's map; fake: its own
    L_Gk = [1 − D_k(f_k)]²
    L_k = L_logit^k + L_Gk, by two optimisers, since L_Gk needs a far smaller learning rate

A transfer layer T_k stands before D where the networks' maps differ in shape; it learns from L_Gk. Network 0 is deployed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from kdarena import Choice, Float, Int, Learner, Method, NotApplicable, Paper, Params, Phase, Update, hookimpl, losses, no_teachers
from kdarena_afd.networks import Discriminator, TransferLayer, feature_extractor

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from kdarena import Run, Step, Task, TaskCard

PAPER = Paper("Feature-map-level Online Adversarial Knowledge Distillation", "ICML", 2020, "https://arxiv.org/abs/2002.01775")


@dataclass(frozen=True)
class AFDParams(Params):
    """Weights, temperature and the adversarial optimisers."""

    temperature: float = Float(3.0, 1.0, 5.0, source="ours", help="T of the mutual term")
    w_kl: float = Float(1.0, 0.3, 2.0, log=True, source="paper", help="weight of the mutual term")
    lr_adv: float = Float(2e-5, 1e-6, 1e-3, log=True, source="ours", help="of Adam on L_G; 0: deep mutual learning along the cycle")
    lr_d: float = Float(2e-5, 1e-5, 1e-3, log=True, source="ours", help="of Adam on L_D")
    wd_adv: float = Float(0.0, 0.0, 0.1, source="ours", tune=False, help="weight decay of both; that of the task's optimiser comes on top for G")
    depth: int = Int(2, 1, 3, source="ours", cost=True, help="strided convolutions of each discriminator")
    peer: str = Choice("student", ("student", "teacher"), source="paper", cost=True, help="architecture of the other networks")


@dataclass(frozen=True)
class AFDLargeParams(AFDParams):
    """A small network learns with a large one."""

    peer: str = Choice("teacher", ("student", "teacher"), source="paper", cost=True, help="architecture of the other networks")


def applies(card: TaskCard, params: AFDParams) -> str | None:
    """Why it can't run on a task, or None."""
    if card.start:
        return "its networks would all start from the teacher's weights, as one"
    return None if card.feature_maps else "its networks have no feature maps [B, C, H, W] for a discriminator to see"


class AFD:
    """Each network matches the one before it, in logits by KL and in feature maps against a discriminator."""

    def __init__(self, name: str, networks: int, parameters: type[AFDParams] = AFDParams):
        self.networks = networks
        among = "a small and a large network" if parameters is AFDLargeParams else "a pair of networks" if networks == 2 else f"a cycle of {networks} networks"
        self.method = Method(
            name=name,
            title=f"online adversarial distillation on feature maps among {among}",
            paper=PAPER,
            equations="L_logit^k = CE + w T^2 KL(sg p_prev || p_k); L_Dk = (1 - D_k(f_prev))^2 + D_k(f_k)^2; L_Gk = (1 - D_k(f_k))^2 with an optimiser of its own",
            extended={
                "segmentation": "f_k is the last map before the score map; a row of logits is a pixel",
                "text": "f_k is the last layer's states as a map of one column",
                "speech": "f_k is the encoder's last states as a map of one column",
            },
            Params=parameters,
            teachers=no_teachers,
            applies=applies,
        )

    @hookimpl
    def build_student(self, task: Task, params: AFDParams, run: Run) -> Learner:
        """K networks, K discriminators, and transfer layers where the networks' maps differ."""
        student = run.new_student()
        helpers: dict[str, nn.Module] = {f"peer{k}": run.new_student(peer=k, architecture=params.peer) for k in range(1, self.networks)}
        maps = [task.shapes(network).feature_map for network in (student, *helpers.values())]
        channels, grids = maps[0][0], {one[1:] for one in maps}
        if len(set(maps)) > 1:
            grid = None if len(grids) == 1 else (min(height for height, _ in grids), min(width for _, width in grids))
            helpers |= {f"transfer{k}": TransferLayer(one[0], channels, grid).to(task.device) for k, one in enumerate(maps)}
        helpers |= {f"critic{k}": Discriminator(channels, params.depth).to(task.device) for k in range(self.networks)}
        return Learner(student, helpers)

    @hookimpl
    def schedule(self, params: AFDParams) -> Sequence[Phase]:
        """One phase, three updates of the same forward pass."""

        def adam(lr: float) -> Callable[[list[nn.Parameter]], Optimizer]:
            return lambda parameters: torch.optim.Adam(parameters, lr=lr, weight_decay=params.wd_adv, fused=True)

        def updates(run: Run) -> list[Update]:
            networks, helpers = self._networks(run.learner), run.learner.helpers
            everything = [parameter for network in networks for parameter in network.parameters()]
            extractors = [parameter for network in networks for parameter in feature_extractor(network)]
            transfers = [parameter for name, helper in helpers.items() if name.startswith("transfer") for parameter in helper.parameters()]
            critics = [parameter for k in range(self.networks) for parameter in helpers[f"critic{k}"].parameters()]
            return [
                Update("logit", everything),
                # optional: no L_G reaches what lies behind the last map: a convolution before the pooling, a score layer, a decoder
                Update("adversarial", extractors + transfers, adam(params.lr_adv), optional=True),
                Update("critic", critics, adam(params.lr_d)),
            ]

        return [Phase("train", updates)]

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """Σ_k of the loss of the update whose turn it is."""
        return {"logit": self._logit, "adversarial": self._adversarial, "critic": self._critic}[step.update](step)

    def _logit(self, step: Step) -> dict[str, Tensor]:
        params = cast(AFDParams, step.params)
        outputs = [step.forward(network) for network in self._networks(step.learner)]
        rows = [step.task.rows(output) for output in outputs]
        terms: dict[str, Tensor] = {}
        for k, (z_k, mask) in enumerate(rows):
            z_prev, _ = rows[k - 1]
            terms[f"ce{k}"] = step.task.loss(outputs[k], step.targets)
            terms[f"kl{k}"] = params.w_kl * losses.kl(z_prev.detach(), z_k, params.temperature, mask)
        return terms

    def _adversarial(self, step: Step) -> dict[str, Tensor]:
        critics, real = step.learner.helpers, self._real(step)
        return {f"g{k}": (1 - step.call_frozen(critics[f"critic{k}"], f_k, *real)).square().mean() for k, f_k in enumerate(self._maps(step))}

    def _critic(self, step: Step) -> dict[str, Tensor]:
        critics, positions = step.learner.helpers, self._real(step)
        maps = [f_k.detach() for f_k in self._maps(step)]
        terms: dict[str, Tensor] = {}
        for k, f_k in enumerate(maps):
            # real and fake in batches of their own, so that D's batch norm sees what it sees in L_G
            real, fake = (step.apply(critics[f"critic{k}"], one, *positions) for one in (maps[k - 1], f_k))
            terms[f"d{k}"] = (1 - real).square().mean() + fake.square().mean()
        return terms

    def _maps(self, step: Step) -> list[Tensor]:
        """f_k, or T_k(f_k) where there are transfer layers: K maps of the common shape."""
        maps = [step.forward(network).feature_map for network in self._networks(step.learner)]
        helpers = step.learner.helpers
        real = self._real(step)
        lengths = {f_k.shape[2] for f_k in maps}
        if real and len(lengths) > 1:
            raise NotApplicable(
                f"its networks make sequences of {' and '.join(map(str, sorted(lengths)))} positions of the same samples; choose a pair that makes as many"
            )
        return [step.apply(helpers[f"transfer{k}"], f_k, *real) if f"transfer{k}" in helpers else f_k for k, f_k in enumerate(maps)]

    def _real(self, step: Step) -> tuple[Tensor, ...]:
        """Where a sequence's maps are no padding [B, 1, L, 1], the same for all networks; nothing for maps without any."""
        tokens = step.student.tokens
        return () if tokens is None else (tokens[:, None, :, None],)

    def _networks(self, learner: Learner) -> list[nn.Module]:
        return [learner.student, *(learner.helpers[f"peer{k}"] for k in range(1, self.networks))]
