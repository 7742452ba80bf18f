"""What all runs of a command on a task share."""

from dataclasses import replace

import pytest

from kdarena.method.declaration import REFERENCE
from kdarena.method.plugin import STUDENT
from kdarena.plan.conditions import Conditions, compiled_where_it_pays
from kdarena.plan.cost import PhaseProfile
from kdarena.plan.entrants import Entrant
from kdarena.plan.machine import Machine
from kdarena.plan.request import Request
from kdarena.plan.spec import Budget
from kdarena.plan.specs import profile_spec, run_spec, teacher_run
from kdarena.tracks import find_card

CUDA, CPU = (Machine(kind, (f"{kind}:0",), 0, True, "a device") for kind in ("cuda", "cpu"))
GIVEN = Conditions(find_card("digits"), CUDA, "bf16", "data", "validated")
ENTRANT = Entrant(STUDENT, {}, {}, ())


@pytest.mark.parametrize(
    ("machine", "compile", "seconds", "compiled"),
    [(CUDA, "auto", 601.0, True), (CUDA, "auto", 599.0, False), (CUDA, "off", 601.0, False), (CPU, "auto", 601.0, False), (CUDA, "auto", float("nan"), False)],
)
def test_networks_are_compiled_where_a_run_on_cuda_takes_over_ten_minutes(machine, compile, seconds, compiled):
    assert compiled_where_it_pays(Request(compile=compile), replace(GIVEN, machine=machine), seconds).compiled is compiled


def test_runs_and_profiles_of_methods_are_compiled_and_have_other_keys_and_teachers_are_the_same():
    compiled = replace(GIVEN, compiled=True)
    phase = PhaseProfile("train", None, 1.0, 0.1, 100)
    profiles = [profile_spec(ENTRANT, given, {}, timed=True) for given in (GIVEN, compiled)]
    runs = [run_spec(ENTRANT, given, {REFERENCE: "weights"}, (), Budget(1.0, "s"), purpose="final", seed=0) for given in (GIVEN, compiled)]
    teachers = [teacher_run(REFERENCE, given, 1.0, phase) for given in (GIVEN, compiled)]
    for plain, other in (profiles, runs):
        assert (plain.compiled, other.compiled) == (False, True)
        assert plain.key != other.key
    assert teachers[0] == teachers[1]
