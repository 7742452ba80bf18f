"""The answer of a board in sentences: what to use, how sure that is, and what would make it surer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kdarena.board.frame import names
from kdarena.board.phrases import NAMES, difference, names_of, needs, noise
from kdarena.board.rows import ALPHA, REFERENCE, Row, compared, established, left_out, name_of, unfinished, verdict
from kdarena.board.screen import clean, number, several
from kdarena.plan.request import CONTROLS

ORDINARY = frozenset({"none", "one teacher"})
"""The classes of supervision that no method has to be given anything special for."""
READ = names("""
    method named version status metric mean ci_low ci_high seeds rank_low rank_high supervision teacher_s tuning_s p_holm p_kd_holm detectable seeds_needed test_set_error
    delta_student delta_student_low delta_student_high delta_student_corrected_low delta_student_corrected_high
    delta_kd delta_kd_low delta_kd_high delta_kd_corrected_low delta_kd_corrected_high
""")
"""The columns that the sentences are made from."""
FEWEST_RANKED = 3
"""Seeds from which on there are ranks."""
MOST_SEEDS = 1000
"""More seeds than this are not asked for."""


@dataclass(frozen=True)
class _Board:
    """What the sentences are made from.

    Attributes:
        rows: that are compared, the highest mean first.
        student, reference: the rows of the controls; None where they are not compared.
        student_name, reference_name: names of the controls.
        apart: names of the rows that have runs and are not compared.
        lead: of the reference teacher over the student; None where that is not known.
    """

    rows: Sequence[Row]
    student: Row | None
    reference: Row | None
    student_name: str
    reference_name: str
    apart: Sequence[str]
    lead: float | None

    @property
    def seeds(self) -> int:
        return int(self.rows[0]["seeds"])

    @property
    def metric(self) -> str:
        return clean(self.rows[0]["metric"])

    @property
    def others(self) -> list[Row]:
        """The rows but the student's."""
        return [row for row in self.rows if row is not self.student]

    @property
    def better(self) -> list[Row]:
        """The rows that are established to be better than the student."""
        return [row for row in self.rows if established(row)]

    @property
    def leaders(self) -> list[Row]:
        """The rows that may be the best: no other is shown to be better. None without ranks."""
        return [row for row in self.rows if row["rank_low"] == 1]

    @property
    def no_ranks(self) -> str:
        """Why there are none."""
        return f"{self.seeds} seeds give no ranks" if self.seeds < FEWEST_RANKED else "there are no ranks"

    @property
    def may_be(self) -> str:
        """Which methods may be the best."""
        leaders, count = self.leaders, len(self.rows)
        if not leaders:
            return self.no_ranks
        return (
            f"any of the {count} methods may be the best"
            if len(leaders) == count
            else f"{len(leaders)} of {count} methods may be the best: {names_of(leaders)}"
        )

    @property
    def alone(self) -> str:
        """The student, as it is introduced."""
        return f"{self.student_name}, the student trained alone"


def answer(board_rows: Sequence[Row], controls: tuple[str, str] = CONTROLS) -> str:
    """Two to five sentences that answer a board's question, from its rows alone.

    Args:
        board_rows: of one board of :func:`kdarena.board.leaderboard.leaderboard_frame`, in its order; a missing column counts as None.
        controls: names of the student alone and of the reference method.
    """
    if not board_rows:
        return "Nothing is recorded yet. To train every method: kdarena run --plugins all."
    board_rows = [{**dict.fromkeys(READ), **row} for row in board_rows]
    whole = compared(board_rows)
    apart = [row for row in (*unfinished(board_rows), *left_out(board_rows)) if row["status"] != "skipped"]
    student, reference = (_of_method(whole, name, column) for name, column in zip(controls, ("delta_student", "delta_kd"), strict=True))
    teacher = next((row["delta_student"] for row in board_rows if row["method"] == "teacher" and row["status"] == REFERENCE), None)
    board = _Board(whole, student, reference, *controls, [name_of(row) for row in apart], teacher)
    return " ".join(_sentences(board))


def _of_method(board_rows: Sequence[Row], method: str, column: str) -> Row | None:
    """The row of a control that others are compared with: of several of the method that which has no difference to itself."""
    own = [row for row in board_rows if row["method"] == method]
    return next((row for row in own if row[column] is None), None)


def _sentences(board: _Board) -> Iterator[str]:
    if len(board.rows) < 2:
        yield from _nothing_to_compare(board)
    elif board.seeds > 1 and len({row["mean"] for row in board.rows}) == 1 and all(row["ci_low"] == row["ci_high"] for row in board.rows):
        yield f"All {len(board.rows)} methods have the same mean, {number(board.rows[0]['mean'])} {board.metric}: the metric does not tell them apart."
        yield "More seeds will not change that; a larger --budget may."
    elif board.seeds == 1:
        yield from _one_seed(board)
    else:
        yield from _comparison(board)
    if board.apart:
        yield f"Not compared: {several(board.apart, NAMES)}, for the reasons below."


def _nothing_to_compare(board: _Board) -> Iterator[str]:
    if not board.rows:
        yield "No method has a result of every seed, so nothing is established."
        yield "Repeat the command once the reasons below are fixed."
    else:
        (row,) = board.rows
        yield f"Only {name_of(row)} has a result of every seed, {number(row['mean'])} {board.metric}: there is nothing to compare it with."
        yield "Which method is better is not known."


def _one_seed(board: _Board) -> Iterator[str]:
    best = board.rows[0]
    controls = [f"{name_of(row)} {number(row['mean'])}" for row in (board.student, board.reference) if row is not None and row is not best]
    also = f" ({', '.join(controls)})" if controls else ""
    yield "Nothing is established: one seed does not show how much results differ from seed to seed."
    yield f"By that seed {name_of(best)} has the highest {board.metric}, {number(best['mean'])}{also}."
    yield "Two seeds give tests, three also ranks; the default is --seeds 5."


def _comparison(board: _Board) -> Iterator[str]:
    """Of several seeds."""
    shown = (board.better or board.others)[0]
    yield _headline(board)
    yield _gain(board, shown)
    yield from _without_extra(board, shown)
    last = f"{_open_question(board, shown)}other budgets and other tasks are not known, where the order may be another."
    yield last[0].upper() + last[1:]


def _headline(board: _Board) -> str:
    """What to use, and who leads."""
    if board.student is None:
        return f"Whether any method is better than {board.student_name} is not known, since {board.student_name} has no result of every seed; {board.may_be}."
    if board.better:
        return _better(board, board.better[0])
    if board.leaders == [board.student]:
        return f"Use {board.alone}: {_lead(board, board.student)}."
    return f"Use {board.alone}: no method is shown to be better; {board.may_be}."


def _better(board: _Board, best: Row) -> str:
    """That a method is better than the student, and whether it is the best."""
    rivals = _rivals(board, best)
    if not board.leaders:
        return f"Use {name_of(best)}: it is better than {board.alone}; which method is the best is open, since {board.no_ranks}."
    if not rivals:
        return f"Use {name_of(best)}: {_lead(board, best)}."
    return f"Use {name_of(best)}: it is better than {board.alone}; which method is the best is open, since {names_of(rivals)} may be, too."


def _rivals(board: _Board, best: Row) -> list[Row]:
    """The others that may be the best."""
    return [row for row in board.leaders if row is not best]


def _lead(board: _Board, row: Row) -> str:
    others = len(board.rows) - 1
    if row["rank_high"] == 1:
        return f"it is better than {'the other method' if others == 1 else f'each of the {others} other methods'}"
    return "every other method is shown not to be the best"


def _gain(board: _Board, shown: Row) -> str:
    """What a row took, its gains over both controls with their intervals, and whether they are established."""
    gains = []
    if board.student is not None and shown["delta_student"] is not None:
        gains.append((difference(shown, "delta_student", board.student_name), established(shown)))
    if board.reference is not None and shown is not board.reference and shown["delta_kd"] is not None:
        p = shown["p_kd_holm"]
        gains.append((difference(shown, "delta_kd", board.reference_name), p is not None and p <= ALPHA and shown["delta_kd"] > 0))
    start = f"With {needs(shown)}, {name_of(shown)}"
    if not gains:
        return f"{start} has the highest mean, {number(shown['mean'])} {board.metric}."
    if shown is board.others[0] and shown is not board.rows[0]:
        start = f"{start}, the best of the others by its mean,"
    corrected = any(shown[f"{column}_corrected_low"] is not None for column in ("delta_student", "delta_kd"))
    level = "corrected for all rows" if corrected else "not corrected for the number of rows"
    missing = "" if board.reference is not None else f"; {board.reference_name} has no row to compare with"
    differences = " and ".join(text for text, _ in gains)
    return f"{start} differs in {board.metric} by {differences} (95 %, {level}); {_said([one for _, one in gains])}{noise(shown, board.student_name)}{missing}."


def _said(shown: Sequence[bool]) -> str:
    """Which of the gains are established."""
    if len(shown) == 1:
        return "the gain is established" if shown[0] else "no gain is established"
    return {
        (True, True): "both gains are established",
        (True, False): "the first gain is established, the second is not",
        (False, True): "the second gain is established, the first is not",
        (False, False): "no gain is established",
    }[(shown[0], shown[1])]


def _without_extra(board: _Board, shown: Row) -> Iterator[str]:
    """The best row that takes no more than the controls do, where the one shown does."""
    ordinary = ORDINARY | {row["supervision"] for row in (board.student, board.reference) if row is not None}
    if shown["supervision"] in ordinary:
        return
    without = [row for row in board.others if row["supervision"] in ordinary]
    best = next((row for row in without if established(row)), without[0] if without else None)
    if best is None:
        yield "No other method of this board does with one teacher at most."
    elif best["delta_student"] is None:
        yield f"With one teacher at most, {name_of(best)} has the highest mean, {number(best['mean'])}."
    else:
        said = "the gain is established" if established(best) else "no gain is established"
        yield f"With one teacher at most and nothing more, the best is {name_of(best)}: {difference(best, 'delta_student', board.student_name)}; {said}."


def _open_question(board: _Board, shown: Row) -> str:
    """How many seeds would settle what is open next, with a semicolon; empty where nothing is open that seeds would settle."""
    if board.student is None or shown["delta_student"] is None:
        return ""
    if not established(shown):
        return f"{_seeds_for_gain(board, shown)}; "
    rivals = _rivals(board, shown)
    return f"{_seeds_for_rival(board, shown, rivals[0])}; " if rivals else ""


def _seeds_for_gain(board: _Board, shown: Row) -> str:
    name, student, needed = name_of(shown), board.student_name, shown["seeds_needed"]
    if shown["delta_student"] <= 0:
        if all(verdict(row) == "worse" for row in board.others):
            return f"every method is shown to be worse than {student}"
        return f"no method has a higher mean than {student}, but {board.seeds} seeds may miss a gain{_smaller_gain(board, shown)}"
    if shown["detectable"] is None:
        return f"the difference of {name} is the same in every seed, so that there is no test"
    if needed is None:
        return f"so small a gain of {name} would take over {MOST_SEEDS} seeds to show"
    seeds = max(needed, board.seeds + 1)
    return f"about {seeds} seeds ({_asked(board, seeds)}) would show whether {name} is better than {student}, if the true gain is the one seen"


def _smaller_gain(board: _Board, shown: Row) -> str:
    """Below which size a gain is missed, and how many seeds would show one of half of what the teacher is ahead."""
    detectable = shown["detectable"]
    if detectable is None:
        return ""
    missed = f" of {name_of(shown)} below {number(detectable)}"
    if board.lead is None or not 0 < board.lead / 2 < detectable:
        return f"{missed}: more seeds (--seeds) would show a smaller one"
    seeds, wanted = _seeds_for(board, board.lead / 2, detectable), f"one of {number(board.lead / 2)}, half of what the teacher is ahead"
    if seeds > MOST_SEEDS:
        return f"{missed}: over {MOST_SEEDS} seeds would be needed to show {wanted}"
    return f"{missed}: about {seeds} ({_asked(board, seeds)}) would show {wanted}"


def _asked(board: _Board, seeds: float) -> str:
    """The option that asks for so many seeds, and what they take."""
    return f"--seeds {seeds}, in {number(seeds / board.seeds, 1)} times the time"


def _seeds_for(board: _Board, difference: float, detectable: float) -> float:
    """Seeds that show a difference, by the rule that the smallest that is detectable falls with the root of their number."""
    return math.ceil(board.seeds * (detectable / difference) ** 2) if difference else math.inf


def _seeds_for_rival(board: _Board, best: Row, rival: Row) -> str:
    apart_by, detectable = abs(best["mean"] - rival["mean"]), best["detectable"]
    apart = f"to tell {name_of(best)} from {name_of(rival)}, {number(apart_by)} apart"
    if detectable is None:
        return f"how many seeds it would take {apart}, is not known"
    seeds = _seeds_for(board, apart_by, detectable)
    if seeds > MOST_SEEDS:
        return f"over {MOST_SEEDS} seeds would be needed {apart}"
    return f"roughly {max(seeds, board.seeds + 1)} seeds would be needed {apart}"
