"""A task at work: its data on the device, its networks, its loss and its evaluation, as the harness and a method see it."""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, Self
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from kdarena.errors import Locked
from kdarena.losses import log_mean_probability
from kdarena.tracks import metrics, recipe
from kdarena.tracks.at_work import hook_at_work
from kdarena.tracks.branch import Branch, Ensemble
from kdarena.tracks.capture import Capture
from kdarena.tracks.card import TaskCard
from kdarena.tracks.compiled import Call, plain_call
from kdarena.tracks.deployed import Deployed, of_inputs
from kdarena.tracks.evaluation import Evaluation, Measured, Scores, counted_rows, detection, joined
from kdarena.tracks.known_logits import KnownLogits
from kdarena.tracks.measure import count_operations, median_ms
from kdarena.tracks.mixing import Mixing
from kdarena.tracks.modes import evaluating, probing
from kdarena.tracks.parts import Parts, generator, samples_a_pass
from kdarena.tracks.samples import classified
from kdarena.tracks.values import Batch, FeatureMaps, Half, Outputs, Part, Setting, Shapes, Split


class Task(abc.ABC):
    """Owns data, augmentation, networks, loss and evaluation of one task on one device.

    A task gives :meth:`batch`, :meth:`one_batch`, :meth:`new_network` and :meth:`answer`. The rest serves a classification of
    samples, and other kinds of tasks replace what is theirs.

    Args:
        card: of the task.
        setting: device, precision and data root.
        train, test: numbers of samples of the two halves of the data; None: what the card says.
        fixed_validation: whether the last samples of ``train`` are its validation part, see :class:`Parts`.
    """

    evaluation_batch = 500
    """Samples that are evaluated at once."""

    def __init__(self, card: TaskCard, setting: Setting, *, train: int | None = None, test: int | None = None, fixed_validation: bool = False):
        if hook_at_work():
            raise Locked(f"makes a task of its own of the data set {card.data_set!r}; use the task that it is given")
        self.card = card
        self.setting = setting
        self.decodes = card.decodes
        """Whether its networks are decoders, which are fed the tokens before each position (:meth:`decoder_inputs`)."""
        self.alive: Callable[[], None] = lambda: None
        """Called at every batch that is evaluated: a large part on a slow machine takes longer than a silent worker may."""
        self.class_weights: Tensor | None = None
        """Weights [C] of the classes in the task's own loss, which is then the mean over samples with their weights; None: all count alike."""
        self.call: Call = plain_call
        """Calls networks."""
        self.trained_on: Batch | None = None
        """The batch of the step that is taken, whose labels may be mixed (the harness says it)."""
        self.parts = Parts(card.train + card.validation if train is None else train, card.validation, card.test if test is None else test, fixed_validation)
        self._reference_logits: WeakKeyDictionary[nn.Module, dict[tuple[Part, Split | None], Tensor]] = WeakKeyDictionary()

    @property
    def device(self) -> torch.device:
        """Where its tensors live."""
        return self.setting.device

    @property
    def views(self) -> int | None:
        """Augmentations that a training sample can have, V, which ``Batch.view`` numbers; None: too many for that."""
        return self.setting.views or self.card.augmentations

    @property
    def classes(self) -> int:
        """The number of classes C."""
        return self.card.classes

    def without_test(self) -> Self:
        """A copy without what belongs to test, which shares the rest; a task that keeps test samples takes them out of it."""
        bare = copy.copy(self)
        bare._reference_logits = WeakKeyDictionary()
        return bare

    # what a task gives
    @abc.abstractmethod
    def batch(self, half: Half, rows: Tensor, positions: Tensor, random: torch.Generator | None) -> Batch:
        """The samples at ``rows`` of a half on the device, augmented by draws from ``random``, plain where it is None.

        Args:
            positions: their positions in the training part, which become ``Batch.index``.
        """

    @abc.abstractmethod
    def one_batch(self) -> Batch:
        """One sample of zeros or the like, as the networks take it, for shapes, latency and operations."""

    @abc.abstractmethod
    def new_network(self, architecture: str, *, dropout: float = 0.0) -> nn.Module:
        """A network of the named architecture on the device, initialised from torch's global generator."""

    @abc.abstractmethod
    def answer(self, network: nn.Module, inputs: Tensor, **arguments: Any) -> Outputs:
        """One call of a network; autocast is on where the setting says so."""

    # data
    def size(self, part: Part, split: Split) -> int:
        """Number of samples of a part; ``published`` leaves no validation part."""
        return len(self.parts.rows(part, split))

    def batches(self, split: Split, data: Literal["augmented", "plain"]) -> Iterator[Batch]:
        """Endless training batches.

        Order and augmentation come from generators of their own, seeded by the split's seed alone, so that nothing a method
        draws changes them. ``plain`` is unaugmented and repeats passes that include the last, smaller batch; ``augmented``
        drops it.
        """
        rows, size, augmented = self.training_rows(split), self.card.recipe.batch_size, data == "augmented"
        order, random = generator(split.seed, "order", augmented), generator(split.seed, "augmentation")
        taken, mix = samples_a_pass(len(rows), size, augmented), self.mixing(split, data)
        while True:
            for positions in torch.randperm(len(rows), generator=order)[:taken].split(size):
                yield mix(self.batch("train", rows[positions], positions, random if augmented else None))

    def mixing(self, split: Split, data: Literal["augmented", "plain"]) -> Callable[[Batch], Batch]:
        """What erases and mixes the batches of a run, where the recipe does so; plain ones stay as they are."""
        return Mixing(self.card.recipe, split.seed) if self.card.recipe.mixes and data == "augmented" else lambda batch: batch

    def seen(self, rows: Tensor, numbers: Tensor) -> Batch:
        """What a teacher sees of the samples at ``rows`` [B] of the train half under their augmentations of the ``numbers`` [B], which are below V.

        Sequences are padded to the longest of the train half.
        """
        return self.batch("train", rows, rows, None).seen_by_teacher()

    def trimmed(self, part: str, stored: Tensor, network: nn.Module, batch: Batch) -> Tensor | None:
        """A part of a network's outputs on batches of :meth:`seen`, as long as the network makes it of the padded sequences of another batch.

        Args:
            part: a field of :class:`Outputs`; of maps and layers with the name or the number behind a slash, as ``hidden/2``.
            stored: the part [N, …] of any samples.

        Returns:
            ``stored`` or a view of it; None where the batch is longer.
        """
        return stored

    def training_rows(self, split: Split) -> Tensor:
        """Rows of the training part [N]; raises ``ValueError`` where none is left."""
        rows = self.parts.rows("train", split)
        if not len(rows):
            raise ValueError(f"{self.card.data_set}: all {self.card.validation} samples are the validation part, and none is left to train on")
        return rows

    def part_batches(self, part: Part, split: Split) -> Iterator[Batch]:
        """A part's samples in order, unaugmented; raises ``ValueError`` where the part is empty."""
        rows = self.parts.rows(part, split)
        if not len(rows):
            raise ValueError(f"protocol {split.protocol!r} trains on all of train, so it has no {part} part")
        for chosen in rows.split(self.evaluation_batch):
            self.alive()
            yield self.batch("test" if part == "test" else "train", chosen, chosen, None)

    def part_targets(self, part: Part, split: Split) -> Tensor:
        """Labels of a part's rows that count [P] on the CPU."""
        return torch.cat([batch.targets.cpu() for batch in self.part_batches(part, split)])

    def targets(self, split: Split) -> Tensor:
        """Labels of a run's whole training part on the device, in the order of ``Batch.index``."""
        raise ValueError(f"task {self.card.name} has no single label for each sample")

    def auxiliary(self, split: Split) -> Iterator[Tensor]:
        """Endless batches of unlabelled auxiliary inputs, augmented as training inputs are."""
        raise ValueError(f"task {self.card.name} has no auxiliary inputs")

    @property
    def overlap(self) -> int | None:
        """How many test samples are equal to one of ``train``, the validation part included, labels aside; None: the task can't say."""
        return None

    @property
    def left_out(self) -> int:
        """Files of the data that could not be used, and that the user went on without."""
        return 0

    @property
    def pixel_std(self) -> Tensor | None:
        """What pixels in [0, 1] are divided by to make inputs, [C, 1, 1] on the device; None where inputs are no images.

        Noise of σ in units of pixels is ``sigma / pixel_std`` in units of the inputs.
        """
        return None

    # networks
    def forward(self, network: nn.Module, inputs: Tensor, **arguments: Any) -> Outputs:
        """One call of a network, under the autocast of the setting; logits and embedding in fp32."""
        if isinstance(network, Ensemble):
            return self.together([self.forward(member, inputs, **arguments) for member in network.networks])
        with self.autocast():
            return self.answer(network, inputs, **arguments)

    def together(self, members: list[Outputs]) -> Outputs:
        """An ensemble's outputs: the logarithm of the mean of its members' probabilities, each member's logits as an exit."""
        logits = tuple(member.logits for member in members)
        return Outputs(log_mean_probability(logits, dim=-1 if self.decodes else 1), exits=logits, counted=members[0].counted)

    def answered(self, network: nn.Module, batch: Batch, *, teacher_inputs: bool = False) -> Outputs:
        """A network's outputs on a batch; a decoder is fed its targets."""
        seen = batch.seen_by_teacher() if teacher_inputs else batch
        return self.forward(network, seen.inputs, **({"decoder_inputs": self.decoder_inputs(batch.targets)} if self.decodes else {}))

    def captured(self, network: nn.Module, inputs: Tensor, **arguments: Any) -> tuple[Any, FeatureMaps, Tensor | None]:
        """What a network answers, the maps of its ``taps``, and what its ``head`` saw."""
        with Capture(network) as capture:
            answer = self.call(network, inputs, arguments)
        return answer, capture.features(), capture.embedding()

    def autocast(self) -> AbstractContextManager[Any]:
        """Of the setting's precision."""
        if self.setting.precision != "bf16":
            return nullcontext()
        # on CUDA without its cache: a weight that was cast before a step is captured would be read from memory that is another's by then
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=self.device.type != "cuda")

    def branch(self, network: nn.Module, after: str, blocks: int | None = None) -> Branch:
        """The part of a network behind a stage, which shares its modules; with ``blocks`` only the first blocks of each later stage.

        Raises:
            ValueError: its networks can't be cut, or there is no such stage.
        """
        raise ValueError(f"networks of task {self.card.name} can't be cut behind a stage")

    def decoder_inputs(self, targets: Tensor) -> Tensor:
        """What a decoder is fed before each position [B, L]: the targets shifted by the start of the sentence."""
        raise ValueError(f"networks of task {self.card.name} are no decoders")

    def deployed(self, network: nn.Module) -> Deployed:
        """A trained student as it is used without kdarena: here on inputs as the task makes them, whose preparation its user has to know.

        Args:
            network: on the CPU; it is put into eval mode.

        Raises:
            ValueError: in one line: networks of this task can't leave.
        """
        if self.decodes:
            raise ValueError(f"task {self.card.name} does not say how its decoders are used elsewhere (Task.deployed)")
        return of_inputs(network, self.one_batch().inputs, self.classes)

    def save_for(self, library: str, network: nn.Module, folder: Path) -> str:
        """Write a trained student to a folder as a library of the field keeps its own networks, so that it loads it without kdarena.

        Args:
            library: ``timm`` or ``hf``.

        Returns:
            the program in :mod:`kdarena.tracks.elsewhere` that loads it.

        Raises:
            ValueError: in one line: it is no network of that library.
        """
        raise ValueError(f"{self.card.student} is no network of {library}")

    def shapes(self, network: nn.Module) -> Shapes:
        """Shapes of a network's outputs for one sample; changes neither its buffers nor any generator."""
        if isinstance(network, KnownLogits):
            return Shapes((network.classes,), {}, None)
        with probing(network, self.device):
            outputs = self.answered(network, self.one_batch())
        features = {name: tuple(feature.shape[1:]) for name, feature in outputs.features.items()}
        embedding = tuple(outputs.embedding.shape[1:]) if outputs.embedding is not None else None
        return Shapes(tuple(outputs.logits.shape[1:]), features, embedding)

    # loss and rows, where a row is a sample
    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The task's own loss, a scalar in fp32: cross-entropy, mean over samples; of a network with earlier exits the sum over all exits.

        Labels are smoothed where the recipe says so. Where the samples of the step are mixed and ``targets`` are the step's own, each counts
        with both of its labels by their parts; other labels are taken as they are.
        """
        loss = self._cross_entropy(outputs.logits, targets)
        for logits in outputs.exits:
            loss = loss + self._cross_entropy(logits, targets)
        return loss

    def _cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        batch, smoothing, weights = self.trained_on, self.card.recipe.smoothing, self.class_weights
        if batch is None or batch.share is None or batch.mixed_with is None or targets is not batch.targets:
            return functional.cross_entropy(logits, targets, weights, label_smoothing=smoothing)
        both = (targets, batch.mixed_with)
        own, other = (functional.cross_entropy(logits, labels, weights, reduction="none", label_smoothing=smoothing) for labels in both)
        mixed = torch.lerp(other, own, batch.share)
        return mixed.mean() if weights is None else mixed.sum() / torch.lerp(weights[both[1]], weights[both[0]], batch.share).sum()

    def rows(self, outputs: Outputs) -> tuple[Tensor, Tensor | None]:
        """Logits [P, C] of samples, pixels or tokens, and how much each counts in a mean [P], or None where all count alike.

        That is booleans (the tokens up to the end of a sentence), or weights (the places of a detector, by how sure it is that something is there).
        Where two networks are compared it is the target's that is meant.

        Raises:
            ValueError: outputs are no scores.
        """
        return outputs.logits, None

    def exit_rows(self, outputs: Outputs) -> list[tuple[Tensor, Tensor | None]]:
        """:meth:`rows` of the last exit, and then of a network's earlier ones, shallow to deep."""
        return [self.rows(outputs), *(self.rows(Outputs(logits=logits, counted=outputs.counted)) for logits in outputs.exits)]

    def row_targets(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """Labels of those rows [P], −100 where a row has none."""
        return targets

    def score_maps(self, outputs: Outputs) -> list[Tensor]:
        """The maps of scores [B, C, h, w] in outputs, fine to coarse: of a detector one a level of its pyramid; views of the logits.

        Raises:
            ValueError: they have none.
        """
        if outputs.logits.dim() < 4:
            raise ValueError(f"task {self.card.name} has no maps of scores: its logits are of shape {list(outputs.logits.shape)}")
        return [outputs.logits]

    # the recipe
    def optimizer(self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> Optimizer:
        """The recipe's optimiser."""
        return recipe.optimizer(self.card.recipe, parameters, lr=lr, weight_decay=weight_decay, fused=self.device.type in ("cpu", "cuda"))

    def curve(self, progress: float) -> float:
        """The recipe's factor on the learning rate at a progress in [0, 1)."""
        return recipe.curve(self.card.recipe, progress)

    # evaluation
    def evaluate(self, network: nn.Module, part: Part, split: Split, reference: nn.Module | None = None, *, teacher_inputs: bool = False) -> dict[str, float]:
        """Metrics of a network in eval mode on a part, unaugmented; with agreement and KL where a reference teacher is given.

        Args:
            teacher_inputs: score it on what teachers see, where that differs; the reference always is.

        Raises:
            ValueError: the part is empty.
        """
        return self.measured(network, part, split, reference, teacher_inputs=teacher_inputs).metrics

    def measured(self, network: nn.Module, part: Part, split: Split, reference: nn.Module | None = None, *, teacher_inputs: bool = False) -> Measured:
        """As :meth:`evaluate`, together with what the ranked metric is made of, sample by sample."""
        logits, targets = self.part_outputs(network, part, split, teacher_inputs=teacher_inputs).logits, self.part_targets(part, split)
        metrics = self.metrics(logits, targets, self.reference_logits(reference, part, split))
        return Measured(metrics, classified(self.card.metric, logits.argmax(dim=1), targets, self.classes))

    def metrics(self, logits: Tensor, targets: Tensor, reference: Tensor | None) -> dict[str, float]:
        """Metrics of rows [P, C] on the CPU, by their labels [P] and a reference teacher's logits [P, C]."""
        return metrics.all_metrics(logits, targets, reference)

    def outputs_of(self, network: nn.Module, batches: Iterable[Batch], *, teacher_inputs: bool = False) -> Outputs:
        """The rows of a network in eval mode over batches, on the CPU; no feature maps."""
        with evaluating(network):
            answers = (self.answered(network, batch, teacher_inputs=teacher_inputs) for batch in batches)
            return joined(counted_rows(outputs, self.exit_rows(outputs)) for outputs in answers)

    def part_outputs(self, network: nn.Module, part: Part, split: Split, *, teacher_inputs: bool = False) -> Outputs:
        """The rows of a network over a part, as :meth:`outputs_of`; of a teacher that is known by its logits, those."""
        if isinstance(network, KnownLogits):
            return network.on(part, self.parts.rows(part, split))
        return self.outputs_of(network, self.part_batches(part, split), teacher_inputs=teacher_inputs)

    def reference_logits(self, reference: nn.Module | None, part: Part, split: Split) -> Tensor | None:
        """A reference teacher's logits of a part's rows [P, C] on the CPU, on what teachers see, or None where they are not known; kept for as long as the
        module lives, so it may not change."""
        if reference is None or (isinstance(reference, KnownLogits) and not reference.knows(part)):
            return None
        kept, key = self._reference_logits.setdefault(reference, {}), self.parts.key(part, split)
        if key not in kept:
            kept[key] = self.part_outputs(reference, part, split, teacher_inputs=True).logits
        return kept[key]

    def evaluation(self, part: Part, split: Split) -> Evaluation:
        """A part for a method's own report."""
        return Evaluation(lambda: self.part_targets(part, split), lambda network: self.part_outputs(network, part, split), self.operations)

    def detection(self, network: nn.Module, part: Part, split: Split, scores: Scores | None = None) -> dict[str, float]:
        """How well uncertainty, by softmax's scores and others, separates errors from hits on a part, ``prr/SCORE``, and the task's outliers from the part."""
        return detection(self.evaluation(part, split), network, {}, scores)

    def further_metrics(self, group: str, network: nn.Module, split: Split) -> dict[str, float]:
        """Metrics of a group that the user asked for, on test: ``uncertainty``, or ``gap``: the ranked metric on the training samples and how far test is below."""
        if group not in self.card.metric_groups:
            raise ValueError(f"task {self.card.name} knows no group of metrics {group!r}")
        if group == "uncertainty":
            return self.detection(network, "test", split)
        metric = self.card.metric
        train, test = self.evaluate(network, "train", split)[metric], self.evaluate(network, "test", split)[metric]
        return {f"train_{metric}": train, "generalisation": train - test}

    def operations(self, network: nn.Module) -> int:
        """Floating-point operations of one sample's forward pass."""
        batch = self.one_batch()
        with evaluating(network):
            return count_operations(lambda: self.answered(network, batch))

    def latency_ms(self, network: nn.Module) -> float:
        """Median time of one sample's forward pass in milliseconds."""
        batch = self.one_batch()
        with evaluating(network):
            return median_ms(lambda: self.answered(network, batch), self.device)
