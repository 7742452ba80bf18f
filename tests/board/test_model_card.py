import dataclasses
import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from kdarena.board.leaderboard import leaderboard_frame
from kdarena.board.model_card import card_of, loading_code, markdown, write_card
from kdarena.board.recommendation import rows_of_task
from kdarena.tracks import find_card, load_task
from kdarena.tracks.checkpoints import save
from kdarena.tracks.own import OwnTask, keep
from kdarena.tracks.values import Setting


@pytest.fixture
def card(synthetic, tmp_path):
    runs = synthetic.runs("kd", [90.0, 91.0, 92.0], params={"temperature": 2.5}, setting="tuned")
    (row,) = rows_of_task(leaderboard_frame(runs, {}), "digits")
    return card_of(runs[1], row, find_card("digits"), ["digits: take kd.", "It *is* established."], "load()")


def test_a_card_says_what_the_student_is_how_good_and_by_which_run(card):
    assert (card.method, card.params, card.architecture, card.metric) == ("kd", {"temperature": 2.5}, "digits-student", "top1")
    assert (card.mean, card.seeds, card.own, card.seed) == (91.0, 3, 91.0, 1)
    assert card.low < 91.0 < card.high
    assert len(card.run_id) == 32


def test_a_card_lies_next_to_its_student_as_json_and_as_markdown(card, tmp_path):
    written = write_card(card, tmp_path / "student.safetensors")
    assert [path.name for path in written] == ["student.json", "student.md"]
    assert json.loads(written[0].read_text())["params"] == {"temperature": 2.5}
    text = written[1].read_text()
    assert "temperature=2.5" in text and "91.00 in the mean" in text


def test_names_are_no_markup_in_a_card(card):
    text = markdown(card)
    assert "It \\*is\\* established." in text


def test_the_code_of_a_card_loads_the_student(tmp_path):
    """Word for word, in a process of its own."""
    network = load_task(find_card("digits"), Setting()).new_network("digits-student")
    with torch.no_grad():
        next(network.parameters()).fill_(0.5)
    save(network, tmp_path / "s.safetensors")
    code = loading_code("digits", "s.safetensors") + "print(float(next(network.parameters()).mean()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0.5"


def test_the_code_of_a_card_finds_a_task_that_the_user_brought(tmp_path):
    (tmp_path / "wavy.py").write_text(
        "from dataclasses import replace\nfrom kdarena.tracks import find_card\n\ndef card():\n    return replace(find_card('digits'), name='wavy')\n"
    )
    keep([OwnTask("function", {"task_from": f"{tmp_path}/wavy.py:card"})], tmp_path)
    save(load_task(find_card("digits"), Setting()).new_network("digits-student"), tmp_path / "s.safetensors")
    code = loading_code("wavy", "s.safetensors", tmp_path) + "print(task.card.name)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "wavy", done.stderr


def test_the_weights_load_with_safetensors_and_torch_alone(tmp_path):
    save(nn.Linear(2, 3), tmp_path / "s.safetensors")
    alone = loading_code("digits", "s.safetensors").split("# as a network")[0]
    code = f"import sys; sys.modules['kdarena'] = None\n{alone}\nprint(sorted((name, tuple(tensor.shape)) for name, tensor in weights.items()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[('bias', (3,)), ('weight', (3, 2))]"


def test_the_interval_that_a_card_prints_stays_within_what_the_metric_can_be(card):
    wide = dataclasses.replace(card, mean=98.0, low=-3.5, high=104.2)
    assert "95 % interval 0.00 to 100.00," in markdown(wide)
