"""Errors with one line that says what, where and what to do."""

from __future__ import annotations

import contextlib
import difflib


def described(error: BaseException) -> str:
    """An exception of somebody else's code as one line: its type and what it says."""
    text = " ".join(str(error).split()) + _meant(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _meant(error: BaseException) -> str:
    """The attribute that a misspelt one is nearest to: Python adds it only to a traceback, which a user does not see."""
    if not isinstance(error, AttributeError) or error.obj is None or not isinstance(error.name, str) or error.name.startswith("__"):
        return ""
    with contextlib.suppress(Exception):  # an object of somebody else's code says what it has
        near = difflib.get_close_matches(error.name, [name for name in dir(error.obj) if not name.startswith("_")], n=1, cutoff=0.75)
        return f"; did you mean {near[0]!r}?" if near and "did you mean" not in str(error).lower() else ""
    return ""


class Notice(UserWarning):
    """A line for the user about what went on though something was wrong. The command line shows each, whatever filters of warnings there are."""


class UserError(Exception):
    """The command can't be carried out as given; the command line prints the line and exits with 2."""


class MethodError(Exception):
    """A method broke the contract, or raised, in one of its hooks: the run's status becomes ``error``.

    Args:
        method: its name.
        hook: where, as ``loss``.
        problem: what happened, or what was expected and what was found.
    """

    def __init__(self, method: str, hook: str, problem: str):
        super().__init__(f"plugin {method!r}, hook {hook!r}: {problem}")
        self.method = method
        self.hook = hook


class NotApplicable(Exception):
    """A method can't serve this pair of networks or these data, raised by one of its hooks with the reason.

    What ``Method.applies`` can see on the task's card belongs there; this is for what only the networks show. It counts as
    the same: the method is skipped with the reason, and nothing is trained.
    """


class Locked(Exception):
    """A method asked, in one of its hooks, for what a run does not give out: the run's status becomes ``error``."""


class Replaced(Exception):
    """A method replaced functions by which networks are scored: the run's status becomes ``error``."""


class Diverged(Exception):
    """A loss term is not finite.

    Args:
        step: of the run, from 0.
        term: its name, as ``train/ce``.
        value: nan or inf.
    """

    def __init__(self, step: int, term: str, value: float):
        super().__init__(f"step {step}: term {term!r} is {value}")
        self.step = step
        self.term = term


class NotFinite(Exception):
    """A trained network has a weight or a buffer that is nan or infinite: the run's status becomes ``diverged``."""


class BudgetTooSmall(UserError):
    """A method gets too few steps for its budget."""
