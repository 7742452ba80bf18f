"""docs/methods.md names all of the contract, and its examples keep it."""

import dataclasses
import re
from typing import get_args

import pytest
from docs.examples import DOCS, examples

from kdarena import Learner, Method, Phase, Update
from kdarena.method.contract import HOOKS, MethodHooks
from kdarena.method.further import FURTHER, FurtherHooks
from kdarena.method.origin import Origin, load
from kdarena.method.step import Step
from kdarena.testing import assert_good, check_plugin
from kdarena.tracks.card import Offer
from kdarena.tracks.values import Shapes

PAGE = (DOCS / "methods.md").read_text("utf-8")
NAMED = set(re.findall(r"`([A-Za-z_.]+)", PAGE))
EXAMPLES = examples("methods.md")


@pytest.fixture
def loaded(tmp_path):
    """Loads an example from a file."""

    def load_example(name):
        (tmp_path / name).write_text(EXAMPLES[name])
        return load(Origin(name.removesuffix(".py"), str(tmp_path / name), True))

    return load_example


@pytest.mark.parametrize("hook", [*HOOKS, *FURTHER])
def test_every_hook_is_documented(hook):
    assert hook in NAMED


@pytest.mark.parametrize("hook", HOOKS)
def test_every_argument_of_a_hook_is_in_its_row(hook):
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{hook}` |")]
    code = getattr(MethodHooks, hook).__code__
    assert all(f"`{argument}`" in row.split("|")[2] for argument in code.co_varnames[1 : code.co_argcount])


@pytest.mark.parametrize("hook", [hook for hook in FURTHER if hook != "tasks"])
def test_every_argument_of_an_observers_hook_is_in_its_row(hook):
    (row,) = [line for line in (DOCS / "observers.md").read_text("utf-8").splitlines() if line.startswith(f"| `{hook}` |")]
    code = getattr(FurtherHooks, hook).__code__
    assert all(f"`{argument}`" in row for argument in code.co_varnames[1 : code.co_argcount])


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Method)])
def test_every_field_of_a_method_has_a_row(field):
    assert f"| `{field}` |" in PAGE


@pytest.mark.parametrize("need", get_args(Offer))
def test_every_need_is_in_the_row_of_requires(need):
    (row,) = [line for line in PAGE.splitlines() if line.startswith("| `requires` |")]
    assert f'"{need}"' in row.split("Known:")[1]


@pytest.mark.parametrize("name", ["logits", "features", "embedding", "feature_map"])
def test_what_shapes_has_is_documented(name):
    (said,) = [line for line in PAGE.splitlines() if "`task.shapes(network)` has" in line]
    assert name in said
    assert hasattr(Shapes, name) or name in {field.name for field in dataclasses.fields(Shapes)}


@pytest.mark.parametrize("field", [f"{kind.__name__}.{field.name}" for kind in (Learner, Phase, Update) for field in dataclasses.fields(kind)])
def test_every_field_of_learner_phase_and_update_is_in_the_row_of_its_class(field):
    kind, _, name = field.partition(".")
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{kind}` |")]
    assert f"`{name}`" in row


@pytest.mark.parametrize("name", sorted(name for name in vars(Step) if isinstance(vars(Step)[name], property) and not name.startswith("_")))
def test_every_property_of_a_step_is_documented(name):
    assert f"step.{name}" in NAMED


def test_the_smallest_example_keeps_the_contract(loaded):
    assert_good(check_plugin(loaded("soft_targets.py")))


def test_the_example_of_two_phases_keeps_the_contract(loaded):
    (two_phases,) = loaded("two_phases.py").variants
    said = check_plugin(two_phases)
    assert_good(said)
    assert {finding.status for finding in said} == {"ok"}, [finding.line for finding in said]


def test_the_example_of_a_test_passes(loaded, monkeypatch, tmp_path):
    loaded("soft_targets.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded("test_soft_targets.py").test_it_keeps_the_contract()
