"""The public test kit: a toy task and a run over it, so that a method's equations can be tested in milliseconds.

::

    task = toy_task()
    run = make_run(Quest, task, {"tau": 0.1})   # the method's class or module
    step = new_step(run)                        # the harness's own step object on one batch
    terms = run.loss(step)
    history = take_steps(run, 3)                # real training steps, by the harness's own loop
    assert_good(check_plugin(Quest))            # the contract tests, as ``kdarena plugins check`` runs them

Networks have three stages with maps ``stage1`` … ``stage3`` and a linear head. Architectures: ``toy-teacher`` and
``toy-student`` (last map 4 × 4), ``toy-coarse`` (the student's channels, last map 2 × 2).
"""

from kdarena.testing.check import check_plugin
from kdarena.testing.finding import BrokenMethod, Finding, assert_good
from kdarena.testing.run import ToyRun, make_run, new_step, take_phases, take_steps, toy_teacher
from kdarena.testing.task import ToyNetwork, ToyTask, toy_task

__all__ = [
    "BrokenMethod",
    "Finding",
    "ToyNetwork",
    "ToyRun",
    "ToyTask",
    "assert_good",
    "check_plugin",
    "make_run",
    "new_step",
    "take_phases",
    "take_steps",
    "toy_task",
    "toy_teacher",
]
