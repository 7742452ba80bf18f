"""What a user sees in a terminal of 60 to 200 columns: the real command, on a board that was recorded and not trained."""

import pytest
from cli.terminal import Terminal
from rich.cells import cell_len

from kdarena.cli.cost_command import _columns
from kdarena.cli.output import print_table

WIDTHS = (60, 80, 120, 200)
SKIPPED = "not on the track 'segmentation' in its paper; --scope all runs it there too"
MEANS = {
    "student": 88.0,
    "kd": 89.5,
    "soft-randomization": 91.25,
    "structured-pi-pa": 70.0,
    "okddip-branch": 100.0,
    "dist": 12.5,
    "a-method-of-a-long-name": 60.0,
}
ROWS = [*MEANS, "okddip-branch:ensemble"]


@pytest.fixture(scope="module")
def screens(tmp_path_factory):
    """The board of one record, by the width of the terminal."""
    from conftest import Synthetic

    from kdarena.record.mlflow import MlflowCopy
    from kdarena.record.runs import Record

    out = tmp_path_factory.mktemp("screens") / "out"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(MlflowCopy, "write_missing", lambda copy, seconds=0.0: 0)
        with Record.open(out) as record:
            for spec, result in _runs(Synthetic()):
                record.log(spec, result, setting="default", facts={})
    started = {width: Terminal(width, "leaderboard", "--out", out) for width in WIDTHS}
    return {width: terminal.lines() for width, terminal in started.items()}


def _runs(synthetic):
    for method, mean in MEANS.items():
        for seed in range(3):
            spec = synthetic.spec(method, seed)
            result = synthetic.result(spec, mean + (0.25, -0.5, 0.125)[seed])
            if method == "okddip-branch":
                result.metrics.update({"deploy:ensemble/top1": 99.0, "deploy:ensemble/params": 5000.0})
            yield spec, result
    for method in ("afd", "ban", "crd"):
        spec = synthetic.spec(method, 0, reference=None, teachers=())
        yield spec, synthetic.failure(spec, "skipped", SKIPPED)
    for seed in range(3):
        spec = synthetic.spec("quest", seed)
        yield spec, synthetic.failure(spec, "oom", "memory ran out")


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_longer_than_the_terminal(screens, width):
    assert max(map(cell_len, screens[width])) <= width


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ROWS)
def test_the_name_of_every_row_is_whole_and_begins_its_line(screens, width, name):
    assert [line for line in screens[width] if (line.split(" ")[0] == name and "–" in line) or line.startswith(f"{name} ")]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_answer_comes_before_the_table_and_the_columns_that_answer_before_all_others(screens, width):
    text = " ".join(screens[width])
    assert text.index("Use ") < text.index("method ") < text.index("soft-randomization ", text.index("method "))
    heads = next(line for line in screens[width] if line.startswith("method ")).split()
    assert (heads[0], "student" in heads) == ("method", True)
    for word in ("gain over", "± 95 %", "top1 %"):
        assert any(word in line for line in screens[width])


def test_what_has_room_is_shown(screens):
    shown = {width: next(line for line in screens[width] if line.startswith("method ")) for width in WIDTHS}
    assert "supervision" in shown[120] and "supervision" not in shown[60]
    assert "status" in shown[200] and "status" not in shown[120]


@pytest.mark.parametrize("width", WIDTHS)
def test_methods_without_a_result_share_a_line_for_each_reason_below_the_table(screens, width):
    text = " ".join(" ".join(screens[width]).split())
    assert f"afd, ban, crd: skipped: {SKIPPED}" in text
    assert "quest: oom: seed 0: memory ran out; seed 1: memory ran out" in text
    assert not [line for line in screens[width] if line.startswith(("afd ", "ban ", "crd "))]


@pytest.mark.parametrize("width", WIDTHS)
def test_numbers_of_a_column_are_below_one_another(screens, width):
    rows = [line for line in screens[width] if line.startswith(("student ", "kd ", "okddip-branch ", "dist ")) and "±" in line]
    assert len({line.index(".") for line in rows}) == 1
    assert len({line.index("±") for line in rows}) == 1


@pytest.mark.parametrize("width", [60, 200])
@pytest.mark.parametrize("arguments", [["tasks"], ["tasks", "--pairs"], ["plugins"], ["plugins", "matrix"], ["runs"], ["doctor"]])
def test_the_other_tables_fit_too(kdarena, monkeypatch, screens, tmp_path_factory, width, arguments):
    monkeypatch.setenv("COLUMNS", str(width))
    out = ["--out", next(tmp_path_factory.getbasetemp().glob("screens*/out"))] if arguments[0] in ("runs", "doctor") else []
    lines = kdarena(*arguments, *out).stdout.splitlines()
    table = [line for line in lines if " is not available: " not in line and not line.startswith("kdarena tasks")]
    assert [line for line in table if cell_len(line) > width] == []


def test_step_costs_fit_the_narrowest_screen(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    of = {"phase": "train", "step_cost": 1.944, "error_percent": 0.84, "gflop": 0.01234, "fixed_steps": None}
    rows = [
        {"method": "soft-randomization", **of, "note": None},
        {"method": "crd", **dict.fromkeys(of), "note": "needs feature maps, which the task does not show"},
    ]
    print_table(_columns(rows))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(cell_len, lines)) <= 60
    assert any(line.startswith("soft-randomization ") and " 1.94 " in line and " 0.012" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "column"),
    [(["tasks", "--pairs"], "cifar100:resnet32x4-shufflenetv1"), (["plugins"], "soft-randomization"), (["runs"], "a-method-of-a-long-name")],
)
def test_the_names_of_the_other_tables_are_whole_on_the_narrowest_screen(kdarena, monkeypatch, screens, tmp_path_factory, arguments, column):
    monkeypatch.setenv("COLUMNS", "60")
    out = ["--out", next(tmp_path_factory.getbasetemp().glob("screens*/out"))] if arguments == ["runs"] else []
    assert any(f"{column} " in f"{line} " for line in kdarena(*arguments, *out).stdout.splitlines())
