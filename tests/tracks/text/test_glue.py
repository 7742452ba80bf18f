"""GLUE's files: layouts, sizes, and bad rows that are named before training."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdarena.errors import UserError
from kdarena.tracks import check_data
from kdarena.tracks.text import glue
from kdarena.tracks.text.cards import card
from kdarena.tracks.text.data import glue_digest, load_glue

MRPC = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"


def write(root: Path, folder: str, train: str, dev: str | None = None) -> str:
    (root / folder).mkdir(parents=True)
    (root / folder / "train.tsv").write_text(train, "utf-8")
    (root / folder / "dev.tsv").write_text(train if dev is None else dev, "utf-8")
    return str(root)


def test_cola_has_no_header_and_its_fourth_column_is_the_sentence(cola: Path):
    found = glue.read("cola", "train", str(cola))
    assert found.first[:2] == ("the dog number0 barks good .", "the dog number1 barks well .") and found.second is None
    assert found.labels[:4] == (0, 1, 0, 1) and len(found.labels) == 90
    assert len(glue.read("cola", "test", str(cola)).labels) == 20


def test_rte_has_pairs_and_named_labels_and_a_lone_quotation_mark_is_only_a_character(rte: Path):
    found = glue.read("rte", "train", str(rte))
    assert found.second is not None and len(found.second) == 60
    assert found.first[1] == '"A dog 1 barks .' and found.second[1] == "An animal is loud ."
    assert found.labels[:3] == (0, 1, 0)


def test_mrpc_may_begin_with_a_byte_order_mark(tmp_path: Path):
    rows = f"{MRPC}1\t7\t8\tone said .\ttwo said .\n"
    root = write(tmp_path, "MRPC", rows, f"\ufeff{rows}")
    assert glue.read("mrpc", "test", root).first == ("one said .",)
    assert glue.read("mrpc", "test", root).second == ("two said .",)


def test_sst2_and_qqp_are_read_by_their_columns(tmp_path: Path):
    root = write(tmp_path, "SST-2", "sentence\tlabel\na fine film \t1\n")
    write(tmp_path, "QQP", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n5\t1\t2\twhy ?\thow ?\t1\n")
    assert (glue.read("sst2", "train", root).first, glue.read("sst2", "train", root).labels) == (("a fine film ",), (1,))
    found = glue.read("qqp", "train", root)
    assert (found.first, found.second, found.labels) == (("why ?",), ("how ?",), (1,))


@pytest.mark.parametrize("below", ["", "text", "glue_data"])
def test_the_folders_are_found_below_the_data_root_by_their_usual_names(tmp_path: Path, below: str):
    write(tmp_path / below, "SST-2", "sentence\tlabel\na fine film \t1\n")
    assert glue.missing_files("sst2", str(tmp_path)) is None
    assert glue.size("sst2", "train", str(tmp_path)) == 1


def test_rows_are_counted_in_the_files_that_are_there_and_known_otherwise(cola: Path):
    assert (glue.size("cola", "train", str(cola)), glue.size("cola", "test", str(cola))) == (90, 20)
    assert (glue.size("cola", "train", None), glue.size("rte", "test", str(cola))) == (8551, 277)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("1\t7\t8\tonly one sentence .", "row 3: 4 columns instead of 5"),
        ("1\t7\t8\tone .\ttwo .\tthree .", "row 3: 6 columns instead of 5"),
        ("", "row 3: a blank line"),
        ("2\t7\t8\tone .\ttwo .", "row 3: label '2' is none of 0, 1"),
        ("1\t7\t8\tone .\t ", "row 3: no text in column '#2 String'"),
        ("1\t7\t8\t\ttwo .", "row 3: no text in column '#1 String'"),
    ],
)
def test_a_bad_row_is_named_by_file_and_row(tmp_path: Path, row: str, problem: str):
    good = "1\t7\t8\tone said .\ttwo said .\n"
    root = write(tmp_path, "MRPC", f"{MRPC}{good}{row}\n{good}")
    with pytest.raises(ValueError) as caught:
        load_glue("mrpc", root)
    assert str(caught.value).startswith(f"{tmp_path.resolve() / 'MRPC' / 'train.tsv'}: {problem}") and "\n" not in str(caught.value)


def test_all_bad_rows_are_counted_and_the_first_five_named(tmp_path: Path):
    root = write(tmp_path, "SST-2", "sentence\tlabel\n" + "a fine film\n" * 8)
    with pytest.raises(ValueError, match=r"row 2: 1 columns instead of 2; row 3.*row 6: 1 columns instead of 2 and 3 more: fix or remove them"):
        glue.read("sst2", "train", root)


def test_a_header_of_other_columns_is_named(tmp_path: Path):
    root = write(tmp_path, "SST-2", "text\tlabel\na fine film\t1\n")
    with pytest.raises(ValueError, match="row 1: the columns are text, label; expected the header sentence, label"):
        glue.read("sst2", "train", root)


def test_a_file_without_rows_and_one_in_another_encoding_are_refused(tmp_path: Path):
    root = write(tmp_path, "SST-2", "sentence\tlabel\n")
    with pytest.raises(ValueError, match="it has no rows but the header"):
        glue.read("sst2", "train", root)
    (tmp_path / "SST-2" / "dev.tsv").write_bytes("sentence\tlabel\ncafé\t1\n".encode("latin1"))
    with pytest.raises(ValueError, match=r"dev\.tsv: row 2: byte 0xe9 is not UTF-8"):
        glue.read("sst2", "test", root)


def test_missing_files_say_how_to_get_them(tmp_path: Path):
    assert "--data-root" in str(glue.missing_files("cola", None))
    assert str(tmp_path / "CoLA") in str(glue.missing_files("cola", str(tmp_path)))
    with pytest.raises(ValueError, match="lacks train.tsv or dev.tsv"):
        glue.read("cola", "train", str(tmp_path))


def test_the_digest_follows_the_rows(cola: Path):
    before = glue_digest("cola", str(cola))
    assert before == glue_digest("cola", str(cola)) and len(before) == 16
    path = cola / "CoLA" / "dev.tsv"
    path.write_text(path.read_text().replace("number3", "number4"))
    assert glue_digest("cola", str(cola)) != before


HEADER = "sentence\tlabel"
GOOD = [f"a fine film number {number}\t{number % 2}" for number in range(30)]


def written(root: Path, train: str | bytes, dev: str = "\n".join([HEADER, *GOOD[:4]])) -> str:
    folder = root / "SST-2"
    folder.mkdir(parents=True)
    (folder / "train.tsv").write_bytes(train if isinstance(train, bytes) else train.encode())
    (folder / "dev.tsv").write_text(dev, "utf-8")
    return str(root)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", ["", "{end}", "{end}{end}{end}"])
def test_harmless_ends_of_lines_change_neither_rows_nor_the_cards_numbers(tmp_path: Path, end: str, last: str):
    plain = written(tmp_path / "plain", "\n".join([HEADER, *GOOD]))
    root = written(tmp_path / "other", "\ufeff" + end.join([HEADER, *GOOD]) + last.format(end=end))
    assert glue.check("sst2", root, 4) == []
    assert glue_digest("sst2", root) == glue_digest("sst2", plain)
    found = card("sst2", root)
    assert (found.train, found.validation, found.test) == (26, 4, 4)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([HEADER, *GOOD, "a film\t2"], "row 32: label '2' is none of 0, 1: fix or remove them"),
        ([HEADER, *GOOD, "a film"], "row 32: 1 columns instead of 2: fix or remove them"),
        ([HEADER, *GOOD[:5], "", *GOOD[5:]], "row 7: a blank line: fix or remove them"),
        (GOOD, "row 1: the columns are a fine film number 0, 0; expected the header sentence, label: add or correct it"),
        ([HEADER, *(row[:-1] + "1" for row in GOOD)], "all 30 samples are of one class, '1': add samples of another class"),
        ([HEADER], "it has no rows but the header: restore them"),
        ([], "the file is empty: restore it"),
        ([HEADER, *GOOD[:4]], "4 samples, of which 4 are held out for validation, and none is left to train on: add samples"),
    ],
)
def test_a_wrong_file_is_one_line_with_file_row_and_remedy_before_anything_is_planned(tmp_path: Path, rows: list[str], says: str):
    root = written(tmp_path, "\n".join(rows))
    with pytest.raises(UserError) as caught:
        check_data(card("sst2", root), root)
    assert str(caught.value) == f"task sst2:bert-4-128:bert-2-128: {tmp_path / 'SST-2' / 'train.tsv'}: {says}"


def test_test_rows_that_are_also_in_train_are_counted(cola: Path):
    rows = (cola / "CoLA" / "train.tsv").read_text().splitlines()
    (cola / "CoLA" / "dev.tsv").write_text("\n".join([*rows[:6], "x\t1\t\tno such sentence"]))
    assert load_glue("cola", str(cola)).overlap == 6
