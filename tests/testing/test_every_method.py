"""Every built-in method keeps the contract, as the check of a plugin says."""

import pytest

from kdarena.method.discovery import discover
from kdarena.testing.check import check_plugin
from kdarena.testing.finding import assert_good

PLUGINS = {plugin.name: plugin for plugin in discover()}
JUSTIFIED = {
    ("okddip", "peers"): "its paper's targets are a mixture of peers through which gradients may flow; its parameter detach stops them",
}
"""What looks odd in a method and is meant, by method and check."""


def checked(name, *, brief):
    plugin = PLUGINS[name]
    assert plugin.error is None, plugin.error
    said = check_plugin(plugin.implementation, brief=brief)
    assert_good(said)
    odd = {(name, finding.check) for finding in said if finding.status in ("warning", "not checked")}
    assert odd <= JUSTIFIED.keys(), [finding.line for finding in said]


@pytest.mark.parametrize("name", PLUGINS)
def test_a_built_in_method_keeps_the_contract(name):
    checked(name, brief=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLUGINS)
def test_a_built_in_method_passes_the_whole_check(name):
    checked(name, brief=False)
