"""The losses of a pair of layers against loops, torch.distributions and closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kdarena_internal.losses import attention_kl, hidden_cosine
from torch.distributions import Categorical, kl_divergence
from torch.nn.functional import cosine_embedding_loss
from torch.utils._python_dispatch import TorchDispatchMode

SEEDS = st.integers(0, 10_000)
EVERY = {"max_examples": 50, "deadline": None}


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def attention(seed, batch=2, heads=3, length=5, real=None):
    """Rows that sum to 1 over the real keys."""
    scores = 2 * normal(seed, batch, heads, length, length)
    return scores.softmax(dim=3) if real is None else scores.masked_fill(~real[:, None, None], -torch.inf).softmax(dim=3)


def real_positions(*lengths, longest):
    return torch.arange(longest) < torch.tensor(lengths)[:, None]


def naive_kl(a_t, a_s, real):
    total = 0.0
    for b in range(len(a_t)):
        of_sentence = []
        for i in range(a_t.shape[2]):
            for head in range(a_t.shape[1]):
                if real[b, i]:
                    pairs = zip(a_t[b, head, i].tolist(), a_s[b, head, i].tolist(), strict=True)
                    of_sentence.append(sum(t * math.log(t / s) for t, s in pairs if t > 0))
        total += sum(of_sentence) / len(of_sentence)
    return total / len(a_t)


def naive_cosine(h_t, h_s):
    def cosine(u, v):
        return sum(a * b for a, b in zip(u, v, strict=True)) / math.sqrt(sum(a * a for a in u) * sum(b * b for b in v))

    return sum(1 - cosine(u, v) for u, v in zip(h_t.tolist(), h_s.tolist(), strict=True)) / len(h_t)


class TestAttention:
    def test_it_is_the_printed_sum_over_real_rows(self):
        real = real_positions(5, 2, longest=5)
        a_t, a_s = attention(0, real=real), attention(1, real=real)
        assert float(attention_kl(a_t, a_s, real)) == pytest.approx(naive_kl(a_t, a_s, real), rel=1e-5)

    def test_without_padding_it_is_the_mean_divergence_of_categorical_distributions(self):
        a_t, a_s = attention(0), attention(1)
        expected = kl_divergence(Categorical(a_t), Categorical(a_s)).mean()
        assert float(attention_kl(a_t, a_s, None)) == pytest.approx(float(expected), rel=1e-5)
        assert float(attention_kl(a_t, a_s, torch.ones(2, 5, dtype=torch.bool))) == pytest.approx(float(expected), rel=1e-5)

    def test_the_teacher_comes_first(self):
        certain, undecided = torch.eye(4).expand(1, 1, 4, 4), torch.full((1, 1, 4, 4), 0.25)
        assert float(attention_kl(certain, undecided, None)) == pytest.approx(math.log(4))
        # the other way round three quarters of the mass lie where the student has none
        assert float(attention_kl(undecided, certain, None)) > 20

    def test_heads_are_averaged_or_added(self):
        a_t, a_s = attention(0), attention(1)
        assert float(attention_kl(a_t, a_s, None, "sum")) == pytest.approx(3 * float(attention_kl(a_t, a_s, None)), rel=1e-5)

    @settings(**EVERY)
    @given(SEEDS, st.integers(1, 6))
    def test_against_a_uniform_student_it_is_log_n_less_the_mean_entropy(self, seed, length):
        a_t = attention(seed, length=length)
        entropy = Categorical(a_t).entropy().mean()
        uniform = torch.full_like(a_t, 1 / length)
        assert float(attention_kl(a_t, uniform, None)) == pytest.approx(math.log(length) - float(entropy), abs=1e-5)

    @settings(**EVERY)
    @given(SEEDS, st.lists(st.integers(1, 6), min_size=1, max_size=3))
    def test_it_is_never_negative(self, seed, lengths):
        real = real_positions(*lengths, longest=max(lengths))
        a_t, a_s = (attention(one, len(lengths), length=max(lengths), real=real) for one in (seed, seed + 1))
        assert float(attention_kl(a_t, a_s, real)) >= -1e-6

    def test_of_equals_it_is_zero_without_a_gradient(self):
        real = real_positions(5, 2, longest=5)
        a_t = attention(0, real=real)
        scores = a_t.clamp(min=1e-30).log().masked_fill(~real[:, None, None], -1e9).requires_grad_()
        loss = attention_kl(a_t, scores.softmax(dim=3), real)
        assert loss.item() == pytest.approx(0, abs=1e-6)
        assert float(torch.autograd.grad(loss, scores)[0].abs().max()) < 1e-6

    @settings(**EVERY)
    @given(SEEDS, st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(1, 4))
    def test_padding_changes_nothing(self, seed, lengths, more):
        longest = max(lengths)
        real = real_positions(*lengths, longest=longest)
        short = [attention(one, len(lengths), length=longest, real=real) for one in (seed, seed + 1)]
        padded = []
        for number, one in enumerate(short):
            # rows of padding attend somewhere too, each network its own way
            filled = attention(seed + 2 + number, len(lengths), length=longest + more)
            filled[:, :, :longest] = 0
            filled[:, :, :longest, :longest] = one
            padded.append(filled)
        with_padding = attention_kl(*padded, real_positions(*lengths, longest=longest + more))
        assert float(with_padding) == pytest.approx(float(attention_kl(*short, real)), rel=1e-5, abs=1e-6)

    def test_each_sentence_counts_the_same_whatever_its_length(self):
        real = real_positions(5, 2, longest=5)
        a_t, a_s = attention(0, real=real), attention(1, real=real)
        alone = [float(attention_kl(a_t[b : b + 1], a_s[b : b + 1], real[b : b + 1])) for b in range(2)]
        assert float(attention_kl(a_t, a_s, real)) == pytest.approx(sum(alone) / 2, rel=1e-5)

    def test_the_gradient_on_a_rows_scores_is_the_difference_of_probabilities(self):
        real = real_positions(5, 2, longest=5)
        a_t = attention(0, real=real)
        scores = normal(1, 2, 3, 5, 5).requires_grad_()
        a_s = scores.masked_fill(~real[:, None, None], -torch.inf).softmax(dim=3)
        (gradient,) = torch.autograd.grad(attention_kl(a_t, a_s, real), scores)
        # a row is one of heads · n of its sentence, which is one of the batch
        expected = (a_s - a_t) / (3 * real.sum(dim=1)[:, None, None, None] * 2) * real[:, None, :, None]
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("gap", [50.0, 200.0, 1e4])
    def test_a_student_that_excludes_the_teachers_key_has_a_finite_loss_and_gradient(self, gap):
        a_t = torch.tensor([[[[0.5, 0.5], [1.0, 0.0]]]])
        scores = torch.tensor([[[[0.0, gap], [0.0, gap]]]], requires_grad=True)
        loss = attention_kl(a_t, scores.softmax(dim=3), None)
        assert 10 < loss.item() < 100
        assert bool(torch.autograd.grad(loss, scores)[0].isfinite().all())

    def test_half_precision_is_compared_in_full(self):
        a_t, a_s = attention(0).bfloat16(), attention(1).bfloat16()
        loss = attention_kl(a_t, a_s, None)
        assert loss.dtype == torch.float32
        assert float(loss) == pytest.approx(float(attention_kl(a_t.float(), a_s.float(), None)), rel=1e-6)

    def test_it_takes_as_many_operations_whatever_heads_and_tokens_and_nothing_larger_than_the_maps(self):
        class Watch(TorchDispatchMode):
            def __init__(self):
                super().__init__()
                self.operations, self.largest = 0, 0

            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                answer = function(*args, **(kwargs or {}))
                self.operations += 1
                self.largest = max(self.largest, answer.numel() if isinstance(answer, torch.Tensor) else 0)
                return answer

        seen = {}
        for heads, length in ((1, 3), (6, 17)):
            maps = [attention(seed, 2, heads, length) for seed in range(2)]
            with Watch() as watch:
                attention_kl(*maps, torch.ones(2, length, dtype=torch.bool))
            seen[heads] = watch.operations
            assert watch.largest == 2 * heads * length**2
        assert seen[1] == seen[6]


class TestHidden:
    def test_it_is_one_less_the_cosine(self):
        h_t, h_s = normal(0, 3, 7), normal(1, 3, 7)
        assert float(hidden_cosine(h_t, h_s)) == pytest.approx(naive_cosine(h_t, h_s), rel=1e-5)

    def test_torchs_embedding_loss_agrees_with_target_plus_one_alone(self):
        h_t, h_s = normal(0, 3, 7), normal(1, 3, 7)
        ours = float(hidden_cosine(h_t, h_s))
        assert ours == pytest.approx(float(cosine_embedding_loss(h_t, h_s, torch.ones(3))), rel=1e-5)
        assert ours != pytest.approx(float(cosine_embedding_loss(h_t, h_s, -torch.ones(3))), rel=1e-2)

    @settings(**EVERY)
    @given(SEEDS, st.floats(1e-3, 1e3))
    def test_it_lies_between_zero_and_two_and_forgets_the_students_scale(self, seed, c):
        h_t, h_s = normal(seed, 4, 6), normal(seed + 1, 4, 6)
        value = float(hidden_cosine(h_t, h_s))
        assert -1e-6 <= value <= 2 + 1e-6
        assert float(hidden_cosine(h_t, c * h_s)) == pytest.approx(value, abs=1e-5)

    def test_its_ends_are_equal_and_opposite_states(self):
        h = normal(0, 4, 6)
        assert float(hidden_cosine(h, 2 * h)) == pytest.approx(0, abs=1e-6)
        assert float(hidden_cosine(h, -h)) == pytest.approx(2, abs=1e-6)
