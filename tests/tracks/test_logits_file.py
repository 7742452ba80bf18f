"""Files of a teacher's logits: which are read, and which are refused in one line."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from kdarena.tracks.logits_file import read_logits

TRAIN, TEST = np.arange(12, dtype=np.float32).reshape(4, 3), -np.arange(6, dtype=np.float32).reshape(2, 3)
NAMES = ([("a/1.png",), ("a/2.png", "a/copy.png"), ("b/1.png",), ("b/2.png",)], [("a/3.png",), ("b/3.png",)])
IDS = np.array(["b/3.png", "a/1.png", "a/copy.png", "b/1.png", "b/2.png", "a/3.png"])
SIX = np.concatenate([TRAIN, TEST])


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_both_forms_of_files_give_the_halves_in_the_order_of_the_data(tmp_path, suffix):
    path = tmp_path / f"teacher.{suffix}"
    np.savez(path, train=TRAIN, test=TEST) if suffix == "npz" else save_file({"train": TRAIN, "test": TEST}, path)
    read = read_logits(path, 4, 2, 3)
    assert np.array_equal(read.train, TRAIN) and np.array_equal(read.test, TEST) and read.notes == ()


def test_rows_by_name_are_put_into_the_order_of_the_data_by_any_name_of_a_sample(tmp_path):
    np.savez(tmp_path / "t.npz", ids=IDS, logits=SIX)
    read = read_logits(tmp_path / "t.npz", 4, 2, 3, NAMES)
    assert np.array_equal(read.train, SIX[[1, 2, 3, 4]]) and np.array_equal(read.test, SIX[[5, 0]])


def test_without_test_samples_a_line_says_what_is_not_known(tmp_path):
    np.savez(tmp_path / "t.npz", train=TRAIN)
    read = read_logits(tmp_path / "t.npz", 4, 2, 3)
    assert read.test is None and "agreement" in read.notes[0]


def test_probabilities_become_logarithms_and_a_line_says_so(tmp_path):
    chances = np.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]], dtype=np.float32)
    np.savez(tmp_path / "t.npz", train=chances, test=TEST)
    read = read_logits(tmp_path / "t.npz", 2, 2, 3)
    assert np.allclose(read.train[0], np.log(chances[0])) and np.isfinite(read.train).all()
    assert "probabilities" in read.notes[0] and len(read.notes) == 1


@pytest.mark.parametrize(
    ("arrays", "names", "says"),
    [
        ({"train": TRAIN[:3]}, None, "array 'train' has 3 rows, and the data have 4 training samples"),
        ({"train": TRAIN, "test": TEST[:1]}, None, "array 'test' has 1 rows, and the data have 2 test samples"),
        ({"train": TRAIN[:, :2]}, None, "has the shape [4, 2], and the data have 3 classes"),
        ({"logits": TRAIN}, None, "has no array 'train' [4, 3] (it has 'logits')"),
        ({"train": np.full((4, 3), np.nan)}, None, "logits of 4 training samples are not finite, first of row 0"),
        ({"train": np.array([["x"] * 3] * 4)}, None, "no numbers"),
        ({"train": np.array([[None] * 3] * 4)}, None, "it holds Python objects"),
        ({"train": TRAIN, "test": TEST}, NAMES, "has no arrays 'ids' and 'logits'"),
        ({"ids": IDS[:5], "logits": SIX}, NAMES, "has 5 ids and 6 rows of logits"),
        ({"ids": IDS[[0, 1, 1, 3, 4, 5]], "logits": SIX}, NAMES, "1 id ('a/1.png') more than once"),
        ({"ids": IDS[[0, 1, 3, 5]], "logits": SIX[:4]}, NAMES, "lacks 2 ids ('a/2.png', 'b/2.png') of the data"),
    ],
)
def test_what_does_not_fit_the_data_is_named_in_one_line(tmp_path, arrays, names, says):
    path = tmp_path / "t.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError) as caught:
        read_logits(path, 4, 2, 3, names)
    assert says in str(caught.value) and str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.npz", None, "no such file"),
        ("t.pt", b"PK", "write the logits as .npz or .safetensors"),
        ("t.npz", b"PK\x03\x04cut", "can't be read as plain arrays"),
        ("t.npz", b"\x80\x04K\x01.", "Python objects"),
        ("t.npz", b"", "can't be read as plain arrays"),
        ("t.safetensors", b"\x10", "is cut short"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=says) as caught:
        read_logits(tmp_path / name, 4, 2, 3)
    assert "\n" not in str(caught.value)
