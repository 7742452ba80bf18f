"""The distilled student alone."""

from __future__ import annotations

import shutil
from pathlib import Path

from kdarena.errors import UserError
from kdarena.files import digest_of, replace_atomically
from kdarena.record.recorded import RecordedRun
from kdarena.record.runs import Record


def export_student(record: Record, run: str, destination: Path) -> Path:
    """Copy the student of a run as safetensors to a file, which is replaced as a whole; returns it.

    Args:
        record: where the run is.
        run: its id or the beginning of it.
        destination: the file to write.

    Raises:
        UserError: the run is unknown, its id ambiguous, it has no student, its student was changed since, or the file can't be written.
    """
    chosen = exportable(record, run)
    if destination.is_dir():
        raise UserError(f"--to {destination} is a folder; name a file, as {destination / 'student.safetensors'}")
    check_place(destination)
    try:
        copy_student(record, chosen, destination)
    except OSError as error:
        raise UserError(f"--to {destination}: can't be written ({error.strerror or error}); choose another place") from error
    return destination


def exportable(record: Record, run: str) -> RecordedRun:
    """The run whose id begins so, which has trained a student that is kept.

    Raises:
        UserError: it is unknown, its id ambiguous, or it has no student.
    """
    chosen = record.find(run)
    if chosen.spec.purpose == "teacher":
        raise UserError(f"run {chosen.run_id} trained a teacher, and only students are exported; choose a run of purpose final: kdarena runs")
    if chosen.spec.purpose == "tune":
        raise UserError(f"run {chosen.run_id} is a trial, whose student is not kept; choose a run of purpose final: kdarena runs")
    record.checkpoint(chosen.run_id)
    return chosen


def check_place(destination: Path) -> None:
    """Raise ``UserError`` where the folder that something is exported to is missing."""
    if not destination.parent.is_dir():
        raise UserError(f"--to {destination}: there is no folder {destination.parent}; make it first: mkdir -p {destination.parent}")


def copy_student(record: Record, run: RecordedRun, destination: Path) -> None:
    """Copy the student of a run to a file, which is replaced as a whole.

    Raises:
        UserError: the student was changed since it was recorded.
        OSError: the file can't be written.
    """
    source = record.checkpoint(run.run_id)
    with replace_atomically(destination) as partial:
        shutil.copyfile(source, partial)
        if run.result.weights is not None and digest_of(partial) != run.result.weights:
            raise UserError(f"{source}: was changed after it was recorded; repeat the command that made run {run.run_id} to train it again")
