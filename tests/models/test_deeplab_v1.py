import pytest
import torch
from torch.nn import functional

from pixelwise.errors import BadOption
from pixelwise.models.deeplab_v1 import (
    DeepLabVGG16,
    FullyConnected,
    deeplab_4x4,
    deeplab_4x4_rate8,
    deeplab_7x7,
    deeplab_largefov,
    deeplab_msc_largefov,
)

NETWORKS = [deeplab_7x7, deeplab_4x4, deeplab_4x4_rate8, deeplab_largefov, deeplab_msc_largefov]
LARGE = [deeplab_largefov, deeplab_msc_largefov]
VGG = [(1, 2), (2, 2), (3, 3), (4, 3), (5, 3)]


def leaves(network):
    """(weight, bias) of each convolution by its own name."""
    modules = [(name, m) for name, m in network.named_modules() if isinstance(m, torch.nn.Conv2d)]
    return {name.rpartition(".")[2]: (m.weight, m.bias) for name, m in modules}


def pool(x, kernel, stride, padding):
    """Caffe's maximum: rounds up, and leaves out a last window that starts behind the map."""
    windows = []
    for length in x.shape[-2:]:
        out = -(-(length + 2 * padding - kernel) // stride) + 1
        if padding and (out - 1) * stride >= length + padding:
            out -= 1
        windows.append(
            [range(max(0, j * stride - padding), min(length, j * stride - padding + kernel)) for j in range(out)]
        )
    rows = torch.stack([x[..., list(r), :].amax(-2) for r in windows[0]], -2)
    return torch.stack([rows[..., list(c)].amax(-1) for c in windows[1]], -1)


def prototxt_trunk(layers, x, first_pools, fourth_pool):
    """VGG-16 as the release's test files list it; the five maps."""
    pools = [first_pools] * 3 + [fourth_pool, (3, 1, 1)]
    maps = []
    for (group, convolutions), settings in zip(VGG, pools, strict=True):
        hole = 2 if group == 5 else 1
        for index in range(1, convolutions + 1):
            x = functional.conv2d(x, *layers[f"conv{group}_{index}"], padding=hole, dilation=hole).relu()
        x = pool(x, *settings)
        maps.append(x)
    return maps


def interp(scores, factor=8):
    """Caffe's Interp with a zoom factor."""
    size = [(length - 1) * factor + 1 for length in scores.shape[-2:]]
    return functional.interpolate(scores, size, mode="bilinear", align_corners=True)


@pytest.mark.parametrize("size", [(50, 66), (98, 58)])
@pytest.mark.parametrize(
    ("build", "pad", "hole"), [(deeplab_4x4, 6, 4), (deeplab_4x4_rate8, 12, 8), (deeplab_7x7, 12, 4)]
)
def test_first_networks_are_the_test_prototxt(build, pad, hole, size):
    """Sizes of 8n + 2, as 514: Interp by 8, cropped by 7 at the start and by 8 at the end."""
    network = build(num_classes=3, width=1 / 32).eval()
    layers, images = leaves(network), torch.randn(2, 3, *size)
    pool5 = prototxt_trunk(layers, images, (2, 2, 1), (2, 1, 1))[-1]
    fc6 = functional.conv2d(pool5, *layers["fc6"], padding=pad, dilation=hole).relu()
    fc7 = functional.conv2d(fc6, *layers["fc7"]).relu()
    scores = interp(functional.conv2d(fc7, *layers["fc8_pascal"]))[..., 7:-8, 7:-8]
    assert scores.shape[-2:] == size
    torch.testing.assert_close(network(images), scores)


def largefov(layers, images):
    """The six maps of `deeplab_largeFOV`'s prototxt that matter: its pools, and fc8_voc12."""
    *pools, pool5 = prototxt_trunk(layers, images, (3, 2, 1), (3, 1, 1))
    pool5a = functional.avg_pool2d(functional.pad(pool5, (1, 1, 1, 1)), 3, 1)
    fc6 = functional.conv2d(pool5a, *layers["fc6"], padding=12, dilation=12).relu()
    fc7 = functional.conv2d(fc6, *layers["fc7"]).relu()
    return pools, functional.conv2d(fc7, *layers["fc8_voc12"])


@pytest.mark.parametrize("size", [(49, 65), (97, 57)])
def test_largefov_is_the_prototxt(size):
    """Sizes of 8n + 1, as 321 and 513: Interp alone."""
    network = deeplab_largefov(num_classes=3, width=1 / 32).eval()
    images = torch.randn(2, 3, *size)
    torch.testing.assert_close(network(images), interp(largefov(leaves(network), images)[1]))


@pytest.mark.parametrize("size", [(49, 65), (97, 57)])
def test_msc_adds_five_maps_of_scores(size):
    network = deeplab_msc_largefov(num_classes=3, width=1 / 32).eval()
    for branch in ("image", "pool1", "pool2", "pool3", "pool4"):  # their deviation of 0.001 would hide everything
        for parameter in getattr(network, f"{branch}_branch").parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    images = torch.randn(2, 3, *size)
    pools, scores = largefov(leaves(network), images)
    for name, features, stride in zip(
        ("image", "pool1", "pool2", "pool3", "pool4"), [images, *pools], (8, 4, 2, 1, 1), strict=True
    ):
        layers = leaves(getattr(network, f"{name}_branch"))
        hidden = functional.conv2d(features, *layers["conv1"], stride=stride, padding=1).relu()
        hidden = functional.conv2d(hidden, *layers["conv2"]).relu()
        scores = scores + functional.conv2d(hidden, *layers["score"])
    torch.testing.assert_close(network(images), interp(scores))


@pytest.mark.parametrize("rest", range(8))
def test_side_branches_see_zeros_behind_the_picture(rest):
    """The trunk's last cell can lie behind the picture: a side branch sees zeros there, on the same grid."""
    network = deeplab_msc_largefov(num_classes=3, width=1 / 32).eval()
    images = torch.randn(1, 3, 40 + rest, 47 - rest)
    scores = network.heads(images)["logits"].scores
    for name, features, stride in [("image", images, 8), ("pool1", network.backbone(images).pool1, 4)]:
        branch = getattr(network, f"{name}_branch")
        padded = torch.zeros(*features.shape[:2], 121, 121)
        padded[..., : features.shape[-2], : features.shape[-1]] = features
        whole = branch(padded, (120 // stride + 1, 120 // stride + 1))
        size = scores.shape[-2:]
        torch.testing.assert_close(branch(features, tuple(size)), whole[..., : size[0], : size[1]])


@pytest.mark.parametrize("build", [deeplab_4x4, deeplab_largefov])
def test_the_grid_reaches_the_last_pixel_of_every_size(build):
    with torch.device("meta"):
        network = build(num_classes=2, width=1 / 64)
        for length in range(1, 34):
            scores = network.heads(torch.empty(1, 3, length, 1))["logits"].scores
            offset = 7 if build is deeplab_4x4 else 0
            assert (scores.shape[-2] - 1) * 8 >= length - 1 + offset


@pytest.mark.parametrize("build", NETWORKS)
def test_scores_lie_where_the_zoom_puts_them(build):
    """The window of cell j in the first pixels, from the layers' own numbers: centered at 8j, or at 8j − 7.5."""
    with torch.device("meta"):
        network = build(num_classes=2, width=1 / 64)
    center, jump, field = 0.0, 1, 1
    for module in network.modules():
        if module is getattr(network, "image_branch", None):
            break
        if isinstance(module, torch.nn.Conv2d | torch.nn.MaxPool2d | torch.nn.AvgPool2d):
            kernel, stride, padding, dilation = (
                value if isinstance(value, int) else value[0]
                for value in (module.kernel_size, module.stride, module.padding, getattr(module, "dilation", 1))
            )
            extent = dilation * (kernel - 1)
            center += (extent / 2 - padding) * jump
            field += extent * jump
            jump *= stride
    fc6 = network.fc.fc6
    extent = fc6.dilation[0] * (fc6.kernel_size[0] - 1) + 1
    assert jump == 8
    assert center == (0 if build in LARGE else -7.5)
    assert field == (435 if build in LARGE else 308 if build is deeplab_4x4 else 404)
    assert (extent + 3) * 8 == (128 if build is deeplab_4x4 else 224)  # Table 2, "FOV"


@pytest.mark.parametrize(
    ("build", "sizes"),
    [
        (deeplab_largefov, {321: [161, 81, 41, 41, 41], 513: [257, 129, 65, 65, 65]}),
        (deeplab_4x4, {306: [154, 78, 40, 41, 41], 514: [258, 130, 66, 67, 67]}),
    ],
)
def test_map_sizes(build, sizes):
    with torch.device("meta"):
        network = build(num_classes=21)
        for size, maps in sizes.items():
            assert [m.shape[-1] for m in network.backbone(torch.empty(1, 3, 8, size))] == maps
            assert network.heads(torch.empty(1, 3, 8, size))["logits"].scores.shape[-1] == maps[-1]


@pytest.mark.parametrize(
    ("build", "parameters"),
    list(zip(NETWORKS, (134_346_581, 65_140_565, 65_140_565, 20_505_429, 20_505_429 + 1_206_121), strict=True)),
)
def test_parameters_of_the_paper(build, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in build(num_classes=21).parameters()) == parameters


def test_initialization():
    network = deeplab_msc_largefov(num_classes=21, width=1 / 4)
    layers = leaves(network)
    assert layers["fc8_voc12"][0].std().item() == pytest.approx(0.01, rel=0.05)
    assert layers["conv3_2"][0].std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)
    assert layers["fc6"][0].std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.05)
    side = leaves(network.pool4_branch)
    assert side["conv1"][0].std().item() == pytest.approx(0.001, rel=0.05)
    assert side["score"][0].std().item() == pytest.approx(0.01, rel=0.1)
    assert not any(bias.any() for _, bias in layers.values())


def test_trunk_for_others():
    """DeepLab v2's: pools of 3, no average."""
    trunk = DeepLabVGG16(in_channels=4, width=1 / 32).eval()
    images = torch.randn(1, 4, 33, 49)
    for ours, theirs in zip(trunk(images), prototxt_trunk(leaves(trunk), images, (3, 2, 1), (3, 1, 1)), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert [m.shape[1] for m in trunk(images)] == list(trunk.channels)


@pytest.mark.parametrize("build", NETWORKS)
def test_impossible_numbers(build):
    with pytest.raises(BadOption, match="num_classes must be a whole number from 1 up, got 0"):
        build(num_classes=0)


def test_fc6_keeps_the_size():
    for kernel, rate in [(7, 4), (4, 4), (4, 8), (3, 12)]:
        assert FullyConnected(2, 4, kernel=kernel, rate=rate)(torch.zeros(1, 2, 5, 1)).shape == (1, 4, 5, 1)
