"""A method to begin with: its file, or its package, as text."""

from __future__ import annotations

import keyword
import sys
from collections.abc import Mapping
from string import Template

from kdarena.method.check_declaration import LONGEST, is_name

MODULE = Template('''"""$title: say here what the method does.

Authors: "Title", venue year, https://…

z_s, z_t: logits of student and teacher [P, C]; P counts samples.

    L = (1 - a) · CE(y, z_s) + a · T² · KL(softmax(z_t / T) ‖ softmax(z_s / T))
"""

from dataclasses import dataclass

from kdarena import Float, Method, Paper, Params, Step, Terms, hookimpl, losses


@dataclass(frozen=True)
class $class_name(Params):
    """Each parameter: its default, its search range, where the default comes from, and what is possible."""

    a: float = Float(0.5, 0.1, 0.9, source="ours", least=0, most=1, help="weight of the teacher's term; the labels get 1 - a")
    temperature: float = Float(2.0, 1.0, 8.0, source="ours", above=0, log=True, help="T, softens both distributions")


method = Method(
    name="$name",
    title="say in one line what it is",
    paper=Paper(title="Title", venue="venue", year=2026, url="https://example.org"),
    tracks=("classification",),
    Params=$class_name,
)


@hookimpl
def loss(step: Step, params: $class_name) -> Terms:
    """Named, weighted scalar terms; what is minimised is their sum."""
    z_s, z_t = step.student.logits, step.teacher.logits
    ce = step.task.loss(step.student, step.targets)
    return {"ce": (1 - params.a) * ce, "kl": params.a * losses.kl(z_t, z_s, params.temperature)}
''')

PYPROJECT = Template("""[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "kdarena-$name"
version = "0.1.0"
description = "A distillation method for kdarena"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["kdarena"]

[project.entry-points.kdarena]
$name = "$module"

[tool.setuptools]
py-modules = ["$module"]
""")

README = Template("""# kdarena-$name

A distillation method for kdarena, in `$module.py`.

```
pip install -e .
kdarena plugins check $name
kdarena run --plugins $name --tasks digits
```

`pip install pytest && pytest` runs its test, `test_$module.py`.
""")

TEST = Template('''"""The method keeps kdarena's contract, and its loss is what its equations say."""

import $module
import torch

from kdarena.testing import assert_good, check_plugin, make_run, new_step, toy_task


def test_it_keeps_the_contract():
    assert_good(check_plugin($module))


def test_only_the_labels_count_where_a_is_zero():
    run = make_run($module, toy_task(), {"a": 0.0})
    step = new_step(run)
    terms = run.loss(step)
    assert torch.equal(terms["ce"], step.task.loss(step.student, step.targets))
    assert not terms["kl"].detach().any()
''')


def module_name(name: str) -> str:
    """The module of a method's name.

    Raises:
        ValueError: in one line: a method can't have this name.
    """
    if not is_name(name):
        raise ValueError(f"{name[:80]!r} can't be the name of a method; use lower-case letters, digits and single hyphens, at most {LONGEST}, as my-loss")
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or module in sys.stdlib_module_names:
        raise ValueError(f"a file {module}.py would hide a part of Python; take another name, as my-{name}")
    return module


def file_of(name: str) -> Mapping[str, str]:
    """The file of a method, by its name."""
    return {f"{module_name(name)}.py": _filled(MODULE, name)}


def package_of(name: str) -> Mapping[str, str]:
    """The files of a method's package, by their paths within its folder."""
    module = module_name(name)
    return {
        "pyproject.toml": _filled(PYPROJECT, name),
        "README.md": _filled(README, name),
        f"{module}.py": _filled(MODULE, name),
        f"test_{module}.py": _filled(TEST, name),
    }


def _filled(template: Template, name: str) -> str:
    module = module_name(name)
    class_name = "".join(part.capitalize() for part in name.split("-")) + "Params"
    return template.substitute(name=name, module=module, title=name, class_name=class_name)
