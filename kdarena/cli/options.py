"""The options of the commands, each declared once.

An option of ``run`` and ``sweep`` is a field of :class:`kdarena.plan.request.Request` and an entry of :data:`REQUEST` under
the field's name; nothing else has to name it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from kdarena.api.arguments import Typed, amount, choice, count, data_root, ladder, names, side_by_side
from kdarena.errors import UserError
from kdarena.plan.amounts import Amount, parse_duration
from kdarena.plan.request import Request


def _amount(option: str, help: str) -> Any:
    def read(text: str) -> Amount:
        return amount(text, option)

    return Annotated[Amount | None, typer.Option(option, parser=read, metavar="AMOUNT", help=help)]


def _duration(option: str, help: str) -> Any:
    def duration(text: str) -> float:
        return parse_duration(text, option)

    return Annotated[float | None, typer.Option(option, parser=duration, metavar="TIME", help=help)]


def _count(option: str, metavar: str, help: str) -> Any:
    def read(text: str) -> int:
        return count(text, option)

    return Annotated[int | None, typer.Option(option, parser=read, metavar=metavar, help=help)]


def _choice(option: str, choices: Sequence[str], help: str) -> Any:
    def read(text: str) -> str:
        return choice(text, option, choices)

    return Annotated[str, typer.Option(option, parser=read, metavar="|".join(choices), help=help)]


def _optional_choice(option: str, choices: Sequence[str], help: str) -> Any:
    """One of several named values, or None where it is not typed."""
    kind, option_info = get_args(_choice(option, choices, help))
    return Annotated[kind | None, option_info]


Json = Annotated[bool, typer.Option("--json", help="One JSON array on standard output, nothing else.")]
PluginPaths = Annotated[list[str] | None, typer.Option("--plugin-path", metavar="FILE.py", help="A plugin of your own; repeatable.")]


def _data_root(text: str) -> str:
    """The folder's absolute path; that of nothing would be the current folder's."""
    if not text.strip():
        raise UserError("--data-root is empty: give it a value, or leave it out")
    return data_root(text)


DataRoot = Annotated[str | None, typer.Option("--data-root", parser=_data_root, metavar="DIR", help="Folder of the data sets, in their usual layouts.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Output directory.")]
OUT = Request.out
Wide = Annotated[bool, typer.Option("--wide", help="All columns of a table and what they mean, whatever the width of the terminal.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan; train nothing.")]

REQUEST: Mapping[str, Any] = {
    "plugin_paths": PluginPaths,
    "tasks": Annotated[str, typer.Option("--tasks", metavar="all|A,B", help="Tasks to run on; all: every embedded task.")],
    "budget": _amount("--budget", "Budget of one training run: 10m, 60se (student-epochs), 3e15flop or 60epochs; default: fitted to --total."),
    "tuning_budget": _amount("--tuning-budget", "Budget for tuning each method, in the unit of --budget; 0: no tuning; default: 1.5 budgets of a run."),
    "untuned": Annotated[bool, typer.Option("--untuned", help="No tuning: final runs of the default settings.")],
    "both": Annotated[bool, typer.Option("--both", help="Final runs of the default and of the tuned setting; default: of the one that won the trials.")],
    "scope": _optional_choice(
        "--scope",
        ("own", "all"),
        "own: each method on its paper's tracks, student and kd on all; all: wherever equations hold; default: own with --plugins all.",
    ),
    "teacher_budget": _amount(
        "--teacher-budget", "Budget of each teacher's training; default: the task's recipe, on tasks that are not embedded at most four budgets of a run."
    ),
    "seeds": _count("--seeds", "N", "Number of final runs of each setting; default 5."),
    "workers": _count("--workers", "N", "Runs at the same time; default: one a core or GPU."),
    "side_by_side": Annotated[
        int | None,
        typer.Option(
            "--side-by-side",
            parser=side_by_side,
            metavar="auto|N",
            help="Runs that train side by side on one device; auto: one on a CPU, on a GPU as many as its memory holds, 16 at most.",
        ),
    ],
    "device": Annotated[str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:INDEX or mps.")],
    "precision": _choice("--precision", ("auto", "fp32", "bf16"), "Number format of the training; auto: bf16 where it is faster."),
    "capture": _choice("--capture", ("auto", "on", "off"), "Whether a step is captured once and replayed; auto: on CUDA."),
    "compile": _choice(
        "--compile", ("auto", "off"), "auto: compile student and teachers on CUDA where a run of a stated --budget takes over ten minutes; off: never."
    ),
    "params": Annotated[list[str] | None, typer.Option("--param", metavar="METHOD.NAME=VALUE", help="Fix a parameter; repeatable.")],
    "protocol": _choice(
        "--protocol", ("validated", "published"), "validated: hold out validation data; published: train on all training data, without validation and tuning."
    ),
    "total": _duration(
        "--total", "Total time of the command where --budget is not given, teachers included; default: 10m and the time of the embedded tasks' teachers."
    ),
    "yes": Annotated[bool, typer.Option("--yes", help="Start also what will take more than a day.")],
    "data_root": DataRoot,
    "teacher_checkpoint": Annotated[
        str | None, typer.Option("--teacher-checkpoint", metavar="FILE", help="Your own reference teacher: safetensors or a public checkpoint.")
    ],
    "teacher_weights": Annotated[
        str | None, typer.Option("--teacher-weights", metavar="ema|NAME", help="Which of several weights in that file; default: those that were trained.")
    ],
    "teacher_logits": Annotated[
        str | None,
        typer.Option("--teacher-logits", metavar="FILE", help="Your own reference teacher by its logits alone, as .npz or .safetensors; names one task."),
    ],
    "recipe": _choice(
        "--recipe",
        ("paper", "modern"),
        "paper: each task's own; modern: AdamW, warm-up, cosine, mixup, cutmix, erasing, smoothed labels, averaged weights, for every method and the teacher.",
    ),
    "charge_teacher": Annotated[bool, typer.Option("--charge-teacher", help="Take the teachers' cost from each method's budget.")],
    "metrics": Annotated[
        str | None,
        typer.Option("--metrics", parser=names, metavar="A,B", help="Further metrics of every final run: gap, uncertainty, robustness."),
    ],
    "ladder": Annotated[
        str | None,
        typer.Option(
            "--ladder",
            parser=ladder,
            metavar="A,B,C",
            help="Further budgets as multiples of a run's, as 0.25,0.5,1,2: of the methods named, else of the controls and the leading group.",
        ),
    ],
    "views": _count("--views", "K", "Draw each training sample's augmentation from K fixed ones, for every method alike; default: from all."),
    "teacher_outputs": _choice(
        "--teacher-outputs", ("auto", "live"), "auto: look teachers' outputs up where that buys a method more steps; live: call teachers in every step."
    ),
    "images": Annotated[str | None, typer.Option("--images", metavar="FOLDER", help="A task of your own: a folder of pictures, one folder a class.")],
    "unlabelled": Annotated[
        str | None, typer.Option("--unlabelled", metavar="FOLDER", help="Pictures without labels, for methods that learn from such; with --images.")
    ],
    "skip_unreadable": Annotated[bool, typer.Option("--skip-unreadable", help="Go on without files of --images that can't be used.")],
    "image_size": _count("--image-size", "PIXELS", "Of a side of the pictures of --images; default: what the networks are meant for, or 32 or 64."),
    "class_weights": _choice("--class-weights", ("none", "balanced"), "balanced: the loss of --images weighs each class alike, however many pictures it has."),
    "text": Annotated[str | None, typer.Option("--text", metavar="FILE", help="A task of your own: sentences with labels, as .tsv, .csv, .jsonl or .parquet.")],
    "columns": Annotated[
        str | None, typer.Option("--columns", metavar="TEXT,LABEL", help="Of --text: the columns of the text (or FIRST,SECOND of a pair) and of the label.")
    ],
    "task_from": Annotated[str | None, typer.Option("--task-from", metavar="MODULE:FUNCTION", help="A task of your own, written in Python.")],
    "teacher": Annotated[
        str | None,
        typer.Option(
            "--teacher", metavar="NETWORK", help="Of your own task or of those named: a listed name, torchvision:NAME, timm:NAME, hf:PATH or FILE.py:FUNCTION."
        ),
    ],
    "student": Annotated[str | None, typer.Option("--student", metavar="NETWORK", help="As --teacher.")],
    "taps": Annotated[
        str | None,
        typer.Option(
            "--taps", metavar="STAGE=PATH,…", help="Submodules that show the feature maps of a network by reference, as student.stage1=layer1; default: found."
        ),
    ],
    "out": Out,
}
"""The options of a request, by the names of its fields."""


NOT_EMPTY = frozenset(
    ("teacher_checkpoint", "teacher_weights", "teacher_logits", "images", "unlabelled", "text", "columns", "task_from", "teacher", "student", "taps")
)
"""Options whose empty value means nothing."""

PREFER = _choice("--prefer", ("accuracy", "latency", "params"), "What decides between the students of several tasks.")


def request_options(*, only: Collection[str] = tuple(REQUEST), tasks: str = "all") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of a request in the place of its parameter ``typed``, through which it gets what was typed.

    Args:
        only: fields of the request that the command has an option for.
        tasks: the default of ``--tasks``; the other defaults are the request's.
    """
    options = {name: annotation for name, annotation in REQUEST.items() if name in only}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def called(**values: Any) -> None:
            typed = {name: values.pop(name) for name in options}
            _refuse_empty(typed)
            command(typed=_without_gaps(typed), **values)

        parameters: list[inspect.Parameter] = []
        for own in inspect.signature(command, eval_str=True).parameters.values():
            replaced = [_parameter(name, annotation, tasks) for name, annotation in options.items()] if own.name == "typed" else [own]
            parameters += [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in replaced]
        called.__name__, called.__doc__ = command.__name__, command.__doc__
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return called

    return decorate


def _parameter(name: str, annotation: Any, tasks: str) -> inspect.Parameter:
    """An option with the default of its field; where that is no text, flag or path, an option that is not typed stays away."""
    default = tasks if name == "tasks" else getattr(Request, name, None)
    if not isinstance(default, (str, bool, Path)):
        default = None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _refuse_empty(typed: Typed) -> None:
    """Raises ``UserError`` for an option without a value: an empty variable of a shell would else be the current folder, or nothing."""
    for name, value in typed.items():
        if isinstance(value, str) and name in NOT_EMPTY and not value.strip():
            raise UserError(f"--{name.replace('_', '-')} is empty: give it a value, or leave it out")


def _without_gaps(typed: Typed) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in typed.items() if value is not None}
