"""What a loss looks like as a function of logits: properties that formulas of distillation have and that mistakes in them lack.

A check can't know a method's equations, so that what it says here is a warning.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdarena.params import Value, tunables
from kdarena.testing.finding import Finding
from kdarena.testing.observed import Observed
from kdarena.testing.probe_step import Probe, Probed, Says
from kdarena.tracks.task import Task

TEMPERATURE = re.compile(r"temperature|(^|_)tau($|_)|^t$", re.IGNORECASE)
SMALL, MARGIN = 0.1, 100.0
"""Size of logits for which a softened softmax is linear, and distance of logits at which one class has all."""
NOTHING = -1e4
"""Logit of a class that has no probability."""


def formulas(implementation: Any, task: Task) -> Iterator[Finding]:
    """What is said of the terms of the loss; nothing where the loss can't be asked so."""
    if task.card.output != "classes":
        return
    said = list(temperatures(implementation, task))
    probe = _probe(implementation, task, {})
    if probe is not None:
        said += [*divergences(probe, -1 if task.decodes else 1), *peers(probe)]
        said = said or [Finding("formulas", "ok", "nothing that a known mistake looks like")]
    yield from said


def temperatures(implementation: Any, task: Task) -> Iterator[Finding]:
    """With T² in front of a divergence the gradient on the logits keeps its size when T is raised; without it, it falls with T²."""
    for name, tunable in tunables(implementation.method.Params).items():
        if tunable.kind != "float" or not TEMPERATURE.search(name):
            continue
        pair = _two_temperatures(implementation, task, name)
        if pair is None:
            continue
        (low, first), (high, second) = pair
        for term, slope in _slopes(first, second, math.log(high / low)):
            if slope < -1.7:
                yield Finding(
                    "temperature",
                    "warning",
                    f"term {term!r}: from {name}={low:g} to {high:g} its gradient falls as 1/T², as if T² were missing; multiply a divergence of softened distributions "
                    "by T**2 (kdarena.losses.kl does), unless the paper does without",
                )


def divergences(probe: Probe, dim: int) -> Iterator[Finding]:
    """The direction of a KL, and whether it is divided by the number of classes."""
    student = probe.student

    def margins(of_student: float, of_others: float, classes: int = 1) -> Says:
        def says(network: nn.Module, logits: Tensor) -> Tensor:
            hot = _one_hot(logits, dim) * (of_student if network is student else of_others)
            return torch.cat([hot, *[torch.full_like(hot, NOTHING)] * (classes - 1)], dim=dim)

        return says

    probed = {key: _asked(probe, margins(*key)) for key in ((0.0, MARGIN), (0.0, 2 * MARGIN), (MARGIN, 0.0), (2 * MARGIN, 0.0), (1.0, MARGIN), (1.0, 0.0))}
    if any(one is None for one in probed.values()):
        return
    wider = [_asked(probe, margins(1.0, MARGIN, classes)) for classes in (2, 4)]
    between = _between(probed[1.0, MARGIN], probed[1.0, 0.0], student)
    for term in between:
        sharper_teacher = _ratio(probed[0.0, 2 * MARGIN], probed[0.0, MARGIN], term)
        sharper_student = _ratio(probed[2 * MARGIN, 0.0], probed[MARGIN, 0.0], term)
        forward, swapped = sharper_teacher < 1.3 and sharper_student > 1.7, sharper_teacher > 1.7 and sharper_student < 1.3
        if swapped:
            yield Finding(
                "divergence",
                "warning",
                f"term {term!r} grows with the teacher's confidence and not with the student's, as KL(student ‖ teacher) does; if KL(teacher ‖ student) is meant, swap its "
                "arguments: torch's kl_div takes the student's log-probabilities first, kdarena.losses.kl the teacher's logits",
            )
        by_classes = [_ratio(one, probed[1.0, MARGIN], term) for one in wider]
        if (forward or swapped) and all(abs(ratio - 1 / classes) < 0.01 for ratio, classes in zip(by_classes, (2, 4), strict=True)):
            yield Finding(
                "divergence",
                "warning",
                f"term {term!r} is divided by the number of classes, as kl_div(…, reduction='mean') does; use reduction='batchmean', or sum over classes and take the mean over rows",
            )


def peers(probe: Probe) -> Iterator[Finding]:
    """A divergence between two networks that both learn sends its gradient into one of them."""
    if len(probe.learners) < 2:
        return

    def alike(network: nn.Module, logits: Tensor) -> Tensor:
        return torch.randn(logits.shape, generator=torch.Generator().manual_seed(0)).to(logits)

    def different(network: nn.Module, logits: Tensor) -> Tensor:
        place = next((place for place, known in enumerate([*probe.learners, *probe.others]) if known is network), 0)
        return torch.randn(logits.shape, generator=torch.Generator().manual_seed(place)).to(logits)

    same, other = _asked(probe, alike), _asked(probe, different)
    if same is None or other is None:
        return
    names = {id(network): "the student" if network is probe.student else f"helper {name!r}" for name, network in _named(probe)}
    for term, reached in other.gradients.items():
        learners = [names[key] for key in reached if key in names]
        if len(learners) > 1 and abs(same.values.get(term, 1.0)) < 1e-4 * abs(other.values[term]):
            yield Finding(
                "peers",
                "warning",
                f"term {term!r}, a distance between what networks say, sends its gradient into {' and '.join(learners)}: a peer that is a target has to be detached "
                "(outputs.logits.detach())",
            )


def _named(probe: Probe) -> list[tuple[str, nn.Module]]:
    learner = probe.seen.run.learner
    return [("", learner.student), *learner.helpers.items()]


def _probe(implementation: Any, task: Task, params: Mapping[str, Value]) -> Probe | None:
    """None where the last phase has no loss."""
    seen = Observed(implementation, task, params=params, steps=2).train()
    split = seen.run.split
    batch = next(itertools.islice(task.batches(split, "augmented"), 1, None))
    probe = Probe(seen, batch)
    return probe if probe.has_loss else None


def _asked(probe: Probe, says: Says) -> Probed | None:
    """None where the loss does not take such logits."""
    try:
        return probe(says)
    except Exception:
        return None


def _two_temperatures(implementation: Any, task: Task, name: str) -> tuple[tuple[float, tuple[Probed, Probed, int]], ...] | None:
    """At two temperatures, what the loss says of small logits, and of others of the teacher; None where that can't be asked."""
    tunable = tunables(implementation.method.Params)[name]
    for pair in ((4.0, 8.0), ((tunable.high or 2.0) / 2, tunable.high or 2.0)):
        try:
            for value in pair:
                tunable.check(value)
        except ValueError:
            continue
        asked = []
        for value in pair:
            probe = _probe(implementation, task, {name: value})
            if probe is None:
                return None
            one, other = (_asked(probe, _small(probe, seed)) for seed in (1, 2))
            if one is None or other is None:
                return None
            asked.append((value, (one, other, id(probe.student))))
        return tuple(asked)
    return None


def _small(probe: Probe, seed: int) -> Says:
    """Small logits, of which those of the other networks follow the seed."""

    def says(network: nn.Module, logits: Tensor) -> Tensor:
        own = torch.Generator().manual_seed(0 if network is probe.student else seed)
        return SMALL * torch.randn(logits.shape, generator=own).to(logits)

    return says


def _slopes(first: tuple[Probed, Probed, int], second: tuple[Probed, Probed, int], step: float) -> Iterator[tuple[str, float]]:
    """Exponent of the temperature in the gradient on the student's logits, of each term that hangs on another network's and on the temperature."""
    (low, low_other, student), (high, _, other_student) = first, second
    for term, value in low.values.items():
        sizes = [
            float(one.gradients[term][key].norm()) if term in one.gradients and key in one.gradients[term] else 0.0
            for one, key in ((low, student), (high, other_student))
        ]
        if min(sizes) > 0 and not math.isclose(value, low_other.values[term], rel_tol=1e-4):
            yield term, math.log(sizes[1] / sizes[0]) / step


def _one_hot(logits: Tensor, dim: int) -> Tensor:
    """1 for one class of each sample, another for each sample in turn; else 0."""
    classes = torch.arange(logits.shape[dim], device=logits.device)
    shape = [1] * logits.dim()
    shape[dim] = len(classes)
    samples = torch.arange(logits.shape[0], device=logits.device).view(-1, *[1] * (logits.dim() - 1))
    return (classes.view(shape) == samples % len(classes)).to(logits).expand_as(logits).clone()


def _between(one: Probed | None, other: Probed | None, student: nn.Module) -> list[str]:
    """Terms that send a gradient into the student's logits and hang on what another network says."""
    if one is None or other is None:
        return []
    return [
        name
        for name, value in one.values.items()
        if id(student) in one.gradients[name] and not math.isclose(value, other.values.get(name, value), rel_tol=1e-4)
    ]


def _ratio(first: Probed | None, second: Probed | None, term: str) -> float:
    if first is None or second is None or not second.values.get(term):
        return math.nan
    return first.values.get(term, math.nan) / second.values[term]
