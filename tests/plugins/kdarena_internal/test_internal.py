"""All layers at once: what is matched with what, the loss of the classifier, and how the student starts."""

import dataclasses

import pytest
import torch
from kdarena_internal import variants
from kdarena_internal.losses import attention_kl, hidden_cosine
from torch.nn.functional import cross_entropy

from kdarena import Outputs
from kdarena.errors import NotApplicable
from kdarena.params import ImpossibleValue
from kdarena.testing.run import make_run, new_step, take_phases
from kdarena.testing.task import toy_task

INTERNAL, PID, SID = variants


def quiet(run):
    """Without dropout, so that two calls answer the same."""
    run.learner.student.eval()
    return run


def terms_of(run, phase=None):
    step = new_step(run, phase=phase)
    return run.loss(step), step


class TestMatching:
    def made_up(self, layers, seed):
        random = torch.Generator().manual_seed(seed)
        maps = tuple(torch.randn(2, 2, 3, 3, generator=random).softmax(dim=3) for _ in range(layers))
        states = tuple(torch.randn(2, 3, 8, generator=random) for _ in range(layers + 1))
        return Outputs(torch.randn(2, 2, generator=random), attentions=maps, hidden=states, tokens=torch.tensor([[True] * 3, [True, True, False]]))

    def test_layer_k_is_compared_with_layer_2k_in_attention_and_in_the_state_that_leaves_it(self, text_task, monkeypatch):
        run = make_run(INTERNAL, text_task())
        student, teacher = self.made_up(2, 0), self.made_up(4, 1)
        step = new_step(run)
        monkeypatch.setattr(run.task, "forward", lambda network, inputs: student if network is run.learner.student else teacher)
        monkeypatch.setattr(run.task, "loss", lambda outputs, targets: outputs.logits.sum())
        terms = run.loss(step)
        for k in (1, 2):
            # the states of the embeddings are before those of layer 1, so that lists of attention begin one later
            expected = attention_kl(teacher.attentions[2 * k - 1], student.attentions[k - 1], student.tokens)
            assert float(terms[f"attention{k}"]) == pytest.approx(float(expected))
            assert float(terms[f"hidden{k}"]) == pytest.approx(float(hidden_cosine(teacher.hidden[2 * k][:, 0], student.hidden[k][:, 0])))

    def test_a_student_that_is_its_teacher_has_no_loss_of_layers(self, text_task):
        run = quiet(make_run(INTERNAL, text_task(teacher="two")))
        terms, _ = terms_of(run)
        for k in (1, 2):
            assert float(terms[f"attention{k}"].detach()) == pytest.approx(0, abs=1e-6)
            assert float(terms[f"hidden{k}"].detach()) == pytest.approx(0, abs=1e-6)

    def test_of_a_deeper_teacher_it_is_zero_where_the_layers_between_do_nothing(self, text_task):
        task = text_task()
        teacher = task.new_network("four").eval()
        for position in (0, 2):
            # a layer that adds nothing gives the state back that the norm before it made
            for linear in (teacher.encoder.layer[position].output, teacher.encoder.layer[position].narrow):
                torch.nn.init.zeros_(linear.weight)
                torch.nn.init.zeros_(linear.bias)
        terms, _ = terms_of(quiet(make_run(INTERNAL, task, teachers=[teacher])))
        assert all(float(terms[name].detach()) == pytest.approx(0, abs=1e-4) for name in ("attention1", "hidden1", "attention2", "hidden2"))

    def test_a_fresh_student_has(self, text_task):
        terms, _ = terms_of(quiet(make_run(INTERNAL, text_task(teacher="two"), {"from_teacher": False})))
        assert all(float(terms[name].detach()) > 1e-4 for name in ("attention1", "hidden1", "attention2", "hidden2"))

    def test_weights_scale_their_terms(self, text_task):
        task = text_task()
        plain, _ = terms_of(quiet(make_run(INTERNAL, task)))
        weighted, _ = terms_of(quiet(make_run(INTERNAL, task, {"w_kl": 3.0, "w_cos": 0.5, "heads": "sum"})))
        assert float(weighted["attention2"].detach()) == pytest.approx(3 * 2 * float(plain["attention2"].detach()), rel=1e-5)
        assert float(weighted["hidden2"].detach()) == pytest.approx(0.5 * float(plain["hidden2"].detach()), rel=1e-5)

    def test_padding_in_the_batch_changes_no_term(self, text_task):
        run = quiet(make_run(INTERNAL, text_task()))
        batch = next(run.augmented)
        longer = type(batch)(torch.nn.functional.pad(batch.inputs, (0, 4)), batch.targets, batch.index)
        before, after = (run.loss(new_step(run, batch=one)) for one in (batch, longer))
        for name, term in before.items():
            assert float(after[name].detach()) == pytest.approx(float(term.detach()), rel=1e-4, abs=1e-6)


class TestClassification:
    @pytest.mark.parametrize(("a", "temperature"), [(0.5, 1.0), (0.3, 2.0), (1.0, 4.0), (0.0, 1.0)])
    def test_it_is_labels_and_softened_logits(self, text_task, a, temperature):
        run = quiet(make_run(INTERNAL, text_task(), {"a": a, "temperature": temperature}))
        terms, step = terms_of(run)
        z_s, z_t = step.student.logits.detach(), step.teacher.logits
        p_t, p_s = (z_t / temperature).softmax(dim=1), (z_s / temperature).softmax(dim=1)
        divergence = (p_t * (p_t.log() - p_s.log())).sum() / len(p_t)
        assert float(terms["ce"].detach()) == pytest.approx((1 - a) * float(cross_entropy(z_s, step.targets)), rel=1e-5)
        assert float(terms["kl"].detach()) == pytest.approx(a * temperature**2 * float(divergence), rel=1e-4, abs=1e-7)

    def test_all_schedules_end_with_the_same_loss_on_the_same_weights(self, text_task):
        task = text_task()
        found = []
        for plugin in variants:
            run = quiet(make_run(plugin, task))
            terms, _ = terms_of(run)
            found.append({name: float(terms[name].detach()) for name in ("ce", "kl")})
            if plugin is not INTERNAL:
                assert run.phases[-1].name == "classification"
                assert set(terms) == {"ce", "kl"}
        assert found[0] == found[1] == found[2]


class TestStart:
    def test_layers_are_the_teachers_by_default_and_the_classifier_is_the_runs_own(self, text_task):
        run = make_run(INTERNAL, text_task())
        student, teacher, fresh = run.learner.student, run.teacher, run.new_student()
        assert torch.equal(student.embeddings.words.weight, teacher.embeddings.words.weight)
        assert torch.equal(student.encoder.layer[1].query.weight, teacher.encoder.layer[3].query.weight)
        assert torch.equal(student.classifier.weight, fresh.classifier.weight)

    def test_a_fresh_start_is_that_of_every_other_method(self, text_task):
        run = make_run(INTERNAL, text_task(), {"from_teacher": False})
        fresh = run.new_student().state_dict()
        assert all(torch.equal(one, fresh[name]) for name, one in run.learner.student.state_dict().items())

    def test_looking_at_the_layers_draws_nothing(self, text_task):
        task = text_task()
        run = make_run(INTERNAL, task)
        state = torch.get_rng_state()
        run.instance.build_student(task, run.teacher, run)
        assert torch.equal(torch.get_rng_state(), state)


class TestTraining:
    @pytest.mark.parametrize("plugin", variants, ids=lambda plugin: plugin.method.name)
    def test_losses_fall(self, text_task, plugin):
        run = make_run(plugin, text_task(), {"from_teacher": False}, recipe={"lr": 3e-3})
        for history in take_phases(run, 40).values():
            totals = [sum(terms.values()) for terms in history]
            assert sum(totals[-10:]) < sum(totals[:10])


class TestRefusals:
    def test_tasks_whose_networks_show_no_attention(self):
        card = dataclasses.replace(toy_task().card, track="text")
        assert INTERNAL.method.reason_against(card, INTERNAL.method.Params()) == "it needs attention layers, which the task 'toy' does not offer"

    @pytest.mark.parametrize("plugin", variants, ids=lambda plugin: plugin.method.name)
    def test_they_are_of_text_and_of_nothing_else(self, text_task, plugin):
        assert plugin.method.tracks == ("text",)
        assert not plugin.method.extended
        assert set(plugin.method.excluded) == {"classification", "segmentation", "detection", "speech"}
        assert plugin.method.reason_against(text_task().card, plugin.method.Params()) is None

    @pytest.mark.parametrize(
        ("plugin", "params", "named"),
        [
            (INTERNAL, {"a": 1.5}, "a: 1.5"),
            (INTERNAL, {"w_kl": -1.0}, "w_kl: -1"),
            (SID, {"temperature": 0.0}, "temperature: 0"),
            (PID, {"share": 1.0}, "share: 1"),
            (SID, {"share": 0.0}, "share: 0"),
            (SID, {"threshold": -0.1}, "threshold: -0.1"),
        ],
    )
    def test_numbers_that_make_no_sense(self, plugin, params, named):
        with pytest.raises(ImpossibleValue, match=f"{named} is not possible"):
            plugin.method.Params(**params)

    @pytest.mark.parametrize(("student", "named"), [("three", "student has 3, the teacher 4"), ("many-headed", "heads"), ("wide", "hidden state")])
    def test_pairs_whose_layers_can_not_be_compared(self, text_task, student, named):
        with pytest.raises(NotApplicable, match=named):
            make_run(INTERNAL, text_task(student=student))
