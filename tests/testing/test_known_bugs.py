"""Mistakes of public code are caught by the check of a method, with a line that says what to change."""

import pytest
import torch
from testing.known_bugs import BUGS

from kdarena.testing.check import findings
from kdarena.testing.finding import BrokenMethod, assert_good
from kdarena.testing.formulas import formulas
from kdarena.testing.task import toy_task


@pytest.mark.parametrize("name", BUGS)
def test_a_known_mistake_is_caught_with_what_to_change(name):
    hooks, status, check, words = BUGS[name]
    for finding in findings(hooks):
        if finding.check == check and finding.status == status:
            break
        assert finding.status in ("ok", "not checked", "warning") or finding.check == "process", finding.line
    else:
        pytest.fail("not caught")
    assert all(word in finding.text for word in words), finding.text
    assert "\n" not in finding.line
    if status == "failed":
        with pytest.raises(BrokenMethod, match=check):
            assert_good([finding])


@pytest.mark.parametrize("name", [name for name, (_, status, check, _) in BUGS.items() if (status, check) == ("warning", "temperature")])
def test_a_formula_that_looks_odd_is_not_said_to_be_without_mistakes_too(name):
    said = formulas(BUGS[name][0], toy_task())
    assert {finding.status for finding in said} == {"warning"}


def test_what_a_method_changes_for_the_process_is_put_back():
    hooks = BUGS["defaultdtype"][0]
    list(findings(hooks))
    assert torch.get_default_dtype() == torch.float32
