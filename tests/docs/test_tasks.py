"""The task of docs/tasks.md runs: it is loaded from its file, learnt and scored by its own metric."""

import pytest
from docs.examples import examples

from kdarena.api.own import own_tasks
from kdarena.errors import UserError
from kdarena.method.discovery import discover, listing
from kdarena.method.student import Student
from kdarena.testing.run import make_run, take_steps
from kdarena.tracks import load_task
from kdarena.tracks.own import OwnTask
from kdarena.tracks.values import Setting, Split


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("own tasks")
    (place / "waves.py").write_text(examples("tasks.md")["waves.py"])
    return place


def own(path, function="card"):
    (task,) = own_tasks({"task_from": f"{path}:{function}", "tasks": "all"})
    return task


def test_the_example_is_learnt_and_scored_by_its_own_metric(folder):
    card = own(folder / "waves.py").card()
    task = load_task(card, Setting())
    run = make_run(Student, task, locked=True)
    before = task.evaluate(run.learner.student, "test", Split(0))["recall"]
    take_steps(run, 150)
    assert task.evaluate(run.learner.student, "test", Split(0))["recall"] > before + 15
    assert card.metric == "recall"


def test_the_code_of_the_file_is_in_the_digest(folder, tmp_path):
    text = (folder / "waves.py").read_text()
    (tmp_path / "waves.py").write_text(text.replace("0.4 *", "0.5 *"))
    (tmp_path / "same.py").write_text(text)
    digests = [own(place).card().digest(None) for place in (folder / "waves.py", tmp_path / "waves.py", tmp_path / "same.py")]
    assert digests[0] == digests[2] != digests[1]


def test_a_relative_path_is_kept_absolute(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert own("waves.py").settings["task_from"] == f"{folder}/waves.py:card"


FAULTY = {
    "missing.py:card": ("", "no file"),
    "raises.py:card": ("def card():\n    return 1 / 0\n", "ZeroDivisionError", "raises.py, line 2"),
    "syntax.py:card": ("def card(:\n", "SyntaxError"),
    "leaves.py:card": ("raise SystemExit(3)\n", "SystemExit"),
    "none.py:card": ("def card():\n    pass\n", "gives NoneType and no kdarena.TaskCard"),
    "absent.py:other": ("def card():\n    pass\n", "has no attribute 'other'"),
    "not_a_module_of_anybody:card": (None, "No module named 'not_a_module_of_anybody'"),
    "nothing": (None, "write MODULE:FUNCTION or FILE.py:FUNCTION"),
    "evil.py:card": (("'waves'", "'../<b>evil</b>'"), "has to be of lower-case letters"),
    "track.py:card": (("'classification'", "'cooking'"), "unknown track 'cooking'; use one of classification"),
}


@pytest.mark.parametrize("named", FAULTY)
def test_a_function_that_gives_no_task_is_one_line(folder, tmp_path, named):
    content, *words = FAULTY[named]
    if isinstance(content, tuple):
        content = (folder / "waves.py").read_text().replace('"', "'").replace(*content)
    name = named.partition(":")[0]
    if content:
        (tmp_path / name).write_text(content)
    task = OwnTask("function", {"task_from": f"{tmp_path}/{named}" if ".py" in named else named})
    with pytest.raises(UserError) as raised:
        task.card()
    assert "\n" not in str(raised.value)
    assert all(word in str(raised.value) for word in ("--task-from", *words)), str(raised.value)


def test_a_plugin_brings_tasks_along(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    (folder / "brings.py").write_text(examples("tasks.md")["tasks hook"])
    (known,) = [known for known in listing([folder / "brings.py"]) if known.origin.is_file]
    assert (known.error, known.finding.tasks) == (None, (("waves", "waves:card"),))
    (task,) = own_tasks({"tasks": "waves", "plugin_paths": (str(folder / "brings.py"),)})
    assert task.card().name == "waves"


def test_a_hook_that_brings_no_tasks_is_a_broken_plugin(tmp_path):
    (tmp_path / "brings.py").write_text("from kdarena import hookimpl\n@hookimpl\ndef tasks():\n    return 3\n")
    (plugin,) = [plugin for plugin in discover([tmp_path / "brings.py"]) if plugin.error]
    assert "hook 'tasks' has to return a list of functions" in plugin.error
