"""``--param METHOD.NAME=VALUE`` as it is typed."""

from dataclasses import dataclass, replace

import pytest

from kdarena.errors import UserError
from kdarena.method.discovery import discover, select
from kdarena.method.plugin import STUDENT
from kdarena.params import Float, Params
from kdarena.plan.assignments import Assignment, parse_assignment, parse_params


@pytest.fixture(scope="module")
def found():
    return select(discover(), "student,kd,soft-randomization")


def test_a_value_has_the_kind_that_its_parameter_declares(found):
    given = parse_params(["kd.temperature=3", "soft-randomization.kl_direction=student-first"], found)
    assert given == {"kd": {"temperature": 3.0}, "soft-randomization": {"kl_direction": "student-first"}}
    assert isinstance(given["kd"]["temperature"], float)


def test_of_one_that_is_given_twice_the_last_counts(found):
    assert parse_params(["kd.temperature=3", "kd.temperature=5"], found) == {"kd": {"temperature": 5.0}}


def test_the_common_hyper_parameters_are_numbers_of_any_method(found):
    assert parse_params(["student.lr=0.2", "kd.weight_decay=0"], found) == {"student": {"lr": 0.2}, "kd": {"weight_decay": 0.0}}


def test_commas_part_values_only_where_several_are_asked_for(found):
    asked = parse_assignment("kd.temperature=1,2", found, what="sweep", form="a form", several=True)
    assert asked == Assignment("kd", "temperature", (1.0, 2.0))
    with pytest.raises(UserError, match="'1,2' is not"):
        parse_params(["kd.temperature=1,2"], found)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kd", "expected METHOD.NAME=VALUE"),
        ("kd.temperature", "expected METHOD.NAME=VALUE"),
        ("kd.temperature=", "expected METHOD.NAME=VALUE"),
        ("nope.x=1", "unknown plugin 'nope'; known: student, kd, soft-randomization"),
        ("kd.heat=1", "kd has no parameter 'heat'; known: "),
        ("kd.temperature=warm", "'warm' is not"),
        ("kd.temperature=0", "0 is not possible; it has to be above 0"),
        ("kd.a=1.5", "1.5 is not possible; it has to be at least 0 and at most 1"),
        ("student.lr=fast", "'fast' is not a finite number"),
        ("student.lr=nan", "'nan' is not a finite number"),
        ("student.lr=0", "it has to be above 0"),
        ("student.weight_decay=-1", "it has to be at least 0"),
    ],
)
def test_what_makes_no_sense_is_answered_in_one_line(found, text, says):
    with pytest.raises(UserError) as caught:
        parse_params([text], found)
    message = str(caught.value)
    assert message.startswith(f"--param {text!r}: ")
    assert says in message
    assert "\n" not in message


def test_values_that_do_not_go_together_are_answered_with_the_methods_name():
    @dataclass(frozen=True)
    class Window(Params):
        begin: float = Float(0.2, 0.0, 1.0, source="ours")
        end: float = Float(0.8, 0.0, 1.0, source="ours")

        def conflict(self):
            return f"begin={self.begin:g} has to be before end={self.end:g}" if self.begin >= self.end else None

    windowed = replace(STUDENT, name="windowed", method=replace(STUDENT.method, name="windowed", Params=Window))
    assert parse_params(["windowed.end=0.5", "windowed.begin=0.4", "windowed.lr=0.1"], [windowed]) == {"windowed": {"end": 0.5, "begin": 0.4, "lr": 0.1}}
    with pytest.raises(UserError, match="^--param windowed: begin=0.6 has to be before end=0.5$"):
        parse_params(["windowed.end=0.5", "windowed.begin=0.6"], [windowed])


def test_a_swept_value_that_is_not_possible_is_refused(found):
    with pytest.raises(UserError, match="^sweep 'kd.temperature=1,0': 0 is not possible; it has to be above 0$"):
        parse_assignment("kd.temperature=1,0", found, what="sweep", form="a form", several=True)
