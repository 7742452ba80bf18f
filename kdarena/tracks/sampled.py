"""The base of every track's task: splits, batches, recipe, outputs and latency over a list of samples."""

from __future__ import annotations

import abc
import math
import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW, Optimizer

from kdarena.seeds import derive
from kdarena.tracks.branch import Ensemble, log_mean_probability
from kdarena.tracks.capture import Capture
from kdarena.tracks.card import TaskCard
from kdarena.tracks.evaluation import PartEvaluation, Scores, detection, joined, rows_of
from kdarena.tracks.modes import evaluating
from kdarena.tracks.task import Batch, FeatureMaps, Outputs, Part, Setting, Shapes, Task, synchronize

Split = Literal["train", "test"]

LATENCY_RUNS = 30
LATENCY_SECONDS = 1.0
POLY_POWER = 0.9
"""Of the poly decay that dense prediction uses (Chen et al. 2017, arXiv 1606.00915)."""


def plain_outputs(answer: Any, features: FeatureMaps, embedding: Tensor | None) -> Outputs:
    """Of a network that answered with its logits, or with ``(logits, exits, exit_embeddings)``, the tuples shallow to deep."""
    logits, exits, embeddings = (answer, (), ()) if isinstance(answer, Tensor) else answer
    return Outputs(logits.float(), features, embedding, exits=tuple(one.float() for one in exits), exit_embeddings=tuple(one.float() for one in embeddings))


class SampledTask(Task):
    """A task whose data are two lists of samples: ``train`` (with the validation part in it) and ``test``.

    A track gives :meth:`batch`, :meth:`answer`, :meth:`one_batch` and what :class:`Task` leaves open: networks and evaluation; the
    loss and the rows here are those of a task in which a row is a sample.

    Args:
        card: of the task.
        setting: device, precision and data root.
        train, test: numbers of samples of the two lists; None: what the card says.
        fixed_validation: the last samples of ``train`` are its validation part, as the data set's authors say; otherwise
            each seed holds out others. Under ``published`` a fixed part is left out all the same.
    """

    evaluation_batch = 500
    """Samples that are evaluated at once."""

    def __init__(self, card: TaskCard, setting: Setting, *, train: int | None = None, test: int | None = None, fixed_validation: bool = False):
        super().__init__()
        self.card = card
        self.setting = setting
        self.decodes = card.decodes
        self._train_samples = card.train + card.validation if train is None else train
        self._test_samples = card.test if test is None else test
        self._fixed_validation = fixed_validation
        self._reference_logits: WeakKeyDictionary[nn.Module, dict[tuple[Part, int, str], Tensor]] = WeakKeyDictionary()

    # what a track gives
    @abc.abstractmethod
    def batch(self, split: Split, rows: Tensor, positions: Tensor, random: torch.Generator | None) -> Batch:
        """The samples at ``rows`` of a split on the device, augmented by draws from ``random``, plain where it is None."""

    @abc.abstractmethod
    def answer(self, network: nn.Module, inputs: Tensor, **arguments: Any) -> Outputs:
        """One call of a network; autocast is on where the setting says so."""

    @abc.abstractmethod
    def one_batch(self) -> Batch:
        """One sample of zeros or the like, as the networks take it, for shapes, latency and operations."""

    # parts
    def part_rows(self, part: Part, seed: int, protocol: str) -> Tensor:
        """Rows of the split that make up a part, in ascending order."""
        if part == "test":
            return torch.arange(self._test_samples)
        total = self._train_samples
        held_out = 0 if protocol == "published" else self.card.validation
        if self._fixed_validation:
            end = total - self.card.validation
            return torch.arange(end) if part == "train" else torch.arange(end, end + held_out)
        order = torch.randperm(total, generator=generator(seed, "split"))
        return (order[:held_out] if part == "validation" else order[held_out:]).sort().values

    def part_key(self, part: Part, seed: int, protocol: str) -> tuple[Part, int, str]:
        """Names the samples of a part: test, and a fixed validation part, are the same for every seed."""
        return (part, 0, "") if part == "test" or self._fixed_validation else (part, seed, protocol)

    def size(self, part: Part, seed: int, protocol: str) -> int:
        """Number of samples of a part; ``published`` leaves no validation part."""
        return len(self.part_rows(part, seed, protocol))

    def batches(self, seed: int, protocol: str, data: Literal["augmented", "plain"]) -> Iterator[Batch]:
        """Endless training batches, see :meth:`Task.batches`."""
        rows = self.part_rows("train", seed, protocol)
        if not len(rows):
            raise ValueError(f"{self.card.data_set}: nothing is left to train on beside {self.card.validation} validation samples")
        augmented = data == "augmented"
        order, random = generator(seed, "order", augmented), generator(seed, "augmentation")
        size = self.card.recipe.batch_size
        # an incomplete last batch is dropped in training, unless it is the only one
        kept = len(rows) // size * size if augmented and len(rows) >= size else len(rows)
        while True:
            for positions in torch.randperm(len(rows), generator=order)[:kept].split(size):
                yield self.batch("train", rows[positions], positions, random if augmented else None)

    def part_batches(self, part: Part, seed: int, protocol: str) -> Iterator[Batch]:
        """A part's samples in order, unaugmented.

        Raises:
            ValueError: the part is empty.
        """
        rows = self.part_rows(part, seed, protocol)
        if not len(rows):
            raise ValueError(f"protocol {protocol!r} trains on all of train, so it has no {part} part")
        split: Split = "test" if part == "test" else "train"
        for chosen in rows.split(self.evaluation_batch):
            self.alive()
            yield self.batch(split, chosen, chosen, None)

    def part_targets(self, part: Part, seed: int, protocol: str) -> Tensor:
        """Labels of a part's rows that count [P] on the CPU."""
        return torch.cat([batch.targets.cpu() for batch in self.part_batches(part, seed, protocol)])

    # networks
    def forward(self, network: nn.Module, inputs: Tensor, **arguments: Any) -> Outputs:
        """See :meth:`Task.forward`."""
        if isinstance(network, Ensemble):
            return self._together([self.forward(member, inputs, **arguments) for member in network.networks])
        with self.autocast():
            return self.answer(network, inputs, **arguments)

    def _together(self, members: list[Outputs]) -> Outputs:
        """An ensemble's outputs: the logarithm of the mean of its members' probabilities, each member's logits as an exit."""
        logits = tuple(member.logits for member in members)
        return Outputs(log_mean_probability(logits, dim=-1 if self.decodes else 1), exits=logits, counted=members[0].counted)

    def answered(self, network: nn.Module, batch: Batch, *, teacher_inputs: bool = False) -> Outputs:
        """A network's outputs on a batch; a decoder is fed its targets."""
        seen = batch.seen_by_teacher() if teacher_inputs else batch
        return self.forward(network, seen.inputs, **({"history": self.history(batch.targets)} if self.decodes else {}))

    def captured(self, network: nn.Module, inputs: Tensor, **arguments: Any) -> tuple[Any, FeatureMaps, Tensor | None]:
        """What a network answers, the maps of its ``taps``, and what its ``head`` saw."""
        with Capture(network) as capture:
            answer = network(inputs, **arguments)
        return answer, capture.features(), capture.embedding()

    def autocast(self) -> AbstractContextManager[Any]:
        """Of the setting's precision."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.setting.precision == "bf16" else nullcontext()

    def shapes(self, network: nn.Module) -> Shapes:
        """Shapes of a network's outputs for one sample; changes neither its buffers nor any generator."""
        buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), evaluating(network):
            outputs = self.answered(network, self.one_batch())
            for buffer, before in buffers:
                buffer.copy_(before)
        features = {name: tuple(feature.shape[1:]) for name, feature in outputs.features.items()}
        embedding = tuple(outputs.embedding.shape[1:]) if outputs.embedding is not None else None
        return Shapes(tuple(outputs.logits.shape[1:]), features, embedding)

    # where a row is a sample; other tracks have their own
    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """Cross-entropy, mean over samples; of a network with earlier exits the sum over all its exits, as such networks are trained."""
        loss = functional.cross_entropy(outputs.logits, targets)
        for logits in outputs.exits:
            loss = loss + functional.cross_entropy(logits, targets)
        return loss

    def rows(self, outputs: Outputs) -> tuple[Tensor, Tensor | None]:
        """A row is a sample, and all count."""
        return outputs.logits, None

    # the recipe
    def optimizer(self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> Optimizer:
        """The recipe's optimiser; AdamW leaves vectors (biases, norms) undecayed, as BERT's recipe does."""
        recipe = self.card.recipe
        fused = self.device.type in ("cpu", "cuda")
        if recipe.optimizer == "sgd":
            return SGD(parameters, lr=lr, momentum=recipe.momentum, nesterov=recipe.nesterov, weight_decay=weight_decay, fused=fused)
        if recipe.optimizer == "adam":
            return Adam(parameters, lr=lr, weight_decay=weight_decay, fused=fused)
        every = list(parameters)
        matrices = [parameter for parameter in every if parameter.dim() > 1]
        vectors = [parameter for parameter in every if parameter.dim() <= 1]
        return AdamW([{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}], lr=lr, fused=fused)

    def curve(self, progress: float) -> float:
        """Linear warm-up, then the recipe's decay."""
        recipe = self.card.recipe
        if progress < recipe.warmup:
            return progress / recipe.warmup
        if recipe.decay == "poly":
            return float((1 - progress) ** POLY_POWER)
        if recipe.decay == "linear":
            return (1 - progress) / (1 - recipe.warmup)
        if recipe.decay == "cosine":
            return (1 + math.cos(math.pi * (progress - recipe.warmup) / (1 - recipe.warmup))) / 2
        return float(recipe.gamma ** sum(progress >= milestone for milestone in recipe.milestones))

    # evaluation
    def outputs_on(self, network: nn.Module, part: Part, seed: int, protocol: str, *, teacher_inputs: bool = False) -> Iterator[tuple[Batch, Outputs]]:
        """A part batch by batch, each with a network's outputs in eval mode."""
        for batch in self.part_batches(part, seed, protocol):
            # never around the yield: two networks evaluated side by side would put back each other's modes
            with evaluating(network):
                outputs = self.answered(network, batch, teacher_inputs=teacher_inputs)
            yield batch, outputs

    def reference_logits(self, reference: nn.Module | None, part: Part, seed: int, protocol: str) -> Tensor | None:
        """A reference teacher's logits of a part's rows [P, C] on the CPU, on what teachers see.

        They are kept for as long as the module lives, so it may not change.
        """
        if reference is None:
            return None
        kept, key = self._reference_logits.setdefault(reference, {}), self.part_key(part, seed, protocol)
        if key not in kept:
            every = self.outputs_on(reference, part, seed, protocol, teacher_inputs=True)
            kept[key] = joined(rows_of(self, outputs) for _, outputs in every).logits
        return kept[key]

    def evaluation(self, part: Part, seed: int, protocol: str) -> PartEvaluation:
        """See :meth:`Task.evaluation`."""
        return PartEvaluation(self, part, seed, protocol)

    def detection(self, network: nn.Module, part: Part, seed: int, protocol: str, scores: Scores | None = None) -> dict[str, float]:
        """See :meth:`Task.detection`: ``prr/SCORE``."""
        return detection(self.evaluation(part, seed, protocol), network, {}, scores)

    def further_metrics(self, group: str, network: nn.Module, seed: int, protocol: str) -> dict[str, float]:
        """See :meth:`Task.further_metrics`: ``uncertainty``."""
        if group == "uncertainty":
            return self.detection(network, "test", seed, protocol)
        return super().further_metrics(group, network, seed, protocol)

    def latency_ms(self, network: nn.Module) -> float:
        """Median time of one sample's forward pass in milliseconds, over at most 30 passes and about a second."""
        batch = self.one_batch()
        times: list[float] = []
        with evaluating(network):
            for _ in range(3):
                self.answered(network, batch)
            end = time.perf_counter() + LATENCY_SECONDS
            while len(times) < LATENCY_RUNS and (len(times) < 3 or time.perf_counter() < end):
                synchronize(self.device)
                start = time.perf_counter()
                self.answered(network, batch)
                synchronize(self.device)
                times.append(time.perf_counter() - start)
        return 1000 * statistics.median(times)


def generator(seed: int, *purpose: object) -> torch.Generator:
    """A generator of one purpose's own, on the CPU, so that a seed means the same on every device."""
    return torch.Generator().manual_seed(derive(seed, *purpose))
