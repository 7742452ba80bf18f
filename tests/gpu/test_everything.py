"""The command that runs all that needs a GPU goes on after what fails, and lists methods where kdarena is not installed."""

import importlib.metadata

from gpu import everything


def test_methods_are_listed_where_kdarena_is_not_installed(tmp_path):
    everything.described_as_installed(tmp_path)
    (here,) = importlib.metadata.distributions(path=[str(tmp_path)])
    points = {point.name: point.value for point in here.entry_points if point.group == "kdarena"}
    installed = {point.name: point.value for point in importlib.metadata.entry_points(group="kdarena")}
    assert here.version == importlib.metadata.version("kdarena")
    assert points == installed


def test_what_fails_or_takes_too_long_keeps_no_other_part_from_being_run(tmp_path, monkeypatch, capsys):
    waits = "import time; time.sleep(3); print('late')"
    monkeypatch.setattr(
        everything, "parts", lambda out, some: {"tests": (["-c", "1 / 0"], 9.0), "run": (["-c", waits], 0.1), "costs": (["-c", "print(3)"], 9.0)}
    )
    failed = everything.main([str(tmp_path / "out"), "--parts", "tests,run,costs"])
    said = capsys.readouterr().out.splitlines()
    assert failed == 2
    assert [line.split(":")[0] for line in said] == ["tests", "run", "costs"]
    assert "status 1 " in said[0] and "status 124 " in said[1]
    assert (tmp_path / "out" / "costs.txt").read_text().strip() == "3"


def test_some_tests_can_be_chosen(tmp_path):
    command, _ = everything.parts(tmp_path, "boxes or profile")["tests"]
    assert command[-2:] == ["-k", "boxes or profile"]
