from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kdarena.board.pareto import front, preferred

ROWS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 20)).map(lambda pair: {"mean": float(pair[0]), "latency_ms": float(pair[1]), "params": pair[1]}), min_size=1
)


@given(ROWS)
def test_every_row_off_the_front_has_one_on_it_that_is_as_good_in_both(rows):
    on = front(rows, "latency_ms")
    for row in rows:
        assert any(other["mean"] >= row["mean"] and other["latency_ms"] <= row["latency_ms"] for other in on)


@given(ROWS)
def test_along_the_front_a_higher_cost_buys_a_better_metric(rows):
    on = front(rows, "params")
    for cheaper, further in pairwise(on):
        assert (cheaper["params"], cheaper["mean"]) == (further["params"], further["mean"]) or (
            cheaper["params"] < further["params"] and cheaper["mean"] < further["mean"]
        )


@given(ROWS)
def test_what_is_preferred_is_the_best_in_that_and_on_the_front(rows):
    assert preferred(rows, "accuracy")["mean"] == max(row["mean"] for row in rows)
    assert preferred(rows, "latency")["latency_ms"] == min(row["latency_ms"] for row in rows)
    assert preferred(rows, "params") in front(rows, "params")


def test_without_a_known_latency_the_metric_decides():
    rows = [{"mean": 1.0, "latency_ms": None, "params": 5}, {"mean": 2.0, "latency_ms": None, "params": 9}]
    assert preferred(rows, "latency") is rows[1]
