"""The rule of updates, phases, and what the loop does when something is wrong."""

import time
from dataclasses import dataclass, replace

import pytest
import torch

from kdarena import NO_TEACHER, Float, Learner, Method, Paper, Params, Phase, TeacherSpec, Update, hookimpl, no_teachers
from kdarena.errors import Diverged, MethodError
from kdarena.execute.train import Training, begin_phase
from kdarena.method.student import Student
from kdarena.plan.budget import commit
from kdarena.plan.spec import PhaseCost
from kdarena.testing.run import make_run, new_step, take_steps
from kdarena.testing.task import toy_task
from kdarena.tracks import find_card
from kdarena.tracks.values import Setting, Split

PAPER = Paper("t", "v", 2026, "u")


class Plain:
    method = Method("plain", "t", PAPER, teachers=no_teachers)


def plugin(method=Plain.method, **hooks):
    """A plugin with the hooks given as plain functions."""
    return type("Plugin", (Plain,), {"method": method, **{name: staticmethod(hookimpl(function)) for name, function in hooks.items()}})


def train(one, task, costs, amount, **settings):
    run = make_run(one, task)
    training = Training(run.hooks, run, run.phases, costs, amount, **settings)
    training()
    return run, training


def cost(phase, price=1.0, steps=None, share=1.0):
    return PhaseCost(phase, steps, share, price, None, None, 0)


def weights(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


class Pair(torch.nn.Module):
    """Two scalars whose losses multiply each other, so that the order of steps shows."""

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.tensor(2.0))
        self.b = torch.nn.Parameter(torch.tensor(3.0))

    def forward(self):
        return self.a * self.b


def two_updates(**changes):
    def build_student(run):
        return Learner(run.new_student(), {"pair": Pair()})

    def schedule(run):
        pair = run.learner.helpers["pair"]

        def sgd(parameters):
            return torch.optim.SGD(parameters, lr=0.1)

        def updates(run):
            return [
                Update("a", [pair.a], sgd, curve=lambda progress: 1.0, **changes),
                Update("b", [pair.b], sgd, curve=lambda progress: 1.0),
            ]

        return [Phase("train", updates)]

    def loss(step):
        return {"product": step.run.learner.helpers["pair"]()}

    return plugin(build_student=build_student, schedule=schedule, loss=loss)


def test_joint_updates_see_the_same_weights_and_each_trains_its_own_parameters():
    run = make_run(two_updates(), toy_task())
    take_steps(run, 1)
    pair = run.learner.helpers["pair"]
    # d(ab)/da = b = 3 and d(ab)/db = a = 2, both before any step
    assert (round(pair.a.item(), 6), round(pair.b.item(), 6)) == (2 - 0.1 * 3, 3 - 0.1 * 2)


def test_an_update_that_goes_before_is_seen_by_the_others():
    run = make_run(two_updates(before=True), toy_task())
    take_steps(run, 1)
    pair = run.learner.helpers["pair"]
    assert round(pair.a.item(), 6) == 1.7
    assert round(pair.b.item(), 6) == round(3 - 0.1 * 1.7, 6)


def test_an_update_that_goes_before_repeats_as_often_as_it_says():
    run = make_run(two_updates(before=True, repeat=3), toy_task())
    take_steps(run, 1)
    assert round(run.learner.helpers["pair"].a.item(), 6) == round(2 - 3 * 0.1 * 3, 6)


def test_what_was_computed_through_a_module_that_stepped_is_computed_again():
    calls = []

    class Counter(torch.nn.Linear):
        def forward(self, x):
            calls.append(1)
            return super().forward(x)

    def build_student(run):
        return Learner(run.new_student(), {"critic": Counter(4, 1)})

    def schedule(run):
        critic, student = run.learner.helpers["critic"], run.learner.student
        return [Phase("train", lambda run: [Update("critic", critic.parameters(), before=True), Update("student", student.parameters())])]

    def loss(step):
        critic = step.apply(step.learner.helpers["critic"], step.student.logits).mean()
        return {"critic": critic} if step.update == "critic" else {"task": step.task.loss(step.student, step.targets), "fool": critic}

    take_steps(make_run(plugin(build_student=build_student, schedule=schedule, loss=loss), toy_task()), 1)
    assert len(calls) == 2


def test_a_network_runs_once_a_step_however_often_it_is_asked_for():
    run = make_run(plugin(), toy_task())
    step = new_step(run)
    assert step.student is step.forward(run.learner.student)
    assert step.forward(run.learner.student, step.inputs.clone()) is not step.student


def test_a_module_as_a_fixed_function_gives_gradients_to_its_input_only_and_moves_no_buffer():
    run = make_run(plugin(), toy_task())
    critic = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1)).train()
    before = {name: tensor.clone() for name, tensor in critic.state_dict().items()}
    x = torch.randn(8, 4, requires_grad=True)
    step = new_step(run)
    out = step.call_frozen(critic, x)
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in critic.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in critic.state_dict().items())
    torch.testing.assert_close(out, critic(x))


def test_an_untrained_parameter_is_found_at_the_first_step():
    def build_student(run):
        return Learner(run.new_student(), {"forgotten": torch.nn.Linear(2, 2)})

    run = make_run(plugin(build_student=build_student), toy_task())
    with pytest.raises(MethodError, match=r"2 of \d+ parameters of update 'student' get no gradient in phase 'train'"):
        take_steps(run, 1)


def test_an_optional_update_may_leave_parameters_without_gradient():
    def build_student(run):
        return Learner(run.new_student(), {"spare": torch.nn.Linear(2, 2)})

    def schedule(run):
        return [Phase("train", lambda run: [Update("student", run.learner.parameters(), optional=True)])]

    take_steps(make_run(plugin(build_student=build_student, schedule=schedule), toy_task()), 2)


def test_a_loss_without_gradient_is_an_error_that_says_so():
    def loss(step):
        return {"task": step.task.loss(step.student, step.targets).detach()}

    with pytest.raises(MethodError, match="no gradient"):
        take_steps(make_run(plugin(loss=loss), toy_task()), 1)


@pytest.mark.parametrize("answer", [[], {}, 3.0, {"ce": 1.0}, {"ce": torch.ones(2)}])
def test_a_wrong_answer_of_loss_names_plugin_hook_and_what_was_expected(answer):
    with pytest.raises(MethodError, match=r"plugin 'plain', hook 'loss': expected"):
        take_steps(make_run(plugin(loss=lambda step: answer), toy_task()), 1)


def test_what_a_hook_raises_names_plugin_and_hook():
    def loss(step):
        raise KeyError("layer7")

    with pytest.raises(MethodError, match="plugin 'plain', hook 'loss': KeyError: 'layer7'"):
        take_steps(make_run(plugin(loss=loss), toy_task()), 1)


@pytest.mark.parametrize(
    ("hook", "answer", "expected"),
    [
        ("build_student", 3, "a Learner"),
        ("build_teacher", "teacher", "NO_TEACHER"),
        ("schedule", [], "at least one Phase"),
        ("schedule", "train", "at least one Phase"),
    ],
)
def test_a_wrong_answer_of_a_building_hook_says_what_was_expected(hook, answer, expected):
    with pytest.raises(MethodError, match=rf"hook '{hook}'.*{expected}"):
        make_run(plugin(**{hook: lambda: answer}), toy_task())


class Scrambling(torch.nn.Module):
    """Three weights whose gradients lie in memory as no weight does: transposed, in channels_last, and expanded from one number."""

    def __init__(self):
        super().__init__()
        self.transposed = torch.nn.Parameter(torch.zeros(3, 4))
        self.convolution = torch.nn.Conv2d(3, 5, 3, bias=False)
        self.expanded = torch.nn.Parameter(torch.zeros(6))

    def forward(self):
        weighted = (self.transposed.t() * torch.arange(12.0).view(4, 3)).sum()
        image = torch.arange(2.0 * 3 * 6 * 6).view(2, 3, 6, 6).sin().contiguous(memory_format=torch.channels_last)
        mapped = self.convolution(image)
        return weighted + (mapped * torch.arange(mapped.numel()).view_as(mapped).cos()).sum() + self.expanded.sum()


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_fused_optimiser_gives_each_weight_its_own_gradient_however_that_lies_in_memory(optimizer):
    learnt = {}
    for fused in (True, False):

        def build_student(run):
            torch.manual_seed(0)
            return Learner(run.new_student(), {"scrambling": Scrambling()})

        def schedule(run, fused=fused):
            helper, student = run.learner.helpers["scrambling"], run.learner.student

            def updates(run):
                optimiser = lambda parameters: optimizer(parameters, lr=0.1, fused=fused)  # noqa: E731
                return [Update("helper", helper.parameters(), optimiser), Update("student", student.parameters())]

            return [Phase("train", updates)]

        def loss(step):
            return {"all": step.learner.helpers["scrambling"]() + step.task.loss(step.student, step.targets)}

        run = make_run(plugin(build_student=build_student, schedule=schedule, loss=loss), toy_task())
        take_steps(run, 1)
        learnt[fused] = weights(run.learner.helpers["scrambling"])
    torch.testing.assert_close(learnt[True], learnt[False])


def test_a_deployed_student_of_another_size_is_refused():
    def build_student(run):
        return Learner(run.new_student(architecture="teacher"))

    with pytest.raises(MethodError, match="is not of the architecture of the task's"):
        make_run(plugin(build_student=build_student), toy_task())


def test_a_deployed_student_of_other_layers_with_as_many_parameters_is_refused():
    def build_student(run):
        student = run.new_student()
        return Learner(torch.nn.ParameterList([torch.zeros(sum(one.numel() for one in student.parameters()))]))

    with pytest.raises(MethodError, match="is not of the architecture of the task's"):
        make_run(plugin(build_student=build_student), toy_task())


def test_the_steps_committed_are_the_steps_trained_however_they_round():
    costs = [cost("one"), cost("two"), cost("three")]
    _, training = train(plugin(schedule=lambda: [Phase("one"), Phase("two"), Phase("three")]), toy_task(), costs, 329.0)
    assert tuple(phase.steps for phase in training.trained.phases) == commit(costs, 329.0) == (109, 109, 111)


@pytest.mark.parametrize("phase", [Phase("fit", steps=0), Phase("fit", share=0.0), Phase("fit", share=float("inf")), Phase("fit", steps=-3)])
def test_a_phase_without_steps_and_without_a_share_is_refused(phase):
    with pytest.raises(MethodError, match="'fit' needs at least one step or a positive share"):
        make_run(plugin(schedule=lambda: [phase, Phase("train")]), toy_task())


def test_a_student_that_a_phase_puts_in_its_place_is_looked_at_too():
    def schedule(run):
        def begin(run):
            run.learner = Learner(run.new_student(architecture="teacher"))

        return [Phase("train", prepare=begin)]

    one = plugin(schedule=schedule)
    run, _ = train(one, toy_task(), [cost("train")], 60.0)
    with pytest.raises(MethodError, match="is not of the architecture of the task's"):
        run.hooks.check_student(run)


def test_a_teacher_inside_of_a_helper_keeps_its_mode():
    class Around(torch.nn.Module):
        def __init__(self, teacher):
            super().__init__()
            self.teacher, self.own = teacher, torch.nn.Linear(2, 2)

    class Taught:
        method = Method("taught", "t", PAPER)

        @hookimpl
        def build_student(self, run):
            return Learner(run.new_student(), {"around": Around(run.teachers[0])})

    run = make_run(Taught, toy_task())
    helper = run.learner.helpers["around"]
    assert helper.own.training and helper.training
    assert not any(module.training for module in helper.teacher.modules())


def test_a_loss_that_is_not_finite_is_named_with_its_first_step_and_term():
    def loss(step):
        task = step.task.loss(step.student, step.targets)
        return {"task": task, "extra": task * (float("nan") if step.progress >= 0.37 else 1.0)}

    with pytest.raises(Diverged) as caught:
        train(plugin(loss=loss), toy_task(), [cost("train")], 100.0)
    assert (caught.value.step, caught.value.term) == (37, "train/extra")


def test_every_committed_step_is_trained_and_recorded():
    _, training = train(plugin(), toy_task(), [cost("train")], 120.0)
    assert [(phase.name, phase.committed, phase.steps) for phase in training.trained.phases] == [("train", 120, 120)]
    assert training.trained.samples == 120 * 16
    assert training.trained.curves["train/task"][-1][0] == 120


def phases_with_early_end(stop):
    seen = {"asked": 0}

    def until(run):
        seen["asked"] += 1
        return stop

    def schedule():
        return [Phase("first", stop_when=until), Phase("second", stop_when=until)]

    return plugin(schedule=schedule), seen


def test_an_early_end_rolls_its_share_on_and_the_last_phase_never_ends_early():
    one, seen = phases_with_early_end(True)
    _, training = train(one, toy_task(), [cost("first"), cost("second")], 400.0)
    assert [(phase.steps, phase.ended_early) for phase in training.trained.phases] == [(50, True), (350, False)]
    assert seen["asked"] == 1


def test_the_same_seed_gives_the_same_weights_bit_by_bit():
    first, _ = train(plugin(), toy_task(), [cost("train")], 60.0)
    second, _ = train(plugin(), toy_task(), [cost("train")], 60.0)
    assert torch.equal(weights(first.learner.student), weights(second.learner.student))


def test_what_a_method_draws_changes_neither_initialisation_nor_data():
    def build_student(run):
        torch.randn(1000)
        helper = torch.nn.Linear(3, 3)
        return Learner(run.new_student(), {"helper": helper})

    def schedule():
        return [Phase("train", lambda run: [Update("student", run.learner.student.parameters())])]

    def loss(step):
        torch.randn(7)
        torch.randn(3, generator=step.run.generator)
        return {"task": step.task.loss(step.student, step.targets)}

    noisy, _ = train(plugin(build_student=build_student, schedule=schedule, loss=loss), toy_task(), [cost("train")], 60.0)
    plain, _ = train(plugin(), toy_task(), [cost("train")], 60.0)
    assert torch.equal(weights(noisy.learner.student), weights(plain.learner.student))


def test_generations_and_peers_start_from_weights_of_their_own_and_repeatably():
    run = make_run(plugin(), toy_task())
    first, again = run.new_student(), run.new_student()
    assert torch.equal(weights(first), weights(again))
    for other in (run.new_student(generation=1), run.new_student(peer=1)):
        assert not torch.equal(weights(first), weights(other))


def test_the_learning_rate_follows_the_phase_and_not_the_run():
    seen = []

    def schedule():
        def updates(run):
            return [Update("student", run.learner.parameters(), curve=lambda progress: seen.append(progress) or 1.0)]

        return [Phase("one", updates), Phase("two", updates)]

    train(plugin(schedule=schedule), toy_task(), [cost("one"), cost("two")], 100.0)
    assert seen == [number / 50 for number in range(50)] * 2


def test_an_optimizer_is_carried_over_where_the_update_says_so():
    found = []

    def schedule():
        def updates(run):
            return [Update("student", run.learner.parameters(), keep=True)]

        def begin(run):
            found.append(run)

        return [Phase("one", updates), Phase("two", updates, prepare=begin)]

    run = make_run(plugin(schedule=schedule), toy_task())
    take_steps(run, 2, "one")
    kept = run.bound["student"].optimizer
    take_steps(run, 2, "two")
    assert run.bound["student"].optimizer is kept


def test_a_phase_of_work_has_no_gradients_and_gets_each_plain_sample_once_a_pass():
    seen = []

    def schedule(run):
        def work(step):
            assert not torch.is_grad_enabled()
            seen.extend(step.index.tolist())

        return [Phase("collect", steps=run.steps_per_pass, process=work, data="plain"), Phase("train")]

    run = make_run(plugin(schedule=schedule), toy_task())
    take_steps(run, run.steps_per_pass, "collect")
    assert sorted(seen) == list(range(run.train_size))


def test_a_phase_without_data_has_no_batch():
    def schedule():
        return [Phase("fit", steps=3, process=lambda step: step.inputs, data="none"), Phase("train")]

    with pytest.raises(MethodError, match="there is no batch"):
        take_steps(make_run(plugin(schedule=schedule), toy_task()), 1, "fit")


def test_each_run_has_an_instance_of_its_own_with_its_parameters_and_its_state():
    @dataclass(frozen=True)
    class P(Params):
        weight: float = Float(1.0, 0.1, 10.0, above=0, source="ours")

    class Counts(Plain):
        method = replace(Plain.method, Params=P)
        params: P

        def __init__(self):
            self.seen = 0

        @hookimpl
        def loss(self, step):
            self.seen += 1
            return {"ce": self.params.weight * step.task.loss(step.student, step.targets)}

    first, second = make_run(Counts, toy_task(), {"weight": 2.0}), make_run(Counts, toy_task())
    take_steps(first, 3)
    take_steps(second, 1)
    assert (first.instance.seen, second.instance.seen) == (3, 1)
    assert (first.instance.params.weight, second.instance.params.weight) == (2.0, 1.0)


def test_a_loss_may_name_the_parameters_beside_the_step():
    def loss(step, params):
        return {"ce": step.task.loss(step.student, step.targets), "type": step.student.logits.sum() * 0 + len(type(params).__name__)}

    assert take_steps(make_run(plugin(loss=loss), toy_task()), 1)[0]["student/type"] == len("Params")


def test_a_loss_of_none_is_an_error_and_never_the_default():
    with pytest.raises(MethodError, match="named terms"):
        take_steps(make_run(plugin(loss=lambda step: None), toy_task()), 1)


def test_state_in_the_runs_store_is_refused_with_a_line_that_names_the_new_form():
    def build_student(run):
        run.store["bank"] = []

    with pytest.raises(MethodError, match=r"keep state as an attribute of the method"):
        make_run(plugin(build_student=build_student), toy_task())


def test_progress_is_the_same_tensor_in_every_step_and_follows_the_phase():
    seen = []

    def loss(step):
        seen.append((step.progress, float(step.progress)))
        return {"ce": (1 - step.progress) * step.task.loss(step.student, step.targets)}

    take_steps(make_run(plugin(loss=loss), toy_task()), 4)
    assert all(tensor is seen[0][0] and tensor.dtype == torch.float32 and tensor.dim() == 0 for tensor, _ in seen)
    assert [value for _, value in seen] == [0.0, 0.25, 0.5, 0.75]


def test_a_method_without_labels_may_not_read_them():
    one = plugin()
    one.method = replace(Plain.method, labels=False)
    with pytest.raises(MethodError, match="labels=False"):
        take_steps(make_run(one, toy_task()), 1)


def teacher_plugin(**hooks):
    one = plugin(**hooks)
    one.method = Method("taught", "t", PAPER)
    return one


def test_a_teacher_in_train_mode_is_refused():
    def build_teacher(run):
        return run.teachers[0].train()

    with pytest.raises(MethodError, match="module .* train mode"):
        make_run(teacher_plugin(build_teacher=build_teacher), toy_task())


def test_a_teacher_that_changes_is_found_after_the_run():
    run = make_run(teacher_plugin(), toy_task())
    next(run.teacher.parameters()).data.add_(1e-6)
    with pytest.raises(Exception, match="bit-identical"):
        run.check_teachers()


def with_active_dropout(run):
    teacher = run.teachers[0]
    teacher.dropout = torch.nn.Dropout(0.5).train()
    return teacher


def test_dropout_may_be_active_in_a_teacher_where_the_method_declares_it():
    fickle = teacher_plugin(build_teacher=with_active_dropout)
    fickle.method = replace(fickle.method, active_dropout=True)
    make_run(fickle, toy_task()).check_teachers(weights=False)


def test_dropout_that_nobody_declared_to_be_active_is_an_error():
    with pytest.raises(MethodError, match="module 'dropout' of a teacher is in train mode"):
        make_run(teacher_plugin(build_teacher=with_active_dropout), toy_task())


def test_no_teacher_is_not_none():
    assert make_run(plugin(), toy_task()).teacher is NO_TEACHER


def test_a_phase_that_begins_anew_is_as_new():
    begun = []

    def schedule():
        return [Phase("fit", steps=2, prepare=lambda run: begun.append(1), process=lambda step: None, data="none"), Phase("train")]

    run = make_run(plugin(schedule=schedule), toy_task())
    for _ in range(2):
        begin_phase(run.hooks, run, run.phases[0], {}, run.augmented)
    assert begun == [1, 1]


# auxiliary inputs
def auxiliary_plugin(**hooks):
    """A method whose one phase has auxiliary inputs."""

    def schedule():
        return [Phase("train", data="auxiliary")]

    return plugin(AUXILIARY, schedule=schedule, **hooks)


AUXILIARY = replace(Plain.method, auxiliary=True)


def batches_of(one, task, count=20, before=lambda step: None):
    """What a method's loss was given, step by step."""
    seen = []

    def loss(step):
        before(step)
        seen.append((step.inputs, step.targets, step.index))
        return {"task": step.task.loss(step.student, step.targets)}

    take_steps(make_run(one(loss=loss), task), count)
    return seen


@pytest.mark.parametrize("kind", ["toy", "digits"])
def test_auxiliary_inputs_change_neither_order_nor_augmentation_of_the_training_batches(kind):
    task = toy_task() if kind == "toy" else find_card("digits").load(find_card("digits"), Setting())
    plain, taught = batches_of(plugin, task), batches_of(auxiliary_plugin, task, before=lambda step: step.auxiliary.sum())
    assert all(torch.equal(one, other) for first, second in zip(plain, taught, strict=True) for one, other in zip(first, second, strict=True))


def test_every_step_of_an_auxiliary_phase_has_other_auxiliary_inputs_of_the_shape_of_its_own():
    seen = []

    def loss(step):
        assert step.auxiliary.shape == step.inputs.shape
        seen.append(step.auxiliary)
        return {"task": step.task.loss(step.student, step.targets)}

    take_steps(make_run(auxiliary_plugin(loss=loss), toy_task()), 3)
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_the_same_seed_gives_the_same_auxiliary_inputs():
    def found(seed):
        run = make_run(auxiliary_plugin(), toy_task(), seed=seed)
        return next(begin_phase(run.hooks, run, run.phases[0], {}, run.augmented)[1]).auxiliary

    assert torch.equal(found(0), found(0))
    assert not torch.equal(found(0), found(1))


def test_a_phase_without_auxiliary_inputs_says_how_to_get_them():
    def loss(step):
        return {"task": step.task.loss(step.forward(step.learner.student, step.auxiliary), step.targets)}

    with pytest.raises(MethodError, match="data='auxiliary'"):
        take_steps(make_run(plugin(loss=loss), toy_task()), 1)


def test_a_phase_after_an_auxiliary_one_goes_on_with_the_training_batches():
    seen = []

    def schedule():
        return [Phase("first", data="auxiliary"), Phase("second")]

    def loss(step):
        seen.append(step.index)
        return {"task": step.task.loss(step.student, step.targets)}

    run = make_run(plugin(AUXILIARY, schedule=schedule, loss=loss), toy_task())
    take_steps(run, 3, "first")
    take_steps(run, 3, "second")
    expected = toy_task().batches(Split(0), "augmented")
    assert all(torch.equal(index, next(expected).index) for index in seen)


# labels
def test_the_runs_labels_are_those_of_the_steps_by_index():
    seen = []

    def loss(step):
        seen.append(torch.equal(step.run.targets[step.index], step.targets))
        return {"task": step.task.loss(step.student, step.targets)}

    run = make_run(plugin(loss=loss), toy_task())
    take_steps(run, 6)
    assert seen == [True] * 6
    assert len(run.targets) == run.train_size


def test_a_method_without_labels_may_not_read_the_runs_labels_either():
    def build_student(run):
        run.store["targets"] = run.targets
        return Learner(run.new_student())

    one = plugin(build_student=build_student)
    one.method = replace(Plain.method, labels=False)
    with pytest.raises(MethodError, match="hook 'build_student': .*labels=False but reads run.targets"):
        make_run(one, toy_task())


def labels_of_a_teacher(corruption, seed=0, steps=4):
    """The labels that a teacher is trained with, and the true ones, step by step."""
    run = make_run(Student, toy_task(train=1600, batch_size=400), seed=seed)
    run.trains = TeacherSpec(corruption=corruption)
    given = []
    run.task.loss = lambda outputs, targets: given.append(targets) or outputs.logits.sum()
    true = []
    for _ in range(steps):
        step = new_step(run)
        run.hooks.loss(step)
        true.append(step.targets)
    return torch.cat(given), torch.cat(true)


def test_a_teacher_of_corrupted_labels_learns_a_share_of_wrong_ones():
    given, true = labels_of_a_teacher(0.3)
    wrong = int((given != true).sum())
    assert abs(wrong - 1600 * 0.3) < 5 * (1600 * 0.3 * 0.7) ** 0.5


def test_any_other_teacher_learns_the_true_labels():
    given, true = labels_of_a_teacher(0.0)
    assert torch.equal(given, true)


def test_each_member_of_the_pool_has_corrupted_labels_of_its_own_and_repeatably():
    (one, true), (again, _), (other, of_other) = labels_of_a_teacher(0.3), labels_of_a_teacher(0.3), labels_of_a_teacher(0.3, seed=1)
    assert torch.equal(one, again)
    assert not torch.equal(one != true, other != of_other)


def test_a_label_is_drawn_anew_each_time_it_is_seen():
    run = make_run(Student, toy_task(train=400, batch_size=400))
    run.trains = TeacherSpec(corruption=0.5)
    given = []
    run.task.loss = lambda outputs, targets: given.append(targets) or outputs.logits.sum()
    batch = next(run.augmented)
    for _ in range(2):
        run.hooks.loss(new_step(run, batch=batch))
    assert not torch.equal(given[0], given[1])


def test_what_a_training_spent_is_device_time_and_no_waiting():
    def loss(step):
        time.sleep(0.01)
        return {"task": step.task.loss(step.student, step.targets)}

    _, training = train(plugin(loss=loss), toy_task(), [cost("train")], 60.0)
    _, plain = train(plugin(), toy_task(), [cost("train")], 60.0)
    assert plain.trained.seconds > 0
    assert training.trained.seconds < plain.trained.seconds + 0.3, "60 steps have waited for 0.6 s"
