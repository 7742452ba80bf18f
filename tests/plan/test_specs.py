"""What a command becomes before anything is trained."""

from dataclasses import replace

import pytest

from kdarena import Method, Paper, no_teachers
from kdarena.method.declaration import REFERENCE
from kdarena.method.plugin import Plugin
from kdarena.plan.amounts import Amount
from kdarena.plan.comparison import family_digest, request_digest
from kdarena.plan.conditions import Conditions
from kdarena.plan.entrants import entrants_of
from kdarena.plan.machine import Machine
from kdarena.plan.request import Request
from kdarena.plan.spec import Budget
from kdarena.plan.specs import profile_spec, run_spec
from kdarena.tracks import find_card

PAPER = Paper("t", "v", 2026, "u")
MACHINE = Machine("cpu", ("cpu", "cpu"), 1, False, "a processor", "2.13.0")
CONDITIONS = Conditions(find_card("digits"), MACHINE, "fp32", "data", "validated")


def entered(**declared):
    (entrant,) = entrants_of([Plugin("m", object(), Method("m", "t", PAPER, **declared))], find_card("digits"), Request())
    return entrant


def test_a_reason_against_a_method_skips_it():
    entrant = entered(teachers=no_teachers, applies=lambda card, params: "no maps")
    assert (entrant.skip, entrant.fault, entrant.runs) == ("no maps", None, False)


@pytest.mark.parametrize("declared", ["applies", "teachers"])
def test_a_declaration_that_raises_is_a_fault_and_no_reason_to_skip(declared):
    def crooked(card, params):
        raise KeyError("resnet\n20")

    entrant = entered(**{declared: crooked})
    assert (entrant.skip, entrant.runs) == (None, False)
    assert entrant.fault == "plugin 'm', its declaration: KeyError: 'resnet\\n20'"


def test_specs_say_whether_steps_are_captured():
    entrant = entered(teachers=no_teachers)
    for capture in (False, True):
        conditions = replace(CONDITIONS, capture=capture)
        run = run_spec(entrant, conditions, {REFERENCE: "t"}, (), Budget(1.0, "s"), purpose="final", seed=0)
        assert (run.capture, profile_spec(entrant, conditions, {}, timed=True).capture) == (capture, capture)


def test_captured_and_eager_runs_are_of_different_commands():
    assert request_digest(Request(), CONDITIONS, []) != request_digest(Request(), replace(CONDITIONS, capture=True), [])


# what was chosen for a command is found again by the same command alone
def test_the_same_command_has_the_same_digest():
    assert request_digest(Request(), CONDITIONS, []) == request_digest(Request(), CONDITIONS, [])


@pytest.mark.parametrize(("one", "other"), [("1.2345678e7", "1.2345679e7"), ("60", "61")])
def test_budgets_that_print_alike_are_told_apart(one, other):
    digests = {request_digest(Request(budget=Amount(float(value), "flop")), CONDITIONS, []) for value in (one, other)}
    assert len(digests) == 2


def test_where_tasks_share_a_total_time_other_tasks_make_another_command():
    assert request_digest(Request(tasks=("all",)), CONDITIONS, []) != request_digest(Request(tasks=("digits",)), CONDITIONS, [])
    assert request_digest(
        Request(
            tasks=(
                "digits",
                "tones",
            )
        ),
        CONDITIONS,
        [],
    ) == request_digest(
        Request(
            tasks=(
                "tones",
                "digits",
            )
        ),
        CONDITIONS,
        [],
    )


def test_a_stated_budget_does_not_depend_on_the_other_tasks():
    stated = Request(budget=Amount(1e9, "flop"))
    assert request_digest(replace(stated, tasks=("all",)), CONDITIONS, []) == request_digest(replace(stated, tasks=("digits",)), CONDITIONS, [])


@pytest.mark.parametrize("changes", [{"both": True}, {"scope": "own"}, {"untuned": True}, {"tuning_budget": Amount(0.0, "s")}, {"total": 1200.0}])
def test_what_changes_a_plan_makes_another_command(changes):
    request = Request(total=600.0)
    assert request_digest(replace(request, **changes), CONDITIONS, []) != request_digest(request, CONDITIONS, [])


def test_compiled_runs_make_another_command():
    assert request_digest(Request(), replace(CONDITIONS, compiled=True), []) != request_digest(Request(), CONDITIONS, [])


def test_two_ways_to_say_the_same_are_one_command():
    untuned, zero, everywhere = Request(untuned=True), Request(tuning_budget=Amount(0.0, "s")), Request(scope="all")
    assert request_digest(untuned, CONDITIONS, []) == request_digest(zero, CONDITIONS, [])
    assert request_digest(everywhere, CONDITIONS, []) == request_digest(Request(), CONDITIONS, [])


def test_commands_that_differ_in_their_total_time_alone_are_of_one_family():
    one, other = Request(total=600.0), Request(total=1200.0)
    assert family_digest(one, CONDITIONS, []) == family_digest(other, CONDITIONS, []) == family_digest(Request(), CONDITIONS, [])
    assert family_digest(replace(one, seeds=3), CONDITIONS, []) != family_digest(one, CONDITIONS, [])
