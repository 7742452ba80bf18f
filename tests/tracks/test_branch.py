"""A branch is the network's own rest; an ensemble is the mean of its members' probabilities."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kdarena.tracks import find_card
from kdarena.tracks.branch import Ensemble, cut
from kdarena.tracks.classification.models import ARCHITECTURES, create
from kdarena.tracks.classification.task import ClassificationTask
from kdarena.tracks.values import Setting, Split

CUT = ("digits-student", "digits-teacher", "resnet14", "resnet8x4", "resnet50", "shufflenetv1")
"""Of every family whose networks can be cut."""


@pytest.fixture(scope="module")
def digits() -> ClassificationTask:
    task = find_card("digits").load(find_card("digits"), Setting())
    assert isinstance(task, ClassificationTask)
    return task


class Times(nn.Module):
    """A block that multiplies by a number that it learns."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Product(nn.Module):
    """Three stages of two blocks each, and a head that gives the embedding itself and its double."""

    taps = (("stage1", "first"), ("stage2", "second"), ("stage3", "third"))

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(Times(2.0), Times(3.0))
        self.second = nn.Sequential(Times(5.0), Times(7.0))
        self.third = nn.Sequential(Times(11.0), Times(13.0))
        self.head = nn.Linear(1, 2, bias=False)
        self.head.weight.data = torch.tensor([[1.0], [2.0]])

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.third(self.second(self.first(x))).mean(dim=(2, 3)))
        return logits


class Fixed(nn.Module):
    """Answers with the logits that it was given, or with a tuple that begins with them."""

    def __init__(self, logits: Tensor, exits: bool = False):
        super().__init__()
        self.logits, self.exits = logits, exits

    def forward(self, x: Tensor) -> object:
        return (self.logits, (self.logits * 0,), (self.logits,)) if self.exits else self.logits


# branches
@pytest.mark.parametrize("name", CUT)
def test_a_cut_network_goes_on_from_the_stages_map_to_the_logits_of_the_whole(digits: ClassificationTask, name: str):
    torch.manual_seed(0)
    network = create(name, 10).eval()
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        whole = digits.forward(network, images)
        for stage in list(whole.features)[:-1]:
            branch = cut(network, stage)
            embedding = branch(whole.features[stage])
            torch.testing.assert_close(embedding, whole.embedding)
            torch.testing.assert_close(branch.head(embedding), network(images))


def test_every_family_that_can_be_cut_is_tried_here():
    families = {(one.module, one.builder) for one in ARCHITECTURES.values() if one.branches}
    assert families == {(ARCHITECTURES[name].module, ARCHITECTURES[name].builder) for name in CUT}


def test_a_branch_has_exactly_the_networks_own_parameters_behind_the_cut():
    network = create("resnet8", 10)
    behind = {id(one) for name, one in network.named_parameters() if name.startswith(("layer2", "layer3", "fc"))}
    assert {id(one) for one in cut(network, "stage1").parameters()} == behind


def test_a_branch_learns_with_its_network():
    network, x = Product(), torch.ones(1, 1, 2, 2)
    branch = cut(network, "stage1")
    before = branch(x).item()
    network.third[0].factor.data.mul_(10)
    assert branch(x).item() == pytest.approx(10 * before)


def test_gradients_through_a_branch_reach_what_lies_behind_the_cut_and_its_input():
    network, x = Product(), torch.ones(1, 1, 2, 2, requires_grad=True)
    branch = cut(network, "stage2")
    branch.head(branch(x)).sum().backward()
    reached = {name for name, one in network.named_parameters() if one.grad is not None}
    assert reached == {"third.0.factor", "third.1.factor", "head.weight"}
    assert x.grad is not None


@pytest.mark.parametrize(("after", "blocks", "factor"), [("stage1", None, 5 * 7 * 11 * 13), ("stage1", 1, 5 * 11), ("stage2", 1, 11), ("stage1", 2, 5005)])
def test_a_branch_keeps_the_first_blocks_of_each_later_stage(after: str, blocks: int | None, factor: float):
    assert cut(Product(), after, blocks)(torch.ones(1, 1, 2, 2)).item() == pytest.approx(factor)


def test_a_branch_of_first_blocks_leads_to_the_same_head():
    network = create("resnet20", 10).eval()
    branch = cut(network, "stage1", blocks=1)
    embedding = branch(torch.randn(2, 16, 32, 32))
    assert branch.head is network.fc
    assert branch.head(embedding).shape == (2, 10)


@pytest.mark.parametrize("after", ["stage3", "stage0", "layer1"])
def test_a_branch_behind_no_stage_or_the_last_is_refused_with_the_stages_there_are(after: str):
    with pytest.raises(ValueError, match=f"behind one of stage1, stage2, not behind '{after}'"):
        cut(Product(), after)


def test_a_network_without_stages_is_not_cut():
    with pytest.raises(ValueError, match="no stage"):
        cut(nn.Linear(2, 2), "stage1")


def test_a_task_cuts_its_student_where_its_card_says_so(digits: ClassificationTask):
    assert digits.card.branches
    network = digits.new_network("digits-student")
    assert digits.branch(network, "stage2").head is network.fc


def test_a_task_whose_student_is_not_made_of_whole_stages_refuses_to_cut_it():
    described = find_card("cifar100:vgg13-vgg8")
    assert not described.branches
    task = ClassificationTask.__new__(ClassificationTask)
    task.card = described
    with pytest.raises(ValueError, match="vgg8"):
        task.branch(create("vgg8", 10), "stage1")


# ensembles
def members(count: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [4 * torch.randn(5, 7, generator=generator) for _ in range(count)]


def test_an_ensemble_answers_with_the_logarithm_of_the_mean_of_its_members_probabilities():
    logits = members()
    found, _, _ = Ensemble(Fixed(one) for one in logits)(torch.zeros(5, 1))
    torch.testing.assert_close(found, sum(one.double().softmax(1) for one in logits).div(3).log().float())


def test_an_ensemble_shows_its_members_logits_as_exits():
    logits = members()
    _, exits, embeddings = Ensemble(Fixed(one) for one in logits)(torch.zeros(5, 1))
    assert all(torch.equal(found, one) for found, one in zip(exits, logits, strict=True))
    assert embeddings == ()


def test_of_a_member_with_exits_an_ensemble_takes_the_last_logits():
    logits = members(2)
    found, exits, _ = Ensemble([Fixed(logits[0], exits=True), Fixed(logits[1])])(torch.zeros(5, 1))
    expected, _, _ = Ensemble(Fixed(one) for one in logits)(torch.zeros(5, 1))
    assert torch.equal(found, expected)
    assert torch.equal(exits[0], logits[0])


def test_an_ensemble_of_certain_members_that_disagree_is_finite_and_even():
    certain = torch.tensor([[1e4, -1e4]])
    found, _, _ = Ensemble([Fixed(certain), Fixed(-certain)])(torch.zeros(1, 1))
    torch.testing.assert_close(found.exp(), torch.tensor([[0.5, 0.5]]))


def test_an_ensemble_is_scored_as_any_network(digits: ClassificationTask):
    networks = [digits.new_network("digits-student") for _ in range(2)]
    inputs = torch.cat([batch.inputs for batch in digits.part_batches("test", Split(0))])
    with torch.no_grad():
        mean = sum(network.eval()(inputs).softmax(1) for network in networks)
    correct = (mean.argmax(1) == digits.part_targets("test", Split(0))).double().mean()
    assert digits.evaluate(Ensemble(networks), "test", Split(0))["top1"] == pytest.approx(100 * float(correct))
