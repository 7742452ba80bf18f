"""The boards, from the record: one row for each task, budget and method, and the order of the rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from kdarena.board.answer import answer
from kdarena.board.equal_updates import equal_updates_columns
from kdarena.board.evidence import RowValues, evidence
from kdarena.board.frame import frame_of, metric_of, names, track_of
from kdarena.board.payment import outside_seconds, unpaid
from kdarena.board.ranks import UNRANKED, with_ranks
from kdarena.board.reference_rows import further_json, reference_rows, teacher_row, teacher_value
from kdarena.board.sampling_error import SamplingError
from kdarena.board.selection import Asked, asked_for, entries, grouped, settings_tried, without_unfinished_seed
from kdarena.board.spent import price_note, spent, underpriced
from kdarena.board.statistics import mean_interval
from kdarena.board.supervision import supervision
from kdarena.board.time_curves import LADDER, crossings, curve_columns, row_name
from kdarena.board.variants import Variant, amount_of, board_of, boards, mean_of, place_of, ranked, settled, step_cost, variants, whole
from kdarena.plan.board import Board, Place
from kdarena.plan.request import CONTROLS, SWEPT
from kdarena.plan.spec import COMPLETE
from kdarena.record.declarations import Declaration
from kdarena.record.recorded import RecordedRun
from kdarena.record.samples import ReadSamples

if TYPE_CHECKING:
    from kdarena.tracks.card import TaskCard

COLUMNS = names("""
    task track method paper supervision default_source rank_low rank_high metric mean ci_low ci_high
    delta_student delta_student_low delta_student_high p_raw p_holm delta_equal_updates delta_kd delta_kd_low delta_kd_high detectable seeds_needed
    seeds tuned unit budget committed spent_s tuning_s teacher_s step_cost steps samples flops params latency_ms status run_ids
""")
"""What the contract promises, in its order."""
FURTHER_COLUMNS = names("""
    rank rank_class family delta_student_corrected_low delta_student_corrected_high delta_kd_corrected_low delta_kd_corrected_high p_kd_holm
    student_updates delta_equal_updates_low delta_equal_updates_high status_note named version tried step_cost_error cost_spent
    cost_spent_error budget_spent outside_s unfinished_seed mean_default mean_tuned params_json recipe_json device device_name precision compiled threads torch code capture eager
    protocol views teacher_outputs data reference source validation top5 nll ece agreement kl_teacher test_in_train files_left_out further_json
    test_set_error seconds_to_student seconds_to_teacher time_curve_json validation_curve_json crossings answer
""")
MEASURED = {"top5": "top5", "nll": "nll", "ece": "ece", "agreement": "agreement", "kl_teacher": "teacher_kl"}
"""Columns of metrics other than the ranked one, with the metrics' names."""
OF_DATA = ("test_in_train", "files_left_out")
"""Columns of what is odd about the data, which runs record by the same names."""
PLATFORM_COLUMNS = ("device", "device_name", "precision", "compiled", "threads", "torch", "code", "capture")
BOARD_COLUMNS = ("task", "budget", "unit", "protocol", *PLATFORM_COLUMNS, "data", "reference", "views")
"""The columns that tell one board from another."""
TOLERANCE = 0.03
"""Part by which committed cost may differ from the budget before the board says so."""
FAILURES_SHOWN = 2


def leaderboard_frame(
    record_runs: Sequence[RecordedRun],
    methods: Mapping[str, Declaration],
    *,
    asked: Mapping[str, Asked] | None = None,
    cards: Mapping[str, TaskCard] | None = None,
    controls: tuple[str, str] = CONTROLS,
    samples: ReadSamples | None = None,
) -> pd.DataFrame:
    """All boards one after another, each in the order of its rows; a value that does not apply is None.

    ``rank`` orders rows by their mean and says nothing of significance; ``rank_class`` is the same among the rows of one supervision. A row with
    a seed that is not done comes after all complete rows, one that can't be compared after those and without a rank; nothing is imputed. What is
    tested is in docs/statistics.md: ``family`` is the number of rows that are tested together, None for a row outside of them. ``budget``,
    ``committed``, ``spent_s``, ``steps``, ``samples`` and ``flops`` are means of a training run; ``tuning_s`` and ``teacher_s`` are sums.

    Args:
        record_runs: of :meth:`kdarena.record.runs.Record.runs`.
        methods: what the methods declare, by name.
        asked: the runs of one command, whose boards hold nothing else, by key. None: all runs.
        cards: the known tasks by name, for their track and metric.
        controls: names of the student alone and of the reference method.
        samples: reads what a run scored on each test sample; None: the test set's own error is not known.
    """
    every = settled(record_runs)
    shown = every if asked is None else asked_for(every, asked)
    # sorted out once, since there may be ten thousand runs, and a hundred rows that look for theirs
    teachers = [run for run in shown if run.spec.purpose in ("teacher", "given")]
    others: dict[Place, list[RecordedRun]] = {}
    searched: dict[Place, list[RecordedRun]] = {}
    for run in shown:
        if run.spec.purpose in ("tune", "control"):
            others.setdefault(place_of(run), []).append(run)
    for run in every:
        if run.spec.purpose == "tune" or run.setting == SWEPT:
            searched.setdefault(place_of(run), []).append(run)
    all_boards = boards(every)
    rows: list[dict[str, Any]] = []
    for board, finals in boards(shown).items():
        tried = settings_tried([*all_boards.get(board, finals), *(run for run in searched.get(board.place, ()) if board_matches(board, run))])
        own_teachers = [run for run in teachers if _is_on(board, run)]
        rows += _board_rows(board, finals, others.get(board.place, ()), own_teachers, methods, cards or {}, controls, tried, samples)
    return frame_of(rows, (*COLUMNS, *FURTHER_COLUMNS))


def _board_rows(
    board: Board,
    finals: Sequence[RecordedRun],
    others: Sequence[RecordedRun],
    teachers: Sequence[RecordedRun],
    methods: Mapping[str, Declaration],
    cards: Mapping[str, TaskCard],
    controls: tuple[str, str],
    tried: Mapping[str, int],
    samples: ReadSamples | None,
) -> list[dict[str, Any]]:
    """The rows of one board.

    Args:
        others: trials and controls of the board's task and machine, whatever their budget.
        teachers: the runs that trained or scored a teacher of the board's task on its machine.
        tried: number of settings of each method.
        samples: reads what a run scored on each test sample.
    """
    metric = metric_of(board.task, finals, cards)
    sources = {name: method.source for name, method in methods.items() if method.source}
    runs_of, unfinished = without_unfinished_seed(entries(finals, sources))
    seeds = frozenset(run.spec.seed for run in finals if run.result.status != "skipped") - {unfinished}
    variants_of = {entry: _ranked_first(runs, seeds, metric) for entry, runs in runs_of.items()}
    # the default setting of the controls, where they are there in several
    student, reference = (next((variants_of[entry] for entry in sorted(variants_of) if entry.method == name), []) for name in controls)
    rungs = [run for run in others if run.setting.startswith(LADDER) and (run.spec.reference or "") == board.reference]
    ladder = [run for run in rungs if run.spec.method == controls[0]]
    trials = grouped([run for run in others if run.spec.purpose == "tune" and board_matches(board, run)], lambda run: (run.spec.method, run.spec.source))
    spent_on = {run.result.weights or run.key: run.result.spent_s for run in teachers if run.result.steps}
    targets = {"seconds_to_student": student[0].mean(f"test/{metric}") if student else None, "seconds_to_teacher": teacher_value(board, teachers, metric)}
    noise = SamplingError(samples, student, [best for best, *_ in variants_of.values()], f"test/{metric}")
    rows, references = [], []
    for entry, (best, *further) in variants_of.items():
        name = entry.method
        own_trials = [run for run in trials.get((name, best.first.spec.source), ()) if entry.tuned_by(run)]
        row: dict[str, Any] = {
            "task": board.task,
            "track": track_of(board.task, finals, cards),
            "method": name,
            "named": entry.setting(board.unit) or None,
            "version": entry.version or None,
            "tried": tried.get(name),
            "source": best.first.spec.source,
            "metric": metric,
            **_declared(methods.get(name), best),
            **_scores(best, metric),
            **equal_updates_columns(best, student, ladder, metric),
            "test_set_error": noise.error(best),
            **curve_columns(best, rungs, own_trials, board, metric, targets),
            **_costs(board, best, own_trials, spent_on),
            **spent(board, best, student),
            **_settings(best, further, metric),
            "unfinished_seed": unfinished,
            "eager": _eager(best),
            "status": best.status(seeds),
            "run_ids": [best.runs[seed].run_id for seed in sorted(best.runs)],
            **{name: getattr(board, name) for name in ("unit", "protocol", *PLATFORM_COLUMNS, "data")},
            "reference": board.reference or None,
            "views": board.views or None,
            "teacher_outputs": best.teacher_outputs,
        }
        not_paid = unpaid(best)
        row["status_note"] = "; ".join(filter(None, (not_paid, _note(row, best, further, seeds, student[0] if student else None)))) or None
        if underpriced(row):
            row["status"] = "underpriced"
        if not_paid is not None:
            row["status"] = "unpaid"
        row["complete"] = best.complete(seeds, f"test/{metric}")
        rows.append(row)
        references += reference_rows(row, best, student[0] if student else None, metric, MEASURED)
    rows = _with_evidence(rows, list(variants_of.values()), student, reference, metric)
    crossing = crossings({row_name(row): row["time_curve"] for row in rows if row["complete"] and row["status"] not in UNRANKED}, board.unit)
    rows = [{**row, "crossings": crossing} for row in rows]
    teacher = teacher_row(board, teachers, student[0] if student else None, metric, MEASURED)
    in_order = [*with_ranks(rows, len(seeds)), *([teacher] if teacher else []), *sorted(references, key=lambda row: row["method"])]
    sentences = answer(in_order, controls)
    return [{**row, "answer": sentences} for row in in_order]


def _ranked_first(runs: Sequence[RecordedRun], seeds: frozenset[int], metric: str) -> list[Variant]:
    """The variants of a method, that which is ranked before the others."""
    all_variants = variants(runs)
    best = ranked(all_variants, seeds, metric)
    return [best, *(variant for variant in all_variants if variant is not best)]


def _is_on(board: Board, teacher: RecordedRun) -> bool:
    """Whether a teacher was trained, or scored, on a board's task, data and machine, whatever the unit of its budget."""
    return replace(board_of(teacher), amount=board.amount, unit=board.unit, reference=board.reference) == board


def board_matches(board: Board, trial: RecordedRun) -> bool:
    """Whether a trial tuned for this board; one that does not say is counted."""
    return "budget" not in trial.facts or amount_of(trial) == board.amount


def _declared(method: Declaration | None, variant: Variant) -> dict[str, Any]:
    """What the method says of itself."""
    stated = {"paper": method.paper, "default_source": method.default_source} if method else {"paper": None, "default_source": None}
    return {**stated, "supervision": supervision(variant, method)}


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


def _with_evidence(
    rows: Sequence[dict[str, Any]], bests: Sequence[Sequence[Variant]], student: Sequence[Variant], reference: Sequence[Variant], metric: str
) -> list[dict[str, Any]]:
    """Rows with what compares them; ``bests`` are their variants, that which is ranked first."""
    values = [RowValues(best.values(f"test/{metric}"), row["complete"] and row["status"] not in UNRANKED) for row, (best, *_) in zip(rows, bests, strict=True)]
    controls = [next((place for place, (best, *_) in enumerate(bests) if control and best is control[0]), None) for control in (student, reference)]
    return [row | columns for row, columns in zip(rows, evidence(values, *controls), strict=True)]


def _costs(board: Board, variant: Variant, trials: Sequence[RecordedRun], spent_on: Mapping[str, float]) -> dict[str, Any]:
    """What a row's runs cost; ``spent_on`` are the seconds of each recorded teacher by its key."""
    runs = variant.finished
    keys = {key for _, key in variant.first.spec.teachers}
    teachers = {key: spent_on[key] for key in keys if key in spent_on}
    return {
        "budget": board.amount,
        # what --charge-teacher took from the budget was spent on the teachers
        "committed": mean_of(runs, lambda run: run.result.committed + board.amount - run.spec.budget.amount),
        "spent_s": mean_of(runs, lambda run: run.result.spent_s),
        "outside_s": outside_seconds(variant),
        "tuning_s": sum((run.result.spent_s for run in trials), 0.0) if trials else None,
        "teacher_s": sum(teachers.values(), 0.0) if len(teachers) == len(keys) and not variant.skipped else None,
        "step_cost": mean_of(runs, lambda run: step_cost(run)[0]),
        "step_cost_error": mean_of(runs, lambda run: step_cost(run)[1]),
        "steps": whole(mean_of(runs, lambda run: run.result.steps)),
        "samples": whole(mean_of(runs, lambda run: run.result.samples)),
        "flops": mean_of(runs, lambda run: run.result.flops),
        "params": runs[0].result.parameters if runs else None,
        "latency_ms": mean_of(runs, lambda run: run.result.system.get("latency_ms")),
        **{name: max((int(run.result.system[name]) for run in runs if name in run.result.system), default=None) for name in OF_DATA},
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


def _note(row: Mapping[str, Any], best: Variant, others: Sequence[Variant], seeds: frozenset[int], student: Variant | None) -> str | None:
    """What a reader has to know of a row in addition to its status: reasons of failures, what its runs left behind, that it is the plain
    student in all but its name, and a budget or a price that is not kept."""
    notes = []
    failed = [run for run in best.runs.values() if run.result.status not in COMPLETE]
    if best.skipped:
        notes.append(best.first.result.error or "not applicable")
    else:
        notes += [f"seed {run.spec.seed}: {run.result.error}" for run in failed[:FAILURES_SHOWN] if run.result.error]
    notes += dict.fromkeys(note for run in best.runs.values() for note in run.result.notes)
    if not best.tuned and "untuned" in best.first.facts:
        notes.append(best.first.facts["untuned"])
    if student is not None and _same_weights(best, student):
        notes.append("equals the plain student bit for bit: the method changed nothing")
    for other in others:
        if not other.skipped and other.status(seeds) not in COMPLETE:
            notes.append(f"{'tuned' if other.tuned else 'default'} setting: {other.status(seeds)}")
        elif row["mean_default"] is not None and row["mean_tuned"] is not None:
            notes.append(f"default setting {row['mean_default']:.2f}, tuned setting {row['mean_tuned']:.2f}")
    if row["committed"] is not None and abs(row["committed"] / row["budget"] - 1) > TOLERANCE:
        notes.append(f"committed {row['committed'] / row['budget']:.1%} of the budget")
    notes += filter(None, [price_note(row)])
    return "; ".join(" ".join(note.split()) for note in notes) or None


def _eager(variant: Variant) -> str | None:
    """Why steps of a row's runs were not captured, by phase."""
    reasons = dict.fromkeys(f"{phase}: {reason}" for run in variant.finished for phase, reason in run.result.eager.items())
    return "; ".join(" ".join(reason.split()) for reason in reasons) or None


def _same_weights(variant: Variant, student: Variant) -> bool:
    """Whether every finished seed of a method left the plain student's weights."""
    pairs = [(run.result.weights, student.runs[run.spec.seed].result.weights) for run in variant.finished if run.spec.seed in student.runs]
    return variant is not student and bool(pairs) and all(own is not None and own == other for own, other in pairs)
