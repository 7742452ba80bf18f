"""The record of all runs: MLflow on SQLite in the output directory, written by the parent process alone.

One experiment a task, one parent run a method, one child run a training. A child run counts once it carries the tag
``kdarena.complete``, which is written last: what a killed process leaves behind is not seen on reading and is removed when
the directory is next opened for writing.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse
from urllib.request import url2pathname

from kdarena.errors import UserError
from kdarena.plan.spec import COMPLETE, RunResult, RunSpec
from kdarena.record import mlflow as mlflow_store
from kdarena.record import output
from kdarena.record.mlflow import safe_name, safe_text
from kdarena.record.recorded import RecordedRun, from_run, to_metrics, to_params, to_tags

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

PREFIX = "kdarena/"
CHECKPOINT = "student.safetensors"
"""Artifact with the weights of the network that a run trained."""
_PAGE = 500


class Record:
    """The runs of one output directory. Use :meth:`open`."""

    def __init__(self, directory: Path, client: MlflowClient, local: bool, lock: IO[str] | None):
        self.directory = directory
        self._client = client
        self._local = local
        self._lock = lock
        self._experiments: dict[str, str] = {}
        self._methods: dict[tuple[str, str], str] = {}

    @staticmethod
    def open(directory: Path, *, tracking_uri: str | None = None, create: bool = True) -> Record:
        """Open the record of an output directory.

        Args:
            directory: the output directory.
            tracking_uri: another MLflow store; by default what ``MLFLOW_TRACKING_URI`` says, else the directory's own database.
            create: open for writing: make what is missing, remove what a killed process left, keep other writers out.
                False: only read.

        Raises:
            UserError: the directory is missing (without ``create``), of another version, no output directory, being
                written by another process, or its store can't be opened.
        """
        directory = Path(directory)
        uri = tracking_uri or mlflow_store.chosen_uri()
        if create:
            output.claim(directory)
        else:
            output.check(directory)
            if not uri and not (directory / mlflow_store.DATABASE).is_file():
                raise UserError(f"{directory}: nothing recorded yet; run first: kdarena run --plugins all --out {directory}")
        lock = output.lock(directory) if create else None
        record = Record(directory.resolve(), mlflow_store.connect(directory, uri), local=uri is None, lock=lock)
        if create:
            record._remove_unfinished()
        return record

    def close(self) -> None:
        """Let others write. Reading goes on."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Record:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def checkpoints(self) -> Path:
        """Where engines put what they export until it is recorded."""
        return self.directory / "students"

    # ---- writing

    def log(self, spec: RunSpec, result: RunResult, *, setting: str, facts: Mapping[str, str], checkpoints: Path | None = None) -> str:
        """Record a run; returns MLflow's name of it.

        The checkpoint of what was trained moves from ``checkpoints`` (by default :attr:`checkpoints`) into the run's artifacts.

        Args:
            spec, result: the run.
            setting: see :class:`RecordedRun`.
            facts: see :class:`RecordedRun`.
            checkpoints: the directory that the engine was given.

        Raises:
            ValueError: ``result.checkpoint`` leads out of ``checkpoints``.
            RuntimeError: the record was opened for reading, or closed.
        """
        if self._lock is None:
            raise RuntimeError(f"the record in {self.directory} isn't open for writing")
        checkpoint = _inside(checkpoints or self.checkpoints, result.checkpoint) if result.checkpoint else None
        if checkpoint is not None and not checkpoint.is_file():
            checkpoint = None
        now_ms = time.time_ns() // 1_000_000
        run = self._client.create_run(
            self._experiment(spec.task),
            start_time=now_ms - round(result.spent_s * 1000),
            run_name=safe_name(f"{spec.method} {setting} seed {spec.seed}", also=" :"),
            tags={
                "mlflow.parentRunId": self._method_run(spec.task, spec.method),
                "kdarena.role": "training",
                "kdarena.directory": safe_text(self.directory, mlflow_store.LONGEST_TAG),
                **to_tags(spec, result, setting, facts),
            },
        )
        run_id = str(run.info.run_id)
        points = mlflow_store.metrics(to_metrics(result), result.curves, result.steps, now_ms)
        mlflow_store.write_batches(self._client, run_id, points, to_params(spec, setting))
        self._write_artifacts(run, {"spec.json": spec.to_json(), "result.json": result.to_json()}, checkpoint)
        self._client.set_tag(run_id, "kdarena.complete", "1")
        self._client.set_terminated(run_id, "FINISHED" if result.status in (*COMPLETE, "pruned", "skipped") else "FAILED")
        return run_id

    def _experiment(self, task: str) -> str:
        if task not in self._experiments:
            name = PREFIX + safe_name(task, also=":")
            found = self._client.get_experiment_by_name(name)
            if found is None:
                place = (self.directory / "artifacts" / safe_name(task)).as_uri() if self._local else None
                self._experiments[task] = self._client.create_experiment(name, artifact_location=place)
            else:
                if found.lifecycle_stage != "active":
                    self._client.restore_experiment(found.experiment_id)
                self._experiments[task] = found.experiment_id
        return self._experiments[task]

    def _method_run(self, task: str, method: str) -> str:
        place = (task, method)
        if place not in self._methods:
            experiment, name = self._experiment(task), safe_name(method)  # the safe name also keeps quotes out of the filter
            found = self._client.search_runs([experiment], f"tags.`kdarena.role` = 'method' AND tags.`kdarena.method` = '{name}'", max_results=1)
            if found:
                self._methods[place] = found[0].info.run_id
            else:
                run = self._client.create_run(experiment, run_name=name, tags={"kdarena.role": "method", "kdarena.method": name})
                self._client.set_terminated(run.info.run_id)
                self._methods[place] = run.info.run_id
        return self._methods[place]

    def _write_artifacts(self, run: Run, documents: Mapping[str, Any], checkpoint: Path | None) -> None:
        if self._local:
            folder = self._artifacts(run)
            folder.mkdir(parents=True, exist_ok=True)
            for name, document in documents.items():
                (folder / name).write_text(json.dumps(document), encoding="utf-8")
            if checkpoint is not None:
                mlflow_store.move(checkpoint, folder / CHECKPOINT)
            return
        with tempfile.TemporaryDirectory(prefix="kdarena-") as folder_name:
            for name, document in documents.items():
                Path(folder_name, name).write_text(json.dumps(document), encoding="utf-8")
            if checkpoint is not None:
                mlflow_store.move(checkpoint, Path(folder_name, CHECKPOINT))
            self._client.log_artifacts(run.info.run_id, folder_name)

    def _remove_unfinished(self) -> None:
        """End what a killed process of this directory left; a store that is shared may hold other people's running runs."""
        for run in self._search("attributes.status = 'RUNNING' AND tags.`kdarena.role` = 'training'"):
            if not self._local and run.data.tags.get("kdarena.directory") != str(self.directory):
                continue
            if run.data.tags.get("kdarena.complete") == "1":
                self._client.set_terminated(run.info.run_id, "FINISHED" if run.data.tags.get("kdarena.status") in COMPLETE else "FAILED")
                continue
            self._client.set_terminated(run.info.run_id, "KILLED")
            self._client.delete_run(run.info.run_id)
            if self._local:
                shutil.rmtree(self._artifacts(run), ignore_errors=True)

    # ---- reading

    def runs(self) -> list[RecordedRun]:
        """All complete runs, in the order in which they were recorded.

        Raises:
            UserError: the tags of a run were changed by hand and can't be read.
        """
        found = list(self._search("tags.`kdarena.complete` = '1'"))
        found.sort(key=lambda run: (run.info.end_time or float("inf"), run.info.start_time))
        return [from_run(run) for run in found]

    def by_key(self) -> dict[str, RecordedRun]:
        """The complete runs by key; of several with one key the one recorded last."""
        return {run.key: run for run in self.runs()}

    def find(self, run_id_or_prefix: str) -> RecordedRun:
        """The one run whose id begins so.

        Raises:
            UserError: there is none, or more than one.
        """
        wanted = run_id_or_prefix.strip()
        matching = [run for run in self.runs() if wanted and run.run_id.startswith(wanted)]
        exact = [run for run in matching if run.run_id == wanted]
        if len(exact or matching) == 1:
            return (exact or matching)[0]
        if not matching:
            raise UserError(f"no run {wanted!r} in {self.directory}; see: kdarena runs --out {self.directory}")
        shown = ", ".join(run.run_id[: len(wanted) + 6] for run in matching[:3])
        raise UserError(f"{wanted!r} is the beginning of {len(matching)} runs ({shown} …); give more of its id")

    def checkpoint(self, run_id: str) -> Path:
        """The network that a run trained: the student, or for a run of purpose ``teacher`` the teacher.

        Raises:
            UserError: there is no such run, or it has none; the line says why.
        """
        recorded = from_run(self._get(run_id))
        # a teacher lies where all runs of the directory find it
        path = self._artifact(run_id, CHECKPOINT) or self.directory / "teachers" / f"{recorded.key}.safetensors"
        if not path.is_file():
            reason = f": {safe_text(recorded.result.error, 200)}" if recorded.result.error else ""
            raise UserError(
                f"run {run_id} ({recorded.spec.method}, {recorded.result.status}{reason}) left no checkpoint; choose one that is done: kdarena runs"
            )
        return path

    def curves(self, run_id: str) -> dict[str, list[tuple[int, float]]]:
        """The curves of a run, each a list of (step, value), exactly as trained.

        Raises:
            UserError: there is no such run.
        """
        self._get(run_id)
        path = self._artifact(run_id, "result.json")
        return dict(RunResult.from_json(json.loads(path.read_text(encoding="utf-8"))).curves) if path else {}

    def _get(self, run_id: str) -> Run:
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException:
            run = None
        if run is None or run.data.tags.get("kdarena.complete") != "1":
            raise UserError(f"no run {run_id!r} in {self.directory}; see: kdarena runs --out {self.directory}")
        return run

    def _artifact(self, run_id: str, name: str) -> Path | None:
        if self._local:
            path = self._artifacts(self._get(run_id)) / name
            return path if path.is_file() else None
        if name not in {item.path for item in self._client.list_artifacts(run_id)}:
            return None
        cache = self.directory / "downloads" / safe_name(run_id)
        cache.mkdir(parents=True, exist_ok=True)
        return Path(self._client.download_artifacts(run_id, name, str(cache)))

    def _artifacts(self, run: Run) -> Path:
        """The folder of a run's artifacts, also where the output directory was moved since."""
        parts = Path(url2pathname(unquote(urlparse(run.info.artifact_uri).path))).parts[-3:]
        return self.directory.joinpath("artifacts", *parts)

    def _search(self, condition: str) -> Iterator[Run]:
        experiments = [one.experiment_id for one in self._paged_experiments()]
        token = None
        while experiments:
            page = self._client.search_runs(experiments, condition, max_results=_PAGE, page_token=token)
            yield from list(page)
            token = page.token
            if not token:
                return

    def _paged_experiments(self) -> Iterator[Any]:
        token = None
        while True:
            page = self._client.search_experiments(filter_string=f"name LIKE '{PREFIX}%'", page_token=token)
            yield from page
            token = page.token
            if not token:
                return


def _inside(folder: Path, name: str) -> Path:
    """The file ``name`` in ``folder``, wherever a link in it may point."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"checkpoint {name!r} leads out of {folder}")
    return path
