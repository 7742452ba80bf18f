"""``export``: the student of a run, alone or in a folder with all that it needs elsewhere; the command and the function."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from kdarena.api.arguments import EXPORT_FORMATS, choice
from kdarena.api.boards import boards_of
from kdarena.api.records import recorded
from kdarena.board.model_card import ModelCard, card_of, markdown
from kdarena.board.rows import Row, rows
from kdarena.errors import UserError
from kdarena.files import folder_at_once, sha256_of
from kdarena.plan.request import Request
from kdarena.record.export import check_place, copy_student, export_student, exportable
from kdarena.record.recorded import RecordedRun
from kdarena.record.runs import Record
from kdarena.tracks import find_card
from kdarena.tracks.own import kept

if TYPE_CHECKING:
    from kdarena.tracks.card import TaskCard

Format = Literal["torch.export", "onnx", "timm", "hf"]
"""See :data:`kdarena.api.arguments.EXPORT_FORMATS`."""
WEIGHTS = "model.safetensors"
FILES = (".pt", ".pth", ".pt2", ".bin", ".ckpt", ".onnx")
"""Endings of files of weights and programs, which nobody gives a folder."""
NEEDED = {"torch.export": "torch alone", "onnx": "onnxruntime and numpy", "hf": "transformers", "timm": "timm"}
"""What a student is loaded with, by format."""


def export(
    run: str, to: str | Path, *, format: str = "torch.export", out: str | Path = Request.out, data_root: str | Path | None = None, force: bool = False
) -> Path:
    """Write the student of a run, as ``kdarena export`` does.

    Args:
        run: its id or the beginning of it.
        to: a file that ends with ``.safetensors``, which gets the weights alone, or a folder, which gets all that the student needs elsewhere.
        format: what the folder is for, one of :data:`kdarena.api.arguments.EXPORT_FORMATS`.
        out: the output directory of the run.
        data_root: where the data of the run's task are, where they are not embedded: names of classes and preparation come from them.
        force: replace an earlier export in that folder.

    Returns:
        the file or the folder.

    Raises:
        UserError: it can't be carried out as given; the line says why and what to do.
    """
    wanted, to, out = cast(Format, choice(format, "--format", EXPORT_FORMATS)), Path(to), Path(out)
    record = Record.open(out, create=False)
    if is_file(to):
        if wanted != "torch.export":
            raise UserError(f"--to {to}: --format {wanted} writes a folder; name one, as {to.with_suffix('')}")
        return export_student(record, run, to)
    chosen = exportable(record, run)
    check_folder(to, force)
    row = _row_of(record, out, chosen)
    return export_folder(record, chosen, row, (), to, format=wanted, data_root=None if data_root is None else str(data_root))


def is_file(to: Path) -> bool:
    """Whether a student is exported to a file, and not to a folder."""
    return to.suffix == ".safetensors" and not to.is_dir()


def check_folder(to: Path, force: bool = False) -> None:
    """Raise ``UserError`` where a folder can't take a student: it is a file, or holds something that is no earlier export, which only ``force`` replaces."""
    if to.suffix in FILES and not to.exists():
        raise UserError(f"--to {to}: name a folder, or a file whose name ends with .safetensors, which gets the weights alone")
    if to.is_dir() and any(to.iterdir()):
        if not _is_export(to):
            raise UserError(f"--to {to}: the folder holds other files; name a new folder")
        if not force:
            raise UserError(f"--to {to}: a student was exported there already; name a new folder, or replace it with --force")
    elif to.exists() and not to.is_dir():
        raise UserError(f"--to {to}: it is a file; name a folder, or a file that ends with .safetensors")
    check_place(to)


def _is_export(folder: Path) -> bool:
    """Whether a folder holds an export and nothing else."""
    try:
        card = json.loads((folder / "card.json").read_text("utf-8"))
        known = {*card["files"], "card.json"}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return "run_id" in card and all(path.name in known or path.name == "__pycache__" for path in folder.iterdir())


def _row_of(record: Record, out: Path, run: RecordedRun) -> Row:
    """The row of a run's method on its board, or where it is on none what is known of the run alone."""
    for row in rows(boards_of(recorded(record, out))):
        if run.run_id in (row["run_ids"] or ()):
            return row
    result, spec = run.result, run.spec
    alone = {"mean": result.metrics.get(f"test/{run.facts.get('metric')}", float("nan")), "ci_low": None, "ci_high": None, "seeds": 1, "supervision": None}
    return {**alone, "budget": spec.budget.amount, "unit": spec.budget.unit, "params": result.parameters, "latency_ms": None, "run_ids": [run.run_id]}


def export_folder(
    record: Record, run: RecordedRun, row: Row, answer: Sequence[str], to: Path, *, format: Format = "torch.export", data_root: str | None = None
) -> Path:
    """Write the student of a run to a folder, which appears with all its files or not at all; returns it.

    Args:
        row: of the run's method on its board.
        answer: why it is recommended, in words; empty where it is not.

    Raises:
        UserError: the data of its task are not there or are others than it was trained on, it can't be written, or not in that format.
    """
    task = find_card(run.spec.task, data_root, kept(record.directory))
    _check_data(run, task, data_root)
    try:
        with folder_at_once(to) as folder:
            _fill(folder, record, run, task, format, data_root)
            _write_card(folder, card_of(run, row, task, answer, _loading(format)))
    except OSError as error:
        raise UserError(f"--to {to}: can't be written ({error.strerror or error}); choose another place") from error
    except ValueError as error:
        raise UserError(f"run {run.run_id} can't be exported with --format {format}: {' '.join(str(error).split())}") from error
    return to


def _loading(format: Format) -> str:
    """What the card says of loading."""
    return f"# with {NEEDED[format]}: `python load.py`, or in Python with this folder on the path\nimport load\n\nhelp(load)\n"


def _check_data(run: RecordedRun, task: TaskCard, data_root: str | None) -> None:
    """Names of classes and preparation come from the data: they have to be those that the run was trained on."""
    problem = task.missing(data_root)
    if problem:
        raise UserError(f"task {task.name}: {problem}")
    try:
        digest = task.digest(data_root)
    except (OSError, ValueError) as error:
        raise UserError(f"task {task.name}: {' '.join(str(error).split())}") from error
    if digest != run.spec.data:
        raise UserError(
            f"task {task.name}: its data are not those that run {run.run_id} was trained on (digest {run.spec.data}, here {digest}); export it where those are"
        )


def _fill(folder: Path, record: Record, run: RecordedRun, task: TaskCard, format: Format, data_root: str | None) -> None:
    """Write everything but the card."""
    from kdarena.api import export_files
    from kdarena.tracks import load_task
    from kdarena.tracks.checkpoints import load_into
    from kdarena.tracks.values import Setting

    copy_student(record, run, folder / WEIGHTS)
    loaded = load_task(task, Setting(data_root=data_root))
    network = loaded.new_network(task.student)
    load_into(network, folder / WEIGHTS)
    network.eval().requires_grad_(False)
    if format == "timm" or format == "hf":
        (folder / WEIGHTS).unlink()
        export_files.write_loader(folder, loaded.save_for(format, network, folder))
        return
    facts = {"task": task.name, "track": task.track, "data_set": task.data_set, "data": run.spec.data, "architecture": task.student, "classes": task.classes}
    trained = {"method": run.spec.method, "run_id": run.run_id, "torch": run.spec.torch, "weights": run.result.weights}
    export_files.write(folder, loaded.deployed(network), format, {**facts, **trained})


def _write_card(folder: Path, card: ModelCard) -> None:
    (folder / "README.md").write_text(markdown(card), "utf-8")
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
    content = {**dataclasses.asdict(card), "files": files}
    (folder / "card.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
