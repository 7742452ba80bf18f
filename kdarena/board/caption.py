"""What is said below a board: how it was made, how to read it, and what is off, each named once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from kdarena.board.cells import corrected
from kdarena.board.curve_lines import curve_lines
from kdarena.board.ranks import AGAINST_THE_RULES
from kdarena.board.rows import ALPHA, Row, board_seeds, compared, left_out, name_of, references, rows, unfinished, verdict
from kdarena.board.screen import clean, number, several
from kdarena.plan.profile_rule import LARGEST_ERROR
from kdarena.plan.request import CONTROLS


def caption(board: pd.DataFrame, wide: bool = True) -> list[str]:
    """What has to be known to read a board, then what is off, each named once with the methods it holds for.

    Args:
        wide: with the explanation of every column, and all names; else what fits a small screen.
    """
    board_rows = rows(board)
    first = board_rows[0]
    return [
        _made(board_rows, wide),
        *_reading(board_rows, wide),
        *_unfinished_seed(first),
        *_overlap(board_rows),
        *_left_out_files(board_rows),
        *_exactness(board_rows, wide),
        *_eager(board_rows, wide),
        *_stored(board_rows, wide),
        *(clean(line) for line in curve_lines(board_rows, name_of)),
        *_shared(((name_of(row), row["status_note"]) for row in (*compared(board_rows), *references(board_rows)) if row["status_note"]), wide),
    ]


def left_out_lines(board: pd.DataFrame, wide: bool = True) -> list[str]:
    """A line for each reason why methods have no row of the table, or a row with fewer seeds than the board has."""
    board_rows = rows(board)
    seeds = board_seeds(board_rows)
    short = (
        (f"{name_of(row)} ({row['seeds']} of {seeds} seeds)", f"{row['status']}: {row['status_note'] or 'repeat the command'}")
        for row in unfinished(board_rows)
    )
    without = ((_with_mean(row), f"{row['status']}: {row['status_note'] or 'no reason is recorded'}") for row in left_out(board_rows))
    return [*_shared(short, wide), *_shared(without, wide)]


def further_lines(board: pd.DataFrame) -> list[str]:
    """What rows measured more than the columns show, means over seeds, with the methods that share it."""
    measured = [(name_of(row), json.loads(row["further_json"])) for row in rows(board) if row["further_json"]]
    return list(_shared((method, ", ".join(f"{name} {value:.4g}" for name, value in values.items() if value is not None)) for method, values in measured))


def failed_rows(frame: pd.DataFrame) -> list[str]:
    """A line for each row of all boards whose runs can't be compared though they are done."""
    return [f"{row['task']} {name_of(row)}: {row['status']}: {clean(row['status_note'])}" for row in rows(frame) if row["status"] in AGAINST_THE_RULES]


def platform(row: Row) -> str:
    """What computed a board: device, versions of torch and of kdarena's code; of old runs only the device is known."""
    versions = f", torch {clean(row['torch'])}, kdarena's code {clean(row['code'])[:8]}" if row["code"] else ", recorded by an older kdarena"
    return f"{_device(row)}{versions}"


def _device(row: Row) -> str:
    model = f" ({clean(row['device_name'])})" if row["device_name"] else ""
    return f"{clean(row['device'])}{model}"


def _made(board_rows: Sequence[Row], wide: bool) -> str:
    """Seeds, machine and versions."""
    first, seeds = board_rows[0], board_seeds(board_rows)
    captured = ", each step captured once and replayed" if first["capture"] else ""
    training = "" if first["protocol"] == "validated" else ", trained on all of train and settings not chosen on validation"
    count = first["threads"]  # 0: a GPU computes, and torch has its own number
    threads = f", {count} thread{'s' if count != 1 else ''}" if count else ""
    code = f", code {clean(first['code'])[:8]}" if first["code"] else ", by an older kdarena"
    made = platform(first) if wide else f"{_device(first)}{code}"
    compiled = ", compiled" if first["compiled"] else ""
    views = f", {first['views']} fixed views of each training sample" if first["views"] else ""
    return f"{seeds} seed{'s' if seeds != 1 else ''} on {made}, {first['precision']}{compiled}{threads}{captured}{views}{training}."


def _reading(board_rows: Sequence[Row], wide: bool) -> Iterator[str]:
    """What the columns mean."""
    student = CONTROLS[0]
    if board_seeds(board_rows) > 1:
        held = ", corrected for all rows" if corrected(board_rows) else ", for one row alone"
        words = f" verdict: against {student}; open: not decided." if any(verdict(row) for row in board_rows) else ""
        places = " rank: possible places." if any(row["rank_low"] is not None for row in board_rows) else ""
        yield f"±: 95 % over seeds. [ ]: of the gain{held}.{words}{places}"
    yield _detectable(board_rows)
    if references(board_rows):
        yield "Last rows, for comparison only: the teacher, ensembles and other networks."
    if not wide:
        return
    spent = "device time spent" if board_rows[0]["unit"] == "s" else "the share committed"
    yield (
        f"Gains are paired by seed; they are tested by Holm's method against {student}, ranks by that and over all pairs. "
        "Rows are in the order of their means, which claims nothing. "
        f"budget %: {spent}. tried: settings of the method that were ever tried. place in class: the order among rows of one supervision."
    )
    yield (
        "Supervision is what a method took in addition to labels: no teacher, the task's one reference teacher, N of its pool, specially trained ones, or its own; "
        '"its weights": its student starts from them.'
    )


def _stored(board_rows: Sequence[Row], wide: bool) -> Iterator[str]:
    """Which rows looked up outputs of their teachers."""
    names = [name_of(row) for row in board_rows if row["teacher_outputs"] == "stored" and row["mean"] is not None]
    if names:
        yield f"Teachers' outputs were computed once for each view, charged to each run, and looked up by {', '.join(names) if wide else several(names)}."


def _detectable(board_rows: Sequence[Row]) -> str:
    seeds = board_seeds(board_rows)
    known = sorted(row["detectable"] for row in board_rows if row["detectable"] is not None and row["seeds"] == seeds)
    if not known:
        return f"Which gains are missed is not known without {CONTROLS[0]} and 2 seeds."
    smallest = " to ".join(dict.fromkeys(number(value) for value in (known[0], known[-1])))
    return f"Gains below {smallest}, by method, are probably missed (α {ALPHA}, power 0.8)."


def _unfinished_seed(row: Row) -> Iterator[str]:
    """That the last seed is left out, where the command was interrupted in it."""
    if row["unfinished_seed"] is not None:
        yield f"Seed {row['unfinished_seed']} is left out, which some rows do not have yet: repeat the command that was interrupted."


def _overlap(board_rows: Sequence[Row]) -> Iterator[str]:
    """How many test samples are also in train, where some are."""
    shared = max(row["test_in_train"] or 0 for row in board_rows)
    if shared:
        yield f"{shared:,} test sample{'s are' if shared > 1 else ' is'} also in train: the test means count them as if they were unseen."


def _left_out_files(board_rows: Sequence[Row]) -> Iterator[str]:
    """How many files of the data could not be used, where some could not."""
    count = max(row["files_left_out"] or 0 for row in board_rows)
    if count:
        yield f"{count:,} file{'s' if count > 1 else ''} of the data could not be used and {'are' if count > 1 else 'is'} left out (--skip-unreadable)."


def _exactness(board_rows: Sequence[Row], wide: bool) -> Iterator[str]:
    """How well the step costs are known, where that is not as well as they are meant to be."""
    rough = [f"{name_of(row)} {row['step_cost_error']:.1%}" for row in board_rows if (row["step_cost_error"] or 0) > LARGEST_ERROR]
    if rough:
        yield f"Step costs are measured to within {LARGEST_ERROR:.0%}, except for {', '.join(rough) if wide else several(rough)}."


def _eager(board_rows: Sequence[Row], wide: bool) -> Iterator[str]:
    """Whose steps were not captured, and why, where those of the other rows were."""
    reasons = ((name_of(row), f"steps not captured: {row['eager']}") for row in board_rows if row["eager"])
    yield from _shared(reasons, wide)


def _with_mean(row: Row) -> str:
    """A row's name, with its mean where it has one that does not count."""
    return name_of(row) if row["mean"] is None else f"{name_of(row)} ({number(row['mean'])})"


def _shared(texts: Iterable[tuple[str, object]], wide: bool = True) -> Iterator[str]:
    """Each text once, behind the methods that have it, of which a small screen names the first."""
    methods_of: dict[str, list[str]] = {}
    for method, text in texts:
        methods_of.setdefault(clean(text), []).append(clean(method))
    for text, methods in methods_of.items():
        yield f"{', '.join(methods) if wide else several(methods)}: {text}"
