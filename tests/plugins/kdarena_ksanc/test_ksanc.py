"""KSANC against closed forms, loops and autograd."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kdarena_ksanc import variants
from kdarena_ksanc.networks import AttentionEstimator, Critic, Squeezer
from torch.nn.functional import binary_cross_entropy, cross_entropy

from kdarena.testing import make_run, new_step, take_phases, take_steps, toy_task
from kdarena.tracks import card as find_card
from kdarena.tracks.task import Setting

(PLUGIN,) = variants
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def training(**params):
    run = make_run(PLUGIN, toy_task(), params)
    take_steps(run, 2, "estimators")
    run.phases[1].begin(run)
    return run


def terms_of(run, update, step=None):
    step = step or new_step(run, update=update)
    step.update = update
    return PLUGIN.loss(step), step


def gradients(term, module):
    return [one if one is not None else None for one in torch.autograd.grad(term, list(module.parameters()), allow_unused=True, retain_graph=True)]


def reached(term, module):
    return any(one is not None and float(one.abs().max()) > 0 for one in gradients(term, module))


def weights_of(module):
    return {name: one.clone() for name, one in module.state_dict().items()}


def unchanged(module, before):
    return all(torch.equal(one, before[name]) for name, one in module.state_dict().items())


class TestAttention:
    @given(st.integers(0, 500), st.sampled_from([(4, 4), (2, 3), (8, 8)]))
    def test_it_is_a_distribution_over_positions(self, seed, grid):
        torch.manual_seed(seed)
        attention = AttentionEstimator(5, 7, "sum", "sum").attention(4 * torch.randn(3, 5, *grid))
        assert attention.shape == (3, math.prod(grid))
        assert bool((attention >= 0).all())
        assert torch.allclose(attention.sum(dim=1), torch.ones(3), atol=1e-5)

    def test_a_constant_map_gets_equal_weights_and_its_own_value(self):
        shifted = torch.randn(3, 5, 1, 1).expand(3, 5, 4, 4)
        estimator = AttentionEstimator(5, 7, "map", "sum")
        torch.nn.init.zeros_(estimator.from_global.weight)
        torch.nn.init.zeros_(estimator.from_global.bias)
        assert torch.allclose(estimator.attention(shifted), torch.full((3, 16), 1 / 16))
        assert torch.allclose(estimator(shifted, torch.randn(3, 7)), shifted[:, :, 0, 0], atol=1e-6)
        estimator.pool = "avg"
        assert torch.allclose(estimator(shifted, torch.randn(3, 7)), shifted[:, :, 0, 0] / 16, atol=1e-6)

    def test_the_descriptor_does_not_depend_on_where_things_are(self):
        estimator, feature_map, g = AttentionEstimator(5, 7, "sum", "avg"), torch.randn(3, 5, 4, 4), torch.randn(3, 7)
        order = torch.randperm(16)
        permuted = feature_map.flatten(2)[:, :, order].view(3, 5, 4, 4)
        assert torch.allclose(estimator(feature_map, g), estimator(permuted, g), atol=1e-5)

    @pytest.mark.parametrize("attend", ["sum", "map"])
    @pytest.mark.parametrize("pool", ["sum", "avg"])
    def test_the_descriptor_is_the_printed_one_position_by_position(self, attend, pool):
        estimator, feature_map, g = AttentionEstimator(5, 7, attend, pool), torch.randn(2, 5, 3, 3), torch.randn(2, 7)
        weight, bias, score = estimator.from_global.weight[:, :, 0, 0], estimator.from_global.bias, estimator.score.weight[0, :, 0, 0]
        for b in range(2):
            shift = weight @ g[b] + bias
            scores = {(i, j): torch.exp(score @ (feature_map[b, :, i, j] + shift)) for i in range(3) for j in range(3)}
            total = sum(scores.values())
            expected = sum(s / total * (feature_map[b, :, i, j] + (shift if attend == "sum" else 0)) for (i, j), s in scores.items())
            assert torch.allclose(estimator(feature_map, g)[b], expected / (9 if pool == "avg" else 1), atol=1e-5)

    def test_a_constant_on_all_scores_changes_nothing(self):
        estimator = AttentionEstimator(5, 7, "sum", "sum")
        assert estimator.score.bias is None
        shifted = torch.randn(3, 5, 4, 4)
        direction = estimator.score.weight[0, :, 0, 0].detach()
        lifted = shifted + (3 * direction / direction.square().sum())[None, :, None, None]
        assert torch.allclose(estimator.attention(shifted), estimator.attention(lifted), atol=1e-5)

    def test_descriptors_of_all_levels_stand_side_by_side(self):
        assert Squeezer((3, 4, 6), (6, 8, 10), 16, "sum", "sum")(torch.randn(2, 3, 8, 8), torch.randn(2, 4, 4, 4), torch.randn(2, 6, 4, 4)).shape == (2, 24)


class TestStudentsLoss:
    def test_logits_are_compared_by_the_sum_of_squares(self):
        run = training(lambda1=2.0)
        terms, step = terms_of(run, "student")
        difference = step.student.logits - step.teacher.logits
        assert terms["b"].item() == pytest.approx(2 * float((difference.detach() ** 2).sum()) / len(difference), rel=1e-5)
        (gradient,) = torch.autograd.grad(terms["b"], step.student.logits, retain_graph=True)
        assert torch.allclose(gradient, 2 * 2 * difference / len(difference), **CLOSE)

    def test_descriptors_are_compared_by_the_sum_of_squares_over_levels(self):
        run = training(lambda3=3.0)
        terms, step = terms_of(run, "student")
        helpers = run.learner.helpers
        g_s = helpers["squeezer"](*step.student.features.values())
        g_t = helpers["teacher_squeezer"](*step.teacher.features.values())
        by_level = sum(float(((a - b) ** 2).sum()) for a, b in zip(g_s.detach().split([6, 8, 10], 1), g_t.split([6, 8, 10], 1), strict=True))
        assert terms["is"].item() == pytest.approx(3 * by_level / len(g_s), rel=1e-4)

    def test_a_copy_of_the_teacher_has_neither(self):
        task = toy_task(student="toy-teacher")
        run = make_run(PLUGIN, task)
        run.phases[1].begin(run)
        run.learner.student.load_state_dict(run.teacher.state_dict())
        run.learner.student.eval()
        run.learner.helpers["squeezer"].load_state_dict(run.learner.helpers["teacher_squeezer"].state_dict())
        terms, _ = terms_of(run, "student")
        assert terms["b"].item() == pytest.approx(0, abs=1e-8)
        assert terms["is"].item() == pytest.approx(0, abs=1e-8)

    @pytest.mark.parametrize("form", ["non-saturating", "saturating"])
    def test_the_critic_is_fooled_in_either_form(self, form):
        run = training(lambda2=0.5, generator=form)
        terms, step = terms_of(run, "student")
        d = torch.sigmoid(run.learner.helpers["critic"](step.student.logits.detach())[:, 0]).detach()
        expected = -d.log().mean() if form == "non-saturating" else (1 - d).log().mean()
        assert terms["adv"].item() == pytest.approx(0.5 * float(expected), rel=1e-4)

    def test_both_forms_pull_towards_the_teachers_side(self):
        for form in ("non-saturating", "saturating"):
            run = training(generator=form)
            terms, step = terms_of(run, "student")
            (down,) = torch.autograd.grad(terms["adv"], step.student.logits, retain_graph=True)
            critic = run.learner.helpers["critic"]
            before = torch.sigmoid(critic(step.student.logits.detach())[:, 0]).mean()
            after = torch.sigmoid(critic((step.student.logits - 0.1 * down / down.norm()).detach())[:, 0]).mean()
            assert float(after.detach()) > float(before.detach())

    @pytest.mark.parametrize("sign", [1.0, -1.0])
    def test_the_class_head_pulls_with_its_sign(self, sign):
        run = training(lambda2=0.5, student_class_sign=sign)
        terms, step = terms_of(run, "student")
        seen = run.learner.helpers["critic"](step.student.logits.detach())[:, 1:]
        assert terms["class"].item() == pytest.approx(sign * 0.5 * float(cross_entropy(seen, step.targets)), rel=1e-4)

    def test_without_critic_and_descriptors_it_is_the_regression_of_logits(self):
        run = training(lambda2=0.0, lambda3=0.0)
        terms, step = terms_of(run, "student")
        total = torch.autograd.grad(sum(terms.values()), step.student.logits, retain_graph=True)[0]
        assert torch.allclose(total, 2 * (step.student.logits - step.teacher.logits) / len(total), **CLOSE)

    def test_labels_reach_the_student_through_the_critic_alone(self):
        run = training(lambda2=0.0)
        terms, step = terms_of(run, "student")
        other = new_step(run, update="student", batch=step._present)
        assert set(terms) == {"b", "is", "adv", "class"}
        assert float(terms["class"]) == 0.0
        assert float(PLUGIN.loss(other)["b"]) == pytest.approx(float(terms["b"]), rel=1e-5)

    def test_it_reaches_student_and_squeezer_and_nothing_else(self):
        run = training()
        terms, _ = terms_of(run, "student")
        total = sum(terms.values())
        assert reached(total, run.learner.student)
        assert reached(total, run.learner.helpers["squeezer"])
        assert not reached(total, run.learner.helpers["critic"])
        assert all(not one.requires_grad for one in run.learner.helpers["teacher_squeezer"].parameters())


class TestCriticsLoss:
    def test_it_is_the_printed_game_with_probabilities(self):
        run = training(mu1=0.0, mu2=0.0, mu3=0.0)
        terms, step = terms_of(run, "critic")
        critic = run.learner.helpers["critic"]
        of_teacher, of_student = critic(step.teacher.logits), critic(step.student.logits.detach())
        ones = torch.ones(len(of_teacher))
        assert terms["real"].item() == pytest.approx(float(binary_cross_entropy(of_teacher[:, 0].sigmoid(), ones)), rel=1e-4)
        assert terms["fake"].item() == pytest.approx(float(binary_cross_entropy(of_student[:, 0].sigmoid(), 0 * ones)), rel=1e-4)
        assert terms["class_teacher"].item() == pytest.approx(float(cross_entropy(of_teacher[:, 1:], step.targets)), rel=1e-4)
        assert terms["class_student"].item() == pytest.approx(float(cross_entropy(of_student[:, 1:], step.targets)), rel=1e-4)
        assert terms["l1"].item() == terms["l2"].item() == terms["samples"].item() == 0

    def test_weights_are_pulled_by_sign_and_by_size(self):
        run = training(mu1=0.3, mu2=0.2)
        terms, _ = terms_of(run, "critic")
        weight = run.learner.helpers["critic"].layers[1].weight
        (absolute,) = torch.autograd.grad(terms["l1"], weight, retain_graph=True)
        (square,) = torch.autograd.grad(terms["l2"], weight, retain_graph=True)
        assert torch.allclose(absolute, 0.3 * weight.sign())
        assert torch.allclose(square, 2 * 0.2 * weight)

    def test_neither_biases_nor_batch_norm_are_weights(self):
        shapes = [tuple(one.shape) for one in Critic(10, 16).weights()]
        assert shapes == [(16, 10), (16, 16), (11, 16)]

    def test_the_best_answer_to_a_students_sample_is_mu_over_one_plus_mu(self):
        mu = 0.25
        d = torch.linspace(0.001, 0.999, 999, dtype=torch.double)
        loss = -(1 - d).log() - mu * d.log()
        assert float(d[loss.argmin()]) == pytest.approx(mu / (1 + mu), abs=1e-3)
        run = training(mu3=mu)
        terms, step = terms_of(run, "critic")
        answer = torch.sigmoid(run.learner.helpers["critic"](step.student.logits.detach())[:, 0]).detach()
        found = float(terms["fake"] + terms["samples"])
        assert found == pytest.approx(float((-(1 - answer).log() - mu * answer.log()).mean()), rel=1e-4)

    def test_it_has_one_output_more_than_there_are_classes(self):
        assert Critic(10, 16)(torch.randn(4, 10)).shape == (4, 11)

    def test_renaming_the_classes_leaves_its_class_loss(self):
        order = torch.tensor([2, 0, 3, 1])
        answer, targets = torch.randn(6, 4), torch.randint(4, (6,))
        renamed = torch.empty_like(answer)
        renamed[:, order] = answer
        assert cross_entropy(answer, targets).item() == pytest.approx(cross_entropy(renamed, order[targets]).item(), rel=1e-6)

    def test_it_reaches_the_critic_and_nothing_else(self):
        run = training()
        terms, _ = terms_of(run, "critic")
        total = sum(terms.values())
        assert reached(total, run.learner.helpers["critic"])
        assert not reached(total, run.learner.student)
        assert not reached(total, run.learner.helpers["squeezer"])


class TestRun:
    def test_the_teachers_estimators_learn_by_the_task_and_then_rest(self):
        run = make_run(PLUGIN, toy_task())
        squeezer, student = run.learner.helpers["teacher_squeezer"], run.learner.student
        before, others = weights_of(squeezer), weights_of(student)
        history = take_steps(run, 60, "estimators")
        assert history[-1]["estimators/ce"] < history[0]["estimators/ce"]
        assert not unchanged(squeezer, before)
        assert unchanged(student, others)
        learnt = weights_of(squeezer)
        take_steps(run, 5, "train")
        assert unchanged(squeezer, learnt)
        run.check_teachers()

    def test_teacher_and_its_descriptors_are_bit_identical_over_steps(self):
        run = training()
        step = new_step(run, update="student")
        before = PLUGIN._teacher_descriptor(step).clone()
        take_steps(run, 3, "train")
        assert torch.equal(PLUGIN._teacher_descriptor(new_step(run, update="student", batch=step._present)), before)
        run.check_teachers()

    def test_the_critics_buffers_stand_still_in_the_students_turn(self):
        run = training()
        before = weights_of(run.learner.helpers["critic"])
        terms, _ = terms_of(run, "student")
        sum(terms.values()).backward()
        assert unchanged(run.learner.helpers["critic"], before)

    def test_several_steps_of_the_critic_are_taken_for_one_of_the_student(self):
        run = training(critic_steps=3)
        history = take_steps(run, 2, "train")
        assert {name.partition("/")[0] for name in history[0]} == {"critic", "student"}

    def test_regression_and_critic_bring_the_logits_closer(self):
        run = make_run(PLUGIN, toy_task())
        history = take_phases(run, 60)["train"]
        assert all(math.isfinite(value) for step in history for value in step.values())
        assert history[-1]["student/b"] < history[0]["student/b"]

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_it_trains_on_real_digits(self, precision):
        digits = find_card("digits")
        run = make_run(PLUGIN, digits.load(digits, Setting(precision=precision)))
        assert all(math.isfinite(value) for steps in take_phases(run, 3).values() for step in steps for value in step.values())

    def test_tasks_without_maps_are_refused(self):
        assert "feature maps" in PLUGIN.method.applies(toy_task(feature_maps=False).card, PLUGIN.method.Params())
        assert "critic" in PLUGIN.method.applies(toy_task().card, PLUGIN.method.Params(critic_steps=0))
