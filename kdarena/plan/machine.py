"""Which device to run on, with which precision, how many workers and threads."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kdarena.errors import UserError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Machine:
    """Where the runs of a command are executed.

    Attributes:
        kind: ``cpu``, ``cuda`` or ``mps``.
        devices: one entry a worker.
        threads: CPU threads of a worker; 0 leaves torch's own number.
        fast_bf16: whether the device has instructions for bf16.
        name: the model of the devices, for a CPU with the instructions that torch uses; empty where they are not here.
        torch: version of torch.
    """

    kind: str
    devices: tuple[str, ...]
    threads: int
    fast_bf16: bool
    name: str = ""
    torch: str = ""

    @property
    def elsewhere(self) -> bool:
        """Whether its devices are not here."""
        return not self.name

    def precision(self, wanted: str, protocol: str = "validated") -> Literal["fp32", "bf16"] | None:
        """``auto``: fp32 where the device has no instructions for bf16, and for published numbers, which are of fp32; else None: what is faster is measured."""
        if wanted == "auto":
            return None if self.fast_bf16 and protocol != "published" else "fp32"
        return "bf16" if wanted == "bf16" else "fp32"

    def captures(self, wanted: str) -> bool:
        """Whether steps are captured once and replayed: on CUDA, unless the user said ``off``.

        Raises:
            UserError: the user said ``on``, and there is no CUDA.
        """
        if wanted == "on" and self.kind != "cuda":
            raise UserError(
                f"--capture on: steps are captured on CUDA alone, and the runs are on {self.kind}; leave it out, or take --device cuda where there is one"
            )
        return self.kind == "cuda" and wanted != "off"


def find_machine(device: str, workers: int | None, *, elsewhere: bool = False) -> Machine:
    """Resolve ``--device`` (auto, cpu, cuda, cuda:1, mps) and ``--workers``.

    Args:
        elsewhere: plan for CUDA devices of another machine where there is none here, of an unknown model and as many as workers.

    Raises:
        UserError: the device is unknown or absent, or the number of workers makes no sense.
    """
    import torch

    kind, _, index = device.partition(":")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if kind not in ("cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdigit())):
        raise UserError(f"--device {device!r}: unknown; use auto, cpu, cuda, cuda:INDEX or mps")
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers}: has to be at least 1")
    if kind == "cuda" and not torch.cuda.is_available():
        if elsewhere:
            return Machine("cuda", ("cuda:0",) * (workers or 1), 0, True, "", torch.__version__)
        raise UserError(f"--device {device!r}: no CUDA device is visible here; use --device cpu (see: kdarena doctor)")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"--device {device!r}: no MPS device is visible here; use --device cpu (see: kdarena doctor)")
    if kind == "cpu":
        return Machine("cpu", ("cpu",) * (workers or available_cores()), 1, _cpu_has_bf16(), device_name(torch.device("cpu")), torch.__version__)
    if kind == "mps":
        return Machine("mps", ("mps",), 0, False, device_name(torch.device("mps")), torch.__version__)
    present = torch.cuda.device_count()
    if index and int(index) >= present:
        raise UserError(f"--device {device!r}: there are {present} CUDA devices, from cuda:0 on")
    devices = (f"cuda:{index}",) if index else tuple(f"cuda:{number}" for number in range(min(workers or present, present)))
    fast_bf16 = torch.cuda.get_device_capability(devices[0]) >= (8, 0)
    names = sorted({device_name(torch.device(device)) for device in devices})
    if len(names) > 1:
        raise UserError(f"--device {device!r}: the CUDA devices are of several models ({', '.join(names)}); name one of them, as --device cuda:0")
    return Machine("cuda", devices, 0, fast_bf16, names[0], torch.__version__)


def device_name(device: torch.device) -> str:
    """The model of a device; for a CPU with the instructions that torch uses."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else processor()


@functools.cache
def processor() -> str:
    """The processor's name as the system gives it."""
    if sys.platform == "darwin":
        try:
            asked = subprocess.run(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=True, timeout=10)
            return asked.stdout.strip() or platform.machine()
        except (OSError, subprocess.SubprocessError):
            return platform.processor() or platform.machine()
    try:
        return named_in(Path("/proc/cpuinfo").read_text()) or platform.machine()
    except OSError:
        return platform.processor() or platform.machine()


def named_in(cpuinfo: str) -> str | None:
    """The processor's name in a text like that of ``/proc/cpuinfo``, on ARM the codes of its maker and its parts; None where there is none."""
    values: dict[str, dict[str, None]] = {}  # each once, in their order: a processor may have cores of several kinds
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        values.setdefault(name.strip(), {})[value.strip()] = None
    if "model name" in values:
        return next(iter(values["model name"]))
    codes = [f"{name.removeprefix('CPU ')} {' '.join(values[name])}" for name in ("CPU implementer", "CPU part", "CPU variant") if name in values]
    return f"{platform.machine()}, {', '.join(codes)}" if codes else None


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_has_bf16() -> bool:
    """AVX-512 BF16, AMX or ARM's BF16: without them bf16 is emulated and slower than fp32."""
    import torch

    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_arm_bf16_supported")
    return any(bool(getattr(torch.cpu, check)()) for check in checks if hasattr(torch.cpu, check))
