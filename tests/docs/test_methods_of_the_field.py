"""docs/examples: methods of the field that are not built in, each one short file, linked from docs/methods.md."""

import math

import pytest
import torch
from docs.examples import DOCS
from torch.nn import functional as F

from kdarena.method.origin import Origin, load
from kdarena.testing import assert_good, check_plugin, make_run, new_step, take_steps, toy_task

FILES = sorted((DOCS / "examples").glob("*.py"))
MOST_LINES = 40


def loaded(name):
    module = load(Origin(name, str(DOCS / "examples" / f"{name}.py"), True))
    return getattr(module, "variants", [module])[0]


def terms_of(name, params):
    run = make_run(loaded(name), toy_task(), params)
    step = new_step(run)
    return run, step, run.loss(step)


def test_there_are_three():
    assert [file.stem for file in FILES] == ["logit_standardisation", "wkd_f", "wttm"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_is_short_and_linked(file):
    assert len(file.read_text("utf-8").splitlines()) <= MOST_LINES
    assert f"](examples/{file.name})" in (DOCS / "methods.md").read_text("utf-8")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_keeps_the_contract(file):
    said = check_plugin(loaded(file.stem), brief=True)
    assert_good(said)
    assert {finding.status for finding in said} == {"ok"}, [finding.line for finding in said]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_trains(file):
    history = take_steps(make_run(loaded(file.stem), toy_task()), 4)
    assert len(history) == 4
    assert all(math.isfinite(value) for terms in history for value in terms.values())


def test_logit_standardisation_is_kd_of_scores_without_shift_and_scale():
    _, step, terms = terms_of("logit_standardisation", {"a": 0.1, "b": 9.0, "temperature": 2.0})
    z_s, z_t = ((z - z.mean(1, keepdim=True)) / z.std(1, keepdim=True) / 2 for z in (3 * step.student.logits + 1, step.teacher.logits))
    expected = 9 * 4 * (z_t.softmax(1) * (z_t.log_softmax(1) - z_s.log_softmax(1))).sum(1).mean()
    torch.testing.assert_close(terms["kl"], expected)


def test_wkd_f_is_the_distance_of_two_diagonal_gaussians():
    run, step, terms = terms_of("wkd_f", {"w": 1.0, "g": 1.0})
    projected = run.learner.helpers["project"](step.student.feature_map)
    of_s, of_t = (torch.distributions.Normal(f.mean((2, 3)), (f.var((2, 3)) + 1e-5).sqrt()) for f in (projected, step.teacher.feature_map))
    expected = ((of_s.loc - of_t.loc) ** 2 + of_s.variance + of_t.variance - 2 * (of_s.variance * of_t.variance).sqrt()).sum(1).mean()
    torch.testing.assert_close(terms["gaussians"], expected)


def test_wttm_weights_the_divergence_by_the_sum_of_the_powers():
    _, step, terms = terms_of("wttm", {"b": 1.0, "g": 0.5})
    powers = F.softmax(step.teacher.logits, dim=1).sqrt()
    q = powers / powers.sum(1, keepdim=True)
    expected = (powers * (q.log() - F.log_softmax(step.student.logits, dim=1))).sum(1).mean()
    torch.testing.assert_close(terms["match"], expected)
