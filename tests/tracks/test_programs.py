"""Programs of students, and what is said where there can be none."""

import pytest
import torch
from torch import nn

from kdarena.testing.task import toy_task
from kdarena.tracks import programs
from kdarena.tracks.deployed import Deployed
from kdarena.tracks.programs import write_onnx, write_program


def of(network, size=4):
    inputs = [{"x": torch.randn(count, size)} for count in (2, 1, 3)]
    return Deployed(network.eval(), inputs, {"x": {0: "batch"}}, {}, "inputs")


class Reads(nn.Module):
    def forward(self, x):
        return x if float(x.sum()) > 0 else -x


class CountsItsBatch(nn.Module):
    def forward(self, x):
        return x * (1.0 if len(x) == 2 else 2.0)


def test_a_task_that_says_nothing_of_its_inputs_has_a_program_of_them(tmp_path):
    task = toy_task()
    network = task.new_network("toy-student")
    write_program(task.deployed(network), tmp_path / "model.pt2")
    images = torch.randn(5, *task.one_batch().inputs.shape[1:])
    with torch.no_grad():
        given = torch.export.load(tmp_path / "model.pt2").module()(images)
        assert torch.allclose(given, task.forward(network.eval(), images).logits, atol=1e-6)


@pytest.mark.parametrize(
    ("network", "says"), [(Reads(), "can't be exported by torch.export"), (CountsItsBatch(), "can't take inputs of 1x4|gives other scores")]
)
def test_a_network_that_is_no_program_is_named_in_one_line(tmp_path, network, says):
    with pytest.raises(ValueError, match=says) as error:
        write_program(of(network), tmp_path / "model.pt2")
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


def test_a_program_that_gives_other_scores_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "PROGRAM_TOLERANCE", -1.0)
    with pytest.raises(ValueError, match="the exported program gives other scores than the student on inputs of 2x4: they differ by"):
        write_program(of(nn.Linear(4, 2)), tmp_path / "model.pt2")


def test_a_missing_package_is_named_with_what_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "find_spec", lambda name: None if name == "onnxscript" else True)
    with pytest.raises(ValueError, match=r"onnxscript is not installed: pip install 'kdarena\[onnx\]'"):
        write_onnx(of(nn.Linear(4, 2)), tmp_path / "model.onnx")
