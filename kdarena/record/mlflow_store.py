"""An MLflow store: opened in silence, with names that it takes, in batches of a size that it takes. MLflow is imported late: it takes 1.5 s."""

from __future__ import annotations

import json
import logging
import math
import os
import posixpath
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kdarena.errors import Notice, UserError
from kdarena.files import replace_atomically
from kdarena.record import sqlite

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

DATABASE = "mlflow.db"
BROKEN = "mlflow.broken.db"
MOST_POINTS = 100
"""Points of a curve that MLflow draws; a point costs 0.1 ms to write. All of them are in the artifact ``result.json``."""
MOST_METRICS, MOST_PARAMS, MOST_TAGS = 1000, 100, 100  # of one batch; mlflow.utils.validation
LONGEST_PARAM, LONGEST_TAG, LONGEST_KEY = 6000, 8000, 250  # characters; longer values would be cut without a word

_Item = TypeVar("_Item")


def chosen_uri() -> str | None:
    """The store that the user set for all of MLflow, or None."""
    return os.environ.get("MLFLOW_TRACKING_URI") or None


def connect(directory: Path, uri: str, *, own: bool) -> MlflowClient:
    """A client of a store.

    Args:
        directory: the output directory.
        own: the store is the directory's own database, which is made where it is missing, and made anew where it can't be used.

    Raises:
        UserError: the store can't be opened.
    """
    place = directory / DATABASE if own else uri
    try:
        if own:
            _prepare(directory / DATABASE)
        return _open(uri)
    except OSError as error:
        raise UserError(f"{place}: can't be written ({error.strerror or error})") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        if "out-of-date database schema" in reason:
            remedy = f"bring it up to date: mlflow db upgrade {uri}"
        else:
            remedy = "close what holds it, or delete it: it is written again from the record" if own else "check whether it is there and can be written"
        raise UserError(f"{place}: MLflow can't open it ({type(error).__name__}: {reason}); {remedy}") from error


def _open(uri: str) -> MlflowClient:
    # read while mlflow is imported; a user's own settings are left alone
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # a server that is away would else be waited for during minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    from mlflow.tracking import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # an error is raised to us, and said in one line
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _prepare(path: Path) -> None:
    """Make a database where there is none that can be used. It is a copy: one that is broken is put aside, which is said in a line."""
    problem = sqlite.problem(path, "alembic_version") if path.exists() else None
    if problem is not None:
        aside = path.with_name(BROKEN)
        sqlite.move_aside(path, aside)
        warnings.warn(
            f"{path}: MLflow can't use it ({problem}); it is now {aside.name}, and a new one is written from the record", category=Notice, stacklevel=2
        )
    if path.exists():
        return
    sqlite.remove_side_files(path)
    # made elsewhere and moved to its place, since a migration that is killed midway can't be resumed
    with tempfile.TemporaryDirectory(prefix="kdarena-") as folder:
        _open(sqlite.Address(Path(folder, DATABASE)).uri)
        with replace_atomically(path) as partial:
            shutil.copyfile(Path(folder, DATABASE), partial)


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


def metrics(values: Mapping[str, float], curves: Mapping[str, Sequence[tuple[int, float]]], step: int, now_ms: int) -> list[Metric]:
    """Final values (at ``step``) and curves as MLflow metrics. A curve on a part of the samples ends with the value on all of them."""
    from mlflow.entities import Metric

    # an infinite value would be stored as 1.8e308 and flatten its chart; nan is drawn as a gap
    def finite(value: float) -> float:
        return float(value) if math.isfinite(value) else math.nan

    kept = {name: [(place, value) for place, value in thinned(curve) if name not in values or place < step] for name, curve in curves.items()}
    points = [Metric(safe_key(name), finite(value), now_ms, place) for name, curve in kept.items() for place, value in curve]
    return points + [Metric(safe_key(name), finite(value), now_ms, step) for name, value in values.items()]


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


def pages(ask: Any) -> Iterator[Any]:
    """All results of a search, page by page."""
    token = None
    while True:
        page = ask(token)
        yield from page
        token = page.token
        if not token:
            return
