"""MLflow stores for the tests of the record's copy."""

from __future__ import annotations

import shutil

import pytest

from kdarena.record import mlflow_store, sqlite
from kdarena.record.mlflow import MlflowCopy
from kdarena.record.runs import Record


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """An MLflow database without a run; making it takes seconds."""
    folder = tmp_path_factory.mktemp("database")
    mlflow_store.connect(folder, sqlite.Address(folder / mlflow_store.DATABASE).uri, own=True)
    return folder / mlflow_store.DATABASE


@pytest.fixture
def output(empty_output, empty_database, tmp_path, monkeypatch):
    """An output directory with an empty MLflow database of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copytree(empty_output, tmp_path / "out")
    shutil.copy(empty_database, tmp_path / "out" / mlflow_store.DATABASE)
    return tmp_path / "out"


@pytest.fixture
def log(synthetic):
    """Records a run, after which the record is left without writing to MLflow; gives the run's id."""

    def logged(directory, method="kd", seed=0, setting="default", facts=None, weights=None, **changes):
        record = Record.open(directory)
        spec = synthetic.spec(method, seed, **changes.pop("spec", {}))
        if weights is not None:
            record.checkpoints.mkdir(exist_ok=True)
            (record.checkpoints / f"{spec.key}.safetensors").write_bytes(weights)
            changes["checkpoint"] = f"{spec.key}.safetensors"
        run_id = record.log(spec, synthetic.result(spec, **changes), setting=setting, facts=facts or {})
        record.__exit__(KeyboardInterrupt, None, None)
        return run_id

    return logged


@pytest.fixture
def runs_in_mlflow():
    """The child runs that MLflow has of a directory, by the record's id of them."""

    def runs(directory, tracking_uri=None):
        copy = MlflowCopy(directory, tracking_uri)
        found = list(copy._search("tags.`kdarena.role` = 'training'"))
        by_id = {run.data.tags["kdarena.run_id"]: run for run in found}
        assert len(by_id) == len(found), "a run was written twice"
        return by_id

    return runs
