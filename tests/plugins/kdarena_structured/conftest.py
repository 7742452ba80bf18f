"""A task of dense prediction small enough for tests: a pattern a class painted on the halves of noise images."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from kdarena.testing.task import toy_task
from kdarena.tracks.task import Task
from kdarena.tracks.values import Batch, Outputs, Setting

SIDE = 32
WIDTHS = {"dense-teacher": 12, "dense-student": 6}


class DenseNetwork(nn.Module):
    """Two strided stages, a map ``psp``, and scores [B, C, 8, 8]."""

    def __init__(self, width, classes, pyramid):
        super().__init__()
        self.taps = ((("psp", "pyramid"),) if pyramid else ()) + (("stage1", "one"), ("stage2", "two"))
        self.one = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.pyramid = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 1, 1), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.scores = nn.Conv2d(2 * width, classes, 1)

    def forward(self, x):
        return self.scores(self.pyramid(self.two(self.one(x))))


class DenseTask(Task):
    """Classes of pixels, or their depth: the class itself."""

    def __init__(self, card, setting, *, pyramid=True, batch_side=SIDE):
        super().__init__(card, setting)
        self.pyramid, self.batch_side = pyramid, batch_side
        draws = torch.Generator().manual_seed(0)
        patterns = torch.randn(5, 3, 4, 4, generator=draws)
        halves = torch.randint(5, (card.train + card.validation, 2), generator=draws)
        self.targets_of = halves.repeat_interleave(SIDE // 2, 1)[:, None, :].expand(-1, SIDE, -1)
        painted = patterns[self.targets_of[:, ::4, ::4]].permute(0, 3, 1, 4, 2, 5).reshape(-1, 3, SIDE, SIDE)
        self.images = painted + 0.3 * torch.randn(painted.shape, generator=draws)

    def batch(self, half, rows, positions, random):
        side = SIDE if random is None else self.batch_side
        targets = self.targets_of[rows, :side, :side]
        return Batch(self.images[rows, :, :side, :side], targets if self.card.output == "classes" else targets.float(), positions)

    def answer(self, network, inputs, **arguments):
        answer, features, _ = self.captured(network, inputs, **arguments)
        return Outputs(answer.float(), features)

    def one_batch(self):
        return self.batch("train", torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), None)

    def new_network(self, architecture, *, dropout=0.0):
        return DenseNetwork(WIDTHS[architecture], self.classes, self.pyramid)

    def loss(self, outputs, targets):
        full = functional.interpolate(outputs.logits, targets.shape[1:], mode="bilinear", align_corners=True)
        return functional.cross_entropy(full, targets) if self.card.output == "classes" else functional.l1_loss(full[:, 0], targets)

    def rows(self, outputs):
        if self.card.output == "values":
            raise ValueError("values have no rows of scores")
        return outputs.logits.permute(0, 2, 3, 1).flatten(0, 2), None

    def evaluate(self, network, part, split, reference=None, *, teacher_inputs=False):
        return {"miou": 0.0}


@pytest.fixture
def dense_task():
    """Makes the task; arguments are of the task, or of its card."""

    def make(*, pyramid=True, side=SIDE, batch=4, **card):
        recipe = replace(toy_task().card.recipe, decay="poly", batch_size=batch, lr=0.01)
        fields = {"name": "dense", "track": "segmentation", "teacher": "dense-teacher", "student": "dense-student", "classes": 5, "train": 40, "recipe": recipe}
        known = {**fields, **({"output": "values", "classes": 1} if card.get("output") == "values" else {}), **card}
        return DenseTask(replace(toy_task().card, **known), Setting(), pyramid=pyramid, batch_side=side)

    return make
