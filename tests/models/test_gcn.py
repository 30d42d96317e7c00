import pytest
import torch
from torch import nn
from torch.nn import functional

from pixelwise.errors import BadOption
from pixelwise.models.gcn import (
    BoundaryRefinement,
    GlobalConvolution,
    gcn_resnet50,
    gcn_resnet101,
    gcn_resnet152,
    stacked_convolutions,
    trivial_convolution,
    upsample2,
)

NARROW = {"num_classes": 4, "width": 1 / 32}


def count(module):
    return sum(p.numel() for p in module.parameters())


def resize(values, size):
    return functional.interpolate(values, size, mode="bilinear", align_corners=True)


@pytest.mark.parametrize(("kernel", "head"), [(7, 1_225_812), (15, 2_544_276)])
@pytest.mark.parametrize(
    ("builder", "trunk"), [(gcn_resnet50, 23_508_032), (gcn_resnet101, 42_500_160), (gcn_resnet152, 58_143_808)]
)
def test_parameters(builder, trunk, kernel, head):
    """Per level 2k(C + K)K + 4K for the strips, and nine refinements of 2(9K² + K)."""
    with torch.device("meta"):
        network = builder(num_classes=21, kernel=kernel)
    assert count(network) == trunk + head
    levels = sum(2 * kernel * (c + 21) * 21 + 4 * 21 for c in (256, 512, 1024, 2048))
    assert head == levels + 9 * 2 * (9 * 21**2 + 21)


@pytest.mark.parametrize(
    ("kernel", "large", "trivial"),
    [
        (3, 260_694, 387_072),
        (5, 434_490, 1_075_200),
        (7, 608_286, 2_107_392),
        (9, 782_082, 3_483_648),
        (11, 955_878, 5_203_968),
        (13, 1_129_674, 7_268_352),
        (15, 1_303_470, 9_676_800),
    ],
)
def test_weights_of_the_papers_table(kernel, large, trivial):
    """Without biases, on 2048 channels: 782K and 3484K for k = 9."""
    with torch.device("meta"):
        assert count(GlobalConvolution(2048, 21, kernel=kernel, bias=False)) == large
        assert count(trivial_convolution(2048, 21, kernel=kernel, bias=False)) == trivial
        stack = stacked_convolutions(2048, 21, kernel=kernel, bias=False)
    assert count(stack) == 9 * 2048 * (2048 * (kernel // 2 - 1) + 21)


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_global_convolution_is_a_large_kernel_of_low_rank(kernel):
    """Both orders of strips, summed, with nothing between: one k x k convolution."""
    module = GlobalConvolution(5, 3, kernel=kernel, bias=False)
    features = torch.randn(2, 5, 6, 9)
    (tall, wide), (wide_first, tall_second) = module.left, module.right
    assert tall.kernel_size == tall_second.kernel_size == (kernel, 1)
    assert wide.kernel_size == wide_first.kernel_size == (1, kernel)
    dense = torch.einsum("omj,mci->ocij", wide.weight[:, :, 0], tall.weight[..., 0])
    dense = dense + torch.einsum("omi,mcj->ocij", tall_second.weight[..., 0], wide_first.weight[:, :, 0])
    torch.testing.assert_close(module(features), functional.conv2d(features, dense, padding=kernel // 2))


def test_boundary_refinement_is_figure_2c():
    module = BoundaryRefinement(4)
    scores = torch.randn(2, 4, 5, 6)
    inner = functional.conv2d(scores, module.conv1.weight, module.conv1.bias, padding=1).clamp(min=0)
    added = functional.conv2d(inner, module.conv2.weight, module.conv2.bias, padding=1)
    torch.testing.assert_close(module(scores), scores + added)


@pytest.mark.parametrize("make", [GlobalConvolution, trivial_convolution, stacked_convolutions])
def test_all_kinds_see_the_same_field(make):
    features = torch.randn(1, 2, 15, 15, requires_grad=True)
    module = make(2, 3, kernel=7)
    module(features)[0, :, 7, 7].sum().backward()
    rows, columns = features.grad[0].abs().sum(0).nonzero().T
    assert {(rows.min().item(), rows.max().item()), (columns.min().item(), columns.max().item())} == {(4, 10)}
    assert module(features).shape == (1, 3, 15, 15)


def upsampled(values, size, offset):
    """Output i takes its value at (i + offset)/2, no farther than the outermost cells."""
    for axis, length in zip((-2, -1), size, strict=True):
        place = ((torch.arange(length) + offset) / 2).clamp(0, values.shape[axis] - 1)
        low = place.floor().long()
        high = (low + 1).clamp(max=values.shape[axis] - 1)
        share = (place - low)[:, None] if axis == -2 else place - low
        values = values.index_select(axis, low) * (1 - share) + values.index_select(axis, high) * share
    return values


def test_upsampling_puts_cells_where_they_lie():
    """Cell j at 2j, the mean of two between; the last is repeated where the size is even."""
    coarse = torch.randn(1, 2, 3, 4)
    fine = upsample2(coarse, (5, 8))
    assert torch.equal(fine[..., ::2, ::2], coarse)
    torch.testing.assert_close(fine[..., 1, 0], coarse[..., :2, 0].mean(-1))
    torch.testing.assert_close(fine[..., :7], resize(coarse, (5, 7)))
    assert torch.equal(fine[..., 7], fine[..., 6])


def test_network_is_the_ladder_of_figure_2a():
    """Each step doubles the grid; cells of the backbone's maps lie 2 pixels inside, which one step makes good."""
    network = gcn_resnet50(**NARROW, kernel=5).eval()
    images = torch.randn(1, 3, 66, 95)
    res2, res3, res4, res5 = network.backbone(images)
    z = network.gcn_res5[1](network.gcn_res5[0](res5))
    for features, scored, fused in (
        (res4, network.gcn_res4, network.br_res4),
        (res3, network.gcn_res3, network.br_res3),
        (res2, network.gcn_res2, network.br_res2),
    ):
        convolution, refinement = scored
        z = fused(upsampled(z, features.shape[-2:], 0) + refinement(convolution(features)))
    z = network.br_half(upsampled(z, (33, 48), -1))
    z = network.br_full(upsampled(z, (66, 95), 0))
    head = network.heads(images)["logits"]
    torch.testing.assert_close(head.scores, z, rtol=1e-4, atol=1e-4 * z.abs().max().item())
    assert head.resampling.is_identity


def test_has_nine_refinements_or_none():
    with torch.device("meta"):
        network, without = (gcn_resnet50(num_classes=21, boundary_refinement=on) for on in (True, False))
    assert sum(isinstance(module, BoundaryRefinement) for module in network.modules()) == 9
    assert not any(isinstance(module, BoundaryRefinement) for module in without.modules())
    assert count(network) - count(without) == 9 * 2 * (9 * 21**2 + 21)


def test_grids_of_the_crops():
    """The last map of 512 is 16 x 16, which the kernel of 15 nearly covers; that of Cityscapes' 800 is 25 x 25."""
    with torch.device("meta"):
        network = gcn_resnet152(num_classes=21).eval()
        features = network.backbone(torch.empty(1, 3, 512, 512))
        assert network.backbone(torch.empty(1, 3, 800, 800)).res5.shape[-2:] == (25, 25)
    assert [f.shape[-1] for f in features] == [128, 64, 32, 16]
    unit = network.backbone.layer2[0]
    assert (unit.conv1.stride, unit.conv2.stride) == ((2, 2), (1, 1))
    assert network.gcn_res5[0].left[0].padding == (7, 0)


def test_all_start_at_hes_initialization():
    network = gcn_resnet50(num_classes=64, width=1 / 8)
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 10_000:
            assert module.weight.std().item() == pytest.approx((2 / module.weight[0].numel()) ** 0.5, rel=0.1)
            assert module.bias is None or not module.bias.any()


@pytest.mark.parametrize(
    "options", [{}, {"kernel": 1}, {"convolution": "trivial", "kernel": 1}, {"convolution": "stack", "kernel": 5}]
)
def test_every_small_size_comes_back(options):
    network = gcn_resnet50(num_classes=3, width=1 / 64, **options).eval()
    with torch.inference_mode():
        for size in range(1, 41, 1 if not options else 3):
            assert network(torch.randn(1, 3, size, 41 - size)).shape == (1, 3, size, 41 - size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": 0}, "kernel must be a whole number from 1 up, got 0"),
        ({"kernel": 4}, "kernel must be odd, so that padding keeps the size, got 4"),
        ({"convolution": "dense"}, 'convolution must be "global", "trivial" or "stack", got \'dense\''),
        ({"convolution": "stack", "kernel": 1}, "a stack of 3 × 3 convolutions needs a kernel from 3 up, got 1"),
    ],
)
def test_impossible_options(options, message):
    with torch.device("meta"), pytest.raises(BadOption, match=message):
        gcn_resnet101(num_classes=2, **options)
