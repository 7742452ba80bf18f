"""MLflow, written from the record: a copy for its pages and its search, which may be deleted and written again.

One experiment a task, one parent run a method, one child run a training. Each recorded run is written once: the file
``mlflow.written`` remembers which were begun and which are done, so that what a killed process left is written anew.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse
from urllib.request import url2pathname

from kdarena.files import write_atomically
from kdarena.plan.spec import COMPLETE
from kdarena.record import index
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


class MlflowCopy:
    """What MLflow has of an output directory.

    Args:
        directory: the output directory.
        tracking_uri: another store; by default what ``MLFLOW_TRACKING_URI`` says, else the directory's own database.
    """

    def __init__(self, directory: Path, tracking_uri: str | None = None):
        uri = tracking_uri or store.chosen_uri()
        self.directory = directory
        self.uri = store.store_uri(directory, uri)
        self._chosen = uri
        self._written = directory / ("mlflow.written" if uri is None else f"mlflow-{hashlib.sha256(uri.encode()).hexdigest()[:8]}.written")
        self._connected: MlflowClient | None = None
        self._experiments: dict[str, str] = {}
        self._methods: dict[tuple[str, str], str] = {}

    def write_missing(self, seconds: float = math.inf) -> int:
        """Write the runs that are not remembered as written, within so many seconds; returns how many.

        Raises:
            UserError: the store can't be opened.
            Exception: whatever MLflow raises where it can't be written.
        """
        end = time.monotonic() + seconds
        begun, done = self._remembered()
        count = 0
        for run_id in index.run_ids(self.directory):
            if time.monotonic() > end:
                break
            if run_id not in done and not (run_id in begun and self._there(run_id)) and self._write(run_id):
                count += 1
        return count

    def check(self) -> int:
        """Ask MLflow which of the directory's runs it has, and remember that; returns how many."""
        ours = set(index.run_ids(self.directory))
        there = set()
        for run in self._search("tags.`kdarena.role` = 'training'"):
            run_id = run.data.tags.get(RUN_ID)
            if run_id in ours and not self._removed(run):
                there.add(run_id)
        write_atomically(self._written, "".join(f"done {run_id}\n" for run_id in sorted(there)))
        return len(there)

    # ---- what is written

    def _remembered(self) -> tuple[set[str], set[str]]:
        """Runs that were begun, and those that are done."""
        if self._chosen is None and not (self.directory / store.DATABASE).exists():
            self._written.unlink(missing_ok=True)  # of a database that was deleted
        lines = self._written.read_text(encoding="utf-8").split("\n") if self._written.exists() else []
        pairs = [line.partition(" ") for line in lines]
        return {run_id for word, _, run_id in pairs if word == "begin"}, {run_id for word, _, run_id in pairs if word == "done"}

    def _remember(self, word: str, run_id: str) -> None:
        with self._written.open("a", encoding="utf-8") as file:
            file.write(f"\n{word} {run_id}")  # the line break first: the last line may be the half that a killed process left

    def _there(self, run_id: str) -> bool:
        """Whether MLflow has a run that was begun; a half is removed."""
        there = [run for run in self._search(f"tags.`{RUN_ID}` = '{run_id}'") if not self._removed(run)]
        if there:
            self._remember("done", run_id)
        return bool(there)

    def _removed(self, run: Run) -> bool:
        """Whether a run was but half written, and so was removed."""
        if run.info.status != "RUNNING":
            return False
        self._client.set_terminated(run.info.run_id, "KILLED")
        self._client.delete_run(run.info.run_id)
        if self._chosen is None:
            shutil.rmtree(self._artifacts(run), ignore_errors=True)
        return True

    # ---- one run

    def _write(self, run_id: str) -> bool:
        """Write a run; False where its file can't be read, which readers of the record say."""
        try:
            document = index.load(self.directory, run_id)
            recorded = run_of(document.run)
        except (OSError, ValueError, KeyError, TypeError):
            return False
        client, spec, result = self._client, recorded.spec, recorded.result
        self._remember("begin", run_id)
        at_ms = document.recorded // 1_000_000
        run = client.create_run(
            self._experiment(spec.task),
            start_time=round(recorded.started.timestamp() * 1000),
            run_name=safe_name(f"{spec.method} {recorded.setting} seed {spec.seed}", also=" :"),
            tags={
                "mlflow.parentRunId": self._method_run(spec.task, spec.method),
                "kdarena.role": "training",
                "kdarena.directory": store.safe_text(self.directory, store.LONGEST_TAG),
                RUN_ID: run_id,
                **to_tags(recorded),
            },
        )
        points = store.metrics(to_metrics(result), result.curves, result.steps, at_ms)
        store.write_batches(client, run.info.run_id, points, to_params(spec, recorded.setting))
        self._write_artifacts(run, document, self._weights(recorded))
        status = "FINISHED" if result.status in (*COMPLETE, "pruned", "skipped") else "FAILED"
        client.set_terminated(run.info.run_id, status, at_ms)
        self._remember("done", run_id)
        return True

    def _weights(self, run: RecordedRun) -> Path | None:
        path = self.directory / "students" / Path(run.result.checkpoint).name if run.result.checkpoint else None
        return path if path is not None and path.is_file() else None

    def _write_artifacts(self, run: Run, document: Document, weights: Path | None) -> None:
        if self._chosen is None:
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

    @property
    def _client(self) -> MlflowClient:
        if self._connected is None:
            self._connected = store.connect(self.directory, self._chosen)
        return self._connected

    def _experiment(self, task: str) -> str:
        if task not in self._experiments:
            name = PREFIX + safe_name(task, also=":")
            known = self._client.get_experiment_by_name(name)
            if known is None:
                place = (self.directory / "artifacts" / safe_name(task)).as_uri() if self._chosen is None else None
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

    def _search(self, condition: str) -> Iterator[Run]:
        experiments = [
            one.experiment_id for one in pages(lambda token: self._client.search_experiments(filter_string=f"name LIKE '{PREFIX}%'", page_token=token))
        ]
        if experiments:
            yield from pages(lambda token: self._client.search_runs(experiments, condition, max_results=_PAGE, page_token=token))


def pages(ask: Any) -> Iterator[Any]:
    """All results of a search, page by page."""
    token = None
    while True:
        page = ask(token)
        yield from page
        token = page.token
        if not token:
            return
