"""Speed is measured as ratios within one run: the machine may be shared and noisy.

Run by hand: ``pytest tests/benchmarks -n 0 -m benchmark -s``; ``KDARENA_BENCHMARK=short`` (as CI does) takes fewer blocks
and allows for its noise.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from kdarena.execute.updates import Stepper
from kdarena.method.discovery import discover
from kdarena.testing.run import make_run
from kdarena.tracks import find_card
from kdarena.tracks.classification.data import DataSet
from kdarena.tracks.classification.task import ClassificationTask
from kdarena.tracks.values import Setting, Split

GROSS = 1.5
"""Ratio that the short form allows: CI's machine may be so loaded that a few blocks tell no finer difference, but a synchronisation a step shows."""
SHORT = os.environ.get("KDARENA_BENCHMARK") == "short"


def made_up_cifar(count: int = 2000) -> DataSet:
    """Random images in CIFAR-100's shape: speed does not depend on what they show."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    labels = random.integers(0, 100, count).astype(np.int64)
    return DataSet("cifar100", images, labels, images[:500], labels[:500], (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762), 255.0, 4, True, "made up")


def cifar_task(pair: str, precision: str = "fp32", batch: int | None = None) -> ClassificationTask:
    card = replace(find_card(f"cifar100:{pair}"), train=1500, validation=500, test=500)
    if batch is not None:
        card = replace(card, recipe=replace(card.recipe, batch_size=batch))
    return ClassificationTask(card, Setting(precision=precision), made_up_cifar())


def in_turn(first: Callable[[], None], second: Callable[[], None], steps: int, groups: int) -> tuple[float, float, float]:
    """Median ratio of two kinds of steps, and the median seconds of each; blocks in the order first, second, second, first."""

    def block(step: Callable[[], None]) -> float:
        step()
        started = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - started) / steps

    ratios, firsts, seconds = [], [], []
    for _ in range(groups):
        a, b, c, d = block(first), block(second), block(second), block(first)
        ratios.append((a + d) / (b + c))
        firsts += [a, d]
        seconds += [b, c]
    return statistics.median(ratios), statistics.median(firsts), statistics.median(seconds)


def harness_step(task):
    """A step as the training loop takes it: batch, rates, hooks, bookkeeping of the losses, optimiser."""
    kd = next(one for one in discover() if one.name == "kd")
    torch.manual_seed(0)
    teacher = task.new_network(task.card.teacher).eval().requires_grad_(False)
    run = make_run(kd.implementation, task, teachers=[teacher])
    stepper = Stepper(run.hooks, run, run.phases[0])
    batches = task.batches(Split(0), "augmented")
    state = {"step": 0}

    def step():
        stepper.take(next(batches), state["step"] / 100_000, state["step"] / 100_000)
        state["step"] += 1
        if state["step"] % 50 == 0:
            stepper.terms.clear()

    return step


def minimal_step(task):
    """The same operations, written by hand, on the same batches."""
    torch.manual_seed(0)
    teacher = task.new_network(task.card.teacher).eval().requires_grad_(False)
    student = task.new_network(task.card.student).train()
    recipe = task.card.recipe
    parameters = list(student.parameters())
    optimizer = task.optimizer(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    batches = task.batches(Split(0), "augmented")
    temperature, weight = 4.0, 0.9

    def step():
        batch = next(batches)
        with torch.no_grad():
            target = teacher(batch.inputs)
        logits = student(batch.inputs)
        soft = functional.kl_div(
            functional.log_softmax(logits / temperature, 1), functional.log_softmax(target / temperature, 1), reduction="batchmean", log_target=True
        )
        loss = (1 - weight) * functional.cross_entropy(logits, batch.targets) + weight * temperature**2 * soft
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if recipe.clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
        optimizer.step()

    return step
