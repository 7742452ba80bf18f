"""The card of an exported student: what it is, how good it is and how sure that is, and how it is loaded; as JSON and as Markdown."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdarena.board.cells import Row, clean
from kdarena.board.formats import escape_markdown
from kdarena.files import write_atomically
from kdarena.params import Value
from kdarena.record.recorded import RecordedRun

if TYPE_CHECKING:
    from kdarena.tracks.card import TaskCard

FENCE = "````"


@dataclass(frozen=True)
class ModelCard:
    """What is known of an exported student.

    Attributes:
        task, data_set, track: what it was trained on; ``data``: the digest of it.
        architecture: of the student.
        teacher: architecture of the reference teacher; ``teacher_weights``: their digest.
        method: how it was distilled, ``student`` for trained alone; with ``params`` and ``recipe`` where they differ from the defaults.
        supervision: from whom it learned.
        metric: of ``mean``, ``low`` and ``high``: the method's mean on test over ``seeds`` fresh seeds, with its 95 % t interval. That is what to expect; ``own`` is this student's own.
        validation: this student's, by which it was taken among the seeds.
        budget, unit: of its training.
        run_id, seed, weights: the run that trained it, and the digest of its file; ``run_ids``: those of all seeds.
        parameters, latency_ms: of the deployed network.
        answer: why it is recommended, and how sure that is.
        environment: versions and device of the training.
        load: Python code that loads it.
    """

    task: str
    data_set: str
    data: str
    track: str
    architecture: str
    teacher: str
    teacher_weights: str | None
    method: str
    params: Mapping[str, Value]
    recipe: Mapping[str, float]
    supervision: str | None
    metric: str
    mean: float
    low: float | None
    high: float | None
    seeds: int
    own: float | None
    validation: float | None
    budget: float
    unit: str
    run_id: str
    run_ids: Sequence[str]
    seed: int
    weights: str | None
    parameters: int | None
    latency_ms: float | None
    answer: Sequence[str]
    environment: Mapping[str, str]
    load: str


def card_of(run: RecordedRun, row: Row, task: TaskCard, answer: Sequence[str], load: str) -> ModelCard:
    """The card of a run's student.

    Args:
        run: that trained it.
        row: of its method on the board.
        task: its task.
        answer: the recommendation in words.
        load: Python code that loads it.
    """
    spec, metrics = run.spec, run.result.metrics
    return ModelCard(
        task=task.name,
        data_set=task.data_set,
        data=spec.data,
        track=task.track,
        architecture=task.student,
        teacher=task.teacher,
        teacher_weights=spec.reference,
        method=spec.method,
        params=dict(spec.params),
        recipe=dict(spec.recipe),
        supervision=row["supervision"],
        metric=task.metric,
        mean=row["mean"],
        low=row["ci_low"],
        high=row["ci_high"],
        seeds=row["seeds"],
        own=metrics.get(f"test/{task.metric}"),
        validation=metrics.get(f"validation/{task.metric}"),
        budget=row["budget"],
        unit=row["unit"],
        run_id=run.run_id,
        run_ids=tuple(row["run_ids"]),
        seed=spec.seed,
        weights=run.result.weights,
        parameters=row["params"],
        latency_ms=row["latency_ms"],
        answer=tuple(answer),
        environment={"device": spec.device, "device_name": spec.device_name, "torch": spec.torch, "precision": spec.precision, "code": spec.code},
        load=load,
    )


def loading_code(task: str, file: str, out: Path | None = None) -> str:
    """Python code that loads a student: its weights with safetensors and torch alone, then as a network with kdarena.

    Args:
        out: the output directory that knows the task, where the user brought it; None: kdarena lists it.
    """
    known = "" if out is None else "from pathlib import Path\n\n"
    where = "" if out is None else f", own=kept(Path({str(out)!r}))"
    imported = "" if out is None else "from kdarena.tracks.own import kept\n"
    return f"""\
from safetensors.torch import load_file

weights = load_file({file!r})  # a state dict: names and tensors

# as a network, where kdarena is installed
{known}from kdarena.tracks import find_card, load_task
{imported}from kdarena.tracks.values import Setting

task = load_task(find_card({task!r}{where}), Setting())  # Setting(data_root=...) where the data are not embedded
network = task.new_network(task.card.student)
network.load_state_dict(weights)
network.eval()
"""


def write_card(card: ModelCard, file: Path) -> list[Path]:
    """Write a card next to the file of its student, as ``.json`` and as ``.md``; returns both paths.

    Raises:
        OSError: they can't be written; the error names the file.
    """
    written = [file.with_suffix(".json"), file.with_suffix(".md")]
    write_atomically(written[0], json.dumps(dataclasses.asdict(card), indent=1, ensure_ascii=False) + "\n")
    write_atomically(written[1], markdown(card))
    return written


def markdown(card: ModelCard) -> str:
    """A card for people; text of plugins is no markup."""
    setting = ", ".join(f"{name}={value}" for name, value in sorted({**card.params, **card.recipe}.items())) or "the method's defaults"
    interval = ""
    if card.low is not None and card.high is not None:  # a metric in percent has no values outside, whatever its t interval says
        interval = f", 95 % interval {max(card.low, min(0.0, card.mean)):.2f} to {min(card.high, 100.0):.2f},"
    own = f"; this student's own {card.own:.2f}" if card.own is not None else ""
    latency = f", {card.latency_ms:.3g} ms a sample on the device it was trained on" if card.latency_ms is not None else ""
    facts = {
        "Task": f"{card.task} ({card.track})",
        "Data": f"{card.data_set}, digest {card.data or 'unknown'}",
        "Student": f"{card.architecture}, {card.parameters or 0:,} parameters{latency}",
        "Method": f"{card.method}, {setting}",
        "Learned from": f"labels; {card.supervision or 'no teacher'} in addition" if card.supervision not in (None, "none") else "labels",
        "Teacher": f"{card.teacher}, weights {card.teacher_weights}" if card.teacher_weights else "none",
        f"{card.metric} on test": f"{card.mean:.2f} in the mean{interval} over {card.seeds} fresh seeds{own}"
        if card.seeds > 1
        else f"{card.mean:.2f}, one seed",
        "Budget of its training": f"{card.budget:.4g} {card.unit}",
        "Run": f"{card.run_id}, seed {card.seed}",
        "Runs of all seeds": ", ".join(card.run_ids),
        "Trained with": ", ".join(value for value in card.environment.values() if value),
    }
    table = "\n".join(f"| {escape_markdown(name)} | {escape_markdown(value)} |" for name, value in facts.items())
    answer = "\n".join(f"- {escape_markdown(line)}" for line in card.answer) + "\n\n" if card.answer else ""
    title = escape_markdown(f"{card.architecture} on {card.task}, {card.method}")
    return f"# {clean(title)}\n\n| | |\n|---|---|\n{table}\n\n{answer}## Loading\n\n{FENCE}python\n{card.load}{FENCE}\n"
