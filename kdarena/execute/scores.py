"""What a trained network is scored by: validation and test, and what a final run records in addition."""

from __future__ import annotations

import torch
from torch import nn

from kdarena.errors import NotFinite, UserError
from kdarena.execute.hooks import Hooks, parameter_count
from kdarena.execute.payment import REPORT
from kdarena.method.run import Run
from kdarena.plan.spec import RunSpec
from kdarena.tracks.evaluation import Measured
from kdarena.tracks.known_logits import KnownLogits
from kdarena.tracks.label_order import order_note
from kdarena.tracks.task import Task
from kdarena.tracks.values import Part, Split


def scores(spec: RunSpec, task: Task, network: nn.Module, split: Split, reference: nn.Module | None, *, teacher_inputs: bool) -> Measured:
    """Validation where there is one; test once, at the last step, and never for a trial, nor for a teacher whose logits on it are not known. The samples are those of test."""
    parts: list[Part] = ["validation"] if spec.protocol == "validated" else []
    parts += ["test"] if spec.purpose != "tune" and not (isinstance(network, KnownLogits) and not network.knows("test")) else []
    measured = {part: task.measured(network, part, split, reference, teacher_inputs=teacher_inputs) for part in parts}
    metrics = {f"{part}/{name}": value for part, on_part in measured.items() for name, value in on_part.metrics.items()}
    return Measured(metrics, measured["test"].samples if "test" in measured else None)


def further_scores(spec: RunSpec, hooks: Hooks, run: Run, task: Task, student: nn.Module, reference: nn.Module | None) -> dict[str, float]:
    """What a final run records in addition: other deployed networks, the method's own report, detection, groups asked for.

    Args:
        task: the whole one, as no hook had it.
        student: that is scored and exported.
    """
    learner, split = run.learner, Split(spec.seed, spec.protocol)
    metrics: dict[str, float] = {}
    for name, network in learner.deploy.items():
        check_trained(network, f"network {name!r}")
        # a network made of teachers alone is scored on what teachers see
        scored = task.evaluate(network, "test", split, reference, teacher_inputs=run.of_teachers(network))
        metrics |= {f"deploy:{name}/{metric}": value for metric, value in scored.items()}
        metrics[f"deploy:{name}/params"] = float(parameter_count(network))
    with hooks.guard(REPORT):
        for name, uncertainties in learner.uncertainties.items():
            network, prefix = (student, "test") if name == "student" else (learner.deploy[name], f"deploy:{name}")
            metrics |= {f"{prefix}/{metric}": value for metric, value in task.detection(network, "test", split, uncertainties).items()}
        if learner.report is not None:
            metrics |= {f"method/{name}": float(value) for name, value in learner.report(task.evaluation("test", split)).items()}
    for group in spec.metric_groups:
        asked = task.further_metrics(group, student, split)
        metrics |= {f"test/{metric}": value for metric, value in asked.items() if f"test/{metric}" not in metrics}
    if run.method.auxiliary:
        # a student that learned from a data set's images can't be asked whether it takes others of them for foreign
        learned = (f"test/auroc/{task.card.auxiliary}/", f"test/aupr/{task.card.auxiliary}/")
        metrics = {metric: value for metric, value in metrics.items() if not metric.startswith(learned)}
    return metrics


def order_of_classes(task: Task, network: nn.Module, part: Part, split: Split) -> str | None:
    """What the user should know of the order of a given teacher's classes on a part, see :func:`kdarena.tracks.label_order.order_note`."""
    if not task.card.one_row_a_sample or task.card.output != "classes":
        return None
    logits = task.part_outputs(network, part, split, teacher_inputs=True).logits
    return order_note(logits.argmax(dim=1).numpy(), task.part_targets(part, split).numpy(), task.classes)


def check_trained(network: nn.Module, role: str) -> None:
    """Assert that a network that a run has trained can be scored: it has no parameter or buffer that is nan or infinite.

    Args:
        role: what the network is, as ``student``.

    Raises:
        NotFinite: names the first that is.
    """
    name = first_not_finite(network)
    if name is not None:
        raise NotFinite(f"tensor {name!r} of the trained {role} is not finite")


def check_given(network: nn.Module) -> None:
    """Assert that a network that the user gave can be a teacher, as :func:`check_trained` does.

    Raises:
        UserError: names the first tensor that is not finite.
    """
    name = first_not_finite(network)
    if name is not None:
        raise UserError(f"tensor {name!r} of the teacher is not finite")


def first_not_finite(network: nn.Module) -> str | None:
    """Name of the first parameter or buffer of a network that is nan or infinite; None where all are finite."""
    tensors = network.state_dict().items()
    return next((name for name, tensor in tensors if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())), None)
