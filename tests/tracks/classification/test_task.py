"""The task at work: seeds, splits, forward, evaluation."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kdarena.tracks.classification.cards import card
from kdarena.tracks.classification.data import load_cifar, load_digits
from kdarena.tracks.classification.outliers import photograph
from kdarena.tracks.classification.task import ClassificationTask
from kdarena.tracks.values import Batch, Setting, Split

pytestmark = pytest.mark.filterwarnings("ignore:.*not the original files")


def first(task: ClassificationTask, count: int, seed: int = 0, data: str = "augmented", protocol: str = "validated") -> list[Batch]:
    return list(islice(task.batches(Split(seed, protocol), data), count))


def equal(one: list[Batch], other: list[Batch]) -> bool:
    return all(torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets) and torch.equal(a.index, b.index) for a, b in zip(one, other, strict=True))


def student(task: ClassificationTask, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return task.new_network(task.card.student)


# batches
def test_a_seed_gives_the_same_batches_whatever_else_draws(digits: ClassificationTask):
    undisturbed = first(digits, 20)
    drawn = []
    for batch in islice(digits.batches(Split(0), "augmented"), 20):
        torch.rand(3), torch.manual_seed(5), np.random.rand(), random.random()
        drawn.append(batch)
    assert equal(undisturbed, drawn)


def test_batches_draw_nothing_from_the_global_generator(digits: ClassificationTask):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first(digits, 20), first(digits, 20, data="plain")
    assert torch.equal(before, torch.random.get_rng_state())


def test_another_seed_gives_another_order(digits: ClassificationTask):
    assert not torch.equal(first(digits, 1, seed=0)[0].index, first(digits, 1, seed=1)[0].index)


def test_an_epoch_sees_each_sample_at_most_once_and_the_next_in_another_order(digits: ClassificationTask):
    for protocol, steps, size in (("validated", 7, 500), ("published", 12, 800)):
        found = first(digits, 3 * steps, protocol=protocol)
        assert {len(batch.targets) for batch in found} == {64}
        epochs = [torch.cat([batch.index for batch in found[start : start + steps]]).tolist() for start in range(0, 3 * steps, steps)]
        assert all(len(set(epoch)) == len(epoch) and max(epoch) < size for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == 3


def test_plain_passes_see_every_sample_once_unaugmented(digits: ClassificationTask):
    found = first(digits, 16, data="plain")
    assert [len(batch.targets) for batch in found] == [64] * 7 + [52] + [64] * 7 + [52]
    for half in (found[:8], found[8:]):
        assert torch.cat([batch.index for batch in half]).sort().values.tolist() == list(range(500))
    together = {int(index): image for batch in found[:8] for index, image in zip(batch.index, batch.inputs, strict=True)}
    assert all(torch.equal(image, together[int(index)]) for batch in found[8:] for index, image in zip(batch.index, batch.inputs, strict=True))


def test_augmented_images_are_the_samples_shifted_by_at_most_one_pixel(digits: ClassificationTask):
    plain = {int(index): image for batch in first(digits, 8, data="plain") for index, image in zip(batch.index, batch.inputs, strict=True)}
    background = float(digits._normalise(torch.zeros(1, 8, 8, 1, dtype=torch.uint8))[0, 0, 0, 0])
    offsets = set()
    for batch in first(digits, 5):
        for index, image in zip(batch.index, batch.inputs, strict=True):
            padded = nn.functional.pad(plain[int(index)], (1, 1, 1, 1), value=background)
            matches = [(y, x) for y in range(3) for x in range(3) if torch.equal(image[0], padded[0, y : y + 8, x : x + 8])]
            assert matches
            offsets.update(matches)
    assert len(offsets) == 9


def test_a_set_smaller_than_a_batch_is_one_batch():
    small = load_digits()
    cut = copy.copy(small)
    object.__setattr__(cut, "train_images", small.train_images[:340])
    object.__setattr__(cut, "train_labels", small.train_labels[:340])
    task = ClassificationTask(card("digits"), Setting(), cut)
    assert [len(batch.targets) for batch in first(task, 3)] == [40, 40, 40]


def test_a_streamed_set_gives_the_batches_of_a_resident_one(small_cifar: Path):
    data = load_cifar("cifar100", str(small_cifar))
    found = []
    for streaming in (False, True):
        task = ClassificationTask(card("cifar100"), Setting(), data, streaming=streaming)
        found.append(first(task, 4, protocol="published"))
    assert equal(*found)
    assert found[0][0].inputs.shape == (64, 3, 32, 32)


# auxiliary inputs
def test_auxiliary_inputs_are_batches_as_training_has_them_of_the_named_patches_shifted_by_at_most_one_pixel(digits: ClassificationTask):
    batch = next(digits.auxiliary(Split(0)))
    assert batch.shape == first(digits, 1)[0].inputs.shape
    data = load_digits()
    pixels = ((batch * data.std[0] + data.mean[0]) * 16).round().byte()[:, 0]
    padded = nn.functional.pad(torch.from_numpy(photograph("china"))[..., 0], (1, 1, 1, 1))
    places = torch.cat([padded[:, y : y + 8, x : x + 8] for y in range(3) for x in range(3)])
    known = {patch.numpy().tobytes() for patch in places}
    assert all(image.numpy().tobytes() in known for image in pixels)


def test_a_seed_gives_the_same_auxiliary_inputs_whatever_else_draws(digits: ClassificationTask):
    one = list(islice(digits.auxiliary(Split(0)), 30))
    torch.manual_seed(5)
    assert all(torch.equal(a, b) for a, b in zip(one, islice(digits.auxiliary(Split(0)), 30), strict=True))
    assert not torch.equal(one[0], next(digits.auxiliary(Split(1))))


def test_auxiliary_inputs_draw_nothing_from_the_global_generator(digits: ClassificationTask):
    before = torch.random.get_rng_state()
    list(islice(digits.auxiliary(Split(0)), 30))
    assert torch.equal(before, torch.random.get_rng_state())


def test_auxiliary_inputs_that_are_missing_are_an_error_that_names_the_task(small_cifar: Path):
    task = ClassificationTask(card("cifar100"), Setting(), load_cifar("cifar100", str(small_cifar)))
    with pytest.raises(ValueError, match="cifar100:.* has no auxiliary images below the data root"):
        next(task.auxiliary(Split(0)))


# labels and pixels
@pytest.mark.parametrize("protocol", ["validated", "published"])
def test_labels_of_the_training_part_are_in_the_order_of_a_batchs_index(digits: ClassificationTask, protocol: str):
    split = Split(1, protocol)  # type: ignore[arg-type]
    labels = digits.targets(split)
    assert len(labels) == digits.size("train", split)
    for data in ("augmented", "plain"):
        for batch in first(digits, 9, seed=1, data=data, protocol=protocol):
            assert torch.equal(labels[batch.index], batch.targets)


def test_a_parts_inputs_are_its_plain_samples_in_the_order_of_its_labels(digits: ClassificationTask):
    plain = {int(index): image for batch in first(digits, 8, data="plain") for index, image in zip(batch.index, batch.inputs, strict=True)}
    inputs = torch.cat([batch.inputs for batch in digits.part_batches("train", Split(0))])
    assert all(torch.equal(image, plain[position]) for position, image in enumerate(inputs))


def test_inputs_times_the_pixels_deviation_are_pixels_less_their_mean(digits: ClassificationTask):
    data = load_digits()
    inputs = torch.cat([batch.inputs for batch in digits.part_batches("test", Split(0))])
    pixels = torch.from_numpy(data.test_images).permute(0, 3, 1, 2).float() / 16
    torch.testing.assert_close(inputs * digits.pixel_std, pixels - data.mean[0])


def test_each_channel_has_a_deviation_of_its_own(small_cifar: Path):
    task = ClassificationTask(card("cifar100"), Setting(), load_cifar("cifar100", str(small_cifar)))
    torch.testing.assert_close(task.pixel_std, torch.tensor([[[0.2675]], [[0.2565]], [[0.2761]]]))


def test_the_predictor_of_raw_images_answers_as_the_network_does_to_normalised_ones(digits: ClassificationTask, small_cifar: Path):
    colour = ClassificationTask(card("cifar100:resnet14-resnet8"), Setting(), load_cifar("cifar100", str(small_cifar)))
    for task in (digits, colour):
        network = student(task).eval()
        images = torch.from_numpy(task._data.test_images[:9]).permute(0, 3, 1, 2).float() / task._data.peak
        inputs = next(task.part_batches("test", Split(0))).inputs[:9]
        torch.testing.assert_close(task._predictor(network)(images), task.forward(network, inputs).logits, atol=1e-4, rtol=1e-4)


# splits
def test_the_split_is_cut_by_seed_and_parts_do_not_overlap(digits: ClassificationTask):
    for seed in (0, 1):
        train, validation = digits.parts.rows("train", Split(seed)).tolist(), digits.parts.rows("validation", Split(seed)).tolist()
        assert len(train) == 500 and len(validation) == 300
        assert sorted(train + validation) == list(range(800))
    assert digits.parts.rows("validation", Split(0)).tolist() != digits.parts.rows("validation", Split(1)).tolist()


def test_published_trains_on_all_and_leaves_no_validation(digits: ClassificationTask):
    assert digits.size("train", Split(0, "published")) == 800 and digits.size("validation", Split(0, "published")) == 0
    with pytest.raises(ValueError, match="trains on all of train, so it has no validation part"):
        digits.evaluate(student(digits), "validation", Split(0, "published"))


# networks
def test_a_network_is_initialised_from_the_global_generator_alone(digits: ClassificationTask):
    one, other, third = student(digits, 0), student(digits, 0), student(digits, 1)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())
    assert not torch.equal(next(one.parameters()), next(third.parameters()))


def test_forward_gives_logits_maps_and_embedding_in_fp32(digits: ClassificationTask):
    outputs = digits.forward(student(digits), first(digits, 1)[0].inputs)
    assert outputs.logits.shape == (64, 10)
    assert {name: tuple(feature.shape) for name, feature in outputs.features.items()} == {
        "stage1": (64, 4, 8, 8),
        "stage2": (64, 6, 4, 4),
        "stage3": (64, 6, 4, 4),
    }
    assert outputs.embedding is not None and outputs.embedding.shape == (64, 6)
    assert {outputs.logits.dtype, outputs.embedding.dtype, outputs.feature_map.dtype} == {torch.float32}


def test_forward_under_bf16_gives_fp32_results_near_the_exact_ones(digits: ClassificationTask):
    coarse = card("digits").load(card("digits"), Setting(precision="bf16"))
    network, inputs = student(digits).eval(), first(digits, 1)[0].inputs
    exact, rounded = digits.forward(network, inputs), coarse.forward(network, inputs)
    assert {rounded.logits.dtype, rounded.feature_map.dtype} == {torch.float32}
    assert not torch.equal(exact.logits, rounded.logits)
    torch.testing.assert_close(exact.logits, rounded.logits, atol=0.1, rtol=0.05)


def test_a_network_of_ones_own_without_taps_gives_logits_alone(digits: ClassificationTask):
    outputs = digits.forward(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), first(digits, 1)[0].inputs)
    assert outputs.logits.shape == (64, 10) and not outputs.features and outputs.embedding is None


def test_a_network_of_ones_own_with_taps_gives_its_maps(digits: ClassificationTask):
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(108, 10))
    network.taps, network.head = (("stage1", "0"),), "2"
    outputs = digits.forward(network, first(digits, 1)[0].inputs)
    assert outputs.feature_map.shape == (64, 3, 6, 6)
    assert outputs.embedding is not None and outputs.embedding.shape == (64, 108)


def test_arguments_reach_the_network(digits: ClassificationTask):
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
            return x.flatten(1)[:, :10] * scale

    inputs = first(digits, 1)[0].inputs
    assert torch.equal(digits.forward(Scaled(), inputs, scale=2.0).logits, 2 * digits.forward(Scaled(), inputs).logits)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_network_that_answers_with_exits_shows_them_in_fp32(precision: str):
    class Exits(nn.Linear):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
            logits = super().forward(x.flatten(1))
            return logits, (logits + 1, logits + 2), (x.flatten(1), -x.flatten(1))

    task = card("digits").load(card("digits"), Setting(precision=precision))  # type: ignore[arg-type]
    inputs = torch.randn(4, 1, 8, 8)
    outputs = task.forward(Exits(64, 10), inputs)
    assert {one.dtype for one in (outputs.logits, *outputs.exits, *outputs.exit_embeddings)} == {torch.float32}
    torch.testing.assert_close(outputs.exits, (outputs.logits + 1, outputs.logits + 2), atol=0.05, rtol=0.05)
    assert torch.equal(outputs.exit_embeddings[1], -inputs.flatten(1))


def test_a_network_without_exits_shows_none(digits: ClassificationTask):
    outputs = digits.forward(student(digits), first(digits, 1)[0].inputs)
    assert (outputs.exits, outputs.exit_embeddings) == ((), ())


def test_shapes_are_those_of_forward_and_leave_no_trace(digits: ClassificationTask):
    network = student(digits).train()
    before, state = copy.deepcopy(network.state_dict()), torch.random.get_rng_state()
    shapes = digits.shapes(network)
    assert shapes.logits == (10,) and shapes.embedding == (6,)
    assert shapes.features == {"stage1": (4, 8, 8), "stage2": (6, 4, 4), "stage3": (6, 4, 4)} and shapes.feature_map == (6, 4, 4)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state()) and all(each.training for each in network.modules())


def test_networks_of_colour_images_are_channels_last_and_learn_the_same(small_cifar: Path):
    task = ClassificationTask(card("cifar100:resnet14-resnet8"), Setting(), load_cifar("cifar100", str(small_cifar)))
    network, batch = student(task), first(task, 1, protocol="published")[0]
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    assert batch.inputs.is_contiguous(memory_format=torch.channels_last) and network.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    found = task.forward(network, batch.inputs)
    torch.testing.assert_close(found.logits, plain(batch.inputs.contiguous()), atol=1e-4, rtol=1e-4)


# optimiser
def steps(task: ClassificationTask, count: int) -> nn.Module:
    network = student(task).train()
    optimizer = task.optimizer(network.parameters(), lr=0.1, weight_decay=5e-4)
    for batch in first(task, count):
        task.loss(task.forward(network, batch.inputs), batch.targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    return network


def test_training_is_bitwise_reproducible(digits: ClassificationTask):
    one, other = steps(digits, 30), steps(digits, 30)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


def test_the_optimiser_is_sgd_with_momentum_and_weight_decay(digits: ClassificationTask):
    parameter = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = digits.optimizer([parameter], lr=0.1, weight_decay=0.01)
    value, velocity = torch.tensor([1.0, -2.0]), torch.zeros(2)
    for gradient in (torch.tensor([0.5, 0.25]), torch.tensor([-1.0, 2.0])):
        parameter.grad = gradient.clone()
        optimizer.step()
        velocity = 0.9 * velocity + gradient + 0.01 * value
        value = value - 0.1 * velocity
    torch.testing.assert_close(parameter.detach(), value)


def test_the_curve_steps_down_at_the_milestones(digits: ClassificationTask):
    assert [round(digits.curve(progress), 6) for progress in (0, 0.62, 0.625, 0.74, 0.75, 0.874, 0.875, 0.999)] == [1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]


# evaluation
def test_evaluation_is_over_the_whole_part_unaugmented(digits: ClassificationTask):
    network, data = student(digits), load_digits()
    pixels = (torch.from_numpy(data.test_images).permute(0, 3, 1, 2).float() / 16 - data.mean[0]) / data.std[0]
    with torch.no_grad():
        logits = copy.deepcopy(network).eval()(pixels)
    correct = (logits.argmax(1) == torch.from_numpy(data.test_labels)).double().mean()
    found = digits.evaluate(network, "test", Split(0))
    assert found["top1"] == pytest.approx(100 * float(correct))
    assert found["nll"] == pytest.approx(float(nn.functional.cross_entropy(logits, torch.from_numpy(data.test_labels))), rel=1e-5)


def test_evaluation_puts_every_module_back_into_its_mode(digits: ClassificationTask):
    network = digits.new_network("digits-teacher", dropout=0.5).eval()
    for each in network.modules():
        if isinstance(each, nn.Dropout):
            each.train()
    before, buffers = [each.training for each in network.modules()], copy.deepcopy(network.state_dict())
    assert digits.evaluate(network, "validation", Split(0)) == digits.evaluate(network, "validation", Split(0))
    assert [each.training for each in network.modules()] == before
    assert all(torch.equal(buffers[name], tensor) for name, tensor in network.state_dict().items())


def test_a_reference_is_evaluated_once_for_a_part(digits: ClassificationTask, monkeypatch: pytest.MonkeyPatch):
    network, reference = student(digits), digits.new_network("digits-teacher").eval()
    called: list[nn.Module] = []
    forward = ClassificationTask.forward
    monkeypatch.setattr(ClassificationTask, "forward", lambda self, net, *rest, **named: (called.append(net), forward(self, net, *rest, **named))[1])
    one = digits.evaluate(network, "test", Split(0), reference)
    other = digits.evaluate(network, "test", Split(1), reference)
    assert one == other and called.count(reference) == 2 and called.count(network) == 4  # 997 samples are two batches
    digits.evaluate(network, "validation", Split(0), reference)
    assert called.count(reference) == 3


def test_a_network_agrees_with_itself(digits: ClassificationTask):
    network = student(digits)
    found = digits.evaluate(network, "test", Split(0), reference=network)
    assert found["agreement"] == 100 and found["teacher_kl"] == pytest.approx(0, abs=1e-6)


def test_latency_is_of_one_sample_and_leaves_the_mode_alone(digits: ClassificationTask):
    network = student(digits).train()
    seen: list[torch.Size] = []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    assert digits.latency_ms(network) > 0
    assert set(seen) == {torch.Size([1, 1, 8, 8])} and network.training


def test_writing_data_of_another_protocol_changes_nothing(tmp_path: Path, write: Callable[..., None]):
    digests = set()
    for protocol in (2, 5):
        write(tmp_path / str(protocol), "cifar100", 10, protocol)
        digests.add(load_cifar("cifar100", str(tmp_path / str(protocol))).digest)
    assert len(digests) == 1
