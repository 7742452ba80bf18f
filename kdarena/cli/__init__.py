"""The command line. Heavy imports happen inside the commands, so that ``kdarena --help`` answers at once."""

from __future__ import annotations

import os
import sys
import warnings


def main() -> None:
    """Entry point: one line and status 2 for what can't be carried out."""
    if not sys.stdout.isatty():
        os.environ.setdefault("NO_COLOR", "1")
    from kdarena.cli.app import app
    from kdarena.errors import UserError

    # a warning is one line for the user, not a place in our code
    warnings.showwarning = lambda message, *place: print(f"kdarena: {message}", file=sys.stderr)
    try:
        app()
    except UserError as error:
        print(f"kdarena: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # the reader of our output went away (as `| head` does): nothing to say, and nothing more to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
