"""The distilled student alone."""

from __future__ import annotations

import shutil
from pathlib import Path

from kdarena.errors import UserError
from kdarena.files import digest_of, replace_atomically
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
    chosen = record.find(run)
    if chosen.spec.purpose == "teacher":
        raise UserError(f"run {chosen.run_id} trained a teacher, and only students are exported; choose a run of purpose final: kdarena runs")
    if chosen.spec.purpose == "tune":
        raise UserError(f"run {chosen.run_id} is a trial, whose student is not kept; choose a run of purpose final: kdarena runs")
    source = record.checkpoint(chosen.run_id)
    if destination.is_dir():
        raise UserError(f"--to {destination} is a folder; name a file, as {destination / 'student.safetensors'}")
    if not destination.parent.is_dir():
        raise UserError(f"--to {destination}: there is no folder {destination.parent}; make it first: mkdir -p {destination.parent}")
    try:
        with replace_atomically(destination) as partial:
            shutil.copyfile(source, partial)
            if chosen.result.weights is not None and digest_of(partial) != chosen.result.weights:
                raise UserError(f"{source}: was changed after it was recorded; repeat the command that made run {chosen.run_id} to train it again")
    except OSError as error:
        raise UserError(f"--to {destination}: can't be written ({error.strerror or error}); choose another place") from error
    return destination
