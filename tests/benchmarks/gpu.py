"""Images a second of knowledge distillation on one GPU, in one table and as lines of JSON: ``python tests/benchmarks/gpu.py``.

Needs torch, numpy, pluggy and safetensors alone, and Pillow for the first row. Ratios are of rows of one call; each is printed with its target. Without CUDA
(``--device cpu``) the rows that need it are listed with the reason.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins"), str(ROOT / "tests")]  # a checkout that is not installed

from benchmarks.gpu_loops import Absent, hand_captured_step, made_up_images, public_loop  # noqa: E402
from benchmarks.gpu_steps import harness_steps, one_after_the_other, student_steps  # noqa: E402
from kdarena.tracks.classification.task import ClassificationTask  # noqa: E402
from kdarena.tracks.values import Setting  # noqa: E402

PAIRS = ("resnet56-resnet20", "resnet32x4-resnet8x4")
SIDE_BY_SIDE = (2, 4, 8, 16)
WARM_UP = {"cuda": 15, "cpu": 1}
"""Steps before any is timed: steps are captured and compiled in them."""

PUBLIC, CAPTURED, EIGHT, HAND = "loop as public tools run it", "harness, captured", "harness, captured x 8", "hand-captured step"


@dataclass(frozen=True)
class Row:
    """A measurement.

    Attributes:
        images: a second, of all runs together; None where it could not be measured.
        ms: of a step of one run.
        reason: why it could not be measured.
    """

    pair: str
    name: str
    images: float | None = None
    ms: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Ratio:
    """A ratio of two rows with its target.

    Attributes:
        value: None where one of them is missing.
        target: as ``>= 6``.
        met: whether the target is met; None where there is no value.
    """

    pair: str
    name: str
    value: float | None
    target: str
    met: bool | None


def rows_of(pair: str, device: torch.device, batch: int, seconds: float, loaders: int) -> Iterator[Row]:
    """The rows of a pair of networks, each as soon as it is measured."""
    task, plain = (_task(pair, device, batch, precision) for precision in (_precision(device), "fp32"))

    def row(name: str, runs: int, make: Callable[[], Callable[[], object]]) -> Row:
        try:
            return Row(pair, name, *measured(make(), batch * runs, runs, device, seconds))
        except Absent as absent:
            return Row(pair, name, reason=str(absent))
        except torch.OutOfMemoryError:
            return Row(pair, name, reason="out of memory")
        finally:
            if device.type == "cuda":
                gc.collect()
                torch.cuda.empty_cache()

    yield row(PUBLIC, 1, lambda: public_loop(plain, loaders))
    yield row("harness, eager", 1, lambda: harness_steps(task, captured=False))
    yield row(CAPTURED, 1, lambda: harness_steps(task, captured=True))
    for count in SIDE_BY_SIDE:
        yield row(f"harness, captured x {count}", count, lambda count=count: one_after_the_other(task, count))  # type: ignore[misc]
    yield row("harness, compiled and captured", 1, lambda: harness_steps(task, captured=True, compiled=True))
    yield row("student alone, captured" if device.type == "cuda" else "student alone", 1, lambda: student_steps(task, captured=device.type == "cuda"))
    yield row(HAND, 1, lambda: hand_captured_step(task))


def measured(step: Callable[[], object], images: int, runs: int, device: torch.device, seconds: float) -> tuple[float, float]:
    """Images a second, and milliseconds of a step of each run.

    Args:
        step: takes a step of all runs.
        images: that it takes.
        seconds: for which it is taken at least.
    """
    for _ in range(WARM_UP[device.type]):
        step()
    _wait(device)
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        for _ in range(max(1, count)):  # twice as many as before: what waits for the device is a small part
            step()
            count += 1
        _wait(device)
    return images * count / elapsed, 1000 * elapsed / count


def ratios_of(pair: str, rows: Sequence[Row]) -> list[Ratio]:
    """What the rows of a pair have to reach; the targets against public tools are those of resnet56 to resnet20."""
    images = {row.name: row.images for row in rows}

    def ratio(name: str, over: str, under: str, least: float | None = None, most: float | None = None) -> Ratio:
        above, below = images.get(over), images.get(under)
        value = above / below if above and below else None
        met = None if value is None else (least is None or value >= least) and (most is None or value <= most)
        return Ratio(pair, name, value, f">= {least:g}" if least is not None else f"<= {most:g}", met)

    against = [ratio("captured / loop as public tools run it", CAPTURED, PUBLIC, least=6), ratio("8 side by side / the same", EIGHT, PUBLIC, least=18)]
    return [*(against if pair == PAIRS[0] else []), ratio("captured step / hand-captured step", HAND, CAPTURED, most=1.05)]


def _task(pair: str, device: torch.device, batch: int, precision: str) -> ClassificationTask:
    from kdarena.tracks import find_card

    card = find_card(f"cifar100:{pair}")
    card = dataclasses.replace(card, recipe=dataclasses.replace(card.recipe, batch_size=batch))
    return ClassificationTask(card, Setting(device, precision), made_up_images())  # type: ignore[arg-type]


def _precision(device: torch.device) -> str:
    return "bf16" if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def line(row: Row) -> str:
    """A row of the table."""
    figures = row.reason or f"{row.images:>10.0f} {row.ms:>9.3f}"
    return f"{row.name:<34} {figures}"


def ratio_line(ratio: Ratio) -> str:
    """A ratio with its target."""
    value = "not measured" if ratio.value is None else f"{ratio.value:.2f}"
    said = {True: "met", False: "NOT met", None: ""}[ratio.met]
    return f"{ratio.name:<40} {value:>12}   target {ratio.target:<8} {said}".rstrip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; returns 1 where a target is not met."""
    parser = argparse.ArgumentParser(description="Images a second of knowledge distillation on one GPU.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--pairs", default=",".join(PAIRS), help="TEACHER-STUDENT with commas")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=0.7, help="of each row at least")
    parser.add_argument("--loaders", type=int, default=8, help="workers of the DataLoader of the first row")
    parser.add_argument("--json", type=Path, help="file that takes the lines of JSON; by default they are printed below the table")
    given = parser.parse_args(arguments)
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device {given.device}: no CUDA device is visible here; use --device cpu")
    if device.type == "cpu":
        torch.set_num_threads(1)  # as a worker trains there
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    started, lines, missed = time.perf_counter(), [], False
    for pair in given.pairs.split(","):
        print(f"\n{pair}, batch {given.batch}, {_precision(device)}, {name}, torch {torch.__version__}\n{'':<34} {'images/s':>10} {'ms/step':>9}")
        rows = []
        for row in rows_of(pair, device, given.batch, given.seconds, given.loaders):
            print(line(row), flush=True)
            rows.append(row)
        ratios = ratios_of(pair, rows)
        print("", *map(ratio_line, ratios), sep="\n")
        missed |= any(ratio.met is False for ratio in ratios)
        lines += [json.dumps({"device": name, "torch": torch.__version__, "batch": given.batch, **dataclasses.asdict(found)}) for found in (*rows, *ratios)]
    print(f"\n{time.perf_counter() - started:.0f} s")
    if given.json is not None:
        given.json.write_text("\n".join(lines) + "\n")
    else:
        print(*lines, sep="\n")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
