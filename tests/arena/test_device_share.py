"""What a command's device time went into."""

import pytest

from kdarena.arena.device_share import DeviceShare
from kdarena.plan.cost import CostProfile
from kdarena.plan.spec import RunResult


def share_of(*results):
    share = DeviceShare()
    for result in results:
        share.add(result)
    return share


RUN = RunResult("run", "done", spent_s=60.0, system={"build_s": 4.0, "evaluation_s": 5.0, "curve_s": 1.0, "total_s": 70.0})
PROFILE = CostProfile("profile", (), 10, None, seconds=20.0, latency_ms=1.0, parameters=10)


def test_training_building_and_step_costs_are_parts_of_the_time_of_all_workers():
    sentence = share_of(RUN, PROFILE).sentence(50.0, 2)
    assert sentence == "device time 2 min: training 60 %, step costs 20 %, building and scoring 10 %, starting, recording and waiting 10 %"


def test_filling_in_outputs_of_teachers_is_training():
    filled = RunResult("filled", "done", spent_s=10.0, system={"teacher_outputs_s": 5.0})
    assert share_of(filled).training == pytest.approx(10.0)


def test_what_takes_next_to_nothing_is_not_named():
    assert share_of(RunResult("run", "done", spent_s=100.0)).sentence(100.0, 1) == "device time 2 min: training 100 %"


def test_runs_that_overlap_on_a_device_are_never_more_than_all_of_it():
    assert share_of(RUN, RUN).sentence(70.0, 1).startswith("device time 2 min: training 86 %")
