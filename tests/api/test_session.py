"""From what was typed to a request."""

import pytest

from kdarena.api.session import choose_tasks, request_from, with_controls
from kdarena.errors import UserError
from kdarena.method.plugin import Plugin
from kdarena.plan.amounts import Amount
from kdarena.tracks import find_card

DIGITS = find_card("digits")


def chosen(text):
    return [card.name for card in choose_tasks(text, None)]


def test_spaces_repetitions_and_the_order_of_tasks_change_nothing():
    assert chosen("digits ") == chosen(" digits,digits") == ["digits"]
    assert chosen("tones, digits") == chosen("digits,tones")


def test_all_tasks_are_the_embedded_ones_in_the_order_in_which_they_are_listed():
    everything = chosen("all")
    assert everything == chosen(" all ") == chosen(",".join(reversed(everything)))


def test_the_same_methods_in_another_order_are_the_same_plan():
    plugins = [Plugin(name) for name in ("ban", "dml", "kd", "student")]
    forwards, backwards = ([plugin.name for plugin in with_controls(order, plugins)] for order in (plugins, plugins[::-1]))
    assert forwards == backwards == ["student", "kd", "ban", "dml"]


def test_a_request_names_the_tasks_that_were_chosen():
    assert request_from({"tasks": " digits "}, [], [DIGITS]).tasks == ("digits",)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"tuning_budget": Amount(5.0, "s")}, "--tuning-budget needs --budget"),
        ({"tuning_budget": Amount(5.0, "s"), "budget": Amount(5.0, "s"), "protocol": "published"}, "--tuning-budget and --protocol published contradict"),
        ({"tuning_budget": Amount(5.0, "s"), "budget": Amount(5.0, "s"), "untuned": True}, "--untuned and --tuning-budget 5s contradict each other"),
        ({"both": True, "untuned": True}, "--both and --untuned contradict each other: without trials"),
        ({"both": True, "tuning_budget": Amount(0.0, "s")}, "--both and --tuning-budget 0 contradict each other"),
        ({"both": True, "protocol": "published"}, "--both and --protocol published contradict each other"),
        ({"metrics": ("charm",)}, "--metrics 'charm': task digits knows"),
    ],
)
def test_options_that_exclude_each_other_are_refused(typed, says):
    with pytest.raises(UserError, match=says) as refused:
        request_from(typed, [], [DIGITS])
    assert "\n" not in str(refused.value)


def test_fixed_views_are_refused_where_samples_have_no_augmentation():
    with pytest.raises(UserError, match="--views 4: the samples of task grammar have no augmentation") as refused:
        request_from({"views": 4}, [], [DIGITS, find_card("grammar")])
    assert "\n" not in str(refused.value)
    assert request_from({"views": 4}, [], [DIGITS, find_card("scenes")]).views == 4


@pytest.mark.parametrize("typed", [{"untuned": True}, {"untuned": True, "tuning_budget": Amount(0.0, "s")}, {"protocol": "published"}])
def test_what_says_no_tuning_goes_together(typed):
    assert not request_from(typed, [], [DIGITS]).tunes
