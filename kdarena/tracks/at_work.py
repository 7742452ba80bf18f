"""Which hook of a method is at work, so that what a hook must not do can be refused in its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_HOOK: ContextVar[str] = ContextVar("hook", default="")


@contextmanager
def at_work(hook: str) -> Iterator[None]:
    """Say that a hook is at work."""
    token = _HOOK.set(hook)
    try:
        yield
    finally:
        _HOOK.reset(token)


def hook_at_work() -> str:
    """Name of the hook that is at work in this thread; empty outside of hooks."""
    return _HOOK.get()
