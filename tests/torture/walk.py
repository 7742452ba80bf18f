"""A random walk over what happens to an output directory, each step of which has to leave the board of a fresh directory.

    PYTHONPATH=tests python -m torture.walk --steps 1000 --seed 1

The seed decides the walk. At each step something happens (:data:`HAPPENINGS`), then the command is run to its end, and its board is
compared with that of the same command in a directory of its own: every column but those that measure time, that name runs, or that
count what was tried in the directory.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from torture.server import Server

PLUGIN = """
from dataclasses import dataclass
import walked_weight
from kdarena import Float, Method, Paper, Params, hookimpl, no_teachers

@dataclass(frozen=True)
class WeightedParams(Params):
    scale: float = Float(1.0, 0.1, 10.0, log=True, source="ours")

class Weighted:
    method = Method("weighted", "a weighted task loss", Paper("t", "v", 2026, "u"), Params=WeightedParams, teachers=no_teachers)
    @hookimpl
    def loss(self, step):
        return {"task": WEIGHT * walked_weight.WEIGHT * self.params.scale * step.task.loss(step.student, step.targets)}

WEIGHT = 0.0
variants = (Weighted,)
"""
NOT_COMPARED = {
    *("spent_s", "tuning_s", "teacher_s", "outside_s", "latency_ms", "seconds_to_student", "seconds_to_teacher", "run_ids", "tried"),
    "test_set_error",
    "answer",
}
"""Columns of time and text with times, names of runs, what was ever tried in the directory, which a fresh one can't know, and what is made of files for whose sake alone
no run is trained again."""


@dataclass(frozen=True)
class Command:
    """What a command depends on.

    Attributes:
        weight, helper: in the code of the plugin, and of a module that it imports.
        params: as ``--param`` takes them.
        tuning: whether methods are tuned.
    """

    weight: float = 1.0
    helper: float = 1.0
    params: tuple[str, ...] = ()
    seeds: int = 2
    tuning: bool = False

    def arguments(self, plugin: Path, out: Path) -> list[str]:
        """As they are typed."""
        budgets = ["--budget", "8epochs", "--tuning-budget", "36epochs" if self.tuning else "0", "--teacher-budget", "10epochs"]
        given = [part for text in self.params for part in ("--param", text)]
        where = ["--tasks", "digits", "--plugins", "weighted", "--plugin-path", str(plugin), "--device", "cpu", "--workers", "1", "--out", str(out)]
        return ["run", *where, *budgets, "--seeds", str(self.seeds), *given]


class Difference(AssertionError):
    """A board differs from that of a fresh directory, or a command ended as none may."""


class Walk:
    """One walk.

    Args:
        folder: where everything is made; removed by who made it.
        say: takes one line a step.
    """

    def __init__(self, seed: int, folder: Path, say: Callable[[str], None] = lambda line: None):
        self.random = random.Random(seed)
        self.folder, self.say = folder, say
        self.command = Command()
        self.counts: Counter[str] = Counter()
        self.mounted = False
        self._boards: dict[Command, list[dict[str, str]]] = {}
        self._seconds = 6.0
        self._token = f"walk-{os.getpid()}-{seed}"
        self.server = Server(KDARENA_WALK=self._token, PYTHONPATH=os.pathsep.join([str(folder), *sys.path]), XDG_CACHE_HOME=str(folder / "cache"))
        self.disk = folder / "disk"
        self.disk.mkdir()
        self._mount()
        self.out = self.disk / "out"

    def close(self) -> None:
        """End the commands' server, and give the disk back."""
        self.server.close()
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.disk)], check=False)

    def step(self, number: int) -> None:
        """Let something happen, run the command, and compare; raises :class:`Difference`."""
        happening = self.random.choice(self._possible())
        self.counts[happening.__name__.strip("_")] += 1
        started = time.monotonic()
        what = happening(self) or ""
        self._run_to_the_end()
        self._compare(number, f"{happening.__name__.strip('_')} {what}".strip())
        self.say(f"{number} {happening.__name__.strip('_')} {what}: equal, {time.monotonic() - started:.1f} s")

    def _possible(self) -> list[Callable[[Walk], str | None]]:
        return [happening for happening in HAPPENINGS if self.mounted or happening is not _fill_the_disk]

    # ---- commands

    def _arguments(self, out: Path | None = None) -> list[str]:
        plugin = self.folder / "weighted.py"
        _write(plugin, PLUGIN.replace("WEIGHT = 0.0", f"WEIGHT = {self.command.weight!r}"))
        _write(self.folder / "walked_weight.py", f"WEIGHT = {self.command.helper!r}\n")
        return self.command.arguments(plugin, out or self.out)

    def start(self) -> int:
        """Start the command."""
        return self.server.start(self._arguments(), self.folder, self.folder / "output.txt")

    def wait(self, process: int) -> int:
        """Its exit status."""
        status = self.server.wait(process, 300.0)
        if status is None:
            raise Difference("a command did not end within 300 s")
        return status

    def _run_to_the_end(self) -> None:
        started = time.monotonic()
        status = self.wait(self.start())
        self._seconds = max(1.0, 0.8 * self._seconds + 0.2 * (time.monotonic() - started))
        if status != 0:
            raise Difference(f"the command ended with status {status}: {self.said()[-2000:]}")

    def said(self) -> str:
        """What the last command printed."""
        return (self.folder / "output.txt").read_text(errors="replace")

    # ---- boards

    def _compare(self, number: int, what: str) -> None:
        ours, fresh = self._board(self.out), self._fresh_board()
        if ours != fresh:
            raise Difference(f"step {number}, {what}, {self.command}:\n{_differences(ours, fresh)}\n{self.said()[-3000:]}")
        self._check_no_process_is_left()

    def _fresh_board(self) -> list[dict[str, str]]:
        if self.command not in self._boards:
            out = self.folder / "fresh"
            shutil.rmtree(out, ignore_errors=True)
            # no server is there, so that no copy for MLflow is made, which takes longer than all the rest
            status = self.server.run(self._arguments(out), self.folder, self.folder / "fresh.txt", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
            if status != 0:
                raise Difference(f"the command in a fresh directory ended with status {status}: {(self.folder / 'fresh.txt').read_text()[-2000:]}")
            self._boards[self.command] = self._board(out)
        return self._boards[self.command]

    def _board(self, out: Path) -> list[dict[str, str]]:
        files = sorted((out / "leaderboards").glob("*.csv"))
        if len(files) != 1:
            raise Difference(f"{len(files)} boards were published: {[file.name for file in files]}")
        with files[0].open(encoding="utf-8", newline="") as file:
            return [{name: value for name, value in row.items() if name not in NOT_COMPARED} for row in csv.DictReader(file)]

    def _check_no_process_is_left(self) -> None:
        """No worker outlives its command, however that ended."""
        end = time.monotonic() + 10
        while left := self._processes():
            if time.monotonic() > end:
                raise Difference(f"processes are left: {left}")
            time.sleep(0.05)

    def _processes(self) -> list[str]:
        left = []
        for process in psutil.process_iter(["pid", "cmdline"]):
            command = " ".join(process.info["cmdline"] or ())
            if "kdarena.engines.worker" in command:
                try:
                    if process.environ().get("KDARENA_WALK") == self._token and process.status() != psutil.STATUS_ZOMBIE:
                        left.append(f"{process.pid} {command}")
                except psutil.Error:
                    continue
        return left

    # ---- the disk

    def _mount(self) -> None:
        """A small disk to be filled, where mounting is allowed."""
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(self.disk)], check=False, capture_output=True)
        self.mounted = mounted.returncode == 0


def _write(path: Path, text: str) -> None:
    """Write a file where it has other contents: a command that is at work may be reading it."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _differences(ours: list[dict[str, str]], fresh: list[dict[str, str]]) -> str:
    lines = []
    for position in range(max(len(ours), len(fresh))):
        own, other = (rows[position] if position < len(rows) else {} for rows in (ours, fresh))
        changed = {name: (own.get(name), other.get(name)) for name in {*own, *other} if own.get(name) != other.get(name)}
        if changed:
            lines.append(f"row {position} ({own.get('method')}, fresh {other.get('method')}): {json.dumps(changed)[:1500]}")
    return "\n".join(lines)


# what may happen; each leaves the directory to the command that follows


def _nothing(walk: Walk) -> None:
    pass


def _kill(walk: Walk) -> str:
    return _signal(walk, signal.SIGKILL)


def _terminate(walk: Walk) -> str:
    return _signal(walk, signal.SIGTERM)


def _signal(walk: Walk, number: signal.Signals) -> str:
    process = walk.start()
    moment = walk.random.uniform(0.0, 1.1 * walk._seconds)
    status = walk.server.wait(process, moment)
    if status is None:
        os.kill(process, number)
        status = walk.wait(process)
        if number == signal.SIGTERM and status not in (0, 130, -signal.SIGTERM):
            raise Difference(f"SIGTERM after {moment:.2f} s ended the command with status {status}: {walk.said()[-2000:]}")
    return f"after {moment:.2f} s, status {status}"


def _edit_the_plugin(walk: Walk) -> str:
    walk.command = replace(walk.command, weight=-walk.command.weight)
    return f"to {walk.command.weight}"


def _edit_a_module_that_the_plugin_imports(walk: Walk) -> str:
    walk.command = replace(walk.command, helper=3.0 if walk.command.helper == 1.0 else 1.0)
    return f"to {walk.command.helper}"


def _change_a_parameter(walk: Walk) -> str:
    walk.command = replace(walk.command, params=() if walk.command.params else ("kd.a=0.1", "weighted.scale=2.0", "weighted.lr=0.05"))
    return f"to {walk.command.params}"


def _change_the_seeds(walk: Walk) -> str:
    walk.command = replace(walk.command, seeds=3 if walk.command.seeds == 2 else 2)
    return f"to {walk.command.seeds}"


def _change_the_tuning(walk: Walk) -> str:
    walk.command = replace(walk.command, tuning=not walk.command.tuning)
    return f"to {walk.command.tuning}"


def _files(walk: Walk) -> list[Path]:
    return sorted(path for path in walk.out.rglob("*") if path.is_file() and not path.is_symlink()) if walk.out.exists() else []


def _delete_a_file(walk: Walk) -> str:
    files = _files(walk)
    if not files:
        return "(none)"
    chosen = walk.random.choice(files)
    chosen.unlink()
    return chosen.relative_to(walk.out).as_posix()


def _truncate_a_file(walk: Walk) -> str:
    files = _files(walk)
    if not files:
        return "(none)"
    chosen = walk.random.choice(files)
    size = int(walk.random.random() * chosen.stat().st_size)
    with chosen.open("r+b") as file:
        file.truncate(size)
    return f"{chosen.relative_to(walk.out).as_posix()} to {size} bytes"


def _delete_a_folder(walk: Walk) -> str:
    folders = sorted(path for path in walk.out.iterdir() if path.is_dir()) if walk.out.exists() else []
    if not folders:
        return "(none)"
    chosen = walk.random.choice(folders)
    shutil.rmtree(chosen)
    return chosen.name


def _fill_the_disk(walk: Walk) -> str:
    """Run the command on a disk with little space, and then give it space."""
    ballast = walk.disk / "ballast"
    free = shutil.disk_usage(walk.disk).free
    left = walk.random.choice((0, 4096, 65536, 262144, 1048576))
    with ballast.open("wb") as file:
        try:
            for _ in range(0, max(0, free - left), 4096):
                file.write(b"\0" * 4096)
        except OSError:
            pass
    status = walk.wait(walk.start())
    said = walk.said()
    ballast.unlink()
    if status not in (0, 1, 2) or "Traceback" in said:
        raise Difference(f"with {left} bytes left on the disk the command ended with status {status}: {said[-2000:]}")
    return f"but for {left} bytes, status {status}"


def _two_commands_at_once(walk: Walk) -> str:
    first = walk.start()
    time.sleep(walk.random.uniform(0.0, 1.0))
    second = walk.server.start(walk._arguments(), walk.folder, walk.folder / "second.txt")
    statuses = (walk.wait(first), walk.wait(second))
    if 0 not in statuses or not set(statuses) <= {0, 2}:
        raise Difference(f"two commands at once ended with {statuses}: {walk.said()[-1000:]} {(walk.folder / 'second.txt').read_text()[-1000:]}")
    return f"with statuses {statuses}"


HAPPENINGS: tuple[Callable[[Walk], str | None], ...] = (
    _nothing,
    _kill,
    _kill,
    _terminate,
    _edit_the_plugin,
    _edit_a_module_that_the_plugin_imports,
    _change_a_parameter,
    _change_the_seeds,
    _change_the_tuning,
    _delete_a_file,
    _delete_a_file,
    _truncate_a_file,
    _truncate_a_file,
    _delete_a_folder,
    _fill_the_disk,
    _two_commands_at_once,
)


def walk(seed: int, steps: int, say: Callable[[str], None] = print) -> Counter[str]:
    """Take a walk; returns how often each thing happened. Raises :class:`Difference` at the first."""
    folder = Path(tempfile.mkdtemp(prefix="kdarena-walk-"))
    walked = Walk(seed, folder, say)
    say(f"seed {seed}, {steps} steps, in {folder}" + ("" if walked.mounted else "; no disk can be mounted here, so none is filled"))
    try:
        for number in range(1, steps + 1):
            walked.step(number)
    finally:
        walked.close()
    shutil.rmtree(folder, ignore_errors=True)  # kept where something differed
    return walked.counts


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description="A random walk over an output directory.")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    counts = walk(chosen.seed, chosen.steps, lambda line: print(line, flush=True))
    print(f"seed {chosen.seed}: {chosen.steps} steps, 0 differences; {dict(sorted(counts.items()))}")


if __name__ == "__main__":
    main()
