"""A file of one's own texts on the command line, and the page that describes it."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "text.md"


@pytest.fixture
def reviews(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text("words,sort\n" + "".join(f"film number {number},{'ab'[number % 2]}\n" for number in range(120)))
    return path


def test_a_dry_run_plans_a_file(kdarena, reviews):
    done = kdarena("run", "--plugins", "kd", "--text", reviews, "--columns", "words,sort", "--budget", "30epochs", "--dry-run")
    assert done.returncode == 0 and "reviews:bert-4-128:bert-2-128" in done.stdout


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--text", "reviews.csv"], "reviews.csv: the text's or the label's column has no name that is known; name the text's"),
        (["--text", "nowhere.csv"], "nowhere.csv: no such file or folder"),
        (["--columns", "a,b"], "--columns names the columns of --text, which is not given"),
        (
            ["--text", "reviews.csv", "--columns", "words,sort", "--teacher", "hf:nowhere"],
            "nowhere: no such folder: name a folder that save_pretrained() wrote",
        ),
        (["--text", "reviews.csv", "--columns", "words,sort", "--student", "gpt-2"], "unknown architecture 'gpt-2'"),
    ],
)
def test_what_is_wrong_is_one_line(kdarena, reviews, options, problem):
    done = kdarena("run", "--plugins", "kd", "--budget", "30epochs", "--dry-run", *options, cwd=reviews.parent)
    assert done.returncode == 2 and problem in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_example_of_the_page_reaches_a_board(tmp_path, monkeypatch):
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[-1]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    boards = names["boards"]
    assert {"student", "kd"} <= set(boards["method"])
    assert boards[boards["method"] == "kd"]["mean"].notna().all()
