"""What is recommended and exported, on made-up runs of tasks that are alternatives."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from kdarena.api import recommend as module
from kdarena.api.recommend import COLUMNS, Plan, carry_out
from kdarena.arena.arena import Outcome
from kdarena.arena.races import Races
from kdarena.board.selection import Asked
from kdarena.files import digest_of
from kdarena.plan.request import Request
from kdarena.tracks import find_card

LARGE, SMALL = "cifar100:resnet56-resnet20", "cifar100:resnet56-resnet8"
STUDENT = [70.0, 70.4, 69.6]


@pytest.fixture
def carried_out(record, synthetic, monkeypatch, tmp_path):
    """The end of a command whose final runs are those that are given."""

    def log(run):
        file = f"{run.key}.safetensors"
        record.checkpoints.mkdir(exist_ok=True)
        (record.checkpoints / file).write_text(run.key)
        result = {**vars(run.result), "checkpoint": file, "weights": digest_of(record.checkpoints / file)}
        record.log(run.spec, type(run.result)(**result), setting=run.setting, facts=run.facts)

    def finish(runs, tasks, prefer="accuracy", to="s.safetensors"):
        for run in runs:
            log(run)
        asked = {run.key: Asked(run.setting, run.facts) for run in runs}

        @contextmanager
        def session(request):
            display = SimpleNamespace(close=lambda: None)
            yield SimpleNamespace(record=record, recorder=SimpleNamespace(asked=asked), machine=None, display=display)

        monkeypatch.setattr(module, "open_session", session)
        monkeypatch.setattr(Races, "__init__", lambda *arguments: None)
        monkeypatch.setattr(Races, "run", lambda *arguments, named: Outcome((), 0, ()))
        request = Request(tasks=tuple(tasks), out=tmp_path / "out")
        return carry_out(Plan(request, [], [], [find_card(task) for task in tasks], True, None, prefer, tmp_path / to), 0.0)

    return finish


def of_task(synthetic, task, student, kd, parameters):
    changes = {"task": task, "parameters": parameters}
    return [*synthetic.runs("student", student, **changes), *synthetic.runs("kd", kd, **changes)]


@pytest.fixture
def two_tasks(synthetic):
    large = of_task(synthetic, LARGE, STUDENT, [value + 5 + noise for value, noise in zip(STUDENT, (0.01, -0.01, 0.0), strict=True)], 278_000)
    return [*large, *of_task(synthetic, SMALL, [60.0, 60.4, 59.6], [60.1, 59.0, 61.0], 78_000)]


@pytest.mark.parametrize(("prefer", "taken"), [("accuracy", LARGE), ("params", SMALL)])
def test_of_several_tasks_the_preferred_student_is_exported_and_what_can_be_traded_is_said(carried_out, two_tasks, tmp_path, prefer, taken):
    done = carried_out(two_tasks, [LARGE, SMALL], prefer)
    assert list(done.frame["task"]) == [LARGE, SMALL]
    assert list(done.frame["chosen"]) == [task == taken for task in (LARGE, SMALL)]
    assert json.loads((tmp_path / "s.json").read_text())["task"] == taken
    said = "\n".join(done.answer)
    assert f"{SMALL} with 60.00 at 78,000 parameters, {LARGE} with 75.00 at 278,000 parameters" in said
    assert f"By --prefer {prefer} the student of {taken} is taken. Differences between tasks are not tested." in said


def test_each_task_has_its_own_claim(carried_out, two_tasks):
    frame = carried_out(two_tasks, [LARGE, SMALL]).frame
    assert list(frame["method"]) == ["kd", "student"]
    assert list(frame["established"]) == [True, False]
    assert tuple(frame.columns) == COLUMNS


def test_of_the_seeds_that_with_the_best_validation_is_exported_whatever_its_test(carried_out, synthetic, tmp_path):
    runs = [synthetic.run("student", seed, test, validation=validation) for seed, (test, validation) in enumerate([(90.0, 80.0), (91.0, 79.0), (89.0, 81.0)])]
    runs += synthetic.runs("kd", [50.0, 51.0, 52.0])
    done = carried_out(runs, ["digits"])
    card = json.loads((tmp_path / "s.json").read_text())
    assert (card["method"], card["seed"], card["own"], card["mean"]) == ("student", 2, 89.0, 90.0)
    assert (tmp_path / "s.safetensors").read_text() == runs[2].key
    assert done.written == [tmp_path / "s.safetensors", tmp_path / "s.json", tmp_path / "s.md"]


def test_where_everything_failed_nothing_is_recommended_and_that_is_a_failure(carried_out, synthetic, tmp_path):
    runs = [synthetic.failed(method, seed) for method in ("student", "kd") for seed in range(3)]
    done = carried_out(runs, ["digits"])
    assert done.failures == ("nothing can be recommended: no method has a result of every seed",)
    assert done.frame.empty and done.answer == () and not (tmp_path / "s.safetensors").exists()


def test_a_folder_gets_all_that_the_student_needs_elsewhere(carried_out, synthetic, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("kdarena.api.export._fill", lambda folder, *arguments: written.append(folder))
    card = find_card("digits")
    runs = [*synthetic.runs("student", STUDENT, data=card.digest(None)), *synthetic.runs("kd", [50.0, 51.0, 52.0], data=card.digest(None))]
    done = carried_out(runs, ["digits"], to="student")
    assert done.written == [tmp_path / "student"]
    assert json.loads((tmp_path / "student" / "card.json").read_text())["answer"] == list(done.answer)
    assert len(written) == 1
