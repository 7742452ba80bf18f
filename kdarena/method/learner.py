"""What is trained in a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from kdarena.tracks.evaluation import Evaluation
from kdarena.tracks.values import Outputs


@dataclass
class Learner:
    """What is trained in a run.

    Attributes:
        student: deployed and scored; of the architecture of the task's reference student, which the harness asserts.
        helpers: predictors, critics, peers, transforms by name: trained along, thrown away, never exported.
        deploy: further networks to score in addition to the student, by name: reference rows of the board, without a rank.
        report: a method's own numbers, asked for once at the end of a run; recorded as ``method/NAME``.
        uncertainties: of ``"student"`` or a name in ``deploy``: scores [P] by name from its outputs, higher where it is less
            sure. Where given, misclassification and out-of-distribution detection by each score are recorded.
    """

    student: nn.Module
    helpers: dict[str, nn.Module] = field(default_factory=dict)
    deploy: dict[str, nn.Module] = field(default_factory=dict)
    report: Callable[[Evaluation], Mapping[str, float]] | None = None
    uncertainties: dict[str, Callable[[Outputs], Mapping[str, Tensor]]] = field(default_factory=dict)

    def modules(self) -> tuple[nn.Module, ...]:
        """The student, then the helpers in the order of their names' insertion."""
        return (self.student, *self.helpers.values())

    def parameters(self) -> list[nn.Parameter]:
        """All trainable parameters of student and helpers, each once."""
        unique: dict[int, nn.Parameter] = {}
        for module in self.modules():
            unique.update((id(parameter), parameter) for parameter in module.parameters() if parameter.requires_grad)
        return list(unique.values())
