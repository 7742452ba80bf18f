"""Where runs run, and in which precision."""

import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from kdarena.errors import UserError
from kdarena.plan.machine import Machine, device_name, find_machine, named_in, processor

FAST, SLOW = (Machine("cuda", ("cuda:0",), 0, fast) for fast in (True, False))
CPU = Machine("cpu", ("cpu",), 1, False)


def test_where_a_device_has_instructions_for_bf16_what_is_faster_is_left_to_a_measurement():
    assert [machine.precision("auto") for machine in (FAST, SLOW)] == [None, "fp32"]


def test_a_stated_precision_is_taken_everywhere():
    assert {machine.precision("bf16", "published") for machine in (FAST, SLOW)} == {"bf16"}
    assert {machine.precision("fp32") for machine in (FAST, SLOW)} == {"fp32"}


def test_published_numbers_are_compared_in_fp32():
    assert FAST.precision("auto", "published") == "fp32"


def test_steps_are_captured_on_cuda_unless_the_user_says_off():
    assert [FAST.captures(wanted) for wanted in ("auto", "on", "off")] == [True, True, False]
    assert [CPU.captures(wanted) for wanted in ("auto", "off")] == [False, False]


def test_to_ask_for_captures_where_there_is_no_cuda_is_a_mistake():
    with pytest.raises(UserError, match="--capture on: steps are captured on CUDA alone, and the runs are on cpu"):
        CPU.captures("on")


def test_a_machine_has_the_name_of_its_device():
    assert find_machine("cpu", 1).name == device_name(torch.device("cpu"))


def test_a_processor_is_named_by_its_model():
    assert named_in("processor\t: 0\nmodel name\t: Fast 3000\nflags\t: a b\nmodel name\t: Fast 3000\n") == "Fast 3000"


def test_two_arm_processors_have_two_names():
    one, other = (f"processor\t: 0\nCPU implementer\t: 0x41\nCPU variant\t: 0x3\nCPU part\t: {part}\n" for part in ("0xd0c", "0xd40"))
    assert named_in(one) == f"{platform.machine()}, implementer 0x41, part 0xd0c, variant 0x3"
    assert named_in(other) != named_in(one)


def test_an_arm_processor_with_cores_of_two_kinds_is_named_by_both():
    assert "part 0xd03 0xd09" in named_in("CPU implementer : 0x41\nCPU part : 0xd03\nCPU part : 0xd03\nCPU part : 0xd09\n")


@pytest.fixture
def asked_anew():
    processor.cache_clear()
    yield
    processor.cache_clear()


def test_the_processor_of_a_mac_is_named_by_its_brand(monkeypatch, asked_anew):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(
        subprocess, "run", lambda command, **settings: SimpleNamespace(stdout="Apple M9 Max\n" if "machdep.cpu.brand_string" in command else "")
    )
    assert processor() == "Apple M9 Max"


@pytest.fixture
def two_models(monkeypatch):
    """A machine with two CUDA devices of different models."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: ("H100", "H200")[torch.device(device).index])


def test_devices_of_several_models_share_no_command(two_models):
    with pytest.raises(UserError, match=r"several models \(H100, H200\); name one of them, as --device cuda:0"):
        find_machine("cuda", None)


def test_one_of_several_models_can_be_named(two_models):
    assert [find_machine(f"cuda:{index}", None).name for index in (0, 1)] == ["H100", "H200"]
