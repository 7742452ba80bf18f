"""Cost profiles are measured part by part, each in another order than the one before."""

import math
from dataclasses import replace

import pytest

from kdarena.arena.parts import in_parts
from kdarena.arena.scheduler import run
from kdarena.engines.engine import Event
from kdarena.plan.cost import CostProfile, PhaseProfile, ProfileSpec
from kdarena.plan.profile_parts import combined, needs_another
from kdarena.plan.profile_rule import RULES

MOST_PARTS = RULES["cpu"].most_parts


def spec(method, timed=True, device="cpu"):
    return ProfileSpec("digits", method, "", {}, (), "validated", "", "fp32", device, "", 1, "", "", timed)


class Engine:
    """Answers each part at once; the step costs of ``unsure`` change from part to part."""

    capacity = 1

    def __init__(self, unsure=(), device="cpu"):
        self.unsure, self.device, self.asked = unsure, device, []

    def submit(self, spec):
        self.asked.append((spec.method, spec.part))

    def wait(self, seconds):
        method, part = self.asked[-1]
        ratio = math.log(2.0 + (0.5 * (part % 2) if method in self.unsure else 0.0))
        asked = replace(spec(method, device=self.device), part=part)
        phase = PhaseProfile("train", None, 1.0, 0.1, 100, math.exp(ratio), 0.0, (ratio, ratio))
        return [Event(asked, CostProfile(asked.key, (phase,), 7, 0.002, 1.0, 0.5, 1))]


@pytest.fixture
def measured():
    def measure(engine, specs, recall=lambda spec: None):
        kept, profiles = {}, []

        def work():
            profiles.extend((yield from in_parts(specs)))

        run(engine, [work()], recall=recall, keep=lambda job, result: kept.__setitem__(result.key, result))
        return profiles, kept

    return measure


def test_every_method_is_measured_twice_with_others_in_between(measured):
    engine = Engine()
    profiles, _ = measured(engine, [spec("student"), spec("kd"), spec("crd")])
    assert engine.asked == [("crd", 0), ("kd", 0), ("student", 0), ("student", 1), ("kd", 1), ("crd", 1)]
    assert [profile.key for profile in profiles] == [spec(method).key for method in ("student", "kd", "crd")]
    assert all(len(profile.phases[0].groups) == 4 for profile in profiles)


def test_on_a_gpu_one_part_is_enough_where_the_groups_agree(measured):
    engine = Engine(device="cuda")
    measured(engine, [spec("student", device="cuda"), spec("kd", device="cuda")])
    assert engine.asked == [("kd", 0), ("student", 0)]


def test_what_is_not_known_well_enough_is_measured_again(measured):
    engine = Engine(unsure=("kd",))
    profiles, _ = measured(engine, [spec("student"), spec("kd")])
    assert [part for method, part in engine.asked if method == "kd"] == list(range(MOST_PARTS))
    assert [part for method, part in engine.asked if method == "student"] == [0, 1]
    assert profiles[1].phases[0].relative == pytest.approx(math.sqrt(2.0 * 2.5))


def test_two_parts_are_enough_where_most_runs_look_up_what_the_method_reads():
    ratio = 0.5
    phases = [PhaseProfile("train", None, 1.0, 0.1, 100, 2.0, 0.0, (number * ratio, number * ratio)) for number in range(2)]
    parts = [CostProfile(spec("kd").key, (phase,), 7, 0.002, 1.0, 0.5, 1, read=(("logits",),)) for phase in phases]
    assert needs_another(parts, RULES["cpu"], timed=True)
    assert not needs_another(parts, RULES["cpu"], timed=True, brief=True)
    assert needs_another(parts[:1], RULES["cpu"], timed=True, brief=True)
    assert combined(parts).read == (("logits",),)


def test_a_repeated_command_recalls_every_part(measured):
    first, again = Engine(unsure=("kd",)), Engine(unsure=("kd",))
    specs = [spec("student"), spec("kd")]
    profiles, kept = measured(first, specs)
    recalled, _ = measured(again, specs, lambda spec: kept.get(spec.key))
    assert (recalled, again.asked) == (profiles, [])


def test_each_part_has_a_draw_of_its_own():
    keys = {ProfileSpec(**{**vars(spec("kd")), "part": part}).key for part in range(MOST_PARTS)}
    assert len(keys) == MOST_PARTS
