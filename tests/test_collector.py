"""What Python's collector of reference cycles walks over, and when."""

import gc
import weakref

import pytest

from kdarena.collector import collect_seldom, leave_out_all, uncollected


class Circle:
    def __init__(self):
        self.itself = self


@pytest.fixture(autouse=True)
def as_before():
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.enable()


@pytest.mark.parametrize("collecting", [True, False])
def test_without_the_collector_it_is_afterwards_as_it_was(collecting):
    (gc.enable if collecting else gc.disable)()
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled() is collecting


def test_what_is_there_is_left_out_until_it_is_all_collected_once_more():
    gc.disable()
    circle = Circle()
    gone = weakref.ref(circle)
    leave_out_all()
    assert gc.isenabled() and gc.get_freeze_count() > 0
    del circle
    gc.collect()
    assert gone() is not None
    leave_out_all()
    assert gone() is None


def test_a_process_that_imports_much_looks_seldom_at_what_it_has():
    _, older, oldest = gc.get_threshold()
    collect_seldom()
    assert gc.get_threshold() == (50_000, older, oldest)
