"""Where runs run, and in which precision."""

from dataclasses import replace

from kdarena.plan.machine import Machine
from kdarena.tracks import find_card

FAST, SLOW = (Machine("cuda", ("cuda:0",), 0, fast) for fast in (True, False))
LARGE, SMALL = (replace(find_card("digits"), fast_bf16=fast) for fast in (True, False))


def test_bf16_is_chosen_where_the_device_is_fast_at_it_and_the_networks_are_large():
    chosen = [machine.precision("auto", one) for machine in (FAST, SLOW) for one in (LARGE, SMALL)]
    assert chosen == ["bf16", "fp32", "fp32", "fp32"]


def test_a_stated_precision_is_taken_everywhere():
    assert {machine.precision("bf16", one, "published") for machine in (FAST, SLOW) for one in (LARGE, SMALL)} == {"bf16"}
    assert {machine.precision("fp32", one) for machine in (FAST, SLOW) for one in (LARGE, SMALL)} == {"fp32"}


def test_published_numbers_are_compared_in_fp32():
    assert FAST.precision("auto", LARGE, "published") == "fp32"
