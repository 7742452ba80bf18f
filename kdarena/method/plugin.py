"""A plugin as a value: a method that it brings, or the reason why it brings none."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from types import ModuleType

from kdarena.method.declaration import Method
from kdarena.method.student import Student


@dataclass(frozen=True)
class Plugin:
    """A method that a plugin brings, or a plugin that could not be loaded.

    Attributes:
        name: of the method; for a broken plugin the name of its entry point or file.
        implementation: the class or the module with the hooks; None where it is broken.
        method: its declaration; None where it is broken.
        distribution, version: the installed package that brings it, or the file.
        error: one line that says why it is broken, or None.
        source: digest of its code (:mod:`kdarena.method.source`).
    """

    name: str
    implementation: type | ModuleType | None = None
    method: Method | None = None
    distribution: str = ""
    version: str = ""
    error: str | None = None
    source: str = ""

    @property
    def status(self) -> str:
        """``ok`` or ``broken``."""
        return "broken" if self.error else "ok"

    @property
    def equations(self) -> str:
        """The docstring of the module that implements it."""
        return inspect.getdoc(inspect.getmodule(self.implementation)) or ""


STUDENT = Plugin(Student.method.name, Student, Student.method)
"""The plain student."""
