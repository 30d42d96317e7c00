import numpy as np
import pytest

from pixelwise.crf import reference


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 12))


def test_the_kernel_is_the_gaussian_of_distances(points):
    kernel = reference.gaussian_kernel(points, "none")
    naive = [[np.exp(-0.5 * sum((a - b) ** 2)) for b in points.T] for a in points.T]
    np.testing.assert_allclose(kernel, naive, rtol=1e-12)


def test_what_normalizations_keep(points):
    np.testing.assert_allclose(reference.gaussian_kernel(points, "after").sum(1), 1)
    np.testing.assert_allclose(reference.gaussian_kernel(points, "before").sum(0), 1)
    symmetric = reference.gaussian_kernel(points, "symmetric")
    np.testing.assert_allclose(symmetric, symmetric.T)
    sums = reference.gaussian_kernel(points, "none").sum(1)
    np.testing.assert_allclose(symmetric * np.sqrt(np.outer(sums, sums)), reference.gaussian_kernel(points, "none"))


def test_a_step_is_the_sum_over_all_pairs(points):
    rng = np.random.default_rng(1)
    unary, penalty = rng.normal(size=(3, 12)), rng.normal(size=(3, 3))
    kernel = reference.gaussian_kernel(points, "after")
    marginals = reference.start(unary)
    powers = np.zeros((3, 12))
    for i in range(12):
        for label in range(3):
            energy = unary[label, i]
            for j in range(12):
                for other in range(3):
                    energy += penalty[label, other] * kernel[i, j] * marginals[other, j]
            powers[label, i] = np.exp(-energy)
    step = reference.step(unary, [reference.Term(kernel, penalty)], marginals)
    np.testing.assert_allclose(step, powers / powers.sum(0), rtol=1e-12)


@pytest.mark.parametrize("compatibility", [2.0, np.full(3, -2.0), -2 * np.eye(3), 2 - 2 * np.eye(3)])
def test_potts_has_four_spellings(points, compatibility):
    unary = np.random.default_rng(2).normal(size=(3, 12))
    kernel = reference.gaussian_kernel(points, "after")
    expected = reference.mean_field(unary, [reference.Term(kernel, 2.0)], 4)
    np.testing.assert_allclose(reference.mean_field(unary, [reference.Term(kernel, compatibility)], 4), expected)


def test_steps_end_where_the_divergence_is_stationary(points):
    unary = np.random.default_rng(3).normal(size=(3, 12))
    terms = [reference.Term(reference.gaussian_kernel(points), 0.7)]
    end = reference.mean_field(unary, terms, 300)
    best = reference.kl_divergence(unary, terms, end)
    rng = np.random.default_rng(4)
    for _ in range(20):
        near = end * np.exp(0.01 * rng.normal(size=end.shape))
        assert reference.kl_divergence(unary, terms, near / near.sum(0)) > best
