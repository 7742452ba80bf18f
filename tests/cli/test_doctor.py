"""What ``kdarena doctor`` finds of the packages."""

import pytest

from kdarena.cli.doctor import _packages


def test_a_torchvision_that_can_not_be_imported_is_not_called_ok(monkeypatch):
    def broken():
        raise RuntimeError("operator torchvision::nms\ndoes not exist")

    monkeypatch.setattr("kdarena.tracks.torchvision.import_torchvision", broken)
    rows = [row for row in _packages() if row["what"] == "torchvision"]
    assert [row["state"] for row in rows] == ["missing"]
    assert rows[0]["found"] == "can't be imported: RuntimeError: operator torchvision::nms does not exist"


def test_one_that_can_be_imported_is():
    pytest.importorskip("torchvision")
    assert [row["state"] for row in _packages() if row["what"] == "torchvision"] == ["ok"]
