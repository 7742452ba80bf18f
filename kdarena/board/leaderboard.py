"""The boards, from the record: one row a task, budget and method."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from kdarena.board.frame import frame_of, metric_of, names, track_of
from kdarena.board.reference_rows import further_json, reference_rows, teacher_row
from kdarena.board.statistics import detectable_difference, mean_interval, paired_difference, seeds_needed
from kdarena.board.variants import CONTROLS, Variant, board_of, boards, ladder_difference, mean_of, ranked, same_place, step_cost, variants
from kdarena.method.declaration import Method, TeacherSpec
from kdarena.params import sources
from kdarena.plan.comparison import Board
from kdarena.plan.spec import COMPLETE
from kdarena.record.recorded import RecordedRun

if TYPE_CHECKING:
    from kdarena.tracks.card import TaskCard

COLUMNS = names("""
    task track method paper supervision default_source rank_low rank_high metric mean ci_low ci_high
    delta_student delta_student_low delta_student_high p_raw p_holm delta_equal_updates delta_kd delta_kd_low delta_kd_high detectable seeds_needed
    seeds tuned unit budget committed spent_s tuning_s teacher_s step_cost steps samples flops params latency_ms status run_ids
""")
"""What the contract promises, in its order."""
FURTHER_COLUMNS = names("""
    rank status_note step_cost_error audit mean_default mean_tuned params_json recipe_json device precision threads protocol data reference
    validation top5 nll ece agreement kl_teacher further_json
""")
MEASURED = {"top5": "top5", "nll": "nll", "ece": "ece", "agreement": "agreement", "kl_teacher": "teacher_kl"}
"""Columns of metrics beside the ranked one, with the metrics' names."""
BOARD_COLUMNS = ("task", "budget", "unit", "protocol", "device", "precision", "threads", "data", "reference")
"""The columns that tell one board from another."""
TOLERANCE = 0.03
"""Part by which committed cost or audit may differ from budget or profile before the board says so."""
FAILURES_SHOWN = 2


def leaderboard_frame(
    record_runs: Sequence[RecordedRun],
    methods: Mapping[str, Method],
    audits: Mapping[tuple[str, str], float] | None = None,
    *,
    cards: Mapping[str, TaskCard] | None = None,
    controls: tuple[str, str] = CONTROLS,
) -> pd.DataFrame:
    """All boards one below the other, each in the order of its rows; a value that does not apply is None.

    ``rank`` orders rows by their mean and says nothing of significance. A row with a seed that is not done stands below
    all complete rows; nothing is imputed. ``budget``, ``committed``, ``spent_s``, ``steps``, ``samples`` and ``flops`` are
    means of a training run; ``tuning_s`` and ``teacher_s`` are sums.

    Args:
        record_runs: of :meth:`kdarena.record.runs.Record.runs`.
        methods: the known methods by name, for paper and sources.
        audits: step cost measured again over step cost profiled, by the board's key and method.
        cards: the known tasks by name, for their track and metric.
        controls: names of the student alone and of the reference method.
    """
    rows: list[dict[str, Any]] = []
    for board, finals in boards(record_runs).items():
        rows += _board_rows(board, finals, record_runs, methods, audits or {}, cards or {}, controls)
    return frame_of(rows, (*COLUMNS, *FURTHER_COLUMNS))


def _board_rows(
    board: Board,
    finals: Sequence[RecordedRun],
    recorded: Sequence[RecordedRun],
    methods: Mapping[str, Method],
    audits: Mapping[tuple[str, str], float],
    cards: Mapping[str, TaskCard],
    controls: tuple[str, str],
) -> list[dict[str, Any]]:
    metric = metric_of(board.task, finals, cards)
    seeds = frozenset(run.spec.seed for run in finals if run.result.status != "skipped")
    entries: dict[str, list[Variant]] = {}
    for name in dict.fromkeys(run.spec.method for run in finals):
        found = variants([run for run in finals if run.spec.method == name])
        best = ranked(found, seeds, metric)
        entries[name] = [best, *(one for one in found if one is not best)]
    student, reference = (entries.get(name, []) for name in controls)
    here = [run for run in recorded if same_place(board, run)]
    ladder = [run for run in here if run.spec.purpose == "control" and run.spec.method == controls[0] and (run.spec.reference or "") == board.reference]
    rows, references = [], []
    for name, (best, *others) in entries.items():
        trials = [run for run in here if run.spec.purpose == "tune" and run.spec.method == name and board_matches(board, run)]
        row: dict[str, Any] = {
            "task": board.task,
            "track": track_of(board.task, finals, cards),
            "method": name,
            "metric": metric,
            **_declared(methods.get(name), best),
            **_scores(best, metric),
            **_differences(best, student, reference, metric),
            "delta_equal_updates": None if name == controls[0] else ladder_difference(best, student, ladder, f"test/{metric}"),
            **_costs(board, best, trials, recorded),
            **_settings(best, others, metric),
            "audit": audits.get((board.key, name)),
            "status": best.status(seeds),
            "run_ids": [best.runs[seed].run_id for seed in sorted(best.runs)],
            **{name: getattr(board, name) for name in ("unit", "protocol", "device", "precision", "threads", "data")},
            "reference": board.reference or None,
        }
        row["status_note"] = _note(row, best, others, seeds)
        row["_complete"] = best.complete(seeds, f"test/{metric}")
        rows.append(row)
        references += reference_rows(row, best, student[0] if student else None, metric, MEASURED)
    rows.sort(key=lambda row: (row["status"] == "skipped", not row["_complete"], -row["mean"] if row["mean"] is not None else float("inf"), row["method"]))
    for number, row in enumerate(rows, 1):
        row["rank"] = number if row["status"] != "skipped" else None
        del row["_complete"]
    teacher = teacher_row(board, recorded, student[0] if student else None, metric, MEASURED)
    return [*rows, *([teacher] if teacher else []), *sorted(references, key=lambda row: row["method"])]


def board_matches(board: Board, trial: RecordedRun) -> bool:
    """Whether a trial tuned for this board; one that does not say is counted."""
    return "budget" not in trial.facts or board_of(trial).amount == board.amount


def _declared(method: Method | None, variant: Variant) -> dict[str, Any]:
    """What the method says of itself."""
    if method is None:
        return {"paper": None, "default_source": None, "supervision": supervision(variant, None)}
    paper = f"{method.paper.title} ({method.paper.venue} {method.paper.year})"
    return {"paper": paper, "default_source": sources(method.Params), "supervision": supervision(variant, method)}


def supervision(variant: Variant, method: Method | None) -> str | None:
    """The class of what a method took beside labels; None for a method that was skipped, whose teachers were never asked for."""
    if variant.skipped:
        return None
    teachers: list[TeacherSpec] = [teacher for teacher, _ in variant.first.spec.teachers]
    taken = {0: "none", 1: "one teacher"}.get(len(teachers), f"{len(teachers)} teachers")
    if any(teacher.special for teacher in teachers):
        taken = "special teacher"
    if method is not None and method.inherits:
        taken += ", its weights"
    return f"{taken}, extra data" if method is not None and method.auxiliary else taken


def _scores(variant: Variant, metric: str) -> dict[str, Any]:
    interval = mean_interval(list(variant.values(f"test/{metric}").values()))
    return {
        "mean": interval and interval.mean,
        "ci_low": interval and interval.low,
        "ci_high": interval and interval.high,
        "seeds": interval.count if interval else 0,
        "validation": variant.mean(f"validation/{metric}"),
        **{column: variant.mean(f"test/{name}") for column, name in MEASURED.items()},
        "further_json": further_json(variant, (metric, *MEASURED.values())),
    }


def _differences(variant: Variant, student: Sequence[Variant], reference: Sequence[Variant], metric: str) -> dict[str, Any]:
    """Differences by seed to the student and to the reference method, and what the first could have told."""
    found: dict[str, Any] = {}
    for column, control in (("delta_student", student), ("delta_kd", reference)):
        if not control or control[0] is variant:
            continue
        interval = paired_difference(variant.values(f"test/{metric}"), control[0].values(f"test/{metric}"))
        if interval is None:
            continue
        found |= {column: interval.mean, f"{column}_low": interval.low, f"{column}_high": interval.high}
        if control is student and interval.deviation is not None:
            found["detectable"] = detectable_difference(interval.deviation, interval.count)
            found["seeds_needed"] = seeds_needed(interval.mean, interval.deviation)
    return found


def _costs(board: Board, variant: Variant, trials: Iterable[RecordedRun], recorded: Sequence[RecordedRun]) -> dict[str, Any]:
    runs = variant.finished
    trials = list(trials)
    keys = {key for _, key in variant.first.spec.teachers}
    teachers = {run.key: run.result.spent_s for run in recorded if run.spec.purpose == "teacher" and run.key in keys}
    return {
        "budget": board.amount,
        # what --charge-teacher took from the budget was spent on the teachers
        "committed": mean_of(runs, lambda run: run.result.committed + board.amount - run.spec.budget.amount),
        "spent_s": mean_of(runs, lambda run: run.result.spent_s),
        "tuning_s": sum((run.result.spent_s for run in trials), 0.0) if trials else None,
        "teacher_s": sum(teachers.values(), 0.0) if len(teachers) == len(keys) and not variant.skipped else None,
        "step_cost": mean_of(runs, lambda run: step_cost(run)[0]),
        "step_cost_error": mean_of(runs, lambda run: step_cost(run)[1]),
        "steps": _whole(mean_of(runs, lambda run: run.result.steps)),
        "samples": _whole(mean_of(runs, lambda run: run.result.samples)),
        "flops": mean_of(runs, lambda run: run.result.flops),
        "params": runs[0].result.parameters if runs else None,
        "latency_ms": mean_of(runs, lambda run: run.result.system.get("latency_ms")),
    }


def _settings(best: Variant, others: Sequence[Variant], metric: str) -> dict[str, Any]:
    """Which setting is ranked, and what both gave."""
    means = {}
    for tuned in (False, True):
        same = [one for one in (best, *others) if one.tuned is tuned]
        means[tuned] = same[0].mean(f"test/{metric}") if same else None
    return {
        "tuned": None if best.skipped else best.tuned,
        "mean_default": means[False],
        "mean_tuned": means[True],
        "params_json": json.dumps(dict(best.first.spec.params), sort_keys=True),
        "recipe_json": json.dumps(dict(best.first.spec.recipe), sort_keys=True),
    }


def _note(row: Mapping[str, Any], best: Variant, others: Sequence[Variant], seeds: frozenset[int]) -> str | None:
    """What a reader has to know of a row beside its status: reasons of failures, and a budget that is not kept."""
    notes = []
    failed = [run for run in best.runs.values() if run.result.status not in COMPLETE]
    if best.skipped:
        notes.append(best.first.result.error or "not applicable")
    else:
        notes += [f"seed {run.spec.seed}: {run.result.error}" for run in failed[:FAILURES_SHOWN] if run.result.error]
    for other in others:
        if not other.skipped and other.status(seeds) not in COMPLETE:
            notes.append(f"{'tuned' if other.tuned else 'default'} setting: {other.status(seeds)}")
    if row["committed"] is not None and abs(row["committed"] / row["budget"] - 1) > TOLERANCE:
        notes.append(f"committed {row['committed'] / row['budget']:.1%} of the budget")
    return "; ".join(" ".join(note.split()) for note in notes) or None


def _whole(value: float | None) -> int | float | None:
    return int(value) if value is not None and value == int(value) else value
