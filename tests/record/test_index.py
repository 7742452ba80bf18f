"""The index is derived from the files and never believed against them."""

import json
import os
import shutil
import warnings

import pytest

from kdarena.errors import UserError
from kdarena.record import index
from kdarena.record.recorded import Document
from kdarena.record.runs import Record


@pytest.fixture
def three(record, synthetic):
    """The ids of three recorded runs."""
    specs = [synthetic.spec(seed=seed) for seed in range(3)]
    return [record.log(spec, synthetic.result(spec), setting="default", facts={}) for spec in specs]


def ids(record):
    return [run.run_id for run in record.runs()]


def path_of(record, run_id):
    return index.file_of(record.directory, run_id)


def index_of(record):
    return record.directory / index.INDEX


def test_a_whole_index_is_read_in_place_of_the_files(record, three, monkeypatch):
    monkeypatch.setattr(index, "load", None)  # not called
    assert ids(record) == three


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_text(""), lambda path: os.truncate(path, 40)])
def test_a_broken_index_is_made_again_which_is_said_once(record, three, spoil):
    before, text = record.runs(), index_of(record).read_text()
    spoil(index_of(record))
    with pytest.warns(UserWarning, match=r"runs\.jsonl: .*; made again from the files of the runs"):
        assert record.runs() == before
    assert sorted(index_of(record).read_text().split()) == sorted(text.split())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert record.runs() == before


def test_an_index_that_lacks_runs_is_completed(record, three, monkeypatch):
    lines = index_of(record).read_text().split("\n")
    index_of(record).write_text("\n".join(lines[:2]))
    assert ids(record) == three
    monkeypatch.setattr(index, "load", None)
    assert ids(record) == three


@pytest.mark.parametrize("torn", [1, 40, 400])
def test_a_torn_last_line_is_passed_over_and_what_follows_it_is_read(record, three, synthetic, torn):
    text = index_of(record).read_text()
    index_of(record).write_text(text[:-torn])
    spec = synthetic.spec(seed=7)
    last = record.log(spec, synthetic.result(spec), setting="default", facts={})
    assert ids(record) == [*three, last]


def test_an_index_that_is_no_text_is_passed_over(record, three):
    index_of(record).write_bytes(b"\xff\xfe\x00" * 100)
    assert ids(record) == three


def test_a_value_changed_in_the_index_is_not_shown(record, three):
    text = index_of(record).read_text()
    index_of(record).write_text(text.replace('"test/top1":90.0', '"test/top1":99.0'))
    assert [run.result.metrics["test/top1"] for run in record.runs()] == [90.0] * 3


def test_a_deleted_file_is_a_run_that_never_was(record, three):
    path_of(record, three[1]).unlink()
    assert ids(record) == [three[0], three[2]]


def test_a_copied_directory_is_read_and_its_index_does_not_grow_for_ever(record, three, tmp_path):
    place = record.directory
    for number in range(5):
        place = shutil.copytree(place, tmp_path / f"copy{number}", copy_function=shutil.copyfile)
        for path in (place / "runs").iterdir():
            os.utime(path, ns=(0, number))
        assert ids(Record.open(place, create=False)) == three
    assert (place / index.INDEX).stat().st_size <= 3 * index_of(record).stat().st_size


def test_a_directory_that_cant_be_written_is_read(record, three, monkeypatch):
    index_of(record).unlink()
    index_of(record).mkdir()  # nothing can be written there, not even by root
    assert ids(record) == three


SPOILED = {
    "torn": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "a changed value": lambda text: text.replace('"test/top1":90.0', '"test/top1":99.0'),
    "another form": lambda text: json.dumps({"run": 1}),
    "no object": lambda text: "[]",
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_a_file_that_cant_be_trusted_is_put_aside_with_a_line_once_and_the_others_are_read(record, three, spoil):
    path = path_of(record, three[1])
    path.write_text(spoil(path.read_text()))
    with pytest.warns(UserWarning, match=rf"{three[1]}\.json: left out.*it is now {three[1]}\.json\.broken, and the command that made it") as warned:
        assert ids(record) == [three[0], three[2]]
    assert len(warned) == 1
    assert path.with_name(f"{path.name}.broken").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ids(record) == [three[0], three[2]]


def test_a_reader_leaves_a_file_that_cant_be_trusted_where_it_is_and_says_what_to_do(record, three):
    path_of(record, three[1]).write_text("{")
    with pytest.warns(UserWarning, match=rf"{three[1]}\.json: left out.*repeat the command that made it: it trains that run again"):
        assert ids(Record.open(record.directory, create=False)) == [three[0], three[2]]
    assert path_of(record, three[1]).exists()


def test_a_file_of_fields_that_this_version_does_not_know_is_named(record, three):
    document = index.load(record.directory, three[1])
    values = {**document.run, "spec": {**document.run["spec"], "colour": "red"}}
    path_of(record, three[1]).write_text(Document(document.recorded, values).text())
    with pytest.warns(UserWarning, match="unknown field 'colour'"):
        assert ids(record) == [three[0], three[2]]


def test_a_file_under_another_runs_name_is_not_read(record, three):
    shutil.copy(path_of(record, three[0]), path_of(record, "0" * 32))
    with pytest.warns(UserWarning, match="the file of another run"):
        assert ids(record) == three


def test_white_space_in_a_file_changes_nothing(record, three):
    path = path_of(record, three[1])
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4))
    assert ids(record) == three


def test_asking_for_a_run_whose_file_is_torn_says_what_to_do(open_record, record, three):
    path_of(record, three[0]).write_text("{")
    record = open_record(create=False)
    with pytest.raises(UserError, match="repeat the command that made it: it trains that run again"):
        record.find(three[0])


def test_a_recorded_file_is_never_changed(record, three):
    document = index.load(record.directory, three[0])
    with pytest.raises(FileExistsError):
        index.add(record.directory, document)
