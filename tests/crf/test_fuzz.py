import numpy as np

from pixelwise.crf import lattice
from pixelwise.crf.model import DenseCRF
from pixelwise.errors import PixelwiseError


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
