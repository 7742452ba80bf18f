"""EnD and EnD² as methods: temperature, steps, auxiliary data, what they declare and what they deploy."""

import copy
import dataclasses
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kdarena_endd import variants
from kdarena_endd.ensemble import temperature_at
from torch.distributions import Categorical, Dirichlet, kl_divergence

from kdarena import Outputs, TeacherSpec, schedules
from kdarena.method.step import LabelsForbidden
from kdarena.params import ImpossibleValue, tunables
from kdarena.testing.run import make_run, new_step, take_steps, toy_teacher
from kdarena.testing.task import toy_task
from kdarena.tracks.values import Batch, Split

END, ENDD, END_AUX, ENDD_AUX = variants
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
HIGHEST = {name: tunable.high for name, tunable in tunables(ENDD.method.Params).items()}
BY_NAME = pytest.mark.parametrize("plugin", variants, ids=lambda plugin: plugin.method.name)


def smoothed(z_m, epsilon, temperature=1.0):
    """Members' probabilities of which a share epsilon is put uniformly on all classes: another reading of the same mixture."""
    probabilities = Categorical(logits=z_m / temperature).probs
    return (1 - epsilon) * probabilities + epsilon * torch.full_like(probabilities, 1 / z_m.shape[2])


class TestTemperature:
    @settings(max_examples=100, deadline=None)
    @given(st.integers(10, 200), st.floats(1, 20), st.floats(0.05, HIGHEST["hold"]), st.floats(0.05, HIGHEST["anneal"]))
    def test_it_starts_at_t0_never_rises_and_is_exactly_one_in_the_last_step(self, steps, start, hold, anneal):
        params = dataclasses.replace(ENDD.method.Params(), temperature=start, hold=hold, anneal=anneal)
        course = [float(temperature_at(torch.tensor(step / steps), params)) for step in range(steps)]
        assert course[0] == pytest.approx(start, rel=1e-6)
        assert course[-1] == 1.0
        assert all(later <= earlier for earlier, later in pairwise(course))

    @pytest.mark.parametrize(("progress", "expected"), [(0.0, 10.0), (0.33, 10.0), (0.5, 5.5), (0.6, 2.8), (0.67, 1.0), (0.999, 1.0)])
    def test_a_third_of_the_run_is_at_t0_a_third_falls_linearly_and_a_third_is_at_one(self, progress, expected):
        assert float(temperature_at(torch.tensor(progress), ENDD.method.Params())) == pytest.approx(expected)

    @pytest.mark.parametrize("progress", [0.0, 0.5, 0.99])
    def test_unless_annealed_it_stays(self, progress):
        assert temperature_at(torch.tensor(progress), END.method.Params()) == 2.5

    @pytest.mark.parametrize("progress", [0.1, 0.5, 0.9])
    def test_it_divides_the_logits_of_members_and_student_in_a_step(self, progress):
        run = make_run(ENDD, toy_task())
        step = new_step(run, progress=progress)
        temperature = {0.1: 10.0, 0.5: 5.5, 0.9: 1.0}[progress]
        z_m = torch.stack([teacher.logits for teacher in step.teachers], dim=1).double()
        dirichlet = Dirichlet((step.student.logits.double() / temperature).exp().unsqueeze(1))
        expected = -(temperature**2) * dirichlet.log_prob(smoothed(z_m, 1e-3, temperature)).mean()
        torch.testing.assert_close(step.run.loss(step)["nll"].double(), expected, rtol=1e-3, atol=1e-3)


class TestStep:
    @BY_NAME
    def test_it_learns_without_labels(self, plugin):
        run = make_run(plugin, toy_task())
        assert not plugin.method.labels
        take_steps(run, 1)
        with pytest.raises(LabelsForbidden):
            _ = new_step(run).targets

    @BY_NAME
    def test_members_are_bit_identical_and_in_eval_mode_after_training_and_scoring(self, plugin):
        task = toy_task()
        run = make_run(plugin, task)
        before = [copy.deepcopy(teacher.state_dict()) for teacher in run.teachers]
        take_steps(run, 3)
        task.evaluate(run.learner.deploy["ensemble"], "test", Split(0))
        run.check_teachers()
        for state, teacher in zip(before, run.teachers, strict=True):
            assert all(torch.equal(state[name], tensor) for name, tensor in teacher.state_dict().items())
            assert not any(module.training for module in teacher.modules())
            assert all(parameter.grad is None for parameter in teacher.parameters())

    @BY_NAME
    def test_only_the_student_is_trained_and_all_of_it(self, plugin):
        run = make_run(plugin, toy_task())
        assert run.learner.helpers == {}
        before = [parameter.detach().clone() for parameter in run.learner.student.parameters()]
        take_steps(run, 1)
        assert all(not torch.equal(old, parameter) for old, parameter in zip(before, run.learner.student.parameters(), strict=True))

    @BY_NAME
    def test_the_gradients_norm_is_clipped(self, plugin):
        run = make_run(plugin, toy_task(), {"clip": 0.01}, recipe={"lr": 1.0, "weight_decay": 0.0})
        before = torch.cat([parameter.detach().flatten().clone() for parameter in run.learner.student.parameters()])
        take_steps(run, 1)
        after = torch.cat([parameter.detach().flatten() for parameter in run.learner.student.parameters()])
        assert float((after - before).norm()) == pytest.approx(0.01, rel=1e-3)

    def test_the_gradients_norm_is_ten_at_most_for_the_mean_and_one_for_the_distribution(self):
        assert [run.phases[0].updates(run)[0].clip for run in (make_run(plugin, toy_task()) for plugin in variants)] == [10.0, 1.0, 10.0, 1.0]

    @BY_NAME
    def test_adam_on_one_cycle_can_be_asked_for(self, plugin):
        run = make_run(plugin, toy_task(), {"optimizer": "adam", "peak_lr": 0.003})
        take_steps(run, 1)
        bound = run.bound["train"]
        assert isinstance(bound.optimizer, torch.optim.Adam)
        assert bound.optimizer.param_groups[0]["lr"] == pytest.approx(3e-4)

    def test_that_cycle_is_the_rates_curve(self):
        run = make_run(END, toy_task(), {"optimizer": "adam"})
        assert [run.phases[0].updates(run)[0].curve(progress) for progress in (0.0, 1 / 3, 0.5)] == pytest.approx([0.1, 1.0, 0.55])

    @pytest.mark.parametrize(("progress", "expected"), [(0.0, 1e-3), (1 / 6, 5.5e-3), (1 / 3, 1e-2), (1 / 2, 5.5e-3), (2 / 3, 1e-3), (1.0, 1e-6)])
    def test_its_rate_goes_one_cycle_and_then_to_almost_nothing(self, progress, expected):
        assert 1e-2 * schedules.curve(schedules.one_cycle)(progress) == pytest.approx(expected)

    def divergence(self, step, temperature):
        """KL [B] of the student from the members' mean."""
        mean = torch.stack([torch.softmax(teacher.logits / temperature, dim=1) for teacher in step.teachers]).mean(dim=0)
        return kl_divergence(Categorical(probs=mean), Categorical(logits=step.student.logits / temperature))

    def test_the_mean_is_distilled_at_a_fixed_temperature_by_default(self):
        step = new_step(make_run(END, toy_task()), progress=0.9)
        torch.testing.assert_close(step.run.loss(step)["kl"], 2.5**2 * self.divergence(step, 2.5).mean(), **CLOSE)

    @pytest.mark.parametrize(("progress", "temperature"), [(0.1, 2.5), (0.5, 1.75), (0.9, 1.0)])
    def test_the_mean_can_be_distilled_at_a_temperature_that_falls(self, progress, temperature):
        step = new_step(make_run(END, toy_task(), {"annealed": True}), progress=progress)
        torch.testing.assert_close(step.run.loss(step)["kl"], temperature**2 * self.divergence(step, temperature).mean(), **CLOSE)

    def test_the_divergence_of_the_mean_can_be_averaged_over_classes(self):
        step = new_step(make_run(END, toy_task(classes=4), {"reduction": "mean"}))
        torch.testing.assert_close(step.run.loss(step)["kl"], 2.5**2 * self.divergence(step, 2.5).mean() / 4, **CLOSE)

    @pytest.mark.parametrize("smoothing", [1e-5, 0.3])
    def test_members_are_smoothed_as_much_as_is_asked_for(self, smoothing):
        step = new_step(make_run(ENDD, toy_task(), {"smoothing": smoothing}), progress=0.9)
        z_m = torch.stack([teacher.logits for teacher in step.teachers], dim=1).double()
        expected = -Dirichlet(step.student.logits.double().exp().unsqueeze(1)).log_prob(smoothed(z_m, smoothing)).mean()
        torch.testing.assert_close(step.run.loss(step)["nll"].double(), expected, rtol=1e-4, atol=1e-4)

    @BY_NAME
    def test_losses_fall(self, plugin):
        history = [next(iter(terms.values())) for terms in take_steps(make_run(plugin, toy_task(), {"temperature": 1.0}), 15)]
        assert sum(history[-5:]) < sum(history[:5])


class TestEarlierExits:
    @BY_NAME
    def test_no_classifier_is_left_without_a_gradient(self, digits, plugin):
        run = make_run(plugin, digits())
        take_steps(run, 1)
        before = [classifier.linear.weight.detach().clone() for classifier in run.learner.student.classifiers]
        take_steps(run, 1)
        assert len(before) == 3
        assert all(not torch.equal(old, classifier.linear.weight) for old, classifier in zip(before, run.learner.student.classifiers, strict=True))

    @pytest.mark.parametrize("plugin", [END, ENDD], ids=["end", "endd"])
    def test_every_exit_has_the_loss_that_the_last_one_has_alone(self, digits, plugin):
        run = make_run(plugin, digits())
        step = new_step(run, progress=0.5)
        exits = [step.student.logits, *step.student.exits]
        z_m = torch.stack([teacher.logits for teacher in step.teachers], dim=1).double()
        (found,) = step.run.loss(step).values()
        total = 0.0
        for z in exits:
            if plugin is END:
                mean = torch.softmax(z_m / 2.5, dim=2).mean(dim=1)
                total += 2.5**2 * float(kl_divergence(Categorical(probs=mean), Categorical(logits=z.detach().double() / 2.5)).mean())
            else:
                dirichlet = Dirichlet((z.detach().double() / 5.5).exp().unsqueeze(1))
                total -= 5.5**2 * float(dirichlet.log_prob(smoothed(z_m, 1e-3, 5.5)).mean())
        assert len(exits) == 3
        assert float(found.detach()) == pytest.approx(total, rel=1e-4)


class TestAuxiliary:
    def batch_of(self, run):
        batch = next(run.augmented)
        return dataclasses.replace(batch, auxiliary=next(run.task.auxiliary(run.split)))

    @pytest.mark.parametrize(("plugin", "plain"), [(END_AUX, END), (ENDD_AUX, ENDD)])
    def test_its_loss_is_that_of_one_batch_of_both(self, plugin, plain):
        task = toy_task()
        run, other = make_run(plugin, task), make_run(plain, task)
        batch = self.batch_of(run)
        both = torch.cat([batch.inputs, batch.auxiliary])
        joined = Batch(both, torch.zeros(len(both), dtype=torch.long), torch.zeros(len(both), dtype=torch.long))
        assert len(both) == 32
        found, expected = run.loss(new_step(run, batch=batch)), other.loss(new_step(other, batch=joined))
        torch.testing.assert_close(found, expected, rtol=0, atol=0)

    @pytest.mark.parametrize("plugin", [END_AUX, ENDD_AUX])
    def test_each_network_is_called_once_a_step(self, plugin):
        run = make_run(plugin, toy_task())
        calls = []
        for network in (run.learner.student, *run.teachers):
            network.register_forward_pre_hook(lambda module, inputs: calls.append((id(module), len(inputs[0]))))
        run.loss(new_step(run, batch=self.batch_of(run)))
        assert sorted(calls) == sorted((id(network), 32) for network in (run.learner.student, *run.teachers))

    def test_phases_ask_for_auxiliary_data_where_the_method_is_named_so(self):
        assert [make_run(plugin, toy_task()).phases[0].data for plugin in variants] == ["augmented", "augmented", "auxiliary", "auxiliary"]

    @pytest.mark.parametrize("plugin", [END_AUX, ENDD_AUX])
    def test_a_task_without_an_auxiliary_set_is_refused_with_a_reason(self, plugin):
        assert "auxiliary inputs" in plugin.method.reason_against(toy_task(auxiliary=None).card, plugin.method.Params())
        assert plugin.method.reason_against(toy_task(auxiliary="noise").card, plugin.method.Params()) is None


class TestDeclaration:
    def test_the_rows_have_their_names(self):
        assert [plugin.method.name for plugin in variants] == ["end", "endd", "end-aux", "endd-aux"]

    def test_rows_that_take_auxiliary_data_say_so(self):
        assert [plugin.method.auxiliary for plugin in variants] == [False, False, True, True]

    @BY_NAME
    def test_a_task_without_auxiliary_set_suits_the_plain_rows(self, plugin):
        refused = plugin.method.reason_against(toy_task(auxiliary=None).card, plugin.method.Params()) is not None
        assert refused == plugin.method.name.endswith("-aux")

    @BY_NAME
    @pytest.mark.parametrize(
        ("values", "word"),
        [
            ({"teachers": 1}, "at least 2"),
            ({"temperature": 0.5}, "temperature"),
            ({"hold": 0.7, "anneal": 0.7}, "hold"),
            ({"hold": -0.1}, "hold"),
            ({"anneal": -0.1}, "anneal"),
            ({"clip": 0.0}, "clip"),
            ({"peak_lr": 0.0}, "peak_lr"),
        ],
    )
    def test_numbers_that_make_no_sense_are_refused_before_training(self, plugin, values, word):
        with pytest.raises(ImpossibleValue, match=word):
            plugin.method.Params(**values)

    @BY_NAME
    @pytest.mark.parametrize("share", [0.5, 0.6])
    def test_a_course_without_a_step_at_one_is_refused_and_the_longest_that_is_searched_has_one(self, plugin, share):
        with pytest.raises(ImpossibleValue, match="below 1"):
            plugin.method.Params(hold=0.5, anneal=share)
        longest = {name: tunables(plugin.method.Params)[name].high for name in ("hold", "anneal")}
        assert float(temperature_at(torch.tensor(0.99), plugin.method.Params(annealed=True, **longest))) == 1.0

    @pytest.mark.parametrize("smoothing", [0.0, 1.0, -0.1])
    def test_a_likelihood_without_smoothing_is_refused(self, smoothing):
        with pytest.raises(ImpossibleValue, match="smoothing"):
            ENDD.method.Params(smoothing=smoothing)

    @BY_NAME
    def test_members_come_from_the_tasks_pool(self, plugin):
        params = plugin.method.Params(teachers=4, architecture="student")
        assert list(plugin.method.teachers(toy_task().card, params)) == [TeacherSpec("student", member) for member in range(4)]
        assert len(plugin.method.teachers(toy_task().card, plugin.method.Params())) == 3


class TestDeployed:
    def test_the_ensemble_is_scored_in_addition_to_the_student_with_its_members_uncertainties(self):
        task = toy_task()
        run = make_run(ENDD, task)
        inputs = next(run.augmented).inputs
        outputs = task.forward(run.learner.deploy["ensemble"], inputs)
        members = [Categorical(logits=task.forward(teacher, inputs).logits) for teacher in run.teachers]
        mean = sum(member.probs for member in members) / 3
        torch.testing.assert_close(outputs.logits.exp(), mean, **CLOSE)
        found = run.learner.uncertainties["ensemble"](outputs)
        assert sorted(found) == ["data", "epkl", "knowledge", "total"]
        torch.testing.assert_close(found["data"].float(), sum(member.entropy() for member in members) / 3, **CLOSE)

    def test_a_distribution_has_five_uncertainties_and_a_mean_one(self):
        task = toy_task()
        logits = Outputs(torch.randn(6, 4))
        names = {plugin: sorted(make_run(plugin, task).learner.uncertainties["student"](logits)) for plugin in (END, ENDD)}
        assert names == {END: ["total"], ENDD: ["data", "differential-entropy", "epkl", "knowledge", "total"]}

    def test_scores_are_one_a_sample(self):
        task = toy_task()
        run = make_run(ENDD, task)
        for name, network in {"student": run.learner.student, **run.learner.deploy}.items():
            scores = run.learner.uncertainties[name](task.forward(network, torch.randn(7, 1, 8, 8)))
            assert all(score.shape == (7,) and not score.requires_grad for score in scores.values())

    def test_identical_teachers_make_an_ensemble_of_no_knowledge(self):
        task = toy_task()
        run = make_run(ENDD, task, teachers=[toy_teacher(task) for _ in range(3)])
        outputs = task.forward(run.learner.deploy["ensemble"], torch.randn(7, 1, 8, 8))
        assert float(run.learner.uncertainties["ensemble"](outputs)["knowledge"].abs().max()) < 1e-9
