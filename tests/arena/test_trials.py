import json
import random
from dataclasses import dataclass

from kdarena import Choice, Flag, Float, Int, Method, Paper, Params
from kdarena.arena.trials import Candidate, Study, search_space
from kdarena.plan.spec import RUNG, RunResult
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


def study(fixed=None):
    fixed = fixed or {}
    space = search_space(METHOD, DIGITS, fixed)
    return Study("digits/m", space, Candidate(fixed, {}), frozenset(DIGITS.recipe.hyperparameters()))


def result(score, status="done", rung=None):
    curves = {"validation/top1": [(10, rung)]} if rung is not None else {}
    return RunResult("k", status, {"validation/top1": score} if score is not None else {}, curves)


def score_of(candidate):
    return 50 + 5 * candidate.params.get("temperature", 4.0)


def mixed_result(number, candidate):
    """Made-up results of all kinds: done, pruned, failed with and without a score on the way."""
    draw = random.Random(repr((number, candidate)))
    kind = draw.choice(["done", "done", "done", "pruned", "diverged", "oom", "nan"])
    rung = draw.uniform(10, 90)
    if kind == "nan":
        return result(float("nan"), rung=rung)
    if kind == "oom":
        return result(None, "oom")
    return result(draw.uniform(10, 90) if kind == "done" else None, kind, rung)


def play(trials, result_of=lambda number, candidate: result(score_of(candidate))):
    """Candidates and rules of a study's trials, and the study."""
    seen, one = [], study()
    for number in range(trials):
        candidate = one.ask()
        seen.append((candidate, one.prune_rule(RUNG)))
        one.tell(result_of(number, candidate), "top1")
    return seen, one


def test_the_space_holds_the_common_hyper_parameters_and_what_leaves_the_cost_alone():
    assert list(search_space(METHOD, DIGITS, {})) == ["lr", "weight_decay", "temperature", "neighbours", "reduction", "normalise"]
    assert list(search_space(METHOD, DIGITS, {"temperature": 2.0})) == ["lr", "weight_decay", "neighbours", "reduction", "normalise"]


def test_trial_0_is_the_default_setting_to_the_letter():
    assert study().ask() == Candidate({}, {})


def test_a_study_that_is_asked_again_from_recorded_results_asks_the_same_wherever_it_was_interrupted():
    undisturbed, first = play(16, mixed_result)
    assert len({repr(pair) for pair in undisturbed}) == 16
    recorded = [json.dumps(mixed_result(number, candidate).to_json()) for number, (candidate, _) in enumerate(undisturbed)]
    for interruption in range(16):

        def recalled(number, candidate, known=interruption):
            return RunResult.from_json(json.loads(recorded[number])) if number < known else mixed_result(number, candidate)

        again, second = play(16, recalled)
        assert again == undisturbed
        assert second.best() == first.best()


def test_what_is_asked_follows_from_the_scores_of_the_trials_before():
    better, worse = play(12)[0], play(12, lambda number, candidate: result(-score_of(candidate)))[0]
    assert better[:8] == worse[:8]
    assert better[9:] != worse[9:]


def test_the_best_candidate_wins():
    seen, one = play(6)
    assert one.best() == max((candidate for candidate, _ in seen), key=score_of)


def test_of_equal_candidates_the_first_wins():
    seen, one = play(5, lambda number, candidate: result(50.0 if number in (0, 3) else 70.0))
    assert one.best() == seen[1][0]


def test_the_defaults_are_no_tuned_setting():
    assert play(2, lambda number, candidate: result(90.0 - number))[1].best() is None


def test_a_failed_trial_counts_as_bad_and_does_not_stop_the_study():
    seen, one = play(3, lambda number, candidate: result(None, "diverged") if number != 1 else result(60.0))
    assert one.best() == seen[1][0]
    assert play(3, lambda number, candidate: result(None, "error"))[1].best() is None


def test_a_score_that_is_not_finite_counts_as_bad():
    seen, one = play(3, lambda number, candidate: result((float("nan"), 60.0, float("inf"))[number]))
    assert one.best() == seen[1][0]


def test_what_the_user_fixed_is_in_every_candidate():
    one = study(fixed={"temperature": 2.0})
    for _ in range(3):
        assert one.ask().params["temperature"] == 2.0
        one.tell(result(1.0), "top1")


def test_a_trial_is_pruned_below_the_median_of_at_least_three_before_it():
    rungs = (10.0, 30.0, 20.0, 80.0)
    seen, one = play(4, lambda number, candidate: result(50.0, rung=rungs[number]))
    assert [rule for _, rule in seen[:3]] == [None, None, None]
    assert seen[3][1].threshold == 20.0
    assert one.prune_rule(RUNG).threshold == 25.0


def test_neither_a_pruned_nor_a_failed_trial_counts_for_the_median():
    statuses = ("done", "pruned", "done", "diverged", "done")
    _, one = play(5, lambda number, candidate: result(50.0 if statuses[number] == "done" else None, statuses[number], rung=10.0 * number))
    assert one.prune_rule(RUNG).threshold == 20.0


def test_values_stay_inside_their_ranges():
    lr = DIGITS.recipe.hyperparameters()["lr"]
    for candidate, _ in play(12)[0]:
        params = {"temperature": 4.0, "neighbours": 8, "reduction": "mean", "normalise": True, **candidate.params}
        assert 1.0 <= params["temperature"] <= 10.0
        assert isinstance(params["neighbours"], int)
        assert 1 <= params["neighbours"] <= 64
        assert params["reduction"] in ("mean", "sum")
        assert params["normalise"] in (True, False)
        assert lr.low <= candidate.recipe.get("lr", lr.default) <= lr.high
