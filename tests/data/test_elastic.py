"""Elastic displacements: bicubic interpolation between the nodes of a 3 × 3 grid."""

import numpy as np
import pytest

from pixelwise.data.elastic import displacements


def keys(x):
    """The kernel of cubic convolution with a = −½ (Keys 1981, Eq. 15)."""
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def naive(nodes, size):
    """(h, w): the sum over all nodes, the grid repeated beyond its edge."""
    out = np.zeros(size)
    for row in range(size[0]):
        for column in range(size[1]):
            y = 2 * row / (size[0] - 1) if size[0] > 1 else 1.0
            x = 2 * column / (size[1] - 1) if size[1] > 1 else 1.0
            for i in range(-3, 6):
                for j in range(-3, 6):
                    out[row, column] += keys(y - i) * keys(x - j) * nodes[min(max(i, 0), 2), min(max(j, 0), 2)]
    return out


@pytest.mark.parametrize("size", [(9, 13), (1, 7), (2, 2)])
def test_displacements_are_the_bicubic_interpolation_of_nine_vectors(size):
    nodes = np.random.default_rng(4).normal(0, 10, (2, 3, 3))
    found = displacements(size, 10.0, np.random.default_rng(4))
    assert found.shape == (2, *size)
    np.testing.assert_allclose(found, [naive(part, size) for part in nodes], atol=1e-12)


def test_the_nodes_lie_on_corners_sides_and_middle():
    nodes = np.random.default_rng(4).normal(0, 10, (2, 3, 3))
    found = displacements((21, 31), 10.0, np.random.default_rng(4))
    np.testing.assert_allclose(found[:, ::10, ::15], nodes, atol=1e-12)


def test_the_deviation_is_that_of_the_nodes():
    random = np.random.default_rng(0)
    middles = [displacements((3, 3), 10.0, random)[:, 1, 1] for _ in range(2000)]
    assert 9.6 < np.std(middles) < 10.4
