"""Files of one's own texts, as people have them: used as they are meant, or named by file and line before anything trains."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdarena.tracks import check_data
from kdarena.tracks.own import OwnTask
from kdarena.tracks.text import files
from kdarena.tracks.text.samples import read_own, read_samples
from kdarena.tracks.text.table import read_table
from kdarena.tracks.values import Setting, Split

ROWS = [(f"the {'good' if number % 2 else 'bad'} film number {number}", "positive" if number % 2 else "negative") for number in range(40)]
TEXTS = tuple(text for text, _ in ROWS)
LABELS = tuple(label for _, label in ROWS)


def written(delimiter: str = ",", header: str | None = "text,label", end: str = "\n", rows: list[tuple[str, str]] | None = None) -> str:
    lines = [delimiter.join(row) for row in (ROWS if rows is None else rows)]
    return end.join(([header] if header is not None else []) + lines) + end


def jsonl(rows: list[dict[str, object]] | None = None) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows or [{"text": text, "label": label} for text, label in ROWS])


TAB = written("\t", "text\tlabel")
USED: dict[str, tuple[str, str | bytes, str | None]] = {
    "csv": ("a.csv", written(), None),
    "tsv": ("a.tsv", TAB, None),
    "txt": ("a.txt", TAB, None),
    "capital ending": ("A.CSV", written(), None),
    "byte order mark": ("a.csv", "\ufeff" + written(), None),
    "crlf": ("a.csv", written(end="\r\n"), None),
    "a lone carriage return": ("a.tsv", written("\t", "text\tlabel", "\r"), None),
    "blank lines": ("a.csv", written().replace("\n", "\n\n"), None),
    "blank lines at the end": ("a.csv", written() + "\n\n \n", None),
    "empty rows": ("a.csv", written() + ",\n,\n", None),
    "no last line feed": ("a.csv", written().rstrip(), None),
    "semicolons": ("a.csv", written(";", "text;label"), None),
    "tabs in a csv": ("a.csv", TAB, None),
    "utf-16 of a spreadsheet": ("a.tsv", TAB.encode("utf-16"), None),
    "no header": ("a.csv", written(header=None), None),
    "no header, the label first": ("a.tsv", "".join(f"{label}\t{text}\n" for text, label in ROWS), None),
    "no header, by numbers": ("a.csv", written(header=None), "1,2"),
    "names in capitals": ("a.csv", written(header=" Text , LABEL "), None),
    "other names": ("a.csv", written(header="review,sentiment"), None),
    "a text of an unknown name": ("a.csv", written(header="words,label"), None),
    "columns by name": ("a.csv", written(header="words,sort"), "words,sort"),
    "columns by number, with a header": ("a.csv", written(header="words,sort"), "1,2"),
    "further columns": ("a.csv", "id,text,label,source\n" + "".join(f"{place},{text},{label},web\n" for place, (text, label) in enumerate(ROWS)), None),
    "an index without a name": ("a.csv", ",text,label\n" + "".join(f"{place},{text},{label}\n" for place, (text, label) in enumerate(ROWS)), None),
    "a delimiter at every end": ("a.csv", written(header="text,label,", rows=[(text, f"{label},") for text, label in ROWS]), None),
    "everything quoted": ("a.csv", written(rows=[(f'"{text}"', f'"{label}"') for text, label in ROWS]), None),
    "quotes in a tsv": ("a.tsv", written("\t", "text\tlabel", rows=[(f'"{text}"', label) for text, label in ROWS]), None),
    "spaces around labels": ("a.csv", written(rows=[(text, f" {label} ") for text, label in ROWS]), None),
    "jsonl": ("a.jsonl", jsonl(), None),
    "ndjson with blank lines": ("a.ndjson", jsonl().replace("\n", "\n\n"), None),
    "a list in a json": ("a.json", json.dumps([{"text": text, "label": label} for text, label in ROWS], indent=1), None),
    "objects a line in a json": ("a.json", jsonl(), None),
    "a list under a name": ("a.json", json.dumps({"data": [{"text": text, "label": label} for text, label in ROWS]}), None),
}


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("case", USED)
def test_a_file_is_used_as_it_is_meant(tmp_path: Path, case: str):
    name, content, typed = USED[case]
    samples, _ = read_samples(put(tmp_path, name, content), typed)
    assert (samples.first, samples.second, samples.labels) == (TEXTS, None, LABELS)


BAD: dict[str, tuple[str, str | bytes, str | None, str]] = {
    "no such kind": ("a.xlsx", "PK", None, "unknown kind of file '.xlsx'"),
    "nothing": ("a.csv", "", None, "the file is empty"),
    "white space": ("a.csv", " \r\n\n", None, "the file is empty"),
    "a header alone": ("a.csv", "text,label\n", None, "it has no rows but the header"),
    "latin-1": (
        "a.csv",
        written(rows=[*ROWS[:2], ("caf\xe9 noir", "positive")]).encode("latin-1"),
        None,
        r"line 4: byte 0xe9 is not UTF-8, the file may be Latin-1",
    ),
    "nul bytes": ("a.csv", written().replace("number 3", "number\0 3"), None, "line 5: a NUL character"),
    "utf-16 that is cut": ("a.csv", TAB.encode("utf-16")[:-1], None, "it begins like UTF-16"),
    "ragged rows": ("a.csv", written().replace("the bad film number 4,", "the bad, film number 4,"), None, "line 6: 3 columns instead of 2: quote"),
    "a short row": ("a.tsv", TAB + "alone\n", None, "line 42: 1 columns instead of 2"),
    "an open quotation mark": (
        "a.csv",
        written().replace("the bad film number 4,", '"the bad film number 4,'),
        None,
        "row that begins in line 6: a quotation mark is never",
    ),
    "text behind a quotation": ("a.csv", written().replace("the bad film number 4", '"the bad" film'), None, "line 6: text behind a closing quotation mark"),
    "one column": ("a.csv", "text\nhello there\n", None, "there is only one column, 'text'"),
    "unknown names": ("a.csv", written(header="words,sort"), None, r"--columns TEXT,LABEL; the columns are 'words', 'sort'"),
    "two texts": ("a.csv", "review,comment,label\n" + "".join(f"{t},x {t},{y}\n" for t, y in ROWS), None, "columns review, comment may all be it; name"),
    "two labels": ("a.csv", "text,topic,emotion\n" + "".join(f"{t},{y},{y}\n" for t, y in ROWS), None, "columns topic, emotion may all be it; name"),
    "no label's name": ("a.csv", "id,sentence1,sentence2\n" + "".join(f"1,{t},{y}\n" for t, y in ROWS), None, "the text's or the label's column has no name"),
    "a column that is not there": ("a.csv", written(), "text,kind", "there is no column 'kind'; the columns are 'text', 'label'"),
    "one column typed": ("a.csv", written(), "text", "expected TEXT,LABEL or FIRST,SECOND,LABEL"),
    "a column typed twice": ("a.csv", written(), "text,text", "a column is named twice"),
    "a number too large": ("a.csv", written(), "1,3", "there is no column '3'"),
    "no text": ("a.csv", written() + ",positive\n", None, "line 42: no text in column 'text'"),
    "no label": ("a.csv", written() + "hello there,\n", None, "line 42: no label in column 'label'"),
    "a label that is nan": ("a.csv", written() + "hello there,NaN\n", None, "line 42: no label in column 'label'"),
    "many bad rows": ("a.csv", written() + "hello there,\n" * 9, None, r"line 46: no label in column 'label' and 4 more: fill them in"),
    "decimals": ("a.csv", written(rows=[(t, f"{n / 8}") for n, (t, _) in enumerate(ROWS)]), None, r"numbers with decimals \(0.125 in line 3\): only classes"),
    "a label a row": ("a.csv", written(rows=[(t, f"name {n}") for n, (t, _) in enumerate(ROWS)]), None, "40 different labels in 40 rows: is it the label's"),
    "one class": ("a.csv", written(rows=[(t, "positive") for t, _ in ROWS]), None, "all 40 rows are of one class, 'positive'"),
    "capitals": ("a.csv", written(rows=[*ROWS, ("more", "Positive")]), None, "labels 'Positive', 'positive' differ in capital letters only"),
    "too few rows": ("a.csv", written(rows=ROWS[:2]), None, "2 rows are too few to keep some for a test"),
    "a huge field": (
        "a.csv",
        written() + "x" * 1_000_001 + ",positive\n",
        None,
        "row that begins in line 42: a quotation mark is never closed|more than 1,000,000",
    ),
    "broken json": ("a.jsonl", jsonl() + '{"text": "a", \n', None, "line 41: no JSON"),
    "json that is no object": ("a.jsonl", jsonl() + '["a", "b"]\n', None, "line 41: list instead of an object"),
    "deep json": ("a.jsonl", "[" * 100_000, None, "no JSON"),
    "a number for a text": ("a.jsonl", jsonl([{"text": 3, "label": 1}, {"text": "b", "label": 0}]), None, "line 1: '3' in column 'text' is no text"),
    "a list of labels": (
        "a.jsonl",
        jsonl([{"text": "a", "label": [1, 2]}, {"text": "b", "label": 0}]),
        None,
        r"line 1: \[1, 2\] in column 'label' is no single label",
    ),
    "nan in json": ("a.jsonl", '{"text": "a", "label": NaN}\n{"text": "b", "label": 0}\n', None, "line 1: no label in column 'label'"),
    "a key that is missing": ("a.jsonl", jsonl([{"text": "a", "label": 1}, {"text": "b"}]), None, "line 2: no label in column 'label'"),
    "half a character": ("a.jsonl", '{"text": "a\\ud800", "label": 1}\n{"text": "b", "label": 0}\n', None, "line 1: half a character"),
    "no parquet": ("a.parquet", "PAR1 no", None, "it can't be read as parquet"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_one_line_that_names_the_file_and_the_place(tmp_path: Path, case: str):
    name, content, typed, problem = BAD[case]
    path = put(tmp_path, name, content)
    with pytest.raises(ValueError, match=problem) as caught:
        read_own(path, typed)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    assert str(path) in str(caught.value) or typed is not None


def test_public_files_without_quoting_keep_their_quotation_marks(tmp_path: Path):
    rows = [('"A dog', "0"), ('said "no" twice', "1"), ('ends with "', "0"), ('"whole"', "1")] * 10
    samples, _ = read_samples(put(tmp_path, "a.tsv", written("\t", "sentence\tlabel", rows=rows)), None)
    assert samples.first == tuple(text for text, _ in rows)


def test_a_text_may_have_line_feeds_and_other_ends_of_lines_inside_of_quotes(tmp_path: Path):
    samples, _ = read_samples(put(tmp_path, "a.csv", 'text,label\r\n"one\r\ntwo, ""three""",0\r\nfour\u2028five,1\r\n'), None)
    assert samples.first == ('one\ntwo, "three"', "four\u2028five")


def test_a_row_behind_a_text_of_several_lines_is_named_by_its_own_line(tmp_path: Path):
    with pytest.raises(ValueError, match="line 4: no text"):
        read_samples(put(tmp_path, "a.csv", 'text,label\n"one\ntwo",0\n,1\n'), None)


TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r"), min_size=1, max_size=30).filter(str.strip)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(TEXT, st.sampled_from(["yes", "no"])), min_size=1, max_size=8), kind=st.sampled_from(["csv", "tsv"]))
def test_what_a_csv_writer_wrote_is_read_as_it_was(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], kind: str):
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter="\t" if kind == "tsv" else ",", quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "label"), *rows])
    table = read_table(put(tmp_path_factory.mktemp("round"), f"a.{kind}", buffer.getvalue()))
    assert [row.values for row in table.rows] == [("text", "label"), *rows]


@pytest.mark.parametrize(
    ("header", "names"),
    [("sentence1,sentence2,label", None), ("premise,hypothesis,gold_label", None), ("question,answer,label", None), ("a,b,c", "a,b,c"), ("a,b,c", "1,2,3")],
)
def test_pairs_of_texts_are_found_by_name_or_as_they_are_typed(tmp_path: Path, header: str, names: str | None):
    content = header + "\n" + "".join(f"{text},is it,{label}\n" for text, label in ROWS)
    samples, _ = read_samples(put(tmp_path, "a.csv", content), names)
    assert samples.first == TEXTS and samples.second == ("is it",) * 40


@pytest.mark.parametrize(
    ("written_as", "classes"), [(("0", "1", "10"), ("0", "1", "10")), (("1.0", "0.0", "2.0"), ("0", "1", "2")), (("b", "a", "c"), ("a", "b", "c"))]
)
def test_labels_are_words_or_numbers_in_their_order(tmp_path: Path, written_as: tuple[str, ...], classes: tuple[str, ...]):
    rows = [(f"text number {number}", written_as[number % 3]) for number in range(60)]
    assert read_own(put(tmp_path, "a.csv", written(rows=rows)), None).labels == classes


def test_parquet_is_read_with_the_names_of_its_classes(tmp_path: Path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    features = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["negative", "positive"]}}}}
    table = pa.table({"text": list(TEXTS), "label": [int(label == "positive") for label in LABELS]}).replace_schema_metadata(
        {"huggingface": json.dumps(features)}
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    samples, _ = read_samples(tmp_path / "a.parquet", None)
    assert (samples.first, samples.labels) == (TEXTS, LABELS)
    parquet.write_table(pa.table({"text": ["a", None], "label": [0.0, float("nan")]}), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="b.parquet: row 2: no text in column 'text'"):
        read_samples(tmp_path / "b.parquet", None)


# parts
def many(count: int, first: int = 0) -> list[tuple[str, str]]:
    return [(f"text of number {number}", "ab"[number % 2]) for number in range(first, first + count)]


def test_rows_that_are_added_move_no_other_row(tmp_path: Path):
    small, large = (read_own(put(tmp_path, f"{count}.csv", written(rows=many(count))), None) for count in (300, 400))
    assert set(small.test.first) <= set(large.test.first) and not set(small.train.first) & set(large.test.first)
    assert 0.13 < len(large.test) / 400 < 0.27
    shares = [large.test.labels.count(label) / len(large.test) for label in "ab"]
    assert max(shares) < 0.65


def test_equal_texts_are_in_one_part_and_are_said(tmp_path: Path):
    own = read_own(put(tmp_path, "a.csv", written(rows=[*many(200), *many(200)])), None)
    assert not set(own.train.first) & set(own.test.first)
    assert any("200 of 400 rows repeat another row's text" in note for note in own.notes)
    own = read_own(put(tmp_path, "b.csv", written(rows=[*many(200), ("text of number 0", "b")])), None)
    assert any("1 texts have more than one label, as 'text of number 0'" in note for note in own.notes)


def test_a_folders_files_are_its_parts(tmp_path: Path):
    put(tmp_path, "train-00000-of-00002.jsonl", jsonl([{"text": t, "label": y} for t, y in many(30)]))
    put(tmp_path, "train-00001-of-00002.jsonl", jsonl([{"text": t, "label": y} for t, y in many(30, 30)]))
    put(tmp_path, "dev.csv", written(rows=many(10, 60)))
    put(tmp_path, "test.tsv", written("\t", "text\tlabel", rows=many(12, 70)))
    put(tmp_path, "notes.txt", "nothing")
    own = read_own(tmp_path, None)
    assert (len(own.train), own.validation, own.fixed, len(own.test)) == (70, 10, True, 12)
    assert own.train.first[-10:] == tuple(text for text, _ in many(10, 60))


@pytest.mark.parametrize("hidden", [None, "-1", "no column"])
def test_without_labelled_test_rows_the_validation_file_is_the_test(tmp_path: Path, hidden: str | None):
    put(tmp_path, "train.csv", written(rows=many(50)))
    put(tmp_path, "validation.csv", written(rows=many(10, 50)))
    if hidden == "-1":
        put(tmp_path, "test.csv", written(rows=[(text, "-1") for text, _ in many(10, 70)]))
    elif hidden is not None:
        put(tmp_path, "test.csv", "index,text\n" + "".join(f"{place},{text}\n" for place, (text, _) in enumerate(many(10, 70))))
    own = read_own(tmp_path, None)
    assert (len(own.train), own.validation, own.fixed, len(own.test)) == (50, 10, False, 10)
    assert any("the validation file is the test part" in note for note in own.notes)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ((), "lacks train.tsv .*; it has no file of texts: name the files"),
        (("test.csv",), "lacks train.tsv .*; it has only test.csv: name the files"),
        (("train.csv",), "lacks test.tsv .*; it has only train.csv: name the files"),
        (("train.csv", "train.tsv", "test.csv"), "train.csv, train.tsv may all be the train part"),
    ],
)
def test_a_folder_without_its_parts_is_refused(tmp_path: Path, names: tuple[str, ...], problem: str):
    for name in names:
        put(tmp_path, name, written())
    with pytest.raises(ValueError, match=problem):
        read_own(tmp_path, None)


def test_a_place_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"nowhere.csv: no such file or folder"):
        read_own(tmp_path / "nowhere.csv", None)


# the card
def test_the_card_says_what_the_file_has_and_follows_it(tmp_path: Path):
    path = put(tmp_path, "My reviews.csv", written(rows=many(300)))
    task = OwnTask("text", {"text": str(path)})
    card = task.card()
    assert (card.name, card.data_set, card.classes) == ("my-reviews:bert-4-128:bert-2-128", "my-reviews", 2)
    assert card.train + card.validation + card.test == 300 and card.missing(None) is None and not card.embedded
    before = card.digest(None)
    assert task.card().digest(None) == before
    put(tmp_path, "My reviews.csv", written(rows=[*many(299), ("another text", "b")]))
    assert task.card().digest(None) != before


@pytest.mark.parametrize(("count", "epochs"), [(40, 200), (400, 29), (4000, 10)])
def test_few_rows_are_seen_more_often_than_the_recipe_says(tmp_path: Path, count: int, epochs: int):
    recipe = files.own_card({"text": str(put(tmp_path, "a.csv", written(rows=many(count))))}).recipe
    assert (recipe.teacher_epochs, recipe.student_epochs) == pytest.approx((epochs, epochs), rel=0.2)


def test_the_task_has_the_files_parts(tmp_path: Path):
    card = files.own_card({"text": str(put(tmp_path, "a.csv", written(rows=many(120)))), "teacher": "bert-2-16", "student": "bert-1-16"})
    task = card.load(card, Setting())
    assert len(task.part_targets("train", Split(0))) == card.train and len(task.part_targets("test", Split(0))) == card.test
    assert task.overlap == 0 and task.new_network(card.student)(task.one_batch().inputs).logits.shape == (1, 2)


def test_a_class_without_test_rows_is_said(tmp_path: Path):
    put(tmp_path, "train.csv", written(rows=[*many(40), ("odd one", "c")]))
    put(tmp_path, "test.csv", written(rows=many(10, 50)))
    card = files.own_card({"text": str(tmp_path)})
    assert any("no row of class 'c' is in the test part" in note for note in check_data(card, None))


@pytest.mark.parametrize(("network", "problem"), [("gpt-2", "unknown architecture 'gpt-2'"), ("hf:/nowhere", "/nowhere: no such folder")])
def test_an_unknown_network_is_refused(tmp_path: Path, network: str, problem: str):
    with pytest.raises(ValueError, match=problem):
        files.own_card({"text": str(put(tmp_path, "a.csv", written())), "teacher": network})


@pytest.mark.parametrize(("name", "data_set"), [("cola.tsv", "own-cola"), ("My [red]Films.tsv", "my-red-films"), ("...tsv", "text")])
def test_a_name_is_plain_and_no_listed_ones(tmp_path: Path, name: str, data_set: str):
    assert files.own_card({"text": str(put(tmp_path, name, TAB))}).data_set == data_set


def test_a_folder_may_keep_its_files_in_data(tmp_path: Path):
    (tmp_path / "data").mkdir()
    put(tmp_path, "README.txt", "nothing")
    put(tmp_path / "data", "train.csv", written(rows=many(50)))
    put(tmp_path / "data", "test.csv", written(rows=many(10, 50)))
    assert len(read_own(tmp_path, None).test) == 10
