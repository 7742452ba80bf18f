"""Optuna's own figures of a method's trials, over a study rebuilt from the record."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdarena.board.cells import Row, name_of
from kdarena.board.page.plot import Figure, axis, label
from kdarena.plan.spec import COMPLETE
from kdarena.record.recorded import RecordedRun

if TYPE_CHECKING:
    import optuna

FEWEST_TRIALS = 4
"""Trials of settings that were drawn, with fewer of which nothing is said of importance."""
WIDE_RANGE = 20.0
"""A parameter whose largest value is so many times its smallest is taken to be drawn on a logarithmic scale."""
_Distributions = Mapping[str, Any]


def tuning_figures(row: Row, trials: Sequence[RecordedRun]) -> list[Figure]:
    """The history of a method's trials, and the importance of its parameters where there are trials enough."""
    import optuna

    if not trials:
        return []
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    metric, name = f"validation/{row['metric']}", name_of(row)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is experimental, or of one value, is said below
        history = optuna.visualization.plot_optimization_history(_study(trials, metric), target_name=label(f"{row['metric']} on validation"))
        figures = [
            Figure(
                "history",
                f"Trials of {name}",
                f"{len(trials)} trials in the order of their recording, short runs scored on validation. Trial 0 is the default setting; "
                "the last ones repeat the best other setting and the defaults on fresh seeds.",
                f"{len(trials)} trials of {name}.",
                *_drawn(history),
                300,
            )
        ]
        figures += _importances(name, trials, metric)
    return figures


def _importances(name: str, trials: Sequence[RecordedRun], metric: str) -> list[Figure]:
    """The importance of the parameters, from the trials whose settings were drawn: a default's value is not in the record."""
    import optuna

    settings = [_setting(run) for run in trials]
    names = sorted(set.intersection(*(set(setting) for setting in settings if setting))) if any(settings) else []
    drawn = [run for run, setting in zip(trials, settings, strict=True) if setting and score_of(run, metric) is not None]
    numbers = [name for name in names if len({_setting(run)[name] for run in drawn}) > 1]
    if len(drawn) < FEWEST_TRIALS or len(numbers) < 2:
        return []
    study = _study(drawn, metric, _distributions(numbers, [_setting(run) for run in drawn]))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    try:
        importances = optuna.visualization.plot_param_importances(study, evaluator=evaluator)
    except (ValueError, RuntimeError):  # all values are the same, or too few are better than others
        return []
    return [
        Figure(
            "importance",
            f"Importance of the parameters of {name}",
            f"By PED-ANOVA over the {len(drawn)} trials of settings that were drawn"
            + (": so few say little." if len(drawn) < 20 else ".")
            + " Ranges are those of the trials.",
            f"Parameters of {name}: {', '.join(numbers)}.",
            *_drawn(importances),
            160 + 24 * len(numbers),
        )
    ]


def score_of(run: RecordedRun, metric: str) -> float | None:
    """A trial's score, None of one that failed."""
    value = run.result.metrics.get(metric)
    return value if run.result.status in COMPLETE and value is not None and math.isfinite(value) else None


def _setting(run: RecordedRun) -> dict[str, Any]:
    """What a trial changed of the defaults."""
    return {**run.spec.params, **run.spec.recipe}


def _distributions(names: Sequence[str], settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the parameters may have been drawn from, as their values show."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    distributions: dict[str, Any] = {}
    for name in names:
        values = [setting[name] for setting in settings]
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            low, high = float(min(values)), float(max(values))
            distributions[name] = FloatDistribution(low, high, log=low > 0 and high > WIDE_RANGE * low)
        else:
            distributions[name] = CategoricalDistribution(list(dict.fromkeys(values)))
    return distributions


def _study(trials: Sequence[RecordedRun], metric: str, distributions: _Distributions | None = None) -> optuna.Study:
    """A study of recorded trials, with the values of the parameters that have a distribution."""
    import optuna

    study = optuna.create_study(direction="maximize")
    for run in trials:
        score, setting = score_of(run, metric), _setting(run)
        params = {name: float(setting[name]) if _is_number(distribution) else setting[name] for name, distribution in (distributions or {}).items()}
        state = optuna.trial.TrialState.FAIL if score is None else optuna.trial.TrialState.COMPLETE
        study.add_trial(optuna.trial.create_trial(state=state, value=score, params=params, distributions=dict(distributions or {})))
    return study


def _is_number(distribution: Any) -> bool:
    return hasattr(distribution, "low")


def _drawn(figure: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Traces and layout of one of Optuna's figures, without its colours, which the page sets; names in it are labels."""
    values = figure.to_plotly_json()
    traces = [_plain(trace) for trace in values["data"]]
    for number, trace in enumerate(traces):
        trace["marker"] = {"color": f"@line{number}"}
        if trace.get("type") == "bar":
            trace["y"] = [label(name) for name in trace["y"]]
            trace.pop("hovertext", None)
            trace.pop("hovertemplate", None)
        else:
            trace["line"] = {"color": f"@line{number}"}
    layout = values["layout"]
    titles = {name: layout[name].get("title", {}).get("text", "") for name in ("xaxis", "yaxis") if name in layout}
    bars = any(trace.get("type") == "bar" for trace in traces)
    return traces, {
        "xaxis": axis(titles.get("xaxis", "")),
        "yaxis": {"type": "category", "automargin": True} if bars else axis(titles.get("yaxis", "")),
        "showlegend": not bars,
    }


def _plain(value: Any) -> Any:
    """Values of plotly's own classes and numpy's as JSON values."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value
