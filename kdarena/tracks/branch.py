"""A branch: the part of a network behind one of its stages, for methods whose networks share a stem."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from kdarena.losses import log_mean_probability


class Branch(nn.Module):
    """From the map of a stage to the embedding; ``head`` makes logits of that.

    It shares the modules of the network that it was cut from and never copies them.

    Args:
        stages: the stages behind the cut, shallow to deep.
        head: the network's last linear layer.
    """

    def __init__(self, stages: Iterable[nn.Module], head: nn.Module):
        super().__init__()
        self.stages = nn.Sequential(*stages)
        self.head = head

    def forward(self, feature_map: Tensor) -> Tensor:
        """[B, C, H, W] of the stage before the cut to the embedding [B, D], averaged over positions."""
        embedding: Tensor = self.stages(feature_map).mean(dim=(2, 3))
        return embedding


def cut(network: nn.Module, after: str, blocks: int | None = None) -> Branch:
    """The branch of a network whose stages are its taps' own modules, followed by averaging and a linear ``head``.

    Args:
        after: name of the stage before the cut.
        blocks: how many blocks of each later stage to keep, from its first on; None: all.

    Raises:
        ValueError: there is no such stage, or none behind it.
    """
    taps = tuple(getattr(network, "taps", ()))
    names = [stage for stage, _ in taps]
    if after not in names[:-1]:
        raise ValueError(f"a branch starts behind one of {', '.join(names[:-1]) or 'no stage'}, not behind {after!r}")
    stages = [network.get_submodule(path) for _, path in taps[names.index(after) + 1 :]]
    if blocks is not None:
        stages = [nn.Sequential(*list(stage.children())[:blocks]) for stage in stages]
    head = network.head
    return Branch(stages, network.get_submodule(head) if isinstance(head, str) else head)  # type: ignore[arg-type]


class Ensemble(nn.Module):
    """Networks that answer together: the logarithm of the mean of their probabilities, each member's logits as an exit.

    Args:
        networks: each from the same inputs to logits [B, C], or to a tuple that begins with them.
    """

    def __init__(self, networks: Iterable[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Inputs to (log mean probability [B, C], the members' logits, no embeddings)."""
        answers = [network(x) for network in self.networks]
        members = tuple((answer if isinstance(answer, Tensor) else answer[0]).float() for answer in answers)
        return log_mean_probability(members, dim=1), members, ()
