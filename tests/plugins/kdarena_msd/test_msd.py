"""MSD on branches of a toy network and on a small MSDNet's own exits."""

from types import SimpleNamespace

import pytest
import torch
from kdarena_msd import variants
from torch import nn
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional

from kdarena import NotApplicable
from kdarena.params import ImpossibleValue, make_params, tunables
from kdarena.testing.run import make_run, new_step, take_steps
from kdarena.testing.task import toy_task

(MSD,) = variants
CLOSE = {"rtol": 1e-4, "atol": 1e-6}


@pytest.fixture(autouse=True)
def one_thread():
    """These networks are too small for several threads, which wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def by_hand(run, step):
    """Logits and features of the toy's exits, module by module."""
    x, exits, features = step.inputs, [], []
    student = run.learner.student
    for stage, name in zip(student.stages, ("exit1", "exit2", None), strict=True):
        x = stage(x)
        branch = run.learner.helpers[name] if name else None
        features.append((x if branch is None else branch.stages(x)).mean(dim=(2, 3)))
        exits.append((student if branch is None else branch).head(features[-1]))
    return exits, features


def reached_by(run, term):
    """Parts of the learner whose parameters get a gradient other than zero."""
    parts = {"student": run.learner.student, **run.learner.helpers}
    named = {f"{part}.{name}": parameter for part, module in parts.items() for name, parameter in module.named_parameters()}
    gradients = torch.autograd.grad(term, list(named.values()), allow_unused=True, retain_graph=True)
    found = {name for name, gradient in zip(named, gradients, strict=True) if gradient is not None and float(gradient.abs().max()) > 0}
    return {".".join(name.split(".")[: 3 if name.startswith("student.stages") else 2]) for name in found}


def modules_with_weights(module):
    return {id(parameter) for parameter in module.parameters()} | {id(buffer) for buffer in module.buffers()}


class TestTerms:
    @pytest.mark.parametrize(("tau_squared", "factor"), [(True, 9.0), (False, 1.0)])
    def test_the_total_is_the_papers_weighted_sum(self, tau_squared, factor):
        run = make_run(MSD, toy_task(), {"alpha": 0.3, "beta_begin": 0.05, "beta_end": 0.01, "tau_squared": tau_squared})
        step = new_step(run, progress=0.5)
        terms = run.loss(step)
        a, f = by_hand(run, step)
        q = [Categorical(logits=one / 3) for one in a]
        label = sum(functional.cross_entropy(one, step.targets) for one in a)
        distillation = sum(kl_divergence(q[j], q[i]).mean() for i in range(3) for j in range(3) if i != j) / 2
        feature = sum(((one - f[2]) ** 2).sum(dim=1).mean() for one in f[:2])
        assert sorted(terms) == ["ce1", "ce2", "ce3", "distillation", "feature"]
        torch.testing.assert_close(sum(terms.values()), 0.7 * label + 0.3 * factor * distillation + 0.03 * feature, **CLOSE)

    def test_without_alpha_and_beta_it_is_deep_supervision(self):
        run = make_run(MSD, toy_task(), {"alpha": 0.0, "beta_begin": 0.0})
        step = new_step(run)
        a, _ = by_hand(run, step)
        torch.testing.assert_close(sum(run.loss(step).values()), sum(functional.cross_entropy(one, step.targets) for one in a), **CLOSE)

    def test_the_weight_of_features_runs_from_its_begin_to_its_end_along_half_a_cosine(self):
        run = make_run(MSD, toy_task(), {"beta_begin": 0.05, "beta_end": 0.01})
        batch = next(run.augmented)
        steps = [new_step(run, batch=batch, progress=progress) for progress in (0.0, 1 / 3, 0.5, 1.0)]
        features = [run.loss(step)["feature"].item() for step in steps]
        # a third of the way cos is 1/2, so that three quarters of the difference are left
        assert features == pytest.approx([features[0] / 0.05 * beta for beta in (0.05, 0.04, 0.03, 0.01)], rel=1e-4)
        _, f = by_hand(run, steps[0])
        assert features[0] == pytest.approx(0.05 * sum(((one - f[2]) ** 2).sum(dim=1).mean() for one in f[:2]).item(), rel=1e-4)


class TestGradients:
    def test_labels_reach_their_own_exit_and_the_stages_before_it(self):
        run = make_run(MSD, toy_task())
        terms = run.loss(new_step(run))
        assert reached_by(run, terms["ce1"]) == {"student.stages.0", "exit1.stages", "exit1.head"}
        assert reached_by(run, terms["ce3"]) == {"student.stages.0", "student.stages.1", "student.stages.2", "student.head"}

    def test_detached_features_reach_nothing_that_only_the_last_exit_has(self):
        run = make_run(MSD, toy_task())
        assert reached_by(run, run.loss(new_step(run))["feature"]) == {"student.stages.0", "student.stages.1", "exit1.stages", "exit2.stages"}

    def test_undetached_features_reach_the_last_stage_but_no_linear_layer(self):
        run = make_run(MSD, toy_task(), {"detach": False})
        reached = reached_by(run, run.loss(new_step(run))["feature"])
        assert "student.stages.2" in reached
        assert not {"student.head", "exit1.head", "exit2.head"} & reached

    def test_every_exit_learns_from_the_others_the_deepest_as_well(self):
        run = make_run(MSD, toy_task())
        assert {"student.head", "student.stages.2", "exit1.head", "exit2.head"} <= reached_by(run, run.loss(new_step(run))["distillation"])


class TestBranches:
    def test_an_exit_before_the_last_is_one_block_of_each_later_stage(self, digits):
        run = make_run(MSD, digits("digits-teacher"))
        first, second = run.learner.helpers.values()
        assert [[len(stage) for stage in branch.stages] for branch in (first, second)] == [[1, 1], [1]]
        student = run.learner.student
        assert [stage[0].conv.weight.shape for stage in first.stages] == [student.layer2[0].conv.weight.shape, student.layer3[0].conv.weight.shape]

    def test_they_share_neither_weights_nor_batch_norm_with_one_another_or_the_network(self, digits):
        # a toy's branch is a convolution a stage; a block of this network has batch norms of its own
        run = make_run(MSD, digits("digits-teacher"))
        norms = [[one for one in module.modules() if isinstance(one, nn.BatchNorm2d)] for module in run.learner.modules()]
        assert all(norms)
        student, first, second = (modules_with_weights(module) for module in run.learner.modules())
        assert not (student & first or student & second or first & second)
        weights = [run.learner.student.fc.weight, *(branch.head.weight for branch in run.learner.helpers.values())]
        assert not any(torch.equal(weights[i], weights[j]) for i, j in ((0, 1), (0, 2), (1, 2)))

    def test_a_pass_of_a_branch_moves_none_of_the_networks_statistics(self, digits):
        run = make_run(MSD, digits("digits-teacher"))
        step = new_step(run)
        maps = step.student.features
        before = {name: buffer.clone() for name, buffer in run.learner.student.named_buffers()}
        for stage, branch in zip(maps, run.learner.helpers.values(), strict=False):
            own = [one.running_mean for one in branch.modules() if isinstance(one, nn.BatchNorm2d)]
            start = [one.clone() for one in own]
            branch(maps[stage].detach())
            assert not any(torch.equal(one, other) for one, other in zip(own, start, strict=True))
        assert all(torch.equal(buffer, before[name]) for name, buffer in run.learner.student.named_buffers())

    def test_the_student_is_the_tasks_own_network_with_the_tasks_own_start(self):
        run = make_run(MSD, toy_task())
        assert all(torch.equal(a, b) for a, b in zip(run.learner.student.state_dict().values(), run.new_student().state_dict().values(), strict=True))

    def test_all_exits_learn_in_one_update(self):
        run = make_run(MSD, toy_task(train=160), {"beta_begin": 1e-3})
        history = take_steps(run, 80)
        for term in ("student/ce1", "student/ce2", "student/ce3"):
            values = [row[term] for row in history]
            assert sum(values[-10:]) < 0.5 * sum(values[:10])

    @pytest.mark.parametrize("student", ["digits-student", "small-msdnet"])
    def test_terms_are_finite_fp32_under_bf16(self, digits, student):
        run = make_run(MSD, digits(student, "bf16"))
        terms = run.loss(new_step(run))
        assert {term.dtype for term in terms.values()} == {torch.float32}
        assert all(bool(term.isfinite()) for term in terms.values())
        take_steps(run, 2)


class TestOwnExits:
    def test_a_student_with_exits_gets_no_branches(self, digits):
        run = make_run(MSD, digits())
        assert run.learner.helpers == {}
        assert sorted(run.loss(new_step(run))) == ["ce1", "ce2", "ce3", "distillation", "feature"]

    def test_its_own_exits_and_their_embeddings_are_what_is_taught(self, digits):
        run = make_run(MSD, digits(), {"alpha": 0.3, "beta_begin": 0.05})
        step = new_step(run)
        terms = run.loss(step)
        student = run.learner.student
        embeddings: list[torch.Tensor] = []
        for classifier in student.classifiers:
            classifier.linear.register_forward_pre_hook(lambda _, inputs: embeddings.append(inputs[0]))
        logits, exits, _ = student(step.inputs)
        a = [*exits, logits]
        q = [Categorical(logits=one / 3) for one in a]
        distillation = sum(kl_divergence(q[j], q[i]).mean() for i in range(3) for j in range(3) if i != j) / 2
        feature = sum(((one - embeddings[2]) ** 2).sum(dim=1).mean() for one in embeddings[:2])
        torch.testing.assert_close(terms["ce2"], 0.7 * functional.cross_entropy(exits[1], step.targets), **CLOSE)
        torch.testing.assert_close(terms["distillation"], 0.3 * 9 * distillation, **CLOSE)
        torch.testing.assert_close(terms["feature"], 0.05 * feature, **CLOSE)

    def test_they_learn(self, digits):
        run = make_run(MSD, digits())
        history = [sum(row.values()) for row in take_steps(run, 40)]
        assert sum(history[-5:]) < 0.8 * sum(history[:5])

    def test_each_is_reported_with_what_the_network_costs_up_to_it(self, digits):
        task = digits()
        run = make_run(MSD, task)
        evaluation = task.evaluation("test", run.split)
        report = run.learner.report(evaluation)
        answer = evaluation.outputs(run.learner.student)
        for number, logits in enumerate((*answer.exits, answer.logits), start=1):
            assert report[f"exit{number}/top1"] == pytest.approx(100 * float((logits.argmax(dim=1) == evaluation.targets).double().mean()))
        costs = [report[f"exit{number}/operations"] for number in (1, 2, 3)]
        assert 0 < costs[0] < costs[1] < costs[2] == evaluation.operations(run.learner.student)

    def test_a_student_that_cannot_be_stopped_is_reported_without_costs(self, digits, monkeypatch):
        task = digits()
        run = make_run(MSD, task)
        whole = type(run.learner.student).forward
        monkeypatch.setattr(run.learner.student, "forward", lambda x: whole(run.learner.student, x))
        report = run.learner.report(task.evaluation("test", run.split))
        assert sorted(report) == ["exit1/top1", "exit2/top1", "exit3/top1"]


class TestDeployed:
    def test_the_multi_exit_form_answers_with_the_mean_of_all_exits_probabilities(self):
        run = make_run(MSD, toy_task())
        step = new_step(run)
        assert list(run.learner.deploy) == ["multi-exit"]
        answer, exits, embeddings = run.learner.deploy["multi-exit"](step.inputs)
        a, _ = by_hand(run, step)
        torch.testing.assert_close(answer.exp(), sum(torch.softmax(one, dim=1) for one in a) / 3, **CLOSE)
        assert all(torch.equal(one, other) for one, other in zip(exits, a, strict=True))
        assert embeddings == ()

    def test_of_a_student_with_exits_it_has_those(self, digits):
        run = make_run(MSD, digits())
        step = new_step(run)
        answer, exits, _ = run.learner.deploy["multi-exit"](step.inputs)
        torch.testing.assert_close(answer.exp(), sum(torch.softmax(one, dim=1) for one in exits) / 3, **CLOSE)
        torch.testing.assert_close(exits[2], step.student.logits, **CLOSE)

    def test_an_exit_costs_the_stages_up_to_it_and_all_branches_so_far(self):
        task = toy_task()
        run = make_run(MSD, task)
        report = run.learner.report(task.evaluation("test", run.split))
        stages, head = [2 * 64 * 9 * 1 * 3, 2 * 16 * 9 * 3 * 4, 2 * 16 * 9 * 4 * 6], 2 * 6 * 4
        branches = [stages[1] + stages[2] + head, stages[2] + head]
        first = stages[0] + branches[0]
        second = first + stages[1] + branches[1]
        assert [report[f"exit{number}/operations"] for number in (1, 2, 3)] == [first, second, second + stages[2] + head]

    def test_each_exits_accuracy_is_reported(self):
        task = toy_task()
        run = make_run(MSD, task)
        take_steps(run, 20)
        evaluation = task.evaluation("test", run.split)
        report = run.learner.report(evaluation)
        assert report["exit3/top1"] == pytest.approx(task.evaluate(run.learner.student, "test", run.split)["top1"])
        exits = evaluation.outputs(run.learner.deploy["multi-exit"]).exits
        assert report["exit1/top1"] == pytest.approx(100 * float((exits[0].argmax(dim=1) == evaluation.targets).double().mean()))

    def test_a_network_cut_for_counting_answers_as_the_whole_and_leaves_it_as_it_was(self, digits):
        task = digits("digits-student")
        run = make_run(MSD, task)
        student = run.learner.student
        image = torch.randn(2, 1, 8, 8)
        for module in run.learner.modules():
            module.eval()
        _, whole, _ = run.learner.deploy["multi-exit"](image)
        _, cut, _ = run.instance.exits.up_to(2)(image)
        assert all(torch.equal(one, other) for one, other in zip(cut, whole[:2], strict=True))
        assert not any(isinstance(getattr(student, name), nn.Identity) for name in ("layer1", "layer2", "layer3", "fc"))


def test_defaults_are_those_of_the_first_authors_related_code_and_claimed_for_no_code_of_the_papers_own():
    params = MSD.method.Params()
    assert (params.alpha, params.tau, params.tau_squared, params.detach) == (0.1, 3.0, True, True)
    assert (params.beta_begin, params.beta_end, params.reduction) == (1.28e-4, 0.0, "batch-mean")
    assert {tunable.source for tunable in tunables(MSD.method.Params).values()} == {"ours"}


class TestApplies:
    def reason(self, **fields):
        return MSD.method.reason_against(toy_task(**fields).card, MSD.method.Params())

    def test_a_student_with_exits_or_stages_to_cut_will_do(self):
        assert self.reason() is None
        assert self.reason(branches=False, exits=1) is None
        assert self.reason(branches=False, feature_maps=False, exits=3) is None

    @pytest.mark.parametrize("fields", [{"branches": False}, {"feature_maps": False}])
    def test_any_other_is_refused(self, fields):
        assert "at least two exits; student toy-student has none but its last" in self.reason(**fields)

    @pytest.mark.parametrize("values", [{"alpha": 1.5}, {"alpha": -0.1}, {"tau": 0.0}, {"beta_begin": -1.0}, {"beta_end": -1.0}])
    def test_impossible_numbers_are_refused(self, values):
        with pytest.raises(ImpossibleValue, match=f"{next(iter(values))}: .* is not possible"):
            make_params(MSD.method.Params, values)

    def test_a_student_of_one_stage_is_refused(self):
        shapes = SimpleNamespace(features={"stage1": (3, 8, 8)})
        task = SimpleNamespace(card=toy_task().card, shapes=lambda network: shapes)
        with pytest.raises(NotApplicable, match="a branch needs a stage behind it"):
            MSD().build_student(task, SimpleNamespace(new_student=lambda **_: nn.Identity()))

    def test_it_takes_no_teacher(self):
        assert MSD.method.teachers(toy_task().card, MSD.method.Params()) == ()
