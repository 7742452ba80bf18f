"""The fickle teacher: dropout active, everything else as it was."""

import copy
import math

import pytest
import torch
from kdarena_kd import variants as kd_variants
from kdarena_noisy import fickle
from torch import nn
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional

from kdarena import REFERENCE, TeacherSpec
from kdarena.errors import NotApplicable
from kdarena.params import ImpossibleValue
from kdarena.testing.run import make_run, new_step, take_steps
from kdarena.testing.task import toy_task

FICKLE, KD = fickle, kd_variants[0]
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def soft(logits, temperature=1.0):
    return Categorical(probs=torch.softmax(logits.double() / temperature, dim=1))


def state(module):
    return copy.deepcopy(module.state_dict())


def same(before, module):
    return all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def fickle_run(dropout=0.4, **params):
    return make_run(FICKLE, toy_task(), {"dropout": dropout, **params})


def test_two_forward_passes_of_a_fickle_teacher_differ():
    run = fickle_run()
    batch = next(run.augmented)
    first, second = (new_step(run, batch=batch).teacher.logits for _ in range(2))
    assert not torch.allclose(first, second)


def test_with_its_dropout_off_two_forward_passes_are_equal():
    run = fickle_run()
    batch = next(run.augmented)
    run.teacher.eval()
    assert torch.equal(*(new_step(run, batch=batch).teacher.logits for _ in range(2)))


def test_within_one_step_there_is_one_mask():
    step = new_step(fickle_run())
    assert torch.equal(step.teacher.logits, step.teacher.logits)
    expected = 0.9 * 16 * kl_divergence(soft(step.teacher.logits, 4), soft(step.student.logits, 4)).mean()
    torch.testing.assert_close(step.run.loss(step)["kl"].double(), expected, **CLOSE)


def test_nothing_of_a_fickle_teacher_but_dropout_is_in_train_mode():
    run = fickle_run()
    alive = {type(module) for module in run.teacher.modules() if module.training}
    assert alive == {nn.Dropout}
    assert all(module.training for module in run.teacher.modules() if isinstance(module, nn.Dropout))


def test_batch_norm_of_a_fickle_teacher_keeps_its_statistics_and_uses_them():
    run = fickle_run()
    before = state(run.teacher)
    batch = next(run.augmented)
    new_step(run, batch=batch).teacher  # noqa: B018 - a forward pass
    assert same(before, run.teacher)
    # without masks the logits of a sample don't depend on its batch, as they would by a batch's statistics
    for module in run.teacher.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    whole, half = run.task.forward(run.teacher, batch.inputs), run.task.forward(run.teacher, batch.inputs[:8])
    torch.testing.assert_close(whole.logits[:8], half.logits, **CLOSE)


class DropoutBeforeHead(nn.Module):
    """A linear network with one dropout before its last layer."""

    def __init__(self, probability=0.5):
        super().__init__()
        self.body, self.dropout, self.head = nn.Linear(64, 12), nn.Dropout(probability), nn.Linear(12, 4)

    def forward(self, x):
        return self.head(self.dropout(torch.relu(self.body(x.flatten(1)))))


def test_the_mean_over_many_masks_approaches_the_logits_without_a_mask():
    torch.manual_seed(3)
    run = make_run(FICKLE, toy_task(), {"dropout": 0.5}, teachers=[DropoutBeforeHead()])
    batch, masks = next(run.augmented), 4000
    drawn = torch.stack([new_step(run, batch=batch).teacher.logits for _ in range(masks)]).double()
    silent = run.task.forward(run.teacher.eval(), batch.inputs).logits.double()
    error = drawn.std(dim=0) / math.sqrt(masks)
    assert bool(((drawn.mean(dim=0) - silent).abs() < 5 * error + 1e-6).all())
    assert float(drawn.std(dim=0).min()) > 1e-3


class TwoRates(nn.Module):
    """A linear network with dropout of its own in addition to that which was asked for."""

    def __init__(self, own, asked=None):
        super().__init__()
        self.own, self.body, self.head = nn.Dropout(own), nn.Linear(64, 12), nn.Linear(12, 4)
        self.asked = nn.Identity() if asked is None else nn.Dropout(asked)

    def forward(self, x):
        return self.head(self.asked(torch.relu(self.body(self.own(x.flatten(1))))))


def test_without_dropout_a_teacher_with_a_rate_of_its_own_is_silent_and_the_run_is_plain_distillation_bit_for_bit():
    torch.manual_seed(3)
    teacher = TwoRates(0.1).eval().requires_grad_(False)
    fickle = make_run(FICKLE, toy_task(), {"dropout": 0.0, "a": 0.8, "tau": 3.0}, teachers=[copy.deepcopy(teacher)])
    plain = make_run(KD, toy_task(), {"a": 0.8, "temperature": 3.0}, teachers=[teacher])
    assert not any(module.training for module in fickle.teacher.modules())
    assert take_steps(fickle, 3) == take_steps(plain, 3)
    assert same(plain.learner.student.state_dict(), fickle.learner.student)


def test_dropout_of_another_rate_than_was_asked_for_stays_silent():
    run = make_run(FICKLE, toy_task(), {"dropout": 0.4}, teachers=[TwoRates(0.1, 0.4).eval()])
    assert run.teacher.asked.training
    assert not run.teacher.own.training


def test_a_teacher_whose_dropout_has_another_rate_is_skipped_with_the_reason():
    with pytest.raises(NotApplicable, match="of probability 0.4"):
        make_run(FICKLE, toy_task(), {"dropout": 0.4}, teachers=[TwoRates(0.1).eval()])


def test_a_teacher_with_dropout_as_a_mere_function_is_skipped_with_the_reason():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(64, 4)

        def forward(self, x):
            return self.head(functional.dropout(x.flatten(1), 0.4, self.training))

    with pytest.raises(NotApplicable, match="Dropout"):
        make_run(FICKLE, toy_task(), teachers=[Functional()])


def test_a_fickle_teacher_brings_no_dropout_into_its_student():
    run = fickle_run()
    assert all(module.p == 0 for module in run.learner.student.modules() if isinstance(module, nn.Dropout))


def test_the_fickle_teacher_is_declared_with_its_dropout():
    card = toy_task().card
    assert list(FICKLE.method.teachers(card, FICKLE.method.Params())) == [TeacherSpec(dropout=0.4)]
    assert list(FICKLE.method.teachers(card, FICKLE.method.Params(dropout=0.0))) == [REFERENCE]


def test_a_teacher_architecture_without_dropout_is_refused_by_name():
    card = toy_task(teacher_dropout=False).card
    assert card.teacher in FICKLE.method.reason_against(card, FICKLE.method.Params())
    assert FICKLE.method.reason_against(card, FICKLE.method.Params(dropout=0.0)) is None


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 3.0])
def test_a_dropout_that_is_no_probability_below_one_is_refused(dropout):
    with pytest.raises(ImpossibleValue, match="dropout"):
        FICKLE.method.Params(dropout=dropout)
