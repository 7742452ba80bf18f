"""What the tests of engines share."""

import time


def result_of(engine, spec):
    """Hand a job to an engine and wait for its result."""
    engine.submit(spec)
    started = time.monotonic()
    while time.monotonic() - started < 120:
        for event in engine.wait(1.0):
            if event.result is not None:
                return event.result
    raise AssertionError("no result")
