"""OKDDip against loops over samples and peers, torch.distributions and closed forms."""

import itertools
import math

import pytest
import torch
from kdarena_okddip import variants
from torch.distributions import Categorical, kl_divergence
from torch.nn.functional import cross_entropy

from kdarena.params import ImpossibleValue
from kdarena.testing.run import make_run, new_step, take_steps
from kdarena.testing.task import toy_task
from kdarena.tracks import find_card
from kdarena.tracks.values import Setting, Split

PLUGINS = {plugin.method.name: plugin for plugin in variants}
BOTH = pytest.mark.parametrize("name", PLUGINS)
T = 2.0


def started(name, **params):
    run = make_run(PLUGINS[name], toy_task(), {"temperature": T, "ramp_up": 0.0, **params})
    # as drawn, the attention of toy peers is all but uniform
    with torch.no_grad():
        for parameter in run.instance.attention.parameters():
            parameter.mul_(6)
    return run, new_step(run)


class Given(torch.nn.Module):
    """An attention that is what it was given, whatever the peers' embeddings are."""

    def __init__(self, alpha):
        super().__init__()
        self.alpha = alpha

    def forward(self, h):
        return self.alpha


def peers_of(run):
    return [helper for name, helper in run.learner.helpers.items() if name.startswith("peer")]


def answers(run, step):
    """Logits and embeddings of the peers by their modules alone."""
    if run.method.name == "okddip":
        found = [run.task.forward(peer, step.inputs) for peer in peers_of(run)]
        return [one.logits for one in found], [one.embedding for one in found]
    stem = step.student.features["stage2"]
    embeddings = [peer(stem) for peer in peers_of(run)]
    return [peer.head(h) for peer, h in zip(peers_of(run), embeddings, strict=True)], embeddings


def by_hand(run, step, mix, detach="none"):
    """L_dis1 and L_dis2, each times T², sample by sample and peer by peer, in double precision and with the gradients that are wanted."""
    logits, embeddings = answers(run, step)
    attention = run.instance.attention
    w_l, w_e = attention.query.weight.double(), attention.key.weight.double()
    rows, count = len(step.targets), len(logits)
    dis1 = dis2 = torch.zeros((), dtype=torch.double)
    for i in range(rows):
        z = [one[i].double() for one in logits]
        q = [torch.softmax(one / T, dim=0) for one in z]
        # what targets are made of
        known = z if detach == "none" else [one.detach() for one in z]
        known_q = [torch.softmax(one / T, dim=0) for one in known]
        h = [one[i].double() for one in embeddings]
        for a in range(count):
            scores = [torch.exp((w_l @ h[a]) @ (w_e @ h[b])) for b in range(count)]
            alpha = [score / sum(scores) for score in scores]
            mixture = [weight * one for weight, one in zip(alpha, known_q if mix == "prob" else known, strict=True)]
            t = sum(mixture) if mix == "prob" else torch.softmax(sum(mixture) / T, dim=0)
            dis1 = dis1 + T**2 * kl_divergence(Categorical(t), Categorical(q[a])) / rows
        t_m = sum(known_q) / count if mix == "prob" else torch.softmax(sum(known) / count / T, dim=0)
        leader = torch.softmax(step.student.logits[i].double() / T, dim=0)
        dis2 = dis2 + T**2 * kl_divergence(Categorical(t_m), Categorical(leader)) / rows
    return dis1, dis2


def gradients(term, parameters):
    return torch.autograd.grad(term, list(parameters), allow_unused=True, retain_graph=True)


def reached(term, module):
    return any(one is not None and float(one.abs().max()) > 0 for one in gradients(term, module.parameters()))


class TestLoss:
    @BOTH
    @pytest.mark.parametrize("mix", ["logit", "prob"])
    def test_both_terms_are_the_printed_sums(self, name, mix):
        run, step = started(name, mix=mix)
        terms = run.loss(step)
        dis1, dis2 = by_hand(run, step, mix)
        assert terms["dis1"].item() == pytest.approx(dis1.item(), rel=1e-4, abs=1e-7)
        assert terms["dis2"].item() == pytest.approx(dis2.item(), rel=1e-4, abs=1e-7)

    @BOTH
    def test_every_student_learns_the_labels_with_weight_one(self, name):
        run, step = started(name)
        terms = run.loss(step)
        logits, _ = answers(run, step)
        expected = [cross_entropy(step.student.logits, step.targets), *(cross_entropy(z, step.targets) for z in logits)]
        found = [terms["ce_leader"], *(terms[f"ce{a}"] for a in range(1, 4))]
        assert torch.allclose(torch.stack(found), torch.stack(expected), atol=1e-6)
        assert set(terms) == {"ce_leader", "ce1", "ce2", "ce3", "dis1", "dis2"}

    @BOTH
    def test_equal_peers_have_nothing_to_tell_each_other(self, name):
        run, step = started(name)
        first, *others = peers_of(run)
        for other in others:
            other.load_state_dict(first.state_dict())
        assert abs(run.loss(new_step(run, batch=step._present))["dis1"].item()) < 1e-6

    @BOTH
    @pytest.mark.parametrize("mix", ["logit", "prob"])
    def test_equal_peers_have_nothing_to_tell_each_other_whatever_the_attention_is(self, name, mix):
        run, step = started(name, mix=mix)
        first, *others = peers_of(run)
        run.instance.attention = Given(torch.softmax(3 * torch.randn(len(step.targets), 3, 3), dim=2))
        assert abs(run.loss(new_step(run, batch=step._present))["dis1"].item()) > 1e-4
        for other in others:
            other.load_state_dict(first.state_dict())
        assert abs(run.loss(new_step(run, batch=step._present))["dis1"].item()) < 1e-6

    def test_order_of_the_peers_does_not_matter(self):
        run, step = started("okddip")
        before = run.loss(step)
        run.instance.peers = run.instance.peers[::-1]
        after = run.loss(new_step(run, batch=step._present))
        assert after["dis1"].item() == pytest.approx(before["dis1"].item(), rel=1e-4)
        assert after["dis2"].item() == pytest.approx(before["dis2"].item(), rel=1e-4)

    def test_weight_and_ramp_multiply_both_terms_and_no_label(self):
        run, _ = started("okddip", w=2.0, ramp_up=0.5)
        step = new_step(run, progress=0.25)
        ramped = run.loss(step)
        plain_run, _ = started("okddip")
        plain_step = new_step(plain_run, batch=step._present)
        plain = plain_run.loss(plain_step)
        factor = 2 * math.exp(-5 * 0.25)
        assert ramped["dis1"].item() == pytest.approx(factor * plain["dis1"].item(), rel=1e-5)
        assert ramped["dis2"].item() == pytest.approx(factor * plain["dis2"].item(), rel=1e-5)
        assert ramped["ce1"].item() == pytest.approx(plain["ce1"].item(), rel=1e-6)

    def test_gradient_of_the_leader_is_T_times_the_difference_to_the_mean(self):
        run, step = started("okddip")
        terms = run.loss(step)
        (gradient,) = torch.autograd.grad(terms["dis2"], step.student.logits, retain_graph=True)
        logits, _ = answers(run, step)
        t_m = torch.softmax(torch.stack(logits).mean(dim=0) / T, dim=1)
        expected = T * (torch.softmax(step.student.logits / T, dim=1) - t_m) / len(step.targets)
        assert torch.allclose(gradient, expected, atol=1e-6)

    def test_the_leader_takes_no_part_in_the_attention(self):
        run, step = started("okddip")
        before = run.loss(step)["dis1"].item()
        with torch.no_grad():
            for parameter in run.learner.student.parameters():
                parameter.mul_(3)
        assert run.loss(new_step(run, batch=step._present))["dis1"].item() == before

    def test_the_plain_loss_of_the_task_is_left_where_distillation_weighs_nothing(self):
        run, step = started("okddip", w=0.0)
        total = sum(run.loss(step).values())
        parameters = list(run.learner.student.parameters())
        found, plain = gradients(total, parameters), gradients(run.task.loss(step.student, step.targets), parameters)
        assert all(torch.equal(a, b) for a, b in zip(found, plain, strict=True))

    def test_two_students_have_an_attention_of_one_and_no_first_term(self):
        run, step = started("okddip", students=2)
        terms = run.loss(step)
        assert abs(terms["dis1"].item()) < 1e-6
        assert torch.equal(run.instance.attention(torch.randn(5, 1, 6)), torch.ones(5, 1, 1))
        take_steps(run, 2)


class TestGradients:
    @BOTH
    @pytest.mark.parametrize("mix", ["logit", "prob"])
    @pytest.mark.parametrize("detach", ["none", "logits_only"])
    def test_those_of_both_terms_are_those_of_the_sums_by_hand_in_every_peer_the_projections_and_the_leader(self, name, mix, detach):
        run, step = started(name, mix=mix, detach=detach)
        terms = run.loss(step)
        modules = [*run.learner.helpers.values(), run.learner.student]
        assert run.instance.attention in modules
        for ours, theirs in zip((terms["dis1"], terms["dis2"]), by_hand(run, step, mix, detach), strict=True):
            for module in modules:
                parameters = list(module.parameters())
                for parameter, one, other in zip(parameters, gradients(ours, parameters), gradients(theirs, parameters), strict=True):
                    none = torch.zeros_like(parameter)
                    torch.testing.assert_close(none if one is None else one, none if other is None else other, rtol=1e-3, atol=1e-5)

    @BOTH
    @pytest.mark.parametrize("mix", ["logit", "prob"])
    def test_a_peer_learns_from_what_it_tells_the_others_unless_logits_are_detached(self, name, mix):
        found = {}
        for detach in ("none", "logits_only"):
            run, step = started(name, mix=mix, detach=detach)
            found[detach] = gradients(run.loss(step)["dis1"], peers_of(run)[0].parameters())
        largest = max(float(one.abs().max()) for one in found["none"])
        assert max(float((one - other).abs().max()) for one, other in zip(*found.values(), strict=True)) > 0.1 * largest

    @BOTH
    def test_without_detaching_the_leaders_term_reaches_every_peer(self, name):
        run, step = started(name)
        terms = run.loss(step)
        assert all(reached(terms["dis2"], peer) for peer in peers_of(run))

    @BOTH
    @pytest.mark.parametrize("detach", ["logits_only", "all"])
    def test_detached_logits_keep_the_leaders_term_to_the_leader(self, name, detach):
        run, step = started(name, detach=detach)
        terms = run.loss(step)
        assert not any(reached(terms["dis2"], peer) for peer in peers_of(run))
        assert reached(terms["dis2"], run.learner.student)

    @BOTH
    def test_the_projections_learn_from_the_peers_term_alone(self, name):
        run, step = started(name)
        terms = run.loss(step)
        assert reached(terms["dis1"], run.instance.attention)
        for term in ("dis2", "ce_leader", "ce1"):
            assert not reached(terms[term], run.instance.attention)

    @BOTH
    def test_detached_logits_leave_the_projections_learning(self, name):
        run, step = started(name, detach="logits_only")
        assert reached(run.loss(step)["dis1"], run.instance.attention)

    @BOTH
    def test_with_everything_detached_the_projections_get_nothing(self, name):
        run, step = started(name, detach="all")
        terms = run.loss(step)
        assert not reached(terms["dis1"], run.instance.attention)
        assert "attention" not in run.learner.helpers
        take_steps(run, 2)

    def test_with_everything_detached_each_peer_moves_towards_its_own_target(self):
        run, step = started("okddip", detach="all")
        terms = run.loss(step)
        logits = [step.forward(peer).logits for peer in peers_of(run)]
        found = torch.autograd.grad(terms["dis1"], logits, retain_graph=True)
        alpha = run.instance.attention(torch.stack([step.forward(peer).embedding for peer in peers_of(run)], dim=1))
        for a, gradient in enumerate(found):
            t_a = torch.softmax(sum(alpha[:, a, b, None] * logits[b] for b in range(3)) / T, dim=1)
            assert torch.allclose(gradient, T * (torch.softmax(logits[a] / T, dim=1) - t_a) / len(step.targets), atol=1e-6)

    def test_whole_networks_share_nothing(self):
        run, step = started("okddip")
        terms = run.loss(step)
        first, second, _ = peers_of(run)
        assert reached(terms["ce1"], first)
        assert not reached(terms["ce1"], second)
        assert not reached(terms["ce1"], run.learner.student)

    def test_branches_share_the_stem_and_nothing_else(self):
        run, step = started("okddip-branch")
        terms = run.loss(step)
        student = run.learner.student
        assert reached(terms["ce1"], student.stages[0])
        assert not reached(terms["ce1"], student.stages[2])
        assert not reached(terms["ce1"], student.head)


class TestRun:
    @BOTH
    def test_training_reaches_everybody_and_stays_finite(self, name):
        run, _ = started(name)
        history = take_steps(run, 12)
        assert all(math.isfinite(value) for step in history for value in step.values())
        assert sum(history[-1][f"student/ce{a}"] for a in (1, 2, 3)) < sum(history[0][f"student/ce{a}"] for a in (1, 2, 3))

    @BOTH
    def test_the_leader_starts_as_the_plain_student_of_the_seed(self, name):
        run, _ = started(name)
        plain = run.new_student()
        assert all(torch.equal(a, b) for a, b in zip(run.learner.student.parameters(), plain.parameters(), strict=True))

    @BOTH
    def test_peers_start_from_seeds_of_their_own(self, name):
        run, step = started(name)
        logits, _ = answers(run, step)
        assert all(not torch.allclose(a, b, atol=1e-3) for a, b in itertools.combinations(logits, 2))

    @BOTH
    def test_the_ensemble_is_the_mean_of_the_peers_logits(self, name):
        run, step = started(name)
        logits, _ = answers(run, step)
        mean, exits, _ = run.learner.deploy["ensemble"](step.inputs)
        assert torch.allclose(mean, torch.stack(logits).mean(dim=0), atol=1e-5)
        assert len(exits) == 3

    @BOTH
    def test_diversity_is_reported(self, name):
        run, _ = started(name)
        evaluation = run.task.evaluation("test", Split(0))
        report = run.learner.report(evaluation)
        probabilities = [torch.softmax(one, dim=1) for one in evaluation.outputs(run.learner.deploy["ensemble"]).exits]
        distances = [(a - b).square().sum(dim=1).sqrt().mean() for a, b in itertools.combinations(probabilities, 2)]
        assert report["diversity"] == pytest.approx(float(sum(distances) / 3), rel=1e-5)

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    @BOTH
    def test_it_trains_on_real_digits(self, name, precision):
        digits = find_card("digits")
        run = make_run(PLUGINS[name], digits.load(digits, Setting(precision=precision)))
        assert all(math.isfinite(value) for step in take_steps(run, 3) for value in step.values())


@BOTH
def test_defaults_are_the_public_codes(name):
    params = PLUGINS[name].method.Params()
    assert (params.students, params.temperature, params.w, params.factor) == (4, 3.0, 1.0, 8)
    assert (params.ramp_up, params.mix, params.detach) == (80 / 300, "logit", "none")


class TestApplies:
    @BOTH
    @pytest.mark.parametrize(
        "values", [{"students": 1}, {"factor": 0}, {"temperature": 0.0}, {"w": -1.0}, {"ramp_up": -0.1}, {"ramp_up": 1.1}], ids=lambda values: str(values)
    )
    def test_numbers_that_make_no_sense_are_refused(self, name, values):
        with pytest.raises(ImpossibleValue, match=f"{next(iter(values))}: .* is not possible"):
            PLUGINS[name].method.Params(**values)

    @BOTH
    def test_a_leader_with_one_peer_will_do(self, name):
        method = PLUGINS[name].method
        assert method.reason_against(toy_task().card, method.Params(students=2)) is None

    @BOTH
    def test_students_that_start_from_the_teacher_would_be_one(self, name):
        method = PLUGINS[name].method
        assert "students that start afresh" in method.reason_against(toy_task(start="teacher").card, method.Params())

    def test_branches_need_a_student_that_can_be_cut(self):
        method = PLUGINS["okddip-branch"].method
        assert "a student that can be cut behind a stage" in method.reason_against(toy_task(branches=False).card, method.Params())
        assert PLUGINS["okddip"].method.reason_against(toy_task(branches=False).card, method.Params()) is None
