"""Each network, narrow, learns eight drawn pictures."""

import inspect
import os

import pytest
import torch
from torch.nn import functional

from pixelwise.models import MODELS, build

SIZE = 72
CLASSES = 4
STEPS = 200  # at most; most networks need some tens
# The released padding of 100 makes maps of 270 x 270 from these pictures; one network with it shall do here.
OPTIONS = {
    name: {"padding": "same"}
    for name, builder in MODELS.items()
    if "padding" in inspect.signature(builder).parameters and name != "fcn8s_vgg16"
} | {
    # of a few channels that end in ReLUs, all may die
    "unet": {"width": 1 / 8},
    "segnet": {"width": 1 / 8},
    "bayesian_segnet": {"width": 1 / 4},
    # a tile of five levels has 92 pixels of context on each side
    "unet_valid": {"width": 1 / 8, "depth": 3},
}
RATES = {"bayesian_segnet": 5e-3, "gcn_resnet50": 5e-3, "gcn_resnet101": 5e-3, "gcn_resnet152": 5e-3}  # else 2e-3


def drawn(channels):
    """Eight pictures of two fields of color, parted at another place and in another direction in each."""
    generator = torch.Generator().manual_seed(3)
    colors = torch.randn(CLASSES, channels, generator=generator)
    targets = torch.empty(8, SIZE, SIZE, dtype=torch.int64)
    for index, target in enumerate(targets):
        edge = 24 + 4 * index
        target[:] = index % CLASSES
        if index % 2:
            target[edge:] = (index + 1 + index // 4) % CLASSES
        else:
            target[:, edge:] = (index + 1 + index // 4) % CLASSES
    images = colors[targets].permute(0, 3, 1, 2).contiguous()
    return images + 0.1 * torch.randn(images.shape, generator=generator), targets


def side_by_side(values):
    """Eight pictures (8, …, H, W) as one of 2 x 4: a border of 186 pixels, Dilation's, is then made once."""
    rows = [torch.cat(list(values[first : first + 4]), -1) for first in (0, 4)]
    return torch.cat(rows, -2)[None]


# one of each paper's networks; the others differ in depth, rates or strides, and are part of make soak
USUAL = {
    *("fcn32s_alexnet", "fcn32s_googlenet", "fcn8s_vgg16", "fcn16s_rgb_hha", "fcn8s_two_headed", "unet", "unet_valid"),
    *("segnet_basic", "bayesian_segnet", "deeplab_largefov", "deeplab_msc_largefov", "crfrnn_fcn8s", "dilation7"),
    *("deeplab_v2_vgg16_aspp_l", "deeplab_v3_resnet50", "deeplab_v3_cascade_resnet50", "refinenet_resnet50"),
    *("pspnet_resnet50", "gcn_resnet50", "torchvision_fcn_resnet50"),
}
LEARNING = [name for name in MODELS if name in USUAL or os.environ.get("PIXELWISE_SOAK")]


@pytest.mark.parametrize("name", LEARNING)
def test_learns_eight_pictures(name):
    torch.manual_seed(0)
    network = build(name, **{"num_classes": CLASSES, "width": 1 / 16} | OPTIONS.get(name, {}))
    images, targets = drawn(inspect.signature(MODELS[name]).parameters["in_channels"].default)
    if getattr(network, "takes_levels", False):
        images = 10 * images
    if name.startswith("dilation"):
        images, targets = side_by_side(images), side_by_side(targets)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATES.get(name, 2e-3))
    accuracy = 0.0
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        heads = [head.full_size() for head in network.train().heads(images).values()]
        sum(functional.cross_entropy(scores, targets % scores.shape[1]) for scores in heads).backward()
        optimizer.step()
        if step % 10 == 0:
            with torch.inference_mode():
                scores = [head.full_size() for head in network.eval().heads(images).values()]
            accuracy = min((one.argmax(1) == targets % one.shape[1]).double().mean().item() for one in scores)
            if accuracy > 0.95:
                return
    pytest.fail(f"{accuracy:.3f} of the pixels right after {STEPS} steps")
