"""Narrow networks with random weights, in Caffe's form, and the comparison of two programs' scores."""

import numpy as np
import torch
from torch import nn

K = 5  # classes
WIDTH = 1 / 16


def narrow(channels):
    """Published channels at the tests' width."""
    assert channels * WIDTH == round(channels * WIDTH)
    return round(channels * WIDTH)


def randomized(network):
    """No score stays at zero, no bias and no statistics as they start."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=(2 / module.weight[0].numel()) ** 0.5)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.05, 0.1)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.005, 0.02)  # small, so that eps counts
    return network.eval().requires_grad_(False)


def conv_blobs(conv):
    """A convolution's blobs: weight, and bias where it has one."""
    return [conv.weight.numpy()] if conv.bias is None else [conv.weight.numpy(), conv.bias.numpy()]


def batch_norm_blobs(bn):
    """The blobs of BatchNorm: sums of means and variances and the number by which to divide them; any will do."""
    return [3 * bn.running_mean.numpy(), 3 * bn.running_var.numpy(), np.array([3], np.float32)]


def scale_blobs(bn):
    """The blobs of the Scale that follows a BatchNorm."""
    return [bn.weight.numpy(), bn.bias.numpy()]


def convolutions_by_leaf(network):
    """Blobs of all convolutions under the last part of their names, which is the prototxt's name."""
    return {
        name.rpartition(".")[2]: conv_blobs(module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    }


def bilinear(channels, kernel, *, group=1):
    """The filler "bilinear" (§1.5): w(x, y) = (1 − |x/f − c|)(1 − |y/f − c|), from each class to itself."""
    factor = (kernel + 1) // 2
    taps = 1 - np.abs(np.arange(kernel) / factor - (kernel - 1) / (2 * factor))
    classes = np.eye(channels) if group == 1 else np.ones((channels, 1))
    return np.einsum("io,y,x->ioyx", classes, taps, taps).astype(np.float32)


def pictures(height, width):
    """Two pictures of noise."""
    return torch.randn(2, 3, height, width)


def agree(ours, theirs):
    """Equal to 1e-4 of the largest score."""
    assert tuple(ours.shape) == theirs.shape
    largest = np.abs(theirs).max()
    assert largest > 0.01  # scores, not silence
    assert np.abs(ours.numpy() - theirs).max() < 1e-4 * largest
