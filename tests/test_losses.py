"""The harness's losses against torch's distributions and counted draws."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.distributions import Categorical, kl_divergence

from kdarena import NotApplicable
from kdarena.losses import check_alike, corrupted, kl, soft_cross_entropy

CLASSES, MANY = 10, 20_000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def logits(seed, rows=6, classes=5):
    return 3 * torch.randn(rows, classes, generator=generator(seed))


@pytest.fixture
def labels():
    return torch.randint(CLASSES, (MANY,), generator=generator(7))


# rows of two networks
@pytest.mark.parametrize("other", [(6, 4), (5, 5)])
def test_networks_whose_rows_do_not_match_are_said_to_be_no_pair(other):
    one, another = torch.zeros(6, 5), torch.zeros(*other)
    with pytest.raises(NotApplicable, match=f"6 rows of 5 scores and {other[0]} rows of {other[1]} scores"):
        check_alike(one, another)
    with pytest.raises(NotApplicable, match="6 rows of 5 scores"):
        kl(another, one)
    check_alike(one, torch.ones(6, 5))


# kl and cross-entropy
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kl_is_the_targets_divergence_from_the_student_times_the_squared_temperature(temperature):
    target, student = logits(0), logits(1)
    expected = kl_divergence(Categorical(logits=target / temperature), Categorical(logits=student / temperature)).mean() * temperature**2
    torch.testing.assert_close(kl(target, student, temperature), expected)


def test_the_gradient_of_kl_is_the_difference_of_the_softened_probabilities_times_the_temperature():
    target, student = logits(0), logits(1).requires_grad_()
    kl(target, student, 4.0).backward()
    torch.testing.assert_close(student.grad, 4.0 * ((student / 4).softmax(1) - (target / 4).softmax(1)).detach() / 6)


def test_rows_that_are_masked_count_neither_in_the_sum_nor_in_the_mean():
    target, student = logits(0), logits(1)
    mask = torch.tensor([True, False, True, True, False, False])
    torch.testing.assert_close(kl(target, student, 2.0, mask), kl(target[mask], student[mask], 2.0))
    probabilities = target.softmax(1)
    torch.testing.assert_close(soft_cross_entropy(probabilities, student, mask), soft_cross_entropy(probabilities[mask], student[mask]))


def test_where_every_row_is_masked_the_loss_is_zero():
    assert kl(logits(0), logits(1), 1.0, torch.zeros(6, dtype=torch.bool)).item() == 0


def test_soft_cross_entropy_is_kl_plus_the_targets_entropy():
    target, student = logits(0), logits(1)
    entropy = Categorical(logits=target).entropy().mean()
    torch.testing.assert_close(soft_cross_entropy(target.softmax(1), student), kl(target, student) + entropy)


# corrupted labels
@pytest.mark.parametrize("probability", [0.05, 0.3, 0.8])
def test_as_many_labels_are_wrong_as_the_probability_says(labels, probability):
    wrong = (corrupted(labels, CLASSES, probability, generator()) != labels).sum().item()
    assert abs(wrong - MANY * probability) < 5 * math.sqrt(MANY * probability * (1 - probability))


def test_where_the_true_class_may_be_drawn_again_only_a_share_of_the_drawn_is_wrong(labels):
    share = 0.5 * (CLASSES - 1) / CLASSES
    wrong = (corrupted(labels, CLASSES, 0.5, generator(), redraw_true=True) != labels).sum().item()
    assert abs(wrong - MANY * share) < 5 * math.sqrt(MANY * share * (1 - share))


def test_a_wrong_label_is_each_of_the_other_classes_alike(labels):
    found = corrupted(labels, CLASSES, 1.0, generator())
    shifts = torch.bincount((found - labels) % CLASSES, minlength=CLASSES)
    assert shifts[0] == 0
    assert stats.chisquare(shifts[1:]).pvalue > 1e-4
    assert stats.chisquare(torch.bincount(found[labels == 3], minlength=CLASSES)[torch.arange(CLASSES) != 3]).pvalue > 1e-4


def test_a_label_drawn_among_all_is_each_class_alike(labels):
    found = corrupted(labels, CLASSES, 1.0, generator(), redraw_true=True)
    assert stats.chisquare(torch.bincount(found[labels == 3], minlength=CLASSES)).pvalue > 1e-4


def test_which_labels_are_replaced_does_not_depend_on_them(labels):
    wrong = corrupted(labels, CLASSES, 0.4, generator()) != labels
    table = torch.stack([torch.bincount(labels[chosen], minlength=CLASSES) for chosen in (wrong, ~wrong)])
    assert stats.chi2_contingency(table.numpy()).pvalue > 1e-4


def test_the_given_labels_stay_as_they_are(labels):
    before = labels.clone()
    found = corrupted(labels, CLASSES, 0.5, generator())
    assert torch.equal(labels, before)
    assert found.data_ptr() != labels.data_ptr()


def test_a_generators_seed_decides_the_draw_and_the_next_draw_is_another(labels):
    one, other = generator(), generator()
    first = corrupted(labels, CLASSES, 0.5, one)
    assert torch.equal(first, corrupted(labels, CLASSES, 0.5, other))
    assert not torch.equal(first, corrupted(labels, CLASSES, 0.5, one))


def test_nothing_is_drawn_from_the_global_generator(labels):
    before = torch.random.get_rng_state()
    corrupted(labels, CLASSES, 0.5, generator())
    assert torch.equal(before, torch.random.get_rng_state())


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 6), st.floats(0, 1), st.booleans(), st.integers(0, 2**32))
def test_new_labels_are_classes_of_the_same_kind_and_shape(classes, probability, redraw, seed):
    given_labels = torch.randint(classes, (17,), generator=generator(seed))
    found = corrupted(given_labels, classes, probability, generator(seed), redraw_true=redraw)
    assert (found.shape, found.dtype) == (given_labels.shape, given_labels.dtype)
    assert found.min() >= 0
    assert found.max() < classes


@pytest.mark.parametrize("redraw", [False, True])
def test_with_probability_zero_nothing_changes(labels, redraw):
    assert torch.equal(corrupted(labels, CLASSES, 0.0, generator(), redraw_true=redraw), labels)
