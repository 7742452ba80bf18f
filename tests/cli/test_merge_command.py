"""``kdarena leaderboard --merge``: records of several directories, read and never written."""

import json
import shutil

import pytest

from kdarena.plan.spec import Budget, PhaseCost
from kdarena.record import index, output
from kdarena.record.recorded import Document

STUDENT = [88.0, 89.0, 88.5]
KD = [90.0, 91.5, 90.6]
FLOP = {"budget": Budget(1e9, "flop"), "costs": (PhaseCost("train", None, 1.0, 1e5, None, None, 10**5),)}


def write(directory, runs):
    """An output directory whose runs have files and no index."""
    output.claim(directory)
    (directory / index.RUNS).mkdir()
    for number, run in enumerate(runs):
        index.file_of(directory, run.run_id).write_text(Document.of(run, 1_700_000_000_000_000_000 + number).text())
    return directory


@pytest.fixture
def two(synthetic, tmp_path):
    first = [*synthetic.runs("student", STUDENT, **FLOP), *synthetic.runs("kd", KD, **FLOP)]
    second = [synthetic.run(method, seed, 90.0 + seed, **FLOP) for method in ("student", "kd") for seed in (3, 4)]
    return write(tmp_path / "one", first), write(tmp_path / "two", second)


def contents(directory):
    return {path.relative_to(directory): (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in sorted(directory.rglob("*"))}


def test_the_boards_of_two_directories_are_joined_and_published_and_neither_is_written(kdarena, two, tmp_path):
    (two[1] / output.MARK).unlink()  # of which every other command would say that it is missing, and write it again
    (two[1] / output.LOCK).touch()
    before = [contents(directory) for directory in two]
    done = kdarena("leaderboard", "--merge", two[0], "--merge", two[1], "--format", "json", "--publish", tmp_path / "boards")
    assert done.returncode == 0, done.stderr
    assert {row["method"]: row["seeds"] for row in json.loads(done.stdout)} == {"student": 5, "kd": 5}
    assert [contents(directory) for directory in two] == before
    (environment,) = (tmp_path / "boards").glob("*.environment.json")
    assert json.loads(environment.read_text())["environment"] == {"torch": "2.13.0"}


def test_the_same_directory_twice_is_that_directory(kdarena, two):
    alone = kdarena("leaderboard", "--merge", two[0], "--format", "json")
    assert kdarena("leaderboard", "--merge", two[0], "--merge", two[0] / ".." / "one", "--format", "json").stdout == alone.stdout
    assert {row["seeds"] for row in json.loads(alone.stdout)} == {3}


def test_a_copy_of_a_directory_adds_nothing(kdarena, two, tmp_path):
    shutil.copytree(two[0], tmp_path / "copy")
    alone = kdarena("leaderboard", "--merge", two[0], "--format", "json")
    assert kdarena("leaderboard", "--merge", two[0], "--merge", tmp_path / "copy", "--format", "json").stdout == alone.stdout


@pytest.mark.parametrize("empty", ["nothing", "no directory", "no run"])
def test_a_directory_without_a_record_is_status_2_and_one_line_that_names_it(kdarena, two, tmp_path, empty):
    if empty != "no directory":
        (tmp_path / "empty").mkdir()
    if empty == "no run":
        output.mark(tmp_path / "empty")
    done = kdarena("leaderboard", "--merge", two[0], "--merge", tmp_path / "empty")
    assert (done.returncode, done.stdout, len(done.stderr.strip().splitlines())) == (2, "", 1)
    assert f"{tmp_path / 'empty'}" in done.stderr


def test_a_record_of_other_code_is_status_2_and_one_line(kdarena, two, synthetic, tmp_path):
    other = write(tmp_path / "other", synthetic.runs("student", STUDENT, **FLOP, code="5e6f7a8b9c"))
    done = kdarena("leaderboard", "--merge", two[0], "--merge", other)
    assert (done.returncode, done.stdout, len(done.stderr.strip().splitlines())) == (2, "", 1)
    assert f"{two[0]} and {other} can't be merged: on digits they differ in kdarena's code (unknown and 5e6f7a8b)" in done.stderr
