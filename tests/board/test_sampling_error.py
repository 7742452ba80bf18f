"""The error of a difference that the test set alone gives, on made-up answers to its samples."""

import math
import time

import numpy as np
import pytest

from kdarena.board.caption import caption
from kdarena.board.leaderboard import leaderboard_frame
from kdarena.board.sampling_error import RESAMPLES, SamplingError, resampled_sums, weights
from kdarena.board.variants import Variant
from kdarena.tracks.samples import Samples, metric_of, shares

N = 400
MONTE_CARLO = 0.1
"""Relative error of a standard error from 500 resamples, three standard deviations of it."""


def answered(seed, accuracy, samples=N):
    """Which samples a made-up run gets right; runs of several methods share the easy ones."""
    difficulty = np.random.default_rng(0).random(samples)
    noise = np.random.default_rng(seed).normal(0, 0.2, samples)
    return (difficulty + noise < accuracy).astype(np.int64)


def of_classes(right):
    return shares(right, np.ones(len(right), dtype=np.int64))


@pytest.fixture
def board(synthetic):
    """Rows by method, of what each run answers: by method, a list of samples a seed."""

    def make(answers):
        runs = [
            synthetic.run(method, seed, float(metric_of(samples.form, samples.counts.sum(axis=0))))
            for method, by_seed in answers.items()
            for seed, samples in enumerate(by_seed)
        ]
        known = {run.key: answers[run.spec.method][run.spec.seed] for run in runs}
        frame = leaderboard_frame(runs, {}, samples=lambda run: known[run.key])
        return {row["method"]: row for row in frame.to_dict("records")}, frame

    return make


def test_of_one_seed_the_error_is_that_of_a_mean_of_paired_differences(board):
    student, kd = answered(1, 0.8), answered(2, 0.85)
    rows, _ = board({"student": [of_classes(student)], "kd": [of_classes(kd)]})
    closed = 100 * math.sqrt(np.var(kd - student) / N)
    assert rows["kd"]["test_set_error"] == pytest.approx(closed, rel=MONTE_CARLO)
    unpaired = 100 * math.sqrt((np.var(kd) + np.var(student)) / N)
    assert rows["kd"]["test_set_error"] < 0.8 * unpaired
    assert rows["student"]["test_set_error"] is None


def test_of_several_seeds_it_is_that_of_the_mean_over_seeds_on_the_same_samples(board):
    student, kd = ([answered(seed, accuracy) for seed in seeds] for seeds, accuracy in (((1, 2, 3), 0.8), ((4, 5, 6), 0.85)))
    rows, _ = board({"student": [of_classes(one) for one in student], "kd": [of_classes(one) for one in kd]})
    closed = 100 * math.sqrt(np.var(np.mean(kd, axis=0) - np.mean(student, axis=0)) / N)
    assert rows["kd"]["test_set_error"] == pytest.approx(closed, rel=MONTE_CARLO)


def test_more_seeds_of_the_same_answers_do_not_make_it_smaller(board):
    student, kd = of_classes(answered(1, 0.8)), of_classes(answered(2, 0.85))
    (one, _), (four, _) = (board({"student": [student] * seeds, "kd": [kd] * seeds}) for seeds in (1, 4))
    assert one["kd"]["test_set_error"] == pytest.approx(four["kd"]["test_set_error"])


def test_a_method_that_answers_as_the_student_does_has_no_error(board):
    same = of_classes(answered(1, 0.8))
    rows, _ = board({"student": [same], "kd": [same]})
    assert rows["kd"]["test_set_error"] == 0.0


def test_the_error_of_an_iou_is_that_of_resampled_images():
    rng = np.random.default_rng(5)
    labels, found = rng.integers(1, 50, (2, 40, 3))
    samples = Samples("iou", np.stack([np.minimum(labels, found) // 2, labels, found], axis=1))
    sums = metric_of("iou", resampled_sums(samples.counts))
    for number in (0, 1, RESAMPLES - 1):
        drawn = np.repeat(np.arange(40), weights(40, 0, RESAMPLES)[number].astype(int))
        hits, label, prediction = samples.counts[drawn].sum(axis=0)
        assert len(drawn) == 40
        assert sums[number] == pytest.approx(100 * np.mean(hits / (label + prediction - hits)))


def test_a_large_test_set_is_resampled_in_parts():
    counts = np.ones((30_000, 2), dtype=np.int64)
    sums = resampled_sums(counts)
    assert sums.shape == (RESAMPLES, 2)
    assert np.all(sums == 30_000)


def test_a_record_that_does_not_say_what_each_sample_got_has_no_error(board, synthetic):
    rows, _ = board({"student": [of_classes(answered(1, 0.8))], "kd": [of_classes(answered(2, 0.8, samples=N - 1))]})
    assert rows["kd"]["test_set_error"] is None
    runs = [*synthetic.runs("student", [88.0]), *synthetic.runs("kd", [89.0])]
    for samples in (None, lambda run: None):
        frame = leaderboard_frame(runs, {}, samples=samples)
        assert frame["test_set_error"].isna().all()


def test_a_difference_below_the_error_is_said_to_be_below_it(board):
    student, far = answered(1, 0.8), answered(2, 0.99)
    near = student.copy()
    near[[int(np.argmax(student)), int(np.argmin(student))]] = 0, 1
    _, frame = board({"student": [of_classes(student)] * 2, "near": [of_classes(near)] * 2, "far": [of_classes(far)] * 2})
    (line,) = [line for line in caption(frame) if "test set alone" in line]
    assert line.endswith(": near.")


def test_a_record_without_the_students_samples_is_read_no_further(synthetic):
    asked = []
    runs = [*synthetic.runs("student", [88.0, 89.0]), *synthetic.runs("kd", [89.0, 90.0])]
    leaderboard_frame(runs, {}, samples=lambda run: asked.append(run.spec.method))
    assert set(asked) == {"student"}


@pytest.mark.parametrize(("methods", "samples"), [(50, 500), (40, 10_000)])
def test_the_errors_of_a_large_board_are_there_at_once(synthetic, methods, samples):
    names = ["student", *(f"m{number}" for number in range(methods - 1))]
    runs = [run for name in names for run in synthetic.runs(name, [88.0, 88.0, 88.0, 88.0, 88.0])]
    known = {run.key: of_classes(answered(number, 0.8, samples)) for number, run in enumerate(runs)}
    variants = {name: Variant({run.spec.seed: run for run in runs if run.spec.method == name}, False) for name in names}
    started = time.process_time()
    noise = SamplingError(lambda run: known[run.key], [variants["student"]], variants.values(), "test/top1")
    assert all(noise.error(variant) for name, variant in variants.items() if name != "student")
    taken = time.process_time() - started
    print(f"{methods} rows of 5 seeds and {samples} samples: {taken:.2f} s")
    assert taken < (0.6 if samples <= 500 else 2.0)  # three times what it takes on a quiet machine
