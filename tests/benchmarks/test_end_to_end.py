"""Images a second of distillation end to end, against a plain fp32 loop over PIL transforms and a DataLoader."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from benchmarks import tools
from kdarena.plan.machine import find_machine
from kdarena.tracks.torchvision import import_torchvision


def plain_step(task):
    """What public tools run: PIL images, torchvision's transforms one by one, a DataLoader, fp32, contiguous tensors."""
    import_torchvision()
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    data = tools.made_up_cifar()
    transform = transforms.Compose(
        [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
    )

    class Pictures(Dataset):
        def __len__(self):
            return len(data.train_images)

        def __getitem__(self, index):
            return transform(Image.fromarray(data.train_images[index])), int(data.train_labels[index])

    def endless():
        while True:
            yield from DataLoader(Pictures(), batch_size=64, shuffle=True, drop_last=True)

    batches = endless()
    teacher = task.new_network(task.card.teacher).to(memory_format=torch.contiguous_format).eval()
    student = task.new_network(task.card.student).to(memory_format=torch.contiguous_format).train()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)

    def step():
        images, labels = next(batches)
        with torch.no_grad():
            target = teacher(images)
        logits = student(images)
        soft = functional.kl_div(functional.log_softmax(logits / 4, 1), functional.softmax(target / 4, 1), reduction="batchmean") * 16
        optimizer.zero_grad()
        (0.1 * functional.cross_entropy(logits, labels) + 0.9 * soft).backward()
        optimizer.step()

    return step


@pytest.mark.benchmark
@pytest.mark.parametrize("pair", ["resnet56-resnet20", "resnet32x4-resnet8x4"])
def test_distillation_trains_faster_end_to_end_than_a_plain_loop(pair, figure):
    machine = find_machine("cpu", 1)
    task = tools.cifar_task(pair)
    precision = "bf16" if machine.fast_bf16 else "fp32"
    task = tools.cifar_task(pair, precision)
    plain = plain_step(tools.cifar_task(pair))
    ratio, own, reference = tools.in_turn(tools.harness_step(task), plain, steps=1 if tools.SHORT else 4, groups=1 if tools.SHORT else 4)
    # 1.8 is what a CPU with bf16 instructions has to reach; without them fp32 is all there is, and the plain loop runs it too
    wanted = 1.8 if machine.fast_bf16 else 1.0
    what = f"`kd` end to end on {pair}, {precision}: images a second / a loop as public tools run it (PIL, DataLoader, fp32)"
    figure(what, f"{64 / own:.0f} / {64 / reference:.0f} = {1 / ratio:.2f}", f"≥ {wanted}")
    assert 1 / ratio >= wanted * (0.6 if tools.SHORT else 1.0)
