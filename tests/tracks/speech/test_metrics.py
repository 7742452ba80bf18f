import math

import pytest
import torch

from kdarena.tracks.speech.metrics import token_metrics, word_error_rate


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        (["one two three"], ["one two three"], 0.0),
        (["one two three four"], ["one five three four"], 25.0),  # a substitution
        (["one two three four"], ["one three four"], 25.0),  # a deletion
        (["one two three four"], ["one two two three four"], 25.0),  # an insertion
        (["one two"], [""], 100.0),
        (["one"], ["two three four"], 300.0),
        (["one", "two three four"], ["two", "two three four"], 25.0),  # over all words, not the mean over utterances
        (["so be it"], ["so bee it"], 100 / 3),
    ],
)
def test_the_word_error_rate_counts_edits_over_all_words(said: list[str], heard: list[str], errors: float):
    assert word_error_rate(said, heard) == pytest.approx(errors)


def test_token_metrics_are_their_definitions():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    reference = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    targets = torch.tensor([0, 1, 1])
    found = token_metrics(logits, targets, reference)
    assert found["token_accuracy"] == pytest.approx(200 / 3)
    assert found["agreement"] == pytest.approx(200 / 3)
    nll = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1)) + math.log(1 + math.exp(3))) / 3
    assert found["nll"] == pytest.approx(nll)
    p, q = reference.softmax(dim=1), logits.softmax(dim=1)
    assert found["teacher_kl"] == pytest.approx(float((p * (p / q).log()).sum() / 3), rel=1e-5)
    assert set(token_metrics(logits, targets)) == {"token_accuracy", "nll"}
    assert set(found) == {"token_accuracy", "nll", "agreement", "teacher_kl"}
