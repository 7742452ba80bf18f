"""ONE against torch.distributions, closed forms and autograd."""

import math

import pytest
import torch
from kdarena_baselines.one import ONE, Gate, ensemble_logits
from torch.distributions import Categorical, kl_divergence
from torch.nn.functional import cross_entropy, one_hot

from kdarena.params import ImpossibleValue, make_params
from kdarena.testing.run import make_run, new_step, take_steps
from kdarena.testing.task import toy_task
from kdarena.tracks import find_card
from kdarena.tracks.values import Setting, Split

CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def soft(logits, temperature):
    return Categorical(probs=torch.softmax(logits.double() / temperature, dim=1))


def answers(run, step):
    """Map of the stem, logits of all branches by their modules, and the gate's weights by hand."""
    x = step.student.features["stage2"]
    helpers = run.learner.helpers
    branches = [helpers[name] for name in helpers if name.startswith("branch")]
    logits = [step.student.logits, *(step.apply(branch.head, step.apply(branch, x)) for branch in branches)]
    return x, logits, step.apply(helpers["gate"], x)


def by_hand(logits, gate):
    """z_e in a loop over samples and branches."""
    return torch.stack([sum(gate[b, i] * z_i[b] for i, z_i in enumerate(logits)) for b in range(len(gate))])


def reached_by(run, term):
    """First parts of the names of parameters whose gradient is other than zero."""
    named = {
        f"{name}.{inner}": one for name, module in {"student": run.learner.student, **run.learner.helpers}.items() for inner, one in module.named_parameters()
    }
    gradients = torch.autograd.grad(term, list(named.values()), allow_unused=True, retain_graph=True)
    found = {name for name, one in zip(named, gradients, strict=True) if one is not None and float(one.abs().max()) > 0}
    return {
        ".".join(name.split(".")[:3]) if name.startswith("student.stages") else ".".join(name.split(".")[: 2 if name.startswith("student") else 1])
        for name in found
    }


STEM = {"student.stages.0", "student.stages.1"}
OWN = {"student.stages.2", "student.head"}


class TestLoss:
    @pytest.mark.parametrize("branches", [2, 3])
    def test_branches_and_ensemble_learn_labels_and_branches_the_ensemble(self, branches):
        run = make_run(ONE, toy_task(), {"branches": branches, "temperature": 2.0, "ramp_up": 0.0})
        step = new_step(run)
        _, logits, gate = answers(run, step)
        z_e = by_hand(logits, gate)
        terms = run.loss(step)
        torch.testing.assert_close(terms["ce_ensemble"], cross_entropy(z_e, step.targets), **CLOSE)
        for i, z_i in enumerate(logits):
            torch.testing.assert_close(terms[f"ce{i}"], cross_entropy(z_i, step.targets), **CLOSE)
            torch.testing.assert_close(terms[f"kl{i}"].double(), 4 * kl_divergence(soft(z_e, 2), soft(z_i, 2)).mean(), rtol=1e-4, atol=1e-6)
        assert len(terms) == 2 * branches + 1

    def test_the_gradient_of_the_divergence_is_t_times_the_difference_of_softened_probabilities(self):
        run = make_run(ONE, toy_task(), {"ramp_up": 0.0})
        step = new_step(run)
        _, logits, gate = answers(run, step)
        z_e, terms = by_hand(logits, gate), run.loss(step)
        for i, z_i in enumerate(logits):
            expected = 3 * (torch.softmax(z_i / 3, 1) - torch.softmax(z_e / 3, 1)) / len(z_i)
            torch.testing.assert_close(torch.autograd.grad(terms[f"kl{i}"], z_i, retain_graph=True)[0], expected, **CLOSE)

    def test_the_ensembles_label_gradient_reaches_a_branch_with_its_gate(self):
        run = make_run(ONE, toy_task())
        step = new_step(run)
        _, logits, gate = answers(run, step)
        error = (torch.softmax(by_hand(logits, gate), 1) - one_hot(step.targets, 4)) / len(gate)
        term = run.loss(step)["ce_ensemble"]
        for i, z_i in enumerate(logits):
            torch.testing.assert_close(torch.autograd.grad(term, z_i, retain_graph=True)[0], gate[:, i : i + 1] * error, **CLOSE)

    def test_equal_branches_have_nothing_to_learn_from_the_ensemble(self):
        run = make_run(ONE, toy_task(), {"ramp_up": 0.0})
        student = run.learner.student
        for name in ("branch1", "branch2"):
            run.learner.helpers[name].stages[0].load_state_dict(student.stages[2].state_dict())
            run.learner.helpers[name].head.load_state_dict(student.head.state_dict())
        terms = run.loss(new_step(run))
        assert all(abs(float(terms[f"kl{i}"].detach())) < 1e-6 for i in range(3))
        torch.testing.assert_close(terms["ce_ensemble"], terms["ce0"], **CLOSE)

    def test_the_weight_of_the_divergence_follows_the_runs_progress(self):
        run = make_run(ONE, toy_task(), {"ramp_up": 0.5})
        step = new_step(run, progress=0.25)
        early = {name: float(term.detach()) for name, term in run.loss(step).items()}
        step.run_progress.fill_(0.5)
        late = {name: float(term.detach()) for name, term in run.loss(step).items()}
        for i in range(3):
            assert early[f"kl{i}"] / late[f"kl{i}"] == pytest.approx(math.exp(-5 / 4), rel=1e-5)
            assert early[f"ce{i}"] == late[f"ce{i}"]


class TestGate:
    def test_it_is_a_linear_layer_on_the_mean_with_batch_norm_relu_and_softmax(self):
        gate = Gate(5, 3).eval()
        x = torch.randn(4, 5, 2, 2, generator=torch.Generator().manual_seed(0))
        gate.bn.running_mean.uniform_(-1, 1)
        gate.bn.running_var.uniform_(0.5, 2)
        weights, bias = gate.linear.weight.tolist(), gate.linear.bias.tolist()
        for sample, found in zip(x, gate(x), strict=True):
            pooled = [float(channel.sum()) / 4 for channel in sample]
            linear = [sum(w * value for w, value in zip(row, pooled, strict=True)) + b for row, b in zip(weights, bias, strict=True)]
            normed = [
                (value - float(m)) / math.sqrt(float(v) + gate.bn.eps) for value, m, v in zip(linear, gate.bn.running_mean, gate.bn.running_var, strict=True)
            ]
            powers = [math.exp(max(value, 0)) for value in normed]
            assert found.tolist() == pytest.approx([power / sum(powers) for power in powers], rel=1e-4)

    def test_weights_of_a_sample_sum_to_one(self):
        run = make_run(ONE, toy_task())
        _, _, gate = answers(run, new_step(run))
        torch.testing.assert_close(gate.sum(dim=1), torch.ones(len(gate)))

    def test_the_ensemble_is_the_weighted_sum_of_logits_not_of_probabilities(self):
        gate = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
        logits = [torch.tensor([[4.0, 0.0], [1.0, 2.0]]), torch.tensor([[0.0, 8.0], [5.0, 5.0]])]
        assert ensemble_logits(gate, logits).tolist() == [[1.0, 6.0], [1.0, 2.0]]


class TestGradients:
    def test_the_divergence_of_a_branch_reaches_it_and_the_stem_and_neither_gate_nor_other_branches(self):
        run = make_run(ONE, toy_task())
        terms = run.loss(new_step(run))
        assert reached_by(run, terms["kl0"]) == STEM | OWN
        assert reached_by(run, terms["kl1"]) == STEM | {"branch1"}
        assert reached_by(run, terms["kl2"]) == STEM | {"branch2"}

    def test_the_labels_of_a_branch_reach_it_and_the_stem(self):
        run = make_run(ONE, toy_task())
        terms = run.loss(new_step(run))
        assert reached_by(run, terms["ce0"]) == STEM | OWN
        assert reached_by(run, terms["ce2"]) == STEM | {"branch2"}

    def test_the_labels_of_the_ensemble_reach_everything(self):
        run = make_run(ONE, toy_task())
        assert reached_by(run, run.loss(new_step(run))["ce_ensemble"]) == STEM | OWN | {"branch1", "branch2", "gate"}

    def test_helpers_hold_no_stem_of_their_own(self):
        run = make_run(ONE, toy_task())
        student = run.learner.student
        behind = len(list(student.stages[2].parameters())) + 2
        assert [len(list(run.learner.helpers[name].parameters())) for name in ("branch1", "branch2")] == [behind, behind]


class TestNetworks:
    def test_branches_start_from_seeds_of_their_own(self):
        run = make_run(ONE, toy_task())
        heads = [run.learner.student.head, *(run.learner.helpers[name].head for name in ("branch1", "branch2"))]
        assert not torch.equal(heads[0].weight, heads[1].weight)
        assert not torch.equal(heads[1].weight, heads[2].weight)

    def test_the_student_starts_as_that_of_every_method(self):
        run = make_run(ONE, toy_task())
        plain = run.new_student().state_dict()
        assert all(torch.equal(plain[name], tensor) for name, tensor in run.learner.student.state_dict().items())

    def test_the_deployed_ensemble_gives_the_logits_that_were_trained(self):
        run = make_run(ONE, toy_task())
        take_steps(run, 3)
        ensemble = run.learner.deploy["ensemble"].eval()
        step = new_step(run)
        _, logits, gate = answers(run, step)
        torch.testing.assert_close(run.task.forward(ensemble, step.inputs).logits, by_hand(logits, gate), **CLOSE)

    def test_the_deployed_ensemble_has_no_weights_but_those_that_are_trained(self):
        run = make_run(ONE, toy_task())
        assert {id(one) for one in run.learner.deploy["ensemble"].parameters()} == {id(one) for one in run.learner.parameters()}

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_a_real_task_has_finite_terms_in_single_precision_and_an_ensemble_to_score(self, precision):
        digits = find_card("digits")
        task = digits.load(digits, Setting(precision=precision))
        run = make_run(ONE, task)
        terms = run.loss(new_step(run))
        assert all(term.dtype == torch.float32 and bool(term.isfinite()) for term in terms.values())
        assert 0 <= task.evaluate(run.learner.deploy["ensemble"], "validation", Split(0))["top1"] <= 100
        assert run.learner.student.training

    def test_labels_are_learnt_by_all_branches(self):
        history = take_steps(make_run(ONE, toy_task()), 40)
        for name in ("ce0", "ce1", "ce2", "ce_ensemble"):
            early, late = (sum(one[f"student/{name}"] for one in part) for part in (history[:5], history[-5:]))
            assert late < 0.7 * early


@pytest.mark.parametrize(
    ("params", "bound"),
    [({"branches": 1}, "at least 2"), ({"temperature": 0.0}, "above 0"), ({"ramp_up": -0.1}, "at least 0 and at most 1"), ({"ramp_up": 1.1}, "at most 1")],
)
def test_parameters_without_meaning_are_refused(params, bound):
    with pytest.raises(ImpossibleValue, match=f"^{next(iter(params))}: .* {bound}"):
        make_params(ONE.method.Params, params)


def test_a_student_that_can_not_be_cut_is_refused():
    reason = ONE.method.reason_against(toy_task(branches=False).card, ONE.method.Params())
    assert reason == "it needs a student that can be cut behind a stage, which the task 'toy' does not offer"


def test_it_applies_to_the_digits_with_the_public_codes_defaults():
    params = ONE.method.Params()
    assert ONE.method.reason_against(find_card("digits"), params) is None
    assert (params.branches, params.temperature, params.ramp_up) == (3, 3.0, 80 / 300)
