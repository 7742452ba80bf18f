"""The attention among peers, the targets that it mixes, and the peers as one network to be scored."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from kdarena import Branch, Outputs


class PeerAttention(nn.Module):
    """α_ab = softmax_b(L(h_a)ᵀ E(h_b)): bias-free L and E from d to ⌊d / factor⌋, shared by all peers; no scaling by √d.

    Args:
        dimension: d, of the peers' embeddings.
        factor: by which L and E narrow it, to one entry at least.
    """

    def __init__(self, dimension: int, factor: int):
        super().__init__()
        narrow = max(1, dimension // factor)
        self.query = nn.Linear(dimension, narrow, bias=False)
        self.key = nn.Linear(dimension, narrow, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        """Embeddings [B, m − 1, d] to α [B, m − 1, m − 1], each sample's own; rows sum to 1."""
        scores = torch.einsum("bad,bcd->bac", self.query(h), self.key(h))
        return torch.softmax(scores.float(), dim=2)


def mixed(weights: Tensor, z: Tensor, temperature: float, mix: str) -> Tensor:
    """The targets as logits at the temperature: softmax(mixed / T) is t.

    Args:
        weights: [B, A, m − 1] or anything that broadcasts to it, each row a distribution over the peers.
        z: the peers' logits [B, m − 1, C].
        mix: ``logit``: t = softmax(Σ_b α_ab z_b / T); ``prob``: t = Σ_b α_ab softmax(z_b / T).

    Returns:
        [B, A, C].
    """
    if mix == "logit":
        return weights.expand(len(z), -1, -1) @ z
    log_q = torch.log_softmax(z / temperature, dim=2)
    # in logarithms, so that a probability that underflows gives no −∞
    log_weights = weights.clamp(min=torch.finfo(weights.dtype).tiny).log()
    return temperature * torch.logsumexp(log_weights.unsqueeze(3) + log_q.unsqueeze(1), dim=2)


def diversity(probabilities: Tensor) -> float:
    """Mean over samples and pairs of the Euclidean distance between peers' probabilities [P, m − 1, C]; 0 for one peer."""
    peers = probabilities.shape[1]
    if peers < 2:
        return 0.0
    distances = torch.cdist(probabilities, probabilities, compute_mode="donot_use_mm_for_euclid_dist")
    return float(distances.sum(dim=(1, 2)).mean()) / (peers * (peers - 1))


class PeerNetworks(nn.Module):
    """The peers together: the mean of their logits, each peer's own as an exit. Networks are shared, not copied.

    Args:
        answer: the task's way to call a network.
        networks: whole peers.
    """

    def __init__(self, answer: Callable[[nn.Module, Tensor], Outputs], networks: Sequence[nn.Module]):
        super().__init__()
        self.answer = answer
        self.networks = nn.ModuleList(networks)

    def logits(self, x: Tensor) -> list[Tensor]:
        """Of each peer [B, C]."""
        return [self.answer(network, x).logits for network in self.networks]

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Inputs to (mean logits, the peers' logits, no embeddings)."""
        logits = self.logits(x)
        return torch.stack(logits).mean(dim=0), tuple(logits), ()


class PeerBranches(PeerNetworks):
    """The same for peers that are branches behind a stage of the student."""

    def __init__(self, answer: Callable[[nn.Module, Tensor], Outputs], student: nn.Module, stage: str, branches: Sequence[Branch]):
        super().__init__(answer, branches)
        self.student, self.stage, self.branches = student, stage, branches

    def logits(self, x: Tensor) -> list[Tensor]:
        """Of each peer [B, C]."""
        stem = self.answer(self.student, x).features[self.stage]
        return [branch.head(branch(stem)).float() for branch in self.branches]
