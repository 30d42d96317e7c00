import numpy as np
import pytest
import torch

from pixelwise.crf import edge_filter as module
from pixelwise.crf.edge_filter import DomainTransform, domain_transform
from pixelwise.errors import BadOption, ShapeError


def naive(values, across, down, sigma_pixels, sigma_range, iterations, min_weight=0.0):
    """(K, H, W) by the formulas, one pixel at a time: DeepLab-DT's layer with a map for rows and one for columns."""
    y = np.array(values, float)
    height, width = y.shape[1:]
    for k in range(1, iterations + 1):
        sigma = sigma_pixels * np.sqrt(3) * 2 ** (iterations - k) / np.sqrt(4**iterations - 1)
        w, v = (np.exp(-np.sqrt(2) / sigma * (1 + g * sigma_pixels / sigma_range)) for g in (across, down))
        w, v = np.clip(w, min_weight, 1), np.clip(v, min_weight, 1)
        for i in range(1, width):
            y[:, :, i] = (1 - w[:, i]) * y[:, :, i] + w[:, i] * y[:, :, i - 1]
        for i in range(width - 2, -1, -1):
            y[:, :, i] = (1 - w[:, i + 1]) * y[:, :, i] + w[:, i + 1] * y[:, :, i + 1]
        for i in range(1, height):
            y[:, i] = (1 - v[i]) * y[:, i] + v[i] * y[:, i - 1]
        for i in range(height - 2, -1, -1):
            y[:, i] = (1 - v[i + 1]) * y[:, i] + v[i + 1] * y[:, i + 1]
    return y


def gaps(image):
    """Sums over channels of the differences to the pixel on the left and to the one above."""
    image = image.astype(float)
    across, down = np.zeros(image.shape[:2]), np.zeros(image.shape[:2])
    across[:, 1:] = abs(image[:, 1:] - image[:, :-1]).sum(-1)
    down[1:] = abs(image[1:] - image[:-1]).sum(-1)
    return across, down


def picture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(size=(height, width, 3)), 1).clip(-99, 99) * 0.8 + 100


@pytest.fixture(params=["kernels", "torch"])
def engine(request, monkeypatch):
    """Both ways to compute it."""
    if request.param == "torch":
        monkeypatch.setattr(module, "_has_kernels", lambda values: False)


@pytest.mark.parametrize("shape", [(3, 12, 17), (1, 9, 8), (8, 20, 5), (21, 1, 30), (2, 30, 1), (4, 1, 1)])
@pytest.mark.parametrize("iterations", [1, 3])
def test_it_is_the_definition(engine, shape, iterations):
    values, image = np.random.default_rng(1).normal(size=shape).astype(np.float32), picture(*shape[1:])
    expected = naive(values, *gaps(image), 7, 20, iterations)
    result = domain_transform(values, image, sigma_pixels=7, sigma_color=20, iterations=iterations)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=2e-6)


@pytest.mark.parametrize("min_weight", [0.0, 0.3])
def test_the_layer_is_deeplabs(engine, min_weight):
    rng = np.random.default_rng(2)
    scores, edges = rng.normal(size=(2, 3, 10, 13)), rng.gamma(0.3, 2.0, (2, 10, 13))
    layer = DomainTransform(sigma_pixels=20, sigma_edge=2, iterations=2, min_weight=min_weight)
    result = layer(torch.tensor(scores, dtype=torch.float32), torch.tensor(edges, dtype=torch.float32))
    for n in range(2):
        expected = naive(scores[n], edges[n], edges[n], 20, 2, 2, min_weight)
        np.testing.assert_allclose(result[n].numpy(), expected, atol=2e-6)


def test_the_layers_defaults_are_the_released_ones():
    assert repr(DomainTransform()) == "DomainTransform(sigma_pixels=50.0, sigma_edge=5.0, iterations=3, min_weight=0.0)"


@pytest.mark.parametrize("min_weight", [0.0, 0.4])
def test_gradients_are_those_of_differences(min_weight):
    layer = DomainTransform(sigma_pixels=4, sigma_edge=2, iterations=2, min_weight=min_weight)
    scores = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    edges = torch.rand(2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (scores, edges))


def test_both_engines_have_the_same_gradients(monkeypatch):
    scores, edges = torch.randn(2, 11, 14, 19), torch.rand(2, 14, 19) * 2
    up = torch.randn(2, 11, 14, 19)

    def gradients():
        inputs = scores.clone().requires_grad_(), edges.clone().requires_grad_()
        (DomainTransform(sigma_pixels=9)(*inputs) * up).sum().backward()
        return [tensor.grad for tensor in inputs]

    by_kernels = gradients()
    monkeypatch.setattr(module, "_has_kernels", lambda values: False)
    for ours, theirs in zip(by_kernels, gradients(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_edges_can_be_learned():
    """An edge map that is fitted to a target opens where the target has its edge."""
    target = torch.zeros(1, 1, 6, 12)
    target[..., 6:] = 1
    noisy = target + 0.4 * torch.randn(target.shape)
    strength = torch.zeros(1, 6, 12, requires_grad=True)
    layer, optimizer = DomainTransform(sigma_pixels=20, sigma_edge=1), torch.optim.Adam([strength], 0.1)
    for _ in range(100):
        optimizer.zero_grad()
        (layer(noisy, strength.relu() + 0.01 * strength) - target).square().mean().backward()
        optimizer.step()
    found = strength.detach()[0].clamp(min=0).mean(0)
    assert found.argmax() == 6


def test_what_is_equal_everywhere_stays_and_probabilities_still_add_up_to_one(engine):
    image = picture(15, 22)
    equal = np.broadcast_to(np.array([0.25, 0.7, 0.05], np.float32)[:, None, None], (3, 15, 22))
    np.testing.assert_allclose(domain_transform(equal, image, sigma_color=30), equal, atol=1e-6)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(5), (15, 22)).transpose(2, 0, 1)
    result = domain_transform(probabilities, image, sigma_color=30)
    np.testing.assert_allclose(result.sum(0), 1, atol=1e-6)
    assert result.min() >= 0
    assert result.std() < probabilities.std() / 2


def test_it_smooths_within_edges_and_not_across_them():
    """Two halves of different gray: noise goes, the step stays."""
    image = np.zeros((40, 40), np.uint8)
    image[:, 20:] = 100
    step = (image > 0).astype(np.float32)
    noisy = step + np.random.default_rng(0).normal(0, 0.5, step.shape).astype(np.float32)
    result = domain_transform(noisy[None], image)[0]
    assert abs(result - step).max() < 0.2
    blind = domain_transform(noisy[None], np.zeros_like(image))[0]
    assert abs(blind - step)[:, 18:22].min() > 0.3


def test_labels_do_not_see_each_other():
    values, image = np.random.default_rng(0).random((5, 9, 11)), picture(9, 11)
    whole = domain_transform(values, image, sigma_color=50)
    for k in range(5):
        np.testing.assert_array_equal(domain_transform(values[k : k + 1], image, sigma_color=50)[0], whole[k])


def test_a_mirrored_picture_gives_nearly_the_mirrored_result():
    """Each pair of passes goes right first: that is what differs, and it is small where sigma is."""
    values, image = np.random.default_rng(0).random((2, 30, 40)), picture(30, 40)
    straight = domain_transform(values, image, sigma_pixels=5, sigma_color=100)
    mirrored = domain_transform(values[..., ::-1], image[:, ::-1], sigma_pixels=5, sigma_color=100)[..., ::-1]
    assert 0 < abs(straight - mirrored).max() < 0.1
    assert abs(straight - mirrored).mean() < 0.005


def test_no_edge_and_wide_is_the_mean_along_a_row():
    values = np.random.default_rng(0).random((1, 1, 20))
    result = domain_transform(values, np.zeros((1, 20)), sigma_pixels=1e6)
    assert np.ptp(result) < 1e-3


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_nothing(monkeypatch, threads):
    values, image = np.random.default_rng(0).random((3, 33, 29)), picture(33, 29)
    alone = domain_transform(values, image, sigma_color=40)
    monkeypatch.setattr(module, "FLOATS_PER_PART", 16)
    torch.set_num_threads(threads)
    np.testing.assert_array_equal(domain_transform(values, image, sigma_color=40), alone)


def test_tensors_and_batches_give_what_arrays_give():
    rng = np.random.default_rng(0)
    values, images = rng.random((2, 3, 8, 9), np.float32), rng.integers(0, 256, (2, 8, 9, 3), dtype=np.uint8)
    singly = [domain_transform(values[n], images[n], sigma_color=200) for n in range(2)]
    np.testing.assert_array_equal(domain_transform(values, images, sigma_color=200), singly)
    scores = torch.from_numpy(values).requires_grad_()
    batch = domain_transform(scores, torch.from_numpy(images), sigma_color=200)
    np.testing.assert_array_equal(batch.detach().numpy(), singly)
    batch.sum().backward()
    assert scores.grad.sum() == pytest.approx(values.size, rel=1e-5)


def test_the_callers_arrays_stay_as_they_are():
    for shape in ((8, 1, 1), (8, 4, 1), (3, 4, 5)):
        values = np.random.default_rng(0).random(shape, np.float32)
        before = values.copy()
        domain_transform(values, np.zeros(shape[1:]))
        np.testing.assert_array_equal(values, before)


def test_half_precision_is_computed_in_float32():
    scores, edges = torch.randn(1, 2, 6, 7), torch.rand(1, 6, 7)
    half = DomainTransform()(scores.bfloat16(), edges.bfloat16())
    assert half.dtype == torch.bfloat16
    expected = DomainTransform()(scores.bfloat16().float(), edges.bfloat16().float()).bfloat16()
    torch.testing.assert_close(half, expected, rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert DomainTransform()(scores, edges).dtype == torch.float32


GOOD = {"values": np.zeros((2, 3, 4)), "image": np.zeros((3, 4, 3))}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"values": np.zeros((3, 4))},
            ShapeError,
            r"values are \(3, 4\) of float64: expected \(K, H, W\) floats",
        ),
        ({"values": np.zeros((2, 3, 4), int)}, ShapeError, "expected .* floats"),
        ({"values": np.zeros((0, 3, 4))}, ShapeError, r"values are \(0, 3, 4\)"),
        ({"values": np.full((2, 3, 4), "a")}, ShapeError, "of <U1: expected"),
        ({"image": np.zeros((4, 3, 3))}, ShapeError, r"image is \(4, 3, 3\): expected \(3, 4\) and channels last"),
        ({"image": np.zeros((3, 4, 0))}, ShapeError, r"image is \(3, 4, 0\)"),
        ({"image": np.full((3, 4), "a")}, ShapeError, "image is of <U1"),
        ({"image": np.full((3, 4), np.nan)}, BadOption, "image holds values that are not finite"),
        ({"sigma_pixels": 0}, BadOption, "sigma_pixels is 0: expected a number above 0"),
        ({"sigma_color": float("nan")}, BadOption, "sigma_color is nan"),
        ({"sigma_color": 1e-310}, BadOption, "sigma_color is 1e-310: too narrow for sigma_pixels 50.0"),
        ({"values": np.full((2, 3, 4), 1e300)}, BadOption, "values hold numbers that are not finite"),
        ({"image": torch.zeros(3, 4, dtype=torch.bool)}, ShapeError, "image is of torch.bool: expected whole numbers"),
        ({"image": torch.zeros(3, 4, dtype=torch.complex64)}, ShapeError, "image is of torch.complex64"),
        ({"image": torch.zeros(3, 4, device="meta")}, BadOption, "image: a tensor on the device meta holds no values"),
        ({"image": [[1, 2], [3]]}, ShapeError, "is no array"),
        ({"values": torch.zeros(2, 3, 4).to_sparse()}, ShapeError, "expected a dense one"),
        ({"values": torch.zeros(2, 3, 4, device="meta")}, BadOption, "values: a tensor on the device meta"),
        ({"sigma_pixels": 10**400}, BadOption, "sigma_pixels is 1000.*000: expected a number above 0"),
        ({"sigma_pixels": True}, BadOption, "sigma_pixels is True"),
        ({"iterations": 0}, BadOption, "iterations is 0: expected a whole number from 1"),
    ],
)
def test_bad_calls(change, error, message):
    with pytest.raises(error, match=message) as caught:
        domain_transform(**(GOOD | change))
    assert "\n" not in str(caught.value)


def test_numbers_may_be_numpys():
    values, image = np.random.default_rng(0).random((2, 6, 7)), picture(6, 7)
    numbers = {"sigma_pixels": np.float32(7), "sigma_color": np.int64(30), "iterations": np.int8(2)}
    expected = domain_transform(values, image, sigma_pixels=7, sigma_color=30, iterations=2)
    np.testing.assert_array_equal(domain_transform(values, image, **numbers), expected)


def test_what_edges_below_zero_and_not_numbers_do(engine):
    layer, scores = DomainTransform(sigma_pixels=10, sigma_edge=5), torch.rand(1, 2, 6, 7)
    nothing = layer(scores, torch.full((1, 6, 7), -0.5))  # −σr/σs: no distance at all
    torch.testing.assert_close(layer(scores, torch.full((1, 6, 7), -9.0)), nothing)
    torch.testing.assert_close(nothing, scores[:, :, :1, :1].expand_as(scores))
    edges = torch.zeros(1, 6, 7)
    edges[0, 2, 3] = torch.nan
    assert layer(scores, edges).isnan().all()


def test_bad_calls_of_the_layer():
    layer = DomainTransform()
    with pytest.raises(ShapeError, match=r"edges are \(2, 4, 5\) of torch.float32: expected \(1, 4, 5\) floats"):
        layer(torch.zeros(1, 2, 4, 5), torch.zeros(2, 4, 5))
    with pytest.raises(ShapeError, match=r"scores are \(2, 4, 5\)"):
        layer(torch.zeros(2, 4, 5), torch.zeros(1, 4, 5))
    with pytest.raises(BadOption, match="edges are on meta, the scores on cpu: move them"):
        layer(torch.zeros(1, 2, 4, 5), torch.zeros(1, 4, 5, device="meta"))
    with pytest.raises(BadOption, match="min_weight is 2"):
        DomainTransform(min_weight=2)
    with pytest.raises(BadOption, match="min_weight is True"):
        DomainTransform(min_weight=True)
    with pytest.raises(BadOption, match="sigma_edge is -1"):
        DomainTransform(sigma_edge=-1)
