"""pFEED and sFEED against naive loops and closed forms."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kdarena_feed import variants
from kdarena_feed.transformation import NTL, l_feed
from torch import nn

from kdarena import TeacherSpec
from kdarena.errors import NotApplicable
from kdarena.method.student import Student
from kdarena.params import ImpossibleValue, tunables
from kdarena.testing.run import make_run, new_step, take_phases, take_steps, toy_teacher
from kdarena.testing.task import toy_task

PFEED, SFEED, *_ = variants
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def maps(seed=0, shape=(3, 4, 2, 2)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


def naive_sum_form(x_t, y):
    total = 0.0
    for one, other in zip(x_t.double(), y.double(), strict=True):
        a, b = one.flatten().tolist(), other.flatten().tolist()
        norm_a, norm_b = math.sqrt(sum(v * v for v in a)), math.sqrt(sum(v * v for v in b))
        total += sum(abs(p / norm_a - q / norm_b) for p, q in zip(a, b, strict=True))
    return total / len(x_t)


def teachers(task, count=3):
    return [toy_teacher(task, TeacherSpec(member=member)) for member in range(count)]


def reached_by(run, term):
    """Parts of student and helpers whose parameters get a gradient other than zero."""
    named = {
        f"{name}.{inner}": one for name, module in {"student": run.learner.student, **run.learner.helpers}.items() for inner, one in module.named_parameters()
    }
    gradients = torch.autograd.grad(term, list(named.values()), allow_unused=True)
    return {".".join(name.split(".")[:2]) for name, one in zip(named, gradients, strict=True) if one is not None and float(one.abs().max()) > 0}


class TestLoss:
    def test_it_is_the_l1_distance_of_maps_normalised_per_sample(self):
        assert float(l_feed(*maps(), "sum")) == pytest.approx(naive_sum_form(*maps()), rel=1e-5)

    def test_the_mean_form_divides_by_the_entries_of_a_map(self):
        assert float(l_feed(*maps(), "mean")) == pytest.approx(naive_sum_form(*maps()) / 16, rel=1e-5)

    def test_five_hundred_times_the_mean_is_0_122_times_the_sum_for_4096_entries(self):
        x_t, y = maps(shape=(2, 64, 8, 8))
        assert 500 * float(l_feed(x_t, y, "mean")) == pytest.approx(0.122 * float(l_feed(x_t, y, "sum")), rel=2e-3)

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 10_000), st.sampled_from([(1, 1, 1, 1), (2, 3, 2, 2), (4, 8, 4, 4)]))
    def test_the_sum_form_lies_between_zero_and_twice_the_root_of_the_entries(self, seed, shape):
        value = float(l_feed(*maps(seed, shape), "sum"))
        assert 0 <= value <= 2 * math.sqrt(math.prod(shape[1:])) * (1 + 1e-5)

    def test_the_upper_bound_is_reached_by_opposite_constant_maps(self):
        ones = torch.ones(2, 4, 2, 2)
        assert float(l_feed(ones, -ones, "sum")) == pytest.approx(2 * math.sqrt(16), rel=1e-5)

    def test_it_is_zero_for_positively_proportional_maps_only(self):
        x_t, _ = maps()
        assert float(l_feed(x_t, 3.7 * x_t, "sum")) == pytest.approx(0, abs=1e-5)
        assert float(l_feed(x_t, -x_t, "sum")) > 1

    def test_the_scale_of_each_teachers_map_changes_nothing(self):
        x_t, y = maps()
        scale = torch.tensor([0.1, 5.0, 300.0]).reshape(3, 1, 1, 1)
        torch.testing.assert_close(l_feed(scale * x_t, y, "sum"), l_feed(x_t, y, "sum"), **CLOSE)

    def test_the_scale_of_a_single_channel_or_position_does_change_it(self):
        x_t, y = maps()
        channel, position = torch.ones(1, 4, 1, 1), torch.ones(1, 1, 2, 2)
        channel[0, 0], position[0, 0, 0, 0] = 5, 5
        for scale in (channel, position):
            assert abs(float(l_feed(scale * x_t, y, "sum") - l_feed(x_t, y, "sum"))) > 1e-2


class TestParallel:
    def test_the_total_is_cross_entropy_and_beta_times_each_teachers_distance(self):
        run = make_run(PFEED, toy_task(), {"beta": 20.0})
        step = new_step(run)
        terms = step.run.loss(step)
        assert sorted(terms) == ["ce", "feed0", "feed1", "feed2"]
        for n, teacher in enumerate(step.teachers):
            transformed = run.learner.helpers[f"ntl{n}"](step.student.feature_map)
            assert float(terms[f"feed{n}"]) == pytest.approx(20.0 * naive_sum_form(teacher.feature_map, transformed) / 160, rel=1e-4)
        assert float(terms["ce"]) == pytest.approx(float(torch.nn.functional.cross_entropy(step.student.logits, step.targets)))

    def test_permuting_teachers_and_their_transformations_together_changes_nothing(self):
        task = toy_task()
        given = teachers(task)
        run, moved = make_run(PFEED, task, teachers=given), make_run(PFEED, task, teachers=[given[2], given[0], given[1]])
        for n, origin in enumerate((2, 0, 1)):
            moved.learner.helpers[f"ntl{n}"].load_state_dict(run.learner.helpers[f"ntl{origin}"].state_dict())
        totals = [sum(one.loss(new_step(one)).values()) for one in (run, moved)]
        torch.testing.assert_close(*totals, **CLOSE)

    def test_equal_teachers_with_equal_transformations_count_n_times(self):
        task = toy_task()
        run = make_run(PFEED, task, teachers=[toy_teacher(task) for _ in range(3)])
        for n in (1, 2):
            run.learner.helpers[f"ntl{n}"].load_state_dict(run.learner.helpers["ntl0"].state_dict())
        terms = run.loss(new_step(run))
        torch.testing.assert_close(sum(terms.values()), terms["ce"] + 3 * terms["feed0"], **CLOSE)

    def test_each_teacher_has_a_transformation_of_its_own_that_learns(self):
        run = make_run(PFEED, toy_task())
        before = copy.deepcopy({name: helper.state_dict() for name, helper in run.learner.helpers.items()})
        assert list(before) == ["ntl0", "ntl1", "ntl2"]
        assert not torch.equal(before["ntl0"]["layers.0.weight"], before["ntl1"]["layers.0.weight"])
        take_steps(run, 1)
        for name, helper in run.learner.helpers.items():
            assert all(not torch.equal(before[name][inner], tensor) for inner, tensor in helper.state_dict().items())

    def test_with_beta_zero_the_student_is_trained_as_it_is_alone(self):
        run, alone = make_run(PFEED, toy_task(), {"beta": 0.0}), make_run(Student, toy_task())
        step = new_step(make_run(PFEED, toy_task(), {"beta": 0.0}))
        gradients = torch.autograd.grad(sum(step.run.loss(step).values()), list(step.learner.helpers["ntl0"].parameters()))
        assert all(float(gradient.abs().max()) == 0 for gradient in gradients)
        take_steps(run, 3)
        take_steps(alone, 3)
        for one, other in zip(run.learner.student.state_dict().values(), alone.learner.student.state_dict().values(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)

    def test_the_deployed_student_is_of_the_same_size_for_any_number_of_teachers(self):
        sizes = {sum(parameter.numel() for parameter in make_run(PFEED, toy_task(), {"teachers": n}).learner.student.parameters()) for n in (1, 3, 5)}
        assert len(sizes) == 1

    def test_the_transformation_is_three_convolutions_with_leaky_relu_and_no_batch_norm(self):
        layers = NTL(6, 10, last_activation=True).layers
        assert [type(layer) for layer in layers] == [nn.Conv2d, nn.LeakyReLU] * 3
        assert [(one.in_channels, one.out_channels, one.kernel_size, one.bias is not None) for one in layers[::2]] == [
            (6, 10, (3, 3), True),
            (10, 10, (3, 3), True),
            (10, 10, (3, 3), True),
        ]
        assert {one.negative_slope for one in layers[1::2]} == {0.1}
        assert isinstance(NTL(6, 10, last_activation=False).layers[-1], nn.Conv2d)

    @pytest.mark.parametrize("plugin", [PFEED, SFEED])
    def test_defaults_are_those_of_factor_transfer_and_claimed_for_no_code_of_the_papers_own(self, plugin):
        params = plugin.method.Params()
        assert (params.beta, params.reduction, params.last_activation, params.batch_norm, params.width) == (500.0, "mean", True, False, 1.0)
        assert {tunable.source for tunable in tunables(plugin.method.Params).values()} == {"ours"}

    def test_half_a_width_narrows_the_inner_maps_alone(self):
        shapes = [tuple(layer.weight.shape[:2]) for layer in NTL(6, 10, last_activation=True, width=0.5).layers if isinstance(layer, nn.Conv2d)]
        assert shapes == [(5, 6), (5, 5), (10, 5)]

    def test_batch_norm_takes_the_place_of_biases(self):
        layers = NTL(6, 10, last_activation=True, batch_norm=True).layers
        assert all(layer.bias is None for layer in layers if isinstance(layer, nn.Conv2d))
        assert sum(isinstance(layer, nn.BatchNorm2d) for layer in layers) == 3

    def test_unequal_grids_are_refused_with_a_reason(self):
        with pytest.raises(NotApplicable, match="grid"):
            make_run(PFEED, toy_task(student="toy-coarse"))

    def test_teachers_of_the_students_architecture_can_be_asked_for(self):
        specs = PFEED.method.teachers(toy_task().card, PFEED.method.Params(teachers=2, architecture="student"))
        assert [(spec.architecture, spec.member) for spec in specs] == [("student", 0), ("student", 1)]

    def test_each_distance_reaches_its_own_transformation_and_the_students_map_and_nothing_else(self):
        run = make_run(PFEED, toy_task())
        assert reached_by(run, run.loss(new_step(run))["feed1"]) == {"student.stages", "ntl1.layers"}


@pytest.mark.parametrize("plugin", [PFEED, SFEED], ids=["pfeed", "sfeed"])
class TestDeclaration:
    def test_a_task_without_feature_maps_is_refused(self, plugin):
        assert "it needs feature maps" in plugin.method.reason_against(toy_task(feature_maps=False).card, plugin.method.Params())

    def test_values_without_a_meaning_are_refused(self, plugin):
        count = "teachers" if plugin is PFEED else "generations"
        for name, value in {"beta": -1.0, "width": 0.0, count: 0}.items():
            with pytest.raises(ImpossibleValue, match=name):
                plugin.method.Params(**{name: value})


class TestSequential:
    def test_the_distance_reaches_the_new_student_and_its_transformation(self):
        run = make_run(SFEED, toy_task())
        take_steps(run, 1, "generation0")
        take_steps(run, 0, "generation1")
        assert reached_by(run, run.loss(new_step(run))["feed"]) == {"student.stages", "ntl.layers"}

    def test_the_first_generation_is_trained_by_the_labels_alone(self):
        run = make_run(SFEED, toy_task())
        assert list(take_steps(run, 1, "generation0")[0]) == ["student/ce"]
        assert run.learner.helpers == {}

    def test_a_generations_loss_is_that_of_the_parallel_form_with_one_teacher(self):
        task = toy_task()
        run = make_run(SFEED, task)
        take_steps(run, 2, "generation0")
        take_steps(run, 0, "generation1")
        parallel = make_run(PFEED, task, {"teachers": 1}, teachers=[copy.deepcopy(run.teacher)])
        parallel.learner.student.load_state_dict(run.learner.student.state_dict())
        parallel.learner.helpers["ntl0"].load_state_dict(run.learner.helpers["ntl"].state_dict())
        batch = next(run.augmented)
        one, other = run.loss(new_step(run, batch=batch)), parallel.loss(new_step(parallel, batch=batch))
        assert [float(one["ce"]), float(one["feed"])] == [float(other["ce"]), float(other["feed0"])]

    def test_the_teacher_is_the_generation_before_frozen_as_it_was(self):
        run = make_run(SFEED, toy_task())
        for generation in (1, 2):
            take_steps(run, 2, f"generation{generation - 1}")
            before, state = run.learner.student, copy.deepcopy(run.learner.student.state_dict())
            take_steps(run, 3, f"generation{generation}")
            assert run.teacher is before
            assert not before.training
            assert all(torch.equal(state[name], tensor) for name, tensor in before.state_dict().items())
        run.check_teachers()

    def test_every_generation_starts_anew_and_is_what_is_trained(self):
        run = make_run(SFEED, toy_task())
        take_steps(run, 2, "generation0")
        take_steps(run, 0, "generation1")
        fresh = run.new_student(generation=1)
        student, ntl = run.learner.student, run.learner.helpers["ntl"]
        assert all(torch.equal(one, other) for one, other in zip(student.parameters(), fresh.parameters(), strict=True))
        assert not torch.equal(student.head.weight, run.new_student(generation=0).head.weight)
        run.phases[1].prepare(run)
        student, ntl = run.learner.student, run.learner.helpers["ntl"]
        start = copy.deepcopy((student.state_dict(), ntl.state_dict()))
        stepped = take_steps(run, 2, "generation1")
        assert len(stepped) == 2
        assert not torch.equal(run.learner.student.head.weight, start[0]["head.weight"])
        assert not torch.equal(run.learner.helpers["ntl"].layers[0].weight, start[1]["layers.0.weight"])

    def test_entering_a_generation_again_gives_the_same_teacher_and_start(self):
        run = make_run(SFEED, toy_task())
        take_steps(run, 1, "generation0")
        seen = []
        for _ in range(3):
            run.phases[1].prepare(run)
            seen.append((run.teacher, run.learner.student.head.weight.detach().clone()))
            take_steps(run, 1, "generation1")
        assert all(teacher is seen[0][0] for teacher, _ in seen)
        assert all(torch.equal(weight, seen[0][1]) for _, weight in seen)
        run.check_teachers()

    def test_generations_share_the_budget_equally_and_the_last_is_deployed(self):
        run = make_run(SFEED, toy_task(), {"generations": 4})
        assert [(phase.name, phase.share, phase.steps) for phase in run.phases] == [(f"generation{k}", 1.0, None) for k in range(4)]
        take_phases(run, 1)
        assert run.learner.student is run.instance.students[3]
