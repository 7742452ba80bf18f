"""Where learning curves are measured, by what a run's budget holds."""

from dataclasses import replace

import pytest

from kdarena.plan.curve import FEWEST, MOST, SHARE, curve_plan
from kdarena.tracks import find_card

DIGITS, TONES = find_card("digits"), find_card("tones")


def planned_share(card, plan, steps):
    """The part of a run's time that its curve takes as planned: a forward pass is a third of a step."""
    samples = plan.samples * (len(plan.places) + 1) * (2 if card.decodes else 1)
    return samples / (3 * card.recipe.batch_size) / steps


@pytest.mark.parametrize("name", ["digits", "scenes", "grammar", "tones"])
@pytest.mark.parametrize("steps", [60, 130, 262, 1141, 20000])
def test_a_curve_takes_no_more_than_its_part_of_a_run(name, steps):
    card = find_card(name)
    plan = curve_plan(card, "validated", steps)
    if plan is not None:
        assert planned_share(card, plan, steps) <= SHARE
        assert plan.samples <= min(card.validation, MOST)
        assert plan.samples >= min(FEWEST, card.validation)


def test_a_long_run_has_four_places_a_short_one_fewer_and_the_shortest_none():
    places = [(plan := curve_plan(DIGITS, "validated", steps)) and len(plan.places) for steps in (2000, 20, 12, 3)]
    assert places == [4, 2, 1, None]


def test_without_a_validation_part_there_is_no_curve():
    assert curve_plan(DIGITS, "published", 2000) is None
    assert curve_plan(replace(DIGITS, validation=0), "validated", 2000) is None


def test_networks_that_decode_are_scored_on_fewer_samples():
    plain = replace(TONES, decodes=False)
    assert 2 * curve_plan(TONES, "validated", 200).samples <= curve_plan(plain, "validated", 200).samples
