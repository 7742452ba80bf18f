"""What the harness is measured against by ``gpu.py``: a loop as public tools run it, and the same step captured by hand."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kdarena.tracks.classification.data import DataSet, made_up_cifar
from kdarena.tracks.classification.task import ClassificationTask

TEMPERATURE, WEIGHT = 4.0, 0.9
WARM_UP = 5
"""Steps before a capture."""


class Absent(Exception):
    """A row can't be measured here; says why."""


@functools.cache
def made_up_images() -> DataSet:
    """Random images in CIFAR-100's shape and number."""
    return made_up_cifar("cifar100")


class Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Made-up CIFAR-100 as PIL images with the standard augmentation, transformed one by one on the CPU."""

    def __init__(self) -> None:
        self._data = made_up_images()
        self._mean, self._std = (torch.tensor(values).view(3, 1, 1) for values in (self._data.mean, self._data.std))

    def __len__(self) -> int:
        return len(self._data.train_images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image, ImageOps

        image = ImageOps.expand(Image.fromarray(self._data.train_images[index]), 4)
        left, top = random.randint(0, 8), random.randint(0, 8)
        image = image.crop((left, top, left + 32, top + 32))
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        return (pixels - self._mean) / self._std, int(self._data.train_labels[index])


def public_loop(task: ClassificationTask, loaders: int) -> Callable[[], float]:
    """A step as public tools take it: PIL images through a DataLoader, fp32, contiguous tensors, the loss and the accuracy read at every step."""
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise Absent("Pillow is not installed") from None
    device, batches = task.device, _endless(task.card.recipe.batch_size, loaders, task.device)
    student, teacher = (network.to(memory_format=torch.contiguous_format) for network in _networks(task))
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)

    def step() -> float:
        images, labels = (tensor.to(device) for tensor in next(batches))
        logits = student(images)
        with torch.no_grad():
            target = teacher(images)
        loss = _loss(logits, target, labels)
        correct = (logits.argmax(1) == labels).float().mean().item()
        seen = loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return seen + correct

    return step


def _endless(batch: int, loaders: int, device: torch.device) -> Iterator[Any]:
    loader = torch.utils.data.DataLoader(
        Pictures(), batch_size=batch, shuffle=True, drop_last=True, num_workers=loaders, pin_memory=device.type == "cuda", persistent_workers=loaders > 0
    )
    while True:
        yield from loader


def hand_captured_step(task: ClassificationTask) -> Callable[[], object]:
    """The step of knowledge distillation as one CUDA graph, captured by hand, with the copy of a batch before each replay.

    The batches are the task's own, so that it does what a step of the harness does.
    """
    device = task.device
    if device.type != "cuda":
        raise Absent("needs CUDA")
    student, teacher = _networks(task)
    batches = task.batches(_split(), "augmented")
    first = next(batches)
    inputs, targets = torch.empty_like(first.inputs).copy_(first.inputs), first.targets.clone()
    rate = torch.tensor(0.05, device=device)  # a tensor, so that a schedule can change it between replays
    optimizer = torch.optim.SGD(student.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4, fused=True)

    def take() -> Tensor:
        # what a cache of casts holds would be freed under the graph
        with torch.autocast("cuda", torch.bfloat16, enabled=task.setting.precision == "bf16", cache_enabled=False):
            with torch.no_grad():
                target = teacher(inputs)
            logits = student(inputs)
        loss = _loss(logits.float(), target.float(), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):  # the optimiser's buffers and cuDNN's choices exist before the capture
            take()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = take()

    def step() -> Tensor:
        batch = next(batches)
        inputs.copy_(batch.inputs)
        targets.copy_(batch.targets)
        rate.fill_(0.05)
        graph.replay()
        return loss

    return step


def _networks(task: ClassificationTask) -> tuple[nn.Module, nn.Module]:
    """A student to train and a frozen teacher."""
    torch.manual_seed(0)
    return task.new_network(task.card.student).train(), task.new_network(task.card.teacher).eval().requires_grad_(False)


def _loss(logits: Tensor, target: Tensor, labels: Tensor) -> Tensor:
    soft = functional.kl_div(
        functional.log_softmax(logits / TEMPERATURE, 1), functional.log_softmax(target / TEMPERATURE, 1), reduction="batchmean", log_target=True
    )
    return (1 - WEIGHT) * functional.cross_entropy(logits, labels) + WEIGHT * TEMPERATURE**2 * soft


def _split() -> Any:
    from kdarena.tracks.values import Split

    return Split(0)
