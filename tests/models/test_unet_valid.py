import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from pixelwise.errors import BadOption, ShapeError
from pixelwise.models.unet import unet_valid


def shapes(network, images):
    """The (channels, height) of every convolution, up-convolution and pool, in the order they run in."""
    seen = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.MaxPool2d):
            module.register_forward_hook(lambda m, _i, out: seen.append((type(m).__name__, *out.shape[1:])))
    network.valid(images)
    return [(kind, channels, height) for kind, channels, height, _ in seen]


def naive(network, values):
    """Figure 1 from the weights alone."""
    state = network.state_dict()

    def block(prefix, values):
        for conv in (0, 2):
            values = functional.conv2d(values, state[f"{prefix}.{conv}.weight"], state[f"{prefix}.{conv}.bias"]).relu()
        return values

    depth = len(network.encoder)
    maps = [block("encoder.0", values)]
    for level in range(1, depth):
        assert maps[-1].shape[-2] % 2 == maps[-1].shape[-1] % 2 == 0
        maps.append(block(f"encoder.{level}", functional.max_pool2d(maps[-1], 2)))
    values = maps.pop()
    for level in reversed(range(depth - 1)):
        weight, bias = state[f"upconv.{level}.0.weight"], state[f"upconv.{level}.0.bias"]
        up = torch.einsum("ncyx,cdij->ndyixj", values, weight).flatten(2, 3).flatten(3, 4) + bias[:, None, None]
        skip = maps.pop()
        top, left = ((skip.shape[axis] - up.shape[axis]) // 2 for axis in (2, 3))
        skip = skip[:, :, top : top + up.shape[2], left : left + up.shape[3]]
        values = block(f"decoder.{level}", torch.cat((up, skip), 1))
    return functional.conv2d(values, state["score.weight"], state["score.bias"])


def alive(network):
    """With biases that are not the initial zeros."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.3)
    return network


def mirrored(images, *borders):
    return torch.from_numpy(np.pad(images.numpy(), ((0, 0), (0, 0), *borders), mode="reflect"))


def test_the_whole_table_of_the_figure():
    with torch.device("meta"):
        network = unet_valid(num_classes=2, in_channels=1)
        found = shapes(network, torch.empty(1, 1, 572, 572))
        assert network.valid(torch.empty(1, 1, 188, 572)).shape == (1, 2, 4, 388)
    conv, up, pool = "Conv2d", "ConvTranspose2d", "MaxPool2d"
    assert found == [
        *[(conv, 64, 570), (conv, 64, 568), (pool, 64, 284)],
        *[(conv, 128, 282), (conv, 128, 280), (pool, 128, 140)],
        *[(conv, 256, 138), (conv, 256, 136), (pool, 256, 68)],
        *[(conv, 512, 66), (conv, 512, 64), (pool, 512, 32)],
        *[(conv, 1024, 30), (conv, 1024, 28)],
        *[(up, 512, 56), (conv, 512, 54), (conv, 512, 52)],
        *[(up, 256, 104), (conv, 256, 102), (conv, 256, 100)],
        *[(up, 128, 200), (conv, 128, 198), (conv, 128, 196)],
        *[(up, 64, 392), (conv, 64, 390), (conv, 64, 388)],
        (conv, 2, 388),
    ]
    assert sum(kind != pool for kind, _, _ in found) == 23  # "in total the network has 23 convolutional layers"


@pytest.mark.parametrize(
    ("in_channels", "num_classes", "released", "expected"),
    [(1, 2, False, 31_030_658), (3, 2, False, 31_031_810), (3, 21, False, 31_033_045), (1, 2, True, 31_100_354)],
)
def test_parameters(in_channels, num_classes, released, expected):
    with torch.device("meta"):
        network = unet_valid(num_classes=num_classes, in_channels=in_channels, released=released)
    assert sum(p.numel() for p in network.parameters()) == expected


def test_released_network():
    """ReLU after each up-convolution, dropout after d3 and d4, 128 channels from the last up-convolution."""
    with torch.device("meta"):
        network = unet_valid(num_classes=2, in_channels=1, released=True)
        found = shapes(network, torch.empty(1, 1, 572, 572))
    assert [entry for entry in found if entry[0] == "ConvTranspose2d"] == [
        ("ConvTranspose2d", channels, size) for channels, size in ((512, 56), (256, 104), (128, 200), (128, 392))
    ]
    assert network.decoder[0][0].weight.shape == (64, 192, 3, 3)
    assert [[type(m).__name__ for m in up] for up in network.upconv] == [["ConvTranspose2d", "ReLU"]] * 4
    pair = ["Conv2d", "ReLU", "Conv2d", "ReLU"]
    assert [[type(m).__name__ for m in block] for block in network.encoder] == [pair] * 3 + [[*pair, "Dropout"]] * 2
    assert [[type(m).__name__ for m in block] for block in network.decoder] == [pair] * 4
    assert all(m.p == 0.5 for m in network.modules() if isinstance(m, nn.Dropout))


def test_dropped_values_are_also_the_skip():
    network = unet_valid(num_classes=2, width=1 / 16, depth=2, released=True)
    seen = {}
    network.encoder[0][-1].register_forward_hook(lambda _m, _i, out: seen.update(skip=out))
    network.decoder[0].register_forward_pre_hook(lambda _m, inputs: seen.update(concatenated=inputs[0]))
    network.valid(torch.randn(1, 3, 20, 22))
    up = network.upconv[0][0].out_channels
    assert torch.equal(seen["concatenated"][:, up:], seen["skip"][..., 4:-4, 4:-4])
    assert (seen["skip"] == 0).float().mean() > 0.6  # ReLU alone leaves half


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [(1, 1), (20, 36), (3, 29)])
def test_equals_the_figure_on_the_mirrored_picture(size, depth):
    network = alive(unet_valid(num_classes=3, width=1 / 16, depth=depth)).double().eval()
    images = torch.randn(1, 3, *size, dtype=torch.float64)
    context, stride = network.context, network.stride
    borders = [(context, context + next(k for k in range(16) if (n + k - 4) % stride == 0)) for n in size]
    expected = naive(network, mirrored(images, *borders))
    scores = network.heads(images)["logits"].scores
    torch.testing.assert_close(scores, expected[..., : size[0], : size[1]])
    assert scores.shape[-2:] == size


def test_context_and_stride_of_the_figure():
    network = unet_valid(num_classes=1, width=1 / 64)
    assert (2 * network.context, network.stride) == (572 - 388, 16)


def test_output_depends_on_the_context_alone():
    """A pixel further than the context from any of the inner part changes nothing of it, the next does."""
    network = unet_valid(num_classes=1, width=1 / 16, depth=3).double()
    images = torch.randn(1, 3, 84, 84, dtype=torch.float64, requires_grad=True)
    network.valid(images)[..., 16:24, 16:24].square().sum().backward()
    touched = images.grad.abs().sum((0, 1))
    assert touched[16 : 24 + 2 * 20, 16 : 24 + 2 * 20].any(1).all()
    touched[16 : 24 + 2 * 20, 16 : 24 + 2 * 20] = 0
    assert not touched.any()


def test_tiles_fit_together():
    """Figure 2: tiles predicted one by one, with the picture's own pixels as context, are the whole prediction."""
    network = alive(unet_valid(num_classes=3, width=1 / 16)).double().eval()
    images = torch.randn(1, 3, 36, 20, dtype=torch.float64)
    whole = network.heads(images)["logits"].scores
    assert whole.unique().numel() > 0.9 * whole.numel()
    picture = mirrored(images, (92, 92), (92, 92))
    for top, height in ((0, 20), (16, 20), (32, 4)):
        tile = network.valid(picture[:, :, top : top + height + 184, : 20 + 184])
        rows = slice(top, min(top + height, 36))
        torch.testing.assert_close(tile[:, :, : rows.stop - top], whole[:, :, rows])


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (
            (188, 187),
            "a height or width of 187 does not fit a U-Net of 5 levels; the next that does is 188, and each 16",
        ),
        ((512, 572), "a height or width of 512 .* the next that does is 524,"),
        ((1, 188), "a height or width of 1 .* the next that does is 188,"),
    ],
)
def test_sizes_that_do_not_fit(size, message):
    with torch.device("meta"), pytest.raises(ShapeError, match=message):
        unet_valid(num_classes=2, width=1 / 64).valid(torch.empty(1, 3, *size))


def test_initialization_is_the_papers():
    """N = 9 * 64 for a 3 x 3 convolution of 64 channels (§3); 128 for an up-convolution of as many."""
    network = unet_valid(num_classes=2, depth=2)
    assert network.encoder[0][2].weight.std().item() == pytest.approx((2 / 576) ** 0.5, rel=0.02)
    assert network.upconv[0][0].weight.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.02)
    assert not any(p.any() for name, p in network.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("depth", [0, 2.0])
def test_impossible_depth(depth):
    with pytest.raises(BadOption, match=f"depth must be a whole number from 1 up, got {depth}"):
        unet_valid(num_classes=2, depth=depth)
