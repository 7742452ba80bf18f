"""The speech task: far-field audio to token sequences, with the same utterances as close-talk audio for teachers."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdarena.tracks.branch import Ensemble
from kdarena.tracks.card import TaskCard
from kdarena.tracks.deployed import Deployed
from kdarena.tracks.evaluation import Measured, counted_rows, joined
from kdarena.tracks.modes import evaluating
from kdarena.tracks.overlap import in_train
from kdarena.tracks.padding import shortened
from kdarena.tracks.samples import shares
from kdarena.tracks.speech.architectures import architecture as architecture_of
from kdarena.tracks.speech.data import Frames, SpeechData, Utterances
from kdarena.tracks.speech.decoding import decode
from kdarena.tracks.speech.deployed import deployed
from kdarena.tracks.speech.metrics import token_metrics, word_errors
from kdarena.tracks.speech.models import Recogniser, Recognition
from kdarena.tracks.speech.tokens import PADDING
from kdarena.tracks.task import Task
from kdarena.tracks.values import Batch, FeatureMaps, Half, Outputs, Part, Setting, Split

EVALUATED_UTTERANCES = 500
EVALUATED_FRAMES = 60_000
"""Stacked frames, padding included, that are evaluated at once: what the paper's encoder keeps of them is about 2 GB."""


class SpeechTask(Task):
    """Data, networks, decoding, loss and evaluation of one data set on one device.

    Args:
        card: of the task.
        setting: device, precision and data root.
        data: both splits.
    """

    def __init__(self, card: TaskCard, setting: Setting, data: SpeechData):
        counted = replace(card, train=len(data.train) - data.validation, validation=data.validation, test=len(data.test))
        super().__init__(counted, setting, fixed_validation=True)
        self.vocabulary, self._data = data.vocabulary, data
        self._deviation = torch.from_numpy(data.deviation()).to(setting.device)
        self._features = len(self._deviation)
        home = torch.device("cpu") if _too_large(data, setting.device) else setting.device
        self._halves: dict[Half, _Parallel] = {"train": _Parallel(data, data.train, home), "test": _Parallel(data, data.test, home)}
        longest = max(int(frames.lengths.max()) for split in (data.train, data.test) for frames in (split.close, split.far))
        self.evaluation_batch = max(1, min(EVALUATED_UTTERANCES, EVALUATED_FRAMES // longest))

    def without_test(self) -> Self:
        """See :meth:`Task.without_test`."""
        bare = super().without_test()
        bare._data = replace(self._data, test=self._data.test.none())
        bare._halves = {"train": self._halves["train"]}
        return bare

    # data
    def batch(self, half: Half, rows: Tensor, positions: Tensor, random: torch.Generator | None) -> Batch:
        """See :meth:`Task.batch`; nothing is augmented. The tensors are as long as the longest utterance."""
        chosen = self._halves[half]
        far, close = (self._inputs(*frames.padded(rows)) for frames in (chosen.far, chosen.close))
        view = rows.to(self.device) if half == "train" else None
        return Batch(far, chosen.targets_of(rows).to(self.device), positions.to(self.device), close, view=view)

    def seen(self, rows: Tensor, numbers: Tensor) -> Batch:
        """See :meth:`Task.seen`: close-talk audio."""
        chosen, every = self._halves["train"], torch.arange(self.parts.train)
        close, place = self._inputs(*chosen.close.padded(rows, like=every)), rows.to(self.device)
        return Batch(close, chosen.targets_of(rows, like=every).to(self.device), place, view=place)

    def trimmed(self, part: str, stored: Tensor, network: nn.Module, batch: Batch) -> Tensor | None:
        """See :meth:`Task.trimmed`: positions of the decoder are as many as targets, those of the encoder as what it takes together."""
        kind, together = part.partition("/")[0], network.together if isinstance(network, Recogniser) else 1
        if kind in ("logits", "counted"):
            return shortened(stored, (1,), batch.targets.shape[1])
        lengths = {"hidden": (1,), "tokens": (1,), "features": (2,)}.get(kind, ())
        return shortened(stored, lengths, -(-batch.seen_by_teacher().inputs.shape[1] // together))

    def _inputs(self, values: Tensor, real: Tensor) -> Tensor:
        """Features of utterances [B, T, 1 + F], zero at padding; channel 0 is 1 at real frames.

        Each utterance's mean is taken off, and with it what a microphone or a room does to all its frames alike (Atal 1974).
        """
        mask = real.to(self.device).unsqueeze(2).float()
        features = values.to(self.device).float() * mask
        features = (features - features.sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)) / self._deviation * mask
        return torch.cat([mask, features], dim=2)

    def one_batch(self) -> Batch:
        """The first utterance of the training part."""
        first = torch.zeros(1, dtype=torch.long)
        return self.batch("train", first, first, None)

    @functools.cached_property
    def overlap(self) -> int | None:
        """See :meth:`Task.overlap`: of the close-talk recordings, since one recording in two rooms is one sample."""
        return in_train(self._data.test.close, self._data.train.close)

    def part_targets(self, part: Part, split: Split) -> Tensor:
        """Tokens of a part in the order of its rows that count [P] on the CPU."""
        every = [batch.targets.flatten() for batch in self.part_batches(part, split)]
        return torch.cat([targets[targets != PADDING] for targets in every]).cpu()

    # networks
    def new_network(self, architecture: str, *, dropout: float = 0.0) -> nn.Module:
        """See :meth:`Task.new_network`; raises ``ValueError`` for an unknown architecture.

        It is initialised on the CPU, so that a seed gives the same network on every device.
        """
        return Recogniser(architecture_of(architecture), self._features, self.classes, dropout or None).to(self.device)

    def answer(self, network: nn.Module, inputs: Tensor, **arguments: Any) -> Outputs:
        """See :meth:`Task.answer`; ``decoder_inputs`` [B, L] are what the decoder is fed. A network may answer with its logits alone."""
        answer = self.call(network, inputs, arguments)
        counted = self.counted(arguments["decoder_inputs"])
        if not isinstance(answer, Recognition):
            return Outputs(answer.float(), counted=counted)
        maps = {f"stage{number}": states.transpose(1, 2).unsqueeze(3) for number, states in enumerate(answer.hidden[1:], 1)}
        hidden = tuple(states.float() for states in answer.hidden)
        return Outputs(answer.logits.float(), FeatureMaps(maps), hidden=hidden, tokens=answer.tokens, counted=counted)

    def deployed(self, network: nn.Module) -> Deployed:
        """See :meth:`Task.deployed`: features [B, T, 1 + F] and tokens [B, L] in, scores [B, L, C] out."""
        return deployed(network, architecture_of(self.card.student), self._data, self._deviation)

    # sequences
    def decoder_inputs(self, targets: Tensor) -> Tensor:
        """See :meth:`Task.decoder_inputs`; behind the end of a sentence the end is repeated."""
        end, start = self.vocabulary.end, self.vocabulary.start
        before = torch.cat([torch.full_like(targets[:, :1], start), targets[:, :-1]], dim=1)
        return before.masked_fill(before == PADDING, end)

    def counted(self, decoder_inputs: Tensor) -> Tensor:
        """Positions up to and with the end of the sentence [B, L]: those before which the decoder has not been fed the end yet."""
        return (decoder_inputs == self.vocabulary.end).cumsum(dim=1) == 0

    def decode(self, network: nn.Module, inputs: Tensor, beam: int = 1) -> Tensor:
        """The token sequences that a network hears [B, L]; each ends with the end of the sentence and is padded with −100.

        Args:
            network: a recogniser of the track, or an ensemble of some; it keeps its mode.
            inputs: [B, T, 1 + F].
            beam: 1: greedy.

        Raises:
            ValueError: the network can't decode position by position.
        """
        members = list(network.networks) if isinstance(network, Ensemble) else [network]
        other = next((member for member in members if not isinstance(member, Recogniser)), None)
        if other is not None:
            raise ValueError(f"{type(other).__name__} can't decode: it is no {Recogniser.__name__}")
        with self.autocast():
            return decode(cast(list[Recogniser], members), inputs, end=self.vocabulary.end, beam=beam)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """Cross-entropy, mean over the tokens of the batch."""
        return functional.cross_entropy(outputs.logits.flatten(0, 1), targets.flatten(), ignore_index=PADDING)

    def rows(self, outputs: Outputs) -> tuple[Tensor, Tensor | None]:
        """A row is a position of a sequence; those up to its end count."""
        counted = outputs.counted
        return outputs.logits.flatten(0, 1), None if counted is None else counted.flatten()

    def row_targets(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """See :meth:`Task.row_targets`."""
        return targets.flatten()

    # evaluation
    def measured(self, network: nn.Module, part: Part, split: Split, reference: nn.Module | None = None, *, teacher_inputs: bool = False) -> Measured:
        """See :meth:`Task.measured`: ``word_accuracy`` = 100 − ``wer`` of greedy decoding; behind the true tokens ``token_accuracy``, ``nll``
        and, with a reference teacher, ``agreement`` and ``teacher_kl``.

        Raises:
            ValueError: the part is empty.
        """
        said, recognised, rows = list[str](), list[str](), list[Outputs]()
        with evaluating(network):
            for batch in self.part_batches(part, split):
                seen = batch.seen_by_teacher() if teacher_inputs else batch
                said += self._texts(batch.targets)
                recognised += self._texts(self.decode(network, seen.inputs))
                outputs = self.answered(network, seen)
                rows.append(counted_rows(outputs, self.exit_rows(outputs)))
        wrong, words = word_errors(said, recognised)
        errors = 100 * (sum(wrong) / sum(words))
        logits, targets = joined(rows).logits, self.part_targets(part, split)
        theirs = self.reference_logits(reference, part, split)
        right = [count - wrong_words for count, wrong_words in zip(words, wrong, strict=True)]
        return Measured({"word_accuracy": 100 - errors, "wer": errors, **token_metrics(logits, targets, theirs)}, shares(right, words))

    def _texts(self, sequences: Tensor) -> list[str]:
        return [self.vocabulary.text(sequence) for sequence in sequences.tolist()]


class _Padding:
    """Features of many utterances one behind the other, of which any are taken as one padded tensor.

    Args:
        home: where they stay.
    """

    def __init__(self, frames: Frames, home: torch.device):
        self._values = torch.from_numpy(frames.values).to(home)
        self._lengths = torch.from_numpy(frames.lengths).to(home)
        self._starts = self._lengths.cumsum(0) - self._lengths

    def padded(self, rows: Tensor, like: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """[B, T, F] of the rows, and which frames are real [B, T]; the values at the others mean nothing.

        Args:
            like: rows whose longest says T; None: those that are padded.
        """
        rows = rows.to(self._lengths.device)
        lengths = self._lengths[rows].unsqueeze(1)
        longest = lengths if like is None else self._lengths[like.to(rows.device)]
        positions = torch.arange(int(longest.max()), device=rows.device)
        real = positions < lengths
        return self._values[self._starts[rows].unsqueeze(1) + torch.minimum(positions, lengths - 1)], real


class _Parallel:
    """A split as tensors at their home."""

    def __init__(self, data: SpeechData, split: Utterances, home: torch.device):
        self.close, self.far = _Padding(split.close, home), _Padding(split.far, home)
        encoded = [data.vocabulary.encode(transcript) for transcript in split.transcripts]
        self._targets = torch.full((len(encoded), max(map(len, encoded))), PADDING)
        for row, ids in enumerate(encoded):
            self._targets[row, : len(ids)] = torch.tensor(ids)
        self._targets = self._targets.to(home)
        self._lengths = (self._targets != PADDING).sum(dim=1)

    def targets_of(self, rows: Tensor, like: Tensor | None = None) -> Tensor:
        """Ids of the rows [B, L], padded with −100 to the longest of them, or of those of ``like``."""
        rows = rows.to(self._targets.device)
        longest = self._lengths[rows if like is None else like.to(rows.device)]
        return self._targets[rows, : int(longest.max())]


def _too_large(data: SpeechData, device: torch.device) -> bool:
    """Whether the features would fill more than half of a GPU's free memory: then they stay in host memory."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return sum(frames.values.nbytes for split in (data.train, data.test) for frames in (split.close, split.far)) > free / 2
