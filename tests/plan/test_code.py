"""Which code a run's key says that it is computed by."""

import shutil
from pathlib import Path

import grimp
import pytest

import kdarena
from kdarena.plan.code import PARTS, code_digest, harness_digest

PACKAGE = Path(kdarena.__file__).parent
NO_NUMBER = {
    "__init__.py": "where the public names are",
    "collector.py": "when memory is freed",
    "errors.py": "exceptions and their sentences",
    "files.py": "bytes to disk, and their digest",
    "plan/__init__.py": "a docstring",
    "plan/code.py": "the digest itself, which is in the key",
    "plan/cost.py": "a cost profile as values; the costs that a run commits by are in its key",
    "plan/machine.py": "the processor's name, which is in the key",
    "plan/plain.py": "reads a spec from JSON; one that is misread has another key",
    "plan/profile_parts.py": "makes a cost profile of its parts; the costs that a run commits by are in its key",
    "plan/profile_rule.py": "how long a cost profile is measured; the costs that a run commits by are in its key",
}
"""Modules that those of PARTS import, and why they are none of them."""


@pytest.fixture
def package(tmp_path):
    """A copy of the package, which a test may change."""
    return Path(shutil.copytree(PACKAGE, tmp_path / "elsewhere" / "kdarena", ignore=shutil.ignore_patterns("__pycache__")))


def in_parts(file):
    return any(file == part or file.startswith(f"{part}/") for part in PARTS)


def file_of(module):
    path = "/".join(module.split(".")[1:])
    return f"{path}/__init__.py".lstrip("/") if (PACKAGE / path).is_dir() else f"{path}.py"


def test_every_part_is_in_the_package():
    assert [part for part in PARTS if not (PACKAGE / part).exists()] == []


def test_the_digest_does_not_depend_on_where_the_package_is(package):
    assert code_digest(package) == harness_digest()


@pytest.mark.parametrize("part", PARTS)
def test_the_digest_changes_with_every_part(package, part):
    changed = package / part
    if changed.is_dir():
        changed = max(changed.rglob("*.py"))
    changed.write_text(changed.read_text() + "\nT = 2\n")
    assert code_digest(package) != harness_digest()


def test_the_digest_changes_where_a_file_is_added_removed_or_renamed(package):
    digests = [code_digest(package)]
    added = package / "tracks" / "added.py"
    added.write_text("")
    digests.append(code_digest(package))
    added.rename(package / "tracks" / "renamed.py")
    digests.append(code_digest(package))
    (package / "tracks" / "metrics.py").unlink()
    digests.append(code_digest(package))
    assert len(set(digests)) == 4


def test_what_plans_records_and_shows_changes_no_digest(package):
    for name in ("arena/trials.py", "record/runs.py", "cli/app.py", "errors.py"):
        (package / name).write_text("changed = True\n")
    assert code_digest(package) == harness_digest()


def test_all_that_computes_a_run_is_in_the_digest():
    graph = grimp.build_graph("kdarena", exclude_type_checking_imports=True, cache_dir=None)
    computing = {module for module in graph.modules if in_parts(file_of(module))}
    assert "kdarena.execute.execute" in computing
    imported = {file_of(other) for module in computing for other in graph.find_upstream_modules(module)}
    # importing a module imports the packages that it is in
    imported |= {"__init__.py", *(f"{Path(file).parent}/__init__.py" for file in imported if "/" in file)}
    assert {file for file in imported if not in_parts(file)} == set(NO_NUMBER)
