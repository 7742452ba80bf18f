import pytest
import torch
from execute.cheats.tools import Bench, trained

from kdarena.engines.state import State
from kdarena.testing.run import toy_teacher
from kdarena.testing.task import toy_task
from kdarena.tracks.checkpoints import save
from kdarena.tracks.values import Split


@pytest.fixture(scope="session")
def state():
    return State()


@pytest.fixture(scope="session")
def teacher(tmp_path_factory):
    """The file of a teacher that has learnt the toy task."""
    torch.manual_seed(0)
    task, folder = toy_task(), tmp_path_factory.mktemp("teachers")
    network = trained(toy_teacher(task).requires_grad_(True), task, Split(0), steps=300)
    weights = save(network, folder / "made.safetensors")
    return (folder / "made.safetensors").rename(folder / f"{weights}.safetensors")


@pytest.fixture
def bench(tmp_path, state, teacher):
    return Bench(tmp_path, state, teacher)
