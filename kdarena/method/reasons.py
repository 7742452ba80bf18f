"""Why a plugin is broken, in one line that names the file and the line."""

from __future__ import annotations

import difflib
import re
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path

import pluggy

from kdarena.errors import described
from kdarena.method.contract import HOOKS, MethodHooks
from kdarena.method.further import FURTHER, FurtherHooks

NEW_FORM = (
    "register the class itself (variants = (MyMethod,)) or a module of functions: kdarena makes an instance for each run, whose "
    "attributes are its state (self.vocabulary, not run.store), whose parameters are self.params and whose equations are in the module's docstring"
)

UNKNOWN_HOOK = re.compile(r"unknown hook '(?P<hook>\w+)'")
UNKNOWN_ARGUMENTS = re.compile(r"for hook '(?P<hook>\w+)'.*Argument\(s\) \{(?P<arguments>.+?)\}", re.DOTALL)
"""How pluggy says that a plugin marks what is no hook, or names what a hook does not get."""


def reason(error: BaseException, file: str = "") -> str:
    """What an exception says, where in the plugin's own code it was raised, and what to do about a usual cause.

    Args:
        file: of the plugin, for an exception that knows no place.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {' '.join(str(error.msg).split())} ({error.filename}, line {error.lineno or 1})"
    text = described(error)
    if isinstance(error, pluggy.PluginValidationError):
        return _of_hooks(error) or f"{text} (hooks are {', '.join((*HOOKS, *FURTHER))})"
    place = _place(error) or file
    if place and place not in text:
        text = f"{text} ({place})"
    if "Method.__init__() got an unexpected keyword argument" in text:
        return f"{text}; {NEW_FORM}"
    return text


def _of_hooks(error: pluggy.PluginValidationError) -> str | None:
    """What is wrong with a hook in words of its author, who knows neither the library's terms nor its objects; None where it is something else."""
    unknown = UNKNOWN_HOOK.match(str(error))
    if unknown:
        name = unknown["hook"]
        return f"unknown hook {name!r}{_near(name, (*HOOKS, *FURTHER))}{_defined(error.plugin, name)}; hooks are {', '.join((*HOOKS, *FURTHER))}"
    unknown = UNKNOWN_ARGUMENTS.search(str(error))
    if unknown:
        name, given = unknown["hook"], re.findall(r"'(\w+)'", unknown["arguments"])
        code = getattr(MethodHooks if name in HOOKS else FurtherHooks, name).__code__
        known = code.co_varnames[1 : code.co_argcount]
        near = "".join(_near(argument, known) for argument in sorted(given))
        return f"hook {name!r} has no argument {' or '.join(map(repr, sorted(given)))}{near}{_defined(error.plugin, name)}; it can name {', '.join(known)}"
    return None


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def _defined(plugin: object, name: str) -> str:
    """Where the plugin defines a function."""
    code = getattr(getattr(plugin, name, None), "__code__", None)
    return f" ({code.co_filename}, line {code.co_firstlineno})" if code is not None else ""


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
