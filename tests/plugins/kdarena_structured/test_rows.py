"""The three rows at work: their terms, who moves whom, and what they refuse."""

import dataclasses
import math

import pytest
import torch
from kdarena_structured import variants
from kdarena_structured.pair_wise import neighbours, nodes, pair_wise
from torch.nn.functional import cross_entropy, interpolate
from torch.utils.flop_counter import FlopCounterMode

from kdarena.errors import NotApplicable
from kdarena.params import ImpossibleValue
from kdarena.testing.run import make_run, new_step, take_steps

PI, PI_PA, STRUCTURED = variants
SMALL = {"width": 8}


def terms_of(run, update="student", step=None):
    step = step or new_step(run)
    step.update = update
    return run.loss(step), step


def weights_of(module):
    return {name: one.clone() for name, one in module.state_dict().items()}


def changed(module, before):
    return {name for name, one in module.state_dict().items() if not torch.equal(one, before[name])}


def reached(term, module):
    found = torch.autograd.grad(term, list(module.parameters()), allow_unused=True, retain_graph=True)
    return any(one is not None and float(one.abs().max()) > 0 for one in found)


class TestPixelWise:
    def test_each_pixels_cross_entropy_is_averaged_over_pixels_and_images(self, dense_task):
        run = make_run(PI, dense_task(), {"lambda_pi": 3.0})
        terms, step = terms_of(run)
        z_s, z_t = step.student.logits.detach(), step.teacher.logits
        total = 0.0
        for image in range(4):
            for y in range(8):
                for x in range(8):
                    total -= float((z_t[image, :, y, x].softmax(0) * z_s[image, :, y, x].log_softmax(0)).sum())
        assert terms["pi"].item() == pytest.approx(3 * total / (4 * 8 * 8), rel=1e-4)

    def test_eighty_weighs_as_the_public_codes_ten_of_a_sum_over_eight_images(self, dense_task):
        run = make_run(PI, dense_task(batch=8), {"lambda_pi": 80.0})
        terms, step = terms_of(run)
        z_s, z_t = step.student.logits.detach(), step.teacher.logits
        assert len(z_s) == 8
        summed = -(z_t.softmax(1) * z_s.log_softmax(1)).sum() / 8 / 8
        assert terms["pi"].item() == pytest.approx(10 * summed.item(), rel=1e-4)

    def test_the_default_is_the_papers_weight_of_a_mean(self):
        assert PI.method.Params().lambda_pi == 10.0

    def test_its_gradient_is_the_difference_of_distributions(self, dense_task):
        run = make_run(PI, dense_task(), {"lambda_pi": 1.0})
        terms, step = terms_of(run)
        (gradient,) = torch.autograd.grad(terms["pi"], step.student.logits)
        expected = (step.student.logits.softmax(1) - step.teacher.logits.softmax(1)) / (4 * 8 * 8)
        assert torch.allclose(gradient, expected, atol=1e-7)

    def test_as_printed_the_students_distribution_comes_first(self, dense_task):
        run = make_run(PI, dense_task(), {"lambda_pi": 1.0, "target": "student"})
        terms, step = terms_of(run)
        p_s, p_t = step.student.logits.softmax(1), step.teacher.logits.softmax(1)
        assert terms["pi"].item() == pytest.approx(float((p_s * (p_s / p_t).log()).sum(1).mean().detach()), rel=1e-4)

    def test_the_tasks_loss_stays(self, dense_task):
        terms, step = terms_of(make_run(PI, dense_task()))
        full = interpolate(step.student.logits, (32, 32), mode="bilinear", align_corners=True)
        assert set(terms) == {"mc", "pi"}
        assert terms["mc"].item() == pytest.approx(cross_entropy(full, step.targets).item())


class TestPairWise:
    @pytest.mark.parametrize(
        ("params", "connected"), [({}, None), ({"pool": "max", "alpha": 5, "norm": "detached"}, neighbours(4, 4, 5)), ({"alpha": 99}, None)]
    )
    def test_it_compares_patches_of_the_pyramids_map(self, dense_task, params, connected):
        run = make_run(PI_PA, dense_task(), {"lambda_pa": 2.0, **params})
        terms, step = terms_of(run)
        f_s, f_t = (nodes(one.features["psp"], 2, params.get("pool", "avg")) for one in (step.student, step.teacher))
        assert f_s.shape == (4, 12, 4, 4)
        assert f_t.shape == (4, 24, 4, 4)
        assert terms["pa"].item() == pytest.approx(2 * pair_wise(f_s, f_t, connected).item(), rel=1e-5)
        assert set(terms) == {"mc", "pi", "pa"}

    @pytest.mark.parametrize("norm", ["cosine", "detached"])
    def test_its_gradient_passes_through_the_norms_unless_they_are_detached(self, dense_task, norm):
        run = make_run(PI_PA, dense_task(), {"lambda_pa": 2.0, "patch": 1, "norm": norm})
        terms, step = terms_of(run)
        compared = step.student.features["psp"]
        lengths = [one.flatten(2).norm(dim=1, keepdim=True) for one in (compared, step.teacher.features["psp"])]
        if norm == "detached":
            lengths[0] = lengths[0].detach()
        u_s, u_t = compared.flatten(2) / lengths[0], step.teacher.features["psp"].flatten(2) / lengths[1]
        l_pa = (u_s.transpose(1, 2) @ u_s - u_t.transpose(1, 2) @ u_t).square().mean()
        found, expected = (torch.autograd.grad(term, compared, retain_graph=True)[0] for term in (terms["pa"], 2 * l_pa))
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-8)

    def test_without_a_pyramid_it_compares_the_last_map(self, dense_task):
        run = make_run(PI_PA, dense_task(pyramid=False), {"lambda_pa": 1.0, "patch": 1})
        terms, step = terms_of(run)
        assert terms["pa"].item() == pytest.approx(pair_wise(step.student.features["stage2"], step.teacher.features["stage2"]).item(), rel=1e-5)

    def test_neighbours_are_found_once_a_run(self, dense_task):
        run = make_run(PI_PA, dense_task(), {"alpha": 5})
        take_steps(run, 2)
        (kept,) = run.instance.neighbours.values()
        take_steps(run, 1)
        assert run.instance.neighbours == {(4, 4): kept}

    def test_a_patch_as_large_as_the_map_is_refused(self, dense_task):
        with pytest.raises(NotApplicable, match="one node of a map of 8 x 8"):
            make_run(PI_PA, dense_task(), {"patch": 8})

    def test_a_patch_as_large_as_the_map_of_a_crop_is_refused_however_large_the_images_are(self, dense_task):
        task = dense_task()
        full = task.shapes
        task.shapes = lambda network: (
            lambda found: dataclasses.replace(found, features={name: (shape[0], 2 * shape[1], 2 * shape[2]) for name, shape in found.features.items()})
        )(full(network))
        with pytest.raises(NotApplicable, match="one node of a map of 8 x 8"):
            make_run(PI_PA, task, {"patch": 8})


class TestHolistic:
    def test_the_student_wants_a_high_answer_of_the_critic(self, dense_task):
        run = make_run(STRUCTURED, dense_task(), {**SMALL, "lambda_d": 0.3})
        terms, step = terms_of(run)
        critic = run.learner.helpers["critic"]
        image = interpolate(step.inputs, (8, 8), mode="bilinear", align_corners=True)
        assert set(terms) == {"mc", "pi", "pa", "ho"}
        assert terms["ho"].item() == pytest.approx(-0.3 * critic(step.student.logits, image).mean().item(), rel=1e-4)

    def test_the_critic_wants_it_high_for_the_teacher_and_low_for_the_student(self, dense_task):
        run = make_run(STRUCTURED, dense_task(), {**SMALL, "lambda_d": 0.3})
        run.learner.helpers["critic"].eval()
        terms, step = terms_of(run, "critic")
        critic = run.learner.helpers["critic"]
        image = interpolate(step.inputs, (8, 8), mode="bilinear", align_corners=True)
        expected = critic(step.student.logits, image).mean() - critic(step.teacher.logits, image).mean()
        assert set(terms) == {"ho", "gp"}
        assert terms["ho"].item() == pytest.approx(0.3 * expected.item(), rel=1e-4)

    def test_a_linear_critic_of_slope_three_pays_four_times_the_weights(self, dense_task):
        run = make_run(STRUCTURED, dense_task(), {**SMALL, "condition": False})
        v = torch.ones(1, 5, 8, 8)
        run.instance.critic = run.learner.helpers["critic"] = Linear(3 * v / v.norm())
        terms, _ = terms_of(run, "critic")
        assert terms["gp"].item() == pytest.approx(0.1 * 10 * 4, rel=1e-4)

    def test_the_penaltys_weight_is_the_parameters(self, dense_task):
        run = make_run(STRUCTURED, dense_task(), {**SMALL, "condition": False, "lambda_gp": 2.5})
        v = torch.ones(1, 5, 8, 8)
        run.instance.critic = run.learner.helpers["critic"] = Linear(3 * v / v.norm())
        terms, _ = terms_of(run, "critic")
        assert terms["gp"].item() == pytest.approx(0.1 * 2.5 * 4, rel=1e-4)

    def test_the_penalty_is_taken_where_each_images_own_draw_says(self, dense_task):
        run = make_run(STRUCTURED, dense_task(), {**SMALL, "condition": False})
        run.instance.critic = run.learner.helpers["critic"] = HalfSquare()
        replayed = torch.Generator()
        replayed.set_state(run.generator.get_state())
        terms, step = terms_of(run, "critic")
        q_s, q_t = step.student.logits.detach(), step.teacher.logits
        lengths = [(u * q_t[image] + (1 - u) * q_s[image]).norm() for image, u in enumerate(torch.rand(4, generator=replayed))]
        assert terms["gp"].item() == pytest.approx(0.1 * 10 * sum(float(one - 1) ** 2 for one in lengths) / 4, rel=1e-4)

    def test_with_the_hinge_there_is_no_penalty(self, dense_task):
        run = make_run(STRUCTURED, dense_task(), {**SMALL, "adversarial": "hinge", "condition": False})
        run.instance.critic = run.learner.helpers["critic"] = Linear(torch.zeros(1, 5, 8, 8))
        terms, _ = terms_of(run, "critic")
        assert set(terms) == {"hinge"}
        assert terms["hinge"].item() == pytest.approx(0.1 * 2)

    def test_the_hinge_wants_the_teacher_above_one_and_the_student_below_minus_one(self, dense_task):
        run = make_run(STRUCTURED, dense_task(), {**SMALL, "adversarial": "hinge", "lambda_d": 0.3, "condition": False})
        v = torch.randn(1, 5, 8, 8, generator=torch.Generator().manual_seed(0))
        run.instance.critic = run.learner.helpers["critic"] = Linear(v)
        terms, step = terms_of(run, "critic")
        d_s, d_t = ((v * one.logits.detach()).sum(dim=(1, 2, 3)).tolist() for one in (step.student, step.teacher))
        expected = sum(max(0, 1 - high) + max(0, 1 + low) for high, low in zip(d_t, d_s, strict=True)) / 4
        assert terms["hinge"].item() == pytest.approx(0.3 * expected, rel=1e-4)

    @pytest.mark.parametrize(("condition", "channels"), [(True, 8), (False, 5)])
    def test_the_image_is_seen_unless_switched_off(self, dense_task, condition, channels):
        run = make_run(STRUCTURED, dense_task(), {**SMALL, "condition": condition})
        assert run.learner.helpers["critic"].layers[0].num_features == channels
        take_steps(run, 1)

    def test_the_critic_may_see_distributions(self, dense_task):
        run = make_run(STRUCTURED, dense_task(), {**SMALL, "scores": "softmax", "condition": False})
        seen = []
        run.learner.helpers["critic"].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().sum(dim=1)))
        take_steps(run, 1)
        assert len(seen) == 4
        assert all(torch.allclose(one, torch.ones_like(one), atol=1e-5) for one in seen)

    def test_the_critics_width_is_the_parameter_in_proportion_to_the_map(self, dense_task):
        # a side of 8 is an eighth of 64; a width of 64 or less would give 8 channels
        run = make_run(STRUCTURED, dense_task(), {"width": 128})
        assert run.learner.helpers["critic"].layers[1].out_channels == 16

    def test_the_critic_fits_the_crops_that_are_trained_on(self, dense_task):
        run = make_run(STRUCTURED, dense_task(side=16), SMALL)
        kernels = [layer.kernel_size for layer in run.learner.helpers["critic"].layers if isinstance(layer, torch.nn.Conv2d)]
        assert kernels == [(3, 3), (3, 3), (3, 3), (3, 3), (4, 4)]
        take_steps(run, 1)


class Linear(torch.nn.Module):
    def __init__(self, v):
        super().__init__()
        self.v = torch.nn.Parameter(v)

    def forward(self, scores):
        return (self.v * scores).sum(dim=(1, 2, 3))


class HalfSquare(torch.nn.Module):
    """½‖Q‖², whose slope at Q is Q: a penalty shows where it was taken."""

    def forward(self, scores):
        return scores.square().sum(dim=(1, 2, 3)) / 2


class TestTurns:
    def test_each_term_reaches_its_own_network_only(self, dense_task):
        run = make_run(STRUCTURED, dense_task(), SMALL)
        student, critic = run.learner.student, run.learner.helpers["critic"]
        of_student, step = terms_of(run)
        of_critic, _ = terms_of(run, "critic", step)
        assert all(reached(of_student[name], student) for name in ("mc", "pi", "pa", "ho"))
        assert not any(reached(of_student[name], critic) for name in of_student if of_student[name].requires_grad)
        assert all(reached(term, critic) for term in of_critic.values())
        assert not any(reached(term, student) for term in of_critic.values())

    def test_the_critic_is_bit_identical_behind_the_students_turn_and_the_student_behind_the_critics(self, dense_task):
        run = make_run(STRUCTURED, dense_task(), SMALL)
        student, critic = run.learner.student, run.learner.helpers["critic"]
        of_critic = weights_of(critic)
        terms, step = terms_of(run)
        optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
        sum(terms.values()).backward(retain_graph=True)
        optimizer.step()
        assert changed(critic, of_critic) == set()
        of_student = weights_of(student)
        terms, _ = terms_of(run, "critic", step)
        torch.optim.SGD(critic.parameters(), lr=0.1).zero_grad()
        sum(terms.values()).backward()
        torch.optim.SGD(critic.parameters(), lr=0.1).step()
        assert changed(student, of_student) == set()
        assert changed(critic, of_critic) != set()

    def test_both_turns_see_one_forward_pass_and_the_critic_of_before_the_step(self, dense_task):
        run = make_run(STRUCTURED, dense_task(), {**SMALL, "condition": False})
        critic, seen, passes = run.learner.helpers["critic"], [], []
        run.learner.student.register_forward_hook(lambda module, inputs, output: passes.append(output.detach()))
        critic.register_forward_pre_hook(lambda module, inputs: seen.append((inputs[0].detach().clone(), module.layers[-1].weight.detach().clone())))
        take_steps(run, 1)
        assert len(passes) == 1
        assert len(seen) == 4
        old = [inputs for inputs, _ in seen if torch.equal(inputs, passes[0])]
        assert len(old) == 2
        assert all(torch.equal(weight, seen[0][1]) for _, weight in seen)
        assert not torch.equal(critic.layers[-1].weight, seen[0][1])

    def test_the_critics_steps_are_no_updates_of_the_student(self, dense_task, count_updates):
        assert count_updates(make_run(STRUCTURED, dense_task(), SMALL)) == (6, {"train": 6})

    def test_student_and_critic_step_at_their_own_rates_along_one_curve(self, dense_task):
        run = make_run(STRUCTURED, dense_task(), SMALL)
        take_steps(run, 2)
        assert run.bound["student"].optimizer.param_groups[0]["lr"] == pytest.approx(0.01 * 0.5**0.9)
        critic = run.bound["critic"].optimizer.param_groups[0]
        assert (critic["lr"], critic["momentum"], critic["weight_decay"]) == (pytest.approx(4e-4 * 0.5**0.9), 0.9, run.recipe["weight_decay"])

    @pytest.mark.parametrize("optimizer", ["sgd", "adam"])
    def test_the_critics_rate_is_the_parameters(self, dense_task, optimizer):
        run = make_run(STRUCTURED, dense_task(), {**SMALL, "optimizer_d": optimizer, "lr_d": 7e-4})
        take_steps(run, 1)
        assert run.bound["critic"].optimizer.param_groups[0]["lr"] == pytest.approx(7e-4)

    def test_the_critic_may_have_adam(self, dense_task):
        run = make_run(STRUCTURED, dense_task(), {**SMALL, "optimizer_d": "adam"})
        take_steps(run, 1)
        assert run.bound["critic"].optimizer.defaults["betas"] == (0.9, 0.99)

    @pytest.mark.parametrize("plugin", variants, ids=lambda plugin: plugin.method.name)
    def test_the_teacher_is_imitated(self, dense_task, plugin):
        run = make_run(plugin, dense_task(), SMALL if plugin is STRUCTURED else {})
        history = take_steps(run, 60)
        assert all(math.isfinite(value) for step in history for value in step.values())
        assert sum(step["student/pi"] for step in history[-10:]) < sum(step["student/pi"] for step in history[:10])

    def test_the_critic_learns_to_tell_them_apart(self, dense_task):
        run = make_run(STRUCTURED, dense_task(), {**SMALL, "lambda_d": 1.0, "optimizer_d": "adam", "lr_d": 1e-3})
        history = take_steps(run, 40)
        assert sum(step["critic/ho"] + step["critic/gp"] for step in history[-10:]) < sum(step["critic/ho"] + step["critic/gp"] for step in history[:10])

    def test_the_operations_of_a_step_can_be_counted(self, dense_task):
        counted = []
        for plugin in (PI_PA, STRUCTURED):
            run = make_run(plugin, dense_task(), SMALL if plugin is STRUCTURED else {})
            with FlopCounterMode(display=False) as counter:
                take_steps(run, 1)
            counted.append(counter.get_total_flops())
        assert counted[1] > counted[0] > 0

    def test_a_seed_gives_the_same_run_whatever_else_is_drawn(self, dense_task):
        histories = []
        for drawn in (1, 2):
            run = make_run(STRUCTURED, dense_task(), SMALL)
            torch.manual_seed(drawn)
            histories.append(take_steps(run, 3))
        assert histories[0] == histories[1]

    def test_the_student_starts_as_in_every_other_row(self, dense_task):
        students = [make_run(plugin, dense_task()).learner.student.state_dict() for plugin in variants]
        assert all(torch.equal(students[0][name], other[name]) for other in students[1:] for name in other)


class TestDepth:
    def test_pixel_wise_alone_does_not_apply(self, dense_task):
        card = dense_task(output="values").card
        assert PI.method.reason_against(card, PI.method.Params()) == "it needs class scores, which the task 'dense' does not offer"

    @pytest.mark.parametrize("plugin", [PI_PA, STRUCTURED], ids=lambda plugin: plugin.method.name)
    def test_the_other_rows_drop_it(self, dense_task, plugin):
        task = dense_task(output="values")
        assert plugin.method.reason_against(task.card, plugin.method.Params()) is None
        run = make_run(plugin, task, SMALL if plugin is STRUCTURED else {})
        terms, _ = terms_of(run)
        assert set(terms) == ({"mc", "pa", "ho"} if plugin is STRUCTURED else {"mc", "pa"})
        assert all(math.isfinite(value) for step in take_steps(run, 3) for value in step.values())

    def test_the_critic_sees_one_channel_of_depth_and_the_image(self, dense_task):
        run = make_run(STRUCTURED, dense_task(output="values"), SMALL)
        assert run.learner.helpers["critic"].layers[0].num_features == 1 + 3


class TestRefusals:
    @pytest.mark.parametrize(
        ("params", "named"),
        [
            ({"patch": 0}, "patch: 0"),
            ({"alpha": 1}, "alpha: 1"),
            ({"alpha": -2}, "alpha: -2"),
            ({"width": 4}, "width: 4"),
            ({"lambda_pi": -1.0}, "lambda_pi: -1"),
            ({"lr_d": 0.0}, "lr_d: 0"),
        ],
    )
    def test_numbers_that_make_no_sense_are_refused(self, params, named):
        with pytest.raises(ImpossibleValue, match=f"{named} is not possible"):
            STRUCTURED.method.Params(**params)

    def test_tasks_without_maps_are_refused(self, dense_task):
        assert "feature maps" in STRUCTURED.method.reason_against(dense_task(feature_maps=False).card, STRUCTURED.method.Params())

    def test_values_have_no_softmax(self, dense_task):
        params = STRUCTURED.method.Params(scores="softmax")
        assert "softmax" in STRUCTURED.method.applies(dense_task(output="values").card, params)
        assert STRUCTURED.method.applies(dense_task().card, params) is None

    @pytest.mark.parametrize("plugin", variants, ids=lambda plugin: plugin.method.name)
    def test_score_maps_of_unequal_shape_are_refused_with_both(self, dense_task, plugin):
        task = dense_task()
        with pytest.raises(NotApplicable, match=r"student's is \[5, 8, 8\], the teacher's \[5, 16, 16\]"):
            make_run(plugin, task, teachers=[Doubled(task)])


class Doubled(torch.nn.Module):
    """A teacher with score maps of twice the side."""

    def __init__(self, task):
        super().__init__()
        self.inner = task.new_network("dense-teacher").eval()
        self.taps = tuple((name, f"inner.{path}") for name, path in self.inner.taps)

    def forward(self, x):
        return interpolate(self.inner(x), scale_factor=2)
