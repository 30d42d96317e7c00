import numpy as np
import pytest
import torch

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


@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_a_batch_is_its_pictures(case, engine):
    probabilities = np.stack([case[0], case[0][::-1], case[0] * 0.5 + 0.25])
    images = np.stack([case[1], 255 - case[1], case[1]])
    settings = CRFParameters(bilateral_sigma_color=13, normalization="after")
    each = [dense_crf(p, i, settings, 4, engine=engine) for p, i in zip(probabilities, images, strict=True)]
    batch = dense_crf(probabilities, images, settings, 4, engine=engine)
    assert batch.flags.c_contiguous
    np.testing.assert_allclose(batch, each, atol=1e-6)
    gray = dense_crf(probabilities, images[..., 0], settings, 4, engine=engine)
    np.testing.assert_allclose(gray, dense_crf(probabilities, images[..., :1], settings, 4, engine=engine), atol=1e-6)
    tensors = dense_crf(torch.from_numpy(probabilities), torch.from_numpy(images), settings, 4, engine=engine)
    assert tensors.is_contiguous()
    np.testing.assert_array_equal(tensors, batch)


@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_tensors_and_arrays_may_be_mixed(case, engine):
    probabilities, image = case
    expected = dense_crf(probabilities, image, steps=2, engine=engine)
    result = dense_crf(torch.from_numpy(probabilities).double().requires_grad_(), image, steps=2, engine=engine)
    assert isinstance(result, torch.Tensor)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result, expected, atol=1e-6)
    result = dense_crf(probabilities, torch.from_numpy(image), steps=2, engine=engine, device="cpu")
    assert isinstance(result, np.ndarray)
    np.testing.assert_array_equal(result, expected)


def test_the_engines_agree(case):
    probabilities, image = case
    by_numba, by_torch = (dense_crf(probabilities, image, engine=engine) for engine in ("numba", "torch"))
    np.testing.assert_allclose(by_torch, by_numba, atol=1e-4)
    np.testing.assert_array_equal(by_torch.argmax(0), by_numba.argmax(0))


BATCH = np.full((2, 2, 24, 30), 0.5)


@pytest.mark.parametrize("engine", ["numba", "torch"])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"probabilities": np.full((24, 30), 0.5)}, ShapeError, r"probabilities are \(24, 30\): expected \(K, H, W\)"),
        ({"image": np.zeros((30, 24, 3), np.uint8)}, ShapeError, r"image is \(30, 24, 3\): expected \(24, 30\)"),
        ({"probabilities": BATCH}, ShapeError, r"image is \(24, 30, 3\): expected \(2, 24, 30\) and channels last"),
        (
            {"probabilities": BATCH, "image": np.zeros((3, 24, 30, 3))},
            ShapeError,
            r"image is \(3, 24, 30, 3\): expected \(2, 24, 30\)",
        ),
        ({"probabilities": BATCH[:0], "image": np.zeros((0, 24, 30, 3))}, ShapeError, r"\(0, 24, 30, 3\)"),
        ({"image": np.zeros((2, 24, 30, 3))}, ShapeError, r"image is \(2, 24, 30, 3\): expected \(24, 30\)"),
        ({"image": torch.zeros(24, 30, dtype=torch.bool)}, ShapeError, "image is of torch.bool: expected"),
        ({"image": np.full((24, 30), np.nan)}, BadOption, "not finite"),
        ({"probabilities": torch.zeros(2, 24, 30, dtype=torch.int64)}, ShapeError, "of int64: expected .* floats"),
        ({"probabilities": torch.full((2, 24, 30), torch.nan)}, BadOption, "hold nan"),
        ({"probabilities": torch.full((2, 24, 30), 0.4)}, BadOption, "add up to 0.8"),
        ({"steps": -1}, BadOption, "steps is -1"),
        ({"threads": 0}, BadOption, "threads is 0"),
        ({"engine": "cupy"}, BadOption, "engine is 'cupy'"),
        ({"parameters": {"bilateral_weight": 3}}, BadOption, "parameters is {'bilateral_weight': 3}: expected CRFPar"),
        ({"probabilities": [[[0.5, 0.5], [1.0]]]}, ShapeError, "is no array: "),
        ({"image": torch.zeros(24, 30).to_sparse()}, ShapeError, "layout torch.sparse_coo: expected a dense one"),
        ({"probabilities": torch.zeros(2, 24, 30, device="meta")}, BadOption, "on meta|device is 'meta'|on the CPU"),
    ],
)
def test_bad_calls(case, engine, change, error, message):
    arguments = {"probabilities": case[0], "image": case[1], "engine": engine} | change
    with pytest.raises(error, match=message) as caught:
        dense_crf(**arguments)
    assert "\n" not in str(caught.value)


def test_the_package_has_its_names():
    for name in crf.__all__:
        assert getattr(crf, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'dens'"):
        _ = crf.dens
