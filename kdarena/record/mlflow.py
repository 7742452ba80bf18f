"""MLflow, written from the record: a copy for its pages and its search, which may be deleted and written again.

One experiment a task, one parent run a method, one child run a training. Each recorded run is written once: the file
``mlflow.written`` remembers which were, and how the database was left. Where it is not as it was left, MLflow is asked what
it has, and what a killed process left half written is written anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse
from urllib.request import url2pathname

from kdarena.errors import Notice
from kdarena.plan.spec import COMPLETE
from kdarena.record import checked, index, sqlite
from kdarena.record import mlflow_store as store
from kdarena.record.mlflow_values import to_metrics, to_params, to_tags
from kdarena.record.output import safe_name
from kdarena.record.recorded import Document, RecordedRun, run_of

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

PREFIX = "kdarena/"
"""Of the names of experiments."""
CHECKPOINT = "student.safetensors"
"""Artifact with the weights of the student that a run trained."""
RUN_ID = "kdarena.run_id"
"""Tag with the record's name of a run."""
_PAGE = 500


@dataclass(frozen=True)
class _Written:
    """What is remembered of a store.

    Attributes:
        stamp: of the store when it was last written; None while it is.
        runs: the ids of those that are written.
    """

    stamp: str | None
    runs: tuple[str, ...]


class MlflowCopy:
    """What MLflow has of an output directory.

    Args:
        directory: the output directory.
        tracking_uri: another store; by default what ``MLFLOW_TRACKING_URI`` says, else the directory's own database.
    """

    def __init__(self, directory: Path, tracking_uri: str | None = None):
        uri = tracking_uri or store.chosen_uri()
        self.directory = directory
        self._chosen = uri
        self._own = uri is None
        self._database = directory / store.DATABASE
        self._written = directory / ("mlflow.written" if uri is None else f"mlflow-{hashlib.sha256(os.fsencode(uri)).hexdigest()[:8]}.written")
        self._experiments: dict[str, str] = {}
        self._methods: dict[tuple[str, str], str] = {}

    @property
    def uri(self) -> str:
        """The store's address, which is good as long as this value lives."""
        return self._chosen or self._address.uri

    @property
    def place(self) -> str:
        """The store as people know it: the path of the database, or the address that was chosen."""
        return self._chosen or str(self._database)

    def write_missing(self, seconds: float = math.inf) -> int:
        """Write the runs that MLflow lacks, within so many seconds; returns how many.

        Raises:
            UserError: the store can't be opened.
            Exception: whatever MLflow raises where it can't be written.
        """
        end = time.monotonic() + seconds
        run_ids = index.run_ids(self.directory)
        done = self._remembered() if run_ids else set()
        count = 0
        for run_id in run_ids:
            document = self._load(run_id) if run_id not in done else None
            if document is None:
                continue
            if time.monotonic() > end:
                break
            if count == 0:
                self._client  # noqa: B018 - a new database is made before it is remembered that it is written
                self._remember(done, None)
            self._write(document)
            done.add(run_id)
            count += 1
        if count:
            self._remember(done, self._stamp())
        return count

    def check(self, *, removed: bool = False) -> int:
        """Ask MLflow which of the directory's runs it has, and remember that; returns how many. A half is removed.

        Args:
            removed: count those that a user removed in MLflow, which are not to come back.
        """
        return len(self._ask(removed))

    # ---- what is written

    def _remembered(self) -> set[str]:
        """The runs that MLflow has: as the file says, unless the database was changed since, or its last writer was killed."""
        written = checked.read(_Written, self._written)
        if self._own and not self._database.exists():
            if written is not None:
                warnings.warn(f"{self._database}: it was missing; written again from the record", category=Notice, stacklevel=2)
            return set()
        if written is not None and written.stamp == self._stamp():
            return set(written.runs)
        return self._ask(removed=True)

    def _ask(self, removed: bool) -> set[str]:
        ours = set(index.run_ids(self.directory))
        there = set()
        for run in self._search("tags.`kdarena.role` = 'training'", removed):
            run_id = run.data.tags.get(RUN_ID)
            if run_id in ours and not self._is_half(run):
                there.add(run_id)
        self._remember(there, self._stamp())
        return there

    def _remember(self, runs: Set[str], stamp: str | None) -> None:
        checked.write(self._written, dataclasses.asdict(_Written(stamp, tuple(sorted(runs)))))

    def _stamp(self) -> str:
        """Changes with the database; of another store nothing is known."""
        if not self._own:
            return "another store"
        status = self._database.stat()
        return f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"

    def _is_half(self, run: Run) -> bool:
        """Whether a run was but half written; then it is removed."""
        if run.info.status == "KILLED":
            return True
        if run.info.status != "RUNNING":
            return False
        self._client.set_terminated(run.info.run_id, "KILLED")
        self._client.delete_run(run.info.run_id)
        if self._own:
            shutil.rmtree(self._artifacts(run), ignore_errors=True)
        return True

    # ---- one run

    def _load(self, run_id: str) -> Document | None:
        """A run; None where its file can't be read, which readers of the record say."""
        try:
            document = index.load(self.directory, run_id)
            run_of(document.run)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return document

    def _write(self, document: Document) -> None:
        recorded = run_of(document.run)
        client, spec, result = self._client, recorded.spec, recorded.result
        at_ms = document.recorded // 1_000_000
        run = client.create_run(
            self._experiment(spec.task),
            start_time=round(recorded.started.timestamp() * 1000),
            run_name=safe_name(f"{spec.method} {recorded.setting} seed {spec.seed}", also=" :"),
            tags={
                "mlflow.parentRunId": self._method_run(spec.task, spec.method),
                "kdarena.role": "training",
                "kdarena.directory": store.safe_text(self.directory, store.LONGEST_TAG),
                RUN_ID: recorded.run_id,
                **to_tags(recorded),
            },
        )
        points = store.metrics(to_metrics(result), result.curves, result.steps, at_ms)
        store.write_batches(client, run.info.run_id, points, to_params(spec, recorded.setting))
        self._write_artifacts(run, document, self._weights(recorded))
        status = "FINISHED" if result.status in (*COMPLETE, "pruned", "skipped") else "FAILED"
        client.set_terminated(run.info.run_id, status, at_ms)

    def _weights(self, run: RecordedRun) -> Path | None:
        path = self.directory / "students" / Path(run.result.checkpoint).name if run.result.checkpoint else None
        return path if path is not None and path.is_file() else None

    def _write_artifacts(self, run: Run, document: Document, weights: Path | None) -> None:
        if self._own:
            self._fill(self._artifacts(run), document, weights)
            return
        with tempfile.TemporaryDirectory(prefix="kdarena-") as folder:
            self._fill(Path(folder), document, weights)
            self._client.log_artifacts(run.info.run_id, folder)

    def _fill(self, folder: Path, document: Document, weights: Path | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("spec", "result"):
            (folder / f"{name}.json").write_text(json.dumps(document.run[name]), encoding="utf-8")
        if weights is not None:
            try:
                os.link(weights, folder / CHECKPOINT)  # takes no space
            except OSError:
                shutil.copyfile(weights, folder / CHECKPOINT)

    def _artifacts(self, run: Run) -> Path:
        """The folder of a run's artifacts, also where the output directory was moved since."""
        parts = Path(url2pathname(unquote(urlparse(run.info.artifact_uri).path))).parts[-3:]
        return self.directory.joinpath("artifacts", *parts)

    # ---- experiments and parents

    @cached_property
    def _address(self) -> sqlite.Address:
        return sqlite.Address(self._database)

    @cached_property
    def _client(self) -> MlflowClient:
        return store.connect(self.directory, self.uri, own=self._own)

    def _experiment(self, task: str) -> str:
        if task not in self._experiments:
            name = PREFIX + safe_name(task, also=":")
            known = self._client.get_experiment_by_name(name)
            if known is None:
                place = (self.directory / "artifacts" / safe_name(task)).as_uri() if self._own else None
                self._experiments[task] = self._client.create_experiment(name, artifact_location=place)
            else:
                if known.lifecycle_stage != "active":
                    self._client.restore_experiment(known.experiment_id)
                self._experiments[task] = known.experiment_id
        return self._experiments[task]

    def _method_run(self, task: str, method: str) -> str:
        place = (task, method)
        if place not in self._methods:
            experiment, name = self._experiment(task), safe_name(method)  # the safe name also keeps quotes out of the filter
            known = self._client.search_runs([experiment], f"tags.`kdarena.role` = 'method' AND tags.`kdarena.method` = '{name}'", max_results=1)
            if known:
                self._methods[place] = known[0].info.run_id
            else:
                run = self._client.create_run(experiment, run_name=name, tags={"kdarena.role": "method", "kdarena.method": name})
                self._client.set_terminated(run.info.run_id)
                self._methods[place] = run.info.run_id
        return self._methods[place]

    def _search(self, condition: str, removed: bool = False) -> Iterator[Run]:
        from mlflow.entities import ViewType

        view = ViewType.ALL if removed else ViewType.ACTIVE_ONLY
        client, named = self._client, f"name LIKE '{PREFIX}%'"
        experiments = [one.experiment_id for one in pages(lambda token: client.search_experiments(view, filter_string=named, page_token=token))]
        if experiments:
            yield from pages(lambda token: client.search_runs(experiments, condition, view, max_results=_PAGE, page_token=token))


def pages(ask: Any) -> Iterator[Any]:
    """All results of a search, page by page."""
    token = None
    while True:
        page = ask(token)
        yield from page
        token = page.token
        if not token:
            return
