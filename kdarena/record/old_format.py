"""An output directory of format 1, whose runs were tags and artifacts of MLflow and nothing else, made one of this format.

A run keeps its id, which was MLflow's, and its key, by which other runs name it as their teacher.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse
from urllib.request import url2pathname

from kdarena.errors import UserError, described
from kdarena.plan.spec import RunResult, RunSpec
from kdarena.record import index, output, sqlite
from kdarena.record.mlflow import RUN_ID, MlflowCopy
from kdarena.record.mlflow_experiments import PREFIX
from kdarena.record.mlflow_store import DATABASE, chosen_uri, connect, pages
from kdarena.record.recorded import Document, RecordedRun

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

STATUSES = {"under": "underspent"}
"""Words of format 1, and what they are now."""


def convert(directory: Path) -> tuple[int, list[str]]:
    """Write a file for every run; how many runs there are, and a line for each that can't be read.

    What is interrupted is taken up again by the next call. MLflow and its artifacts stay where they are.

    Raises:
        UserError: the directory is not of format 1, another process writes there, or MLflow can't be opened.
    """
    if output.format_of(directory) != 1:
        raise UserError(f"{directory} is not of format 1: there is nothing to convert")
    directory = directory.resolve()
    problems: list[str] = []
    with output.lock(directory):
        database = sqlite.Address(directory / DATABASE)
        if chosen_uri() is None and not (directory / DATABASE).is_file():
            raise UserError(f"{directory / DATABASE}: it is missing, and of format 1 it holds every run; restore it")
        client = connect(directory, chosen_uri() or database.uri, own=False)
        known = set(index.run_ids(directory))
        runs = sorted(_runs(client), key=lambda run: (run.info.end_time or float("inf"), run.info.start_time))
        for number, run in enumerate(runs):
            run_id = run.info.run_id
            try:
                if run_id not in known:
                    recorded_ns = (run.info.end_time or run.info.start_time) * 1_000_000 + number
                    index.add(directory, Document.of(_recorded(directory, client, run), recorded_ns))
                client.set_tag(run_id, RUN_ID, run_id)
            except (KeyError, TypeError, ValueError, OSError) as error:
                problems.append(f"run {run_id} is left out: its tags can't be read ({described(error)[:200]}); MLflow still has it")
        MlflowCopy(directory).check()
        output.mark(directory)
    return len(runs) - len(problems), problems


def _recorded(directory: Path, client: MlflowClient, run: Run) -> RecordedRun:
    tags = run.data.tags
    spec, result = _from_tags("kdarena.spec", tags), _from_tags("kdarena.result", tags)
    spec.pop("replay", None)
    result["status"] = STATUSES.get(result["status"], result["status"])
    artifacts = _artifacts(directory, client, run)
    curves = artifacts / "result.json"
    result["curves"] = json.loads(curves.read_text(encoding="utf-8"))["curves"] if curves.is_file() else {}
    weights = artifacts / "student.safetensors"
    if weights.is_file():
        result["checkpoint"] = _keep(weights, directory / "students" / f"{tags['kdarena.key']}.safetensors")
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    facts = _from_tags("kdarena.facts", tags)
    return RecordedRun(run.info.run_id, tags["kdarena.key"], RunSpec.from_json(spec), RunResult.from_json(result), tags["kdarena.setting"], facts, started)


def _from_tags(key: str, tags: Mapping[str, str]) -> Any:
    """A JSON value that was cut into as many tags as it needed."""
    text, number = tags[key], 1
    while f"{key}.{number}" in tags:
        text += tags[f"{key}.{number}"]
        number += 1
    return json.loads(text)


def _artifacts(directory: Path, client: MlflowClient, run: Run) -> Path:
    """The folder of a run's artifacts, also where the output directory was moved since; of a server's the downloaded copy."""
    if chosen_uri() is None:
        return directory.joinpath("artifacts", *Path(url2pathname(unquote(urlparse(run.info.artifact_uri).path))).parts[-3:])
    cache = directory / "downloads" / output.safe_name(run.info.run_id)
    cache.mkdir(parents=True, exist_ok=True)
    return Path(client.download_artifacts(run.info.run_id, "", str(cache)))


def _keep(source: Path, target: Path) -> str:
    target.parent.mkdir(exist_ok=True)
    if not target.exists():
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)
    return target.name


def _runs(client: MlflowClient) -> Iterator[Run]:
    """All runs that were recorded whole."""
    experiments = [one.experiment_id for one in pages(lambda token: client.search_experiments(filter_string=f"name LIKE '{PREFIX}%'", page_token=token))]
    if experiments:
        yield from pages(lambda token: client.search_runs(experiments, "tags.`kdarena.complete` = '1'", max_results=500, page_token=token))
