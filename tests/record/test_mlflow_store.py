import math

import pytest

from kdarena.record.mlflow_store import MOST_POINTS, json_tags, metrics, safe_key, thinned


@pytest.mark.parametrize("text", ["/a//b/", "../x", "a:b", "é?", "", "a/./b"])
def test_mlflow_takes_a_safe_key(text):
    from mlflow.utils.validation import _validate_metric_name

    _validate_metric_name(safe_key(text))


def test_a_long_curve_is_thinned_with_its_ends_kept():
    curve = [(step, float(step)) for step in range(12_345)]
    found = thinned(curve)
    assert len(found) == MOST_POINTS
    assert (found[0], found[-1]) == (curve[0], curve[-1])


def test_infinity_is_drawn_as_a_gap():
    assert math.isnan(metrics({"test/nll": math.inf}, {}, 0, 0)[0].value)


def test_a_curve_on_a_part_of_the_samples_ends_with_the_final_value_on_all_of_them():
    points = metrics({"validation/top1": 80.0, "test/top1": 81.0}, {"validation/top1": [(5, 60.0), (10, 90.0)], "train/ce": [(10, 0.5)]}, 10, 0)
    assert [(point.key, point.step, point.value) for point in points] == [
        ("validation/top1", 5, 60.0),
        ("train/ce", 10, 0.5),
        ("validation/top1", 10, 80.0),
        ("test/top1", 10, 81.0),
    ]


def test_a_long_json_value_is_cut_into_tags():
    assert [len(piece) for piece in json_tags("k", "x" * 20_000).values()] == [8000, 8000, 4002]
