"""The classification task: images to one of C classes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Optimizer

from kdarena.seeds import derive
from kdarena.tracks.branch import Branch, cut
from kdarena.tracks.card import TaskCard
from kdarena.tracks.classification import outliers
from kdarena.tracks.classification.augment import Augmentation, Normalisation
from kdarena.tracks.classification.batches import Chunk, Pass, Resident, Source, Streaming, batches
from kdarena.tracks.classification.capture import Capture
from kdarena.tracks.classification.data import DataSet
from kdarena.tracks.classification.metrics import all_metrics
from kdarena.tracks.classification.models import create
from kdarena.tracks.classification.robustness import robustness_metrics
from kdarena.tracks.classification.scoring import PartEvaluation, Scores, detection, gap, outputs_of
from kdarena.tracks.modes import evaluating
from kdarena.tracks.task import Batch, Outputs, Part, Setting, Shapes, Task, synchronize

EVALUATION_BATCH = 500
DRAWN_VALUES = 2**18
"""Numbers in the images of the epochs that are drawn at once; the same on every device, so that a seed's stream is."""
LATENCY_RUNS = 30
LATENCY_SECONDS = 1.0
CHANNELS_LAST_FROM = 3
"""Channels of the images from which channels_last pays; with one channel both layouts are the same bytes."""


class ClassificationTask(Task):
    """Data, networks, loss and evaluation of one data set and one pair of architectures on one device.

    Args:
        card: of the task.
        setting: device, precision and data root.
        data: both splits.
        streaming: leave the training images in host memory; None: where they don't fit into half of a GPU's free memory,
            or are memory-mapped.
    """

    def __init__(self, card: TaskCard, setting: Setting, data: DataSet, streaming: bool | None = None):
        self.card = card
        self.setting = setting
        self._data = data
        *_, width, self._channels = data.train_images.shape
        self._image = (self._channels, *data.train_images.shape[1:3])
        self._values = data.train_images[0].size
        self._channels_last = self._channels >= CHANNELS_LAST_FROM
        self._normalise = Normalisation(data.mean, data.std, data.peak, width, self._channels_last, setting.device)
        self._augmentation = Augmentation(data.padding, data.flip)
        stream = _too_large(data, setting.device) if streaming is None else streaming
        kind = Streaming if stream else Resident
        self._train: Source = kind(data.train_images, data.train_labels, setting.device)
        self._test: Source = kind(data.test_images, data.test_labels, setting.device)
        self._beside: dict[str, Source] = {}
        self._sizes: dict[str, int] = {}
        self._reference_logits: WeakKeyDictionary[nn.Module, dict[tuple[Part, int, str], Tensor]] = WeakKeyDictionary()

    # data
    def size(self, part: Part, seed: int, protocol: str) -> int:
        """Number of samples of a part; ``published`` leaves no validation part."""
        return len(self._rows(part, seed, protocol))

    def _rows(self, part: Part, seed: int, protocol: str) -> Tensor:
        """Rows of the data set's split that make up a part, in ascending order."""
        if part == "test":
            return torch.arange(len(self._data.test_labels))
        total = len(self._data.train_labels)
        held_out = 0 if protocol == "published" else self.card.validation
        order = torch.randperm(total, generator=_generator(seed, "split"))
        chosen = order[:held_out] if part == "validation" else order[held_out:]
        return chosen.sort().values

    def batches(self, seed: int, protocol: str, data: Literal["augmented", "plain"]) -> Iterator[Batch]:
        """Endless training batches, see :meth:`Task.batches`; ``index`` counts the samples of the run's training part."""
        passes = self._passes(self._rows("train", seed, protocol), seed, data == "augmented")
        return self._batches(self._train, passes, self.card.recipe.batch_size)

    def _passes(self, rows: Tensor, seed: int, augmented: bool) -> Iterator[Pass]:
        order_of, random = _generator(seed, "order", augmented), _generator(seed, "augmentation")
        if not len(rows):
            raise ValueError(f"{self.card.data_set}: nothing is left to train on beside {self.card.validation} validation samples")
        batch_size = self.card.recipe.batch_size
        # an incomplete last batch is dropped in training, unless it is the only one
        kept = len(rows) // batch_size * batch_size if augmented and len(rows) >= batch_size else len(rows)
        # small sets: several epochs of whole batches are drawn at once, since the calls cost more than the work
        epochs = max(1, DRAWN_VALUES // (self._values * kept)) if kept % batch_size == 0 else 1
        while True:
            positions = torch.cat([torch.randperm(len(rows), generator=order_of)[:kept] for _ in range(epochs)])
            yield Pass(rows[positions], positions, self._augmentation.draw(len(positions), random) if augmented else None)

    def _batches(self, source: Source, passes: Iterable[Pass], batch_size: int) -> Iterator[Batch]:
        return batches(source, passes, batch_size, self._values, self._inputs, self.device)

    def targets(self, seed: int, protocol: str) -> Tensor:
        """See :meth:`Task.targets`."""
        return self.labels("train", seed, protocol).to(self.device)

    def labels(self, part: Part, seed: int, protocol: str) -> Tensor:
        """Labels of a part [P] on the CPU, in the order of :meth:`inputs_of`."""
        return torch.from_numpy(self._data.test_labels if part == "test" else self._data.train_labels)[self._rows(part, seed, protocol)]

    def inputs_of(self, part: Part, seed: int, protocol: str) -> Iterator[Tensor]:
        """A part's inputs, unaugmented, in batches."""
        rows = self._rows(part, seed, protocol)
        source = self._test if part == "test" else self._train
        return (batch.inputs for batch in self._batches(source, [Pass(rows, rows, None)], EVALUATION_BATCH))

    def auxiliary(self, seed: int) -> Iterator[Tensor]:
        """See :meth:`Task.auxiliary`; as many inputs a batch as training has."""
        name = outliers.auxiliary_of(self._data.name, self.setting.data_root)
        if name is None:
            raise ValueError(f"task {self.card.name} has no auxiliary images below the data root")
        source, rows = self._images_beside(f"auxiliary/{name}", lambda: outliers.auxiliary_images(name, self.setting.data_root))
        passes = self._passes(rows, int(derive(seed, "auxiliary")), True)
        return (batch.inputs for batch in self._batches(source, passes, self.card.recipe.batch_size))

    def _images_beside(self, key: str, read: Callable[[], np.ndarray]) -> tuple[Source, Tensor]:
        """Images without labels, read once, and their rows."""
        if key not in self._beside:
            images = read()
            self._beside[key] = Resident(images, np.zeros(len(images), np.int64), self.device)
            self._sizes[key] = len(images)
        return self._beside[key], torch.arange(self._sizes[key])

    @property
    def pixel_std(self) -> Tensor:
        """See :meth:`Task.pixel_std`."""
        return torch.tensor(self._data.std, device=self.device).view(-1, 1, 1)

    def _inputs(self, chunk: Chunk) -> Tensor:
        images = chunk.images if chunk.drawn is None else self._augmentation.apply(chunk.images, chunk.drawn)
        return self._normalise(images)

    # networks
    def new_network(self, architecture: str, *, dropout: float = 0.0) -> nn.Module:
        """See :meth:`Task.new_network`; raises ``ValueError`` for an unknown architecture or one without dropout.

        It is initialised on the CPU, so that a seed gives the same network on every device.
        """
        network = create(architecture, self.classes, dropout=dropout, in_channels=self._channels).to(self.device)
        if self._channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def forward(self, network: nn.Module, inputs: Tensor, **arguments: Any) -> Outputs:
        """See :meth:`Task.forward`; a network that declares no ``taps`` and ``head`` gives logits alone.

        A network may answer with its logits, or with ``(logits, exits, exit_embeddings)``, the tuples shallow to deep.
        """
        with Capture(network) as capture, self._autocast():
            answer = network(inputs, **arguments)
        if isinstance(answer, Tensor):
            return Outputs(answer.float(), capture.features(), capture.embedding())
        logits, exits, embeddings = answer
        return Outputs(
            logits.float(),
            capture.features(),
            capture.embedding(),
            exits=tuple(one.float() for one in exits),
            exit_embeddings=tuple(one.float() for one in embeddings),
        )

    def branch(self, network: nn.Module, after: str, blocks: int | None = None) -> Branch:
        """See :meth:`Task.branch`."""
        if not self.card.branches:
            raise ValueError(f"the stages of {self.card.student} can't be cut from one another")
        return cut(network, after, blocks)

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.setting.precision == "bf16" else nullcontext()

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """Cross-entropy, mean over samples; of a network with earlier exits the sum over all its exits, as such networks are trained."""
        loss = functional.cross_entropy(outputs.logits, targets)
        for logits in outputs.exits:
            loss = loss + functional.cross_entropy(logits, targets)
        return loss

    def rows(self, outputs: Outputs, targets: Tensor) -> tuple[Tensor, None]:
        """A row is a sample, and all count."""
        return outputs.logits, None

    def optimizer(self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> Optimizer:
        """SGD with the recipe's momentum."""
        recipe = self.card.recipe
        fused = self.device.type in ("cpu", "cuda")
        return SGD(parameters, lr=lr, momentum=recipe.momentum, nesterov=recipe.nesterov, weight_decay=weight_decay, fused=fused)

    def curve(self, progress: float) -> float:
        """Linear warm-up, then ``gamma`` at each milestone passed."""
        recipe = self.card.recipe
        if progress < recipe.warmup:
            return progress / recipe.warmup
        return float(recipe.gamma ** sum(progress >= milestone for milestone in recipe.milestones))

    # evaluation
    def shapes(self, network: nn.Module) -> Shapes:
        """Shapes of a network's outputs for one sample; changes neither its buffers nor any generator."""
        buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), evaluating(network):
            outputs = self.forward(network, self.one_input())
            for buffer, before in buffers:
                buffer.copy_(before)
        features = {name: tuple(feature.shape[1:]) for name, feature in outputs.features.items()}
        embedding = tuple(outputs.embedding.shape[1:]) if outputs.embedding is not None else None
        return Shapes(tuple(outputs.logits.shape[1:]), features, embedding)

    def evaluate(self, network: nn.Module, part: Part, seed: int, protocol: str, reference: nn.Module | None = None) -> dict[str, float]:
        """See :meth:`Task.evaluate`: ``top1``, ``top5``, ``nll``, ``ece``; with a reference teacher ``agreement`` and ``teacher_kl``.

        A reference's logits are kept for as long as the module lives, so it may not change.

        Raises:
            ValueError: the part is empty.
        """
        rows = self._rows(part, seed, protocol)
        if not len(rows):
            raise ValueError(f"protocol {protocol!r} trains on all of train, so it has no {part} part")
        logits = outputs_of(self, network, self.inputs_of(part, seed, protocol)).logits
        return all_metrics(logits, self.labels(part, seed, protocol), self._logits_of_reference(reference, part, seed, protocol))

    def _logits_of_reference(self, reference: nn.Module | None, part: Part, seed: int, protocol: str) -> Tensor | None:
        if reference is None:
            return None
        kept = self._reference_logits.setdefault(reference, {})
        # the test split is the same for every seed
        key = (part, 0, "") if part == "test" else (part, seed, protocol)
        if key not in kept:
            kept[key] = outputs_of(self, reference, self.inputs_of(part, seed, protocol)).logits
        return kept[key]

    def evaluation(self, part: Part, seed: int, protocol: str) -> PartEvaluation:
        """See :meth:`Task.evaluation`."""
        return PartEvaluation(self, part, seed, protocol)

    def detection(self, network: nn.Module, part: Part, seed: int, protocol: str, scores: Scores | None = None) -> dict[str, float]:
        """See :meth:`Task.detection`: ``prr/SCORE``, ``auroc/SET/SCORE`` and ``aupr/SET/SCORE``."""
        root = self.setting.data_root
        found = {}
        for name in outliers.outliers_of(self._data.name, root):
            source, rows = self._images_beside(f"outliers/{name}", lambda name=name: outliers.outlier_images(name, root))  # type: ignore[misc]
            found[name] = outputs_of(self, network, (batch.inputs for batch in self._batches(source, [Pass(rows, rows, None)], EVALUATION_BATCH)))
        return detection(self.evaluation(part, seed, protocol), network, found, scores)

    def further_metrics(self, group: str, network: nn.Module, seed: int, protocol: str) -> dict[str, float]:
        """See :meth:`Task.further_metrics`: ``gap``, ``uncertainty`` or ``robustness``."""
        if group == "gap":
            return gap(self, network, seed, protocol)
        if group == "uncertainty":
            return self.detection(network, "test", seed, protocol)
        if group != "robustness":
            return super().further_metrics(group, network, seed, protocol)
        images = torch.from_numpy(self._data.test_images).permute(0, 3, 1, 2).to(self.device).float() / self._data.peak
        with evaluating(network, gradients=True):
            return robustness_metrics(self._predictor(network), images, self.labels("test", seed, protocol).to(self.device), _generator(0, "robustness"))

    def _predictor(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        """A network as a function of raw images in [0, 1]: normalisation belongs to it."""
        mean, std = (torch.tensor(values, device=self.device).view(-1, 1, 1) for values in (self._data.mean, self._data.std))

        def predict(images: Tensor) -> Tensor:
            inputs = (images - mean) / std
            return self.forward(network, inputs.contiguous(memory_format=torch.channels_last) if self._channels_last else inputs).logits

        return predict

    def latency_ms(self, network: nn.Module) -> float:
        """Median time of one image's forward pass in milliseconds, over at most 30 passes and about a second."""
        image = self.one_input()
        times: list[float] = []
        with evaluating(network):
            for _ in range(3):
                self.forward(network, image)
            end = time.perf_counter() + LATENCY_SECONDS
            while len(times) < LATENCY_RUNS and (len(times) < 3 or time.perf_counter() < end):
                synchronize(self.device)
                start = time.perf_counter()
                self.forward(network, image)
                synchronize(self.device)
                times.append(time.perf_counter() - start)
        return 1000 * statistics.median(times)

    def one_input(self) -> Tensor:
        """One image of zeros, as the networks take it."""
        image = torch.zeros(1, *self._image, device=self.device)
        return image.contiguous(memory_format=torch.channels_last) if self._channels_last else image


def _generator(seed: int, *purpose: object) -> torch.Generator:
    """A generator of one purpose's own, on the CPU, so that a seed means the same on every device."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


def _too_large(data: DataSet, device: torch.device) -> bool:
    if isinstance(data.train_images, np.memmap):
        return True
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return data.train_images.nbytes + data.test_images.nbytes > free / 2
