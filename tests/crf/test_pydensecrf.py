"""Equality with pydensecrf: its stored marginals, and itself where it is installed."""

import numpy as np
import pytest

from pixelwise.crf.model import DenseCRF

EXAMPLES = {"out1": "im1", "out1-b": "im1", "out2": "im2", "out3": "im3"}


@pytest.mark.real
@pytest.mark.parametrize(("engine", "threads"), [("numba", 1), ("numba", 2), ("torch", 1)])
@pytest.mark.parametrize("example", EXAMPLES)
def test_its_stored_marginals(real_data, example, engine, threads):
    import cv2

    folder = real_data / "crf" / "pydensecrf"
    image = cv2.imread(str(folder / f"{EXAMPLES[example]}.png"))  # BGR, as its example reads it
    stored = np.load(folder / f"{example}_pydensecrf_Q.npz")
    crf = DenseCRF(stored["unary"].reshape(-1, *image.shape[:2]), engine=engine, threads=threads)
    crf.add_gaussian(3, 3)
    crf.add_bilateral(image, 80, 13, 10)
    expected = stored["Q"].reshape(-1, *image.shape[:2])
    ours = crf.infer(5)
    assert np.abs(ours - expected).max() < 1e-4
    assert (ours.argmax(0) == expected.argmax(0)).mean() >= 0.9999


@pytest.mark.parametrize("seed", range(16))
def test_itself_over_random_settings(seed):
    """Where pydensecrf is installed; benchmarks/bench_crf.py says how."""
    peer = pytest.importorskip("pydensecrf.densecrf")
    rng = np.random.default_rng(seed)
    height, width, num_labels = (int(n) for n in rng.integers((8, 8, 2), (70, 90, 30)))
    rows, columns = np.indices((height, width))
    waves = [
        128 + 70 * np.sin(columns / rng.uniform(3, 20) + rng.uniform(0, 6)) + 40 * np.cos(rows / 9) for _ in range(3)
    ]
    image = (np.stack(waves, -1) + rng.normal(0, 6, (height, width, 3))).clip(0, 255).astype(np.uint8)
    unary = rng.gamma(1.0, 2.0, (num_labels, height, width)).astype(np.float32)
    sigma, weight = float(rng.uniform(1, 8)), float(rng.uniform(0.5, 5))
    sigma_pixels, sigma_color, reward = (float(n) for n in rng.uniform((10, 2, 1), (100, 20, 10)))
    steps = int(rng.integers(1, 8))
    names = {
        "symmetric": peer.NORMALIZE_SYMMETRIC,
        "after": peer.NORMALIZE_AFTER,
        "before": peer.NORMALIZE_BEFORE,
        "none": peer.NO_NORMALIZATION,
    }
    normalization = list(names)[seed % 3] if seed < 12 else "none"
    if normalization == "none":  # raw sums, of 6.28·sigma² pixels and more
        weight, reward = weight / (6 * sigma**2), reward / 1000
    kind = {"normalization": names[normalization]}
    theirs = peer.DenseCRF2D(width, height, num_labels)
    theirs.setUnaryEnergy(np.ascontiguousarray(unary.reshape(num_labels, -1)))
    theirs.addPairwiseGaussian(sxy=sigma, compat=weight, **kind)
    penalty = -reward * np.eye(num_labels, dtype=np.float32)
    penalty += (rng.normal(0, 0.1, (num_labels,) * 2) * (reward if normalization == "none" else 1)).astype(np.float32)
    penalty = (penalty + penalty.T) / 2
    compatibility = [reward, -np.full(num_labels, reward, np.float32), penalty][seed % 4 % 3]
    theirs.addPairwiseBilateral(sxy=sigma_pixels, srgb=sigma_color, rgbim=image, compat=compatibility, **kind)
    expected = np.array(theirs.inference(steps)).reshape(unary.shape)
    ours = DenseCRF(unary, threads=2)
    ours.add_gaussian(sigma, weight, normalization=normalization)
    ours.add_bilateral(image, sigma_pixels, sigma_color, compatibility, normalization=normalization)
    result = ours.infer(steps)
    assert np.abs(result - expected).max() < 1e-4
    assert (result.argmax(0) == expected.argmax(0)).mean() >= 0.9999
