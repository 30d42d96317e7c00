"""The dense CRF against pydensecrf: same energies, same settings."""

import importlib.util
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelwise.benchmark.turns import Missing, Ratio, ratio_of, share, take_turns, versioned
from pixelwise.crf.model import DenseCRF
from pixelwise.crf.numba_engine import position_lattice
from pixelwise.crf.threads import available_threads

NAME = "crf"
SETTINGS = {"b1": (67.0, 3.0, 4.0), "b2": (80.0, 13.0, 10.0)}
"""{name: (pixels, colors, reward) of the bilateral term}: b1 is DeepLab v2's, b2 pydensecrf's example"""
STEPS = 10
PEER = "pydensecrf"
HOW_TO_INSTALL = (
    'pip install "cython<3" numpy setuptools wheel && pip install --no-build-isolation pydensecrf2'  # it is compiled
)
LABELS, SIZE, QUICK_SIZE = 21, (375, 500), (188, 250)
LEAST_EQUAL = 0.9999


def drawn(height: int, width: int) -> NDArray[np.uint8]:
    """As hard as a photo: half smooth, half with texture, noise; at 500 × 375 b1 has 315 000 vertices."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((height, width))
    image = np.stack([150 + 60 * np.sin(columns / 90 + k) + 30 * np.cos(rows / (50 + 9 * k)) for k in range(3)], -1)
    for _ in range(40):
        row, column, radius = rng.integers((0, 0, 6), (height, width, max(height // 5, 8)))
        inside = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        image[inside] = rng.uniform(20, 235, 3) + 0.3 * (image[inside] - 150)
    texture = rng.normal(0, 24, (height, width, 1)) * (rows + 40 * np.sin(columns / 60) > height * 0.5)[..., None]
    picture: NDArray[np.uint8] = (image + texture + rng.normal(0, 4.2, image.shape)).clip(0, 255).astype(np.uint8)
    return picture


def energies(image: NDArray[np.uint8], num_labels: int) -> NDArray[np.float32]:
    """(K, H, W), what a network at stride 8 might say: nearness to colors of the picture, with noise, stretched."""
    rng = np.random.default_rng(0)
    coarse = image[::8, ::8].astype(np.float32)
    centers = coarse.reshape(-1, 3)[rng.choice(coarse.shape[0] * coarse.shape[1], num_labels)]
    scores = np.exp(-((coarse[:, :, None] - centers) ** 2).sum(-1) / 2000)
    scores = scores / scores.sum(-1, keepdims=True) + 0.02 * rng.random(scores.shape)
    size = image.shape[1], image.shape[0]
    stretched = [
        Image.fromarray(scores[..., k].astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
        for k in range(num_labels)
    ]
    probabilities = np.clip(np.stack([np.asarray(plane) for plane in stretched]), 1e-5, 1)
    energy: NDArray[np.float32] = -np.log(probabilities / probabilities.sum(0)).astype(np.float32)
    return energy


def pydensecrf(unary: NDArray[np.float32], image: NDArray[np.uint8], name: str) -> NDArray[np.float32]:
    """The peer's marginals (K, H, W)."""
    import pydensecrf.densecrf as peer

    num_labels, height, width = unary.shape
    sigma_pixels, sigma_color, reward = SETTINGS[name]
    crf = peer.DenseCRF2D(width, height, num_labels)
    crf.setUnaryEnergy(unary.reshape(num_labels, -1))
    crf.addPairwiseGaussian(sxy=3, compat=3)
    crf.addPairwiseBilateral(sxy=sigma_pixels, srgb=sigma_color, rgbim=np.array(image, order="C"), compat=reward)
    marginals: NDArray[np.float32] = np.array(crf.inference(STEPS)).reshape(unary.shape)
    return marginals


def ours(
    unary: NDArray[np.float32], image: NDArray[np.uint8], name: str, threads: int, *, keep: bool = False
) -> NDArray[np.float32]:
    """Our marginals (K, H, W); the lattice of positions is built anew unless it may be kept."""
    if not keep:
        position_lattice.cache_clear()
    marginals: NDArray[np.float32] = built(unary, image, name, threads).infer(STEPS)
    return marginals


def built(unary: NDArray[np.float32], image: NDArray[np.uint8], name: str, threads: int) -> DenseCRF:
    """The CRF before its inference."""
    sigma_pixels, sigma_color, reward = SETTINGS[name]
    crf = DenseCRF(unary, threads=threads)
    crf.add_gaussian(3, 3)
    crf.add_bilateral(image, sigma_pixels, sigma_color, reward)
    return crf


def installed() -> bool:
    """Whether the peer can be imported."""
    return importlib.util.find_spec(PEER) is not None


def measure(*, quick: bool = False) -> Iterator[Ratio | Missing]:
    """Ratios of both settings on a drawn picture, with one thread and with all."""
    if not installed():
        yield Missing(NAME, PEER, HOW_TO_INSTALL)
        return
    height, width = QUICK_SIZE if quick else SIZE
    image = drawn(height, width)
    unary = energies(image, LABELS)
    processors = available_threads()
    for name in ("b2",) if quick else SETTINGS:
        ways: dict[str, Callable[[], NDArray[np.float32]]] = {PEER: partial(pydensecrf, unary, image, name)}
        for threads in sorted({1, processors}):
            told = f"{threads} thread{'s' if threads != 1 else ''}"
            ways[told] = partial(ours, unary, image, name, threads)
        found, seconds = take_turns(ways, 3)
        pixels, colors, _ = SETTINGS[name]
        for way in ways:
            if way == PEER:
                continue
            equal = float((found[way].argmax(0) == found[PEER].argmax(0)).mean())
            apart = float(np.abs(found[way] - found[PEER]).max())
            yield ratio_of(
                NAME,
                f"{LABELS} labels, {height} × {width}, σα {pixels:g}, σβ {colors:g}",
                versioned(PEER, "pydensecrf2"),
                seconds[way],
                seconds[PEER],
                way=way,
                equal=equal >= LEAST_EQUAL,
                answers=f"{share(equal)} equal labels, marginals within {apart:.0e}",
            )
