"""QuEST against independent derivations: naive loops, closed forms, printed gradients."""

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kdarena_quest import variants
from kdarena_quest.method import AssignmentPredictor, l_dist
from kdarena_quest.vocabulary import CHUNK, KMeans, squared_distances
from torch.nn.functional import one_hot

from kdarena.params import ImpossibleValue
from kdarena.testing.run import make_run, new_step, take_phases, take_steps
from kdarena.testing.task import toy_task

(QUEST,) = variants
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
B, C, H, W, K = 3, 5, 2, 4, 7


def example(seed=0):
    """f_T [B, C, H, W], words [K, C], scores [B, K, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.rand(B, C, H, W, generator=generator),
        torch.rand(K, C, generator=generator),
        torch.randn(B, K, H, W, generator=generator, requires_grad=True),
    )


def naive_assignment(f_t, words, tau):
    """p_T [B, K, H, W], position by position in double precision."""
    p_t = torch.zeros(f_t.shape[0], len(words), *f_t.shape[2:], dtype=torch.double)
    for b in range(f_t.shape[0]):
        for h in range(f_t.shape[2]):
            for w in range(f_t.shape[3]):
                exponents = [math.exp(-(float((word.double() - f_t[b, :, h, w].double()).norm()) ** 2) / tau) for word in words]
                p_t[b, :, h, w] = torch.tensor(exponents) / sum(exponents)
    return p_t


def naive_lloyd(points, centroids, iterations):
    for _ in range(iterations):
        nearest = torch.cdist(points, centroids).argmin(dim=1)
        centroids = torch.stack([points[nearest == k].mean(dim=0) for k in range(len(centroids))])
    return centroids


def blobs(count=120, words=4):
    generator = torch.Generator().manual_seed(1)
    centres = 10 * torch.randn(words, 3, generator=generator)
    return centres[torch.arange(count) % words] + torch.randn(count, 3, generator=generator)


def started_kmeans(points, words, chunk=CHUNK):
    """A clustering of points [N, C] that is about to take its first step."""
    kmeans = KMeans(*points.shape, words, torch.device("cpu"), chunk)
    kmeans.add(points.reshape(*points.shape, 1, 1))
    kmeans.start(torch.Generator().manual_seed(0))
    return kmeans


def trained_vocabulary(params=None, task=None):
    """A run at the start of its training, with a vocabulary of the toy data."""
    run = make_run(QUEST, task or toy_task(), params)
    for phase in run.phases[:-1]:
        take_steps(run, phase.steps, phase.name)
    run.phases[-1].prepare(run)
    return run


class TestAssignment:
    def test_expanded_squared_distances_are_those_of_cdist(self):
        f_t, words, _ = example()
        points = f_t.permute(0, 2, 3, 1).reshape(-1, C)
        torch.testing.assert_close(squared_distances(points, words), torch.cdist(points, words) ** 2, **CLOSE)

    def test_squared_distances_are_never_negative(self):
        points = 1000 * torch.rand(50, 64)
        assert float(squared_distances(points, points).min()) >= 0

    def test_squared_distances_of_half_precision_are_computed_in_fp32(self):
        assert squared_distances(torch.ones(2, 3, dtype=torch.bfloat16), torch.ones(4, 3, dtype=torch.bfloat16)).dtype == torch.float32

    def test_the_gradient_on_the_scores_is_the_difference_of_assignments_over_all_positions(self):
        f_t, words, scores = example()
        (gradient,) = torch.autograd.grad(l_dist(f_t, words, scores, 0.2, "mean"), scores)
        expected = (torch.softmax(scores.detach().double(), 1) - naive_assignment(f_t, words, 0.2)) / (B * H * W)
        torch.testing.assert_close(gradient.double(), expected, **CLOSE)

    def test_the_loss_is_the_divergence_from_teacher_to_student(self):
        f_t, words, scores = example()
        p_t, p_s = naive_assignment(f_t, words, 0.2), torch.softmax(scores.detach().double(), 1)
        expected = (p_t * (p_t.log() - p_s.log())).sum() / (B * H * W)
        torch.testing.assert_close(l_dist(f_t, words, scores, 0.2, "mean").double(), expected, **CLOSE)

    def test_a_large_temperature_spreads_the_assignment_over_all_words(self):
        f_t, words, scores = example()
        uniform = -math.log(K) - torch.log_softmax(scores, 1).mean(dim=1).mean()
        torch.testing.assert_close(l_dist(f_t, words, scores, 1e6, "mean"), uniform, **CLOSE)

    def test_a_small_temperature_assigns_the_nearest_word_alone(self):
        f_t, words, scores = example()
        nearest = torch.cdist(f_t.permute(0, 2, 3, 1).reshape(-1, C), words).argmin(1).reshape(B, H, W)
        expected = torch.nn.functional.cross_entropy(scores, nearest)
        torch.testing.assert_close(l_dist(f_t, words, scores, 1e-5, "mean"), expected, **CLOSE)

    def test_the_default_temperature_divides_by_a_fifth(self):
        # distances 0 and 1: odds of e⁵ to 1
        scores = torch.zeros(1, 2, 1, 1, requires_grad=True)
        tau = QUEST.method.Params().tau
        (gradient,) = torch.autograd.grad(l_dist(torch.zeros(1, 1, 1, 1), torch.tensor([[0.0], [1.0]]), scores, tau, "mean"), scores)
        assert float(gradient[0, 0, 0, 0]) == pytest.approx(0.5 - 1 / (1 + math.exp(-5)), abs=1e-6)

    def test_adding_a_constant_to_all_distances_changes_nothing(self):
        f_t, words, scores = example()
        further = torch.cat([f_t, torch.full((B, 1, H, W), 1.5)], dim=1)  # one more channel, 0 in every word: 2.25 more to each
        same = l_dist(further, torch.cat([words, torch.zeros(K, 1)], dim=1), scores, 0.2, "mean")
        torch.testing.assert_close(same, l_dist(f_t, words, scores, 0.2, "mean"), **CLOSE)

    def test_the_sum_form_is_the_mean_form_times_the_positions(self):
        f_t, words, scores = example()
        torch.testing.assert_close(l_dist(f_t, words, scores, 0.2, "sum"), 8 * l_dist(f_t, words, scores, 0.2, "mean"), **CLOSE)

    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 10_000), st.floats(0.01, 5))
    def test_the_loss_is_never_negative_and_zero_for_equal_assignments(self, seed, tau):
        f_t, words, scores = example(seed)
        assert float(l_dist(f_t, words, scores, tau, "mean").detach()) >= 0
        same = (-(torch.cdist(f_t.permute(0, 2, 3, 1).reshape(-1, C), words) ** 2) / tau).reshape(B, H, W, K).permute(0, 3, 1, 2)
        assert float(l_dist(f_t, words, same, tau, "mean")) == pytest.approx(0, abs=1e-4)

    def test_the_loss_falls_along_its_negative_gradient(self):
        f_t, words, scores = example()
        before = l_dist(f_t, words, scores, 0.2, "mean")
        (gradient,) = torch.autograd.grad(before, scores)
        assert float(l_dist(f_t, words, scores - gradient, 0.2, "mean").detach()) < float(before.detach())

    def test_permuting_words_and_predictor_together_changes_nothing(self):
        f_t, words, _ = example()
        f_s = torch.randn(B, 6, H, W)
        predictor = AssignmentPredictor(6, K, 3.0)
        before = l_dist(f_t, words, predictor(f_s), 0.2, "mean")
        order = torch.randperm(K)
        predictor.weight.data = predictor.weight.data[order]
        torch.testing.assert_close(l_dist(f_t, words[order], predictor(f_s), 0.2, "mean"), before, **CLOSE)


class TestPredictor:
    def test_scores_are_gamma_times_the_cosine_of_each_position_with_each_direction(self):
        predictor, f_s = AssignmentPredictor(6, K, 2.5).requires_grad_(False), torch.randn(B, 6, H, W)
        scores = predictor(f_s)
        for b, k, h, w in [(0, 0, 0, 0), (1, 3, 1, 2), (2, 6, 0, 3)]:
            cosine = torch.cosine_similarity(f_s[b, :, h, w], predictor.weight[k, :, 0, 0], dim=0)
            assert float(scores[b, k, h, w]) == pytest.approx(2.5 * float(cosine), abs=1e-5)

    def test_scores_are_unchanged_by_positive_scale_of_features_and_of_any_direction(self):
        predictor, f_s = AssignmentPredictor(6, K, 3.0), torch.randn(B, 6, H, W)
        before = predictor(f_s)
        torch.testing.assert_close(predictor(f_s * torch.rand(B, 1, H, W).add(0.5)), before, **CLOSE)
        predictor.weight.data[2] *= 7
        torch.testing.assert_close(predictor(f_s), before, **CLOSE)

    def test_the_gradient_of_a_direction_is_orthogonal_to_it(self):
        f_t, words, _ = example()
        predictor = AssignmentPredictor(6, K, 3.0)
        (gradient,) = torch.autograd.grad(l_dist(f_t, words, predictor(torch.randn(B, 6, H, W)), 0.2, "mean"), predictor.weight)
        assert float((gradient * predictor.weight).sum(dim=1).abs().max()) < 1e-6
        assert float(gradient.abs().max()) > 1e-4

    def test_gamma_of_three_caps_the_probability_of_a_word_among_4096(self):
        predictor = AssignmentPredictor(4096, 4096, 3.0)
        predictor.weight.data = torch.eye(4096).reshape(4096, 4096, 1, 1)
        scores = predictor(one_hot(torch.tensor([[[17]]]), 4096).permute(0, 3, 1, 2).float())
        assert float(torch.softmax(scores, 1)[0, 17, 0, 0].detach()) == pytest.approx(0.0049, abs=5e-5)

    def test_directions_start_with_variance_two_over_channels(self):
        assert float(AssignmentPredictor(50, 4000, 3.0).weight.std()) == pytest.approx(math.sqrt(2 / 50), rel=0.02)

    def test_gamma_and_directions_learn_and_have_no_bias(self):
        run = trained_vocabulary()
        predictor = run.learner.helpers["predictor"]
        before = {name: parameter.detach().clone() for name, parameter in predictor.named_parameters()}
        assert sorted(before) == ["gamma", "weight"]
        assert float(before["gamma"]) == 3.0
        take_steps(run, 2)
        assert all(not torch.equal(before[name], parameter) for name, parameter in predictor.named_parameters())


class TestKMeans:
    def test_it_matches_a_naive_lloyd_run_from_the_same_start(self):
        points = blobs()
        kmeans = started_kmeans(points, 4)
        expected = naive_lloyd(points, kmeans.centroids.clone(), 5)
        for _ in range(5):
            kmeans.step()
        torch.testing.assert_close(kmeans.centroids, expected, **CLOSE)

    def test_chunks_change_nothing_but_the_number_of_steps(self):
        points = blobs()
        whole, chunked = (started_kmeans(points, 4, chunk) for chunk in (120, 17))
        assert (whole.chunks, chunked.chunks) == (1, 8)
        for _ in range(3):
            whole.step()
        for _ in range(3 * 8):
            chunked.step()
        torch.testing.assert_close(whole.centroids, chunked.centroids, **CLOSE)

    def test_centroids_move_only_when_an_iteration_is_complete(self):
        kmeans = started_kmeans(blobs(), 4, 50)
        before = kmeans.centroids.clone()
        kmeans.step()
        kmeans.step()
        assert torch.equal(kmeans.centroids, before)
        kmeans.step()
        assert not torch.equal(kmeans.centroids, before)

    def test_inertia_never_rises(self):
        points = torch.rand(500, 6, generator=torch.Generator().manual_seed(3))
        kmeans = started_kmeans(points, 40, 128)
        inertia = []
        for _ in range(15):
            centroids = kmeans.centroids.clone()
            for _ in range(kmeans.chunks):
                kmeans.step()
            inertia.append(float((torch.cdist(points, centroids) ** 2).min(1).values.sum()))
        assert all(after <= before * (1 + 1e-5) for before, after in itertools.pairwise(inertia))
        assert inertia[-1] < inertia[0]

    def test_an_empty_cluster_starts_again_at_a_point(self):
        points = blobs()
        kmeans = started_kmeans(points, 4)
        kmeans.centroids[2] = 1e4
        kmeans.step()
        assert float(torch.cdist(kmeans.centroids[2:3], points).min()) == pytest.approx(0, abs=1e-3)

    def test_the_first_centroids_are_different_points(self):
        points = blobs()
        centroids = started_kmeans(points, 30).centroids
        assert len(centroids.unique(dim=0)) == 30
        assert all(any(torch.equal(centroid, point) for point in points) for centroid in centroids)

    def test_a_partly_filled_buffer_is_completed_by_repetition(self):
        kmeans = KMeans(10, 2, 1, torch.device("cpu"))
        kmeans.add(torch.arange(8.0).reshape(1, 2, 2, 2))
        kmeans.start(torch.Generator())
        assert torch.equal(kmeans.points[4:8], kmeans.points[:4])
        assert torch.equal(kmeans.points[8:], kmeans.points[:2])
        assert torch.equal(kmeans.points[:4], torch.tensor([[0.0, 4], [1, 5], [2, 6], [3, 7]]))

    def test_points_beyond_the_buffer_are_left_out(self):
        kmeans = KMeans(3, 2, 1, torch.device("cpu"))
        for number in range(3):
            kmeans.add(torch.full((1, 2, 2, 1), float(number)))
        assert kmeans.collected == 3
        assert kmeans.points[:, 0].tolist() == [0, 0, 1]


class TestRun:
    def test_every_position_of_every_training_image_is_collected_once(self):
        task = toy_task()
        run = make_run(QUEST, task)
        take_steps(run, run.phases[0].steps, "collect")
        found = run.instance.kmeans.points
        inputs = torch.cat([batch.inputs for batch in task.part_batches("train", run.split)])
        with torch.no_grad():
            expected = task.forward(run.teacher, inputs).feature_map
        assert found.shape == (72 * 16, 10)
        torch.testing.assert_close(found.sum(0), expected.sum((0, 2, 3)), rtol=1e-4, atol=1e-3)
        ordered = [points[:, 0].sort().values for points in (found, expected.permute(0, 2, 3, 1).reshape(-1, 10))]
        torch.testing.assert_close(*ordered, **CLOSE)

    def test_words_are_capped_at_a_thirty_ninth_of_the_points(self):
        assert make_run(QUEST, toy_task()).instance.words == 72 * 16 // 39
        assert make_run(QUEST, toy_task(), {"words": 10}).instance.words == 10

    def test_fewer_images_are_collected_where_asked_for(self):
        run = make_run(QUEST, toy_task(), {"images": 20})
        assert run.phases[0].steps == 2
        take_phases(run, 1)
        assert run.instance.count == 20 * 16

    def test_vocabulary_and_teacher_are_bit_identical_after_training(self):
        run = trained_vocabulary()
        teacher = copy.deepcopy(run.teacher.state_dict())
        words = run.instance.vocabulary.words.clone()
        take_steps(run, 3)
        assert torch.equal(run.instance.vocabulary.words, words)
        assert all(torch.equal(teacher[name], tensor) for name, tensor in run.teacher.state_dict().items())
        run.check_teachers()

    def test_gradients_reach_student_and_predictor_and_nothing_else(self):
        run = trained_vocabulary()
        step = new_step(run)
        distillation = run.loss(step)["dist"]
        of_student = torch.autograd.grad(distillation, list(run.learner.student.parameters()), retain_graph=True, allow_unused=True)
        names = [name for (name, _), gradient in zip(run.learner.student.named_parameters(), of_student, strict=True) if gradient is None]
        assert names == ["head.weight", "head.bias"]
        assert all(one is not None for one in torch.autograd.grad(distillation, list(run.learner.helpers["predictor"].parameters()), allow_unused=True))
        assert not step.teacher.feature_map.requires_grad
        assert list(run.instance.vocabulary.parameters()) == []

    def test_the_total_is_cross_entropy_and_the_weighted_distillation(self):
        runs = [trained_vocabulary({"c_q": c_q}) for c_q in (1.0, 3.0)]
        terms = [run.loss(new_step(run)) for run in runs]
        assert sorted(terms[0]) == ["ce", "dist"]
        torch.testing.assert_close(terms[1]["dist"], 3 * terms[0]["dist"], **CLOSE)
        torch.testing.assert_close(terms[1]["ce"], terms[0]["ce"])
        run = trained_vocabulary()
        step = new_step(run)
        torch.testing.assert_close(run.loss(step)["ce"], torch.nn.functional.cross_entropy(step.student.logits, step.targets))

    def test_the_loss_of_a_step_is_that_of_the_maps_and_words(self):
        run = trained_vocabulary()
        step = new_step(run)
        p_t = naive_assignment(step.teacher.feature_map, run.instance.vocabulary.words, 0.2)
        scores = run.learner.helpers["predictor"](step.student.feature_map).detach().double()
        expected = (p_t * (p_t.clamp(min=1e-300).log() - torch.log_softmax(scores, 1))).sum(1).mean()
        torch.testing.assert_close(run.loss(step)["dist"].double(), expected, rtol=1e-4, atol=1e-4)

    def test_a_coarser_student_gets_a_vocabulary_of_the_pooled_teacher(self):
        run = trained_vocabulary(task=toy_task(student="toy-coarse"))
        assert run.instance.grid == (2, 2)
        assert run.instance.count == 72 * 4
        step = new_step(run)
        pooled = torch.nn.functional.avg_pool2d(step.teacher.feature_map, 2)
        scores = run.learner.helpers["predictor"](step.student.feature_map)
        torch.testing.assert_close(run.loss(step)["dist"], l_dist(pooled, run.instance.vocabulary.words, scores, 0.2, "mean"), **CLOSE)

    def test_a_coarser_teacher_has_the_students_map_pooled_to_its_grid(self):
        run = trained_vocabulary(task=toy_task(teacher="toy-coarse"))
        assert run.instance.grid == (2, 2)
        assert run.instance.count == 72 * 4
        step = new_step(run)
        assert step.student.feature_map.shape[2:] == (4, 4)
        pooled = step.student.feature_map.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5))
        scores = run.learner.helpers["predictor"](pooled)
        expected = l_dist(step.teacher.feature_map, run.instance.vocabulary.words, scores, 0.2, "mean")
        torch.testing.assert_close(run.loss(step)["dist"], expected, **CLOSE)

    def test_the_words_are_those_of_twenty_iterations_of_lloyd_in_chunks(self):
        run = make_run(QUEST, toy_task(train=1200), {"words": 6})
        # 19200 points in two chunks of at most 16384
        assert run.phases[1].steps == 20 * 2
        assert make_run(QUEST, toy_task(train=1200), {"iterations": 7}).phases[1].steps == 7 * 2
        take_steps(run, run.phases[0].steps, "collect")
        points, state = run.instance.kmeans.points.double(), run.generator.get_state()
        take_steps(run, 0, "kmeans")
        start = run.instance.kmeans.centroids.double()
        run.generator.set_state(state)
        take_steps(run, run.phases[1].steps, "kmeans")
        run.phases[-1].prepare(run)
        expected = naive_lloyd(points, start, 20)
        assert not torch.allclose(expected, naive_lloyd(points, start, 18), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(run.instance.vocabulary.words.double(), expected, rtol=1e-3, atol=1e-4)

    def test_profile_may_enter_each_phase_several_times_for_a_few_steps(self):
        run = make_run(QUEST, toy_task())
        for phase in run.phases:
            for _ in range(3):
                take_steps(run, 2, phase.name)
        assert run.instance.vocabulary.words.shape == (72 * 16 // 39, 10)
        assert bool(run.instance.vocabulary.words.isfinite().all())
        run.check_teachers()

    def test_kmeans_without_points_says_what_is_missing(self):
        run = make_run(QUEST, toy_task())
        take_steps(run, 0, "collect")
        with pytest.raises(Exception, match="no points were collected"):
            take_steps(run, 1, "kmeans")

    @pytest.mark.parametrize("values", [{"tau": 0.0}, {"tau": -0.2}, {"words": 0}, {"iterations": 0}, {"images": -3}, {"c_q": -1.0}, {"gamma0": 0.0}], ids=str)
    def test_a_number_without_meaning_is_refused(self, values):
        with pytest.raises(ImpossibleValue, match=f"{next(iter(values))}: .* is not possible"):
            make_run(QUEST, toy_task(), values)

    def test_a_task_without_feature_maps_is_refused_with_a_reason(self):
        assert "feature maps" in QUEST.method.reason_against(toy_task(feature_maps=False).card, QUEST.method.Params())
        assert QUEST.method.reason_against(toy_task().card, QUEST.method.Params()) is None
