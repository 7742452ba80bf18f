"""Progressive and stacked stages: which losses, which gradients, which optimiser, and when a stage ends."""

import pytest
import torch
from kdarena_internal import variants

from kdarena.execute.train import Training
from kdarena.plan.spec import PhaseCost
from kdarena.testing.run import make_run, new_step, take_steps

INTERNAL, PID, SID = variants
STAGED = pytest.mark.parametrize("plugin", [PID, SID], ids=lambda plugin: plugin.method.name)


def parts(student):
    return {"embeddings": student.embeddings, "layer1": student.encoder.layer[0], "layer2": student.encoder.layer[1], "classifier": student.classifier}


def weights(student):
    return {part: [one.detach().clone() for one in module.parameters()] for part, module in parts(student).items()}


def moved(student, before):
    return {part for part, module in parts(student).items() if not all(torch.equal(a, b) for a, b in zip(module.parameters(), before[part], strict=True))}


def train(run, steps):
    """The harness's own loop, with costs of 1 a step."""
    costs = [PhaseCost(phase.name, phase.steps, phase.share, 1.0, 1.0, 0.0, 1) for phase in run.phases]
    return Training(run.hooks, run, run.phases, costs, float(steps))()


class TestLosses:
    def test_each_stage_has_its_layer_alone_or_stacked_on_those_below(self, text_task):
        found = {}
        for plugin in (PID, SID):
            run = make_run(plugin, text_task())
            found[plugin.method.name] = [set(run.loss(new_step(run, phase=phase.name))) for phase in run.phases]
        first, second, last = {"attention1", "hidden1"}, {"attention2", "hidden2"}, {"ce", "kl"}
        assert found == {"pid": [first, second, last], "sid": [first, first | second, last]}

    def test_the_first_stage_of_both_is_the_same(self, text_task):
        task = text_task()
        values = []
        for plugin in (PID, SID):
            run = make_run(plugin, task)
            run.learner.student.eval()
            values.append({name: term.item() for name, term in run.loss(new_step(run, phase="layer1")).items()})
        assert values[0] == values[1]

    def test_the_first_steps_of_both_are_the_same_bit_by_bit(self, text_task):
        task = text_task()
        states = []
        for plugin in (PID, SID):
            run = make_run(plugin, task)
            take_steps(run, 5, "layer1")
            states.append(run.learner.student.state_dict())
        assert all(torch.equal(one, states[1][name]) for name, one in states[0].items())

    def test_the_stack_is_that_of_all_layers_at_once_in_the_last_stage(self, text_task):
        task = text_task()
        runs = [make_run(plugin, task) for plugin in (INTERNAL, SID)]
        for run in runs:
            run.learner.student.eval()
        at_once, stacked = runs[0].loss(new_step(runs[0])), runs[1].loss(new_step(runs[1], phase="layer2"))
        assert {name: at_once[name].item() for name in stacked} == {name: term.item() for name, term in stacked.items()}

    def test_shares_are_those_of_the_layers_together_and_of_the_rest(self, text_task):
        run = make_run(SID, text_task(), {"share": 0.6})
        assert [phase.share for phase in run.phases] == pytest.approx([0.3, 0.3, 0.4])


class TestGradients:
    @STAGED
    @pytest.mark.parametrize(("phase", "reached"), [("layer1", {"embeddings", "layer1"}), ("layer2", {"embeddings", "layer1", "layer2"})])
    def test_they_reach_embeddings_and_layers_up_to_the_stages_and_nothing_above(self, text_task, plugin, phase, reached):
        run = make_run(plugin, text_task(), {"from_teacher": False})
        total = sum(run.loss(new_step(run, phase=phase)).values())
        for part, module in parts(run.learner.student).items():
            gradients = torch.autograd.grad(total, list(module.parameters()), allow_unused=True, retain_graph=True)
            if part in reached:
                assert all(one is not None for one in gradients)
                assert any(float(one.abs().max()) > 0 for one in gradients)
            else:
                assert all(one is None for one in gradients)

    @STAGED
    @pytest.mark.parametrize(("phase", "reached"), [("layer1", {"embeddings", "layer1"}), ("layer2", {"embeddings", "layer1", "layer2"})])
    def test_training_moves_nothing_above_by_weight_decay_neither(self, text_task, plugin, phase, reached):
        run = make_run(plugin, text_task(), {"from_teacher": False}, recipe={"weight_decay": 0.5})
        before = weights(run.learner.student)
        take_steps(run, 3, phase)
        assert moved(run.learner.student, before) == reached

    @STAGED
    def test_the_last_phase_trains_everything(self, text_task, plugin):
        run = make_run(plugin, text_task())
        before = weights(run.learner.student)
        take_steps(run, 3, "classification")
        assert moved(run.learner.student, before) == {"embeddings", "layer1", "layer2", "classifier"}

    @pytest.mark.parametrize(
        ("phase", "trained"),
        [("layer1", {"embeddings", "layer1"}), ("layer2", {"layer2"}), ("classification", {"embeddings", "layer1", "layer2", "classifier"})],
    )
    def test_with_all_below_frozen_a_stage_trains_its_layer_alone(self, text_task, phase, trained):
        run = make_run(PID, text_task(), {"from_teacher": False, "freeze_below": True}, recipe={"weight_decay": 0.5})
        before = weights(run.learner.student)
        take_steps(run, 3, phase)
        assert moved(run.learner.student, before) == trained

    def test_each_parameter_of_a_frozen_stage_gets_a_gradient(self, text_task):
        run = make_run(PID, text_task(), {"from_teacher": False, "freeze_below": True})
        assert not any(update.optional for phase in run.phases[:-1] for update in phase.updates(run))
        for phase in ("layer1", "layer2"):
            take_steps(run, 1, phase)


class TestOptimiser:
    @STAGED
    def test_one_serves_all_phases(self, text_task, plugin):
        run = make_run(plugin, text_task())
        student = run.learner.student
        for phase in ("layer1", "layer2", "classification"):
            take_steps(run, 3, phase)
        state = run.bound["student"].optimizer.state
        steps = {part: int(state[next(module.parameters())]["step"]) for part, module in parts(student).items()}
        assert steps == {"embeddings": 9, "layer1": 9, "layer2": 6, "classifier": 3}

    def test_with_all_below_frozen_every_phase_begins_with_a_fresh_one_since_what_moves_differs(self, text_task):
        run = make_run(PID, text_task(), {"freeze_below": True})
        found = {}
        for phase in ("layer1", "layer2", "classification"):
            take_steps(run, 3, phase)
            state = run.bound["student"].optimizer.state
            first = {part: next(module.parameters()) for part, module in parts(run.learner.student).items()}
            found[phase] = {part: int(state[one]["step"]) for part, one in first.items() if one in state}
        assert found == {
            "layer1": {"embeddings": 3, "layer1": 3},
            "layer2": {"layer2": 3},
            "classification": {"embeddings": 3, "layer1": 3, "layer2": 3, "classifier": 3},
        }

    def test_the_rate_runs_through_the_curve_once_over_the_layers_and_once_over_the_classifier(self, text_task):
        run = make_run(SID, text_task())
        curves = [phase.updates(run)[0].curve for phase in run.phases]
        assert curves[-1] is None
        # the task's curve is 1 − progress
        assert [curves[stage](progress) for stage, progress in ((0, 0.0), (0, 0.5), (1, 0.0), (1, 0.5))] == pytest.approx([1, 0.75, 0.5, 0.25])


class TestEnds:
    # 64 samples in batches of 16: an epoch has 4 steps; the harness asks every 50
    def test_a_stage_that_is_below_the_threshold_ends_and_hands_its_share_on(self, text_task):
        run = make_run(PID, text_task(), {"threshold": 1e3, "share": 0.5})
        trained = train(run, 240)
        assert [(one.name, one.steps, one.ended_early) for one in trained.phases] == [
            ("layer1", 50, True),
            ("layer2", 50, True),
            ("classification", 140, False),
        ]

    def test_a_stage_that_is_above_it_takes_its_share(self, text_task):
        run = make_run(PID, text_task(), {"threshold": 1e-9, "share": 0.5})
        trained = train(run, 240)
        assert [(one.name, one.steps, one.ended_early) for one in trained.phases] == [
            ("layer1", 60, False),
            ("layer2", 60, False),
            ("classification", 120, False),
        ]

    @STAGED
    def test_what_counts_is_the_mean_of_the_newest_layers_loss_over_the_last_epoch(self, text_task, plugin):
        task = text_task()
        for above, expected in ((1e-3, True), (-1e-3, False)):
            run = make_run(plugin, task, {"from_teacher": False})
            phase = run.phases[1]
            history = take_steps(run, 6, phase.name)
            mean = sum(terms["student/attention2"] + terms["student/hidden2"] for terms in history[-4:]) / 4
            run = make_run(plugin, task, {"from_teacher": False, "threshold": mean + above})
            take_steps(run, 6, phase.name)
            assert run.phases[1].stop_when(run) is expected

    def test_before_a_whole_epoch_nothing_ends(self, text_task):
        run = make_run(PID, text_task(), {"threshold": 1e3})
        take_steps(run, 3, "layer1")
        assert run.phases[0].stop_when(run) is False
        take_steps(run, 4, "layer1")
        assert run.phases[0].stop_when(run) is True

    def test_a_stage_forgets_what_the_one_before_it_saw(self, text_task):
        run = make_run(PID, text_task(), {"threshold": 1e3})
        take_steps(run, 4, "layer1")
        take_steps(run, 3, "layer2")
        assert run.phases[1].stop_when(run) is False
