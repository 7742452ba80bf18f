"""The classification task: images to one of C classes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Optimizer

from kdarena.seeds import derive
from kdarena.tracks.card import TaskCard
from kdarena.tracks.classification.augment import Augmentation, Normalisation
from kdarena.tracks.classification.batches import Chunk, Pass, Resident, Source, Streaming, batches
from kdarena.tracks.classification.capture import Capture
from kdarena.tracks.classification.data import DataSet
from kdarena.tracks.classification.metrics import all_metrics
from kdarena.tracks.classification.models import create
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
        """See :meth:`Task.forward`; a network that declares no ``taps`` and ``head`` gives logits alone."""
        with Capture(network) as capture, self._autocast():
            logits = network(inputs, **arguments)
        return Outputs(logits.float(), capture.features(), capture.embedding())

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.setting.precision == "bf16" else nullcontext()

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """Cross-entropy, mean over samples."""
        return functional.cross_entropy(outputs.logits, targets)

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
        with torch.random.fork_rng(devices=devices), _evaluating(network):
            outputs = self.forward(network, self._one_image())
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
        targets = torch.from_numpy(self._data.test_labels if part == "test" else self._data.train_labels)[rows]
        return all_metrics(self._logits(network, part, rows), targets, self._logits_of_reference(reference, part, rows, seed, protocol))

    def _logits_of_reference(self, reference: nn.Module | None, part: Part, rows: Tensor, seed: int, protocol: str) -> Tensor | None:
        if reference is None:
            return None
        kept = self._reference_logits.setdefault(reference, {})
        # the test split is the same for every seed
        key = (part, 0, "") if part == "test" else (part, seed, protocol)
        if key not in kept:
            kept[key] = self._logits(reference, part, rows)
        return kept[key]

    def _logits(self, network: nn.Module, part: Part, rows: Tensor) -> Tensor:
        """Logits [P, C] of a part on the CPU, in the order of ``rows``."""
        source = self._test if part == "test" else self._train
        with _evaluating(network):
            found = [self.forward(network, batch.inputs).logits for batch in self._batches(source, [Pass(rows, rows, None)], EVALUATION_BATCH)]
        return torch.cat(found).cpu()

    def latency_ms(self, network: nn.Module) -> float:
        """Median time of one image's forward pass in milliseconds, over at most 30 passes and about a second."""
        image = self._one_image()
        times: list[float] = []
        with _evaluating(network):
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

    def _one_image(self) -> Tensor:
        image = torch.zeros(1, *self._image, device=self.device)
        return image.contiguous(memory_format=torch.channels_last) if self._channels_last else image


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; afterwards every module is in the mode in which it was."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _generator(seed: int, *purpose: object) -> torch.Generator:
    """A generator of one purpose's own, on the CPU, so that a seed means the same on every device."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


def _too_large(data: DataSet, device: torch.device) -> bool:
    import numpy as np

    if isinstance(data.train_images, np.memmap):
        return True
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return data.train_images.nbytes + data.test_images.nbytes > free / 2
