import numpy as np
import pytest

from pixelwise.crf import CRFParameters, dense_crf, domain_transform, lattice
from pixelwise.crf.model import DenseCRF
from pixelwise.errors import PixelwiseError, ShapeError


def test_anything_gives_marginals_or_one_clear_error(monkeypatch):
    """Sizes from 1 up, 1–3 dimensions, all kinds of terms, widths and values over many orders, several threads."""
    monkeypatch.setattr(lattice, "POINTS_PER_THREAD", 32)
    rng = np.random.default_rng(0)
    done = refused = 0
    for _ in range(250):
        axes = int(rng.integers(1, 4))
        shape = tuple(int(n) for n in rng.integers(1, (300, 30, 9)[axes - 1], axes))
        num_labels = int(rng.integers(1, 25))
        unary = rng.normal(size=(num_labels, *shape)) * 10 ** rng.uniform(-3, 12)
        if rng.random() < 0.1:
            unary.flat[rng.integers(unary.size)] = rng.choice([np.nan, np.inf, -np.inf, 1e19])
        try:
            crf = DenseCRF(unary, threads=int(rng.integers(1, 5)), prune=float(rng.choice([0, 0, 0.01, 0.3])))
            for _ in range(rng.integers(0, 3)):
                _add_something(crf, shape, rng)
            marginals = crf.step(crf.infer(int(rng.integers(0, 4))))
        except PixelwiseError as error:
            refused += 1
            assert "\n" not in str(error)
            continue
        done += 1
        np.testing.assert_allclose(marginals.sum(0), 1, atol=1e-5)
        assert marginals.min() >= 0
    assert done > 100
    assert refused > 10


def _add_something(crf: DenseCRF, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    k = crf.num_labels
    compatibility = (float(rng.uniform(0, 20)), rng.normal(size=k) * 3, rng.normal(size=(k, k)))[rng.integers(3)]
    normalization = str(rng.choice(["symmetric", "after", "before", "none"]))
    sigma_pixels, sigma_color = 10 ** rng.uniform(-4, 5), 10 ** rng.uniform(-4, 4)
    kind = rng.integers(3)
    if kind == 0:
        crf.add_gaussian(sigma_pixels, compatibility, normalization=normalization)
    elif kind == 1:
        image = rng.integers(0, 256, (*shape, int(rng.integers(1, 7))))
        crf.add_bilateral(image, sigma_pixels, sigma_color, compatibility, normalization=normalization)
    else:
        features = rng.normal(size=(int(rng.integers(1, 10)), crf.num_points)) * 10 ** rng.uniform(-6, 6)
        crf.add_pairwise(features, compatibility, normalization=normalization)


def _odd_array(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The array as someone may hand it over: other types, byte orders, strides, read-only, spoiled."""
    kind = rng.integers(12)
    with np.errstate(all="ignore"):
        if kind < 3:
            return array.astype(rng.choice(["f2", "f8", "g", ">f4", ">f8", "<u2", "i1", "i8", "u8"]))
        if kind == 3:
            return array.astype(rng.choice(["?", "c8", "U4", "O", "M8[s]"]))
        if kind == 4:
            return np.asfortranarray(array)
        if kind == 5:
            return np.repeat(array, 2, -1)[..., ::2][::-1]
        if kind == 6:
            return np.broadcast_to(array[..., :1], array.shape)  # strides of 0, read-only
        if kind == 7 and array.size:
            spoiled = array.astype(np.float32)
            spoiled.flat[rng.integers(array.size)] = rng.choice([np.nan, np.inf, -np.inf, -1, 3e38, 1e-45])
            return spoiled
        if kind == 8:
            cut = int(rng.integers(0, 2))
            return array[..., :cut] if rng.random() < 0.5 else array[:cut]
        if kind == 9:
            return array[None] if rng.random() < 0.5 else array[0]
    return array


ODD = [0, -1, np.nan, np.inf, None, "3", True, 2, 1e10]


def _odd_number(rng: np.random.Generator, usual: float, *others: float) -> object:
    if rng.random() < 0.8:
        return float(usual * 10 ** rng.uniform(-2, 2))
    return rng.choice(np.array([*ODD, *others], object))


def _odd_width(rng: np.random.Generator, usual: float) -> object:
    return _odd_number(rng, usual, 1e-40, 1e-320, 1e40, 1e300)


@pytest.mark.parametrize("which", ["dense_crf", "domain_transform", "lattice"])
def test_any_arrays_and_numbers_give_a_result_or_one_clear_error(which):
    """What crashes in native code ends the process; what a kernel reads beyond its arrays is mostly not finite."""
    rng = np.random.default_rng(1)
    done = refused = 0
    for _ in range(400):
        height, width, num_labels = (int(n) for n in rng.integers(1, (24, 24, 12)))
        probabilities = rng.dirichlet(np.full(num_labels, 0.5), (height, width)).transpose(2, 0, 1).astype(np.float32)
        image = rng.integers(0, 256, (height, width, int(rng.integers(1, 5)))).astype(np.uint8)
        if rng.random() < 0.5:
            probabilities = _odd_array(probabilities, rng)
        if rng.random() < 0.5:
            image = _odd_array(image, rng)
        try:
            result = _refined(which, probabilities, image, rng)
        except PixelwiseError as error:
            refused += 1
            assert "\n" not in str(error)
            continue
        done += 1
        assert result.shape == np.shape(probabilities)
        assert np.isfinite(result).all()
    assert done > 80
    assert refused > 50


def _refined(which: str, probabilities: np.ndarray, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if which == "domain_transform":
        sigmas = {"sigma_pixels": _odd_width(rng, 50), "sigma_color": _odd_width(rng, 50)}
        return domain_transform(probabilities, image, **sigmas, iterations=int(rng.integers(0, 6)))
    if which == "lattice":
        features = probabilities[:, 0] if probabilities.shape[1:2] > (0,) else probabilities
        width = _odd_width(rng, 1)
        if features.dtype.kind not in "fiu" or not isinstance(width, float) or not width:
            raise ShapeError("not given to a lattice")
        with np.errstate(all="ignore"):
            features = (features / width).astype(features.dtype)
        lattice.Lattice(features).filter(rng.normal(size=(features.shape[-1], 3)))
        return np.zeros(np.shape(probabilities))
    settings = CRFParameters(
        bilateral_weight=_odd_number(rng, 4),
        bilateral_sigma_pixels=_odd_width(rng, 30),
        bilateral_sigma_color=_odd_width(rng, 10),
        spatial_weight=_odd_number(rng, 3),
        spatial_sigma_pixels=_odd_width(rng, 3),
        normalization=rng.choice(["symmetric", "after", "before", "none"]),
    )
    return dense_crf(probabilities, image, settings, int(rng.integers(0, 4)), prune=float(rng.choice([0, 0.1])))
