"""MeanField against dense matrices: what it computes, and what its gradients are."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import fx

from pixelwise.crf import DenseCRF, Lattice, MeanField, reference
from pixelwise.crf import mean_field as module
from pixelwise.crf.engines import choose
from pixelwise.crf.features import colors, positions
from pixelwise.crf.mean_field import refined, unrolled
from pixelwise.crf.numba_engine import position_lattice
from pixelwise.errors import BadOption, ShapeError

K = 4
SIGMAS = (2.0, 6.0, 20.0)


def random(seed, *shape, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def pictures(count, channels, height, width):
    """Smooth, with a little noise, around 0: levels with their mean taken away."""
    coarse = 60 * random(5, count, channels, 3, 4, dtype=torch.float32)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)
    return smooth + 2 * random(6, count, channels, height, width, dtype=torch.float32)


def matrices():
    """Full ones, not symmetric."""
    start = torch.eye(K, dtype=torch.float64)
    return [scale * start + 0.5 * random(seed, K, K) for seed, scale in enumerate((2, 3, -1))]


def learned(**options):
    layer = MeanField(K, **dict(zip(("spatial_sigma", "position_sigma", "color_sigma"), SIGMAS, strict=True)) | options)
    with torch.no_grad():
        for parameter, values in zip(layer.parameters(), matrices(), strict=True):
            parameter.copy_(values)
    return layer


def naive(scores, filters, spatial, bilateral, compatibility, steps):
    """The definition, for one picture: scores (K, P), filters (P, P) as matrices."""
    values = scores
    for _ in range(steps):
        marginals = torch.exp(values) / torch.exp(values).sum(0)
        received = spatial @ (marginals @ filters[0].T) + bilateral @ (marginals @ filters[1].T)
        values = scores - compatibility @ received
    return values


def features(image):
    """Of one picture (C, H, W): those of F_s, and of F_b."""
    size = tuple(image.shape[1:])
    alike = np.concatenate([positions(size, SIGMAS[1]), colors(image.permute(1, 2, 0).numpy(), size, SIGMAS[2])])
    return positions(size, SIGMAS[0]), alike


def lattice_matrices(image):
    """F_s and F_b as they are, by the lattices of a picture (C, H, W): what they make of each pixel alone."""
    lattices = [Lattice(points, threads=1) for points in features(image)]
    made = [torch.from_numpy(lattice.filter(np.eye(lattice.num_points))).double() for lattice in lattices]
    return [matrix / matrix.sum(1, keepdim=True) for matrix in made]


def as_filters(kernels):
    """(P, P) matrices as filters of (N, H, W, K)."""
    return [
        lambda values, kernel=kernel: (kernel @ values.reshape(-1, len(kernel), K)).reshape(values.shape)
        for kernel in kernels
    ]


def test_steps_are_the_definition():
    height, width = 4, 5
    kernels = [torch.from_numpy(reference.gaussian_kernel(f, "after")) for f in features(pictures(1, 3, 4, 5)[0])]
    scores = random(3, K, height * width)
    for steps in (0, 1, 4):
        found = unrolled(scores.T.reshape(1, height, width, K), as_filters(kernels), *matrices(), steps)
        expected = naive(scores, kernels, *matrices(), steps)
        torch.testing.assert_close(found.reshape(-1, K).T, expected, rtol=1e-12, atol=1e-12)


def test_gradients_of_the_steps():
    kernels = [torch.from_numpy(reference.gaussian_kernel(f, "after")) for f in features(pictures(1, 1, 2, 3)[0])]
    inputs = [random(3, 1, 2, 3, K), *matrices()]
    assert torch.autograd.gradcheck(
        lambda *given: unrolled(given[0], as_filters(kernels), *given[1:], 3), [t.requires_grad_() for t in inputs]
    )


@pytest.mark.parametrize("without_numba", [False, True], ids=["numba", "torch"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_values_and_gradients_are_those_of_the_lattices_as_matrices(channels, without_numba, monkeypatch):
    if without_numba:
        monkeypatch.setattr(module, "choose", lambda name, *rest: choose("torch", *rest))
    height, width, steps = 7, 9, 3
    images = pictures(2, channels, height, width)
    scores = random(3, 2, K, height, width)
    layer = learned(training_steps=steps).double()
    given = scores.clone().requires_grad_()
    found = layer(given, images)
    weights = random(4, *found.shape)
    (found * weights).sum().backward()

    exact = [scores.clone().requires_grad_(), *(m.clone().requires_grad_() for m in matrices())]
    parts = []
    for image, own in zip(images, exact[0], strict=True):
        kernels = lattice_matrices(image)
        assert all((kernel - kernel.T).abs().max() > 1e-3 for kernel in kernels)  # transposing them does matter
        parts.append(naive(own.flatten(1), kernels, *exact[1:], steps).reshape(K, height, width))
    expected = torch.stack(parts)
    (expected * weights).sum().backward()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for one, other in zip((given, *layer.parameters()), exact, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5 * other.grad.abs().max().item())


def test_a_filter_and_its_gradient_are_transposes():
    images = pictures(2, 3, 40, 31)
    for filtered in module._filters(images, SIGMAS):
        x = random(1, 2, 40, 31, K, dtype=torch.float32).requires_grad_()
        y = random(2, 2, 40, 31, K, dtype=torch.float32)
        out = filtered(x)
        out.backward(y)
        left, right = (out.double() * y).sum(), (x.double() * x.grad).sum()
        assert left.item() == pytest.approx(right.item(), rel=1e-5)
        torch.testing.assert_close(filtered(torch.ones_like(y)), torch.ones_like(y), rtol=1e-5, atol=0)


def test_at_its_start_it_is_the_dense_crf():
    images, scores = pictures(1, 3, 33, 47), 2 * random(3, 1, K, 33, 47, dtype=torch.float32)
    found = MeanField(K, steps=5).eval()(scores, images)[0].softmax(0)
    crf = DenseCRF.from_scores(scores[0].numpy(), threads=1)
    crf.add_gaussian(3.0, 3.0, normalization="after")
    crf.add_bilateral(images[0].permute(1, 2, 0).numpy(), 160.0, 3.0, 5.0, normalization="after")
    torch.testing.assert_close(found.detach(), torch.from_numpy(crf.infer(5)), rtol=0, atol=1e-4)


def test_matrices_are_three_with_the_papers_start():
    layer = MeanField(21)
    found = {name: parameter.detach() for name, parameter in layer.named_parameters()}
    assert list(found) == ["spatial", "bilateral", "compatibility"]
    assert sum(p.numel() for p in found.values()) == 1323
    for matrix, scale in zip(found.values(), (3, 5, -1), strict=True):
        assert torch.equal(matrix, scale * torch.eye(21))
    assert (layer.sigmas, layer.training_steps, layer.steps) == ((3.0, 160.0, 3.0), 5, 10)


def test_training_and_evaluation_have_their_own_steps():
    images, scores = pictures(1, 3, 9, 8), random(3, 1, K, 9, 8)
    layer = learned(training_steps=2, steps=4)
    for training, steps in ((True, 2), (False, 4)):
        expected = refined(scores, images, *layer.parameters(), layer.sigmas, steps)
        assert torch.equal(layer.train(training)(scores, images), expected)
    assert torch.equal(learned(steps=0).eval()(scores, images), scores)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 1), (2, 3)])
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_any_size_and_number_of_channels(size, channels):
    scores = random(3, 2, K, *size, dtype=torch.float32).requires_grad_()
    images = pictures(2, channels, *size).requires_grad_()
    out = learned()(scores, images)
    assert out.shape == scores.shape
    out.square().sum().backward()
    assert scores.grad.isfinite().all()
    assert images.grad is None


def test_a_batch_is_its_pictures_one_by_one():
    layer, scores, images = learned().eval(), random(3, 3, K, 20, 17, dtype=torch.float32), pictures(3, 3, 20, 17)
    alone = torch.cat([layer(scores[i : i + 1], images[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(layer(scores, images), alone, rtol=1e-5, atol=1e-5)
    empty = layer(scores[:0].bfloat16(), images[:0])
    assert (empty.shape, empty.dtype) == ((0, K, 20, 17), torch.float32)


def test_labels_are_alike():
    """Classes in another order, with their matrices, give the same in that order; a constant stays what it is."""
    scores, images, order = random(3, 1, K, 15, 12), pictures(1, 3, 15, 12), [2, 0, 3, 1]
    layer, other = learned().eval(), learned().eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.copy_(parameter[order][:, order])
    out = layer(scores, images)
    torch.testing.assert_close(other(scores[:, order], images), out[:, order], rtol=1e-4, atol=1e-4)
    lifted = random(7, 1, 1, 15, 12)
    torch.testing.assert_close(layer(scores + lifted, images), out + lifted, rtol=1e-4, atol=1e-4)


def test_it_stays_float32_under_autocast():
    scores, images = random(3, 1, K, 16, 13, dtype=torch.float32), pictures(1, 3, 16, 13)
    layer = learned()
    expected = layer(scores, images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(scores, images), expected)
        assert layer(scores.bfloat16(), images).dtype == torch.float32
    assert layer.bfloat16()(scores.bfloat16(), images.bfloat16()).dtype == torch.float32


def test_the_same_bits_twice_on_two_threads():
    torch.set_num_threads(2)
    scores, images = random(3, 1, K, 130, 140, dtype=torch.float32), pictures(1, 3, 130, 140)
    gradients = []
    for layer in (learned(), learned()):
        given = scores.clone().requires_grad_()
        layer(given, images).square().mean().backward()
        gradients.append([given.grad, *(p.grad for p in layer.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_the_lattice_of_positions_is_kept_for_its_size():
    layer = copy.deepcopy(learned()).eval()
    scores, images = random(3, 2, K, 11, 10), pictures(2, 3, 11, 10)
    layer(scores, images)
    before = position_lattice.cache_info()
    layer(scores, images)
    after = position_lattice.cache_info()
    assert (after.hits, after.misses) == (before.hits + 1, before.misses)


def test_shapes_alone_on_the_meta_device():
    with torch.device("meta"):
        layer = MeanField(K)
        assert layer(torch.empty(2, K, 50, 40), torch.empty(2, 3, 50, 40)).shape == (2, K, 50, 40)


def test_it_is_one_step_of_a_graph():
    layer, scores, images = learned().eval(), random(3, 1, K, 8, 9), pictures(1, 3, 8, 9)
    traced = fx.symbolic_trace(layer)
    assert [node.target for node in traced.graph.nodes if node.op == "call_function"] == [refined]
    assert torch.equal(traced(scores, images), layer(scores, images))


@pytest.mark.filterwarnings("ignore")  # torch's own, of what is deprecated
@pytest.mark.parametrize("strict", [None, False, True], ids=["trace", "export", "strict export"])
def test_it_is_neither_traced_nor_exported(strict):
    """The graph would keep the first picture's filters."""
    layer, given = learned().eval(), (random(3, 1, K, 8, 9, dtype=torch.float32), pictures(1, 3, 8, 9))
    with pytest.raises(Exception, match="MeanField cannot be traced or exported: a graph would keep") as caught:
        if strict is None:
            torch.jit.trace(layer, given, check_trace=False)
        else:
            torch.export.export(layer, given, strict=strict)
    assert strict or isinstance(caught.value, BadOption)


def test_it_can_be_compiled():
    layer = learned(steps=1).eval()
    compiled = torch.compile(layer, backend="aot_eager")
    for seed in range(2):
        scores, images = random(seed, 1, K, 8, 9, dtype=torch.float32), pictures(1, 3, 8, 9) * (1 + seed)
        given, other = (scores.clone().requires_grad_() for _ in range(2))
        found, expected = compiled(given, images), layer(other, images)
        torch.testing.assert_close(found, expected)
        found.sum().backward()
        expected.sum().backward()
        torch.testing.assert_close(given.grad, other.grad)


def test_the_default_type_does_not_matter():
    scores, images = random(3, 1, K, 8, 9, dtype=torch.float32), pictures(1, 3, 8, 9)
    layer = learned()
    expected = layer(scores, images)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(layer(scores, images), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_numbers_may_be_numpys():
    layer = MeanField(np.int64(3), color_sigma=np.float32(2), steps=np.int8(4))
    assert repr(layer) == repr(MeanField(3, color_sigma=2.0, steps=4))


def test_the_matrices_can_be_learned():
    """Scores that take one class for another at random, and one class for its neighbor: learned in a few steps."""
    generator = torch.Generator().manual_seed(0)
    target = torch.zeros(1, 24, 24, dtype=torch.int64)
    target[:, :, 12:], target[:, 14:] = 1, 2
    images = 40.0 * target[:, None].expand(-1, 3, -1, -1) + torch.randn(1, 3, 24, 24, generator=generator)
    scores = torch.nn.functional.one_hot(target, 3).movedim(3, 1) + 1.5 * torch.randn(1, 3, 24, 24, generator=generator)
    layer = MeanField(3, color_sigma=10.0)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        losses.append(torch.nn.functional.cross_entropy(layer(scores, images), target))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    moved = zip(layer.parameters(), MeanField(3).parameters(), strict=True)
    assert all((one - other).abs().min() > 0 for one, other in moved)


@pytest.mark.parametrize(
    ("scores", "images"),
    [((1, 3, 5, 6), (1, 3, 5, 6)), ((1, K, 5, 6), (1, 3, 6, 5)), ((2, K, 5, 6), (1, 3, 5, 6)), ((K, 5, 6), (3, 5, 6))],
)
def test_shapes_that_do_not_fit(scores, images):
    with pytest.raises(ShapeError, match=rf"scores are .* and pictures .*: expected \(N, {K}, H, W\) and \(N, C, H, W"):
        learned()(torch.zeros(scores), torch.zeros(images))


def test_a_picture_that_is_not_finite():
    with pytest.raises(BadOption, match="features hold values that are not finite"):
        learned()(torch.zeros(1, K, 2, 2), torch.full((1, 3, 2, 2), torch.nan))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes must be a whole number from 1 up, got 0"),
        ({"steps": 2.5}, "steps must be a whole number from 0 up, got 2.5"),
        ({"training_steps": True}, "training_steps must be a whole number from 0 up, got True"),
        ({"color_sigma": 0}, "color_sigma must be a number above 0, got 0"),
        ({"position_sigma": float("nan")}, "position_sigma must be a number above 0, got nan"),
        ({"color_sigma": 10**400}, "color_sigma must be a number above 0, got 1000"),
        ({"spatial_sigma": "3"}, "spatial_sigma must be a number above 0, got '3'"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(BadOption, match=message):
        MeanField(**{"num_classes": 2} | options)


def test_numba_is_loaded_when_first_used():
    code = "import sys, pixelwise.models; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
