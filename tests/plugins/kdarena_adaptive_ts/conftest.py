"""A decoder task in miniature: one frame a token, noisier for the student; a token also hangs on all tokens before it."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from kdarena.testing.run import make_run
from kdarena.tracks.card import TaskCard
from kdarena.tracks.recipe import Recipe
from kdarena.tracks.task import Task
from kdarena.tracks.values import Batch, Outputs, Setting, Split

END, START, WORDS, LONGEST = 0, 1, range(2, 7), 6
CLASSES = 7


class Speller(nn.Module):
    """A recurrent decoder over frames [B, T, C] that is fed a history [B, L]: logits [B, L, C]."""

    def __init__(self, width=16):
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, width)
        self.recurrent = nn.GRU(width + CLASSES, width, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, frames, history):
        length = history.shape[1]
        frames = functional.pad(frames, (0, 0, 0, max(0, length - frames.shape[1])))[:, :length]
        states, _ = self.recurrent(torch.cat([self.embedding(history), frames], dim=2))
        return self.head(self.dropout(states))


class SpellingTask(Task):
    """Strings of 1 to 5 words; ``garbage`` replaces every label by another string's tokens, drawn anew."""

    def __init__(self, card, setting, garbage=False):
        super().__init__(card, setting)
        self.calls = []
        self.beams = []
        total = card.train + card.validation + card.test
        random = torch.Generator().manual_seed(0)
        lengths = torch.randint(1, LONGEST, (total,), generator=random)
        words = torch.randint(WORDS[0], CLASSES, (total, LONGEST), generator=random)
        place = torch.arange(LONGEST)
        self.targets_of = words.where(place < lengths[:, None], END).where(place <= lengths[:, None], -100)
        clean = functional.one_hot(self.targets_of.clamp(min=END), CLASSES).float()
        self.close = clean + 0.3 * torch.randn(clean.shape, generator=random)
        self.far = 0.7 * clean + 0.6 * torch.randn(clean.shape, generator=random)
        if garbage:
            self.targets_of = self.targets_of[torch.randperm(total, generator=random)]

    def batch(self, half, rows, positions, random):
        rows = rows + (0 if half == "train" else self.card.train + self.card.validation)
        targets = self.targets_of[rows]
        return Batch(self.far[rows], targets[:, : int((targets != -100).sum(1).max())], positions, self.close[rows])

    def one_batch(self):
        return self.batch("train", torch.tensor([0]), torch.tensor([0]), None)

    def new_network(self, architecture, *, dropout=0.0):
        return Speller()

    def answer(self, network, inputs, **arguments):
        history = arguments["decoder_inputs"]
        self.calls.append((network, inputs, history))
        ended = (history == END).cumsum(dim=1) > 0
        return Outputs(network(inputs, history).float(), counted=~ended)

    def decoder_inputs(self, targets):
        return torch.cat([torch.full_like(targets[:, :1], START), targets[:, :-1].where(targets[:, :-1] >= 0, END)], dim=1)

    def rows(self, outputs):
        return outputs.logits.flatten(0, 1), outputs.counted.flatten()

    def row_targets(self, outputs, targets):
        return targets.flatten()

    def loss(self, outputs, targets):
        return functional.cross_entropy(outputs.logits.flatten(0, 1), targets.flatten(), ignore_index=-100)

    def evaluate(self, network, part, split, reference=None, *, teacher_inputs=False):
        raise NotImplementedError

    @torch.no_grad()
    def decode(self, network, inputs, beam=1):
        """Greedy, one token after the other."""
        self.beams.append(beam)
        history = torch.full((len(inputs), 1), START)
        sequences = torch.empty(len(inputs), 0, dtype=torch.int64)
        ended = torch.zeros(len(inputs), dtype=torch.bool)
        while sequences.shape[1] < LONGEST + 2 and not ended.all():
            token = network(inputs, history)[:, -1].argmax(dim=1)
            sequences = torch.cat([sequences, token.where(~ended, -100)[:, None]], dim=1)
            ended |= token == END
            history = torch.cat([history, token[:, None]], dim=1)
        return sequences


def spelling_task(garbage=False, **card):
    recipe = Recipe(lr=0.01, weight_decay=0.0, momentum=0.0, batch_size=16, teacher_epochs=1, optimizer="adam")
    fields = {"name": "spelling", "track": "speech", "data_set": "spelling", "teacher": "speller", "student": "speller", "metric": "word_accuracy"}
    fields |= {"classes": CLASSES, "train": 40, "validation": 8, "test": 8, "recipe": recipe, "parallel": True, "decodes": True, "start": "teacher"}
    fields |= {"missing": lambda data_root: None, "digest": lambda data_root: "0" * 16, "load": SpellingTask}
    return SpellingTask(TaskCard(**{**fields, **card}), Setting(), garbage)


@pytest.fixture(scope="session")
def trained_speller():
    """State of a teacher that spells close frames mostly right."""
    torch.manual_seed(0)
    task = spelling_task()
    network, batches = Speller(), task.batches(Split(0), "augmented")
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(150):
        batch = next(batches)
        loss = task.loss(task.forward(network, batch.teacher_inputs, decoder_inputs=task.decoder_inputs(batch.targets)), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.state_dict()


@pytest.fixture
def spelling_run(trained_speller):
    """Builds a run of a method over the spelling task, whose student starts from the teacher's weights."""

    def build(plugin, params=None, *, garbage=False, seed=0, **card):
        task = spelling_task(garbage, **card)
        teacher = Speller()
        teacher.load_state_dict(trained_speller)
        run = make_run(plugin, task, params, teachers=[teacher], seed=seed)
        run.learner.student.load_state_dict(trained_speller)
        return run

    return build
