"""What every task has: batches of its parts, teacher's inputs, ensembles, outputs on a part."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdarena.tracks.branch import Ensemble
from kdarena.tracks.card import TaskCard
from kdarena.tracks.recipe import Recipe
from kdarena.tracks.task import Task
from kdarena.tracks.values import Batch, Half, Outputs, Setting, Split

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


class Counted(Task):
    """Sample number n is the vector (n, n², 1); teachers see its negative. Of two networks' rows every third does not count."""

    evaluation_batch = 2

    def batch(self, half: Half, rows: Tensor, positions: Tensor, random: torch.Generator | None) -> Batch:
        values = rows.float() + (100 if half == "test" else 0)
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


def counted(**changes: Any) -> Counted:
    return Counted(replace(CARD, **changes), Setting())


# batches
def test_a_part_that_published_leaves_empty_is_an_error():
    with pytest.raises(ValueError, match="no validation part"):
        next(counted().part_batches("validation", Split(0, "published")))


def test_a_task_whose_samples_are_all_held_out_has_nothing_to_train_on():
    with pytest.raises(ValueError, match="none is left to train on"):
        next(counted(train=0).batches(Split(0), "augmented"))


def test_every_batch_of_a_part_is_a_sign_of_life():
    task, signs = counted(), []
    task.alive = lambda: signs.append(1)
    assert len(list(task.part_batches("test", Split(0)))) == len(signs) == 4


def test_training_passes_see_each_sample_once_and_drop_the_last_incomplete_batch():
    task = counted()
    augmented = list(islice(task.batches(Split(0), "augmented"), 4))
    assert [len(batch.index) for batch in augmented] == [4, 4, 4, 4]
    assert len(set(torch.cat([batch.index for batch in augmented[:2]]).tolist())) == 8
    plain = list(islice(task.batches(Split(0), "plain"), 3))
    assert sorted(torch.cat([batch.index for batch in plain]).tolist()) == list(range(10))


def test_the_index_is_the_position_in_the_training_part_and_the_inputs_are_those_of_its_row():
    task = counted()
    rows = task.parts.rows("train", Split(0))
    for batch in islice(task.batches(Split(0), "plain"), 5):
        assert torch.equal(batch.inputs[:, 0], rows[batch.index].float())


def test_what_a_method_draws_changes_no_batch():
    first = next(counted().batches(Split(0), "augmented"))
    torch.rand(1000)
    assert torch.equal(first.inputs, next(counted().batches(Split(0), "augmented")).inputs)


# networks
def test_outputs_on_teachers_inputs_are_of_what_teachers_see():
    task = counted()
    network, batches = task.new_network("linear"), list(task.part_batches("test", Split(0)))
    outputs = task.outputs_of(network, batches, teacher_inputs=True)
    seen = torch.cat([batch.teacher_inputs[torch.arange(len(batch.index)) % 3 != 0] for batch in batches])  # type: ignore[index]
    torch.testing.assert_close(outputs.logits, network(seen).detach())


def test_the_map_of_scores_is_that_of_the_logits_and_a_row_of_scores_is_none():
    task = counted()
    maps = torch.zeros(2, 3, 4, 5)
    assert task.score_maps(Outputs(maps))[0] is maps
    with pytest.raises(ValueError, match=r"has no maps of scores: its logits are of shape \[2, 3\]"):
        task.score_maps(Outputs(torch.zeros(2, 3)))


def test_an_ensemble_answers_with_the_log_of_its_members_mean_probability_along_the_classes():
    task = counted()
    members = [task.new_network("linear") for _ in range(3)]
    batch = task.one_batch()
    outputs = task.answered(Ensemble(members), batch)
    mean = sum(member(batch.inputs).softmax(dim=1) for member in members) / 3
    torch.testing.assert_close(outputs.logits.exp(), mean)
    assert len(outputs.exits) == 3


def test_a_reports_rows_are_those_that_count():
    outputs = counted().evaluation("test", Split(0)).outputs(nn.Linear(3, 3))
    assert outputs.logits.shape == (3, 3)  # the second row of three batches of two; the last batch has one row, which does not count


def test_reference_logits_are_of_the_teachers_inputs_and_computed_once():
    task = counted()
    network = task.new_network("linear").eval()
    calls = []
    network.register_forward_hook(lambda *_: calls.append(1))
    first = task.reference_logits(network, "test", Split(0))
    assert task.reference_logits(network, "test", Split(1)) is first
    assert len(calls) == 4
    batch = task.batch("test", torch.tensor([1]), torch.tensor([1]), None)
    assert first is not None and batch.teacher_inputs is not None
    torch.testing.assert_close(first[:1], network(batch.teacher_inputs))


# further metrics
def test_the_gap_is_the_ranked_metric_on_training_samples_less_that_on_test():
    task = counted(metric="top1", metric_groups=("gap",))
    task.metrics = lambda logits, targets, reference: {"top1": float(logits.mean())}  # type: ignore[method-assign]
    network = task.new_network("linear")
    train, test = (task.evaluate(network, part, Split(2))["top1"] for part in ("train", "test"))  # type: ignore[arg-type]
    assert task.further_metrics("gap", network, Split(2)) == {"train_top1": train, "generalisation": train - test}


def test_a_group_that_the_card_does_not_offer_is_refused_by_name():
    with pytest.raises(ValueError, match="'gap'"):
        counted().further_metrics("gap", nn.Linear(3, 3), Split(0))
