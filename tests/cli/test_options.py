"""The options of a request: each is declared once, and what is typed is a request's value."""

import dataclasses

import pytest
import typer
from typer.testing import CliRunner

from kdarena.api.arguments import SWEEP
from kdarena.cli.options import REQUEST, ladder, names, request_options
from kdarena.errors import UserError
from kdarena.plan.amounts import Amount
from kdarena.plan.ladder import Ladder
from kdarena.plan.request import Request


def typed(*arguments, **options):
    """What a command gets of its arguments."""
    app, got = typer.Typer(), []

    @app.command()
    @request_options(**options)
    def command(*, typed, dry_run: bool = False):
        got.append(typed)

    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return got[0]


def test_every_option_is_a_field_of_the_request_and_every_field_but_those_of_the_harness_has_one():
    assert {field.name for field in dataclasses.fields(Request)} - {"swept", "own"} == set(REQUEST)
    assert set(SWEEP) < set(REQUEST)


def test_without_arguments_a_request_has_its_defaults():
    values = typed()
    assert values.pop("tasks") == "all"
    assert Request(**values) == Request()


def test_what_is_typed_is_a_value_of_the_request():
    values = typed(
        "--budget", "10m", "--tuning-budget", "0", "--total", "1h", "--metrics", " gap,gap , robustness", "--plugin-path", "a.py", "--plugin-path", "b.py"
    )
    assert values["budget"] == Amount(600.0, "s")
    assert values["tuning_budget"] == Amount(0.0, "s")
    assert values["total"] == 3600.0
    assert values["metrics"] == ("gap", "robustness")
    assert values["plugin_paths"] == ("a.py", "b.py")
    assert typed("--views", "4", "--teacher-outputs", "live") == {**typed(), "views": 4, "teacher_outputs": "live"}


def test_a_relative_data_root_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert typed("--data-root", "data")["data_root"] == str(tmp_path / "data")


@pytest.mark.parametrize(
    ("option", "value"), [("--budget", "0"), ("--precision", "fp8"), ("--total", "5flop"), ("--protocol", "wished"), ("--views", "0"), ("--views", "four")]
)
def test_a_value_that_makes_no_sense_is_refused_by_the_name_of_its_option(option, value):
    with pytest.raises(UserError, match=f"{option} '{value}'"):
        typed(option, value)


def test_a_command_has_only_the_options_that_it_asks_for():
    assert set(typed(only=("device", "out"))) == {"device", "out"}


def test_names_are_stripped_and_each_is_taken_once():
    assert names(" kd , dml,kd,, ") == ("kd", "dml")


@pytest.mark.parametrize("text", ["", "0", "-1", "a", "0.5,,1", "nan", "inf", "1001"])
def test_factors_that_make_no_sense_are_refused_in_one_line(text):
    with pytest.raises(UserError, match=r"--ladder .*: expected multiples of the budget, up to 1000, with commas, as 0.25,0.5,1,2"):
        ladder(text)
    assert ladder(" 2, 1,0.25") == Ladder((0.25, 2.0))
