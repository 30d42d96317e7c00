"""Shifted and stitched maps against single windows, and two identities of the papers."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from pixelwise.backbones import CLASSIFIERS
from pixelwise.errors import BadOption, ShapeError, SurgeryError
from pixelwise.surgery import convolutionalize, set_output_stride, shift_and_stitch


class Joined(nn.Module):
    """Two paths of equal reach, concatenated, and a third that is added."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, stride=2)
        self.other = nn.Sequential(nn.MaxPool2d(3, stride=2), nn.Conv2d(3, 2, 1))
        self.last = nn.Conv2d(6, 3, 2, stride=2)
        self.short = nn.AvgPool2d(2, stride=2)

    def forward(self, images):
        both = torch.cat([self.one(images), self.other(images)], 1)
        return torch.tanh(self.last(both)) + self.short(both)[:, :3]


def pooled(*, padding=0, ceil=False):
    """Stride 4; windows of 14 × 14 where nothing is padded."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=padding),
        nn.ReLU(),
        nn.MaxPool2d(2, ceil_mode=ceil),
        nn.Conv2d(4, 4, 3, padding=padding, groups=2),
        nn.Tanh(),
        nn.AvgPool2d(2, ceil_mode=ceil),
        nn.Conv2d(4, 5, 2, padding=padding),
    ).double()


def oblong():
    """Stride (4, 3); windows of 9 × 8."""
    torch.manual_seed(4)
    return nn.Sequential(nn.Conv2d(3, 4, (3, 2), (2, 1)), nn.ReLU(), nn.MaxPool2d((4, 7), (2, 3))).double()


def joined():
    """Stride 4; windows of 5 × 5."""
    torch.manual_seed(5)
    return Joined().double()


def windows(network, images, window, step):
    """The naive way: each window that fits, cut out and scored alone."""
    rows = range(0, images.shape[-2] - window[0] + 1, step[0])
    columns = range(0, images.shape[-1] - window[1] + 1, step[1])
    scores = [[network(images[..., y : y + window[0], x : x + window[1]]) for x in columns] for y in rows]
    assert scores[0][0].shape[-2:] == (1, 1)
    return torch.cat([torch.cat(row, -1) for row in scores], -2)


CASES = {
    "a chain of pools": (pooled, (4, 4), (14, 14)),
    "strides that differ": (oblong, (4, 3), (9, 8)),
    "paths that join": (joined, (4, 4), (5, 5)),
}


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(more=st.tuples(st.integers(0, 9), st.integers(0, 9)), data=st.data())
def test_without_padding_the_result_holds_every_window_once_at_its_place(case, more, data):
    make, factor, window = CASES[case]
    steps = tuple(data.draw(st.sampled_from([n for n in range(1, side + 1) if side % n == 0])) for side in factor)
    images = torch.randn(2, 3, window[0] + more[0], window[1] + more[1], dtype=torch.float64)
    network = make().eval()
    with torch.no_grad():
        dense = shift_and_stitch(network, images, factor, step=steps)
        torch.testing.assert_close(dense, windows(network, images, window, steps), rtol=0, atol=1e-12)


def counted(network):
    calls = []
    network.register_forward_hook(lambda module, args, result: calls.append(args[0].device.type))
    return calls


@pytest.mark.parametrize(("step", "passes"), [(1, 16), (2, 4), (4, 1), ((1, 4), 4)])
def test_the_network_is_called_once_for_each_step_between_its_cells(step, passes):
    network = pooled()
    calls = counted(network)
    shift_and_stitch(network, torch.zeros(1, 3, 20, 20, dtype=torch.float64), 4, step=step)
    assert calls.count("cpu") == passes


def test_a_network_at_stride_32_has_its_half_way_points_by_four_passes():
    torch.manual_seed(6)
    layers = [nn.Conv2d(1, 2, 2, 2), *(nn.Sequential(nn.Tanh(), nn.Conv2d(2, 2, 2, 2)) for _ in range(4))]
    network = nn.Sequential(*layers).double()
    calls = counted(network)
    images = torch.randn(1, 1, 70, 81, dtype=torch.float64)
    with torch.no_grad():
        found = shift_and_stitch(network, images, 32, step=16)
        assert calls.count("cpu") == 4
        assert found.shape[-2:] == (3, 4)
        torch.testing.assert_close(found, windows(network, images, (32, 32), (16, 16)), rtol=0, atol=1e-12)


def rarefied(network):
    """`pooled` by hand at stride 1: the pools keep every place, what follows reaches twice and four times as far."""
    first, relu, _, second, tanh, _, last = network
    p = first.padding[0]

    def forward(images):
        values = F.max_pool2d(relu(first(images)), 2, stride=1)
        values = tanh(F.conv2d(values, second.weight, second.bias, dilation=2, padding=2 * p, groups=2))
        values = sum(  # the mean of 2 × 2 cells that lie 2 apart
            values[..., y : values.shape[-2] - 2 + y, x : values.shape[-1] - 2 + x] for y in (0, 2) for x in (0, 2)
        )
        return F.conv2d(values / 4, last.weight, last.bias, dilation=4, padding=4 * p)

    return forward


@pytest.mark.parametrize("size", [(24, 24), (29, 31)])
def test_it_equals_the_rarefied_network_everywhere_without_padding(size):
    network, images = pooled(), torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(shift_and_stitch(network, images, 4), rarefied(network)(images), rtol=0, atol=1e-12)


def test_it_equals_the_rarefied_network_in_the_interior_of_a_padded_one():
    network, images = pooled(padding=1), torch.randn(2, 3, 44, 52, dtype=torch.float64)
    with torch.no_grad():
        dense, other = shift_and_stitch(network, images, 4), rarefied(network)(images)
    rows, columns = (min(sides) for sides in zip(dense.shape[-2:], other.shape[-2:], strict=True))
    # the first window begins 7 = 1 + 2 + 4 pixels before the picture; 14 pixels are seen
    dense, other = dense[..., :rows, :columns], other[..., :rows, :columns]
    inside = (..., slice(7, 44 - 14 + 7 + 1), slice(7, 52 - 14 + 7 + 1))
    torch.testing.assert_close(dense[inside], other[inside], rtol=0, atol=1e-12)
    border = torch.ones_like(dense, dtype=torch.bool)
    border[inside] = False
    assert (dense - other)[border].abs().max() > 1e-3
    # the places of the network's own cells are its own everywhere
    own = network(images)
    torch.testing.assert_close(dense[..., ::4, ::4], own[..., : -(-rows // 4), : -(-columns // 4)], rtol=0, atol=1e-12)


@pytest.mark.parametrize("step", [1, 2, 4])
@pytest.mark.parametrize("ceil", [False, True])
def test_it_equals_the_network_whose_strides_were_taken(ceil, step):
    """But for windows over the upper and the left border, in passes that move the picture."""
    network, images = pooled(padding=1, ceil=ceil), torch.randn(1, 3, 33, 30, dtype=torch.float64)
    with torch.no_grad():
        stitched = shift_and_stitch(network, images, 4, step=step)
        dense = set_output_stride(copy.deepcopy(network), step)(images)
    assert stitched.shape == dense.shape
    start = -(-7 // step)
    inside = (..., slice(start, None), slice(start, None))
    torch.testing.assert_close(stitched[inside], dense[inside], rtol=0, atol=1e-12)


def test_vgg16_has_its_half_way_points_by_four_passes_or_by_rarefaction():
    torch.manual_seed(2)
    network = convolutionalize(CLASSIFIERS["vgg16"](num_classes=5, width=1 / 16).eval(), 224)
    images = torch.randn(1, 3, 256, 288)
    with torch.no_grad():
        stitched = shift_and_stitch(network, images, 32, step=16)
        dense = set_output_stride(copy.deepcopy(network), 16)(images)
        own = network(images)
    # a score sees 404 pixels, the first from 90 before the picture on
    assert stitched.shape == dense.shape == (1, 5, 4, 6)
    torch.testing.assert_close(stitched[..., ::2, ::2], own, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(dense[..., ::2, ::2], own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(16, 17), (19, 22), (21, 23)])
def test_a_map_that_rounds_up_has_no_place_without_a_score(size):
    """Each place is the network's cell on the moved picture that begins there."""
    network, images = pooled(padding=1, ceil=True), torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        dense = shift_and_stitch(network, images, 4)
        for i in range(dense.shape[-2]):
            for j in range(dense.shape[-1]):
                y, x = -i % 4, -j % 4
                moved = torch.zeros(1, 3, size[0] + y, size[1] + x, dtype=torch.float64)
                moved[..., y:, x:] = images
                expected = network(moved)[..., (i + y) // 4, (j + x) // 4]
                torch.testing.assert_close(dense[..., i, j], expected, rtol=0, atol=1e-12)
    assert dense.shape[-2] >= size[0] - 14 + 1


def test_gradients_of_the_stitched_map_are_those_of_the_windows():
    network, images = joined(), torch.randn(1, 3, 9, 8, dtype=torch.float64)
    weights = torch.randn(1, 3, 5, 4, dtype=torch.float64)
    (shift_and_stitch(network, images, 4) * weights).sum().backward()
    found = {name: p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad()
    (windows(network, images, (5, 5), (1, 1)) * weights).sum().backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=0, atol=1e-12)


class Reading(nn.Module):
    """Decides by a value, so that only a real picture tells its sizes."""

    def forward(self, images):
        return F.avg_pool2d(images, 2) if float(images.sum()) < 1e9 else images


def test_a_network_that_reads_values_is_measured_on_a_real_picture():
    images = torch.randn(1, 1, 6, 6)
    assert shift_and_stitch(Reading(), images, 2).shape == (1, 1, 5, 5)
    with pytest.raises(SurgeryError, match=r"Reading has a score for each 2 × 2 pixels, not for each 4 × 4"):
        shift_and_stitch(Reading(), images, 4)


class Particular(nn.Module):
    def forward(self, images):
        if images.is_meta:
            raise ValueError("pictures have numbers")
        return F.avg_pool2d(images, 2)


def test_a_network_that_refuses_pictures_without_data_is_measured_on_a_real_one():
    assert shift_and_stitch(Particular(), torch.randn(1, 1, 6, 6), 2).shape == (1, 1, 5, 5)


class Scaled(nn.Module):
    """Its plain tensor stays on its device, so that only a real picture tells the stride."""

    def __init__(self, stride, kernel=3):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, kernel, stride)
        self.norm = nn.BatchNorm2d(2)
        self.dropout = nn.Dropout()
        self.scale = torch.ones(2, 1, 1)

    def forward(self, images):
        return self.dropout(self.norm(self.conv(images))) * self.scale


@pytest.mark.parametrize("factor", [2, 3, 7, 8, 16])
def test_on_real_pictures_too_each_other_factor_is_refused(factor):
    images = torch.randn(1, 1, 21, 25)
    assert shift_and_stitch(Scaled(factor).eval(), images, factor, step=factor).shape[:2] == (1, 2)
    for stride in (factor - 1, factor + 1, 2 * factor):
        for strides in ((stride, factor), (factor, stride)):
            with pytest.raises(SurgeryError, match="Scaled has a score for each"):
                shift_and_stitch(Scaled(strides).eval(), images, factor)


def test_a_stride_found_on_real_pictures_is_named():
    with pytest.raises(SurgeryError, match="has a score for each 9 × 8 pixels, not for each 8 × 8"):
        shift_and_stitch(Scaled((9, 8)).eval(), torch.randn(1, 1, 20, 20), 8)


def test_real_pictures_to_measure_with_leave_statistics_and_modes_alone():
    network = Scaled(2).train()
    network.dropout.eval()
    shift_and_stitch(network, torch.randn(2, 1, 7, 9), 2)
    assert network.norm.num_batches_tracked == 4  # its own passes, in training mode as it was given
    assert network.training and network.norm.training and not network.dropout.training
    network.norm.reset_running_stats()
    with pytest.raises(SurgeryError, match="not for each 4 × 4"):
        shift_and_stitch(network, torch.randn(2, 1, 7, 9), 4)
    assert network.norm.num_batches_tracked == 0 and network.training and not network.dropout.training


def test_real_pictures_to_measure_with_are_one_and_grow_along_one_side():
    network = Scaled((2, 3)).eval()
    sizes = []
    network.conv.register_forward_hook(
        lambda module, args, result: sizes.append(tuple(args[0].shape)) if result.device.type == "cpu" else None
    )
    shift_and_stitch(network, torch.randn(5, 1, 7, 9), (2, 3), step=(2, 3))
    # own size; 3 cells of 2 pixels more; 4 cells of 3 pixels more; the pictures themselves
    assert sizes == [(1, 1, 7, 9), (1, 1, 13, 9), (1, 1, 7, 21), (5, 1, 7, 9)]


def test_a_picture_of_one_cell_is_measured_in_training_mode_too():
    network = nn.Sequential(nn.Conv2d(1, 2, 4, 4), nn.BatchNorm2d(2)).train()
    assert shift_and_stitch(network, torch.randn(2, 1, 7, 7), 4).shape == (2, 2, 4, 4)


class Turned(nn.Module):
    def forward(self, images):
        return F.max_pool2d(images, 2).transpose(2, 3)


def test_a_map_that_grows_along_the_other_axis_is_refused():
    with pytest.raises(SurgeryError, match="map of Turned does not grow with the picture"):
        shift_and_stitch(Turned(), torch.randn(1, 1, 6, 6), 2)


class Gridded(nn.Module):
    """Makes a grid at its first picture, and keeps it."""

    grid = None

    def forward(self, images):
        if self.grid is None:
            self.grid = torch.ones(1, 1, 1, 1, device=images.device)
        return F.avg_pool2d(images, 2) * self.grid


@pytest.mark.parametrize("factor", [2, 3])
def test_no_tensor_that_a_layer_keeps_stays_without_data(factor):
    network = nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(1, 1, 1)), Gridded()).eval()
    weight = network[0].weight
    if factor == 2:
        assert not shift_and_stitch(network, torch.randn(1, 1, 6, 6), factor).is_meta
    else:
        with pytest.raises(SurgeryError, match="has a score for each 2 × 2 pixels"):
            shift_and_stitch(network, torch.randn(1, 1, 6, 6), factor)
        assert network[0].weight is weight and "grid" not in vars(network[1])
    assert not any(held.is_meta for layer in network for held in vars(layer).values() if isinstance(held, torch.Tensor))


class TrainedOtherwise(nn.Module):
    def forward(self, images):
        scores = F.avg_pool2d(images, 2)
        return {"out": scores} if self.training else scores


def test_what_gives_a_map_in_evaluation_alone_says_so():
    images = torch.randn(1, 1, 6, 6)
    assert shift_and_stitch(TrainedOtherwise().eval(), images, 2).shape == (1, 1, 5, 5)
    with pytest.raises(SurgeryError, match=r"needs a network that gives a map .* TrainedOtherwise gives dict"):
        shift_and_stitch(TrainedOtherwise(), images, 2)


def test_a_function_is_no_network():
    with pytest.raises(BadOption, match=r"network must be a module of torch, got function; put a function into one"):
        shift_and_stitch(lambda images: F.max_pool2d(images, 2), torch.zeros(1, 1, 4, 4), 2)


@pytest.mark.parametrize("factor", [2, 3, 5, 8, (4, 2), (2, 4)])
def test_a_factor_that_is_not_the_stride_is_refused(factor):
    with pytest.raises(SurgeryError, match=r"Sequential has a score for each 4 × 4 pixels, not for each .* as factor"):
        shift_and_stitch(pooled(), torch.zeros(1, 3, 20, 20, dtype=torch.float64), factor)


def test_nothing_of_the_network_changes_by_the_measurement():
    network = nn.Sequential(nn.Conv2d(1, 2, 2, 2), nn.BatchNorm2d(2)).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    shift_and_stitch(network, torch.randn(1, 1, 6, 6), 2)
    assert not network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": 4, "step": 3}, r"multiple of step, got factor=4 and step=3; steps for 4 are 1, 2, 4$"),
        ({"factor": (4, 4), "step": (4, 8)}, r"multiple of step, got factor=\(4, 4\) and step=\(4, 8\)"),
        ({"factor": 0}, r"factor must be a whole number from 1 up, or two: \(down, right\); got 0"),
        ({"factor": 4.0}, r"factor must be a whole number from 1 up"),
        ({"factor": True}, r"factor must be a whole number from 1 up"),
        ({"factor": (4, 4, 4)}, r"factor must be a whole number from 1 up"),
        ({"factor": 4, "step": -1}, r"step must be a whole number from 1 up"),
    ],
)
def test_other_factors_and_steps_are_refused(options, message):
    with pytest.raises(BadOption, match=message):
        shift_and_stitch(pooled(), torch.zeros(1, 3, 20, 20, dtype=torch.float64), **options)


def test_what_gives_no_map_is_refused():
    images = torch.zeros(1, 3, 20, 20)
    with pytest.raises(
        SurgeryError, match=r"needs a network that gives a map .* Flatten gives \(1, 1200\).*convolution"
    ):
        shift_and_stitch(nn.Flatten(), images, 4)
    with pytest.raises(SurgeryError, match=r"map of AdaptiveAvgPool2d does not grow with the picture"):
        shift_and_stitch(nn.AdaptiveAvgPool2d(3), images, 4)
    with pytest.raises(ShapeError, match=r"images must be \(N, C, H, W\), got \(3, 20, 20\)"):
        shift_and_stitch(nn.Identity(), images[0], 1)


def test_a_picture_that_is_too_small_gives_the_networks_own_error():
    with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input size"):
        shift_and_stitch(nn.Conv2d(1, 1, 9), torch.zeros(1, 1, 5, 5), 1)


def test_the_gradient_of_a_whole_image_loss_is_the_sum_of_its_patches_gradients():
    """FCN §3: a loss that is a sum over the last map is the sum over receptive fields taken as a minibatch."""
    network, window, stride = pooled(), 14, 4
    images = torch.randn(1, 3, 30, 34, dtype=torch.float64)
    target = torch.randint(5, (1, 5, 6))
    F.cross_entropy(network(images), target, reduction="sum").backward()
    whole = [parameter.grad.clone() for parameter in network.parameters()]
    summed = [torch.zeros_like(parameter) for parameter in network.parameters()]
    for i in range(5):
        for j in range(6):
            network.zero_grad()
            y, x = i * stride, j * stride
            patch = images[..., y : y + window, x : x + window]
            F.cross_entropy(network(patch).flatten(1), target[:, i, j], reduction="sum").backward()
            for total, parameter in zip(summed, network.parameters(), strict=True):
                total += parameter.grad
    for one, other in zip(whole, summed, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(
    rate=st.integers(1, 4),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    size=st.tuples(st.integers(12, 17), st.integers(12, 17)),
)
def test_a_dilated_convolution_is_plain_ones_on_interleaved_maps(rate, kernel, size):
    """DeepLab §3.1: r² maps of every r-th cell, a plain convolution of each, put into each other again."""
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    filters = torch.randn(4, 3, *kernel, dtype=torch.float64)
    dilated = F.conv2d(images, filters, dilation=rate)
    interleaved = torch.full_like(dilated, torch.nan)
    for y in range(rate):
        for x in range(rate):
            places = interleaved[..., y::rate, x::rate]
            places.copy_(F.conv2d(images[..., y::rate, x::rate], filters))
    torch.testing.assert_close(interleaved, dilated, rtol=0, atol=1e-12)
