"""What of a plugin's code is digested. Nothing is imported for it."""

import sys
from pathlib import Path

import pytest

from kdarena.method.modules import Modules
from kdarena.method.origin import Origin
from kdarena.method.source import source_of


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder that modules are imported from."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def write(place, name, text=""):
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def of_file(path):
    return source_of(Origin(path.stem, str(path), True), Modules())


def of_entry_point(target):
    return source_of(Origin("x", target, False), Modules())


def changes(file, digest, text="W = -3.0\n"):
    """Whether an edit of a file changes a digest, and undoing it gives the first again."""
    content, first = file.read_text(), digest()
    file.write_text(text)
    edited = digest()
    file.write_text(content)
    assert digest() == first
    return edited != first


@pytest.mark.parametrize(
    "statement",
    [
        "import helper",
        "from helper import W",
        "from helper import *",
        "def loss(step):\n    import helper",
        "try:\n    import helper as h\nexcept ImportError:\n    pass",
    ],
)
def test_an_edited_module_that_a_plugin_imports_is_another_source(place, statement):
    helper = write(place, "helper.py", "W = 1.0\n")
    plugin = write(place, "plugin.py", statement + "\n")
    assert changes(helper, lambda: of_file(plugin).digest)
    assert changes(plugin, lambda: of_file(plugin).digest)


def test_the_helper_of_a_helper_counts_and_what_nothing_imports_does_not(place):
    plugin = write(place, "plugin.py", "import helper\n")
    write(place, "helper.py", "from tools import weights\n")
    initial, weights, unused = write(place, "tools/__init__.py"), write(place, "tools/weights.py", "W = 1.0\n"), write(place, "tools/unused.py")
    assert changes(weights, lambda: of_file(plugin).digest)
    assert changes(initial, lambda: of_file(plugin).digest)
    assert not changes(unused, lambda: of_file(plugin).digest)


def test_relative_imports_count(place):
    plugin = write(place, "plugin.py", "import tools.a\n")
    write(place, "tools/__init__.py")
    write(place, "tools/a.py", "from . import b\nfrom .inner.c import W\n")
    write(place, "tools/inner/__init__.py")
    files = [write(place, "tools/b.py"), write(place, "tools/inner/c.py", "from ..d import W\n"), write(place, "tools/d.py")]
    assert all(changes(file, lambda: of_file(plugin).digest) for file in files)


def test_a_module_next_to_the_file_counts_where_only_the_plugin_will_find_it(tmp_path):
    helper = write(tmp_path, "lonely_helper.py", "W = 1.0\n")
    plugin = write(tmp_path, "plugin.py", "import sys\nsys.path.insert(0, '.')\nimport lonely_helper\n")
    assert changes(helper, lambda: of_file(plugin).digest)


def test_all_python_files_of_a_plugins_package_count_also_in_folders_inside_it(place):
    write(place, "paper/__init__.py")
    deep, notes = write(place, "paper/parts/deep.py"), write(place, "paper/README.md")
    assert changes(deep, lambda: of_entry_point("paper").digest)
    assert not changes(notes, lambda: of_entry_point("paper").digest)
    assert of_entry_point("paper.parts.deep:Method").files["paper.parts.deep"] == deep


def test_of_a_module_in_a_package_the_packages_above_count(place):
    above, own = write(place, "lab/__init__.py"), write(place, "lab/method.py")
    assert changes(above, lambda: of_entry_point("lab.method:M").digest)
    assert changes(own, lambda: of_entry_point("lab.method:M").digest)


def install(place, version):
    for old in place.glob("*.dist-info"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    write(place, f"fake_weights-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: fake-weights\nVersion: {version}\n")
    write(place, f"fake_weights-{version}.dist-info/RECORD", "weighty/__init__.py,,\nweighty/inner.py,,\n")


def test_of_an_installed_distribution_the_version_counts_and_its_files_do_not(place, tmp_path_factory):
    plugin = write(tmp_path_factory.mktemp("own"), "plugin.py", "import weighty\n")
    file = write(place, "weighty/__init__.py", "W = 1.0\n")
    install(place, "1.0")
    first = of_file(plugin)
    assert first.distributions == {"fake-weights==1.0"}
    assert not changes(file, lambda: of_file(plugin).digest)
    install(place, "1.1")
    assert of_file(plugin).digest != first.digest
    install(place, "1.0")
    assert of_file(plugin).digest == first.digest


def test_a_module_that_no_distribution_lists_counts_by_its_content_wherever_it_lies(place, tmp_path_factory):
    plugin = write(tmp_path_factory.mktemp("own"), "plugin.py", "import dropped\n")
    install(place, "1.0")
    assert changes(write(place, "dropped.py"), lambda: of_file(plugin).digest)


@pytest.mark.parametrize("listed", [True, False])
def test_an_installer_that_writes_no_list_of_files_is_believed_where_only_installers_write(tmp_path, monkeypatch, listed):
    place = tmp_path / ("site-packages" if listed else "checkout")
    monkeypatch.setattr(sys, "path", [str(place), *sys.path])
    write(place, "weighty/__init__.py")
    write(place, "fake_weights.egg-info/PKG-INFO", "Metadata-Version: 2.1\nName: fake-weights\nVersion: 1.0\n")
    write(place, "fake_weights.egg-info/top_level.txt", "other\nweighty\n")
    source = of_file(write(tmp_path, "plugin.py", "import weighty\n"))
    assert (source.distributions == {"fake-weights==1.0"}) is listed
    assert ("weighty" in source.files) is not listed


def test_installed_libraries_count_by_their_version_and_python_torch_and_the_harness_do_not_count(place):
    plugin = write(place, "plugin.py", "import math, torch, numpy\nfrom torch.nn import functional\nfrom kdarena import losses, Method\n")
    source = of_file(plugin)
    assert [name.partition("==")[0] for name in source.distributions] == ["numpy"]
    assert list(source.files.values()) == [plugin]


def test_the_same_code_in_another_folder_is_the_same_source(tmp_path, monkeypatch):
    digests = set()
    for name in ("a", "b"):
        monkeypatch.setattr(sys, "path", [str(tmp_path / name), *sys.path])
        write(tmp_path / name, "helper.py", "W = 1.0\n")
        digests.add(of_file(write(tmp_path / name, "plugin.py", "import helper\n")).digest)
    assert len(digests) == 1


def test_what_can_not_be_parsed_or_is_not_there_is_no_error(place):
    plugin = write(place, "plugin.py", "import helper, not_there_at_all, tools.not_there\n")
    write(place, "helper.py", "def f(:\n")
    write(place, "tools/__init__.py")
    assert {"plugin file", "helper", "tools"} == set(of_file(plugin).files)


def test_nothing_is_imported_to_find_it_out(place):
    plugin = write(place, "plugin.py", "import bomb.inner\nraise SystemExit\n")
    write(place, "bomb/__init__.py", "raise SystemExit\n")
    write(place, "bomb/inner.py", "raise SystemExit\n")
    assert "bomb.inner" in of_file(plugin).files
    assert "bomb" not in sys.modules


def test_a_shipped_plugins_source_is_its_package():
    files = of_entry_point("kdarena_kd").files
    assert {"kdarena_kd", "kdarena_kd.kd", "kdarena_kd.dml"} <= set(files)
    assert of_entry_point("kdarena.method.student:Student").files.keys() == {"kdarena.method.student"}
    assert all(isinstance(file, Path) for file in files.values())
