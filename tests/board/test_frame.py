"""The frame of all recorded runs."""

from types import SimpleNamespace

from kdarena.board.frame import RUN_COLUMNS, runs_frame


def test_the_frame_of_runs_has_the_promised_columns_first(synthetic):
    frame = runs_frame(SimpleNamespace(runs=list))
    promised = [
        "run_id",
        "key",
        "task",
        "method",
        "purpose",
        "seed",
        "status",
        "metric",
        "value",
        "budget",
        "unit",
        "committed",
        "spent_s",
        "steps",
        "samples",
        "flops",
        "params_json",
        "error",
    ]
    assert list(RUN_COLUMNS)[: len(promised)] == promised
    assert list(frame.columns) == list(RUN_COLUMNS)


def test_every_recorded_run_has_a_row(synthetic):
    trial = synthetic.run("kd", 99, purpose="tune", metrics={"validation/top1": 80.0}, setting="trial", params={"tau": 2.0})
    recorded = [synthetic.run("kd", value=91.0), trial, synthetic.failed("kd", 1, "oom", "out of memory")]
    rows = runs_frame(SimpleNamespace(runs=lambda: recorded)).to_dict("records")
    assert [(row["purpose"], row["status"], row["value"], row["split"]) for row in rows] == [
        ("final", "done", 91.0, "test"),
        ("tune", "done", 80.0, "validation"),
        ("final", "oom", None, None),
    ]
    assert (rows[1]["params_json"], rows[2]["error"]) == ('{"tau": 2.0}', "out of memory")
