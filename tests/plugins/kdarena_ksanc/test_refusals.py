"""What KSANC says where it can't run."""

from dataclasses import replace

import pytest
from kdarena_ksanc import variants

from kdarena.errors import NotApplicable
from kdarena.params import ImpossibleValue
from kdarena.testing.run import make_run, toy_teacher
from kdarena.testing.task import toy_task

(PLUGIN,) = variants


def test_tasks_without_maps_are_refused():
    assert "feature maps" in PLUGIN.method.reason_against(toy_task(feature_maps=False).card, PLUGIN.method.Params())
    assert PLUGIN.method.reason_against(toy_task().card, PLUGIN.method.Params()) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("critic_steps", 0),
        ("width", 0),
        ("dimension", 0),
        ("share", 0.0),
        ("share", 1.0),
        ("clip", 0.0),
        ("lr_d", 0.0),
        *((name, -0.1) for name in ("lambda1", "lambda2", "lambda3", "mu1", "mu2", "mu3")),
    ],
)
def test_numbers_that_make_no_sense_are_refused(name, value):
    with pytest.raises(ImpossibleValue, match=name):
        PLUGIN.method.Params(**{name: value})


@pytest.mark.parametrize("name", ["lambda1", "lambda2", "lambda3", "mu1", "mu2", "mu3"])
def test_a_term_may_be_left_out(name):
    assert PLUGIN.method.reason_against(toy_task().card, PLUGIN.method.Params(**{name: 0.0})) is None


def test_batches_of_one_sample_are_refused():
    assert "two samples" in PLUGIN.method.reason_against(toy_task(batch_size=1).card, PLUGIN.method.Params())


def test_a_pair_with_unequal_numbers_of_stages_is_skipped_with_both_as_the_reason():
    task = toy_task()
    shallow = toy_teacher(task)
    shapes = task.shapes
    task.shapes = lambda network: replace(shapes(network), features=dict(list(shapes(network).features.items())[: 2 if network is shallow else 3]))
    with pytest.raises(NotApplicable, match="student offers 3, the teacher 2"):
        make_run(PLUGIN, task, teachers=[shallow])
