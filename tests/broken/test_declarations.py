"""A declaration that is wrong is a broken plugin, with one line that says what; all others go on."""

import pytest
from broken.declarations import BROKEN, HEAD

from kdarena.method.discovery import discover


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """What is said of each file, with all of them given at once."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "helps_circle.py").write_text("from circular_import import value\n")
    files = {}
    for number, (case, (text, *_)) in enumerate(BROKEN.items()):
        path = folder / f"{case.replace(' ', '_')}.py"
        path.write_text((HEAD + text).replace("'mine'", f"'mine{number}'"))  # or all but one would be broken since their name is taken
        files[str(path)] = case
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        plugins = discover(files)
    said = {case: [plugin.error for plugin in plugins if files.get(plugin.distribution) == case] for case in BROKEN}
    return said, {plugin.name for plugin in plugins if plugin.error is None}


@pytest.mark.parametrize("case", BROKEN)
def test_a_wrong_declaration_is_named(errors, case):
    said = [error for error in errors[0][case] if error is not None]
    assert len(said) == 1, said
    assert all(word in said[0] for word in BROKEN[case][1:]), said[0]
    assert "\n" not in said[0]


def test_all_others_go_on(errors):
    assert {"student", "kd", "quest", "afd"} <= errors[1]
