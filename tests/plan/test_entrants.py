"""Methods on a task: what the user fixed of them, and what that changes."""

from dataclasses import dataclass

import pytest

from kdarena.method.plugin import Plugin
from kdarena.params import Float, Int, Params
from kdarena.plan.entrants import entrants_of
from kdarena.plan.request import Request
from kdarena.tracks import find_card

DIGITS = find_card("digits")


@dataclass(frozen=True)
class SomeParams(Params):
    tau: float = Float(4.0, 1.0, 10.0, source="paper")
    depth: int = Int(2, 1, 4, source="ours")


def entrant(synthetic, **given):
    plugin = Plugin("kd", object(), synthetic.method("kd", Params=SomeParams))
    (made,) = entrants_of([plugin], DIGITS, Request(params={"kd": given}))
    return made


def test_a_row_is_named_by_what_the_user_fixed_in_the_order_of_names(synthetic):
    assert entrant(synthetic, tau=2.0, depth=3, lr=0.5).named == "depth=3, lr=0.5, tau=2.0"
    assert entrant(synthetic).named == ""


def test_naming_a_default_changes_no_run_and_is_not_tuned_all_the_same(synthetic):
    made = entrant(synthetic, tau=4.0, lr=DIGITS.recipe.lr)
    assert (made.named, dict(made.changed_params), dict(made.changed_recipe)) == ("", {}, {})
    assert (made.params, made.recipe) == ({"tau": 4.0}, {"lr": DIGITS.recipe.lr})


TONES = find_card("tones")


@pytest.mark.parametrize(
    ("name", "scope", "runs"), [("dkd", "own", False), ("dkd", "all", True), ("dkd", None, True), ("kd", "own", True), ("student", "own", True)]
)
def test_with_scope_own_a_method_runs_on_its_papers_tracks_and_the_controls_everywhere(synthetic, name, scope, runs):
    method = synthetic.method(name, extended={"speech": "each token is a row"})
    plugins = [Plugin(name, object(), method)]
    (there,), (elsewhere,) = (entrants_of(plugins, card, Request(scope=scope)) for card in (DIGITS, TONES))
    assert (there.runs, elsewhere.runs) == (True, runs)
    assert runs or "--scope all runs it there too" in elsewhere.skip


def test_a_method_that_does_not_hold_on_a_track_says_so_whatever_the_scope(synthetic):
    method = synthetic.method("dkd", excluded={"speech": "no tokens"})
    reasons = {entrants_of([Plugin("dkd", object(), method)], TONES, Request(scope=scope))[0].skip for scope in ("own", "all")}
    assert reasons == {"no tokens"}
