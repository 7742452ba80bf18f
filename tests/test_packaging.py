"""What pyproject.toml declares, against the tree."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_package_of_the_tree_is_installed():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    harness = {init.parent.relative_to(ROOT) for init in (ROOT / "kdarena").rglob("__init__.py")}
    plugins = {init.parent.relative_to(ROOT / "plugins") for init in (ROOT / "plugins").rglob("__init__.py")}
    assert set(declared) == {".".join(package.parts) for package in harness | plugins}
