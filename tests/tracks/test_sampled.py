"""The base of all tracks: parts, batches, recipe, teacher's inputs, decoders, ensembles."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW

from kdarena.tracks.branch import Ensemble
from kdarena.tracks.card import Recipe, TaskCard
from kdarena.tracks.sampled import SampledTask, Split
from kdarena.tracks.task import Batch, Outputs, Setting

RECIPE = Recipe(lr=0.1, weight_decay=0.01, momentum=0.9, batch_size=4, teacher_epochs=1)
CARD = TaskCard(
    name="counted",
    track="text",
    data_set="counted",
    teacher="linear",
    student="linear",
    classes=3,
    train=10,
    validation=5,
    test=7,
    metric="accuracy",
    recipe=RECIPE,
    missing=lambda data_root: None,
    digest=lambda data_root: "0" * 16,
    load=lambda card, setting: Counted(card, setting),
)


class Counted(SampledTask):
    """Sample number n is the vector (n, n², 1); teachers see its negative. Of two networks' rows every third does not count."""

    evaluation_batch = 2

    def batch(self, split: Split, rows: Tensor, positions: Tensor, random: torch.Generator | None) -> Batch:
        values = rows.float() + (100 if split == "test" else 0)
        inputs = torch.stack([values, values**2, torch.ones(len(rows))], dim=1)
        noise = 0 if random is None else torch.rand(inputs.shape, generator=random)
        return Batch(inputs + noise, rows % 3, positions, teacher_inputs=-inputs)

    def one_batch(self) -> Batch:
        return self.batch("train", torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), None)

    def answer(self, network: nn.Module, inputs: Tensor, **arguments: Any) -> Outputs:
        logits = network(inputs)
        return Outputs(logits, counted=torch.arange(len(inputs)) % 3 != 0)

    def new_network(self, architecture: str, *, dropout: float = 0.0) -> nn.Module:
        return nn.Linear(3, self.classes)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs.logits, targets)

    def rows(self, outputs: Outputs) -> tuple[Tensor, Tensor | None]:
        return outputs.logits, outputs.counted

    def evaluate(self, network, part, seed, protocol, reference=None, *, teacher_inputs=False):
        return {"rows": float(sum(len(outputs.logits) for _, outputs in self.outputs_on(network, part, seed, protocol, teacher_inputs=teacher_inputs)))}


def counted(**changes: Any) -> Counted:
    return Counted(replace(CARD, **changes), Setting())


# parts
def test_parts_are_cut_by_seed_disjoint_and_complete():
    task = counted()
    train, validation = (task.part_rows(part, 3, "validated").tolist() for part in ("train", "validation"))  # type: ignore[arg-type]
    assert sorted(train + validation) == list(range(15))
    assert (len(train), len(validation), task.size("test", 3, "validated")) == (10, 5, 7)
    assert validation != task.part_rows("validation", 4, "validated").tolist()


def test_published_trains_on_all_of_train_and_holds_nothing_out():
    task = counted()
    assert task.part_rows("train", 0, "published").tolist() == list(range(15))
    with pytest.raises(ValueError, match="no validation part"):
        next(task.part_batches("validation", 0, "published"))


def test_a_fixed_validation_part_is_the_last_rows_under_every_seed_and_never_trained_on():
    task = Counted(CARD, Setting(), fixed_validation=True)
    for seed in (0, 1):
        assert task.part_rows("validation", seed, "validated").tolist() == list(range(10, 15))
    for protocol in ("validated", "published"):
        assert task.part_rows("train", 0, protocol).tolist() == list(range(10))
    assert task.size("validation", 0, "published") == 0


def test_every_batch_of_a_part_is_a_sign_of_life():
    task, signs = counted(), []
    task.alive = lambda: signs.append(1)
    assert len(list(task.part_batches("test", 0, "validated"))) == len(signs) == 4


# batches
def test_training_passes_see_each_sample_once_and_drop_the_last_incomplete_batch():
    task = counted()
    augmented = list(islice(task.batches(0, "validated", "augmented"), 4))
    assert [len(batch.index) for batch in augmented] == [4, 4, 4, 4]
    assert len(set(torch.cat([batch.index for batch in augmented[:2]]).tolist())) == 8
    plain = list(islice(task.batches(0, "validated", "plain"), 3))
    assert sorted(torch.cat([batch.index for batch in plain]).tolist()) == list(range(10))


def test_the_index_is_the_position_in_the_training_part_and_the_inputs_are_those_of_its_row():
    task = counted()
    rows = task.part_rows("train", 0, "validated")
    for batch in islice(task.batches(0, "validated", "plain"), 5):
        assert torch.equal(batch.inputs[:, 0], rows[batch.index].float())


def test_what_a_method_draws_changes_no_batch():
    first = next(counted().batches(0, "validated", "augmented"))
    torch.rand(1000)
    assert torch.equal(first.inputs, next(counted().batches(0, "validated", "augmented")).inputs)


# networks
def test_outputs_on_teachers_inputs_are_of_what_teachers_see():
    task = counted()
    network = task.new_network("linear")
    for batch, outputs in task.outputs_on(network, "test", 0, "validated", teacher_inputs=True):
        assert batch.teacher_inputs is not None
        torch.testing.assert_close(outputs.logits, network(batch.teacher_inputs))


def test_two_networks_evaluated_side_by_side_leave_modes_and_gradients_as_they_were():
    task = counted()
    one, other = task.new_network("linear").train(), task.new_network("linear").eval()
    pairs = zip(task.outputs_on(one, "test", 0, "validated"), task.outputs_on(other, "test", 0, "validated"), strict=True)
    for (_, outputs), _ in pairs:
        assert torch.is_grad_enabled() and not outputs.logits.requires_grad
    next(task.outputs_on(one, "test", 0, "validated"))  # and one that is left in the middle
    assert torch.is_grad_enabled() and one.training and not other.training


def test_an_ensemble_answers_with_the_log_of_its_members_mean_probability_along_the_classes():
    task = counted()
    members = [task.new_network("linear") for _ in range(3)]
    batch = task.one_batch()
    outputs = task.answered(Ensemble(members), batch)
    mean = sum(member(batch.inputs).softmax(dim=1) for member in members) / 3
    torch.testing.assert_close(outputs.logits.exp(), mean)
    assert len(outputs.exits) == 3


def test_a_reports_rows_are_those_that_count():
    outputs = counted().evaluation("test", 0, "validated").outputs(nn.Linear(3, 3))
    assert outputs.logits.shape == (3, 3)  # the second row of three batches of two; the last batch has one row, which does not count


def test_reference_logits_are_of_the_teachers_inputs_and_computed_once():
    task = counted()
    network = task.new_network("linear").eval()
    calls = []
    network.register_forward_hook(lambda *_: calls.append(1))
    first = task.reference_logits(network, "test", 0, "validated")
    assert task.reference_logits(network, "test", 1, "validated") is first
    assert len(calls) == 4
    batch = task.batch("test", torch.tensor([1]), torch.tensor([1]), None)
    assert first is not None and batch.teacher_inputs is not None
    torch.testing.assert_close(first[:1], network(batch.teacher_inputs))


# the recipe
@pytest.mark.parametrize(
    ("decay", "expected"),
    [("poly", lambda p: (1 - p) ** 0.9), ("linear", lambda p: (1 - p) / 0.9), ("cosine", lambda p: (1 + math.cos(math.pi * (p - 0.1) / 0.9)) / 2)],
)
def test_each_decay_warms_up_linearly_and_then_falls_to_zero(decay, expected):
    task = counted(recipe=replace(RECIPE, decay=decay, warmup=0.1))
    assert task.curve(0.05) == pytest.approx(0.5)
    for progress in (0.1, 0.3, 0.8, 0.999):
        assert task.curve(progress) == pytest.approx(expected(progress))
    assert task.curve(0.9999) < 0.001


def test_steps_multiply_by_gamma_at_each_milestone():
    task = counted(recipe=replace(RECIPE, milestones=(0.5, 0.75)))
    assert [task.curve(progress) for progress in (0.4, 0.5, 0.9)] == pytest.approx([1, 0.1, 0.01])


def test_adam_w_leaves_vectors_undecayed_and_adam_is_adam():
    parameters = [nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2))]
    found = counted(recipe=replace(RECIPE, optimizer="adamw")).optimizer(parameters, lr=0.1, weight_decay=0.5)
    assert isinstance(found, AdamW)
    assert {group["params"][0].dim(): group["weight_decay"] for group in found.param_groups} == {2: 0.5, 1: 0.0}
    assert type(counted(recipe=replace(RECIPE, optimizer="adam")).optimizer(parameters, lr=0.1, weight_decay=0.0)) is Adam
