"""MLflow, written from the record: a copy for its pages and its search, which may be deleted and written again.

One experiment a task, one parent run a method and setting, one child run a training; and a run that holds the page of the boards. Each recorded run is written once: the file
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
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse
from urllib.request import url2pathname

from kdarena.errors import Notice
from kdarena.plan.spec import COMPLETE
from kdarena.record import checked, index, sqlite
from kdarena.record import mlflow_store as store
from kdarena.record.mlflow_experiments import PREFIX, Experiments
from kdarena.record.mlflow_parents import ALL, Parents, family, name_of_run
from kdarena.record.mlflow_values import to_metrics, to_params, to_tags
from kdarena.record.recorded import Document, RecordedRun, run_of

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

PAGE = Path("leaderboards", "index.html")
"""The page of the boards in an output directory."""
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
        stale: the keys of the families whose parents lack runs in their means.
    """

    stamp: str | None
    runs: tuple[str, ...]
    stale: tuple[str, ...] = ()


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
        done, stale = self._remembered() if run_ids else (set(), set())
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
            stale.add(self._write(document))
            done.add(run_id)
            count += 1
        summed = bool(stale) and math.isinf(seconds)
        if summed:
            runs, _ = index.read(self.directory)
            self._parents.sum_up(runs, stale)
            self._write_page({run.spec.task for run in runs if ALL in stale or family(run).key in stale})
        if count or summed:
            self._remember(done, self._stamp(), frozenset() if summed else stale)
        return count

    def check(self, *, removed: bool = False) -> int:
        """Ask MLflow which of the directory's runs it has, and remember that; returns how many. A half is removed.

        Args:
            removed: count those that a user removed in MLflow, which are not to come back.
        """
        return len(self._ask(removed, {ALL}))

    # ---- what is written

    def _remembered(self) -> tuple[set[str], set[str]]:
        """The runs that MLflow has, and the families whose parents lack some: as the file says, unless the database was changed since, or its last writer
        was killed."""
        written = checked.read(_Written, self._written)
        if self._own and not self._database.exists():
            if written is not None:
                warnings.warn(f"{self._database}: it was missing; written again from the record", category=Notice, stacklevel=2)
            return set(), set()
        if written is not None and written.stamp == self._stamp():
            return set(written.runs), set(written.stale)
        stale = {ALL} if written is None or written.stamp is None else set(written.stale)
        return self._ask(True, stale), stale

    def _ask(self, removed: bool, stale: Set[str]) -> set[str]:
        ours = set(index.run_ids(self.directory))
        there = set()
        for run in self._search("tags.`kdarena.role` = 'training'", removed):
            run_id = run.data.tags.get(RUN_ID)
            if run_id in ours and not self._is_half(run):
                there.add(run_id)
        self._remember(there, self._stamp(), stale)
        return there

    def _remember(self, runs: Set[str], stamp: str | None, stale: Set[str] = frozenset()) -> None:
        checked.write(self._written, dataclasses.asdict(_Written(stamp, tuple(sorted(runs)), tuple(sorted(stale)))))

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

    def _write(self, document: Document) -> str:
        """Write a run; returns the key of its family."""
        recorded = run_of(document.run)
        own = family(recorded)
        client, spec, result = self._client, recorded.spec, recorded.result
        at_ms = document.recorded // 1_000_000
        run = client.create_run(
            self._experiments.of(spec.task),
            start_time=round(recorded.started.timestamp() * 1000),
            run_name=name_of_run(recorded, own),
            tags={
                "mlflow.parentRunId": self._parents.of(recorded, own),
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
        return own.key

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
            _link(weights, folder / CHECKPOINT)

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

    @cached_property
    def _experiments(self) -> Experiments:
        return Experiments(self._client, self.directory / "artifacts" if self._own else None)

    @cached_property
    def _parents(self) -> Parents:
        return Parents(self._client, self._experiments)

    def _write_page(self, tasks: Iterable[str]) -> None:
        """The page of the directory's boards as an artifact of a run of its own in the experiments of tasks."""
        page = self.directory / PAGE
        if not page.is_file():
            return
        for task in tasks:
            experiment = self._experiments.of(task)
            known = self._client.search_runs([experiment], "tags.`kdarena.role` = 'page'", max_results=1)
            run = known[0] if known else self._client.create_run(experiment, run_name="the page of the boards", tags={"kdarena.role": "page"})
            self._client.set_terminated(run.info.run_id)
            if self._own:
                folder = self._artifacts(run)
                folder.mkdir(parents=True, exist_ok=True)
                (folder / page.name).unlink(missing_ok=True)
                _link(page, folder / page.name)
            else:
                self._client.log_artifact(run.info.run_id, str(page))

    def _search(self, condition: str, removed: bool = False) -> Iterator[Run]:
        from mlflow.entities import ViewType

        view = ViewType.ALL if removed else ViewType.ACTIVE_ONLY
        client, named = self._client, f"name LIKE '{PREFIX}%'"
        experiments = [one.experiment_id for one in store.pages(lambda token: client.search_experiments(view, filter_string=named, page_token=token))]
        if experiments:
            yield from store.pages(lambda token: client.search_runs(experiments, condition, view, max_results=_PAGE, page_token=token))


def _link(source: Path, target: Path) -> None:
    """The same file under another name, which takes no space; a copy where that can't be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
