"""KSANC against closed forms, loops and autograd."""

import math
from dataclasses import replace

import pytest
import torch
from kdarena_ksanc import variants
from torch import nn
from torch.nn.functional import binary_cross_entropy, cross_entropy

from kdarena.testing.run import make_run, new_step, take_phases, take_steps
from kdarena.testing.task import toy_task
from kdarena.tracks import find_card
from kdarena.tracks.values import Setting

(PLUGIN,) = variants
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


class Constant(nn.Module):
    """A critic that answers the same to all logits."""

    def __init__(self, classes):
        super().__init__()
        self.answer = nn.Parameter(torch.zeros(1 + classes))

    def forward(self, logits):
        return self.answer.expand(len(logits), -1) + 0 * logits.sum()

    def weights(self):
        return [self.answer]


def training(**params):
    run = make_run(PLUGIN, toy_task(), params)
    take_steps(run, 2, "estimators")
    run.phases[1].prepare(run)
    return run


def terms_of(run, update, step=None):
    step = step or new_step(run, update=update)
    step.update = update
    return step.run.loss(step), step


def gradients(term, module):
    return [one if one is not None else None for one in torch.autograd.grad(term, list(module.parameters()), allow_unused=True, retain_graph=True)]


def reached(term, module):
    return any(one is not None and float(one.abs().max()) > 0 for one in gradients(term, module))


def weights_of(module):
    return {name: one.clone() for name, one in module.state_dict().items()}


def unchanged(module, before):
    return all(torch.equal(one, before[name]) for name, one in module.state_dict().items())


def descriptor(squeezer, maps, attend, pool):
    """g^a by the weights of a squeezer, level by level, in the form that is asked for."""
    g = squeezer.to_global(maps[-1]).mean(dim=(2, 3), keepdim=True)
    levels = []
    for estimator, transform, one in zip(squeezer.estimators, squeezer.transforms, maps, strict=True):
        transformed = transform(one)
        shifted = transformed + estimator.from_global(g)
        attention = estimator.score(shifted).flatten(2).softmax(dim=2)
        weighted = attention * {"sum": shifted, "map": transformed}[attend].flatten(2)
        levels.append({"sum": weighted.sum(dim=2), "avg": weighted.mean(dim=2)}[pool])
    return torch.cat(levels, dim=1)


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

    @pytest.mark.parametrize("params", [{}, *({"attend": attend, "pool": pool} for attend in ("sum", "map") for pool in ("sum", "avg"))])
    def test_attention_is_read_and_pooled_as_is_asked_for_in_both_networks(self, params):
        run = training(lambda3=2.0, **params)
        terms, step = terms_of(run, "student")
        # unless asked for: of L + g, and summed
        form = {"attend": "sum", "pool": "sum", **params}
        g_s = descriptor(run.learner.helpers["squeezer"], list(step.student.features.values()), **form)
        g_t = descriptor(run.learner.helpers["teacher_squeezer"], list(step.teacher.features.values()), **form)
        torch.testing.assert_close(terms["is"], 2 * (g_s - g_t).square().sum(dim=1).mean(), rtol=1e-4, atol=0)

    def test_a_copy_of_the_teacher_has_neither(self):
        task = toy_task(student="toy-teacher")
        run = make_run(PLUGIN, task)
        run.phases[1].prepare(run)
        run.learner.student.load_state_dict(run.teacher.state_dict())
        run.learner.student.eval()
        squeezer = run.learner.helpers["squeezer"]
        squeezer.load_state_dict(run.learner.helpers["teacher_squeezer"].state_dict(), strict=False)
        for transform in squeezer.transforms:
            torch.nn.init.dirac_(transform.weight)
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

    @pytest.mark.parametrize("sign", [1, -1])
    def test_the_class_head_pulls_with_its_sign(self, sign):
        run = training(lambda2=0.5, student_class_sign=sign)
        terms, step = terms_of(run, "student")
        seen = run.learner.helpers["critic"](step.student.logits.detach())[:, 1:].detach()
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
        assert terms["class"].item() == 0
        assert run.loss(other)["b"].item() == pytest.approx(terms["b"].item(), rel=1e-5)

    def test_it_reaches_student_and_squeezer_and_nothing_else(self):
        run = training()
        terms, _ = terms_of(run, "student")
        total = sum(terms.values())
        for module in (run.learner.student, run.learner.helpers["squeezer"]):
            assert all(one is not None for one in gradients(total, module))
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

    @pytest.mark.parametrize("mu", [0.0625, 0.25, 1.0])
    def test_the_best_answer_to_a_students_sample_is_mu_over_one_plus_mu(self, mu):
        run = training(mu3=mu)
        critic = run.instance.critic = Constant(4)
        best = mu / (1 + mu)
        pulls = []
        for d in (0.5 * best, best, 1.5 * best):
            critic.answer.data[0] = math.log(d / (1 - d))
            terms, _ = terms_of(run, "critic")
            pulls.append(float(torch.autograd.grad(terms["fake"] + terms["samples"], critic.answer)[0][0]))
        assert pulls[0] < -1e-3
        assert pulls[1] == pytest.approx(0, abs=1e-6)
        assert pulls[2] > 1e-3

    def test_an_undecided_critic_pays_log_two_twice_and_log_n_twice(self):
        run = training(mu3=0.5)
        run.instance.critic = Constant(4)
        terms, _ = terms_of(run, "critic")
        assert terms["real"].item() == pytest.approx(math.log(2), rel=1e-5)
        assert terms["fake"].item() == pytest.approx(math.log(2), rel=1e-5)
        assert terms["samples"].item() == pytest.approx(0.5 * math.log(2), rel=1e-5)
        assert terms["class_teacher"].item() == terms["class_student"].item() == pytest.approx(math.log(4), rel=1e-5)

    @pytest.mark.parametrize("certain", [-300.0, 300.0])
    def test_a_critic_that_is_certain_has_finite_terms_and_gradients(self, certain):
        run = training()
        critic = run.instance.critic = Constant(4)
        critic.answer.data[0] = certain
        for update, of in (("critic", critic.answer), ("student", run.learner.student.head.weight)):
            terms, _ = terms_of(run, update)
            total = sum(terms.values())
            assert math.isfinite(total.item())
            assert bool(torch.autograd.grad(total, of)[0].isfinite().all())

    def test_renaming_the_classes_in_labels_and_class_units_changes_nothing(self):
        run = training()
        batch = next(run.augmented)
        order = torch.tensor([2, 0, 3, 1])
        before = {name: one.item() for update in ("critic", "student") for name, one in terms_of(run, update, new_step(run, batch=batch))[0].items()}
        last = run.learner.helpers["critic"].layers[-1]
        for parameter in (last.weight, last.bias):
            parameter.data[1 + order] = parameter.data[1:].clone()
        renamed = replace(batch, targets=order[batch.targets])
        after = {name: one.item() for update in ("critic", "student") for name, one in terms_of(run, update, new_step(run, batch=renamed))[0].items()}
        assert after == pytest.approx(before, rel=1e-4)
        wrong = terms_of(run, "critic", new_step(run, batch=batch))[0]
        assert wrong["class_teacher"].item() != pytest.approx(before["class_teacher"], rel=1e-3)

    def test_it_reaches_the_critic_and_nothing_else(self):
        run = training()
        terms, _ = terms_of(run, "critic")
        total = sum(terms.values())
        assert reached(total, run.learner.helpers["critic"])
        assert not reached(total, run.learner.student)
        assert not reached(total, run.learner.helpers["squeezer"])


class TestEstimatorsLoss:
    def test_it_is_the_negative_logarithm_of_the_linear_classifiers_probability_of_the_label(self):
        run = make_run(PLUGIN, toy_task())
        terms, step = terms_of(run, "estimators")
        helpers = run.learner.helpers
        g_t = helpers["teacher_squeezer"](*step.teacher.features.values())
        scores = (g_t @ helpers["classifier"].weight.T + helpers["classifier"].bias).exp()
        probabilities = scores / scores.sum(dim=1, keepdim=True)
        expected = -sum(math.log(float(row[label].detach())) for row, label in zip(probabilities, step.targets, strict=True)) / len(g_t)
        assert set(terms) == {"ce"}
        assert terms["ce"].item() == pytest.approx(expected, rel=1e-4)

    def test_it_reaches_the_teachers_estimators_and_the_classifier_and_nothing_else(self):
        run = make_run(PLUGIN, toy_task())
        terms, _ = terms_of(run, "estimators")
        helpers = run.learner.helpers
        modules = {"student": run.learner.student, **helpers}
        assert {name for name, module in modules.items() if reached(terms["ce"], module)} == {"teacher_squeezer", "classifier"}


class TestParameters:
    def test_gradients_of_estimators_and_student_are_clipped_and_the_critics_is_not(self):
        run = make_run(PLUGIN, toy_task(), {"clip": 0.3})
        clips = {update.name: update.clip for phase in run.phases for update in phase.updates(run)}
        assert clips == {"estimators": 0.3, "critic": None, "student": 0.3}

    @pytest.mark.parametrize(("steps", "factor"), [(1, 1.0), (4, 0.1)])  # the toy's curve falls to a tenth at one half
    def test_the_critic_has_adam_at_its_own_rate_on_the_tasks_curve_and_the_others_the_recipe(self, steps, factor):
        run = make_run(PLUGIN, toy_task(), {"lr_d": 0.002})
        found = {}
        for phase in ("estimators", "train"):
            take_steps(run, steps, phase)
            found.update({name: bound.optimizer for name, bound in run.bound.items()})
        rates = {name: (type(optimizer), pytest.approx(optimizer.param_groups[0]["lr"])) for name, optimizer in found.items()}
        recipe = (torch.optim.SGD, 0.05 * factor)
        assert rates == {"estimators": recipe, "critic": (torch.optim.Adam, 0.002 * factor), "student": recipe}

    def test_the_critic_and_the_descriptors_are_as_wide_as_is_asked_for(self):
        helpers = make_run(PLUGIN, toy_task(classes=4), {"width": 24, "dimension": 20}).learner.helpers
        assert [tuple(one.shape) for one in helpers["critic"].weights()] == [(24, 4), (24, 24), (5, 24)]
        for name in ("squeezer", "teacher_squeezer"):
            assert helpers[name].to_global.out_channels == 20
            assert [estimator.from_global.in_channels for estimator in helpers[name].estimators] == [20] * 3

    def test_the_estimators_get_the_share_of_the_budget_that_is_asked_for(self):
        run = make_run(PLUGIN, toy_task(), {"share": 0.25})
        assert {phase.name: phase.share for phase in run.phases} == {"estimators": 0.25, "train": 0.75}


class TestEarlierExits:
    def in_training(self, digits, **params):
        run = make_run(PLUGIN, digits(), params)
        run.phases[1].prepare(run)
        return run

    def test_no_classifier_is_left_without_a_gradient(self, digits):
        run = make_run(PLUGIN, digits())
        before = [classifier.linear.weight.detach().clone() for classifier in run.learner.student.classifiers]
        take_phases(run, 1)
        assert len(before) == 3
        assert all(not torch.equal(old, classifier.linear.weight) for old, classifier in zip(before, run.learner.student.classifiers, strict=True))

    def test_every_exit_is_regressed_on_the_teachers_logits_and_shown_to_the_critic(self, digits):
        run = self.in_training(digits, lambda2=0.5)
        terms, step = terms_of(run, "student")
        exits = [one.detach() for one in (step.student.logits, *step.student.exits)]
        assert len(exits) == 3
        regressed = sum(float((one - step.teacher.logits).square().sum()) / len(one) for one in exits)
        assert terms["b"].item() == pytest.approx(regressed, rel=1e-5)
        said = [run.learner.helpers["critic"](one).detach() for one in exits]
        assert terms["adv"].item() == pytest.approx(-0.5 * sum(float(one[:, 0].sigmoid().log().mean()) for one in said), rel=1e-4)
        assert terms["class"].item() == pytest.approx(0.5 * sum(float(cross_entropy(one[:, 1:], step.targets)) for one in said), rel=1e-4)

    def test_the_critic_sees_all_exits_alike_and_no_more_of_the_student_than_of_the_teacher(self, digits):
        run = self.in_training(digits, mu3=0.5)
        terms, step = terms_of(run, "critic")
        said = [run.learner.helpers["critic"](one.detach()).detach() for one in (step.student.logits, *step.student.exits)]
        assert terms["fake"].item() == pytest.approx(-sum(float((1 - one[:, 0].sigmoid()).log().mean()) for one in said) / 3, rel=1e-4)
        assert terms["samples"].item() == pytest.approx(-0.5 * sum(float(one[:, 0].sigmoid().log().mean()) for one in said) / 3, rel=1e-4)
        assert terms["class_student"].item() == pytest.approx(sum(float(cross_entropy(one[:, 1:], step.targets)) for one in said) / 3, rel=1e-4)


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
        before = run.instance.teacher_descriptor(step).clone()
        take_steps(run, 3, "train")
        assert torch.equal(run.instance.teacher_descriptor(new_step(run, update="student", batch=step._present)), before)
        run.check_teachers()

    def test_the_critics_buffers_do_not_move_in_the_students_turn(self):
        run = training()
        before = weights_of(run.learner.helpers["critic"])
        terms, _ = terms_of(run, "student")
        sum(terms.values()).backward()
        assert unchanged(run.learner.helpers["critic"], before)

    @pytest.mark.parametrize("steps", [1, 3])
    def test_the_critic_takes_its_steps_first_and_the_student_then_meets_the_new_one(self, steps):
        run = training(critic_steps=steps)
        critic = run.learner.helpers["critic"]
        met = []
        critic.layers[1].register_forward_pre_hook(lambda module, inputs: met.append(module.weight.detach().clone()))
        take_steps(run, 1, "train")
        # teacher and student on each of the critic's turns, then the student's own
        assert len(met) == 2 * steps + 1
        for turn in range(1, steps):
            assert not torch.equal(met[2 * turn], met[2 * turn - 2])
        assert not torch.equal(met[-1], met[-2])
        assert torch.equal(met[-1], critic.layers[1].weight)

    def test_every_class_of_weights_moves_in_a_step_but_those_that_rest(self):
        run = training()
        modules = {"student": run.learner.student, **run.learner.helpers}
        before = {name: {inner: one.detach().clone() for inner, one in module.named_parameters()} for name, module in modules.items()}
        take_steps(run, 1, "train")
        moved = {name for name, module in modules.items() if any(not torch.equal(one, before[name][inner]) for inner, one in module.named_parameters())}
        assert moved == {"student", "squeezer", "critic"}

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

    def test_unequal_grids_need_nothing(self):
        history = take_phases(make_run(PLUGIN, toy_task(student="toy-coarse")), 2)["train"]
        assert all(math.isfinite(value) for step in history for value in step.values())
