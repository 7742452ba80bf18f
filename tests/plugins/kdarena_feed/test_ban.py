"""Born-again networks against closed forms."""

import pytest
import torch
from kdarena_feed import variants
from kdarena_feed.ban import permuted_dark_knowledge, teacher_confidence_weights
from torch.nn.functional import cross_entropy, one_hot

from kdarena.params import ImpossibleValue, tunables
from kdarena.testing.run import make_run, new_step, take_steps
from kdarena.testing.task import toy_task

BAN, CWTM, DKPP = variants[2:]
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def second_generation(params=None, plugin=BAN, task=None):
    run = make_run(plugin, task or toy_task(), params)
    take_steps(run, 2, "generation0")
    run.phases[1].prepare(run)
    return run


def gradient(terms, logits):
    return torch.autograd.grad(sum(terms.values()), logits, retain_graph=True)[0]


def distributions(rows=200, classes=6):
    return torch.softmax(3 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(0)), dim=1)


def test_the_gradient_of_a_sample_is_the_difference_of_probabilities():
    step = new_step(second_generation({"label_weight": 0.0}))
    z_s, p_t = step.student.logits, torch.softmax(step.teacher.logits, 1)
    torch.testing.assert_close(gradient(step.run.loss(step), z_s), (torch.softmax(z_s, 1) - p_t) / len(z_s), **CLOSE)


def test_the_labels_come_on_top_with_their_weight():
    step = new_step(second_generation({"label_weight": 0.3}))
    z_s, p_t = step.student.logits, torch.softmax(step.teacher.logits, 1)
    p_s = torch.softmax(z_s, 1)
    expected = ((p_s - p_t) + 0.3 * (p_s - one_hot(step.targets, 4))) / len(z_s)
    torch.testing.assert_close(gradient(step.run.loss(step), z_s), expected, **CLOSE)


def test_the_teachers_term_is_the_cross_entropy_with_its_probabilities():
    step = new_step(second_generation())
    expected = cross_entropy(step.student.logits, torch.softmax(step.teacher.logits, 1))
    torch.testing.assert_close(step.run.loss(step)["ban"], expected, **CLOSE)


def test_a_temperature_keeps_the_size_of_the_gradient_by_its_square():
    step = new_step(second_generation({"label_weight": 0.0, "temperature": 3.0}))
    z_s, z_t = step.student.logits, step.teacher.logits
    torch.testing.assert_close(gradient(step.run.loss(step), z_s), 3 * (torch.softmax(z_s / 3, 1) - torch.softmax(z_t / 3, 1)) / len(z_s), **CLOSE)


def test_a_student_equal_to_its_teacher_has_no_gradient():
    run = second_generation({"label_weight": 0.0})
    run.learner.student.load_state_dict(run.teacher.state_dict())
    run.learner.student.eval()
    step = new_step(run)
    assert float(gradient(step.run.loss(step), step.student.logits).abs().max()) < 1e-6


def test_defaults_are_unsoftened_with_labels():
    params = make_run(BAN, toy_task()).params
    assert (params.temperature, params.label_weight) == (1.0, 1.0)


def test_no_tuner_gives_labels_to_the_control_without_labels():
    assert DKPP.method.Params().label_weight == 0
    assert not tunables(DKPP.method.Params)["label_weight"].tune
    assert tunables(BAN.method.Params)["label_weight"].tune


def test_permuted_dark_knowledge_keeps_the_largest_entry_and_the_multiset_of_the_others():
    p_t = distributions()
    permuted = permuted_dark_knowledge(p_t, torch.Generator().manual_seed(1))
    assert torch.equal(permuted.argmax(1), p_t.argmax(1))
    assert torch.equal(permuted.amax(1), p_t.amax(1))
    assert torch.equal(permuted.sort(1).values, p_t.sort(1).values)


def test_permuted_dark_knowledge_moves_the_others_to_every_place_alike():
    p_t = torch.tensor([[0.1, 0.5, 0.15, 0.25]]).expand(6000, -1)
    permuted = permuted_dark_knowledge(p_t, torch.Generator().manual_seed(1))
    for place in (0, 2, 3):
        for value in (0.1, 0.15, 0.25):
            assert float((permuted[:, place] == value).float().mean()) == pytest.approx(1 / 3, abs=0.03)


def test_permuted_dark_knowledge_is_what_the_student_matches():
    run = second_generation(plugin=DKPP)
    step = new_step(run)
    z_s, p_t = step.student.logits, torch.softmax(step.teacher.logits, 1)
    target = torch.softmax(z_s, 1) - gradient(step.run.loss(step), z_s) * len(z_s)
    torch.testing.assert_close(target.sort(1).values, p_t.sort(1).values, **CLOSE)
    assert float((target - p_t).detach().abs().max()) > 1e-3


def test_confidence_weights_sum_to_one_and_are_proportional_to_the_largest_probability():
    p_t = distributions()
    weights = teacher_confidence_weights(p_t)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(weights / weights[0], p_t.max(1).values / p_t[0].max(), **CLOSE)


def test_confidence_weighting_weights_each_samples_label_loss():
    step = new_step(second_generation(plugin=CWTM))
    confidences = [float(row.max()) for row in torch.softmax(step.teacher.logits, 1)]
    expected = 0.0
    for confidence, logits, target in zip(confidences, step.student.logits.detach(), step.targets, strict=True):
        expected += confidence / sum(confidences) * float(logits.exp().sum().log() - logits[target])
    terms = step.run.loss(step)
    assert list(terms) == ["cwtm"]
    assert float(terms["cwtm"]) == pytest.approx(expected, rel=1e-5)


class TestEarlierExits:
    @pytest.mark.parametrize(("plugin", "label_weight"), [(BAN, 0.0), (BAN, 0.3), (DKPP, 0.0)])
    def test_every_exit_learns_from_the_last_exit_of_the_generation_before(self, digits, plugin, label_weight):
        run = second_generation({"label_weight": label_weight, "temperature": 2.0}, plugin, digits())
        step = new_step(run)
        p_t = torch.softmax(step.teacher.logits / 2, 1)
        all_logits = [step.student.logits, *step.student.exits]
        assert len(all_logits) == 3
        taught = torch.autograd.grad(step.run.loss(step)["ban"], all_logits, retain_graph=True)
        targets = [torch.softmax(z_s / 2, 1) - one * len(z_s) / 2 for z_s, one in zip(all_logits, taught, strict=True)]
        for target in targets:
            if plugin is BAN:
                torch.testing.assert_close(target, p_t, **CLOSE)
            else:
                torch.testing.assert_close(target.sort(1).values, p_t.sort(1).values, **CLOSE)
                torch.testing.assert_close(target, targets[0], **CLOSE)
        labels = label_weight * sum(cross_entropy(z_s, step.targets) for z_s in all_logits)
        torch.testing.assert_close(step.run.loss(step)["ce"], labels, **CLOSE)

    def test_confidence_weights_every_exits_label_loss(self, digits):
        step = new_step(second_generation(plugin=CWTM, task=digits()))
        confidence = torch.softmax(step.teacher.logits, 1).amax(1)
        expected = sum(
            float(weight) * float(cross_entropy(z_s[row : row + 1], step.targets[row : row + 1]))
            for z_s in (step.student.logits, *step.student.exits)
            for row, weight in enumerate(confidence / confidence.sum())
        )
        assert float(step.run.loss(step)["cwtm"].detach()) == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize(("plugin", "params"), [(BAN, {"label_weight": 0.0}), (CWTM, {}), (DKPP, {})], ids=["ban", "cwtm", "dkpp"])
    def test_no_classifier_is_left_without_a_gradient(self, digits, plugin, params):
        run = second_generation(params, plugin, digits())
        total = sum(run.loss(new_step(run)).values())
        for classifier in run.learner.student.classifiers:
            assert float(torch.autograd.grad(total, classifier.linear.weight, retain_graph=True)[0].abs().max()) > 0
        take_steps(run, 1, "generation1")


def test_confidence_weighting_covers_no_track_whose_labels_are_not_one_a_sample():
    assert CWTM.method.covers("classification")
    assert not any(CWTM.method.covers(track) for track in ("segmentation", "detection", "text", "speech"))
    assert "batches of images" in CWTM.method.exclusion("segmentation")
    assert BAN.method.covers("segmentation")


def test_a_single_generation_is_refused():
    with pytest.raises(ImpossibleValue, match="generations: 1 is not possible"):
        BAN.method.Params(generations=1)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"label_weight": -0.1}], ids=lambda wrong: next(iter(wrong)))
def test_values_without_a_meaning_are_refused(wrong):
    with pytest.raises(ImpossibleValue, match=next(iter(wrong))):
        BAN.method.Params(**wrong)


def test_a_new_generation_is_initialised_anew_and_taught_in_eval_mode():
    run = second_generation()
    fresh = run.new_student(generation=1)
    assert all(torch.equal(one, other) for one, other in zip(run.learner.student.parameters(), fresh.parameters(), strict=True))
    assert not run.teacher.training
    assert run.learner.student.training


def test_the_first_generation_is_trained_by_the_labels_alone():
    run = make_run(BAN, toy_task())
    assert list(take_steps(run, 1, "generation0")[0]) == ["student/ce"]
