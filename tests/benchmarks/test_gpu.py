"""The table of a GPU, in a tiny form without one."""

import json

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu import Row, ratios_of

PAIR = gpu.PAIRS[0]


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    path = tmp_path_factory.mktemp("gpu") / "lines"
    status = gpu.main(["--device", "cpu", "--pairs", "resnet14-resnet8", "--batch", "4", "--seconds", "0.01", "--loaders", "0", "--json", str(path)])
    return status, [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_without_cuda_what_needs_it_is_listed_with_its_reason_and_the_rest_is_measured(printed):
    status, lines = printed
    rows = {line["name"]: line for line in lines if "images" in line}
    assert status == 0
    assert {name for name, row in rows.items() if row["reason"] is None} == {"loop as public tools run it", "harness, eager", "student alone"}
    assert {row["reason"] for row in rows.values()} == {None, "needs CUDA"}
    assert all(row["images"] == pytest.approx(4 / row["ms"] * 1000) for row in rows.values() if row["reason"] is None)
    assert {f"harness, captured x {count}" for count in (2, 4, 8, 16)} <= set(rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_a_ratio_without_its_rows_is_not_measured_and_misses_nothing(printed):
    _, lines = printed
    assert [(line["name"], line["value"], line["met"]) for line in lines if "target" in line] == [("captured step / hand-captured step", None, None)]


def test_each_ratio_is_of_two_rows_of_one_call_with_its_target():
    rows = [Row(PAIR, name, images) for name, images in ((gpu.PUBLIC, 3000.0), (gpu.CAPTURED, 21000.0), (gpu.EIGHT, 51000.0), (gpu.HAND, 22000.0))]
    assert [(ratio.value, ratio.met) for ratio in ratios_of(PAIR, rows)] == [(7.0, True), (17.0, False), (pytest.approx(22 / 21), True)]
    assert [ratio.name for ratio in ratios_of(gpu.PAIRS[1], rows)] == ["captured step / hand-captured step"]
