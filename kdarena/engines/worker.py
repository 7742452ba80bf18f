"""A worker: a persistent child process that executes one job after another on one device.

It reads a line of settings and then one job a line from standard input. It answers on the descriptor that was its standard
output (``last`` where it can't take another job); whatever a plugin prints goes to standard error, so that it can't spoil
an answer. When its standard input closes, the parent is gone and it ends at once.
"""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import sys
import threading
from pathlib import Path
from typing import Any, TextIO


def main() -> None:
    """Serve jobs until standard input closes."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    settings = json.loads(sys.stdin.readline())
    threading.Thread(target=_read, args=(jobs,), daemon=True).start()

    import torch

    from kdarena.engines.engine import spec_from
    from kdarena.execute.execute import execute, execute_profile
    from kdarena.execute.workspace import Workspace
    from kdarena.plan.spec import RunSpec

    if settings["threads"]:
        torch.set_num_threads(settings["threads"])
    workspace = Workspace(
        teachers=Path(settings["teachers"]),
        output=Path(settings["output"]),
        data_root=settings["data_root"],
        plugin_paths=settings["plugin_paths"],
        device=settings["device"],
        report=lambda progress: _answer(answers, {"progress": progress}),
    )
    while True:
        spec = spec_from(jobs.get())
        result = execute(spec, workspace) if isinstance(spec, RunSpec) else execute_profile(spec, workspace)
        last = result.status == "error" and poisoned(settings["device"])
        _answer(answers, {"result": dataclasses.asdict(result), "last": last})
        if last:
            return


def poisoned(device: str) -> bool:
    """Whether a kernel that failed has made this process useless: after an assertion on a GPU every later call there fails."""
    import torch

    if not device.startswith("cuda"):
        return False
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return True
    return False


def _read(jobs: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(0)


def _answer(answers: TextIO, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
