"""IT/S, CT/S and AT/S against independent derivations."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kdarena_adaptive_ts import variants
from kdarena_adaptive_ts.labelled import adaptive_weights, conditional_weights, interpolated
from torch.nn import functional

from kdarena.params import ImpossibleValue, tunables
from kdarena.testing.run import make_run, new_step, take_steps
from kdarena.testing.task import toy_task
from kdarena.tracks import find_card
from kdarena.tracks.values import Setting

_, _, ITS, CTS, ATS = variants
LABELLED = pytest.mark.parametrize("plugin", [ITS, CTS, ATS], ids=["its", "cts", "ats"])
CLOSE = {"rtol": 1e-5, "atol": 1e-6}

UNHURRIED = settings(max_examples=60, deadline=None)

probabilities = st.floats(0.001, 0.999)
exponents = st.floats(0.1, 10.0)
logits = st.lists(st.lists(st.floats(-8, 8), min_size=5, max_size=5), min_size=1, max_size=6).map(torch.tensor)
seeds = st.integers(0, 10_000)


def labels_for(z, seed):
    return torch.randint(z.shape[1], (len(z),), generator=torch.Generator().manual_seed(seed))


def logits_with(p, others=(0.5, 0.3, 0.2)):
    """One row of four classes in float64 whose class 0 has probability p."""
    return torch.tensor([[p, *((1 - p) * share for share in others)]], dtype=torch.float64).log()


def weight(p, lam):
    return float(adaptive_weights(logits_with(p), torch.tensor([0]), lam))


class TestAdaptiveWeights:
    @UNHURRIED
    @given(probabilities, exponents)
    def test_they_are_c_over_c_plus_d(self, p, lam):
        c, d = p**lam, (1 - p) ** lam
        assert weight(p, lam) == pytest.approx(c / (c + d), rel=1e-6, abs=1e-9)

    @UNHURRIED
    @given(probabilities)
    def test_at_lambda_1_they_are_the_teachers_confidence(self, p):
        assert weight(p, 1.0) == pytest.approx(p, rel=1e-9)

    @UNHURRIED
    @given(probabilities)
    def test_towards_lambda_0_they_are_one_half(self, p):
        assert weight(p, 1e-7) == pytest.approx(0.5, abs=1e-6)

    @UNHURRIED
    @given(probabilities.filter(lambda p: abs(p - 0.5) > 0.01))
    def test_towards_infinite_lambda_they_ask_whether_p_exceeds_one_half(self, p):
        assert weight(p, 1e6) == float(p > 0.5)

    @UNHURRIED
    @given(probabilities, probabilities, st.floats(0.1, 2.0))
    def test_they_rise_strictly_with_p(self, p, q, lam):
        low, high = sorted((p, q))
        if high - low > 1e-6:
            assert weight(low, lam) < weight(high, lam)

    @UNHURRIED
    @given(probabilities, exponents)
    def test_of_p_and_of_1_minus_p_they_sum_to_1(self, p, lam):
        assert weight(p, lam) + weight(1 - p, lam) == pytest.approx(1.0, abs=1e-9)

    @UNHURRIED
    @given(probabilities, exponents)
    def test_they_depend_on_p_alone_not_on_how_the_rest_is_spread(self, p, lam):
        spread, concentrated = (adaptive_weights(logits_with(p, others), torch.tensor([0]), lam) for others in ((0.4, 0.3, 0.3), (0.98, 0.01, 0.01)))
        torch.testing.assert_close(spread, concentrated, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize("logit", [100.0, 1e4, math.inf])
    def test_a_teacher_beyond_all_doubt_is_clamped_at_a_millionth(self, logit):
        z = torch.tensor([[logit, 0.0, 0.0]])
        found = [float(adaptive_weights(z, torch.tensor([label]), 1.0)) for label in (0, 1)]
        assert found == pytest.approx([1 - 1e-6, 1e-6], rel=1e-3)

    def test_in_fp32_they_are_exact_up_to_the_clamp(self):
        # p = 1 / (1 + 2 e^-13), 4.5e-6 below 1
        z = torch.tensor([[13.0, 0.0, 0.0]])
        odds = math.exp(13) / 2
        doubt = 1 - adaptive_weights(z, torch.tensor([0]), 0.5).double()
        assert float(doubt) == pytest.approx(1 / (1 + math.sqrt(odds)), rel=1e-3)


class TestConditionalWeights:
    @UNHURRIED
    @given(logits, seeds)
    def test_they_say_whether_the_most_probable_class_is_the_label(self, z, seed):
        y = labels_for(z, seed)
        expected = [float(max(range(5), key=row.__getitem__) == label) for row, label in zip(z.tolist(), y.tolist(), strict=True)]
        assert conditional_weights(z, y).tolist() == expected

    @UNHURRIED
    @given(logits, seeds)
    def test_infinite_lambda_is_stricter(self, z, seed):
        y = labels_for(z, seed)
        tie = z.topk(2, dim=1).values.diff(dim=1).abs().min() < 1e-3
        if not tie:
            assert bool((adaptive_weights(z, y, 1e7) <= conditional_weights(z, y) + 1e-6).all())

    def test_an_argmax_below_one_half_counts_here_but_not_at_infinite_lambda(self):
        z, y = torch.tensor([[0.4, 0.35, 0.25]]).log(), torch.tensor([0])
        assert float(conditional_weights(z, y)) == 1.0
        assert float(adaptive_weights(z, y, 1e6)) == 0.0


class TestTargets:
    @UNHURRIED
    @given(logits, seeds, st.floats(0, 1), st.sampled_from([0.0, 0.1]))
    def test_they_sum_to_1_and_none_is_negative(self, z, seed, w, smoothing):
        target = interpolated(z, labels_for(z, seed), torch.full((len(z),), w), smoothing)
        torch.testing.assert_close(target.sum(dim=1), torch.ones(len(z)))
        assert float(target.min()) >= 0

    @UNHURRIED
    @given(logits, seeds, st.floats(0, 1))
    def test_entry_by_entry_they_are_the_equation(self, z, seed, w):
        y = labels_for(z, seed)
        target = interpolated(z, y, torch.full((len(z),), w))
        for row, label, found in zip(z.tolist(), y.tolist(), target, strict=True):
            total = sum(map(math.exp, row))
            expected = [w * math.exp(value) / total + (1 - w) * (u == label) for u, value in enumerate(row)]
            torch.testing.assert_close(found, torch.tensor(expected), **CLOSE)

    def test_at_w_0_and_1_they_are_exactly_the_label_and_the_posterior(self):
        z, y = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 4, 0])
        assert torch.equal(interpolated(z, y, torch.zeros(3)), functional.one_hot(y, 5).float())
        assert torch.equal(interpolated(z, y, torch.ones(3)), torch.softmax(z, dim=1))

    def test_smoothing_touches_the_one_hot_part_only(self):
        z, y = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 4, 0])
        assert torch.equal(interpolated(z, y, torch.ones(3), 0.1), torch.softmax(z, dim=1))
        smoothed = -(interpolated(z, y, torch.zeros(3), 0.1) * z.log_softmax(dim=1)).sum(dim=1).mean()
        torch.testing.assert_close(smoothed, functional.cross_entropy(z, y, label_smoothing=0.1))


def term(step):
    return step.run.loss(step)[step.run.method.name]


def weight_by_hand(plugin, p_t, label, lam=2.0, w=0.3):
    p = float(p_t[label])
    return {"its": w, "cts": float(p_t.argmax() == label), "ats": p**lam / (p**lam + (1 - p) ** lam)}[plugin.method.name]


PARAMS = {"its": {"w": 0.3}, "cts": {}, "ats": {"lam": 2.0}}


class TestTokens:
    @LABELLED
    def test_the_loss_is_the_mean_over_tokens_with_both_decoders_fed_the_labels(self, spelling_run, plugin):
        run = spelling_run(plugin, PARAMS[plugin.method.name])
        run.learner.student.eval()
        step = new_step(run)
        values = []
        for utterance, sequence in enumerate(step.targets.tolist()):
            truth = [token for token in sequence if token != -100]
            for position, label in enumerate(truth):
                prefix = torch.tensor([[1, *truth[:position]]])
                p_t = torch.softmax(run.teacher(step.teacher_inputs[utterance][None], prefix)[0, -1].double(), dim=0)
                ln_p_s = torch.log_softmax(run.learner.student(step.inputs[utterance][None], prefix)[0, -1].double(), dim=0)
                w = weight_by_hand(plugin, p_t, label)
                values.append(-w * (p_t * ln_p_s).sum() - (1 - w) * ln_p_s[label])
        torch.testing.assert_close(term(step).double(), torch.stack(values).mean(), **CLOSE)

    @LABELLED
    def test_the_gradient_on_a_tokens_logits_is_softmax_minus_target(self, spelling_run, plugin):
        run = spelling_run(plugin, PARAMS[plugin.method.name])
        step = new_step(run)
        value, student = term(step), step.student
        found = torch.autograd.grad(value, student.logits)[0]
        p_t = torch.softmax(step.teacher.logits, dim=2)
        expected = torch.zeros_like(found)
        for utterance, position in (step.targets != -100).nonzero().tolist():
            label = int(step.targets[utterance, position])
            w = weight_by_hand(plugin, p_t[utterance, position], label)
            target = w * p_t[utterance, position] + (1 - w) * functional.one_hot(torch.tensor(label), 7)
            expected[utterance, position] = torch.softmax(student.logits[utterance, position], dim=0) - target
        torch.testing.assert_close(found, expected / int((step.targets != -100).sum()), **CLOSE)

    @LABELLED
    def test_smoothing_spreads_its_share_of_the_labels_part_over_all_tokens(self, spelling_run, plugin):
        step = new_step(spelling_run(plugin, {**PARAMS[plugin.method.name], "smoothing": 0.1}))
        labelled = step.targets != -100
        values = []
        rows = (outputs.logits[labelled].double() for outputs in (step.student, step.teacher))
        for z_s, z_t, label in zip(*rows, step.targets[labelled].tolist(), strict=True):
            p_t, ln_p_s = torch.softmax(z_t, dim=0), torch.log_softmax(z_s, dim=0)
            w = weight_by_hand(plugin, p_t, label)
            values.append(-w * (p_t * ln_p_s).sum() - (1 - w) * (0.9 * ln_p_s[label] + 0.1 / 7 * ln_p_s.sum()))
        torch.testing.assert_close(term(step).double(), torch.stack(values).mean(), **CLOSE)

    @LABELLED
    def test_a_teacher_that_is_one_hot_at_the_labels_makes_it_the_tasks_cross_entropy(self, spelling_run, plugin):
        run = spelling_run(plugin, PARAMS[plugin.method.name])
        step = new_step(run)
        step.teacher.logits = 100.0 * functional.one_hot(step.targets.clamp(min=0), 7)
        torch.testing.assert_close(term(step), step.task.loss(step.student, step.targets), **CLOSE)

    def test_at_w_0_its_is_the_tasks_cross_entropy(self, spelling_run):
        step = new_step(spelling_run(ITS, {"w": 0.0}))
        torch.testing.assert_close(term(step), step.task.loss(step.student, step.targets), **CLOSE)

    def test_towards_lambda_0_ats_is_its_with_one_half(self, spelling_run):
        its, ats = spelling_run(ITS, {"w": 0.5}), spelling_run(ATS, {"lam": 1e-7})
        batch = next(its.augmented)
        for run in (its, ats):
            run.learner.student.eval()
        torch.testing.assert_close(term(new_step(ats, batch=batch)), term(new_step(its, batch=batch)), **CLOSE)

    @LABELLED
    def test_the_posteriors_of_which_the_weight_is_made_have_no_gradient(self, spelling_run, plugin):
        assert not new_step(spelling_run(plugin)).teacher.logits.requires_grad

    @LABELLED
    def test_training_lowers_the_loss_and_leaves_the_teacher_as_it_was(self, spelling_run, plugin):
        run = spelling_run(plugin)
        values = [next(iter(terms.values())) for terms in take_steps(run, 60)]
        assert sum(values[-10:]) < sum(values[:10])
        run.check_teachers()


class TestOnOtherTracks:
    @LABELLED
    def test_a_sample_is_a_row_in_classification(self, plugin):
        run = make_run(plugin, toy_task(), PARAMS[plugin.method.name])
        step = new_step(run)
        values = []
        for z_s, z_t, label in zip(step.student.logits.double(), step.teacher.logits.double(), step.targets.tolist(), strict=True):
            p_t, ln_p_s = torch.softmax(z_t, dim=0), torch.log_softmax(z_s, dim=0)
            w = weight_by_hand(plugin, p_t, label)
            values.append(-w * (p_t * ln_p_s).sum() - (1 - w) * ln_p_s[label])
        torch.testing.assert_close(term(step).double(), torch.stack(values).mean(), **CLOSE)

    def test_its_on_samples_is_hintons_distillation_at_temperature_1_but_for_the_teachers_entropy(self):
        run = make_run(ITS, toy_task(), {"w": 0.3})
        step = new_step(run)
        p_t = torch.softmax(step.teacher.logits, dim=1)
        entropy = torch.distributions.Categorical(probs=p_t).entropy().mean()
        divergence = functional.kl_div(step.student.logits.log_softmax(dim=1), p_t, reduction="batchmean")
        expected = 0.7 * functional.cross_entropy(step.student.logits, step.targets) + 0.3 * (divergence + entropy)
        torch.testing.assert_close(term(step), expected, **CLOSE)

    @LABELLED
    def test_of_a_student_with_earlier_exits_every_exit_has_the_loss(self, plugin, digits):
        run = make_run(plugin, digits(), PARAMS[plugin.method.name])
        step = new_step(run)
        z_t = step.teacher.logits
        target = interpolated(z_t, step.targets, run.instance.weights(z_t, step.targets))
        every = [*step.student.exits, step.student.logits]
        assert len(every) == 3
        torch.testing.assert_close(term(step), sum(-(target * z.log_softmax(dim=1)).sum(dim=1).mean() for z in every), **CLOSE)
        take_steps(run, 1)

    @LABELLED
    def test_rows_without_a_label_count_for_nothing(self, plugin, monkeypatch):
        run = make_run(plugin, toy_task())
        run.learner.student.eval()
        step = new_step(run)
        kept = step.targets % 2 == 0
        monkeypatch.setattr(run.task, "row_targets", lambda outputs, targets: targets.where(kept, -100), raising=False)
        found = term(step)
        monkeypatch.undo()
        z_s, z_t, y = step.student.logits[kept], step.teacher.logits[kept], step.targets[kept]
        target = interpolated(z_t, y, run.instance.weights(z_t, y))
        torch.testing.assert_close(found, -(target * z_s.log_softmax(dim=1)).sum(dim=1).mean(), **CLOSE)

    @LABELLED
    def test_pixels_without_a_label_count_for_nothing_in_segmentation(self, plugin):
        scenes = find_card("scenes")
        run = make_run(plugin, scenes.load(scenes, Setting()), PARAMS[plugin.method.name])
        step = new_step(run)
        z_s, z_t = (outputs.logits.detach().double() for outputs in (step.student, step.teacher))
        (height, width), (rows, columns) = step.targets.shape[1:], z_s.shape[2:]
        values, ignored = [], 0
        for image in range(len(z_s)):
            for i in range(rows):
                for j in range(columns):
                    # corners on corners, halves up
                    label = int(step.targets[image, math.floor(i * (height - 1) / (rows - 1) + 0.5), math.floor(j * (width - 1) / (columns - 1) + 0.5)])
                    if label == 255:
                        ignored += 1
                        continue
                    p_t, ln_p_s = torch.softmax(z_t[image, :, i, j], dim=0), torch.log_softmax(z_s[image, :, i, j], dim=0)
                    w = weight_by_hand(plugin, p_t, label)
                    values.append(float(-w * (p_t * ln_p_s).sum() - (1 - w) * ln_p_s[label]))
        assert ignored > 0
        assert float(term(step).detach()) == pytest.approx(sum(values) / len(values), rel=1e-4)

    @LABELLED
    def test_the_tracks_to_which_it_is_extended_each_say_what_a_row_is(self, plugin):
        assert plugin.method.tracks == ("speech",)
        assert set(plugin.method.extended) == {"classification", "text", "segmentation"}
        assert all("a row is" in mapping for mapping in plugin.method.extended.values())


def test_defaults_and_ranges_are_as_documented():
    w, lam = tunables(ITS.method.Params)["w"], tunables(ATS.method.Params)["lam"]
    assert (w.default, w.low, w.high) == (0.5, 0.1, 0.9)
    assert (lam.default, lam.low, lam.high, lam.log) == (1.0, 0.1, 10.0, True)
    smoothing = tunables(CTS.method.Params)["smoothing"]
    assert (smoothing.default, smoothing.choices) == (0.0, (0.0, 0.1))
    beam = tunables(variants[0].method.Params)["beam"]
    assert (beam.default, beam.choices, beam.cost) == (1, (1, 4, 8), True)


@pytest.mark.parametrize(
    ("plugin", "params", "reason"),
    [
        (ITS, {"w": -0.1}, "at least 0 and at most 1"),
        (ITS, {"w": 1.1}, "at least 0 and at most 1"),
        (ATS, {"lam": 0.0}, "above 0"),
        (ATS, {"lam": -1.0}, "above 0"),
    ],
)
def test_parameters_without_meaning_are_refused(plugin, params, reason):
    with pytest.raises(ImpossibleValue, match=reason):
        plugin.method.Params(**params)


@pytest.mark.parametrize("w", [0.0, 0.5, 1.0])
def test_a_weight_from_0_to_1_is_not(w):
    assert ITS.method.reason_against(toy_task().card, ITS.method.Params(w=w)) is None
