"""A method that goes wrong while it runs has a status and one line that says where and what; the next run is as ever."""

import pytest
import torch
from broken.runs import BROKEN
from execute.cheats.tools import Bench, cheat

from kdarena.engines.state import State
from kdarena.testing.run import toy_teacher
from kdarena.testing.task import toy_task
from kdarena.tracks.checkpoints import save


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    made = folder / "made.safetensors"
    weights = save(toy_teacher(toy_task()), made)
    (folder / "teachers").mkdir()
    return Bench(folder, State(), made.rename(folder / "teachers" / f"{weights}.safetensors"))


@pytest.mark.parametrize("case", BROKEN)
def test_what_goes_wrong_is_one_line(bench, case, capfd):
    hooks, status, *words = BROKEN[case]
    result = bench.run(cheat(**hooks))
    said = result.error or ""
    assert result.status == status, said
    assert all(word in said for word in words), said
    assert "\n" not in said
    assert "Traceback" not in capfd.readouterr().err


def test_the_next_run_is_as_ever(bench):
    before = bench.run(cheat()).metrics
    for case in ("raises at the third step", "leaves", "nan at step 7"):
        bench.run(cheat(**BROKEN[case][0]))
    assert bench.run(cheat()).metrics == before
