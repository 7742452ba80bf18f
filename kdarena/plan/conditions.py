"""What all runs of a command on one task share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from kdarena.errors import UserError
from kdarena.plan.code import harness_digest
from kdarena.plan.machine import Machine
from kdarena.plan.request import Request
from kdarena.tracks.card import TaskCard

COMPILED_FROM = 600.0
"""Seconds of a run from which on compiling pays on CUDA: it takes the first steps of each method about half a minute."""


@dataclass(frozen=True)
class Conditions:
    """What all runs of a command on one task share, whatever their method.

    Attributes:
        card: the task.
        machine: where they run.
        precision: of the training.
        data: digest of the data set.
        protocol: as in :class:`kdarena.plan.spec.RunSpec`.
        capture: whether steps are captured once and replayed.
        metrics: groups of further metrics that final runs are scored by.
        compiled: whether networks are called compiled by the runs of methods; teachers are trained without, so that they are the same.
        views: as in :class:`kdarena.plan.spec.RunSpec`.
    """

    card: TaskCard
    machine: Machine
    precision: Literal["fp32", "bf16"]
    data: str
    protocol: Literal["validated", "published"]
    metrics: tuple[str, ...] = ()
    capture: bool = False
    compiled: bool = False
    views: int | None = None

    @property
    def platform(self) -> dict[str, Any]:
        """What computes the runs: fields of every spec."""
        machine = self.machine
        return {"device": machine.kind, "device_name": machine.name, "threads": machine.threads, "torch": machine.torch, "code": harness_digest()}

    def facts(self, board_budget: float | None = None, named: str = "") -> dict[str, str]:
        """What the record says of a run on the task in addition to its spec.

        Args:
            board_budget: the budget of the board that a run is made for (a trial's or a shorter run's own is a part of it);
                None for a teacher, which serves every board.
            named: what the user fixed of the method (:attr:`kdarena.plan.entrants.Entrant.named`).
        """
        facts = {"track": self.card.track, "metric": self.card.metric}
        if board_budget is not None:
            facts["budget"] = repr(board_budget)
        if named:
            facts["named"] = named
        return facts


def conditions_of(request: Request, card: TaskCard, machine: Machine) -> Conditions:
    """The conditions of a command's runs on a task, in fp32 where the request and the machine leave the precision open.

    Raises:
        UserError: its data can't be read.
    """
    precision = machine.precision(request.precision, request.protocol) or "fp32"
    try:
        data = card.digest(request.data_root)
    except (OSError, ValueError) as error:
        raise UserError(f"task {card.name}: {' '.join(str(error).split())}") from error
    capture = machine.captures(request.capture)
    return Conditions(card, machine, precision, data, request.protocol, request.metrics, capture, views=request.views)


def compiled_where_it_pays(request: Request, conditions: Conditions, seconds: float) -> Conditions:
    """The conditions with compiled calls, where the command leaves that to us and runs on CUDA are long.

    Args:
        seconds: of a run.
    """
    pays = request.compile == "auto" and conditions.machine.kind == "cuda" and seconds > COMPILED_FROM
    return replace(conditions, compiled=True) if pays else conditions
