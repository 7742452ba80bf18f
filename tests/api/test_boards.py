"""kdarena.leaderboard and kdarena.run: frames, quiet on standard output, with the errors of the command line."""

import subprocess
import sys

import pandas as pd
import pytest

import kdarena
from kdarena.api.boards import Boards
from kdarena.board.leaderboard import COLUMNS, FURTHER_COLUMNS
from kdarena.errors import UserError


@pytest.fixture
def out(record, synthetic, tmp_path):
    """An output directory with a board."""
    for method, value in (("student", 88.0), ("kd", 90.0)):
        for seed in range(2):
            spec = synthetic.spec(method, seed)
            record.log(spec, synthetic.result(spec, value + seed), setting="default", facts={})
    spec = synthetic.spec("cheat", 0)
    record.log(spec, synthetic.result(spec, outside={"prepare": 30.0}), setting="default", facts={})
    record.close()
    return tmp_path / "out"


def test_a_leaderboard_is_a_frame_with_every_column(out, capsys):
    boards = kdarena.leaderboard(out)
    assert isinstance(boards, pd.DataFrame)
    assert list(boards.columns) == [*COLUMNS, *FURTHER_COLUMNS]
    assert boards.set_index("method").loc["kd", "delta_student"] == pytest.approx(2.0)
    assert capsys.readouterr().out == ""


def test_what_failed_is_named(out):
    (line,) = kdarena.leaderboard(out).failures
    assert line.startswith("digits cheat: unpaid: prepare took 30 s")


def test_a_notebook_shows_the_answer_and_the_table_and_a_part_is_an_ordinary_frame(out):
    boards = kdarena.leaderboard(out)
    text = boards._repr_html_()
    assert boards["answer"].iloc[0] in text and "<table>" in text and "<script" not in text
    assert type(boards) is Boards
    assert type(boards[boards["method"] == "kd"]) is pd.DataFrame


def test_boards_are_published_where_that_is_asked_for(out, tmp_path, capsys):
    kdarena.leaderboard(out, publish=tmp_path / "published")
    assert {path.suffix for path in (tmp_path / "published").iterdir()} >= {".md", ".csv"}
    assert capsys.readouterr().out == ""


def test_without_a_record_the_line_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match="kdarena run"):
        kdarena.leaderboard(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"plugins": "nope"}, "unknown plugin 'nope'"),
        ({"plugins": ["kd"], "tasks": "nope"}, "unknown task 'nope'"),
        ({"plugins": "kd", "untuned": True, "both": True}, "--both and --untuned contradict each other"),
        ({"plugins": "kd", "params": {"kd": {"heat": 3}}}, "kd has no parameter 'heat'"),
    ],
)
def test_what_cant_be_carried_out_is_one_line_and_makes_nothing(tmp_path, capsys, keywords, says):
    with pytest.raises(UserError) as refused:
        kdarena.run(**{"tasks": "digits", **keywords}, out=tmp_path / "out")
    assert says in str(refused.value)
    assert not (tmp_path / "out").exists()
    assert capsys.readouterr().out == ""


def test_importing_the_package_costs_nothing():
    code = "import sys, kdarena; print({'torch', 'pandas', 'mlflow', 'rich', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_probe_of_plugins_does_not_load_the_functions():
    assert {"run", "leaderboard"} <= set(kdarena.__all__) - set(kdarena.FOR_PLUGINS)
    assert set(kdarena.FOR_PLUGINS) < set(kdarena.__all__)


@pytest.mark.slow
def test_a_run_in_python_is_that_of_the_command(tmp_path, capfd):
    keywords = {"tasks": ("digits",), "budget": "4e9flop", "tuning_budget": 0, "teacher_budget": "8epochs", "seeds": 1, "workers": 2}
    boards = kdarena.run("kd", **keywords, out=tmp_path / "out")
    assert capfd.readouterr().out == ""
    assert boards.failures == ()
    command = [
        "--plugins",
        "kd",
        "--tasks",
        "digits",
        "--budget",
        "4e9flop",
        "--tuning-budget",
        "0",
        "--teacher-budget",
        "8epochs",
        "--seeds",
        "1",
        "--workers",
        "2",
        "--out",
    ]
    done = subprocess.run([sys.executable, "-m", "kdarena", "run", *command, tmp_path / "out"], capture_output=True, text=True)
    assert (done.returncode, "Nothing is established" in done.stdout) == (0, True)
    again = kdarena.leaderboard(tmp_path / "out")
    assert [*again["run_ids"]] == [*boards["run_ids"]]  # the command trained nothing
