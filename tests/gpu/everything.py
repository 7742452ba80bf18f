"""All that needs a GPU, in one command of three minutes at most: ``python tests/gpu/everything.py FOLDER``.

kdarena need not be installed. Each part writes what it prints to a file in the folder, and what fails does not keep the next part from being run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = [*("-m", "pytest", "tests/gpu"), *("-o", "addopts=", "--import-mode=importlib", "-p", "no:cacheprovider", "-q", "-rs", "--durations=15")]
RUN = [*("-m", "kdarena", "run", "--tasks", "digits", "--plugins", "kd,at,dml,ban,quest", "--tuning-budget", "0", "--seeds", "2")]
TARGET_RATIOS = "resnet56-resnet20"


def parts(out: Path, some: str | None) -> Mapping[str, tuple[Sequence[str], float]]:
    """What is run with Python, and its seconds at most, by name."""
    chosen = ["-k", some] if some else []
    return {
        "tests": ([*TESTS, *chosen], 150),
        "benchmark": (["tests/benchmarks/gpu.py", "--pairs", TARGET_RATIOS, "--seconds", "0.5", "--json", str(out / "benchmark.jsonl")], 120),
        "run": ([*RUN, "--budget", "1s", "--teacher-budget", "60epochs", "--out", str(out / "kdarena-out")], 90),
        "costs": (["-m", "kdarena", "leaderboard", "--format", "csv", "--out", str(out / "kdarena-out")], 30),
    }


def described_as_installed(folder: Path) -> None:
    """Write what an installation of kdarena would leave, so that its methods are listed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    about = folder / f"kdarena-{project['version']}.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: kdarena\nVersion: {project['version']}\n")
    points = "\n".join(f"{name} = {target}" for name, target in project["entry-points"]["kdarena"].items())
    (about / "entry_points.txt").write_text(f"[kdarena]\n{points}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all parts that are left in the time; the number of those that failed."""
    parser = argparse.ArgumentParser(description="All that needs a GPU.")
    parser.add_argument("out", type=Path, help="folder that takes what is printed")
    parser.add_argument("--seconds", type=float, default=200.0, help="of all parts at most")
    parser.add_argument("--parts", default="tests,benchmark,run,costs", help="with commas, in this order")
    parser.add_argument("--tests", metavar="WORDS", help="tests to run, as pytest's -k")
    given = parser.parse_args(arguments)
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    described_as_installed(out / "site")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (out / "site", ROOT, ROOT / "plugins"))), "COLUMNS": "100"}
    end, failed = time.monotonic() + given.seconds, 0
    for name, (command, most) in ((name, parts(out, given.tests)[name]) for name in given.parts.split(",")):
        started = time.monotonic()
        with (out / f"{name}.txt").open("w") as printed:
            try:
                limit = max(1.0, min(most, end - started))
                status = subprocess.run(
                    [sys.executable, *command], cwd=ROOT, env=environment, stdout=printed, stderr=subprocess.STDOUT, timeout=limit, check=False
                ).returncode
            except subprocess.TimeoutExpired:
                status = 124
        failed += status != 0
        last = (out / f"{name}.txt").read_text(errors="replace").strip().splitlines()[-1:] or ["nothing was printed"]
        print(f"{name}: status {status} after {time.monotonic() - started:.0f} s: {last[0]}", flush=True)
    if (out / "kdarena-out").is_dir():
        with tarfile.open(out / "record.tgz", "w:gz") as archive:
            for folder in ("runs", "profiles", "student_steps", "plans", "leaderboards", "workers.log"):
                if (out / "kdarena-out" / folder).exists():
                    archive.add(out / "kdarena-out" / folder, folder)
    return failed


if __name__ == "__main__":
    sys.exit(main())
