"""What the cost profiles of a task give: the step of the plain student, and a row for each method whose step cost could not be measured."""

from types import SimpleNamespace

import pytest

from kdarena.arena.profiles import _broken, _student_seconds
from kdarena.plan.cost import CostProfile
from kdarena.record.store import Store


@pytest.mark.parametrize(("status", "shown"), [("timeout", "timeout"), ("oom", "oom"), ("killed", "killed"), ("error", "error"), ("diverged", "error")])
def test_a_profile_that_failed_gives_its_method_the_same_status(status, shown):
    profile = CostProfile("key", (), 0, None, 0.0, 0.0, 0, status=status, error="why")
    assert _broken([], {"kd": profile}) == {"kd": (shown, "why")}


def profiles(**seconds):
    return {name: CostProfile(f"key of {name}", (), 7, student_s, 1.0, 0.5, 1) for name, student_s in seconds.items()}


def test_the_students_step_is_the_median_over_all_profiles_of_the_task(tmp_path):
    measured = profiles(student=0.009, kd=0.002, crd=0.003, dml=0.0022, dist=0.0021)
    assert _student_seconds(SimpleNamespace(store=Store(tmp_path)), measured, "reference") == 0.0022


def test_once_decided_the_students_step_stays_whatever_methods_come_to_it(tmp_path):
    recorder = SimpleNamespace(store=Store(tmp_path))
    first = _student_seconds(recorder, profiles(student=0.002, kd=0.004), "reference")
    assert _student_seconds(recorder, profiles(student=0.002, kd=0.004, crd=0.009), "reference") == first == 0.003
    assert _student_seconds(recorder, profiles(student=0.002), "another reference") == 0.002
