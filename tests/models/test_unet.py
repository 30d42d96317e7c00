import math

import pytest
import torch
from torch.nn import functional

from pixelwise.errors import BadOption
from pixelwise.models.unet import unet


def naive(network, values):
    """Figure 1 with padding, from the weights alone; rounds sizes up, crops to the skip."""
    state = network.state_dict()

    def block(prefix, values):
        for conv, bn in ((0, 1), (3, 4)):
            values = functional.conv2d(values, state[f"{prefix}.{conv}.weight"], padding=1)
            mean, deviation = (
                state[f"{prefix}.{bn}.running_mean"],
                (state[f"{prefix}.{bn}.running_var"] + 1e-5).sqrt(),
            )
            values = (values - mean[:, None, None]) / deviation[:, None, None]
            values = values * state[f"{prefix}.{bn}.weight"][:, None, None]
            values = (values + state[f"{prefix}.{bn}.bias"][:, None, None]).relu()
        return values

    depth = len(network.encoder)
    maps = [block("encoder.0", values)]
    for level in range(1, depth):
        height, width = maps[-1].shape[-2:]
        even = functional.pad(maps[-1], (0, width % 2, 0, height % 2), value=-math.inf)
        maps.append(block(f"encoder.{level}", functional.max_pool2d(even, 2)))
    values = maps.pop()
    for level in reversed(range(depth - 1)):
        weight, bias = state[f"upconv.{level}.weight"], state[f"upconv.{level}.bias"]
        up = torch.einsum("ncyx,cdij->ndyixj", values, weight).flatten(2, 3).flatten(3, 4) + bias[:, None, None]
        skip = maps.pop()
        up = up[:, :, : skip.shape[2], : skip.shape[3]]
        values = block(f"decoder.{level}", torch.cat((up, skip), 1))
    return functional.conv2d(values, state["score.weight"], state["score.bias"])


def settled(network):
    """In evaluation, with running statistics and shifts that are not the initial ones."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.normal_(module.bias, std=0.3)
    return network.eval()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (16, 32), (33, 18), (47, 31)])
@pytest.mark.parametrize("depth", [1, 3, 5])
def test_equals_the_figure(size, depth):
    network = settled(unet(num_classes=3, width=1 / 16, depth=depth)).double()
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    scores = network.heads(images)["logits"].scores
    torch.testing.assert_close(scores, naive(network, images))


def test_shapes_and_channels_of_the_figure():
    with torch.device("meta"):
        network = unet(num_classes=2)
        seen = []
        for module in [*network.encoder, *network.upconv, *network.decoder]:
            module.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape[1:])))
        network(torch.empty(1, 3, 512, 400))
    down = [(64, 512, 400), (128, 256, 200), (256, 128, 100), (512, 64, 50), (1024, 32, 25)]
    up = [entry for level in reversed(down[:-1]) for entry in (level, level)]
    assert seen == down + up


def test_twice_the_depth_reaches_further():
    network = settled(unet(num_classes=1, width=1 / 16, depth=6))
    assert len(network.encoder) == 6
    assert network(torch.randn(1, 3, 40, 24)).shape == (1, 1, 40, 24)


def test_initialization_is_the_papers():
    network = unet(num_classes=2, width=0.5)
    assert network.decoder[1][0].weight.std().item() == pytest.approx(math.sqrt(2 / (128 * 9)), rel=0.02)
    assert network.upconv[2].weight.std().item() == pytest.approx(math.sqrt(2 / 256), rel=0.02)
    assert not network.upconv[2].bias.any()


@pytest.mark.parametrize("depth", [0, 2.0])
def test_impossible_depth(depth):
    with pytest.raises(BadOption, match=f"depth must be a whole number from 1 up, got {depth}"):
        unet(num_classes=2, depth=depth)
