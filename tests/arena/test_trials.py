import random
from dataclasses import dataclass, replace

import pytest

from kdarena import Choice, Flag, Float, Int, Method, Paper, Params
from kdarena.arena.trials import FAILED, Candidate, Scored, Search, Study, best_of, score_of, search_space
from kdarena.plan.spec import RunResult
from kdarena.tracks import find_card


@dataclass(frozen=True)
class TunedParams(Params):
    temperature: float = Float(4.0, 1.0, 10.0, log=True, source="paper")
    layers: int = Int(2, 1, 4, source="ours", cost=True)
    neighbours: int = Int(8, 1, 64, log=True, source="ours")
    reduction: str = Choice("mean", ("mean", "sum"), source="code", tune=True)
    normalise: bool = Flag(True, source="code", tune=True)
    mode: str = Choice("a", ("a", "b"), source="code")


METHOD = Method("m", "t", Paper("t", "v", 2026, "u"), Params=TunedParams)
DIGITS = find_card("digits")


def search(fixed=None, method=METHOD, name="digits/m"):
    fixed = fixed or {}
    return Search(name, search_space(method, DIGITS, fixed), Candidate(fixed, {}), frozenset(DIGITS.recipe.hyperparameters()), method.Params)


def result(score, status="done"):
    return RunResult("k", status, {"validation/top1": score} if score is not None else {})


def quality(candidate):
    return 50 + 5 * candidate.params.get("temperature", 4.0)


def mixed_score(number, candidate):
    """Made-up scores, with trials that failed among them."""
    draw = random.Random(repr((number, candidate)))
    return draw.choice([draw.uniform(10, 90), draw.uniform(10, 90), FAILED])


def play(trials, score=lambda number, candidate: quality(candidate)):
    """Candidates of a study's trials."""
    seen, one = [], Study(search())
    for number in range(trials):
        seen.append(one.ask())
        one.tell(score(number, seen[-1]))
    return seen


def test_the_space_holds_the_common_hyper_parameters_and_what_leaves_the_cost_alone():
    assert list(search_space(METHOD, DIGITS, {})) == ["lr", "weight_decay", "temperature", "neighbours", "reduction", "normalise"]
    assert list(search_space(METHOD, DIGITS, {"temperature": 2.0})) == ["lr", "weight_decay", "neighbours", "reduction", "normalise"]


def test_trial_0_is_the_default_setting_to_the_letter():
    assert Study(search()).ask() == search().spread(6)[0] == Candidate({}, {})


def test_candidates_that_are_spread_are_different_and_the_same_each_time():
    candidates = search().spread(6)
    assert len({repr(candidate) for candidate in candidates}) == len(candidates) == 6
    assert search().spread(6) == candidates
    assert search().spread(9)[:6] == candidates
    assert search(name="tones/m").spread(6)[1:] != candidates[1:]


def test_candidates_that_are_spread_lie_in_different_parts_of_every_range():
    lows = [candidate.params["temperature"] < 10**0.5 for candidate in search().spread(9)[1:]]
    assert lows.count(True) == 4
    flags = [{"normalise": True, **candidate.params}["normalise"] for candidate in search().spread(9)[1:]]
    assert flags.count(True) == 4


def test_a_space_with_fewer_settings_is_searched_as_far_as_it_goes():
    space = search().space
    few = replace(search(), space={name: space[name] for name in ("reduction", "normalise")})
    assert len(few.spread(6)) == 4  # a choice of two and a flag
    assert replace(few, space={}).spread(6) == [Candidate({}, {})]


@dataclass(frozen=True)
class PairParams(Params):
    first: float = Float(0.2, 0.1, 0.9, source="ours")
    second: float = Float(0.2, 0.1, 0.9, source="ours")

    def conflict(self):
        return "their sum is below 1" if self.first + self.second >= 1 else None


def test_values_that_do_not_go_together_are_never_tried():
    method = Method("pair", "t", Paper("t", "v", 2026, "u"), Params=PairParams)
    study = Study(search(method=method))
    asked = search(method=method).spread(8)
    for number in range(12):
        asked.append(study.ask())
        study.tell(float(number))
    assert len(asked) == 20
    assert all(PairParams(**candidate.params) for candidate in asked)


def test_a_study_that_is_asked_again_from_recorded_scores_asks_the_same():
    assert play(24, mixed_score) == play(24, mixed_score)
    assert len({repr(candidate) for candidate in play(24, mixed_score)}) == 24


def test_what_is_asked_follows_from_the_scores_of_the_trials_before():
    better, worse = play(12), play(12, lambda number, candidate: -quality(candidate))
    assert better[:8] == worse[:8]
    assert better[9:] != worse[9:]


@pytest.mark.parametrize(
    ("got", "score"),
    [
        (result(60.0), 60.0),
        (result(60.0, "underspent"), 60.0),
        (result(None, "diverged"), FAILED),
        (result(60.0, "error"), FAILED),
        (result(float("nan")), FAILED),
    ],
)
def test_a_failed_trial_has_the_worst_score_whatever_the_reason(got, score):
    assert score_of(got, "top1") == score


def test_of_equal_candidates_the_first_is_the_best_and_of_failures_none():
    one, other = Candidate({"a": 1}, {}), Candidate({"a": 2}, {})
    assert best_of([Scored(one, 50.0), Scored(other, 50.0)]).candidate is one
    assert best_of([Scored(one, FAILED), Scored(other, 5.0)]).candidate is other
    assert best_of([Scored(one, FAILED)]) is best_of([]) is None


def test_what_the_user_fixed_is_in_every_candidate():
    fixed = search(fixed={"temperature": 2.0})
    assert all(candidate.params["temperature"] == 2.0 for candidate in [*fixed.spread(6), Study(fixed).ask()])


def test_values_stay_inside_their_ranges():
    lr = DIGITS.recipe.hyperparameters()["lr"]
    for candidate in [*play(12), *search().spread(12)]:
        params = {"temperature": 4.0, "neighbours": 8, "reduction": "mean", "normalise": True, **candidate.params}
        assert 1.0 <= params["temperature"] <= 10.0
        assert isinstance(params["neighbours"], int)
        assert 1 <= params["neighbours"] <= 64
        assert params["reduction"] in ("mean", "sum")
        assert params["normalise"] in (True, False)
        assert lr.low <= candidate.recipe.get("lr", lr.default) <= lr.high
