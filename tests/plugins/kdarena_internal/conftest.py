"""A small text task with encoders of a few entries, in the place of a real one."""

import pytest
import torch
from torch import nn

from kdarena.testing.task import ToyTask, toy_task
from kdarena.tracks.values import Outputs, Setting

WORDS, LONGEST, WIDTH, HEADS = 20, 9, 8, 2
PADDING, CLS, SEPARATOR = 0, 1, 2
ARCHITECTURES = {"four": (4, HEADS, WIDTH), "two": (2, HEADS, WIDTH), "three": (3, HEADS, WIDTH), "many-headed": (2, 4, WIDTH), "wide": (2, HEADS, 12)}
"""Layers, heads, width."""


class Embeddings(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.words, self.positions, self.norm = nn.Embedding(WORDS, width), nn.Embedding(LONGEST + 8, width), nn.LayerNorm(width)

    def forward(self, tokens):
        return self.norm(self.words(tokens) + self.positions.weight[: tokens.shape[1]])


class Layer(nn.Module):
    def __init__(self, heads, width, dropout=0.1):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.first, self.second, self.dropout = nn.LayerNorm(width), nn.LayerNorm(width), nn.Dropout(dropout)

    def forward(self, x, real):
        query, key, value = (one(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for one in (self.query, self.key, self.value))
        scores = query @ key.transpose(2, 3) / query.shape[3] ** 0.5
        probabilities = scores.masked_fill(~real[:, None, None], -torch.inf).softmax(dim=3)
        attended = self.dropout(probabilities) @ value
        x = self.first(x + self.dropout(self.output(attended.transpose(1, 2).flatten(2))))
        return self.second(x + self.dropout(self.narrow(self.widen(x).relu()))), probabilities


class Encoder(nn.Module):
    def __init__(self, count, heads, width):
        super().__init__()
        self.layer = nn.ModuleList(Layer(heads, width) for _ in range(count))


class ToyEncoder(nn.Module):
    def __init__(self, count, heads, width, classes):
        super().__init__()
        self.embeddings, self.encoder = Embeddings(width), Encoder(count, heads, width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, tokens):
        real = tokens != PADDING
        hidden, attentions = [self.embeddings(tokens)], []
        for layer in self.encoder.layer:
            states, probabilities = layer(hidden[-1], real)
            hidden.append(states)
            attentions.append(probabilities)
        embedding = hidden[-1][:, 0]
        return Outputs(self.classifier(embedding), embedding=embedding, attentions=tuple(attentions), hidden=tuple(hidden), tokens=real)


class ToyText(ToyTask):
    """Sentences of one to six words; the class says whether one of them is among the first."""

    def draw(self, count, random):
        words = torch.randint(3, WORDS, (count, LONGEST), generator=random)
        lengths = torch.randint(3, LONGEST + 1, (count, 1), generator=random)
        positions = torch.arange(LONGEST)
        words[:, 0] = CLS
        words[positions == lengths - 1] = SEPARATOR
        words[positions >= lengths] = PADDING
        return words, ((words > SEPARATOR) & (words < 6)).any(dim=1).long()

    def batch(self, half, rows, positions, random):
        return super().batch(half, rows, positions, None)  # nothing is augmented

    def new_network(self, architecture, *, dropout=0.0):
        return ToyEncoder(*ARCHITECTURES[architecture], self.classes)

    def answer(self, network, inputs, **arguments):
        return network(inputs)

    def optimizer(self, parameters, *, lr, weight_decay):
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)

    def curve(self, progress):
        return 1 - progress


@pytest.fixture
def text_task():
    """Builds the task: ``text_task(teacher="four", student="two")``."""

    def build(teacher="four", student="two", **card):
        fields = {"track": "text", "feature_maps": False, "attentions": 2, **card}
        made = toy_task(classes=2, train=64, teacher=teacher, student=student, **fields)
        return ToyText(made.card, Setting())

    return build
