"""Where the streams of an FCN lie: the crops follow from kernels, strides and paddings of the layers themselves.

A layer's cell u lies at pixel x; u = (x + shift)/stride. A convolution or pool of kernel k, stride s, padding p maps
u to (u + p − (k − 1)/2)/s, a transposed convolution to s·u + (k − 1)/2 − p (spec, networks-2014-2016 §2.3).
"""

from fractions import Fraction
from typing import NamedTuple

import pytest
import torch
from torch import nn

from pixelwise.backbones.alexnet import AlexNet
from pixelwise.backbones.googlenet import GoogLeNet, Inception
from pixelwise.backbones.vgg import VGG16
from pixelwise.errors import BadOption
from pixelwise.layers.local_response import LocalResponseNorm
from pixelwise.models.fcn import (
    fcn8s_vgg16,
    fcn16s_vgg16,
    fcn32s_alexnet,
    fcn32s_googlenet,
    fcn32s_vgg16,
)
from pixelwise.models.fcn_streams import ALIGNMENTS, fuse

IN_PLACE = (nn.ReLU, nn.Dropout, nn.Identity, LocalResponseNorm)
NARROW = {"num_classes": 2, "width": 1 / 64}


class Cells(NamedTuple):
    shift: Fraction = Fraction(0)
    stride: Fraction = Fraction(1)

    def after(self, kernel, stride, padding):
        return Cells(self.shift + self.stride * (padding - Fraction(kernel - 1, 2)), self.stride * stride)

    def upscored(self, kernel, stride, padding=0):
        stride = self.stride / stride
        return Cells(self.shift + stride * (Fraction(kernel - 1, 2) - padding), stride)


def one(value):
    first, second = value if isinstance(value, tuple) else (value, value)
    assert first == second
    return first


def walk(module, cells):
    """The cells of what the module gives, its children one after the other."""
    if isinstance(module, IN_PLACE):
        return cells
    if isinstance(module, nn.Conv2d | nn.MaxPool2d):
        assert one(module.dilation) == 1
        return cells.after(one(module.kernel_size), one(module.stride), one(module.padding))
    if isinstance(module, nn.ConvTranspose2d):
        return cells.upscored(one(module.kernel_size), one(module.stride), one(module.padding))
    if isinstance(module, Inception):
        (cells,) = {walk(branch, cells) for branch in module.children()}
        return cells
    assert isinstance(module, nn.Sequential | VGG16 | AlexNet | GoogLeNet), module
    for child in module.children():
        cells = walk(child, cells)
    return cells


def pool_cells(backbone, last):
    """The cells of the map after group conv{last}."""
    cells = Cells()
    for number in range(1, last + 1):
        cells = walk(getattr(backbone, f"conv{number}"), cells)
    return cells


def check_last(upscore, cells):
    """The kept cells of the last upsampling are the picture's pixels."""
    assert cells.stride == upscore.factor
    if upscore.crop is None:
        assert -cells.shift == Fraction(upscore.factor - 1, 2)  # in the middle of its block
    else:
        kernel = upscore.kernel or 2 * upscore.factor
        assert cells.upscored(kernel, upscore.factor) == Cells(Fraction(upscore.crop), Fraction(1))


def check_fused(upscored, skip, starts):
    """Both lie on each other from `starts` on; gives the cells of their sum."""
    kept_upscored, kept_skip = (
        Cells(cells.shift - start * cells.stride, cells.stride)
        for cells, start in zip((upscored, skip), starts, strict=True)
    )
    assert kept_upscored == kept_skip
    return kept_upscored


@pytest.mark.parametrize("padding", ALIGNMENTS)
def test_streams_of_vgg16_lie_on_each_other(padding):
    alignment = ALIGNMENTS[padding]
    network = fcn8s_vgg16(padding=padding, learn_upsampling=True, **NARROW)
    pool3, pool4 = (pool_cells(network.backbone, last) for last in (3, 4))
    score_fr = walk(network.score_fr, walk(network.backbone, Cells()))
    check_last(alignment.upscore, score_fr)
    fuse_pool4 = check_fused(walk(network.upscore2, score_fr), walk(network.score_pool4, pool4), alignment.fuse_pool4)
    check_last(alignment.upscore16, fuse_pool4)
    upscore_pool4 = walk(network.upscore_pool4, fuse_pool4)
    check_last(alignment.upscore8, check_fused(upscore_pool4, pool3, alignment.fuse_pool3))
    check_last(alignment.pool4_alone, pool4)


def test_maps_of_the_released_padding_are_the_tables():
    """Spec §2.3: the cells of pool3, pool4, pool5, fc7, and of AlexNet's pool5 and fc7."""
    vgg, alexnet = VGG16(width=1 / 64), AlexNet(width=1 / 64)
    found = [pool_cells(vgg, 3), pool_cells(vgg, 4), pool_cells(vgg, 5), walk(vgg, Cells())]
    found += [walk(alexnet.convolutions, Cells()), walk(alexnet, Cells())]
    half = Fraction(1, 2)
    expected = [(95 + half, 8), (91 + half, 16), (83 + half, 32), (-12 - half, 32), (67, 32), (-13, 32)]
    assert found == [Cells(Fraction(shift), Fraction(stride)) for shift, stride in expected]


@pytest.mark.parametrize(
    ("network", "crop"),
    [
        (fcn32s_vgg16(**NARROW), 19),
        (fcn32s_vgg16(padding="same", **NARROW), None),
        (fcn32s_vgg16(pool5_stride=1, **NARROW), 11),
        (fcn32s_vgg16(pool5_stride=1, padding="same", **NARROW), None),
        (fcn32s_alexnet(**NARROW), 18),
        (fcn32s_googlenet(**NARROW), 1),
    ],
    ids=["vgg16", "vgg16 same", "pool5 at stride 1", "pool5 at stride 1, same", "alexnet", "googlenet"],
)
def test_one_stream_lies_on_the_picture(network, crop):
    check_last(network.upscore, walk(network.score_fr, walk(network.drop, walk(network.backbone, Cells()))))
    assert network.upscore.crop == crop


def test_pool4_alone_is_cropped_as_within_16s():
    network = fcn16s_vgg16(fusion="pool4", **NARROW)
    check_last(network.upscore, walk(network.score_pool4, walk(network.backbone, Cells())))
    released = ALIGNMENTS["released"]
    assert network.upscore.crop == 107 == 16 * released.fuse_pool4[1] + released.upscore16.crop


def test_streams_are_fused_where_both_are():
    upscored, skip = torch.randn(1, 2, 6, 4), torch.randn(1, 2, 13, 9)
    expected = upscored + skip[..., 5:11, 5:9]
    assert torch.equal(fuse(upscored, skip, (0, 5)), expected)
    larger = fuse(upscored, skip[..., :5, :2], (1, 0), "max")
    assert torch.equal(larger, torch.maximum(upscored[..., 1:6, 1:3], skip[..., :5, :2]))


def test_same_padding_does_not_fade_at_the_border():
    network = fcn32s_vgg16(padding="same", **NARROW).eval()
    nn.init.ones_(network.score_fr.bias)
    assert torch.equal(network(torch.zeros(1, 3, 50, 41)), torch.ones(1, 2, 50, 41))
    network = fcn32s_vgg16(**NARROW).eval()
    nn.init.ones_(network.score_fr.bias)
    row = network(torch.zeros(1, 3, 50, 50))[0, 0, 25, :45]
    faded = (2 * torch.arange(13) + 39) / 64  # spec §1.5: 13 columns, 0.609 to 0.984; the far border fades, too
    torch.testing.assert_close(row, torch.cat([faded, torch.ones(32)]))


@pytest.mark.parametrize("builder", [fcn32s_vgg16, fcn16s_vgg16, fcn8s_vgg16])
def test_another_padding_is_refused(builder):
    with pytest.raises(BadOption, match='padding must be "released" or "same", got 100'):
        builder(padding=100, **NARROW)
