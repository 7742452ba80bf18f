"""Commands over plugins that print, end the process or take another's name."""

import json

PLUGIN = """
from kdarena import Method, Paper, hookimpl
print("spoilt")
method = Method("NAME", "my own", Paper("t", "v", 2026, "u"))
@hookimpl
def loss(step):
    return {"task": step.task.loss(step.student, step.targets)}
"""


def test_a_plugin_that_prints_or_ends_the_process_does_not_spoil_the_listing(kdarena, tmp_path):
    (tmp_path / "prints.py").write_text(PLUGIN.replace("NAME", "prints"))
    (tmp_path / "ends.py").write_text("import os\nos._exit(0)\n")
    done = kdarena("plugins", "--json", "--plugin-path", tmp_path / "prints.py", "--plugin-path", tmp_path / "ends.py")
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert (done.returncode, rows["prints"]["status"], rows["kd"]["status"]) == (0, "ok", "ok")
    assert rows["ends"]["error"].startswith("its import ended the process with exit status 0; ")


def test_an_installed_method_is_run_where_a_file_takes_its_name_and_the_file_is_named(kdarena, tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN.replace("NAME", "kd"))
    done = kdarena("run", "--plugins", "kd", "--tasks", "digits", "--dry-run", "--plugin-path", "./mine.py", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0
    assert "plugin kd of mine.py is broken: the name 'kd' is taken by kdarena, which goes on" in done.stderr
    shown = kdarena("plugins", "show", "kd", "--plugin-path", "mine.py", cwd=tmp_path)
    assert "softened logits" in shown.stdout
    assert "my own" not in shown.stdout
