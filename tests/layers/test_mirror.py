import numpy as np
import pytest
import torch

from pixelwise.layers.mirror import mirror_pad, mirror_to_at_least


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (2, 3), (5, 4)])
def test_is_numpys_reflect_as_often_as_it_takes(size):
    images = torch.randn(2, 3, *size)
    expected = np.pad(images.numpy(), ((0, 0), (0, 0), (7, 2), (0, 11)), mode="reflect")
    assert np.array_equal(mirror_pad(images, top=7, bottom=2, right=11), expected)


def test_is_torchs_reflect_where_that_works():
    images = torch.randn(1, 2, 6, 5)
    expected = torch.nn.functional.pad(images, (4, 3, 2, 5), mode="reflect")
    assert torch.equal(mirror_pad(images, left=4, right=3, top=2, bottom=5), expected)


def test_extends_small_pictures_alone():
    images = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert mirror_to_at_least(images, (2, 2)) is images
    assert mirror_to_at_least(images, (3, 5))[0, 0].tolist() == [[0, 1, 2, 1, 0], [3, 4, 5, 4, 3], [0, 1, 2, 1, 0]]
