"""A plugin is checked in a process of its own, whose end is a finding."""

import pytest
from broken.processes import TEXT

from kdarena.method.origin import Origin
from kdarena.testing.check_process import checked

ENDS = {
    "segfaults": "it ended its process (died of SIGSEGV) after the check of 'search space'",
    "aborts": "died of SIGABRT",
    "ends": "it ended its process (exit status 0)",
    "sleeps": "nothing came for 15 s after the check of 'search space': a loop without an end?",
}


@pytest.fixture
def last(tmp_path):
    (tmp_path / "harms.py").write_text(TEXT)
    return lambda name: list(checked(Origin("harms", str(tmp_path / "harms.py"), True, "harms.py"), name, silence=15.0))[-1]


@pytest.mark.parametrize("name", [name if name == "segfaults" else pytest.param(name, marks=pytest.mark.slow) for name in ENDS])
def test_a_method_that_ends_its_process_is_named(last, name):
    finding = last(name)
    assert (finding.check, finding.status) == ("process", "failed")
    assert ENDS[name] in finding.text


WARNS = """
import warnings
from kdarena import Method, hookimpl
from kdarena.method.student import Student

warnings.warn_explicit("about torch itself", UserWarning, "torch/fake.py", 1, module="torch.fake")
warnings.warn_explicit("about the plugin", UserWarning, "warns.py", 1, module="warns")


class Warns(Student):
    method = Method("warns", "a student", Student.method.paper)


variants = (Warns,)
"""


def test_warnings_of_torch_itself_are_not_printed_and_those_of_a_plugin_are(tmp_path, capfd):
    (tmp_path / "warns.py").write_text(WARNS)
    next(checked(Origin("warns", str(tmp_path / "warns.py"), True, "warns.py"), "warns"), None)
    said = capfd.readouterr().err
    assert "about the plugin" in said and "about torch itself" not in said
