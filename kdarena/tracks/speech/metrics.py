"""Metrics of a recogniser: pure functions, each with its source."""

from __future__ import annotations

from collections.abc import Sequence

import jiwer
from torch import Tensor

from kdarena.tracks.metrics import negative_log_likelihood, teacher_metrics, top


def word_errors(transcripts: Sequence[str], recognised: Sequence[str]) -> tuple[list[int], list[int]]:
    """Substituted, deleted and inserted words of each utterance, and the words that were said in it."""
    aligned = jiwer.process_words(list(transcripts), list(recognised))
    errors = [sum(_length(chunk) for chunk in chunks if chunk.type != "equal") for chunks in aligned.alignments]
    return errors, [len(words) for words in aligned.references]


def _length(chunk: jiwer.AlignmentChunk) -> int:
    return max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)


def word_error_rate(transcripts: Sequence[str], recognised: Sequence[str]) -> float:
    """Percentage of substituted, deleted and inserted words among the words that were said, over all utterances together; may exceed 100."""
    errors, words = word_errors(transcripts, recognised)
    return 100 * (sum(errors) / sum(words))


def token_metrics(logits: Tensor, targets: Tensor, reference: Tensor | None = None) -> dict[str, float]:
    """``token_accuracy`` and ``nll`` of tokens behind the true ones; with a reference teacher's logits also ``agreement`` and ``teacher_kl``.

    Args:
        logits: [P, C] of the tokens that count.
        targets: [P].
    """
    return {"token_accuracy": top(logits, targets, 1), "nll": negative_log_likelihood(logits, targets), **teacher_metrics(logits, reference)}
