"""CRD against naive loops, closed forms and autograd."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kdarena_baselines.crd import CRD, Memory, draw_negatives, l_nce

from kdarena import NotApplicable
from kdarena.params import ImpossibleValue, make_params
from kdarena.testing.run import make_run, new_step, take_steps
from kdarena.testing.task import toy_task
from kdarena.tracks import find_card
from kdarena.tracks.values import Setting

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def begun(params=None, **task):
    run = make_run(CRD, toy_task(**task), params)
    run.phases[0].prepare(run)
    return run


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def unit(rows):
    return [[value / math.sqrt(sum(one * one for one in row)) for value in row] for row in rows]


def projected(network_embedding, projection):
    """W f / |W f|, row by row in Python."""
    linear = network_embedding.double() @ projection.weight.detach().double().T + projection.bias.detach().double()
    return unit(linear.tolist())


def naive_nce(anchors, bank, columns, temperature, z, samples):
    """The printed sums, with ratios and logarithms as they are printed."""
    total = 0.0
    for v, row in zip(anchors, columns, strict=True):
        negatives = len(row) - 1
        for position, j in enumerate(row):
            s = math.exp(sum(a * b for a, b in zip(v, bank[j], strict=True)) / temperature) / z
            h = s / (s + negatives / samples)
            total -= math.log(h) if position == 0 else math.log(1 - h)
    return total / len(anchors)


def naive_z(anchors, bank, columns, temperature, samples):
    scores = [math.exp(sum(a * b for a, b in zip(v, bank[j], strict=True)) / temperature) for v, row in zip(anchors, columns, strict=True) for j in row]
    return samples * sum(scores) / len(scores)


def columns_of_next_loss(run, step):
    """Positives and the negatives that the next call of loss will draw, with the generator put back."""
    state = run.generator.get_state()
    negatives = draw_negatives(run.targets, step.targets, run.instance.negatives, run.generator)
    run.generator.set_state(state)
    return torch.cat([step.index[:, None], negatives], dim=1).tolist()


def detached(terms):
    return {name: term.detach() for name, term in terms.items()}


def sides(run, step):
    helpers = run.learner.helpers
    v_s = projected(step.student.embedding.detach(), helpers["projection_student"])
    v_t = projected(step.teacher.embedding, helpers["projection_teacher"])
    return {"nce_s": (v_s, run.instance.m_t.vectors.tolist()), "nce_t": (v_t, run.instance.m_s.vectors.tolist())}


def reached_by(run, term):
    """Modules and tensors whose gradient is other than zero."""
    named = {
        f"{name}.{inner}": one for name, module in {"student": run.learner.student, **run.learner.helpers}.items() for inner, one in module.named_parameters()
    }
    gradients = torch.autograd.grad(term, list(named.values()), allow_unused=True, retain_graph=True)
    return {name for name, one in zip(named, gradients, strict=True) if one is not None and float(one.abs().max()) > 0}


class TestLoss:
    @pytest.mark.parametrize("temperature", [0.07, 0.5])
    def test_each_side_is_the_printed_sum_over_the_others_bank(self, temperature):
        run = begun({"negatives": 20, "dimension": 8, "temperature": temperature, "w": 0.3})
        step = new_step(run)
        columns, both = columns_of_next_loss(run, step), sides(run, step)
        terms = detached(run.loss(step))
        for name, (anchors, bank) in both.items():
            z = naive_z(anchors, bank, columns, temperature, 72)
            assert float(terms[name]) == pytest.approx(0.3 * naive_nce(anchors, bank, columns, temperature, z, 72), rel=1e-4)

    def test_without_normalisation_h_is_as_printed(self):
        run = begun({"negatives": 20, "dimension": 8, "temperature": 0.5, "w": 1.0, "normalise": False})
        step = new_step(run)
        columns, both = columns_of_next_loss(run, step), sides(run, step)
        terms = detached(run.loss(step))
        for name, (anchors, bank) in both.items():
            assert float(terms[name]) == pytest.approx(naive_nce(anchors, bank, columns, 0.5, 1.0, 72), rel=1e-4)

    def test_the_label_term_is_the_whole_cross_entropy(self):
        run = begun()
        step = new_step(run)
        expected = torch.nn.functional.cross_entropy(step.student.logits, step.targets)
        torch.testing.assert_close(run.loss(step)["ce"], expected)

    def test_the_gradient_on_a_score_is_the_error_of_the_probability_h(self):
        log_scores = torch.randn(5, 8, generator=generator(), dtype=torch.double, requires_grad=True)
        h = log_scores.detach().exp() / (log_scores.detach().exp() + 7 / 30)
        label = torch.zeros(5, 8, dtype=torch.double)
        label[:, 0] = 1
        torch.testing.assert_close(torch.autograd.grad(l_nce(log_scores, 30), log_scores)[0], (h - label) / 5)

    def test_scores_that_overflow_give_neither_nan_nor_infinity(self):
        log_scores = torch.tensor([[-2e4, 3e4], [3e4, -2e4]], requires_grad=True)
        loss = l_nce(log_scores, 10)
        loss.backward()
        assert bool(loss.isfinite())
        assert bool(log_scores.grad.isfinite().all())

    def test_a_perfect_contrast_has_no_loss(self):
        assert float(l_nce(torch.tensor([[50.0, -50.0, -50.0]]), 10)) < 1e-6


class TestNormalisation:
    def test_each_anchors_z_is_set_by_the_first_batch_and_then_constant(self):
        run = begun({"negatives": 20, "dimension": 8})
        step = new_step(run)
        columns, both = columns_of_next_loss(run, step), sides(run, step)
        run.loss(step)
        log_z = {"nce_s": float(run.instance.m_t.log_z), "nce_t": float(run.instance.m_s.log_z)}
        for name, (anchors, bank) in both.items():
            assert log_z[name] == pytest.approx(math.log(naive_z(anchors, bank, columns, 0.07, 72)), rel=1e-4)
        assert abs(log_z["nce_s"] - log_z["nce_t"]) > 1e-4
        run.loss(new_step(run))
        assert float(run.instance.m_t.log_z) == pytest.approx(log_z["nce_s"])
        assert float(run.instance.m_s.log_z) == pytest.approx(log_z["nce_t"])

    def test_z_is_a_constant_without_gradient(self):
        run = begun()
        run.loss(new_step(run))
        assert not run.instance.m_t.log_z.requires_grad

    def test_a_phase_that_is_entered_again_starts_with_new_banks(self):
        run = begun()
        run.loss(new_step(run))
        before = run.instance.m_s.vectors
        run.phases[0].prepare(run)
        assert run.instance.m_s.log_z is None
        assert run.instance.m_s.vectors is not before


class TestNegatives:
    @settings(max_examples=40, deadline=None)
    @given(sizes=st.lists(st.integers(1, 9), min_size=2, max_size=6), seed=st.integers(0, 1000), data=st.data())
    def test_they_are_different_samples_of_other_classes(self, sizes, seed, data):
        classes = torch.cat([torch.full((size,), number) for number, size in enumerate(sizes)])
        classes = classes[torch.randperm(len(classes), generator=generator(seed))]
        count = data.draw(st.integers(1, sum(sizes) - max(sizes)))
        targets = classes[torch.randint(len(classes), (7,), generator=generator(seed))]
        drawn = draw_negatives(classes, targets, count, generator(seed)).tolist()
        for target, row in zip(targets.tolist(), drawn, strict=True):
            assert len(set(row)) == len(row) == count
            assert all(int(classes[j]) != target for j in row)

    def test_each_sample_of_another_class_is_drawn_equally_often(self):
        classes = torch.tensor([0] * 3 + [1] * 7 + [2] * 10)
        drawn = draw_negatives(classes, torch.zeros(20_000, dtype=torch.long), 5, generator())
        frequency = torch.bincount(drawn.flatten(), minlength=20) / 20_000
        assert float(frequency[:3].sum()) == 0
        # 5 of 17; a standard deviation is 0.0032
        torch.testing.assert_close(frequency[3:], torch.full((17,), 5 / 17), rtol=0, atol=0.016)

    def test_there_are_as_many_as_asked_for(self):
        assert begun({"negatives": 9}).instance.negatives == 9

    def test_there_are_at_most_as_many_as_every_class_can_have(self):
        run = begun({"negatives": 16384})
        labels = run.targets.tolist()
        assert run.instance.negatives == 72 - max(labels.count(number) for number in range(4))

    def test_rows_of_a_batch_have_draws_of_their_own(self):
        classes = torch.arange(50) % 5
        drawn = draw_negatives(classes, torch.zeros(2, dtype=torch.long), 10, generator())
        assert set(drawn[0].tolist()) != set(drawn[1].tolist())


class TestMemory:
    def test_it_starts_with_a_mean_square_length_of_one_within_the_uniform_range(self):
        vectors = Memory(4000, 128, generator()).vectors
        assert float(vectors.square().sum(dim=1).mean()) == pytest.approx(1, abs=0.01)
        assert float(vectors.abs().max()) <= 1 / math.sqrt(128 / 3)
        assert abs(float(vectors.mean())) < 1e-3

    @settings(max_examples=30, deadline=None)
    @given(momentum=st.floats(0, 0.95), seed=st.integers(0, 1000))
    def test_rows_that_were_seen_move_by_the_rest_of_the_momentum_and_have_length_one(self, momentum, seed):
        memory = Memory(9, 5, generator(seed))
        before, index = memory.vectors.clone(), torch.tensor([7, 2])
        new = torch.nn.functional.normalize(torch.randn(2, 5, generator=generator(seed)), dim=1)
        memory.update(index, new, momentum)
        mixed = [
            [momentum * a + (1 - momentum) * b for a, b in zip(old, one, strict=True)] for old, one in zip(before[index].tolist(), new.tolist(), strict=True)
        ]
        torch.testing.assert_close(memory.vectors[index], torch.tensor(unit(mixed)), **CLOSE)
        others = [0, 1, 3, 4, 5, 6, 8]
        assert torch.equal(memory.vectors[others], before[others])

    def test_a_step_stores_what_its_loss_was_computed_from_and_nothing_else(self):
        run = begun({"momentum": 0.0, "dimension": 8})
        twin = begun({"momentum": 0.0, "dimension": 8})
        step = new_step(twin)
        expected = sides(twin, step)
        take_steps(run, 1)
        for bank, (vectors, _) in ((run.instance.m_s, expected["nce_s"]), (run.instance.m_t, expected["nce_t"])):
            torch.testing.assert_close(bank.vectors[step.index], torch.tensor(vectors), **CLOSE)
        seen = torch.zeros(72, dtype=torch.bool)
        seen[step.index] = True
        assert not run.instance.m_s.vectors.requires_grad
        fresh = run.instance.m_s.vectors[~seen].norm(dim=1)
        assert float((fresh - 1).abs().max()) > 1e-3

    def test_the_loss_alone_changes_no_bank(self):
        run = begun()
        before = run.instance.m_s.vectors.clone(), run.instance.m_t.vectors.clone()
        run.loss(new_step(run))
        assert torch.equal(run.instance.m_s.vectors, before[0])
        assert torch.equal(run.instance.m_t.vectors, before[1])


class TestGradients:
    def test_the_students_contrast_reaches_its_body_and_its_projection(self):
        run = begun()
        found = reached_by(run, run.loss(new_step(run))["nce_s"])
        assert {name.split(".")[0] for name in found} == {"student", "projection_student"}
        assert not any(name.startswith("student.head") for name in found)

    def test_the_teachers_contrast_reaches_the_teachers_projection_alone(self):
        run = begun()
        found = reached_by(run, run.loss(new_step(run))["nce_t"])
        assert {name.split(".")[0] for name in found} == {"projection_teacher"}

    def test_every_parameter_that_is_trained_has_a_part_in_the_loss(self):
        run = begun()
        found = reached_by(run, sum(run.loss(new_step(run)).values()))
        assert len(found) == len(run.learner.parameters())


class TestRuns:
    def test_training_beats_the_best_contrast_that_is_blind_to_its_anchor(self):
        run = make_run(CRD, toy_task(), {"w": 1.0})
        history = take_steps(run, 200)
        # one h for all columns, best at the share of positives
        k = run.instance.negatives
        blind = math.log(1 + k) + k * math.log((1 + k) / k)
        for name in ("nce_s", "nce_t"):
            assert sum(one[f"train/{name}"] for one in history[-10:]) / 10 < blind
            assert history[0][f"train/{name}"] > blind

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_a_real_task_has_finite_terms_in_single_precision(self, precision):
        digits = find_card("digits")
        run = make_run(CRD, digits.load(digits, Setting(precision=precision)))
        run.phases[0].prepare(run)
        terms = run.loss(new_step(run))
        assert all(term.dtype == torch.float32 and bool(term.isfinite()) for term in terms.values())

    def test_defaults_are_the_public_codes(self):
        params = begun().params
        assert (params.w, params.temperature, params.momentum, params.negatives, params.dimension) == (0.8, 0.07, 0.5, 16384, 128)

    def test_a_training_set_of_one_class_has_no_negatives(self):
        run = make_run(CRD, toy_task(classes=1))
        with pytest.raises(NotApplicable, match="of one class"):
            run.phases[0].prepare(run)


@pytest.mark.parametrize(
    ("params", "bound"),
    [
        ({"w": -0.1}, "at least 0"),
        ({"temperature": 0.0}, "above 0"),
        ({"momentum": -0.1}, "at least 0 and below 1"),
        ({"momentum": 1.0}, "at least 0 and below 1"),
        ({"negatives": 0}, "at least 1"),
        ({"dimension": 0}, "at least 1"),
    ],
)
def test_parameters_without_meaning_are_refused(params, bound):
    with pytest.raises(ImpossibleValue, match=f"^{next(iter(params))}: .* {bound}"):
        make_params(CRD.method.Params, params)


def test_a_task_of_one_class_is_refused():
    assert "negatives" in CRD.method.reason_against(toy_task(classes=1).card, CRD.method.Params())


def test_a_task_without_one_embedding_a_sample_is_refused():
    reason = CRD.method.reason_against(toy_task(one_row_a_sample=False).card, CRD.method.Params())
    assert reason == "it needs one label a sample and one embedding a sample, which the task 'toy' does not offer"


def test_it_applies_to_the_listed_tasks_with_its_defaults():
    assert CRD.method.reason_against(find_card("digits"), CRD.method.Params()) is None
    assert CRD.method.reason_against(find_card("cifar100"), CRD.method.Params()) is None
