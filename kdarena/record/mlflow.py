"""What MLflow needs to know and to be kept from: opening a store in silence, names it takes, batches of a size it takes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import posixpath
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kdarena.errors import UserError

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

DATABASE = "mlflow.db"
MOST_POINTS = 100
"""Points of a curve that MLflow draws; a point costs 0.1 ms to write. All of them stand in the artifact ``result.json``."""
MOST_METRICS, MOST_PARAMS, MOST_TAGS = 1000, 100, 100  # of one batch; mlflow.utils.validation
LONGEST_PARAM, LONGEST_TAG, LONGEST_KEY = 6000, 8000, 250  # characters; longer values would be cut without a word

_Item = TypeVar("_Item")


def chosen_uri() -> str | None:
    """The store that the user set for all of MLflow, or None."""
    return os.environ.get("MLFLOW_TRACKING_URI") or None


def store_uri(directory: Path, tracking_uri: str | None) -> str:
    """``tracking_uri``, or that of the directory's own database."""
    return tracking_uri or f"sqlite:///{(directory / DATABASE).resolve().as_posix()}"


def connect(directory: Path, tracking_uri: str | None) -> MlflowClient:
    """A client of ``tracking_uri``, or of the SQLite database in ``directory``, which is made where it is missing.

    Raises:
        UserError: the store can't be opened.
    """
    uri = store_uri(directory, tracking_uri)
    try:
        if not tracking_uri and not (directory / DATABASE).exists():
            _make_database(directory / DATABASE)
        return _open(uri)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        if "out-of-date database schema" in reason:
            remedy = f"bring it up to date: mlflow db upgrade {uri}"
        else:
            remedy = "check MLFLOW_TRACKING_URI" if tracking_uri else "move it away or choose another directory with --out"
        raise UserError(f"{uri}: MLflow can't open it ({type(error).__name__}: {reason}); {remedy}") from error


def _open(uri: str) -> MlflowClient:
    # read while mlflow is imported; a user's own setting stands
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow.tracking import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _make_database(path: Path) -> None:
    """Make an empty database beside its place and move it there, since a migration that is killed midway can't be resumed."""
    with tempfile.TemporaryDirectory(prefix="kdarena-") as folder:
        _open(f"sqlite:///{Path(folder, DATABASE).as_posix()}")
        partial = path.with_name(path.name + ".partial")
        shutil.copyfile(Path(folder, DATABASE), partial)
        os.replace(partial, path)


def safe_name(text: str, also: str = "") -> str:
    """A name that is no path and no markup, and different for different texts.

    Args:
        text: whatever a plugin or a task calls itself.
        also: further characters to keep.
    """
    kept = re.sub(rf"[^A-Za-z0-9._{re.escape(also)}-]+", "-", text).strip(".-")[:80]
    return kept if kept == text else f"{kept or 'name'}-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"


def safe_key(text: str) -> str:
    """A name that MLflow takes for a metric, a parameter or a tag: letters, digits and ``/ _ . - space``, no path that leads elsewhere."""
    parts = [part for part in re.sub(r"[^/\w.\- ]", "_", text).split("/") if part not in ("", ".", "..")]
    return posixpath.normpath("/".join(parts))[:LONGEST_KEY].rstrip("/") if parts else "_"


def safe_text(value: object, longest: int = LONGEST_PARAM) -> str:
    """A value as text that any database takes, cut at the limit."""
    return str(value).encode("utf-8", "replace").decode("utf-8").replace("\0", "")[:longest]


def json_tags(key: str, value: Any) -> dict[str, str]:
    """A JSON value as one tag, or as several where it is longer than a tag may be."""
    text = json.dumps(value, separators=(",", ":"))
    pieces = [text[start : start + LONGEST_TAG] for start in range(0, len(text), LONGEST_TAG)]
    return {key if number == 0 else f"{key}.{number}": piece for number, piece in enumerate(pieces)}


def from_json_tags(key: str, tags: Mapping[str, str]) -> Any:
    """The inverse of :func:`json_tags`; raises ``KeyError`` or ``ValueError`` where the tags are not whole."""
    text, number = tags[key], 1
    while f"{key}.{number}" in tags:
        text += tags[f"{key}.{number}"]
        number += 1
    return json.loads(text)


def metrics(values: Mapping[str, float], curves: Mapping[str, Sequence[tuple[int, float]]], step: int, now_ms: int) -> list[Metric]:
    """Final values (at ``step``) and curves as MLflow metrics."""
    from mlflow.entities import Metric

    # an infinite value would be stored as 1.8e308 and flatten its chart; nan is drawn as a gap
    def finite(value: float) -> float:
        return float(value) if math.isfinite(value) else math.nan

    found = [Metric(safe_key(name), finite(value), now_ms, place) for name, points in curves.items() for place, value in thinned(points)]
    return found + [Metric(safe_key(name), finite(value), now_ms, step) for name, value in values.items()]


def thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most :data:`MOST_POINTS` of a curve's points, evenly spread, the first and the last among them."""
    if len(points) <= MOST_POINTS:
        return list(points)
    return [points[round(number * (len(points) - 1) / (MOST_POINTS - 1))] for number in range(MOST_POINTS)]


def write_batches(client: MlflowClient, run_id: str, metrics: Iterable[Metric], params: Mapping[str, object]) -> None:
    """Log metrics and parameters in as few batches as MLflow's limits allow."""
    from mlflow.entities import Param

    metric_batches = list(batched(metrics, MOST_METRICS - MOST_PARAMS))  # 1000 is also the limit of all entities together
    safe = {safe_key(name): safe_text(value) for name, value in params.items()}  # MLflow refuses a batch that names a parameter twice
    param_batches = list(batched((Param(name, value) for name, value in safe.items()), MOST_PARAMS))
    for number in range(max(len(metric_batches), len(param_batches))):
        client.log_batch(
            run_id,
            metrics=metric_batches[number] if number < len(metric_batches) else [],
            params=param_batches[number] if number < len(param_batches) else [],
        )


def batched(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Lists of at most ``size`` items, in order."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def move(source: Path, target: Path) -> None:
    """Move a file, over a border of file systems too; nobody ever sees half of it at ``target``."""
    partial = target.with_name(target.name + ".partial")
    with contextlib.suppress(FileNotFoundError):
        partial.unlink()
    shutil.move(source, partial)
    os.replace(partial, target)
