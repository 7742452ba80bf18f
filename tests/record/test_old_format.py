"""A directory of format 1, as the old code wrote it: runs in MLflow's tags, curves and weights in its artifacts."""

import json
from dataclasses import replace

import pytest

from kdarena.errors import UserError
from kdarena.record import mlflow_store, old_format
from kdarena.record.mlflow import MlflowCopy
from kdarena.record.runs import Record


@pytest.fixture
def old(output, synthetic):
    """The directory, and MLflow's ids of a run that is done, one underspent, one whose tags were changed, and one half written."""
    copy = MlflowCopy(output)
    client, experiment = copy._client, copy._experiments.of("digits")
    ids = []
    for seed, status in enumerate(("done", "under", "done", "done")):
        spec = synthetic.spec(seed=seed)
        result = replace(synthetic.result(spec, checkpoint="s.safetensors"), status=status).to_json()
        curves = result.pop("curves")
        tags = {"kdarena.role": "training", "kdarena.key": f"key{seed}", "kdarena.setting": "default", "kdarena.status": status}
        tags |= mlflow_store.json_tags("kdarena.spec", {**spec.to_json(), "replay": None, "params": {"long": "x" * 9000}})
        tags |= mlflow_store.json_tags("kdarena.result", result) | mlflow_store.json_tags("kdarena.facts", {"track": "classification"})
        run = client.create_run(experiment, tags=tags | ({"kdarena.complete": "1"} if seed < 3 else {}), start_time=1_700_000_000_000)
        folder = copy._artifacts(run)
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps({**result, "curves": curves}))
        (folder / "student.safetensors").write_bytes(b"weights %d" % seed)
        if seed < 3:
            client.set_terminated(run.info.run_id, end_time=1_700_000_060_000 + seed)
        ids.append(run.info.run_id)
    client.set_tag(ids[2], "kdarena.spec", "{")
    (output / "kdarena.json").write_text('{"format": 1}')
    return output, ids


def test_the_runs_of_format_1_are_converted_with_their_ids_keys_curves_and_weights(old, synthetic):
    directory, ids = old
    count, problems = old_format.convert(directory)
    record = Record.open(directory, create=False)
    runs = record.runs()
    assert (count, [run.run_id for run in runs]) == (2, ids[:2])
    assert [(run.key, run.result.status, run.setting) for run in runs] == [("key0", "done", "default"), ("key1", "underspent", "default")]
    assert runs[0].spec == synthetic.spec(seed=0, params={"long": "x" * 9000})
    assert dict(runs[0].facts) == {"track": "classification"}
    assert record.curves(ids[0]) == {"train/ce": [(0, 2.0), (100, 1.0)]}
    assert record.checkpoint(ids[1]).read_bytes() == b"weights 1"
    assert len(problems) == 1 and ids[2] in problems[0] and "MLflow still has it" in problems[0]


def test_mlflow_has_converted_runs_once(old, runs_in_mlflow):
    directory, ids = old
    old_format.convert(directory)
    assert MlflowCopy(directory).write_missing() == 0
    tagged = [run for run in MlflowCopy(directory)._search("tags.`kdarena.role` = 'training'") if "kdarena.run_id" in run.data.tags]
    assert sorted(run.info.run_id for run in tagged) == sorted(ids[:2])


def test_a_conversion_that_was_interrupted_goes_on(old, monkeypatch):
    directory, ids = old
    with monkeypatch.context() as patched:
        patched.setattr(old_format.output, "mark", lambda directory: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            old_format.convert(directory)
    with pytest.raises(UserError, match="record convert"):
        Record.open(directory, create=False)
    old_format.convert(directory)
    assert [run.run_id for run in Record.open(directory, create=False).runs()] == ids[:2]


def test_a_directory_of_this_format_is_not_converted(output):
    with pytest.raises(UserError, match="nothing to convert"):
        old_format.convert(output)
