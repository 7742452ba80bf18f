"""What importing a plugin does, found out in a process of its own before this one imports anything of it, and kept by the code's digest.

So a plugin that ends its process, never returns or prints what it likes is a broken plugin and nothing worse, and code that is known
is not imported once more to be known again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kdarena.errors import UserError
from kdarena.method import cache
from kdarena.method.modules import Modules, own_modules
from kdarena.method.origin import Origin
from kdarena.method.source import Source, source_of

LIMIT = 60.0
"""Seconds that importing a plugin may take."""

NOTICE = 4.0
"""Seconds after which a line says which plugin is being imported."""

BELIEVED = 600.0
"""Seconds for which a death or an endless import is believed of the same code, since asking again costs up to :data:`LIMIT`.

An exception is not kept: it may lie with the machine, and asking again costs only the start of a process.
"""

START = (
    "import gc, json, sys; gc.disable(); request = json.loads(sys.stdin.readline()); sys.path[:] = request['path']; "
    "from kdarena.method.probe import main; main(request)"
)
"""What the process runs; it finds modules where this one does."""


@dataclass(frozen=True)
class Finding:
    """What importing a plugin did.

    Attributes:
        methods: names of the methods that it brings and that are not broken.
        error: why it can't be imported, in one line, or None.
        modules: name and file of the modules that it loaded in ways that its text does not show.
        raised: whether the error is an exception, and not the end of the process or of the time.
        observes: whether it hears of the runs of a command (:mod:`kdarena.method.further`).
        tasks: names of the tasks that it brings, each with the function that gives its card.
    """

    methods: tuple[str, ...] = ()
    error: str | None = None
    modules: tuple[tuple[str, str], ...] = ()
    raised: bool = False
    observes: bool = False
    tasks: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Known:
    """A plugin that is not imported here: where it comes from, its code, and what importing it does, or None where that is not tried out."""

    origin: Origin
    source: Source
    finding: Finding | None

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that it is known to bring."""
        return self.finding.methods if self.finding is not None else ()

    @property
    def error(self) -> str | None:
        """Why it can't be imported, or None."""
        return self.finding.error if self.finding is not None else None

    def renewed(self) -> Known:
        """The same with its code as the files are now."""
        return replace(self, source=source_of(self.origin, Modules(), self.finding.modules if self.finding is not None else ()))

    def otherwise_loaded(self, before: frozenset[str]) -> list[str]:
        """Files of the plugin's own modules that importing it here has loaded and that are not in its source, or the other way round.

        Args:
            before: names of the modules that were loaded before.
        """
        files = {os.path.abspath(file) for file in self.source.files.values()}
        more = [file for file in own_modules(sys.modules.keys() - before) if file not in files]
        less = [file for name, file in (self.finding.modules if self.finding is not None else ()) if name in self.source.files and name not in sys.modules]
        return [*more, *less]


def known_anew(origin: Origin) -> Known:
    """What importing a plugin does, found out now whatever is kept."""
    cache.write(_key(origin, source_of(origin, Modules())), None)
    return known([origin])[0]


def known(origins: Sequence[Origin], *, try_out: bool = True) -> list[Known]:
    """What importing each of some plugins does: as it is kept, or found out now.

    Args:
        try_out: whether to find it out; else what is kept is believed however old it is, and of the others nothing is known.
    """
    modules = Modules()
    listed: dict[Origin, Known] = {}
    sources: dict[Origin, Source] = {}
    for origin in origins:
        try:
            sources[origin] = source_of(origin, modules)
        except OSError as error:
            listed[origin] = Known(origin, Source({}, frozenset(), ""), Finding(error=f"can't be read: {error.strerror or error} ({error.filename})"))
            continue
        kept = _kept(origin, sources[origin], modules, BELIEVED if try_out else math.inf)
        if kept is not None or not try_out:
            listed[origin] = kept or Known(origin, sources[origin], None)
    new = [origin for origin in origins if origin not in listed]
    for origin, finding in zip(new, _probed(new), strict=True):
        whole = source_of(origin, modules, finding.modules) if finding.modules else sources[origin]
        listed[origin] = Known(origin, whole, _explained(finding))
        if not finding.raised:
            cache.write(_key(origin, sources[origin]), {"source": whole.digest, "time": time.time(), "finding": asdict(finding)})
    if new:
        cache.tidy()
    return [listed[origin] for origin in origins]


def _kept(origin: Origin, source: Source, modules: Modules, believed: float) -> Known | None:
    """What is kept of the same code, or None; an error for so many seconds."""
    entry: Any = cache.read(_key(origin, source))
    try:
        values = entry["finding"]
        methods, loaded = tuple(values["methods"]), tuple((name, file) for name, file in values["modules"])
        tasks = tuple((name, function) for name, function in values.get("tasks", ()))
        finding = Finding(methods, values["error"], loaded, observes=bool(values.get("observes")), tasks=tasks)
        if finding.error is not None and not 0 <= time.time() - entry["time"] < believed:
            return None
        whole = source_of(origin, modules, loaded) if loaded else source
        return Known(origin, whole, _explained(finding)) if whole.digest == entry["source"] else None
    except (KeyError, TypeError, ValueError):
        return None


def _explained(finding: Finding) -> Finding:
    """A finding whose error, where it is kept, says for how long."""
    if finding.error is None or finding.raised:
        return finding
    with contextlib.suppress(*cache.NO_FOLDER):
        return replace(finding, error=f"{finding.error}; it is tried again after {BELIEVED / 60:g} minutes, or when you delete {cache.folder()}")
    return finding


def _key(origin: Origin, source: Source) -> str:
    return hashlib.sha256(json.dumps([origin.target, source.digest, _judge()]).encode()).hexdigest()[:32]


@functools.cache
def _judge() -> str:
    """Digest of what says whether a plugin is broken: the code, and the versions of Python and torch."""
    folder = Path(__file__).parent
    digest = hashlib.sha256(f"{sys.version} {importlib.metadata.version('torch')}".encode())
    for file in [*sorted(folder.glob("*.py")), *(folder.parent / name for name in ("__init__.py", "params.py", "errors.py"))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _probed(origins: Sequence[Origin]) -> Iterator[Finding]:
    """The findings of plugins in their order, each from a fork of a process that has imported what all need."""
    waiting = list(origins)
    while waiting:
        with _process(waiting) as answers:
            ready = next(answers, None) is not None
            for answer in answers:
                values = json.loads(answer)
                loaded, tasks = (tuple((name, of) for name, of in values[field]) for field in ("modules", "tasks"))
                yield Finding(tuple(values["methods"]), values["error"], loaded, values["raised"], values["observes"], tasks)
                waiting.pop(0)
        if not ready:
            raise UserError(
                "plugins can't be imported: the process that imports them first ended at its start (see above); is torch installed? (kdarena doctor)"
            )
        if waiting:
            waiting.pop(0)
            yield Finding(error="its import ended the process that tries imports out")


@contextlib.contextmanager
def _process(origins: Sequence[Origin]) -> Iterator[Iterator[bytes]]:
    """The lines that a process says of plugins; it ends at the end of the block, and with it whatever it imports."""
    request = {"path": sys.path, "limit": LIMIT, "notice": NOTICE, "origins": [asdict(origin) for origin in origins]}
    alone = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # a process with threads can't fork
    process = subprocess.Popen(
        [sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **alone}, start_new_session=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write((json.dumps(request) + "\n").encode())
            process.stdin.flush()
        yield iter(process.stdout)
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # the sign to end
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
