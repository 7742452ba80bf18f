"""Why a plugin is broken, in one line that names the file and the line."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

import pluggy

from kdarena.errors import described
from kdarena.method.contract import HOOKS
from kdarena.method.further import FURTHER

NEW_FORM = (
    "register the class itself (variants = (MyMethod,)) or a module of functions: kdarena makes an instance for each run, whose "
    "attributes are its state (self.vocabulary, not run.store), whose parameters are self.params and whose equations are in the module's docstring"
)


def reason(error: BaseException, file: str = "") -> str:
    """What an exception says, where in the plugin's own code it was raised, and what to do about a usual cause.

    Args:
        file: of the plugin, for an exception that knows no place.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {' '.join(str(error.msg).split())} ({error.filename}, line {error.lineno or 1})"
    text = described(error)
    if isinstance(error, pluggy.PluginValidationError):
        return f"{text} (hooks are {', '.join((*HOOKS, *FURTHER))})"
    place = _place(error) or file
    if place and place not in text:
        text = f"{text} ({place})"
    if "Method.__init__() got an unexpected keyword argument" in text:
        return f"{text}; {NEW_FORM}"
    return text


def _place(error: BaseException) -> str | None:
    """File and line of the last frame that is neither the harness's, nor Python's, nor a library's where there is one before it."""
    paths = sysconfig.get_paths()
    installed = (paths["purelib"], paths["platlib"])
    harness = str(Path(__file__).parents[1])
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(("<", harness + "/"))]
    own = [frame for frame in frames if not frame.filename.startswith((*installed, paths["stdlib"]))]
    libraries = [frame for frame in frames if frame.filename.startswith(installed)]
    if own:
        return f"{own[-1].filename}, line {own[-1].lineno}"
    return f"{libraries[0].filename}, line {libraries[0].lineno}" if libraries else None
