"""What a background thread makes while what it made before is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

T = TypeVar("T")
THREAD = "kdarena-ahead"
"""Name of the threads."""


def ahead(items: Iterator[T], count: int) -> Generator[T, None, None]:
    """The same items, none of them None, made by a thread that is at most ``count`` ahead.

    The thread ends when this iterator is closed or collected. An error of the items is raised here, after those before it.
    """
    ready: queue.Queue[T | BaseException | None] = queue.Queue(count)
    closed = threading.Event()

    def put(item: T | BaseException | None) -> bool:
        # wait for room, but not for ever: the reader may have gone
        while not closed.is_set():
            try:
                ready.put(item, timeout=0.05)
                return True
            except queue.Full:
                continue
        return False

    def fill() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(None)
        except BaseException as error:
            put(error)

    worker = threading.Thread(target=fill, name=THREAD, daemon=True)
    worker.start()
    try:
        while (found := ready.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        closed.set()
        worker.join()
