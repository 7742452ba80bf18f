"""A teacher that is an ONNX file: its logits are the original's, its file is its weights, and methods that need more of it are skipped."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from kdarena.arena.teachers import Teachers
from kdarena.errors import NotApplicable, UserError
from kdarena.files import digest_of
from kdarena.method.discovery import discover
from kdarena.method.plugin import STUDENT
from kdarena.method.run import Run
from kdarena.params import Params
from kdarena.plan.entrants import entrants_of
from kdarena.plan.request import Request
from kdarena.tracks import load_task
from kdarena.tracks.checkpoints import load_into, save
from kdarena.tracks.classification.models import create, facts
from kdarena.tracks.own import OwnTask
from kdarena.tracks.values import Setting


def original() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """One file for batches of any size, and one for batches of two."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    folder, weights = tmp_path_factory.mktemp("onnx"), original().state_dict()
    for name, batch in (("any", "batch"), ("two", 2)):
        helper = onnx.helper
        tensors = [
            onnx.numpy_helper.from_array(weights[key].numpy(), new) for key, new in (("0.weight", "w"), ("0.bias", "b"), ("3.weight", "v"), ("3.bias", "c"))
        ]
        nodes = [
            helper.make_node("Conv", ["x", "w", "b"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("Flatten", ["r"], ["f"]),
            helper.make_node("Gemm", ["f", "v", "c"], ["y"], transB=1),
        ]
        values = [helper.make_tensor_value_info(each, onnx.TensorProto.FLOAT, shape) for each, shape in (("x", [batch, 1, 8, 8]), ("y", [batch, 10]))]
        model = helper.make_model(helper.make_graph(nodes, "net", values[:1], values[1:], tensors), opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        onnx.save(model, folder / f"{name}.onnx")
    return folder


@pytest.mark.parametrize("name", ["any", "two"])
def test_its_logits_are_those_of_the_network_that_it_was_made_of(files: Path, name: str):
    network, images = create(f"{files}/{name}.onnx", 10, in_channels=1, image_size=(8, 8)), torch.randn(5, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(network(images), original()(images), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(copy.deepcopy(network)(images), network(images))


def test_its_file_is_its_weights(files: Path, tmp_path: Path):
    network = create(f"{files}/any.onnx", 10, in_channels=1, image_size=(8, 8))
    other = create(f"{files}/any.onnx", 10, in_channels=1, image_size=(8, 8))
    save(network, tmp_path / "kept.safetensors")
    load_into(other, tmp_path / "kept.safetensors")
    assert bytes(other.state_dict()["model"].numpy()) == (files / "any.onnx").read_bytes()
    assert not list(other.parameters())


def test_it_shows_nothing_but_logits_and_can_not_be_trained(files: Path):
    said = facts(f"{files}/any.onnx", 10, 1, (8, 8))
    assert not (said.trainable or said.feature_maps or said.embedding or said.dropout)


def card(files: Path):
    return OwnTask("pair", {"task": "digits", "teacher": f"{files}/any.onnx", "student": "resnet8"}).card()


def test_methods_that_need_more_than_logits_are_skipped_with_the_reason(files: Path):
    entered = {entrant.method.name: entrant for entrant in entrants_of(discover(), card(files), Request())}
    assert entered["kd"].runs and entered["dkd"].runs and entered["student"].runs
    assert "feature maps" in entered["at"].skip and "embedding" in entered["crd"].skip
    assert "only its outputs are known" in entered["kd-ensemble"].skip and entered["kd-ensemble"].teachers == ()


def test_a_peer_like_it_is_refused_as_not_applicable(files: Path):
    run = Run(load_task(card(files), Setting()), STUDENT.method, Params(), seed=0)
    with pytest.raises(NotApplicable, match="can't be trained: only its outputs are known"):
        run.new_student(peer=1, architecture="teacher")


def test_it_is_taken_as_the_reference_teacher_and_takes_no_other_weights(files: Path, tmp_path: Path):
    recorder = SimpleNamespace(teachers=tmp_path / "teachers", display=SimpleNamespace(say=lambda line: None))
    teachers = Teachers(Request(), recorder)
    teachers.adopt([card(files)])
    (kept,) = (tmp_path / "teachers").iterdir()
    assert kept.name == f"{digest_of(kept)}.safetensors"
    with pytest.raises(UserError, match="has its weights; leave the option out"):
        Teachers(Request(teacher_checkpoint="x.pth"), recorder).adopt([card(files)])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"student": "FILES/any.onnx"}, "an ONNX file can only be a teacher"),
        ({"teacher": "/nowhere/net.onnx"}, "/nowhere/net.onnx: no such file"),
        ({"teacher": "FILES/bad.onnx"}, "bad.onnx can't take images"),
        ({"task": "cifar10", "teacher": "FILES/any.onnx"}, "can't take images of 3 x 32 x 32 pixels"),
    ],
)
def test_what_can_not_be_a_teacher_is_refused_in_a_line(files: Path, settings: dict[str, str], says: str):
    (files / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(UserError) as caught:
        OwnTask("pair", {"task": "digits", **{name: value.replace("FILES", str(files)) for name, value in settings.items()}}).card()
    assert says in str(caught.value) and "\n" not in str(caught.value)
