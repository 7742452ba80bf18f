"""Eval mode for a while: nothing is left behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdarena.tracks.modes import evaluating


def mixed() -> nn.Module:
    """In train mode, except its batch norm."""
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Sequential(nn.Dropout(0.5))).train()
    network[1].eval()
    return network


def modes(network: nn.Module) -> list[bool]:
    return [module.training for module in network.modules()]


def test_every_module_is_in_eval_mode_inside_and_afterwards_in_its_own():
    network = mixed()
    before = modes(network)
    with evaluating(network):
        assert not any(modes(network))
    assert modes(network) == before == [True, True, False, True, True]


def test_the_modes_come_back_after_an_error():
    network = mixed()
    before = modes(network)
    with pytest.raises(KeyError), evaluating(network):
        raise KeyError
    assert modes(network) == before
    assert torch.is_grad_enabled()


def test_there_are_no_gradients_inside():
    network = mixed()
    with evaluating(network):
        assert not network(torch.ones(3, 2)).requires_grad
    assert torch.is_grad_enabled()


def test_gradients_that_are_asked_for_are_there_even_where_the_caller_has_none():
    network = mixed()
    with torch.no_grad():
        with evaluating(network, gradients=True):
            assert network(torch.ones(3, 2)).requires_grad
        assert not torch.is_grad_enabled()
