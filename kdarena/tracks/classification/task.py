"""The classification task: images to one of C classes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from kdarena.seeds import derive
from kdarena.tracks.branch import Branch, cut
from kdarena.tracks.capture import plain_outputs
from kdarena.tracks.card import TaskCard
from kdarena.tracks.classification import outliers
from kdarena.tracks.classification.augment import Augmentation, Normalisation
from kdarena.tracks.classification.batches import Chunk, Pass, Resident, Source, Streaming, batches
from kdarena.tracks.classification.crops import ResizedCrop
from kdarena.tracks.classification.data import DataSet
from kdarena.tracks.classification.deployed import Preparation, save_for
from kdarena.tracks.classification.models import create
from kdarena.tracks.classification.robustness import robustness_metrics
from kdarena.tracks.classification.selected import Images, on_disk
from kdarena.tracks.deployed import Deployed, FromPixels, images_of
from kdarena.tracks.evaluation import Scores, detection
from kdarena.tracks.modes import evaluating
from kdarena.tracks.overlap import rows_in_train
from kdarena.tracks.parts import generator, samples_a_pass
from kdarena.tracks.task import Task
from kdarena.tracks.values import Batch, Half, Outputs, Part, Setting, Split
from kdarena.tracks.views import Views, fixed_or

DRAWN_VALUES = 2**18
"""Numbers in the images of the epochs that are drawn at once; the same on every device, so that a seed's stream is."""
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
        augmentation: of training images; None: the shifted crops and flips of the data set.
        fixed_validation: see :class:`kdarena.tracks.parts.Parts`.
    """

    def __init__(
        self,
        card: TaskCard,
        setting: Setting,
        data: DataSet,
        streaming: bool | None = None,
        *,
        augmentation: Augmentation | ResizedCrop | None = None,
        fixed_validation: bool = False,
    ):
        super().__init__(card, setting, train=len(data.train_labels), test=len(data.test_labels), fixed_validation=fixed_validation)
        self._data = data
        *_, width, self._channels = data.train_images.shape
        height = data.train_images.shape[1]
        self._image = (self._channels, height, width)
        self._values = data.train_images[0].size
        self._channels_last = self._channels >= CHANNELS_LAST_FROM
        self._normalise = Normalisation(data.mean, data.std, data.peak, width, self._channels_last, setting.device)
        self._std = torch.tensor(data.std, device=setting.device).view(-1, 1, 1)
        self._augmentation = augmentation or Augmentation(data.padding, data.flip)
        self._views = fixed_or(self._augmentation.views(), self._augmentation.draw, len(data.train_labels), setting.views)
        stream = _too_large(data, setting.device) if streaming is None else streaming
        kind = Streaming if stream else Resident
        self._train: Source = kind(data.train_images, data.train_labels, setting.device)
        self._test: Source = kind(data.test_images, data.test_labels, setting.device)
        self._auxiliary: dict[str, tuple[Source, Tensor]] = {}
        self._outliers: dict[str, tuple[Source, Tensor]] = {}

    def without_test(self) -> Self:
        """See :meth:`Task.without_test`."""
        bare, data = super().without_test(), self._data
        no_images, no_labels = np.empty((0, *data.test_images.shape[1:]), data.test_images.dtype), np.empty(0, data.test_labels.dtype)
        bare._data = replace(data, test_images=no_images, test_labels=no_labels)
        bare._test = Resident(no_images, no_labels, self.device)
        bare._outliers = {}
        return bare

    # data
    def batches(self, split: Split, data: Literal["augmented", "plain"]) -> Iterator[Batch]:
        """See :meth:`Task.batches`; several epochs of a small set are drawn at once."""
        passes = self._passes(self.training_rows(split), split.seed, data == "augmented", self._views)
        return self._batches(self._train, passes, self.card.recipe.batch_size, self.mixing(split, data))

    def batch(self, half: Half, rows: Tensor, positions: Tensor, random: torch.Generator | None) -> Batch:
        """See :meth:`Task.batch`."""
        if half == "test":
            return self._at_once(self._test, Pass(rows, positions, None if random is None else self._augmentation.draw(len(rows), random)))
        return self._at_once(self._train, _pass(rows, positions, random, self._views))

    def seen(self, rows: Tensor, numbers: Tensor) -> Batch:
        """See :meth:`Task.seen`."""
        return self._at_once(self._train, Pass(rows, rows, self._views.numbered(rows, numbers)))

    @property
    def views(self) -> int | None:
        """See :meth:`Task.views`."""
        return None if self.card.recipe.mixes else self._views.count

    def one_batch(self) -> Batch:
        """One image of zeros."""
        nothing = torch.zeros(1, dtype=torch.long, device=self.device)
        return Batch(self.one_input(), nothing, nothing)

    def _passes(self, rows: Tensor, seed: int, augmented: bool, views: Views) -> Iterator[Pass]:
        order_of, random = generator(seed, "order", augmented), generator(seed, "augmentation")
        batch_size = self.card.recipe.batch_size
        kept = samples_a_pass(len(rows), batch_size, augmented)
        # small sets: several epochs of whole batches are drawn at once, since the calls cost more than the work
        epochs = max(1, DRAWN_VALUES // (self._values * kept)) if kept % batch_size == 0 else 1
        while True:
            positions = torch.cat([torch.randperm(len(rows), generator=order_of)[:kept] for _ in range(epochs)])
            yield _pass(rows[positions], positions, random if augmented else None, views)

    def _at_once(self, source: Source, samples: Pass) -> Batch:
        return next(self._batches(source, [samples], len(samples.rows)))

    def _batches(self, source: Source, passes: Iterable[Pass], batch_size: int, mix: Callable[[Batch], Batch] = lambda batch: batch) -> Iterator[Batch]:
        return batches(source, passes, batch_size, self._values, self._inputs, self.device, mix)

    def targets(self, split: Split) -> Tensor:
        """See :meth:`Task.targets`."""
        return self.part_targets("train", split).to(self.device)

    def part_targets(self, part: Part, split: Split) -> Tensor:
        """Labels of a part [P] on the CPU, in the order of :meth:`part_batches`; no image is read."""
        return torch.from_numpy(self._data.test_labels if part == "test" else self._data.train_labels)[self.parts.rows(part, split)]

    def auxiliary(self, split: Split) -> Iterator[Tensor]:
        """See :meth:`Task.auxiliary`; as many inputs a batch as training has."""
        source, rows = self._auxiliary_set()
        passes = self._passes(rows, derive(split.seed, "auxiliary"), True, Views(self._augmentation.draw))
        return (batch.inputs for batch in self._batches(source, passes, self.card.recipe.batch_size))

    def _auxiliary_set(self) -> tuple[Source, Tensor]:
        name = outliers.auxiliary_of(self._data.name, self.setting.data_root)
        if name is None:
            raise ValueError(f"task {self.card.name} has no auxiliary images below the data root")
        return self._images(self._auxiliary, name, outliers.auxiliary_images)

    def _images(self, kept: dict[str, tuple[Source, Tensor]], name: str, read: Callable[[str, str | None], Images]) -> tuple[Source, Tensor]:
        """Images without labels, read once, and their rows."""
        if name not in kept:
            images = read(name, self.setting.data_root)
            kind = Streaming if on_disk(images) else Resident
            kept[name] = kind(images, np.zeros(len(images), np.int64), self.device), torch.arange(len(images))
        return kept[name]

    @functools.cached_property
    def overlap(self) -> int | None:
        """See :meth:`Task.overlap`; of memory-mapped images, which are too many to be read again, it is not known."""
        return None if on_disk(self._data.train_images) else rows_in_train(np.asarray(self._data.test_images), np.asarray(self._data.train_images))

    @property
    def pixel_std(self) -> Tensor:
        """See :meth:`Task.pixel_std`."""
        return self._std

    def _inputs(self, chunk: Chunk) -> Tensor:
        images = chunk.images if chunk.drawn is None else self._augmentation.apply(chunk.images, chunk.drawn)
        return self._normalise(images)

    # networks
    def new_network(self, architecture: str, *, dropout: float = 0.0) -> nn.Module:
        """See :meth:`Task.new_network`; raises ``ValueError`` for an unknown architecture or one without dropout.

        It is initialised on the CPU, so that a seed gives the same network on every device.
        """
        network = create(architecture, self.classes, dropout=dropout, in_channels=self._channels, image_size=self._image[1:]).to(self.device)
        if self._channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def answer(self, network: nn.Module, inputs: Tensor, **arguments: Any) -> Outputs:
        """See :meth:`Task.answer`; a network that declares no ``taps`` and ``head`` gives logits alone.

        A network may answer with its logits, or with ``(logits, exits, exit_embeddings)``, the tuples shallow to deep.
        """
        return plain_outputs(*self.captured(network, inputs, **arguments))

    def branch(self, network: nn.Module, after: str, blocks: int | None = None) -> Branch:
        """See :meth:`Task.branch`."""
        if not self.card.branches:
            raise ValueError(f"the stages of {self.card.student} can't be cut from one another")
        return cut(network, after, blocks)

    def deployed(self, network: nn.Module) -> Deployed:
        """See :meth:`Task.deployed`: images with pixels from 0 to 1 in, scores [B, C] out."""
        data, (channels, height, width) = self._data, self._image
        preparation = {"size": [height, width], "channels": channels, "peak": data.peak, "mean": list(data.mean), "std": list(data.std)}
        program = FromPixels(network, data.mean, data.std).eval()
        return Deployed(program, images_of(self._image), {"images": {0: "batch"}}, {"preparation": preparation, "labels": self._labels}, "images")

    def save_for(self, library: str, network: nn.Module, folder: Path) -> str:
        """See :meth:`Task.save_for`: a network by reference, as its library keeps it."""
        seen = Preparation(self._image, self._data.mean, self._data.std, tuple(self._labels))
        return save_for(library, self.card.student, network, folder, seen) or super().save_for(library, network, folder)

    @property
    def _labels(self) -> list[str]:
        return list(self._data.labels) or [str(label) for label in range(self.classes)]

    # evaluation
    def detection(self, network: nn.Module, part: Part, split: Split, scores: Scores | None = None) -> dict[str, float]:
        """See :meth:`Task.detection`: ``prr/SCORE``, ``auroc/SET/SCORE`` and ``aupr/SET/SCORE``."""
        foreign = {}
        for name in outliers.outliers_of(self._data.name, self.setting.data_root):
            source, rows = self._images(self._outliers, name, outliers.outlier_images)
            foreign[name] = self.outputs_of(network, self._batches(source, [Pass(rows, rows, None)], self.evaluation_batch))
        return detection(self.evaluation(part, split), network, foreign, scores)

    def further_metrics(self, group: str, network: nn.Module, split: Split) -> dict[str, float]:
        """See :meth:`Task.further_metrics`; also ``robustness``."""
        if group != "robustness":
            return super().further_metrics(group, network, split)
        images = torch.from_numpy(np.asarray(self._data.test_images)).permute(0, 3, 1, 2).to(self.device).float() / self._data.peak
        with evaluating(network, gradients=True):
            return robustness_metrics(self._predictor(network), images, self.part_targets("test", split).to(self.device), generator(0, "robustness"))

    def _predictor(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        """A network as a function of raw images in [0, 1]: normalisation belongs to it."""
        mean, std = torch.tensor(self._data.mean, device=self.device).view(-1, 1, 1), self._std

        def predict(images: Tensor) -> Tensor:
            inputs = (images - mean) / std
            return self.forward(network, inputs.contiguous(memory_format=torch.channels_last) if self._channels_last else inputs).logits

        return predict

    def one_input(self) -> Tensor:
        """One image of zeros, as the networks take it."""
        image = torch.zeros(1, *self._image, device=self.device)
        return image.contiguous(memory_format=torch.channels_last) if self._channels_last else image


def _pass(rows: Tensor, positions: Tensor, random: torch.Generator | None, views: Views) -> Pass:
    """A pass over samples, augmented by draws from ``random``."""
    if random is None:
        return Pass(rows, positions, None, views.of_plain(rows))
    drawn, view = views.drawn(rows, random)
    return Pass(rows, positions, drawn, view)


def _too_large(data: DataSet, device: torch.device) -> bool:
    if on_disk(data.train_images):
        return True
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return data.train_images.nbytes + data.test_images.nbytes > free / 2
