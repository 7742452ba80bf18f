"""Similarity-preserving and relational distillation against naive loops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kdarena_baselines import rkd
from kdarena_baselines.rkd import l_rkd, relations
from kdarena_baselines.sp import SP, l_sp, similarity

from kdarena.testing.run import make_run, new_step
from kdarena.testing.task import toy_task


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def naive_similarity(A):  # noqa: N803 - the paper's symbol
    flat = [sample.flatten().tolist() for sample in A.double()]
    products = [[sum(a * b for a, b in zip(one, other, strict=True)) for other in flat] for one in flat]
    return [[value / math.sqrt(sum(v * v for v in row)) for value in row] for row in products]


def naive_sp(A_s, A_t):  # noqa: N803
    b = len(A_s)
    one, other = naive_similarity(A_s), naive_similarity(A_t)
    return sum((one[i][j] - other[i][j]) ** 2 for i in range(b) for j in range(b)) / b**2


def huber(x, y):
    gap = abs(x - y)
    return gap**2 / 2 if gap <= 1 else gap - 0.5


def naive_relations(e):
    points = e.double().tolist()
    indices = range(len(points))
    distance = [[math.dist(points[i], points[j]) for j in indices] for i in indices]
    apart = [distance[i][j] for i in indices for j in indices if i != j]
    mean = sum(apart) / len(apart)

    def angle(i, j, k):
        if j in (i, k):
            return 0.0
        one, other = ([a - b for a, b in zip(points[end], points[j], strict=True)] for end in (i, k))
        return sum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)

    return [[value / mean for value in row] for row in distance], [angle(i, j, k) for i in indices for j in indices for k in indices]


def naive_rkd(e_s, e_t):
    (d_s, a_s), (d_t, a_t) = naive_relations(e_s), naive_relations(e_t)
    b = len(e_s)
    l_d = sum(huber(d_s[i][j], d_t[i][j]) for i in range(b) for j in range(b)) / b**2
    return l_d, sum(map(huber, a_s, a_t)) / b**3


class TestSimilarity:
    def test_it_is_the_frobenius_distance_of_row_normalised_similarities_by_the_squared_batch(self):
        A_s, A_t = draw(5, 2, 2, 2), draw(5, 3, 4, 4, seed=1)  # noqa: N806
        assert float(l_sp(A_s, A_t)) == pytest.approx(naive_sp(A_s, A_t), rel=1e-5)

    def test_rows_of_the_matrix_have_norm_one(self):
        torch.testing.assert_close(similarity(draw(5, 2, 3, 3)).norm(dim=1), torch.ones(5))

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 1000), st.floats(0.1, 20))
    def test_a_rotation_and_a_common_scale_of_the_map_change_nothing(self, seed, scale):
        A = draw(5, 2, 2, 2, seed=seed)  # noqa: N806
        rotation = torch.linalg.qr(draw(8, 8, seed=seed + 1)).Q
        turned = (scale * A.flatten(1) @ rotation).unflatten(1, (2, 2, 2))
        assert float(l_sp(turned, A)) == pytest.approx(0, abs=1e-9)

    def test_by_default_the_last_stage_alone_is_matched(self):
        run = make_run(SP, toy_task(), {"gamma": 3.0})
        step = new_step(run)
        terms = step.run.loss(step)
        assert sorted(terms) == ["ce", "sp-stage3"]
        assert float(terms["sp-stage3"].detach()) == pytest.approx(3 * naive_sp(step.student.feature_map, step.teacher.feature_map), rel=1e-4)

    def test_further_stages_are_further_terms(self):
        run = make_run(SP, toy_task(), {"stages": 3})
        assert sorted(run.loss(new_step(run))) == ["ce", "sp-stage1", "sp-stage2", "sp-stage3"]

    def test_unequal_grids_need_no_alignment(self):
        step = new_step(make_run(SP, toy_task(student="toy-coarse")))
        expected = 3000 * naive_sp(step.student.feature_map, step.teacher.feature_map)
        assert float(step.run.loss(step)["sp-stage3"].detach()) == pytest.approx(expected, rel=1e-4)


class TestRelations:
    def test_distances_and_angles_are_those_of_naive_loops(self):
        e_s, e_t = draw(6, 3), 4 * draw(6, 5, seed=1)
        for found, expected in zip(l_rkd(e_s, e_t), naive_rkd(e_s, e_t), strict=True):
            assert float(found) == pytest.approx(expected, rel=1e-5)

    def test_the_angle_has_its_vertex_first(self):
        corner = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
        _, psi_a = relations(corner)
        assert float(psi_a[0, 1, 2]) == pytest.approx(0, abs=1e-7)
        assert float(psi_a[1, 0, 2]) == pytest.approx(2 / math.sqrt(13), rel=1e-6)
        assert float(psi_a[2, 0, 1]) == pytest.approx(3 / math.sqrt(13), rel=1e-6)

    def test_the_mean_distance_leaves_out_the_diagonal(self):
        psi_d, _ = relations(draw(5, 3))
        assert float(psi_d.sum() / 20) == pytest.approx(1, rel=1e-6)

    def test_the_huber_loss_is_linear_beyond_one(self):
        e_s = torch.tensor([[0.0], [1.0], [2.0], [30.0]])
        e_t = torch.tensor([[0.0], [30.0], [2.0], [1.0]])
        assert max(abs(a - b) for x, y in zip(naive_relations(e_s)[0], naive_relations(e_t)[0], strict=True) for a, b in zip(x, y, strict=True)) > 1
        assert float(l_rkd(e_s, e_t)[0]) == pytest.approx(naive_rkd(e_s, e_t)[0], rel=1e-5)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 1000), st.floats(0.1, 20))
    def test_rotation_shift_and_scale_of_the_embeddings_change_nothing(self, seed, scale):
        e = draw(6, 4, seed=seed)
        turned = scale * e @ torch.linalg.qr(draw(4, 4, seed=seed + 1)).Q + 3
        assert all(float(term) == pytest.approx(0, abs=1e-6) for term in l_rkd(turned, e))

    def test_coinciding_embeddings_give_finite_gradients(self):
        for e_s in (torch.zeros(4, 3), torch.cat([draw(2, 3), draw(2, 3)])):
            e_s.requires_grad_()
            (gradient,) = torch.autograd.grad(sum(l_rkd(e_s, draw(4, 3, seed=1))), e_s)
            assert float(gradient.abs().max()) < 10

    def test_both_relations_have_their_weights(self):
        run = make_run(rkd, toy_task(batch_size=6), {"distance": 2.0, "angle": 5.0})
        step = new_step(run)
        terms = step.run.loss(step)
        l_d, l_a = naive_rkd(step.student.embedding.detach(), step.teacher.embedding)
        assert float(terms["distance"].detach()) == pytest.approx(2 * l_d, rel=1e-4)
        assert float(terms["angle"].detach()) == pytest.approx(5 * l_a, rel=1e-4)

    def test_a_task_without_one_embedding_a_sample_is_refused(self):
        reason = rkd.method.reason_against(toy_task(one_row_a_sample=False).card, rkd.method.Params())
        assert reason == "it needs one embedding a sample, which the task 'toy' does not offer"
