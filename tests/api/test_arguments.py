"""Python values are checked as what is typed is."""

import dataclasses
import inspect
from pathlib import Path

import pytest

from kdarena.api.arguments import typed_from
from kdarena.api.run import run
from kdarena.errors import UserError
from kdarena.plan.amounts import Amount
from kdarena.plan.request import Request


def test_every_option_of_the_command_is_a_keyword_with_the_default_of_its_field():
    keywords = inspect.signature(run).parameters
    assert set(keywords) - {"plugins", "fresh"} == {field.name for field in dataclasses.fields(Request)} - {"swept", "own"}
    given = {name: keyword.default for name, keyword in keywords.items() if name not in ("plugins", "fresh")}
    typed = typed_from(given)
    assert typed.pop("tasks") == "all"
    assert Request(**{**typed, "params": {}}) == Request()


@pytest.mark.parametrize(
    ("name", "value", "typed"),
    [
        ("budget", "10m", Amount(600.0, "s")),
        ("budget", Amount(3e10, "flop"), Amount(3e10, "flop")),
        ("tuning_budget", 0, Amount(0.0, "s")),
        ("total", "1h", 3600.0),
        ("total", 90, 90.0),
        ("tasks", ("digits", "tones"), "digits,tones"),
        ("tasks", "digits,tones", "digits,tones"),
        ("metrics", ["gap", "gap"], ("gap",)),
        ("params", {"kd": {"temperature": 4}}, ("kd.temperature=4",)),
        ("params", {"kd.temperature": 4}, ("kd.temperature=4",)),
        ("params", ["kd.temperature=4"], ("kd.temperature=4",)),
        ("plugin_paths", Path("mine.py"), ("mine.py",)),
        ("data_root", "/data", "/data"),
        ("out", "somewhere", Path("somewhere")),
        ("scope", "own", "own"),
        ("seeds", 2, 2),
        ("side_by_side", "auto", None),
        ("side_by_side", 4, 4),
        ("yes", True, True),
        ("teacher_checkpoint", Path("teacher.pth"), "teacher.pth"),
    ],
)
def test_a_value_is_read_as_its_option_is(name, value, typed):
    assert typed_from({name: value}) == {name: typed}


def test_none_is_as_if_it_were_not_given():
    assert typed_from({"budget": None, "seeds": None}) == {}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("budget", "10 parsecs", "--budget '10 parsecs': expected a number and a unit"),
        ("budget", 10, "--budget '10': expected a number and a unit"),
        ("tuning_budget", -1, "--tuning-budget '-1'"),
        ("total", "5flop", "--total '5flop'"),
        ("total", 0, "--total '0s'"),
        ("seeds", 0, "--seeds 0: use a whole number from 1 on"),
        ("seeds", True, "--seeds True: use a whole number from 1 on"),
        ("workers", 1.5, "--workers 1.5: use a whole number from 1 on"),
        ("scope", "mine", "--scope 'mine': use own or all"),
        *(("side_by_side", value, f"--side-by-side '{value}': use auto, or a whole number of runs from 1 on") for value in (0, "-1", 2.5, "x")),
        ("precision", "fp8", "--precision 'fp8': use auto, fp32 or bf16"),
        ("protocol", "wished", "--protocol 'wished': use validated or published"),
        ("both", 1, "--both 1: use True or False"),
        ("tasks", 3, "--tasks 3: use text, or a list of it"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_the_name_of_its_option(name, value, says):
    with pytest.raises(UserError) as refused:
        typed_from({name: value})
    assert str(refused.value).startswith(says)
    assert "\n" not in str(refused.value)
