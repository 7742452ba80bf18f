from dataclasses import dataclass

import optuna
import pytest

from kdarena import Choice, Float, Int, Method, Paper, Params
from kdarena.arena.trials import Candidate, Studies, search_space
from kdarena.plan.spec import RUNG, RunResult
from kdarena.tracks import find_card


@dataclass(frozen=True)
class TunedParams(Params):
    temperature: float = Float(4.0, 1.0, 10.0, log=True, source="paper")
    layers: int = Int(2, 1, 4, source="ours", cost=True)
    reduction: str = Choice("mean", ("mean", "sum"), source="code")


METHOD = Method("m", "t", Paper("t", "v", 2026, "u"), Params=TunedParams)
DIGITS = find_card("digits")


def study(path, fixed=None):
    fixed = fixed or {}
    space = search_space(METHOD, DIGITS, fixed)
    return Studies(path).study("digits/m", space, Candidate(fixed, {}), frozenset(DIGITS.recipe.hyperparameters()))


def result(score, status="done", rung=None):
    curves = {"validation/top1": [(10, rung)]} if rung is not None else {}
    return RunResult("k", status, {"validation/top1": score} if score is not None else {}, curves)


def score_of(candidate):
    return 50 + 5 * candidate.params.get("temperature", 4.0)


def play(path, trials, stop_after=None):
    seen = []
    one = study(path)
    for number in range(trials):
        if stop_after is not None and number == stop_after:
            one.ask()  # a killed parent leaves this one running
            one = study(path)
        candidate = one.ask()
        seen.append(candidate)
        one.tell(result(score_of(candidate)), "top1")
    return seen, one


def test_the_space_holds_the_common_hyper_parameters_and_what_leaves_the_cost_alone():
    assert list(search_space(METHOD, DIGITS, {})) == ["lr", "weight_decay", "temperature"]
    assert list(search_space(METHOD, DIGITS, {"temperature": 2.0})) == ["lr", "weight_decay"]


def test_trial_0_is_the_default_setting_to_the_letter(tmp_path):
    assert study(tmp_path / "a.db").ask() == Candidate({}, {})


def test_a_trial_that_failed_and_is_done_when_it_is_replayed_counts(tmp_path):
    one = study(tmp_path / "a.db")
    for status, score in (("done", 60.0), ("oom", None), ("done", 65.0)):
        one.ask()
        one.tell(result(score, status), "top1")
    one = study(tmp_path / "a.db")
    failed = one.replay(1)
    assert one.best() == one.replay(2)
    one.tell_again(0, result(60.0), "top1")
    one.tell_again(1, result(70.0), "top1")
    assert one.best() == failed


def test_an_interrupted_study_goes_on_as_if_it_had_not_been_interrupted(tmp_path):
    undisturbed, _ = play(tmp_path / "a.db", 14)
    for stop in (0, 1, 5, 12):
        assert play(tmp_path / f"{stop}.db", 14, stop_after=stop)[0] == undisturbed


def test_a_told_trial_can_be_replayed(tmp_path):
    seen, one = play(tmp_path / "a.db", 4)
    assert [one.replay(number) for number in range(4)] == seen


def test_the_best_candidate_wins_and_the_defaults_are_no_tuned_setting(tmp_path):
    seen, one = play(tmp_path / "a.db", 6)
    assert one.best() == max(seen, key=score_of)
    alone = study(tmp_path / "b.db")
    alone.ask()
    alone.tell(result(90.0), "top1")
    alone.ask()
    alone.tell(result(80.0), "top1")
    assert alone.best() is None


def test_a_failed_trial_counts_as_bad_and_does_not_stop_the_study(tmp_path):
    one = study(tmp_path / "a.db")
    one.ask()
    one.tell(result(None, "diverged"), "top1")
    assert one.finished == 1
    assert one.best() is None


def test_what_the_user_fixed_stands_in_every_candidate(tmp_path):
    one = study(tmp_path / "a.db", fixed={"temperature": 2.0})
    for _ in range(3):
        assert one.ask().params["temperature"] == 2.0
        one.tell(result(1.0), "top1")


def test_a_trial_is_pruned_below_the_median_of_at_least_three_before_it(tmp_path):
    one = study(tmp_path / "a.db")
    for number, rung in enumerate((10.0, 30.0, 20.0)):
        assert one.prune_rule(RUNG, before=number) is None
        one.ask()
        one.tell(result(50.0, rung=rung), "top1")
    assert one.prune_rule(RUNG, before=3).threshold == 20.0
    assert one.prune_rule(RUNG, before=2) is None


def test_values_stay_inside_their_ranges(tmp_path):
    seen, _ = play(tmp_path / "a.db", 12)
    for candidate in seen[1:]:
        assert 1.0 <= candidate.params["temperature"] <= 10.0
        assert DIGITS.recipe.hyperparameters()["lr"].low <= candidate.recipe["lr"] <= DIGITS.recipe.hyperparameters()["lr"].high


def test_the_storage_holds_each_trial_with_its_score(tmp_path):
    _, one = play(tmp_path / "a.db", 3)
    loaded = optuna.load_study(storage=f"sqlite:///{tmp_path / 'a.db'}", study_name="digits/m")
    assert [trial.state.name for trial in loaded.trials] == ["COMPLETE"] * 3
    assert pytest.approx([trial.value for trial in loaded.trials]) == [score_of(one.replay(number)) for number in range(3)]
