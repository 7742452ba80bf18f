"""``kdarena doctor``: what this machine has, what is missing, and the command that fixes it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from pathlib import Path
from typing import Any

from kdarena.board.screen import Column
from kdarena.cli.output import print_json, print_table, texts

PACKAGES = ("torch", "torchvision", "pluggy", "pandas", "mlflow", "optuna", "tabulate", "typer", "rich", "safetensors", "scikit-learn", "scipy")


def doctor(as_json: bool, data_root: str | None, out: Path) -> int:
    """Print the findings; 0 where kdarena can run, 1 where something it needs is missing."""
    rows = [*_machine(), *_devices(), *_packages(), *_plugins(), *_data(data_root), *_output(out)]
    if as_json:
        print_json(rows)
    else:
        found, fix = (texts(row[name] for row in rows) for name in ("found", "fix"))
        state = Column("state", texts(row["state"] for row in rows), order=1)
        print_table(
            [Column("what", texts(row["what"] for row in rows), least=16), state, Column("found", found, least=16), Column("what to do", fix, least=16)]
        )
    return 1 if any(row["state"] == "missing" for row in rows) else 0


def _finding(what: str, found: object, state: str = "ok", fix: str | None = None) -> dict[str, Any]:
    return {"what": what, "found": str(found), "state": state, "fix": fix}


def _machine() -> list[dict[str, Any]]:
    from kdarena.plan.machine import available_cores

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else 0
    free = shutil.disk_usage(".").free / 2**30
    return [
        _finding("machine", f"{platform.system()} {platform.machine()}, {available_cores()} cores, {memory:.0f} GiB memory, {free:.0f} GiB disk free"),
        _finding("python", platform.python_version()),
    ]


def _devices() -> list[dict[str, Any]]:
    try:
        import torch
    except Exception as error:
        return [_finding("torch", f"{type(error).__name__}: {error}", "missing", "pip install -c constraints.txt -e .")]
    from kdarena.plan.machine import find_machine

    machine = find_machine("cpu", 1)
    bf16 = "fast at bf16" if machine.fast_bf16 else "no bf16 instructions: --precision auto means fp32"
    rows = [_finding("cpu", f"{torch.backends.cpu.get_cpu_capability()}, {bf16}")]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        rows.append(_finding(f"cuda:{index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"))
    if not torch.cuda.is_available():
        rows.append(_finding("cuda", "none", "optional", "runs go to the CPU; a CUDA build of torch and a driver are needed for a GPU"))
    if torch.backends.mps.is_available():
        rows.append(_finding("mps", "available"))
    return rows


def _packages() -> list[dict[str, Any]]:
    rows = []
    for name in PACKAGES:
        try:
            rows.append(_finding(name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            rows.append(_finding(name, "not installed", "missing", f"pip install -c constraints.txt {name}"))
    try:
        from kdarena.tracks.torchvision import import_torchvision

        import_torchvision()
    except Exception as error:
        problem = f"can't be imported: {' '.join(f'{type(error).__name__}: {error}'.split())}"
        rows = [row for row in rows if row["what"] != "torchvision"]
        rows.append(_finding("torchvision", problem, "missing", "pip install -c constraints.txt --force-reinstall torchvision"))
    return rows


def _plugins() -> list[dict[str, Any]]:
    from kdarena.method.discovery import discover

    rows = []
    working = 0
    for plugin in discover():
        working += plugin.error is None
        if plugin.error is not None:
            rows.append(_finding(f"plugin {plugin.name}", plugin.error, "broken", f"fix or uninstall {plugin.distribution or plugin.name}"))
    return [_finding("plugins", f"{working} methods"), *rows]


def _data(data_root: str | None) -> list[dict[str, Any]]:
    from kdarena.tracks import cards
    from kdarena.tracks.downloads import command_in

    rows = []
    seen = set()
    for card in cards():
        if card.data_set not in seen:
            seen.add(card.data_set)
            missing = card.missing(data_root)
            command = command_in(missing or "")
            fix = command if command else missing
            rows.append(_finding(f"data {card.data_set}", "found" if missing is None else "not found", "ok" if missing is None else "optional", fix))
    return rows


def _output(out: Path) -> list[dict[str, Any]]:
    from kdarena.errors import UserError
    from kdarena.record.runs import Record

    if not out.exists():
        return [_finding(f"output {out}", "none yet", "optional", "kdarena run --plugins all")]
    try:
        return [_finding(f"output {out}", f"{len(Record.open(out, create=False).runs())} runs recorded")]
    except UserError as error:
        return [_finding(f"output {out}", "unreadable", "broken", str(error))]
