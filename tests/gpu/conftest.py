"""What tests on a GPU share. They need torch, pluggy, numpy, pytest and safetensors alone, and no installed kdarena: from the repository's folder

python -m pytest tests/gpu -o addopts= --import-mode=importlib -p no:cacheprovider -q
"""

import importlib
import sys
import tomllib
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins")]


@pytest.fixture(scope="session")
def methods():
    """Every method's class or module by its name, as the entry points of pyproject.toml list them."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["kdarena"]
    found = {}
    for target in points.values():
        module, _, attribute = target.partition(":")
        loaded = importlib.import_module(module)
        for one in (getattr(loaded, attribute),) if attribute else getattr(loaded, "variants", (loaded,)):
            found[one.method.name] = one
    return found


@pytest.fixture
def same_kernels(monkeypatch):
    """The same kernels in every run, so that two runs differ by nothing but what a test looks at."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
