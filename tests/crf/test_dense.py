import numpy as np
import pytest

from pixelwise import crf
from pixelwise.crf import CRFParameters, DenseCRF, dense_crf
from pixelwise.errors import BadOption, ShapeError


@pytest.fixture(scope="module")
def case() -> tuple[np.ndarray, np.ndarray]:
    """A dark square on a light ground, and probabilities that know it about."""
    rng = np.random.default_rng(0)
    target = np.zeros((24, 30), int)
    target[6:18, 8:22] = 1
    image = (np.where(target == 1, 60, 190)[..., None] + rng.normal(0, 5, (24, 30, 3))).astype(np.uint8)
    right = rng.beta(3, 2, target.shape)
    probabilities = np.where(np.stack([target == 0, target == 1]), right, 1 - right).astype(np.float32)
    return probabilities, image


def test_it_is_the_two_terms(case):
    probabilities, image = case
    settings = CRFParameters(bilateral_sigma_color=10, spatial_sigma_pixels=2, normalization="after")
    by_hand = DenseCRF.from_probabilities(probabilities)
    by_hand.add_gaussian(2, 3, normalization="after")
    by_hand.add_bilateral(image, 67, 10, 4, normalization="after")
    np.testing.assert_array_equal(dense_crf(probabilities, image, settings, 5), by_hand.infer(5))


def test_it_follows_the_edges(case):
    probabilities, image = case
    refined = dense_crf(probabilities, image, CRFParameters(bilateral_sigma_color=13))
    labels = (image.mean(-1) < 125).astype(int)
    assert (probabilities.argmax(0) == labels).mean() < 0.8
    assert (refined.argmax(0) == labels).mean() > 0.99
    assert refined.dtype == np.float32


def test_terms_can_be_switched_off(case):
    probabilities, image = case
    neither = dense_crf(probabilities, image, CRFParameters(bilateral_weight=0, spatial_weight=0))
    np.testing.assert_allclose(neither, probabilities, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"probabilities": np.full((24, 30), 0.5)}, ShapeError, r"probabilities are \(24, 30\): expected \(K, H, W\)"),
        ({"image": np.zeros((30, 24, 3), np.uint8)}, ShapeError, r"image is \(30, 24, 3\): expected \(24, 30\)"),
        ({"steps": -1}, BadOption, "steps is -1"),
        ({"threads": 0}, BadOption, "threads is 0"),
    ],
)
def test_bad_calls(case, change, error, message):
    arguments = {"probabilities": case[0], "image": case[1]} | change
    with pytest.raises(error, match=message):
        dense_crf(**arguments)


def test_the_package_has_its_names():
    for name in crf.__all__:
        assert getattr(crf, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'dens'"):
        _ = crf.dens
