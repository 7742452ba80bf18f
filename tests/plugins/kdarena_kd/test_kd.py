"""KD, KD from an ensemble and DML against independent derivations."""

import math

import pytest
import torch
from kdarena_kd import variants
from torch.distributions import Categorical, kl_divergence

from kdarena import TeacherSpec
from kdarena.params import ImpossibleValue, make_params
from kdarena.testing.run import make_run, new_step, take_steps, toy_teacher
from kdarena.testing.task import toy_task

KD, ENSEMBLE, DML = variants
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def soft(logits, temperature=1.0):
    return Categorical(probs=torch.softmax(logits.double() / temperature, dim=1))


def cross_entropy(logits, targets):
    return -Categorical(logits=logits.double()).log_prob(targets).mean()


def gradient(term, logits):
    return torch.autograd.grad(term, logits, retain_graph=True)[0]


def terms_of(run):
    return run.loss(new_step(run))


def equal_student_and_teacher(plugin, params):
    """A run whose student, in eval mode, has its teacher's very weights."""
    task = toy_task(teacher="toy-student")
    run = make_run(plugin, task, params)
    run.learner.student.load_state_dict(run.teacher_modules()[0].state_dict())
    run.learner.student.eval()
    return run


class TestKD:
    def test_the_soft_term_is_the_divergence_from_teacher_to_student_times_t_squared(self):
        run = make_run(KD, toy_task(), {"a": 0.7, "temperature": 3.0})
        step = new_step(run)
        expected = 0.7 * 9 * kl_divergence(soft(step.teacher.logits, 3), soft(step.student.logits, 3)).mean()
        torch.testing.assert_close(step.run.loss(step)["kl"].double(), expected, **CLOSE)

    def test_the_label_term_is_cross_entropy_with_the_rest_of_the_weight(self):
        run = make_run(KD, toy_task(), {"a": 0.7})
        step = new_step(run)
        torch.testing.assert_close(step.run.loss(step)["ce"].double(), 0.3 * cross_entropy(step.student.logits, step.targets), **CLOSE)

    @pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
    def test_the_gradient_of_a_sample_is_t_times_the_difference_of_softened_probabilities(self, temperature):
        step = new_step(make_run(KD, toy_task(), {"a": 1.0, "temperature": temperature}))
        student, teacher = step.student.logits, step.teacher.logits
        expected = temperature * (torch.softmax(student / temperature, 1) - torch.softmax(teacher / temperature, 1)) / len(student)
        torch.testing.assert_close(gradient(step.run.loss(step)["kl"], student), expected, **CLOSE)

    def test_a_student_equal_to_its_teacher_has_no_soft_loss_and_no_soft_gradient(self):
        step = new_step(equal_student_and_teacher(KD, {"a": 1.0}))
        term = step.run.loss(step)["kl"]
        assert abs(float(term.detach())) < 1e-6
        assert float(gradient(term, step.student.logits).abs().max()) < 1e-6

    def test_defaults_are_the_public_benchmarks(self):
        params = make_run(KD, toy_task()).params
        assert (params.a, params.temperature) == (0.9, 4.0)


class TestKDEnsemble:
    def test_the_target_is_the_mean_of_softened_probabilities_not_of_logits(self):
        step = new_step(make_run(ENSEMBLE, toy_task(), {"a": 0.8, "temperature": 2.0}))
        mean = sum(soft(teacher.logits, 2).probs for teacher in step.teachers) / 3
        expected = 0.8 * 4 * kl_divergence(Categorical(probs=mean), soft(step.student.logits, 2)).mean()
        torch.testing.assert_close(step.run.loss(step)["kl"].double(), expected, **CLOSE)
        of_logits = sum(teacher.logits for teacher in step.teachers) / 3
        assert abs(float(0.8 * 4 * kl_divergence(soft(of_logits, 2), soft(step.student.logits, 2)).mean() - expected)) > 1e-5

    def test_the_gradient_of_a_sample_is_t_times_the_difference_to_the_mean(self):
        step = new_step(make_run(ENSEMBLE, toy_task(), {"a": 1.0, "temperature": 4.0}))
        logits = step.student.logits
        mean = torch.stack([torch.softmax(teacher.logits / 4, 1) for teacher in step.teachers]).mean(0)
        torch.testing.assert_close(gradient(step.run.loss(step)["kl"], logits), 4 * (torch.softmax(logits / 4, 1) - mean) / len(logits), **CLOSE)

    def test_identical_teachers_make_it_plain_distillation(self):
        task = toy_task()
        teachers = [toy_teacher(task) for _ in range(3)]
        several, plain = terms_of(make_run(ENSEMBLE, task, teachers=teachers)), terms_of(make_run(KD, task, teachers=teachers[:1]))
        torch.testing.assert_close(several["kl"], plain["kl"], **CLOSE)

    def test_the_order_of_teachers_changes_nothing(self):
        task = toy_task()
        teachers = [toy_teacher(task, TeacherSpec(member=member)) for member in range(3)]
        forward, backward = (terms_of(make_run(ENSEMBLE, task, teachers=order))["kl"] for order in (teachers, teachers[::-1]))
        torch.testing.assert_close(forward, backward, **CLOSE)

    def test_probabilities_that_underflow_give_no_nan(self):
        task = toy_task()
        teachers = [toy_teacher(task, TeacherSpec(member=member)) for member in range(2)]
        for teacher in teachers:
            teacher.head.weight.mul_(1e4)
        step = new_step(make_run(ENSEMBLE, task, {"teachers": 2, "temperature": 1.0}, teachers=teachers))
        term = step.run.loss(step)["kl"]
        assert math.isfinite(float(term))
        assert bool(gradient(term, step.student.logits).isfinite().all())

    def test_it_declares_as_many_teachers_as_asked_for(self):
        params = ENSEMBLE.method.Params(teachers=4)
        assert [spec.member for spec in ENSEMBLE.method.teachers(toy_task().card, params)] == [0, 1, 2, 3]


class TestDML:
    @pytest.mark.parametrize("networks", [2, 3])
    def test_each_network_has_cross_entropy_and_the_mean_divergence_from_its_peers(self, networks):
        run = make_run(DML, toy_task(), {"networks": networks, "w": 2.0, "temperature": 2.0})
        step = new_step(run)
        terms = step.run.loss(step)
        logits = [step.forward(network).logits for network in run.learner.modules()]
        for k in range(networks):
            torch.testing.assert_close(terms[f"ce{k}"].double(), cross_entropy(logits[k], step.targets), **CLOSE)
            total = torch.zeros((), dtype=torch.double)
            for j in range(networks):
                if j != k:
                    total = total + kl_divergence(soft(logits[j], 2), soft(logits[k], 2)).mean()
            received = sum(term.double() for name, term in terms.items() if name.startswith("kl") and name.endswith(f"to{k}"))
            torch.testing.assert_close(received, 2.0 * 4 * total / (networks - 1), **CLOSE)

    def test_defaults_are_two_networks_without_softening(self):
        params = make_run(DML, toy_task()).params
        assert (params.networks, params.w, params.temperature) == (2, 1.0, 1.0)

    def test_a_networks_loss_reaches_no_peer(self):
        run = make_run(DML, toy_task(), {"networks": 3})
        step = new_step(run)
        terms = step.run.loss(step)
        networks = run.learner.modules()
        for k in range(3):
            own = terms[f"ce{k}"] + sum(term for name, term in terms.items() if name.startswith("kl") and name.endswith(f"to{k}"))
            for j, network in enumerate(networks):
                gradients = torch.autograd.grad(own, list(network.parameters()), retain_graph=True, allow_unused=True)
                assert all((gradient is None) == (j != k) for gradient in gradients)

    def test_the_gradient_on_a_networks_logits_is_the_sum_of_both_differences(self):
        run = make_run(DML, toy_task())
        step = new_step(run)
        z0, z1 = (step.forward(network).logits for network in run.learner.modules())
        labels = torch.nn.functional.one_hot(step.targets, 4)
        p0, p1 = torch.softmax(z0, 1), torch.softmax(z1, 1)
        torch.testing.assert_close(gradient(sum(step.run.loss(step).values()), z0), ((p0 - labels) + (p0 - p1)) / len(z0), **CLOSE)

    def test_between_identical_networks_there_is_no_divergence(self):
        run = make_run(DML, toy_task())
        run.learner.helpers["peer1"].load_state_dict(run.learner.student.state_dict())
        terms = terms_of(run)
        assert abs(float(terms["kl1to0"])) < 1e-6
        assert abs(float(terms["kl0to1"])) < 1e-6

    def test_networks_start_from_different_seeds_and_all_learn(self):
        run = make_run(DML, toy_task(), {"networks": 3})
        heads = [network.head.weight for network in run.learner.modules()]
        before = [head.detach().clone() for head in heads]
        assert not torch.equal(before[0], before[1])
        assert not torch.equal(before[1], before[2])
        take_steps(run, 1)
        assert all(not torch.equal(old, head) for old, head in zip(before, heads, strict=True))

    def test_the_student_starts_as_it_does_alone(self):
        run = make_run(DML, toy_task())
        alone = run.new_student()
        assert all(torch.equal(one, other) for one, other in zip(run.learner.student.parameters(), alone.parameters(), strict=True))


@pytest.mark.parametrize(
    ("plugin", "params", "bound"),
    [
        (KD, {"temperature": 0.0}, "above 0"),
        (KD, {"a": -0.1}, "at least 0 and at most 1"),
        (KD, {"a": 1.1}, "at least 0 and at most 1"),
        (ENSEMBLE, {"temperature": -1.0}, "above 0"),
        (ENSEMBLE, {"a": 1.1}, "at most 1"),
        (ENSEMBLE, {"teachers": 0}, "at least 1"),
        (DML, {"temperature": 0.0}, "above 0"),
        (DML, {"w": -1.0}, "at least 0"),
        (DML, {"networks": 1}, "at least 2"),
    ],
)
def test_parameters_without_meaning_are_refused(plugin, params, bound):
    with pytest.raises(ImpossibleValue, match=f"^{next(iter(params))}: .* {bound}"):
        make_params(plugin.method.Params, params)


@pytest.mark.parametrize(("plugin", "params"), [(KD, {"a": 0.0}), (KD, {"a": 1.0}), (ENSEMBLE, {"teachers": 1}), (DML, {"networks": 2})])
def test_parameters_at_the_edge_of_their_meaning_are_not(plugin, params):
    assert plugin.method.reason_against(toy_task().card, make_params(plugin.method.Params, params)) is None


def test_peers_that_would_all_start_from_the_teacher_are_refused():
    reason = DML.method.reason_against(toy_task(start="teacher").card, DML.method.Params())
    assert reason == "it needs students that start afresh, which the task 'toy' does not offer"
