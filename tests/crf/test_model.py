from functools import lru_cache

import numpy as np
import pytest
import torch

from pixelwise.crf import reference
from pixelwise.crf.arrays import address
from pixelwise.crf.features import colors, positions
from pixelwise.crf.lattice import Lattice
from pixelwise.crf.model import DenseCRF
from pixelwise.errors import BadOption, LabelError, ShapeError

SHAPE = (12, 17)


@pytest.fixture(params=["numba", "torch"], autouse=True)
def engine(request, monkeypatch) -> str:
    """Each test is for both engines: "auto" is the one, then the other."""
    makers = (
        DenseCRF.__init__,
        *(getattr(DenseCRF, f"from_{name}").__func__ for name in ("probabilities", "scores", "labels")),
    )
    for maker in makers:
        monkeypatch.setitem(maker.__kwdefaults__, "engine", request.param)
    return request.param


def picture(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Smooth colors, one edge, some noise: (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape[:2])
    image = np.stack([128 + 60 * np.sin(columns / 7 + k) + 40 * np.cos(rows / (5 + k)) for k in range(3)], -1)
    image[rows > columns] -= 40
    return (image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)


def energies(num_labels: int, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).gamma(1.0, 2.0, (num_labels, *shape)).astype(np.float32)


@lru_cache
def lattice_kernel(kind: str, normalization: str) -> np.ndarray:
    """(N, N): the filter as a matrix, so that the reference computes what the kernels must."""
    points = positions(SHAPE, 3) if kind == "spatial" else bilateral_points()
    built = Lattice(points)
    matrix, mass = built.filter(np.eye(points.shape[1])).astype(float), built.mass
    if normalization == "symmetric":
        return matrix / np.sqrt(np.outer(mass, mass))
    return {"after": matrix / mass[:, None], "before": matrix / mass, "none": matrix}[normalization]


def bilateral_points() -> np.ndarray:
    return np.concatenate([positions(SHAPE, 20), colors(picture(), SHAPE, 15)])


def two_terms(unary, spatial, bilateral, normalizations=("symmetric", "symmetric"), **options) -> DenseCRF:
    crf = DenseCRF(unary, **options)
    crf.add_gaussian(3, spatial, normalization=normalizations[0])
    crf.add_bilateral(picture(), 20, 15, bilateral, normalization=normalizations[1])
    return crf


def reference_terms(spatial, bilateral, normalizations=("symmetric", "symmetric")) -> list[reference.Term]:
    return [
        reference.Term(lattice_kernel("spatial", normalizations[0]), spatial),
        reference.Term(lattice_kernel("bilateral", normalizations[1]), bilateral),
    ]


@pytest.mark.parametrize(
    "normalizations",
    [("symmetric", "symmetric"), ("after", "after"), ("before", "before"), ("none", "none"), ("symmetric", "after")],
)
def test_every_normalization_is_the_references(normalizations):
    unary = energies(3)
    weights = [0.02 if normalization == "none" else 3.0 for normalization in normalizations]
    crf = two_terms(unary, *weights, normalizations)
    expected = reference.mean_field(unary.reshape(3, -1), reference_terms(*weights, normalizations), 5)
    np.testing.assert_allclose(crf.infer(5).reshape(3, -1), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["vector", "matrix", "mixed"])
def test_every_compatibility_is_the_references(kind):
    rng = np.random.default_rng(5)
    vector, matrix = rng.normal(size=3), rng.normal(size=(3, 3))
    spatial, bilateral = {"vector": (vector, vector), "matrix": (matrix, matrix), "mixed": (2.0, matrix)}[kind]
    unary = energies(3)
    expected = reference.mean_field(unary.reshape(3, -1), reference_terms(spatial, bilateral), 4)
    np.testing.assert_allclose(two_terms(unary, spatial, bilateral).infer(4).reshape(3, -1), expected, atol=1e-5)


@pytest.mark.parametrize("num_labels", [1, 2, 8, 9, 21, 40, 70])
def test_every_number_of_labels_is_the_references(num_labels):
    unary = energies(num_labels)
    expected = reference.mean_field(unary.reshape(num_labels, -1), reference_terms(3, 4), 3)
    np.testing.assert_allclose(two_terms(unary, 3, 4).infer(3).reshape(num_labels, -1), expected, atol=1e-5)


@pytest.mark.parametrize("normalization", ["symmetric", "after", "before", "none"])
def test_how_near_it_is_to_the_brute_force(normalization):
    """The lattice's own error, on labels at random, which is the hardest case: see the docs."""
    unary = energies(4)
    kernels = [reference.gaussian_kernel(points, normalization) for points in (positions(SHAPE, 3), bilateral_points())]
    weights = np.array([3.0, 4.0])
    ours = weights
    if normalization == "none":  # sums of 1 on average: the lattice's are the Gaussian's up to a constant
        ours = weights / [lattice_kernel(kind, "none").sum(1).mean() for kind in ("spatial", "bilateral")]
        weights = weights / [kernel.sum(1).mean() for kernel in kernels]
    terms = [reference.Term(kernel, weight) for kernel, weight in zip(kernels, weights, strict=True)]
    expected = reference.mean_field(unary.reshape(4, -1), terms, 5)
    ours = two_terms(unary, *ours, (normalization, normalization)).infer(5).reshape(4, -1)
    assert np.abs(ours - expected).mean() < 0.02
    assert (ours.argmax(0) == expected.argmax(0)).mean() > 0.93


def test_steps_one_by_one_are_all_at_once():
    crf = two_terms(energies(4), 3, 4)
    marginals = crf.start()
    np.testing.assert_array_equal(marginals, crf.infer(0))
    for steps in range(1, 5):
        marginals = crf.step(marginals)
        np.testing.assert_allclose(marginals, crf.infer(steps), atol=2e-6)


@pytest.mark.parametrize("normalization", ["symmetric", "after"])
def test_the_divergence_is_the_references_and_falls(normalization):
    unary = energies(4)
    crf = two_terms(unary, 1, 2, (normalization, normalization))
    terms = reference_terms(1, 2, (normalization, normalization))
    divergences = []
    marginals = crf.start()
    for _ in range(6):
        divergences.append(crf.kl_divergence(marginals))
        expected = reference.kl_divergence(unary.reshape(4, -1), terms, marginals.reshape(4, -1).astype(float))
        assert divergences[-1] == pytest.approx(expected, rel=1e-5)
        marginals = crf.step(marginals)
    assert divergences == sorted(divergences, reverse=True)
    assert divergences[0] > divergences[-1] + 1


def test_marginals_add_up_to_one():
    sums = two_terms(energies(21), 3, 4).infer(5).sum(0)
    np.testing.assert_allclose(sums, 1, atol=1e-6)


def test_a_constant_for_all_labels_of_a_pixel_does_not_matter():
    unary = energies(5)
    shifted = unary + np.random.default_rng(1).normal(size=SHAPE).astype(np.float32) * 10
    np.testing.assert_allclose(two_terms(unary, 3, 4).infer(5), two_terms(shifted, 3, 4).infer(5), atol=1e-4)


def test_the_order_of_labels_does_not_matter():
    unary, order = energies(5), [3, 0, 4, 2, 1]
    np.testing.assert_allclose(
        two_terms(unary[order], 3, 4).infer(5), two_terms(unary, 3, 4).infer(5)[order], atol=1e-5
    )


def test_the_same_call_gives_the_same_bits():
    np.testing.assert_array_equal(two_terms(energies(5), 3, 4).infer(5), two_terms(energies(5), 3, 4).infer(5))


def test_energies_far_apart_stay_finite():
    unary = energies(3)
    unary[0] += 1e6
    unary[1, 0, 0] = 1e19
    marginals = two_terms(unary, 3, 4).infer(3)
    assert np.isfinite(marginals).all()
    np.testing.assert_allclose(marginals.sum(0), 1, atol=1e-6)


@pytest.mark.parametrize("shape", [(30,), (5, 6, 7), (2, 3, 4, 5)])
def test_points_of_any_dimension(shape):
    unary, volume = energies(3, shape=shape), np.random.default_rng(0).normal(size=shape)
    crf = DenseCRF(unary)
    crf.add_gaussian(2.0, 1.0)
    crf.add_bilateral(volume, [3.0] * len(shape), 0.5, 2.0)
    marginals = crf.infer(2)
    assert marginals.shape == unary.shape
    np.testing.assert_allclose(marginals.sum(0), 1, atol=1e-6)
    by_features = DenseCRF(unary)
    by_features.add_pairwise(positions(shape, 2).reshape(len(shape), *shape), 1.0)
    by_features.add_pairwise(np.concatenate([positions(shape, 3), colors(volume, shape, 0.5)]), 2.0)
    np.testing.assert_array_equal(marginals, by_features.infer(2))


def test_one_pixel_and_one_label():
    crf = DenseCRF(np.array([[[0.0]], [[1.0]]]))
    crf.add_gaussian(3, 2)
    assert crf.infer(10).shape == (2, 1, 1)
    alone = DenseCRF(np.zeros((1, 4, 4)))
    alone.add_gaussian(3, 2)
    np.testing.assert_allclose(alone.infer(3), 1, rtol=1e-6)


def test_without_terms_it_is_the_softmax():
    unary = energies(3)
    crf = DenseCRF(unary)
    crf.add_gaussian(3, 0)
    np.testing.assert_allclose(crf.infer(5).reshape(3, -1), reference.start(unary.reshape(3, -1)), atol=1e-6)
    assert not crf.terms


def test_a_pair_of_sigmas_is_rows_then_columns():
    narrow_rows = DenseCRF(energies(2))
    narrow_rows.add_gaussian((1e-3, 4.0), 3.0)
    swapped = DenseCRF(energies(2).transpose(0, 2, 1))
    swapped.add_pairwise(positions(SHAPE, (1e-3, 4.0)).reshape(2, *SHAPE).transpose(0, 2, 1), 3.0)
    np.testing.assert_allclose(narrow_rows.infer(2), swapped.infer(2).transpose(0, 2, 1), atol=1e-6)
    rows = DenseCRF(energies(2)[:, :1])  # with no exchange between rows, each row is by itself
    rows.add_pairwise(positions((1, SHAPE[1]), 4.0)[:1], 3.0)
    assert np.abs(narrow_rows.infer(2)[:, :1] - rows.infer(2)).max() < 0.2


def test_from_probabilities_labels_and_scores():
    scores = -energies(3)
    probabilities = reference.start(-scores.reshape(3, -1)).reshape(scores.shape)
    by_scores, by_probabilities = DenseCRF.from_scores(scores), DenseCRF.from_probabilities(probabilities)
    np.testing.assert_allclose(by_scores.start(), probabilities, atol=1e-6)
    np.testing.assert_allclose(by_probabilities.start(), probabilities, atol=1e-4)  # clipped at 1e-5
    counts = np.array([[3], [5]], np.uint8)
    np.testing.assert_allclose(DenseCRF.from_scores(counts).start(), [[0.1192], [0.8808]], atol=1e-4)
    labels = np.array([[0, 2, 255]])
    expected = [[[0.6, 0.2, 1 / 3]], [[0.2, 0.2, 1 / 3]], [[0.2, 0.6, 1 / 3]]]
    np.testing.assert_allclose(DenseCRF.from_labels(labels, 3, 0.6, unsure=255).start(), expected, rtol=1e-5)


def test_pruned_labels_keep_to_their_bound():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(12, *SHAPE)) * 2
    scores[4:] -= 15
    probabilities = reference.start(-scores.reshape(12, -1)).reshape(scores.shape)
    prune = 1.1 * float(probabilities[4:].max())
    full = two_terms(-scores, 1.0, 1.5)
    pruned = two_terms(-scores, 1.0, 1.5, prune=prune)
    assert pruned.kept.tolist() == [0, 1, 2, 3]
    bound = 8 * prune * np.exp(full.largest_message())
    assert bound < 1 / 12
    result, expected = pruned.infer(5), full.infer(5)
    assert not result[4:].any()
    assert expected[4:].sum(0).max() <= bound
    assert np.abs(pruned.infer(1) - full.infer(1)).max() <= bound
    assert np.abs(result - expected).max() < bound  # several steps, measured
    np.testing.assert_array_equal(result.argmax(0), expected.argmax(0))
    divergence = pruned.kl_divergence(result)
    assert np.isfinite(divergence)
    np.testing.assert_allclose(pruned.step(pruned.infer(2)), pruned.infer(3), atol=2e-6)


def test_pruning_cuts_compatibilities_too():
    unary = energies(4)
    unary[1] += 40
    matrix = np.random.default_rng(0).normal(size=(4, 4))
    rest = [0, 2, 3]
    expected = two_terms(unary[rest], matrix[np.ix_(rest, rest)], np.diag(matrix)[rest]).infer(3)
    result = two_terms(unary, matrix, np.diag(matrix), prune=1e-6).infer(3)
    np.testing.assert_array_equal(result[rest], expected)


def test_pruning_all_keeps_one():
    assert DenseCRF(np.zeros((3, 2, 2)), prune=0.9).infer(1).sum() == 4


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: DenseCRF(np.zeros(3)), ShapeError, r"unary is \(3,\) of float64"),
        (lambda: DenseCRF(np.zeros((0, 3, 3))), ShapeError, r"unary is \(0, 3, 3\)"),
        (lambda: DenseCRF(np.zeros((2, 0))), ShapeError, r"unary is \(2, 0\)"),
        (lambda: DenseCRF(np.full((2, 3), "a")), ShapeError, "expected .* numbers"),
        (lambda: DenseCRF(np.full((2, 3), np.nan)), BadOption, "not finite"),
        (lambda: DenseCRF(np.array([[0.0], [np.inf]])), BadOption, "not finite"),
        (lambda: DenseCRF(np.array([[0.0], [1e300]])), BadOption, "not finite"),
        (lambda: DenseCRF(np.array([[0.0], [-np.inf]])), BadOption, "not finite"),
        (lambda: DenseCRF(np.zeros((2, 3)), prune=1.0), BadOption, "prune is 1.0"),
        (lambda: DenseCRF(np.zeros((2, 3)), threads=0), BadOption, "threads is 0"),
        (lambda: DenseCRF.from_probabilities(np.zeros((2, 3), int)), ShapeError, "of int64: expected .* floats"),
        (lambda: DenseCRF.from_probabilities(np.full((2, 3), np.nan)), BadOption, "hold nan"),
        (lambda: DenseCRF.from_probabilities(np.array([[1.5], [-0.5]])), BadOption, "hold -0.5"),
        (lambda: DenseCRF.from_probabilities(np.full((2, 3), 0.4)), BadOption, "add up to 0.8"),
        (lambda: DenseCRF.from_probabilities(np.full((2, 3), np.inf)), BadOption, "add up to inf"),
        (lambda: DenseCRF.from_probabilities(np.full((2, 3), 0.5), smallest=0), BadOption, "smallest is 0"),
        (lambda: DenseCRF.from_labels(np.array([[0, 3]]), 3, 0.7), LabelError, r"hold 3 at \(0, 1\): expected 0–2"),
        (lambda: DenseCRF.from_labels(np.array([[-1]]), 3, 0.7, unsure=9), LabelError, "hold -1 .* and 9 for unsure"),
        (lambda: DenseCRF.from_labels(np.array([[0.0]]), 3, 0.7), ShapeError, "expected whole numbers"),
        (lambda: DenseCRF.from_labels(np.array([[0]]), 3, 1.0), BadOption, "confidence is 1.0"),
        (lambda: DenseCRF.from_labels(np.array([[0]]), 0, 0.7), BadOption, "num_labels is 0"),
        (lambda: DenseCRF.from_labels(np.array([[0]]), 2, "a"), BadOption, "confidence is 'a'"),
        (lambda: DenseCRF.from_labels(np.array([[0]]), 2, 0.7, unsure="x"), BadOption, "unsure is 'x'"),
        (lambda: DenseCRF.from_labels(torch.zeros(2, 3, device="meta"), 2, 0.7), BadOption, "device is 'meta'"),
        (lambda: DenseCRF.from_probabilities(np.full((2, 3), 0.5), smallest="a"), BadOption, "smallest is 'a'"),
        (lambda: DenseCRF([[1, 2], [3]]), ShapeError, r"\[\[1, 2\], \[3\]\] is no array: "),
        (lambda: DenseCRF(None), ShapeError, "unary is .* of object"),
        (lambda: DenseCRF(torch.eye(3).to_sparse()), ShapeError, "layout torch.sparse_coo: expected a dense one"),
        (lambda: DenseCRF(torch.zeros(2, 3, device="meta")), BadOption, "device is 'meta', which holds no values"),
        (lambda: DenseCRF(np.zeros((2, 3)), prune=True), BadOption, "prune is True"),
        (lambda: DenseCRF(np.zeros((2, 3)), threads=2.0), BadOption, "threads is 2.0"),
    ],
)
def test_bad_unaries(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("add", "error", "message"),
    [
        (lambda crf: crf.add_gaussian(0, 3), BadOption, "sigma in pixels is 0"),
        (lambda crf: crf.add_gaussian((3, -1), 3), BadOption, r"sigma in pixels is \(3, -1\)"),
        (lambda crf: crf.add_gaussian((3, 1, 1), 3), BadOption, "has 3 values: expected one, or one for each of the 2"),
        (lambda crf: crf.add_gaussian("a", 3), BadOption, "sigma in pixels is 'a'"),
        (lambda crf: crf.add_gaussian(np.nan, 3), BadOption, "sigma in pixels is nan"),
        (lambda crf: crf.add_gaussian("3", 3), BadOption, "sigma in pixels is '3'"),
        (lambda crf: crf.add_gaussian(True, 3), BadOption, "sigma in pixels is True"),
        (lambda crf: crf.add_gaussian(10**400, 3), BadOption, "sigma in pixels is 1000.*000: expected a number"),
        (lambda crf: crf.add_gaussian([[1], [2, 3]], 3), BadOption, "sigma in pixels is"),
        (lambda crf: crf.add_gaussian(3, "3"), BadOption, "compatibility is '3': expected numbers"),
        (lambda crf: crf.add_gaussian(3, True), BadOption, "compatibility is True: expected numbers"),
        (lambda crf: crf.add_gaussian(3, 1j), BadOption, "compatibility is 1j: expected numbers"),
        (lambda crf: crf.add_gaussian(3, torch.ones(2, device="meta")), BadOption, "compatibility is tensor"),
        (lambda crf: crf.add_gaussian(3, -1), BadOption, "compatibility is -1: expected a reward from 0 up"),
        (lambda crf: crf.add_gaussian(3, np.nan), BadOption, "not finite"),
        (lambda crf: crf.add_gaussian(3, 1e21), BadOption, "not finite or beyond 1e\\+20"),
        (lambda crf: crf.add_gaussian(3, "a"), BadOption, "compatibility is 'a': expected numbers"),
        (
            lambda crf: crf.add_gaussian(3, np.ones(4)),
            ShapeError,
            r"compatibility is \(4,\): expected one number, \(2,\)",
        ),
        (lambda crf: crf.add_gaussian(3, np.ones((2, 3))), ShapeError, r"compatibility is \(2, 3\)"),
        (lambda crf: crf.add_gaussian(3, 1, normalization="both"), BadOption, "expected one of symmetric"),
        (
            lambda crf: crf.add_bilateral(np.zeros((5, 6, 3)), 3, 3, 1),
            ShapeError,
            r"image is \(5, 6, 3\): expected \(12, 17\)",
        ),
        (lambda crf: crf.add_bilateral(np.zeros((*SHAPE, 3, 1)), 3, 3, 1), ShapeError, "expected .* channels last"),
        (lambda crf: crf.add_bilateral(np.zeros((*SHAPE, 0)), 3, 3, 1), ShapeError, "image is"),
        (lambda crf: crf.add_bilateral(np.full(SHAPE, "a"), 3, 3, 1), ShapeError, "image is of <U1"),
        (lambda crf: crf.add_bilateral(np.full(SHAPE, np.nan), 3, 3, 1), BadOption, "not finite"),
        (lambda crf: crf.add_bilateral(picture(), 3, 0, 1), BadOption, "sigma of colors is 0"),
        (lambda crf: crf.add_bilateral(picture(), 3, 1e-9, 1), BadOption, "too narrow"),
        (lambda crf: crf.add_bilateral(picture() * 1e300, 3, 3, 1), BadOption, "not finite"),
        (lambda crf: crf.add_gaussian(1e-40, 1), BadOption, "not finite"),
        (lambda crf: crf.add_gaussian(1e300, 1), BadOption, "sigma in pixels is 1e\\+300"),
        (
            lambda crf: crf.add_pairwise(np.zeros((2, 5)), 1),
            ShapeError,
            r"features are \(2, 5\).*: expected \(D, 204\)",
        ),
        (lambda crf: crf.add_pairwise(np.ones((0, 204)), 1), ShapeError, r"features are \(0, 204\)"),
        (lambda crf: crf.add_pairwise(np.zeros(204), 1), ShapeError, r"features are \(204,\)"),
        (lambda crf: crf.infer(-1), BadOption, "steps is -1"),
        (lambda crf: crf.infer(2.5), BadOption, "steps is 2.5"),
        (lambda crf: crf.step(np.zeros((2, 3, 3))), ShapeError, r"marginals are \(2, 3, 3\)"),
        (lambda crf: crf.step(np.full((2, *SHAPE), np.nan)), BadOption, "marginals hold"),
    ],
)
def test_bad_terms(add, error, message):
    crf = DenseCRF(energies(2))
    with pytest.raises(error, match=message) as caught:
        add(crf)
    assert "\n" not in str(caught.value)


def test_numbers_may_be_numpys():
    plain, numpys = two_terms(energies(3), 3, 4), DenseCRF(energies(3), threads=np.int64(2), prune=np.float32(0))
    numpys.add_gaussian(np.float32(3), np.int64(3))
    numpys.add_bilateral(picture(), np.int64(20), np.float64(15), torch.tensor(4.0, dtype=torch.bfloat16))
    np.testing.assert_array_equal(numpys.infer(np.int8(2)), plain.infer(2))


@pytest.mark.parametrize("kind", ["array", "read-only array", "tensor"])
def test_what_becomes_of_the_callers_array_does_not_matter(kind):
    unary = energies(3)
    given = torch.from_numpy(unary) if kind == "tensor" else unary
    unary.flags.writeable = kind != "read-only array"
    crf = DenseCRF(given)
    crf.add_gaussian(3, 3)
    expected = two_terms(energies(3), 3, 0).infer(2)
    unary.flags.writeable = True
    unary[:] = 0
    np.testing.assert_array_equal(crf.infer(2), expected)


def test_energies_of_its_own_are_not_copied(monkeypatch, engine):
    """Neither by `from_probabilities` nor by what else makes the energies."""
    made = []
    kind = type(DenseCRF(energies(2))._engine)
    real = kind.energies
    monkeypatch.setattr(kind, "energies", lambda *given: made.append(real(*given)) or made[-1])
    crf = DenseCRF.from_probabilities(np.full((2, *SHAPE), 0.5, np.float32))
    assert address(crf.unary) == address(made[0])


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, np.float16])
def test_probabilities_may_be_rounded(kind):
    """In bfloat16, those of a pixel add up to 0.997–1.003."""
    exact = torch.from_numpy(-energies(12)).softmax(0)
    given = exact.to(kind) if isinstance(kind, torch.dtype) else exact.numpy().astype(kind)
    if kind == torch.bfloat16:
        assert (given.float().sum(0) - 1).abs().max() > 1e-3
    np.testing.assert_allclose(DenseCRF.from_probabilities(given).start(), exact, atol=0.004)
    with pytest.raises(BadOption, match="add up to"):
        DenseCRF.from_probabilities(given * 1.02)
