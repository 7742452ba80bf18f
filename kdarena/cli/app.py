"""The commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kdarena.cli.record_command import record_app

app = typer.Typer(
    name="kdarena",
    help="Compare knowledge-distillation methods under identical budgets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
plugins_app = typer.Typer(help="The methods: list, show, cost, matrix.", no_args_is_help=False)
app.add_typer(plugins_app, name="plugins")
app.add_typer(record_app, name="record")

Json = Annotated[bool, typer.Option("--json", help="One JSON array on standard output, nothing else.")]
PluginPath = Annotated[list[str] | None, typer.Option("--plugin-path", metavar="FILE.py", help="A plugin of your own; repeatable.")]
DataRoot = Annotated[str | None, typer.Option("--data-root", metavar="DIR", help="Folder of the data sets, in their usual layouts.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Output directory.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:INDEX or mps.")]
OUT = Path("kdarena-out")


@app.command()
def run(
    plugins: Annotated[str, typer.Option("--plugins", metavar="all|A,B", help="Methods to run; the controls student and kd always run.")] = "all",
    plugin_path: PluginPath = None,
    tasks: Annotated[str, typer.Option("--tasks", metavar="all|A,B", help="Tasks; all: every embedded task.")] = "all",
    budget: Annotated[str | None, typer.Option("--budget", help="Of a training run: 10m, 60se (student-epochs), 3e15flop or 60epochs.")] = None,
    tuning_budget: Annotated[str | None, typer.Option("--tuning-budget", help="Of each method's tuning, in the unit of --budget; 0: none.")] = None,
    teacher_budget: Annotated[
        str | None, typer.Option("--teacher-budget", help="Of each teacher's training; default: the task's recipe, or a few budgets of a run on large tasks.")
    ] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Seeds of the final runs; default 5.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Runs at once; default: one a core or GPU.")] = None,
    device: Device = "auto",
    precision: Annotated[str, typer.Option("--precision", help="auto, fp32 or bf16.")] = "auto",
    param: Annotated[list[str] | None, typer.Option("--param", metavar="METHOD.NAME=VALUE", help="Fix a parameter; repeatable.")] = None,
    protocol: Annotated[str, typer.Option("--protocol", help="validated, or published: all of train, no validation, no tuning.")] = "validated",
    total: Annotated[
        str | None, typer.Option("--total", help="Fit everything but embedded tasks' teachers into this time where --budget is not given; default 10m.")
    ] = None,
    data_root: DataRoot = None,
    teacher_checkpoint: Annotated[
        str | None, typer.Option("--teacher-checkpoint", metavar="FILE", help="Your own reference teacher: safetensors or a public checkpoint.")
    ] = None,
    charge_teacher: Annotated[bool, typer.Option("--charge-teacher", help="Take the teachers' cost from each method's budget.")] = False,
    metrics: Annotated[str | None, typer.Option("--metrics", metavar="A,B", help="Further metrics of every final run: gap, uncertainty, robustness.")] = None,
    out: Out = OUT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; train nothing.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew; an old output directory is moved aside, not deleted.")] = False,
) -> None:
    """Tune, train, evaluate, record, and print the leaderboard. Repeated, it resumes."""
    from kdarena.cli import arena_command

    options = arena_command.Options(
        plugins=plugins,
        plugin_paths=tuple(plugin_path or ()),
        tasks=tasks,
        budget=budget,
        tuning_budget=tuning_budget,
        teacher_budget=teacher_budget,
        seeds=seeds,
        workers=workers,
        device=device,
        precision=precision,
        params=tuple(param or ()),
        protocol=protocol,
        total=total,
        data_root=data_root,
        teacher_checkpoint=teacher_checkpoint,
        charge_teacher=charge_teacher,
        metrics=metrics,
        out=out,
        dry_run=dry_run,
        fresh=fresh,
    )
    raise typer.Exit(arena_command.run(options))


@app.command()
def sweep(
    parameter: Annotated[str, typer.Argument(metavar="METHOD.NAME=A,B,C", help="The parameter and its values.")],
    plugin_path: PluginPath = None,
    tasks: Annotated[str, typer.Option("--tasks", metavar="TASK", help="One task.")] = "digits",
    budget: Annotated[str | None, typer.Option("--budget", help="Of a training run, as for run; default 100se.")] = None,
    teacher_budget: Annotated[str | None, typer.Option("--teacher-budget", help="Of each teacher's training.")] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Seeds of each value; default 5.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Runs at once; default: one a core or GPU.")] = None,
    device: Device = "auto",
    precision: Annotated[str, typer.Option("--precision", help="auto, fp32 or bf16.")] = "auto",
    param: Annotated[list[str] | None, typer.Option("--param", metavar="METHOD.NAME=VALUE", help="Fix a further parameter; repeatable.")] = None,
    data_root: DataRoot = None,
    metrics: Annotated[str | None, typer.Option("--metrics", metavar="A,B", help="Further metrics of every run: gap, uncertainty, robustness.")] = None,
    out: Out = OUT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; train nothing.")] = False,
) -> None:
    """Run a method over several values of one parameter; print a table, write it and a curve."""
    from kdarena.cli import arena_command, sweep_command

    options = arena_command.Options(
        plugins="all",
        plugin_paths=tuple(plugin_path or ()),
        tasks=tasks,
        budget=budget,
        tuning_budget=None,
        teacher_budget=teacher_budget,
        seeds=seeds,
        workers=workers,
        device=device,
        precision=precision,
        params=tuple(param or ()),
        protocol="validated",
        total=None,
        data_root=data_root,
        teacher_checkpoint=None,
        charge_teacher=False,
        metrics=metrics,
        out=out,
        dry_run=dry_run,
        fresh=False,
    )
    raise typer.Exit(sweep_command.sweep(parameter, options))


@app.command()
def tasks(json: Json = False, data_root: DataRoot = None) -> None:
    """List every task, with what is missing."""
    from kdarena.cli import listings

    listings.tasks(json, data_root)


@app.command()
def runs(
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values on standard output.")] = False,
    out: Out = OUT,
) -> None:
    """List every recorded run, one row each."""
    from kdarena.cli import listings

    listings.runs(out, json, csv)


@app.command()
def leaderboard(
    format: Annotated[str, typer.Option("--format", help="table, md, csv, json or latex.")] = "table",
    publish: Annotated[Path | None, typer.Option("--publish", metavar="DIR", help="Also write md and csv of each board to this folder.")] = None,
    plugin_path: PluginPath = None,
    out: Out = OUT,
) -> None:
    """Make the leaderboards from the record."""
    from kdarena.cli import listings

    listings.leaderboard(out, format, publish, tuple(plugin_path or ()))


@app.command()
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run id, or the beginning of one.")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where to write the safetensors.")],
    out: Out = OUT,
) -> None:
    """Write the distilled student of a run, alone, as safetensors."""
    from kdarena.cli import listings

    listings.export(out, run, to)


@app.command()
def ui(out: Out = OUT, port: Annotated[int, typer.Option("--port", min=1, max=65535, help="On localhost.")] = 5000) -> None:
    """Serve MLflow's page over the record, on localhost."""
    from kdarena.cli import listings

    listings.ui(out, port)


@app.command()
def doctor(json: Json = False, data_root: DataRoot = None, out: Out = OUT) -> None:
    """Say what this machine has, what is missing, and the command that mends it."""
    from kdarena.cli import doctor as command

    raise typer.Exit(command.doctor(json, data_root, out))


@plugins_app.callback(invoke_without_command=True)
def plugins(context: typer.Context, json: Json = False, plugin_path: PluginPath = None) -> None:
    """List every method, broken ones with the reason."""
    if context.invoked_subcommand is None:
        from kdarena.cli import plugin_pages

        plugin_pages.listing(json, tuple(plugin_path or ()))


@plugins_app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME")], plugin_path: PluginPath = None) -> None:
    """Paper, equations, hyper-parameters with default, source and range."""
    from kdarena.cli import plugin_pages

    plugin_pages.show(name, tuple(plugin_path or ()))


@plugins_app.command()
def cost(
    task: Annotated[str, typer.Option("--task", help="On which task.")] = "digits",
    json: Json = False,
    plugin_path: PluginPath = None,
    device: Device = "auto",
    precision: Annotated[str, typer.Option("--precision", help="auto, fp32 or bf16.")] = "auto",
    data_root: DataRoot = None,
) -> None:
    """Measure each method's step cost, in steps of the plain student."""
    from kdarena.cli import plugin_pages

    plugin_pages.cost(task, json, tuple(plugin_path or ()), device, precision, data_root)


@plugins_app.command()
def matrix(json: Json = False, plugin_path: PluginPath = None) -> None:
    """Method by track: the paper's own, extended, or not applicable."""
    from kdarena.cli import plugin_pages

    plugin_pages.matrix(json, tuple(plugin_path or ()))
