"""Cards: names of tasks, sizes, recipe, what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kdarena.execute.workspace import Workspace
from kdarena.tracks.text.cards import DATA_SETS, card, cards
from kdarena.tracks.values import Split


def test_every_listed_card_is_found_by_its_name():
    assert [card(each.name) for each in cards()] == list(cards())
    assert {each.name.partition(":")[0] for each in cards()} == set(DATA_SETS)


@pytest.mark.parametrize(
    ("name", "full", "teacher", "student", "attentions"),
    [
        ("grammar", "grammar", "bert-4-32", "bert-2-32", 2),
        ("cola", "cola:bert-4-128:bert-2-128", "bert-4-128", "bert-2-128", 2),
        ("SST2", "sst2:bert-4-128:bert-2-128", "bert-4-128", "bert-2-128", 2),
        ("rte:bert-12:bert-6", "rte:bert-12:bert-6", "bert-12", "bert-6", 6),
    ],
)
def test_a_name_says_data_set_teacher_and_student(name: str, full: str, teacher: str, student: str, attentions: int):
    found = card(name)
    assert (found.name, found.teacher, found.student, found.attentions) == (full, teacher, student, attentions)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("mnli", "unknown task 'mnli'; known: grammar, cola"),
        ("grammar:bert-4-32:bert-2-32", "unknown task 'grammar:"),
        ("cola:bert-6", "expected TEACHER:STUDENT"),
        ("cola:bert-6:bert-3:bert-1", "expected TEACHER:STUDENT"),
        ("cola:bert-6:gpt-2", "unknown architecture 'gpt-2'"),
        ("cola:gpt-2:bert-6", "unknown architecture 'gpt-2'"),
        ("cola:bert-6:/nowhere/at/all", "/nowhere/at/all: no such folder"),
    ],
)
def test_an_unknown_name_is_refused_in_one_line(name: str, problem: str):
    with pytest.raises(ValueError, match=problem) as caught:
        card(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "metric", "total", "test"),
    [
        ("cola", "matthews", 8551, 1043),
        ("sst2", "accuracy", 67349, 872),
        ("mrpc", "accuracy", 3668, 408),
        ("rte", "accuracy", 2490, 277),
        ("qqp", "f1", 363846, 40430),
    ],
)
def test_dev_is_the_test_and_validation_is_cut_from_train(name: str, metric: str, total: int, test: int):
    found = card(name)
    assert (found.metric, found.train + found.validation, found.test) == (metric, total, test)
    assert 0 < found.validation <= 5000


def test_sizes_follow_the_files(cola: Path):
    found = card("cola", str(cola))
    assert (found.train, found.validation, found.test) == (70, 20, 20)


def test_a_workers_task_has_the_sizes_of_the_files_too(cola: Path, tmp_path: Path):
    task = Workspace(tmp_path, tmp_path, data_root=str(cola)).task("cola", "fp32")
    assert (task.card.train, task.card.validation, task.card.test) == (70, 20, 20)
    assert len(task.part_targets("train", Split(0))) == 70  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", DATA_SETS)
def test_the_recipe_is_berts(name: str):
    recipe = card(name).recipe
    assert (recipe.optimizer, recipe.decay, recipe.warmup, recipe.clip) == ("adamw", "linear", 0.1, 1.0)


def test_grammar_is_embedded_and_glue_says_what_is_missing():
    assert card("grammar").embedded and card("grammar").missing(None) is None
    assert "--data-root" in str(card("cola").missing(None))


def test_cards_are_read_without_torch_or_the_libraries_of_the_field():
    script = "import sys; from kdarena.tracks.text.cards import cards; cards(); print([name for name in ('torch', 'transformers', 'tokenizers', 'numpy') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"
