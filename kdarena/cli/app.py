"""The commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kdarena.api.arguments import COST, EXPORT_FORMATS, RECOMMEND, SWEEP
from kdarena.cli.data_command import data_app
from kdarena.cli.options import OUT, PREFER, DataRoot, DryRun, Json, Out, PluginPaths, Typed, Wide, request_options
from kdarena.cli.record_command import record_app

app = typer.Typer(
    name="kdarena",
    help="Compare knowledge-distillation methods under identical budgets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
plugins_app = typer.Typer(help="List the methods; show, check or begin one, measure step costs, print the matrix of methods and tracks.", no_args_is_help=False)
app.add_typer(plugins_app, name="plugins")
app.add_typer(record_app, name="record")
app.add_typer(data_app, name="data")


@app.command()
@request_options()
def run(
    *,
    plugins: Annotated[str, typer.Option("--plugins", metavar="all|A,B", help="Methods to run; the controls student and kd always run.")] = "all",
    typed: Typed,
    dry_run: DryRun = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew; an old output directory is moved aside, not deleted.")] = False,
    wide: Wide = False,
) -> None:
    """Tune, train, evaluate, record, and print the leaderboard. Repeated, it resumes."""
    from kdarena.cli import run_command

    raise typer.Exit(run_command.run(plugins, typed, dry_run=dry_run, fresh=fresh, wide=wide))


@app.command()
@request_options(only=RECOMMEND, tasks="digits")
def recommend(
    *,
    plugins: Annotated[str, typer.Option("--plugins", metavar="all|A,B", help="Methods that race; the controls student and kd always do.")] = "all",
    typed: Typed,
    settings: Annotated[int | None, typer.Option("--settings", min=1, metavar="N", help="Settings of each method; default 4, or what the time holds.")] = None,
    prefer: PREFER = "accuracy",
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Where to write the student; default: recommended/ in the output directory.")] = None,
    wide: Wide = False,
    dry_run: DryRun = False,
) -> None:
    """Race over methods and settings, compare the best on fresh seeds, and export the student to take. Repeated, it resumes."""
    from kdarena.cli import recommend_command

    raise typer.Exit(recommend_command.run(plugins, typed, settings=settings, prefer=prefer, to=to, wide=wide, dry_run=dry_run))  # type: ignore[arg-type]


@app.command()
@request_options(only=SWEEP, tasks="digits")
def sweep(
    parameter: Annotated[str, typer.Argument(metavar="METHOD.NAME=A,B,C", help="The parameter and its values.")],
    typed: Typed,
    dry_run: DryRun = False,
) -> None:
    """Run a method over several values of one parameter, on one task and by default for 100se a run; print a table, write it and a curve."""
    from kdarena.cli import sweep_command

    raise typer.Exit(sweep_command.sweep(parameter, typed, dry_run=dry_run))


@app.command()
def tasks(
    json: Json = False,
    data_root: DataRoot = None,
    pairs: Annotated[bool, typer.Option("--pairs", help="Every pair of teacher and student that is listed, not every data set.")] = False,
) -> None:
    """List the data sets of all tasks, available or with the command that gets them; with --json every task."""
    from kdarena.cli import listings

    listings.tasks(json, data_root, pairs)


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
    format: Annotated[str, typer.Option("--format", help="table, md, csv, json, latex or html: one page that opens without a network.")] = "table",
    publish: Annotated[
        Path | None,
        typer.Option("--publish", metavar="DIR", help="Also write md, csv, json and the environment of each board, and the page of all, to this folder."),
    ] = None,
    merge: Annotated[
        list[Path] | None,
        typer.Option("--merge", metavar="DIR", help="Make the boards of these output directories together, not of --out; repeatable. They are only read."),
    ] = None,
    wide: Wide = False,
    plugin_paths: PluginPaths = None,
    out: Out = OUT,
) -> None:
    """Make the leaderboards from the record."""
    from kdarena.cli import listings

    listings.leaderboard(out, format, publish, tuple(plugin_paths or ()), tuple(merge or ()), wide)


@app.command()
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run id or key, or the beginning of one.")],
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR|FILE.safetensors", help="A folder, for all that the student needs elsewhere, or a file, for its weights.")
    ],
    format: Annotated[
        str, typer.Option("--format", metavar="|".join(EXPORT_FORMATS), help="What the folder is for: torch alone, onnxruntime, or the student's library.")
    ] = EXPORT_FORMATS[0],
    data_root: DataRoot = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a student that was exported to that folder before.")] = False,
    out: Out = OUT,
) -> None:
    """Write the distilled student of a run: a folder that is loaded without kdarena, or its weights alone."""
    from kdarena.cli import listings

    listings.export(out, run, to, format, data_root, force)


@app.command()
def ui(out: Out = OUT, port: Annotated[int, typer.Option("--port", min=1, max=65535, help="On localhost.")] = 5000) -> None:
    """Serve MLflow's page over the record, on localhost."""
    from kdarena.cli import ui_command

    raise typer.Exit(ui_command.ui(out, port))


@app.command()
def doctor(json: Json = False, data_root: DataRoot = None, out: Out = OUT) -> None:
    """Say what this machine has, what is missing, and the command that fixes it."""
    from kdarena.cli import doctor as command

    raise typer.Exit(command.doctor(json, data_root, out))


@plugins_app.callback(invoke_without_command=True)
def plugins(context: typer.Context, json: Json = False, plugin_paths: PluginPaths = None) -> None:
    """List every method, broken ones with the reason."""
    if context.invoked_subcommand is None:
        from kdarena.cli import plugin_pages

        plugin_pages.listing(json, tuple(plugin_paths or ()))


@plugins_app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME")], plugin_paths: PluginPaths = None) -> None:
    """Paper, equations, hyper-parameters with default, source and range."""
    from kdarena.cli import plugin_pages

    plugin_pages.show(name, tuple(plugin_paths or ()))


@plugins_app.command()
def check(
    target: Annotated[str, typer.Argument(metavar="NAME|FILE.py", help="A method, or the file of a plugin.")],
    json: Json = False,
    plugin_paths: PluginPaths = None,
) -> None:
    """Check a method against the contract, in seconds; 1 where a check failed."""
    from kdarena.cli import check_command

    raise typer.Exit(check_command.run(target, tuple(plugin_paths or ()), json))


@plugins_app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the method: lower-case letters, digits and hyphens.")],
    package: Annotated[bool, typer.Option("--package", help="A package with pyproject.toml, README and a test, in the place of a file.")] = False,
) -> None:
    """Write a method to begin with, which passes its own check."""
    from kdarena.cli import new_command

    new_command.new(name, package)


@plugins_app.command()
@request_options(only=COST)
def cost(
    typed: Typed,
    task: Annotated[str | None, typer.Option("--task", help="On which task; default: the one that you bring, or digits.")] = None,
    json: Json = False,
) -> None:
    """Measure each method's step cost, in steps of the plain student."""
    from kdarena.cli import cost_command

    cost_command.cost(task, json, typed)


@plugins_app.command()
def matrix(json: Json = False, plugin_paths: PluginPaths = None) -> None:
    """Method by track: the paper's own, extended, or not applicable."""
    from kdarena.cli import plugin_pages

    plugin_pages.matrix(json, tuple(plugin_paths or ()))
