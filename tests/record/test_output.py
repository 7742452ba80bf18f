"""The output directory: whose it is, and of which format."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kdarena.board.leaderboard import leaderboard_frame
from kdarena.errors import UserError
from kdarena.record import index
from kdarena.record.output import safe_name
from kdarena.record.recorded import Document
from kdarena.record.runs import Record


def test_reading_a_missing_directory_names_the_command_to_run(tmp_path):
    with pytest.raises(UserError, match="kdarena run --plugins all"):
        Record.open(tmp_path / "nowhere", create=False)
    assert not (tmp_path / "nowhere").exists()


def test_a_directory_of_another_version_is_refused(tmp_path):
    (tmp_path / "kdarena.json").write_text('{"format": 99}')
    with pytest.raises(UserError, match="format 99"):
        Record.open(tmp_path)


@pytest.mark.parametrize("create", [True, False])
def test_a_directory_of_format_1_is_refused_with_the_command_that_converts_it(tmp_path, create):
    (tmp_path / "kdarena.json").write_text('{"format": 1}')
    with pytest.raises(UserError, match=f"kdarena record convert --out {tmp_path}"):
        Record.open(tmp_path, create=create)


def test_the_runs_of_format_2_have_a_board_of_their_own_and_the_directory_goes_on_in_this_format(open_record, synthetic):
    old = synthetic.run("kd", value=80.0)
    with open_record() as record:
        document = Document.of(old, recorded=1)
        run = dict(document.run)
        run["spec"] = {name: value for name, value in run["spec"].items() if name not in ("device_name", "torch", "code")}
        run["result"] = {name: value for name, value in run["result"].items() if name not in ("weights", "notes")}
        index.add(record.directory, replace(document, run=run))
        (record.directory / "kdarena.json").write_text('{"format": 2}')
    with open_record() as record:
        new = synthetic.spec(device_name="a processor", torch="2.13.0", code="0123456789abcdef")
        record.log(new, synthetic.result(new, 90.0), setting="default", facts={})
        frame = leaderboard_frame(record.runs(), {})
        assert json.loads((record.directory / "kdarena.json").read_text())["format"] == 3
    assert {(row["code"], row["mean"]) for row in frame.to_dict("records")} == {("", 80.0), ("0123456789abcdef", 90.0)}


def lose(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_text("")


@pytest.mark.parametrize("spoil", [lose, empty])
@pytest.mark.parametrize("create", [True, False])
def test_a_lost_mark_is_written_again_with_a_line_where_the_directory_is_ours(open_record, synthetic, spoil, create):
    with open_record() as record:
        record.log(synthetic.spec(), synthetic.result(synthetic.spec()), setting="default", facts={})
    (record.directory / "kdarena.lock").unlink()
    spoil(record.directory / "kdarena.json")
    with pytest.warns(UserWarning, match=r"kdarena\.json: it was .* written again"):
        assert len(open_record(create=create).runs()) == 1
    assert (record.directory / "kdarena.json").read_text() == '{"format": 3}\n'


def test_a_folder_runs_of_somebody_else_does_not_make_a_directory_ours(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "events.tfevents").write_text("")
    with pytest.raises(UserError, match="holds 'runs'"):
        Record.open(tmp_path)


def test_what_a_killed_command_left_half_written_is_removed_by_the_next_that_writes(open_record):
    record = open_record()
    record.close()
    left = [record.directory / "kdarena.json.12ab34cd.partial", record.directory / "students" / "k.safetensors.partial"]
    left[1].parent.mkdir()
    for path in left:
        path.write_text("half")
    open_record(create=False)
    assert all(path.exists() for path in left)
    open_record()
    assert not any(path.exists() for path in left)


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match=r"thesis\.tex"):
        Record.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--out"):
        Record.open(tmp_path / "file")


@pytest.mark.parametrize("text", ["..", "", "/", ".", "a/../b", "a b", "ü", "x" * 300, "-"])
def test_a_safe_name_is_one_plain_part_of_a_path(text):
    name = safe_name(text)
    assert name == Path(name).name
    assert name not in (".", "..")
    assert len(name) < 100


def test_different_texts_have_different_safe_names():
    assert len({safe_name(text) for text in ("a/b", "a-b", "a b", "a\\b", "A/b")}) == 5


@pytest.mark.parametrize("create", [True, False])
def test_a_directory_that_lost_its_mark_and_has_its_runs_in_mlflow_alone_is_not_taken_for_one_of_this_format(tmp_path, create):
    for name in ("kdarena.lock", "mlflow.db"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r'kdarena\.json: it was missing.* write \{"format": 1\} to it, then: kdarena record convert'):
        Record.open(tmp_path, create=create)
    assert not (tmp_path / "kdarena.json").exists()
