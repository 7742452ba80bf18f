"""What a result depends on in addition to its spec: versions, commit, device."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kdarena.plan.machine import processor

if TYPE_CHECKING:
    import torch

PACKAGES = ("kdarena", "pluggy", "optuna", "mlflow", "numpy")


def of_device(device: torch.device) -> dict[str, str]:
    """Of the worker: torch, Python and the device."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return {"torch": torch.__version__, "python": platform.python_version(), "device_name": name, "cpu_capability": torch.backends.cpu.get_cpu_capability()}


@functools.cache
def of_arena() -> Mapping[str, str]:
    """Of the parent: versions of the packages that plan and record, and the commit where kdarena is a checkout."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    commit = checkout_commit(Path(__file__).parent)
    return {**versions, **({"commit": commit} if commit else {})}


def checkout_commit(folder: Path) -> str | None:
    """The commit of the checkout that holds a folder, with a ``+`` where files are changed; None outside a checkout."""
    try:
        commit = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
        changed = subprocess.run(
            ["git", "-C", str(folder), "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")
