"""The field's metrics of a classifier of sentences from its logits on a whole part, in percent."""

from __future__ import annotations

from torch import Tensor

from kdarena.tracks.metrics import calibration_error, negative_log_likelihood, teacher_metrics, top
from kdarena.tracks.samples import POSITIVE


def matthews(logits: Tensor, targets: Tensor) -> float:
    """Matthews' correlation of predicted and true classes in percent; 0 where either is constant (GLUE's metric of CoLA)."""
    from sklearn.metrics import matthews_corrcoef

    return 100 * float(matthews_corrcoef(targets.numpy(), logits.argmax(dim=1).numpy()))


def f1(logits: Tensor, targets: Tensor) -> float:
    """Harmonic mean of precision and recall of the positive class in percent; 0 where nothing positive is found."""
    from sklearn.metrics import f1_score

    return 100 * float(f1_score(targets.numpy(), logits.argmax(dim=1).numpy(), labels=[POSITIVE], average="macro", zero_division=0.0))


def all_metrics(logits: Tensor, targets: Tensor, reference: Tensor | None = None) -> dict[str, float]:
    """``accuracy``, ``matthews``, ``f1``, ``nll`` and ``ece``; with a reference teacher's logits also ``agreement`` and ``teacher_kl``.

    Args:
        logits: [P, C] on the CPU.
        targets: [P].
    """
    return {
        "accuracy": top(logits, targets, 1),
        "matthews": matthews(logits, targets),
        "f1": f1(logits, targets),
        "nll": negative_log_likelihood(logits, targets),
        "ece": calibration_error(logits, targets),
        **teacher_metrics(logits, reference),
    }
