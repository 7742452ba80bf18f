"""Exceptions of somebody else's code are one line that helps."""

import pytest
import torch

from kdarena.errors import described
from kdarena.tracks.values import Outputs


def raised(act):
    with pytest.raises(Exception) as caught:
        act()
    return described(caught.value)


def test_a_misspelt_attribute_is_named_with_the_one_that_is_meant():
    outputs = Outputs(torch.zeros(2, 3))
    assert raised(lambda: outputs.logit) == "AttributeError: 'Outputs' object has no attribute 'logit'; did you mean 'logits'?"


def test_nothing_is_guessed_where_nothing_is_near():
    assert raised(lambda: Outputs(torch.zeros(2, 3)).weather) == "AttributeError: 'Outputs' object has no attribute 'weather'"


def test_an_object_that_can_not_say_what_it_has_is_no_second_error():
    class Closed:
        def __dir__(self):
            raise RuntimeError

    assert raised(lambda: Closed().logit) == "AttributeError: 'Closed' object has no attribute 'logit'"
