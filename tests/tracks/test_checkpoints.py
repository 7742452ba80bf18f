"""Weights on disk: what is written loads again, public layouts load, everything else is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kdarena.tracks.checkpoints import load_into, save
from kdarena.tracks.classification.models import create


def network(seed: int, name: str = "digits-student") -> nn.Module:
    torch.manual_seed(seed)
    return create(name, 10, in_channels=1)


def same(first: nn.Module, second: nn.Module) -> bool:
    return all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())


def test_what_is_saved_loads_bit_by_bit(tmp_path: Path):
    source, other = network(0), network(1)
    source.train()(torch.randn(8, 1, 8, 8))  # batch norm's buffers are weights too
    save(source, tmp_path / "net.safetensors")
    load_into(other, tmp_path / "net.safetensors")
    assert same(source, other)


def test_saving_leaves_no_other_file(tmp_path: Path):
    save(network(0), tmp_path / "net.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


def test_channels_last_weights_are_saved_as_values_not_as_strides(tmp_path: Path):
    source, other = network(0).to(memory_format=torch.channels_last), network(1)
    save(source, tmp_path / "net.safetensors")
    load_into(other, tmp_path / "net.safetensors")
    assert same(source, other)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"model": weights, "epoch": 240, "best_acc": np.float64(79.4)},
        lambda weights: {"opt": "x", "model": {f"module.{name}": tensor for name, tensor in weights.items()}, "accuracy": np.float32(0.5)},
        lambda weights: {"state_dict": weights},
    ],
    ids=["plain", "RepDistiller", "DataParallel", "state_dict"],
)
def test_public_layouts_load(tmp_path: Path, wrap):
    source, other = network(0), network(1)
    torch.save(wrap(source.state_dict()), tmp_path / "net.pth")
    load_into(other, tmp_path / "net.pth")
    assert same(source, other)


class Trap:
    """Would create a file if it were unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path):
    torch.save({"model": network(0).state_dict(), "extra": Trap(tmp_path / "ran")}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"net.pth: can't be read as plain weights") as caught:
        load_into(network(1), tmp_path / "net.pth")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_another_architecture_is_refused_with_the_first_tensor_that_differs_and_nothing_is_loaded(tmp_path: Path):
    save(network(0, "digits-teacher"), tmp_path / "teacher.safetensors")
    student, before = network(1), network(1)
    with pytest.raises(ValueError, match=r"teacher.safetensors: tensor 'layer1.0.conv.weight' has shape \(16, 1, 3, 3\), but the network's is \(4, 1, 3, 3\)"):
        load_into(student, tmp_path / "teacher.safetensors")
    assert same(before, student)


def test_missing_and_unknown_tensors_are_named(tmp_path: Path):
    weights = network(0).state_dict()
    torch.save({name: tensor for name, tensor in weights.items() if name != "fc.bias"}, tmp_path / "less.pth")
    torch.save({**weights, "fc2.bias": torch.zeros(1)}, tmp_path / "more.pth")
    with pytest.raises(ValueError, match=r"less.pth: tensor 'fc.bias' is missing"):
        load_into(network(1), tmp_path / "less.pth")
    with pytest.raises(ValueError, match=r"more.pth: tensor 'fc2.bias' is unknown"):
        load_into(network(1), tmp_path / "more.pth")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("absent.pth", None, "no such file"),
        ("notes.txt", b"hello", "unknown kind of checkpoint"),
        ("broken.pth", b"hello", "can't be read as plain weights"),
        ("empty.pth", b"", "can't be read as plain weights"),
        ("broken.safetensors", b"hello", "not a safetensors file"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes | None, problem: str):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=problem) as caught:
        load_into(network(0), tmp_path / name)
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_a_file_without_weights_is_refused(tmp_path: Path):
    torch.save({"epoch": 3}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match="holds no state dict"):
        load_into(network(0), tmp_path / "net.pth")
