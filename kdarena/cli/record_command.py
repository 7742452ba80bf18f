"""``kdarena record``: MLflow written again from the record, and the record of an older version converted."""

from __future__ import annotations

import sys

import typer

from kdarena.cli.options import OUT, Out

record_app = typer.Typer(help="The record: write MLflow again from it, convert an older one.", no_args_is_help=True)


@record_app.command()
def mlflow(out: Out = OUT) -> None:
    """Write to MLflow every recorded run that it lacks; all of them after its database was deleted."""
    from kdarena.errors import UserError, described
    from kdarena.record import output
    from kdarena.record.mlflow import MlflowCopy

    output.check(out)
    copy = MlflowCopy(out.resolve())
    with output.lock(out):
        try:
            there = copy.check()
            written = copy.write_missing()
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{copy.place}: MLflow can't be written ({described(error)[:200]}); every run is recorded: try again later") from error
    print(f"{copy.place}: {written} runs written, {there} were there", file=sys.stderr)


@record_app.command()
def convert(out: Out = OUT) -> None:
    """Make the JSON files of an output directory of format 1, whose runs are in MLflow alone; MLflow is left as it is."""
    from kdarena.record.old_format import convert as convert_directory

    count, left_out = convert_directory(out)
    for problem in left_out:
        print(f"kdarena: {problem}", file=sys.stderr)
    print(f"{out}: {count} runs converted", file=sys.stderr)
    raise typer.Exit(1 if left_out else 0)
