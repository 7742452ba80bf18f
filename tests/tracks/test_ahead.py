"""Items that a background thread makes ahead."""

import time
from collections.abc import Iterator

import pytest

from kdarena.tracks.ahead import ahead


def test_the_items_come_in_their_order_and_the_thread_ends_with_them(threads_ahead):
    assert list(ahead(iter(range(50)), 3)) == list(range(50))
    assert not threads_ahead()


def test_no_more_are_made_ahead_than_asked_for(threads_ahead):
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    found = ahead(items(), 2)
    next(found)
    time.sleep(0.2)
    # one is in the reader's hand, two wait, and one is held until there is room for it
    assert len(made) == 4
    found.close()
    assert not threads_ahead()


def test_the_thread_ends_when_the_iterator_is_collected(threads_ahead):
    found = ahead(iter(range(100)), 1)
    next(found)
    assert threads_ahead()
    del found
    assert not threads_ahead()


def test_an_error_is_raised_after_the_items_before_it(threads_ahead):
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("a file is gone")

    found = ahead(items(), 3)
    assert next(found) == 1
    with pytest.raises(ValueError, match="a file is gone"):
        next(found)
    assert not threads_ahead()
