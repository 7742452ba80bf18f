"""FitNet, attention transfer and knowledge review against independent derivations."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kdarena_baselines.at import AT, l_at
from kdarena_baselines.fitnet import FitNet, new_regressor
from kdarena_baselines.reviewkd import Review, ReviewKD, hcl
from kdarena_baselines.stages import pairs
from torch import nn

from kdarena.errors import NotApplicable
from kdarena.testing.run import make_run, new_step
from kdarena.testing.task import toy_task

CLOSE = {"rtol": 1e-5, "atol": 1e-7}


def maps(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def with_statistics(module):
    """The module in eval mode, each of its batch norms with statistics and an affine map of its own."""
    random = torch.Generator().manual_seed(5)
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.running_mean.normal_(generator=random)
            one.running_var.uniform_(0.5, 2.0, generator=random)
            nn.init.normal_(one.weight, generator=random)
            nn.init.normal_(one.bias, generator=random)
    return module.eval().requires_grad_(False)


def normalised(x, bn):
    """Batch norm from its statistics, written out."""
    mean, variance, scale, shift = (one[:, None, None] for one in (bn.running_mean, bn.running_var, bn.weight, bn.bias))
    return (x - mean) / (variance + 1e-5).sqrt() * scale + shift


def terms_of(run):
    return run.loss(new_step(run))


def reached(run, term):
    """Parameters of student and helpers, by name, that a term's gradient reaches."""
    named = {
        f"{part}.{name}": one for part, module in (("student", run.learner.student), *run.learner.helpers.items()) for name, one in module.named_parameters()
    }
    gradients = torch.autograd.grad(term, list(named.values()), allow_unused=True)
    return {name for name, one in zip(named, gradients, strict=True) if one is not None and float(one.abs().max()) > 0}


class TestStages:
    def test_equal_numbers_of_stages_are_paired_in_order(self):
        assert pairs(["a", "b", "c"], ["d", "e", "f"]) == [("a", "d"), ("b", "e"), ("c", "f")]

    def test_unequal_numbers_are_paired_from_the_deep_end(self):
        assert pairs(["s1", "s2", "s3", "s4", "s5"], ["t1", "t2", "t3", "t4"]) == [("s2", "t1"), ("s3", "t2"), ("s4", "t3"), ("s5", "t4")]

    def test_the_first_of_five_stages_is_left_out_as_in_the_benchmark(self):
        five = [f"stage{i}" for i in range(1, 6)]
        assert pairs(five, five) == [(name, name) for name in five[1:]]

    def test_a_smaller_count_keeps_the_deepest(self):
        assert pairs(["a", "b", "c"], ["d", "e", "f"], 1) == [("c", "f")]


def hint_loss(reduction, regressed_for):
    """L_HT of a hint and a map that is put in the place of the regressed one, the hint, and the gradient on the map."""
    run = make_run(FitNet, toy_task(), {"beta": 1.0, "reduction": reduction})
    step = new_step(run)
    u_h = step.teacher.features["stage2"]
    regressed = regressed_for(u_h).requires_grad_()
    run.instance.regressor = Constant(regressed)
    loss = run.loss(step)["hint"]
    return float(loss.detach()), u_h, torch.autograd.grad(loss, regressed)[0]


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, v_g):
        return self.value


class TestFitNet:
    def test_the_hint_loss_is_the_closed_form_of_maps_that_differ_by_a_constant(self):
        assert hint_loss("mean", lambda u_h: u_h - 3)[0] == pytest.approx(9.0, rel=1e-5)
        loss, u_h, _ = hint_loss("half-sum", lambda u_h: u_h - 3)
        assert loss == pytest.approx(9.0 * u_h[0].numel() / 2, rel=1e-5)

    def test_the_papers_form_is_half_the_entries_of_a_map_times_the_mean(self):
        (mean, u_h, _), (half_sum, _, _) = (hint_loss(reduction, lambda u_h: maps(*u_h.shape, seed=1)) for reduction in ("mean", "half-sum"))
        assert half_sum == pytest.approx(u_h[0].numel() / 2 * mean, rel=1e-5)

    def test_the_gradient_on_the_regressed_map_is_its_distance_from_the_hint(self):
        _, u_h, gradient = hint_loss("half-sum", lambda u_h: maps(*u_h.shape, seed=1))
        torch.testing.assert_close(gradient, (maps(*u_h.shape, seed=1) - u_h) / len(u_h), **CLOSE)

    def test_the_total_is_cross_entropy_and_beta_times_the_mean_square_of_the_second_stage(self):
        run = make_run(FitNet, toy_task(), {"beta": 7.0})
        step = new_step(run)
        terms = run.loss(step)
        regressed = run.learner.helpers["regressor"](step.student.features["stage2"]).detach().numpy()
        expected = 7.0 * np.mean((step.teacher.features["stage2"].numpy() - regressed) ** 2)
        assert float(terms["hint"].detach()) == pytest.approx(float(expected), rel=1e-5)
        assert float(terms["ce"].detach()) == pytest.approx(float(nn.functional.cross_entropy(step.student.logits.detach(), step.targets)))

    def test_the_hint_reaches_the_guided_layers_and_the_regressor_and_nothing_above(self):
        run = make_run(FitNet, toy_task())
        names = reached(run, run.loss(new_step(run))["hint"])
        expected = {f"student.{name}" for name, _ in run.learner.student.named_parameters() if name.startswith(("stages.0", "stages.1"))}
        expected |= {f"regressor.{name}" for name, _ in run.learner.helpers["regressor"].named_parameters()}
        # batch norm takes the mean away, so that the bias before it has no gradient but rounding's
        assert names | {"regressor.0.bias"} == expected

    @pytest.mark.parametrize(("own", "hint"), [(8, 8), (8, 4), (4, 8), (8, 5), (7, 1)])
    def test_the_regressor_gives_the_hints_channels_and_grid(self, own, hint):
        regressor = new_regressor((3, own, own), (5, hint, hint))
        assert regressor(maps(2, 3, own, own)).shape == (2, 5, hint, hint)

    @pytest.mark.parametrize(
        ("own", "hint", "convolved"),
        [
            (4, 4, lambda x, layer: torch.einsum("bchw,oc->bohw", x, layer.weight[:, :, 0, 0]) + layer.bias[:, None, None]),
            (4, 2, lambda x, layer: nn.functional.conv2d(x, layer.weight, layer.bias, stride=2, padding=1)),
            (2, 4, lambda x, layer: nn.functional.conv_transpose2d(x, layer.weight, layer.bias, stride=2, padding=1)),
            (5, 4, lambda x, layer: nn.functional.conv2d(x, layer.weight, layer.bias)),
        ],
    )
    def test_the_regressor_is_a_convolution_then_batch_norm_then_the_positive_part(self, own, hint, convolved):
        regressor = with_statistics(new_regressor((3, own, own), (5, hint, hint)))
        v_g = maps(2, 3, own, own)
        expected = normalised(convolved(v_g, regressor[0]), regressor[1])
        assert bool((expected < 0).any()) and bool((expected > 0).any())
        torch.testing.assert_close(regressor(v_g), expected * (expected > 0), rtol=1e-4, atol=1e-5)

    def test_a_grid_that_no_regressor_reaches_is_refused(self):
        with pytest.raises(NotApplicable, match="no regressor from the student's grid"):
            new_regressor((3, 4, 4), (5, 7, 7))

    def test_a_hint_behind_the_last_common_stage_is_refused(self):
        with pytest.raises(NotApplicable, match="only 3 stages"):
            make_run(FitNet, toy_task(), {"stage": 4})

    def test_a_student_with_a_coarser_last_map_is_regressed_by_a_transposed_convolution(self):
        run = make_run(FitNet, toy_task(student="toy-coarse"), {"stage": 3})
        assert isinstance(run.learner.helpers["regressor"][0], nn.ConvTranspose2d)
        assert math.isfinite(float(run.loss(new_step(run))["hint"].detach()))


def naive_attention(A, p):  # noqa: N803 - the paper's symbol
    """Q̂ by loops: one list of H · W numbers a sample."""
    found = []
    for sample in A.double().tolist():
        height, width = len(sample[0]), len(sample[0][0])
        q = [sum(abs(channel[i][j]) ** p for channel in sample) for i in range(height) for j in range(width)]
        norm = math.sqrt(sum(value**2 for value in q))
        found.append([value / norm for value in q])
    return found


def naive_at(A_s, A_t, p):  # noqa: N803
    squares = [[(a - b) ** 2 for a, b in zip(one, other, strict=True)] for one, other in zip(naive_attention(A_s, p), naive_attention(A_t, p), strict=True)]
    squared = sum(map(sum, squares)) / (len(squares) * len(squares[0]))
    norm = sum(math.sqrt(sum(row)) for row in squares) / len(squares) / 2
    return {"squared": squared, "norm": norm}


class TestAttentionTransfer:
    @pytest.mark.parametrize("p", [1, 2, 3])
    @pytest.mark.parametrize("distance", ["squared", "norm"])
    def test_it_is_the_distance_of_normalised_attention_maps(self, p, distance):
        A_s, A_t = maps(3, 2, 4, 4), maps(3, 5, 4, 4, seed=1)  # noqa: N806
        assert float(l_at(A_s, A_t, p, distance)) == pytest.approx(naive_at(A_s, A_t, p)[distance], rel=1e-5)

    @pytest.mark.parametrize(("own", "other"), [(4, 2), (2, 4)])
    def test_the_larger_map_is_averaged_to_the_smaller_grid_before_attention(self, own, other):
        A_s, A_t = maps(3, 2, own, own), maps(3, 5, other, other, seed=1)  # noqa: N806
        halved = [A.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5)) if A.shape[2] == 4 else A for A in (A_s, A_t)]
        assert float(l_at(A_s, A_t, 2, "squared")) == pytest.approx(naive_at(*halved, 2)["squared"], rel=1e-5)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 1000), st.floats(0.1, 50))
    def test_the_scale_and_sign_of_a_samples_map_and_the_order_of_channels_change_nothing(self, seed, scale):
        A_s, A_t = maps(3, 4, 2, 2, seed=seed), maps(3, 4, 2, 2, seed=seed + 1)  # noqa: N806
        torch.testing.assert_close(l_at(-scale * A_s.flip(1), A_t, 2, "squared"), l_at(A_s, A_t, 2, "squared"), rtol=1e-4, atol=1e-7)

    def test_every_pair_of_stages_is_a_term_that_ends_at_its_stage(self):
        run = make_run(AT, toy_task(), {"beta": 3.0})
        step = new_step(run)
        terms = run.loss(step)
        assert sorted(terms) == ["at-stage1", "at-stage2", "at-stage3", "ce"]
        for number in (1, 2, 3):
            name = f"stage{number}"
            assert float(terms[f"at-{name}"].detach()) == pytest.approx(
                3 * naive_at(step.student.features[name], step.teacher.features[name], 2)["squared"], rel=1e-4
            )
        names = reached(run, terms["at-stage2"])
        assert {name.split(".")[2] for name in names} == {"0", "1"}

    def test_fewer_stages_keep_the_deepest(self):
        assert sorted(terms_of(make_run(AT, toy_task(), {"stages": 1}))) == ["at-stage3", "ce"]

    def test_unequal_grids_train(self):
        run = make_run(AT, toy_task(student="toy-coarse"))
        assert all(bool(torch.isfinite(term)) for term in run.loss(new_step(run)).values())


def naive_hcl(y, f_t):
    y, f_t = y.double().numpy(), f_t.double().numpy()
    side = y.shape[2]
    levels = [side, *(level for level in (4, 2, 1) if level < side)]

    def pooled(array, level):
        step = side // level
        return array.reshape(*array.shape[:2], level, step, level, step).mean(axis=(3, 5))

    weights = [0.5**k for k in range(len(levels))]
    return sum(w * np.mean((pooled(y, level) - pooled(f_t, level)) ** 2) for w, level in zip(weights, levels, strict=True)) / sum(weights)


class TestReview:
    @pytest.mark.parametrize("side", [1, 2, 4, 8, 16])
    def test_the_context_loss_is_the_weighted_mean_over_pooled_grids(self, side):
        y, f_t = maps(2, 3, side, side), maps(2, 3, side, side, seed=1)
        assert float(hcl(y, f_t)) == pytest.approx(naive_hcl(y, f_t), rel=1e-5)

    @pytest.mark.parametrize("side", [1, 4, 8])
    def test_maps_that_differ_by_a_constant_have_its_square_at_every_level(self, side):
        f_t = maps(2, 3, side, side)
        assert float(hcl(f_t + 3.0, f_t)) == pytest.approx(9.0, rel=1e-5)

    @pytest.mark.parametrize(
        ("student", "teacher"),
        [
            ([(3, 8, 8), (4, 4, 4), (6, 4, 4), (6, 1, 1)], [(6, 8, 8), (8, 4, 4), (10, 4, 4), (10, 1, 1)]),
            ([(12, 16, 16), (16, 8, 8), (48, 4, 4), (160, 2, 2), (128, 1, 1)], [(32, 16, 16), (64, 8, 8), (64, 4, 4), (64, 4, 4), (64, 1, 1)]),
            ([(12, 16, 16), (16, 8, 8), (12, 1, 1)], [(32, 32, 32), (64, 16, 16), (64, 1, 1)]),
        ],
    )
    def test_every_stage_comes_out_in_the_teachers_shape(self, student, teacher):
        review = Review(student, teacher, 32)
        joined = review(*(maps(2, *shape) for shape in student))
        assert [tuple(one.shape[1:]) for one in review.split(joined)] == teacher

    def test_the_joined_maps_are_split_in_order(self):
        review = Review([(3, 4, 4), (5, 1, 1)], [(2, 4, 4), (7, 1, 1)], 8)
        values = torch.arange(39.0)[None]
        first, second = review.split(values)
        assert first.flatten().tolist() == list(range(32)) and second.flatten().tolist() == list(range(32, 39))

    def test_a_stage_is_matched_by_itself_and_all_deeper_stages_and_no_shallower_one(self):
        shapes = [(3, 8, 8), (4, 4, 4), (5, 4, 4), (6, 1, 1)]
        review = Review(shapes, shapes, 16)
        own = [maps(4, *shape, seed=i).requires_grad_() for i, shape in enumerate(shapes)]
        for i, y in enumerate(review.split(review(*own))):
            gradients = torch.autograd.grad((y**3).sum(), own, allow_unused=True, retain_graph=True)
            assert [gradient is not None and float(gradient.abs().max()) > 0 for gradient in gradients] == [j >= i for j in range(4)]

    @pytest.mark.parametrize(("bias", "own", "deeper"), [((0, 0), 0.5, 0.5), ((60, -60), 1, 0), ((-60, 60), 0, 1), ((0, 60), 0.5, 1)])
    def test_a_fusion_adds_its_stage_and_the_deeper_ones_each_with_an_attention_of_its_own(self, bias, own, deeper):
        review = Review([(3, 2, 2), (5, 1, 1)], [(3, 2, 2), (5, 1, 1)], 8).eval()
        shallow, deep = review.stages
        nn.init.zeros_(shallow.attention[0].weight)
        shallow.attention[0].bias.data = torch.tensor(bias).float()
        one, other = maps(2, 3, 2, 2), maps(2, 5, 1, 1)
        fused = own * shallow.transform(one) + deeper * deep.transform(other).expand(-1, -1, 2, 2)
        torch.testing.assert_close(review.split(review(one, other))[0], shallow.out(fused), rtol=1e-4, atol=1e-5)

    def test_what_a_stage_passes_on_has_the_teachers_grid_before_the_next_students(self):
        review = with_statistics(Review([(3, 8, 8), (4, 4, 4), (6, 1, 1)], [(2, 16, 16), (5, 2, 2), (7, 1, 1)], 8))
        own = [maps(2, 3, 8, 8), maps(2, 4, 4, 4, seed=1), maps(2, 6, 1, 1, seed=2)]
        one, two, three = review.stages
        conv = nn.functional.conv2d

        def transformed(x, abf):
            return normalised(conv(x, abf.transform[0].weight), abf.transform[1])

        def fused(x, deeper, abf):
            attention = torch.sigmoid(conv(torch.cat([x, deeper], dim=1), abf.attention[0].weight, abf.attention[0].bias))
            return attention[:, :1] * x + attention[:, 1:] * deeper

        def out(r, abf):
            return normalised(conv(r, abf.out[0].weight, padding=1), abf.out[1])

        def repeated(x, times):
            return x.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)

        r_3 = transformed(own[2], three)
        r_2 = fused(transformed(own[1], two), repeated(r_3, 4), two)[:, :, ::2, ::2]
        r_1 = repeated(fused(transformed(own[0], one), repeated(r_2, 4), one), 2)
        expected = [out(r_1, one), out(r_2, two), out(r_3, three)]
        for found, by_hand in zip(review.split(review(*own)), expected, strict=True):
            torch.testing.assert_close(found, by_hand, rtol=1e-4, atol=1e-5)

    def test_the_inner_width_is_the_embeddings_up_to_the_limit(self):
        shapes = [(3, 2, 2), (9, 1, 1)]
        assert [Review(shapes, shapes, largest).stages[0].transform[0].out_channels for largest in (4, 512)] == [4, 9]

    def test_the_total_is_the_weighted_sum_over_stages_after_the_warm_up(self):
        run = make_run(ReviewKD, toy_task(), {"weight": 2.0, "warmup": 0.4})
        batch = next(run.augmented)
        step = new_step(run, batch=batch, progress=0.9)
        term = float(run.loss(step)["review"].detach())
        review = run.learner.helpers["review"]
        stages = ("stage1", "stage2", "stage3")
        own = [*(step.student.features[name] for name in stages), step.student.embedding[:, :, None, None]]
        theirs = [*(step.teacher.features[name] for name in stages), step.teacher.embedding[:, :, None, None]]
        expected = 2 * sum(naive_hcl(y.detach(), f_t) for y, f_t in zip(review.split(review(*own)), theirs, strict=True))
        assert term == pytest.approx(expected, rel=1e-4)
        for progress, factor in ((0.0, 0.0), (0.1, 0.25), (0.4, 1.0)):
            assert float(run.loss(new_step(run, batch=batch, progress=progress))["review"].detach()) == pytest.approx(factor * expected, rel=1e-4, abs=1e-9)

    def test_the_review_reaches_all_of_the_student_but_its_head_and_all_of_the_fusions(self):
        run = make_run(ReviewKD, toy_task())
        names = reached(run, run.loss(new_step(run, progress=0.5))["review"])
        everything = {f"student.{name}" for name, _ in run.learner.student.named_parameters() if not name.startswith("head")}
        everything |= {f"review.{name}" for name, _ in run.learner.helpers["review"].named_parameters()}
        assert names == everything
