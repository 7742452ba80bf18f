"""``kdarena data``: the public data sets that can be fetched, and fetching them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdarena.cli.options import Json
from kdarena.tracks.downloads import ROOT

if TYPE_CHECKING:
    from kdarena.tracks.fetching import Progress

data_app = typer.Typer(help="The public data sets: list them, fetch one.", no_args_is_help=True)
Root = Annotated[Path | None, typer.Option("--root", metavar="DIR", help="Folder of the data sets, which other commands call --data-root.")]


@data_app.command("list")
def list_data_sets(json: Json = False, root: Root = None) -> None:
    """List the data sets that can be fetched: what they are, how large, and whether they are below --root."""
    from kdarena.board.screen import Column
    from kdarena.cli.output import print_json, print_table, texts
    from kdarena.tracks.downloads import DOWNLOADS

    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "what": download.title,
            "bytes": download.size,
            "there": None if root is None else (root / download.gives).exists(),
            "urls": [file.url for file in download.files],
        }
        for name, download in DOWNLOADS.items()
    ]
    if json:
        print_json(rows)
        return
    print_table(
        [
            Column("name", texts(row["name"] for row in rows)),
            Column("what", texts(row["what"] for row in rows), order=1, least=24),
            Column("size", [f"{row['bytes'] / 1e6:,.1f} MB" if row["bytes"] else "" for row in rows], number=True, order=2),
            Column("there", ["" if row["there"] is None else "yes" if row["there"] else "no" for row in rows]),
        ]
    )


@data_app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Data sets, as kdarena data list names them.")],
    root: Annotated[Path, typer.Option("--root", metavar="DIR", help="Where to put it; give it to other commands as --data-root.")] = ROOT,
) -> None:
    """Download data sets to where the tasks look for them; checked, and resumed where a connection broke."""
    from kdarena.errors import UserError
    from kdarena.tracks.downloads import DOWNLOADS
    from kdarena.tracks.fetching import fetch as bring

    unknown = next((name for name in names if name not in DOWNLOADS), None)
    if unknown is not None:
        raise UserError(f"no data set {unknown!r} can be fetched; known: {', '.join(DOWNLOADS)}")
    for name in names:
        there = root / DOWNLOADS[name].gives
        if there.exists():
            print(f"{name}: {there} is there already", file=sys.stderr)
            continue
        there = bring(DOWNLOADS[name], root, _shown())
        print(f"{name}: {there}; give it to other commands by --data-root {root}", file=sys.stderr)


def _shown() -> Progress:
    """Prints how far a download is: on a terminal all the time, elsewhere once a file."""
    on_screen, last = sys.stderr.isatty(), {"name": "", "shown": ""}

    def progress(name: str, done: int, whole: int | None) -> None:
        if name != last["name"]:
            of = f" ({whole / 1e6:,.1f} MB)" if whole else ""
            last["name"] = name
            if not on_screen:
                print(f"downloading {name}{of}", file=sys.stderr)
        if on_screen:
            of = f" of {whole / 1e6:,.1f}" if whole else ""
            shown, ended = f"{name}: {done / 1e6:,.1f}{of} MB", done == whole
            if shown != last["shown"]:
                last["shown"] = shown
                print(f"\r\x1b[K{shown}", end="\n" if ended else "", file=sys.stderr, flush=True)

    return progress
