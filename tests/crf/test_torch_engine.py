"""The engine torch against numba's, with tensors and batches; `test_model.py` holds both against the reference."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from pixelwise.crf import features, torch_engine
from pixelwise.crf.model import DenseCRF
from pixelwise.crf.torch_lattice import TorchLattice
from pixelwise.errors import BadOption, PixelwiseError, ShapeError

SHAPE = (20, 31)


def picture(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Waves, an edge, some noise: (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    image = np.stack([128 + 60 * np.sin(columns / 7 + k) + 40 * np.cos(rows / (5 + k)) for k in range(3)], -1)
    image[rows > columns] -= 40
    return (image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)


def energies(num_labels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(1.0, 2.0, (num_labels, *SHAPE)).astype(np.float32)


def two_terms(unary, image, **options) -> DenseCRF:
    crf = DenseCRF(unary, **options)
    crf.add_gaussian(3, 3)
    crf.add_bilateral(image, 40, 13, 10, normalization="after")
    return crf


@pytest.mark.parametrize("seed", range(8))
def test_ten_steps_are_numbas(seed):
    rng = np.random.default_rng(seed)
    num_labels, image = int(rng.integers(2, 30)), picture(seed)
    normalization = ("symmetric", "after", "before", "none")[seed % 4]
    penalty = -4 * np.eye(num_labels) + rng.normal(0, 0.1, (num_labels,) * 2)
    scale = 0.01 if normalization == "none" else 1.0  # raw sums
    compatibility = scale * np.asarray([4.0, -np.full(num_labels, 4.0), penalty][seed % 3])
    sigmas = float(rng.uniform(5, 80)), float(rng.uniform(2, 20))
    results = []
    for engine in ("numba", "torch"):
        crf = DenseCRF(energies(num_labels, seed), engine=engine)
        crf.add_gaussian(float(1 + seed), 2.0 * scale, normalization=normalization)
        crf.add_bilateral(image, *sigmas, compatibility, normalization=normalization)
        results.append(crf.infer(10))
    assert np.abs(results[0] - results[1]).max() < 1e-4
    assert (results[0].argmax(0) == results[1].argmax(0)).mean() >= 0.9999


@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_tensors_give_tensors(engine):
    unary, image = energies(4), picture()
    expected = two_terms(unary, image, engine=engine)
    crf = two_terms(torch.from_numpy(unary).requires_grad_(), torch.from_numpy(image), engine=engine)
    marginals = crf.infer(3)
    assert isinstance(marginals, torch.Tensor)
    assert not marginals.requires_grad
    np.testing.assert_array_equal(marginals, expected.infer(3))
    np.testing.assert_array_equal(crf.step(marginals), expected.step(expected.infer(3)))
    assert crf.kl_divergence(marginals) == expected.kl_divergence(expected.infer(3))
    assert crf.largest_message() == expected.largest_message()
    half = DenseCRF.from_scores(torch.from_numpy(unary).bfloat16(), engine=engine)
    assert half.start().dtype == torch.float32
    labels = torch.tensor([[0, 1], [2, 2]])
    assert DenseCRF.from_labels(labels, 3, 0.5, engine=engine).start().argmax(0).equal(labels)


@pytest.mark.parametrize("normalization", ["symmetric", "after", "before", "none"])
def test_a_batch_is_its_pictures_with_every_normalization(normalization):
    """The pictures' sums differ much: one is plain, the other is noise."""
    unary = np.stack([energies(3, seed) for seed in range(2)], 1)
    images = np.stack([np.full((*SHAPE, 3), 100), np.random.default_rng(0).integers(0, 256, (*SHAPE, 3))])
    weight = 0.02 if normalization == "none" else 3.0

    def refined(given, image, **options):
        crf = DenseCRF(given, engine="torch", **options)
        crf.add_gaussian(3, weight, normalization=normalization)
        crf.add_bilateral(image, 20, 30, weight, normalization=normalization)
        return crf.infer(4)

    each = [refined(unary[:, i], images[i]) for i in range(2)]
    np.testing.assert_allclose(refined(unary, images, batched=True), np.stack(each, 1), atol=1e-6)


@pytest.mark.parametrize("prune", [0.0, 0.01])
def test_pictures_of_a_batch_do_not_see_each_other(prune):
    unary = np.stack([energies(4, seed) for seed in range(3)], 1)  # (K, B, H, W)
    unary[3] += 40
    images = np.stack([picture(seed) for seed in range(3)])
    batch = two_terms(unary, images, engine="torch", batched=True, prune=prune)
    marginals = batch.infer(4)
    each = [two_terms(unary[:, i], images[i], engine="torch", prune=prune) for i in range(3)]
    np.testing.assert_allclose(marginals, np.stack([crf.infer(4) for crf in each], 1), atol=1e-6)
    total = sum(crf.kl_divergence(marginals[:, i]) for i, crf in enumerate(each))
    assert batch.kl_divergence(marginals) == pytest.approx(total, rel=1e-5)
    volume = DenseCRF(unary, engine="torch", batched=True)
    volume.add_pairwise(np.stack([features.positions(SHAPE, 3)] * 3, 1).reshape(2, 3, *SHAPE), 3.0)
    alone = DenseCRF(unary[:, 1], engine="torch")
    alone.add_gaussian(3, 3)
    np.testing.assert_allclose(volume.infer(2)[:, 1], alone.infer(2), atol=1e-6)


def test_positions_and_colors_are_numpys():
    for shape in ((7,), (5, 9), (3, 4, 5)):
        sigma = [1.7, 3.3, 0.9][: len(shape)]
        ours = torch_engine.positions(shape, np.float32(sigma).tolist(), torch.device("cpu"))
        np.testing.assert_array_equal(ours, features.positions(shape, sigma))


def test_autocast_does_not_round():
    unary, image = energies(4), picture()
    penalty = np.random.default_rng(0).normal(size=(4, 4))
    crf = two_terms(unary, image, engine="torch")
    crf.add_gaussian(2, penalty)
    expected = crf.infer(3)
    with torch.autocast("cpu", torch.bfloat16):
        again = two_terms(unary, image, engine="torch")
        again.add_gaussian(2, penalty)
        np.testing.assert_array_equal(again.infer(3), expected)


def test_lattices_can_be_shared():
    first, second = (DenseCRF(energies(3), engine="torch") for _ in range(2))
    first.add_gaussian(3, 3)
    second.add_pairwise(first.terms[0].lattice, 3)
    assert second.terms[0].lattice is first.terms[0].lattice
    np.testing.assert_array_equal(first.infer(2), second.infer(2))
    with pytest.raises(ShapeError, match="has 620 points of 1 pictures on cpu: expected one of 6 points of 1 on cpu"):
        DenseCRF(np.zeros((2, 6)), engine="torch").add_pairwise(first.terms[0].lattice, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "cupy"}, "engine is 'cupy': expected one of auto, numba, torch"),
        ({"engine": None}, "engine is None: expected one of auto, numba, torch"),
        ({"engine": 3}, "engine is 3: expected one of auto, numba, torch"),
        ({"device": "meta"}, "device is 'meta', which holds no values"),
        ({"device": "cpu:foo"}, "device is 'cpu:foo'"),
        ({"device": ""}, "device is ''"),
        ({"device": 99}, "device is 'cuda:99'"),
        ({"device": np.int64(99)}, "device is 'cuda:99'"),
        ({"device": -1}, "device is 'cuda:-1'"),
        ({"engine": "numba", "device": 0}, "the engine numba computes on the CPU, not on cuda:0"),
        ({"device": True}, "device is True: expected a name such as 'cuda', or a CUDA device's number"),
        ({"device": []}, r"device is \[\]: expected a name"),
        ({"device": 0.0}, "device is 0.0: expected a name"),
        ({"engine": "numba", "device": "cuda"}, "the engine numba computes on the CPU, not on cuda"),
        ({"engine": "numba", "batched": True}, "numba takes one picture at a time"),
        ({"device": "abacus"}, "device is 'abacus'"),
        ({"engine": "torch", "device": "cuda:99"}, "device is 'cuda:99'"),
        ({"engine": "torch", "threads": 0}, "threads is 0"),
    ],
)
def test_bad_engines(options, message):
    with pytest.raises(BadOption, match=message) as caught:
        DenseCRF(np.zeros((2, 3, 4)), **options)
    assert "\n" not in str(caught.value)


def test_tensors_on_other_devices_are_refused():
    crf = DenseCRF(torch.zeros(2, 3, 4), engine="torch")
    with pytest.raises(BadOption, match=r"a tensor is on meta, the unary on cpu: move it, or pass device="):
        crf.add_bilateral(torch.zeros(3, 4, 3, device="meta"), 3, 3, 1)
    with pytest.raises(BadOption, match=r"a tensor is on meta, the unary on the CPU"):
        DenseCRF(torch.zeros(2, 3, 4), engine="numba").add_bilateral(torch.zeros(3, 4, 3, device="meta"), 3, 3, 1)


def test_a_meta_tensor_cannot_be_moved():
    for engine in ("numba", "torch"):
        crf = DenseCRF(torch.zeros(2, 3, 4), engine=engine, device="cpu")
        with pytest.raises(BadOption, match="a tensor is on meta, the unary on"):
            crf.add_pairwise(torch.zeros(2, 12, device="meta"), 1)


def test_a_lattice_of_other_pictures_is_refused():
    """Of one picture with as many points, whose points would see each other."""
    crf = DenseCRF(np.zeros((2, 2, 3, 4)), engine="torch", batched=True)
    with pytest.raises(ShapeError, match="has 24 points of 1 pictures on cpu: expected one of 24 points of 2 on cpu"):
        crf.add_pairwise(TorchLattice(torch.zeros(1, 3, 24)), 1)
    crf.add_pairwise(TorchLattice(torch.zeros(2, 3, 12)), 1)


SMALL = """
import sys
for name in {blocked}:
    sys.modules[name] = None
import numpy as np
from pixelwise.crf import DenseCRF, dense_crf
for engine in {engines}:
    crf = DenseCRF(np.zeros((2, 3, 4)), engine=engine)
    crf.add_bilateral(np.zeros((3, 4, 3)), 3, 3, 1)
    assert crf.infer(2).shape == (2, 3, 4)
    assert dense_crf(np.full((2, 3, 4), 0.5), np.zeros((3, 4)), engine=engine)[0, 0, 0] == 0.5
"""


@pytest.mark.parametrize(
    ("blocked", "engines"),
    [(["torch"], ["auto", "numba"]), (["numba", "llvmlite"], ["auto", "torch"])],
)
def test_an_engine_needs_its_own_library_alone(blocked, engines):
    """And "auto" is numba where there are both, as `test_vectors.py` has it, else what there is."""
    subprocess.run([sys.executable, "-c", SMALL.format(blocked=blocked, engines=engines)], check=True)


def test_anything_gives_marginals_or_one_clear_error():
    """As in `test_fuzz.py`, with tensors of all types and batches."""
    rng = np.random.default_rng(0)
    done = refused = 0
    for _ in range(120):
        batched = bool(rng.random() < 0.4)
        axes = int(rng.integers(1, 4))
        grid = tuple(int(n) for n in rng.integers(1, (300, 30, 9)[axes - 1], axes))
        shape = (int(rng.integers(1, 4)), *grid) if batched else grid
        num_labels = int(rng.integers(1, 25))
        unary = rng.normal(size=(num_labels, *shape)) * 10 ** rng.uniform(-3, 12)
        if rng.random() < 0.1:
            unary.flat[rng.integers(unary.size)] = rng.choice([np.nan, np.inf, -np.inf, 1e19])
        kinds = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.bool, None]
        kind = kinds[rng.integers(len(kinds))]
        given = unary if kind is None else torch.from_numpy(unary).to(kind)
        try:
            crf = DenseCRF(given, engine="torch", prune=float(rng.choice([0, 0, 0.01, 0.3])), batched=batched)
            for _ in range(rng.integers(0, 3)):
                _add_something(crf, shape, rng)
            marginals = crf.step(crf.infer(int(rng.integers(0, 4))))
        except PixelwiseError as error:
            refused += 1
            assert "\n" not in str(error)
            continue
        done += 1
        assert isinstance(marginals, np.ndarray if kind is None else torch.Tensor)
        np.testing.assert_allclose(marginals.sum(0), 1, atol=1e-5)
        assert marginals.min() >= 0
    assert done > 40
    assert refused > 10


def _add_something(crf: DenseCRF, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    k = crf.num_labels
    compatibility = (float(rng.uniform(0, 20)), rng.normal(size=k) * 3, rng.normal(size=(k, k)))[rng.integers(3)]
    normalization = str(rng.choice(["symmetric", "after", "before", "none"]))
    sigma_pixels, sigma_color = 10 ** rng.uniform(-2, 5), 10 ** rng.uniform(-2, 4)
    kind = rng.integers(3)
    if kind == 0:
        crf.add_gaussian(sigma_pixels, compatibility, normalization=normalization)
    elif kind == 1:
        image = rng.integers(0, 256, (*shape, int(rng.integers(1, 7)))).astype(
            (np.uint8, np.int64, np.float64)[rng.integers(3)]
        )
        given = torch.from_numpy(image) if rng.random() < 0.5 else image[:, ::-1]
        crf.add_bilateral(given, sigma_pixels, sigma_color, compatibility, normalization=normalization)
    else:
        points = rng.normal(size=(int(rng.integers(1, 8)), crf.num_points)) * 10 ** rng.uniform(-6, 5)
        crf.add_pairwise(torch.from_numpy(points), compatibility, normalization=normalization)
