"""How far the dense CRF is from its definition, and what pruning leaves out.

    PIXELWISE_DATA=… python benchmarks/crf_accuracy.py [IMAGE]

Small pictures, on which the definition can be computed: all pairs, in float64. Prints the error of the lattice's
filter, of five steps of mean field with it, and what pruned labels had beside the bound that `DenseCRF` states. Then,
where there is a photo, what is lost by computing in float32: `bench_crf.py`'s settings b1 and b2 on the photo and on a
mosaic of 1000 × 750, 21 labels, against the same lattices in float64.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from bench_crf import photo
from numpy.typing import NDArray

from pixelwise.benchmark.crf import SETTINGS, built, energies
from pixelwise.benchmark.crf import STEPS as STEPS_OF_PHOTOS
from pixelwise.crf import DenseCRF, Lattice, reference
from pixelwise.crf.features import colors, positions

SHAPE = (32, 40)
NUM_LABELS = 4
STEPS = 5
SIGMA_PIXELS, SIGMA_COLOR = 20.0, 15.0

Doubles = NDArray[np.float64]


def drawn(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A picture of four quarters with noise, and the number of each pixel's quarter."""
    rows, columns = np.indices(SHAPE)
    labels = 2 * (rows > SHAPE[0] // 2) + (columns > SHAPE[1] // 2)
    palette = np.array([(60, 90, 120), (150, 100, 60), (90, 160, 80), (200, 200, 190)])
    return (palette[labels] + rng.normal(0, 5, (*SHAPE, 3))).clip(0, 255).astype(np.uint8), labels


def filters(points: dict[str, NDArray[np.float32]], rng: np.random.Generator) -> None:
    """Print the error of the filter of random values in 0–1."""
    values = rng.random((SHAPE[0] * SHAPE[1], 3))
    for name, features in points.items():
        lattice = Lattice(features)
        ours = lattice.filter(values) / lattice.mass[:, None]
        error = np.abs(ours - reference.gaussian_kernel(features, "after") @ values)
        print(f"filter, {name}: off by {error.mean():.4f} on average, {error.max():.4f} at most")


def mean_fields(points: dict[str, NDArray[np.float32]], energies: dict[str, Doubles]) -> None:
    """Print the error of the marginals and the share of other labels."""
    for normalization in ("symmetric", "after", "before"):
        kernels = [reference.gaussian_kernel(features, normalization) for features in points.values()]
        terms = [reference.Term(kernel, weight) for kernel, weight in zip(kernels, (3, 4), strict=True)]
        for name, unary in energies.items():
            exact = reference.mean_field(unary, terms, STEPS)
            crf = DenseCRF(unary)
            for features, weight in zip(points.values(), (3, 4), strict=True):
                crf.add_pairwise(features, weight, normalization=normalization)
            ours = crf.infer(STEPS)
            other = float((ours.argmax(0) != exact.argmax(0)).mean())
            print(
                f"mean field, {normalization}, {name}: off by {np.abs(ours - exact).mean():.4f} on average, "
                f"{other:.1%} of the labels differ"
            )


def pruning(points: dict[str, NDArray[np.float32]], rng: np.random.Generator) -> None:
    """Print what labels that are left out would have had, and the bound."""
    scores = 2 * rng.normal(size=(12, SHAPE[0] * SHAPE[1]))
    scores[NUM_LABELS:] -= 15
    prune = 1.1 * float(reference.start(-scores)[NUM_LABELS:].max())
    results = {}
    for threshold in (0.0, prune):
        crf = DenseCRF(-scores, prune=threshold)
        for features, weight in zip(points.values(), (1.0, 1.5), strict=True):
            crf.add_pairwise(features, weight)
        results[threshold] = crf
    left_out = 12 - len(results[prune].kept)
    bound = left_out * prune * np.exp(results[0.0].largest_message())
    whole, pruned = results[0.0].infer(STEPS), results[prune].infer(STEPS)
    print(
        f"pruning: {left_out} of 12 labels left out; bound {bound:.1e}, they would have had at most "
        f"{whole[NUM_LABELS:].sum(0).max():.1e}, the others differ by at most {np.abs(whole - pruned).max():.1e}"
    )


def double_filter(lattice: Lattice, values: Doubles) -> Doubles:
    """(N, K) → (N, K): `Lattice.filter` in float64."""
    rows = np.zeros((lattice.num_rows, values.shape[1]))
    corners = list(zip(lattice.offsets.T, lattice.weights.T.astype(float), strict=True))
    for offsets, weights in corners:
        for k, column in enumerate(values.T):
            rows[:, k] += np.bincount(offsets, weights * column, lattice.num_rows)
    copies, originals = lattice.shared
    np.add.at(rows, originals, rows[copies])
    for first, last in lattice.cuts[1:-1, [0, -1]]:
        chains = lattice.chains[first:last]
        follows = (chains >= 0)[:-1, None]
        own = np.where(chains < 0, -1 - chains, chains)
        sums = rows[own]
        rows[own[:-1]] += 0.5 * follows * sums[1:]
        rows[own[1:]] += 0.5 * follows * sums[:-1]
    rows[copies] = rows[originals]
    received = sum(weights[:, None] * rows[offsets] for offsets, weights in corners)
    return np.asarray(lattice.scale * received)


def photos(path: Path) -> None:
    """Print the farthest that a marginal is from the same computation in float64."""
    for size in (None, (750, 1000)):
        image = photo(path, size)
        unary = energies(image, 21)
        for name in SETTINGS:
            crf = built(unary, image, name, threads=1)
            logits = -unary.reshape(21, -1).T.astype(float)
            marginals = reference.start(-logits.T).T
            terms = [(term.lattice, 1 / np.sqrt(term.lattice.mass)[:, None], term.compatibility) for term in crf.terms]
            for _ in range(STEPS_OF_PHOTOS):
                messages = [weight * root * double_filter(own, root * marginals) for own, root, weight in terms]
                marginals = reference.start(-(logits + sum(messages)).T).T
            for threads in (1, 2):
                ours = built(unary, image, name, threads).infer(STEPS_OF_PHOTOS)
                error = np.abs(ours.reshape(21, -1).T - marginals).max()
                where = f"{image.shape[1]} × {image.shape[0]}, {name}, {threads} threads"
                print(f"float32, {where}: off by at most {error:.0e}")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    default = Path(os.environ.get("PIXELWISE_DATA", ".")) / "fcn-demo" / "image.jpg"
    parser.add_argument("image", type=Path, nargs="?", default=default, help="a photo at native detail")
    path = parser.parse_args().image
    rng = np.random.default_rng(0)
    image, labels = drawn(rng)
    by_color = np.concatenate([positions(SHAPE, SIGMA_PIXELS), colors(image, SHAPE, SIGMA_COLOR)])
    points = {"positions at 3 pixels": positions(SHAPE, 3), "positions and colors": by_color}
    random = rng.gamma(1.0, 2.0, (NUM_LABELS, SHAPE[0] * SHAPE[1]))
    known = random - 2.0 * (np.arange(NUM_LABELS)[:, None] == labels.ravel())
    walk = 128 + 3 * rng.normal(size=(*SHAPE, 3)).cumsum(0).cumsum(1)
    by_walk = np.concatenate([positions(SHAPE, SIGMA_PIXELS), colors(walk, SHAPE, SIGMA_COLOR)])
    filters(points | {"positions and colors that change everywhere": by_walk}, rng)
    mean_fields(points, {"labels at random": random, "labels that follow the picture": known})
    pruning(points, rng)
    if path.exists():
        photos(path)
    else:
        print(f"no {path}: give a photo, or set PIXELWISE_DATA")


if __name__ == "__main__":
    main()
