"""Checkpoints as people have them: weights are found under any wrapper and prefix, whatever the file is called; what can't be used is said in a line."""

from __future__ import annotations

import argparse
import gzip
import io
import json
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as save_bytes
from torch import Tensor, nn

from kdarena.tracks.checkpoints import load_into, save
from kdarena.tracks.classification.models import create

Weights = Mapping[str, Tensor]


def network(seed: int, classes: int = 10) -> nn.Module:
    torch.manual_seed(seed)
    return create("digits-student", classes, in_channels=1)


def same(first: nn.Module, second: nn.Module) -> bool:
    return all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items() if not name.endswith("num_batches_tracked"))


def under(prefix: str, weights: Weights) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in weights.items()}


def other(weights: Weights) -> dict[str, Tensor]:
    return {name: torch.zeros_like(tensor) for name, tensor in weights.items()}


class AttributeDict(dict[str, Any]):
    """As Lightning keeps hyper-parameters."""


AttributeDict.__module__ = LIGHTNING = "pytorch_lightning.utilities.parsing"

OPTIMIZER = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
GOOD: dict[str, Callable[[Weights], Any]] = {
    "plain": lambda w: w,
    "ordered": lambda w: OrderedDict(w),
    "state_dict": lambda w: {"state_dict": w, "epoch": 3, "optimizer": OPTIMIZER},
    "model": lambda w: {"model": w, "best_acc": np.float64(79.4)},
    "model_state_dict": lambda w: {"model_state_dict": w, "optimizer_state_dict": OPTIMIZER, "loss": 0.3},
    "net": lambda w: {"net": w, "acc": 93.1, "epoch": 7},
    "network": lambda w: {"network": w},
    "weights": lambda w: {"weights": w},
    "any key": lambda w: {"my_best_student": w, "note": "x"},
    "nested": lambda w: {"model": {"state_dict": w}, "meta": {"version": 1}},
    "three deep": lambda w: {"checkpoint": {"model": {"module": w}}},
    "module.": lambda w: under("module.", w),
    "_orig_mod.": lambda w: under("_orig_mod.", w),
    "model.": lambda w: {"state_dict": under("model.", w)},
    "net.": lambda w: {"state_dict": under("net.", w)},
    "backbone.": lambda w: under("backbone.", w),
    "student.": lambda w: under("student.", w),
    "module._orig_mod.": lambda w: {"model": under("module._orig_mod.", w)},
    "model.module.backbone.": lambda w: under("model.module.backbone.", w),
    "compiled inside": lambda w: {name.replace("layer1.", "layer1._orig_mod."): tensor for name, tensor in w.items()},
    "sharded modules": lambda w: {name.replace("layer2.", "layer2._fsdp_wrapped_module."): tensor for name, tensor in w.items()},
    "with a loss of its own": lambda w: {"state_dict": {**under("model.", w), "criterion.weight": torch.ones(10)}},
    "teacher and student": lambda w: {"state_dict": {**under("student.", other(w)), **under("teacher.", w)}},
    "ema next to it": lambda w: {"state_dict_ema": other(w), "state_dict": w},
    "model_ema next to it": lambda w: {"model_ema": other(w), "model": w},
    "only an average": lambda w: {"model_ema": w},
    "averaged model": lambda w: {"n_averaged": torch.tensor(4), **under("module.", w)},
    "lightning": lambda w: {
        "pytorch-lightning_version": "2.4.0",
        "epoch": 3,
        "state_dict": under("model.", w),
        "hyper_parameters": AttributeDict(lr=0.1, path=Path("/data")),
        "callbacks": {"ModelCheckpoint{'monitor': 'val'}": {"best_model_score": torch.tensor(0.9), "dirpath": "/x"}},
        "optimizer_states": [OPTIMIZER],
        "loops": {"fit_loop": {"state_dict": {}}},
    },
    "argparse": lambda w: {"args": argparse.Namespace(lr=0.1, data="x"), "state_dict": w},
    "old batch norms": lambda w: {name: tensor for name, tensor in w.items() if not name.endswith("num_batches_tracked")},
    "old buffers": lambda w: {**w, "embeddings.position_ids": torch.arange(4)[None]},
    "counted by thop": lambda w: {**w, "total_ops": torch.zeros(1), "layer1.total_params": torch.zeros(1)},
    "half precision": lambda w: {name: tensor.half().to(tensor.dtype) for name, tensor in w.items()},
    "state dict with numbers": lambda w: {**w, "epoch": 3},
    "names of classes next to it": lambda w: {**w, "classes": ["a", "b"], "meta": {"size": 8, "mean": torch.zeros(1)}},
}


@pytest.mark.parametrize("kind", GOOD)
def test_weights_are_found_in_every_form_that_people_have(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch):
    source = network(0)
    with monkeypatch.context() as lightning:  # it is installed where the file is written, and not where it is read
        for name in ("pytorch_lightning", "pytorch_lightning.utilities", LIGHTNING):
            lightning.setitem(sys.modules, name, types.ModuleType(name))
        sys.modules[LIGHTNING].AttributeDict = AttributeDict
        written = saved(GOOD[kind](source.state_dict()))
    if kind == "half precision":
        source.load_state_dict(GOOD[kind](source.state_dict()))
    (tmp_path / "teacher").write_bytes(written)
    loaded = network(1)
    load_into(loaded, tmp_path / "teacher")
    assert same(source, loaded)


@pytest.mark.parametrize("name", ["net.pth.tar", "net.ckpt", "pytorch_model.bin", "net", "net.safetensors.pt", "сеть 1.pt", "net.txt"])
@pytest.mark.parametrize("form", ["archive", "pickle", "safetensors"])
def test_a_file_is_recognised_by_its_content(tmp_path: Path, name: str, form: str):
    source, loaded = network(0), network(1)
    if form == "safetensors":
        save(source, tmp_path / name)
    else:
        torch.save(source.state_dict(), tmp_path / name, _use_new_zipfile_serialization=form == "archive")
    assert load_into(loaded, tmp_path / name) == ()
    assert same(source, loaded)


def test_a_folder_of_transformers_is_its_weights_also_in_several_files(tmp_path: Path):
    from safetensors.torch import save_file

    source, loaded = network(0), network(1)
    weights = {name: tensor.contiguous() for name, tensor in source.state_dict().items()}
    first = dict(list(weights.items())[:5])
    second = dict(list(weights.items())[5:])
    save_file(first, tmp_path / "a.safetensors")
    save_file(second, tmp_path / "b.safetensors")
    index = {"weight_map": {**dict.fromkeys(first, "a.safetensors"), **dict.fromkeys(second, "b.safetensors")}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    load_into(loaded, tmp_path)
    assert same(source, loaded)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": "../a.safetensors"}}))
    with pytest.raises(ValueError, match="is not a file next to it"):
        load_into(loaded, tmp_path)


@pytest.mark.parametrize(
    ("which", "used"),
    [(None, "trained"), ("ema", "average"), ("model_ema", "average"), ("model", "trained"), ("student", "student"), ("extra.student", "student")],
)
def test_the_user_says_which_of_several_weights_are_meant_and_is_told_of_the_others(tmp_path: Path, which: str | None, used: str):
    sources = {"trained": network(0), "average": network(2), "student": network(3)}
    trained, average, student = (source.state_dict() for source in sources.values())
    torch.save({"model_ema": under("module.", average), "model": trained, "extra": under("student.", student)}, tmp_path / "net.pth")
    loaded = network(1)
    (note,) = load_into(loaded, tmp_path / "net.pth", which)
    assert same(sources[used], loaded)
    assert "uses the weights" in note and "it also has" in note and "--teacher-weights" in note


def test_weights_that_are_not_there_are_refused_with_those_that_are(tmp_path: Path):
    torch.save({"model": network(0).state_dict()}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match="has no weights of the name 'ema'; it has model"):
        load_into(network(1), tmp_path / "net.pth", "ema")


class Runs:
    """Would run code."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def archive(**files: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as zipped:
        for name, content in files.items():
            zipped.writestr(name.replace("__", "/"), content)
    return held.getvalue()


def saved(content: Any) -> bytes:
    held = io.BytesIO()
    torch.save(content, held)
    return held.getvalue()


def script() -> bytes:
    held = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), held)
    return held.getvalue()


def arrays() -> bytes:
    held = io.BytesIO()
    np.savez(held, a=np.zeros(3))
    return held.getvalue()


BAD: dict[str, tuple[Callable[[Weights], bytes], str]] = {
    "empty": (lambda w: b"", "the file is empty"),
    "text": (lambda w: b"epoch 3: 93.1", "unknown kind of checkpoint"),
    "one byte": (lambda w: b"\x80", "unknown kind of checkpoint"),
    "HTML": (lambda w: b"<!DOCTYPE html><html>404</html>", "the download failed"),
    "JSON": (lambda w: b'{"error": "not found"}', "a text in JSON"),
    "Git LFS": (lambda w: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
    "HDF5": (lambda w: b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    "gzip": (lambda w: gzip.compress(saved(dict(w))), "unpack it first"),
    "cut short": (lambda w: saved(dict(w))[:-500], "damaged or cut short"),
    "half a pickle": (lambda w: pickle.dumps({"a": list(range(100))})[:60], "can't be read as plain weights"),
    "overwritten": (lambda w: saved(dict(w)).replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v9"), "can't be read as plain weights"),
    "safetensors without its tensors": (lambda w: save_bytes({name: tensor.contiguous() for name, tensor in w.items()})[:-500], "or cut short"),
    "safetensors cut short": (lambda w: (1000).to_bytes(8, "little") + b'{"a": {' + bytes(992), "not a safetensors file"),
    "zip of pictures": (lambda w: archive(cat__1="x", cat__2="y"), "none of torch.save"),
    "npz": (lambda w: arrays(), "an archive of NumPy arrays"),
    "TorchScript": (lambda w: script(), "a TorchScript archive"),
    "whole network": (lambda w: saved(network(0)), r"objects of .*DigitsNetwork.*weights_only=False\)\.state_dict\(\), .*; of a dictionary take"),
    "code": (lambda w: saved({"state_dict": dict(w), "x": Runs(Path("/tmp/kdarena-ran"))}), "pathlib.*Path.touch|which could run code"),
    "a list": (lambda w: saved([1, 2]), "holds no state dict"),
    "a tensor": (lambda w: saved(torch.zeros(3)), "holds no state dict"),
    "a number": (lambda w: saved(3), "holds no state dict"),
    "no weights": (lambda w: saved({"epoch": 3, "optimizer": OPTIMIZER}), "holds no state dict"),
    "too deep": (lambda w: saved({"a": {"b": {"c": {"d": {"e": {"f": dict(w)}}}}}}), "holds no state dict"),
    "one tensor less": (lambda w: saved({"state_dict": under("model.", {k: v for k, v in w.items() if k != "fc.bias"})}), "tensor 'fc.bias' is missing"),
    "no statistics": (lambda w: saved({k: v for k, v in w.items() if "running_mean" not in k}), "tensor 'layer1.0.bn.running_mean' is missing; tensor 'layer2"),
    "one tensor more": (lambda w: saved({**w, "fc2.weight": torch.zeros(1)}), "tensor 'fc2.weight' is unknown to the network"),
    "another head": (lambda w: saved(dict(network(0, 7).state_dict())), "only the head differs; it is made for 7 classes, and the task has 10"),
    "another shape": (lambda w: saved({**w, "layer2.0.conv.weight": torch.zeros(3)}), r"'layer2.0.conv.weight' has shape \(3,\), but the network's is \(6, 4"),
    "another network": (lambda w: saved({"encoder.0.weight": torch.zeros(2, 2)}), "is missing.* and .* more; is it a checkpoint of DigitsNetwork"),
    "of two the nearer": (
        lambda w: saved({"a": {"x": torch.zeros(1)}, "b": {k: v for k, v in w.items() if k != "fc.bias"}}),
        "of b: tensor 'fc.bias' is missing",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_can_not_be_used_is_said_in_a_line_and_nothing_is_loaded(tmp_path: Path, kind: str):
    make, says = BAD[kind]
    (tmp_path / "teacher.pth").write_bytes(make(network(0).state_dict()))
    loaded, before = network(1), network(1)
    with pytest.raises(ValueError, match=says) as caught:
        load_into(loaded, tmp_path / "teacher.pth")
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(tmp_path / "teacher.pth")) and len(str(caught.value)) < 500 + len(str(tmp_path))
    assert same(before, loaded)
    assert not Path("/tmp/kdarena-ran").exists()


def test_a_folder_without_weights_and_a_file_that_is_not_there_are_named(tmp_path: Path):
    with pytest.raises(ValueError, match="a folder without model.safetensors or pytorch_model.bin"):
        load_into(network(0), tmp_path)
    with pytest.raises(ValueError, match="no such file"):
        load_into(network(0), tmp_path / "absent")


def test_what_does_not_fit_names_the_network_as_the_user_asked_for_it(tmp_path: Path):
    torch.save({"encoder.0.weight": torch.zeros(2, 2)}, tmp_path / "teacher.pth")
    with pytest.raises(ValueError, match=r"is it a checkpoint of timm:resnet18\?$"):
        load_into(network(0), tmp_path / "teacher.pth", called="timm:resnet18")
