import pytest
import torch
from torch import nn

from pixelwise.layers.local_response import LocalResponseNorm


@pytest.mark.parametrize("channels", [1, 3, 5, 12])
def test_is_torchs(channels):
    values = (torch.randn(2, channels, 4, 5, dtype=torch.float64) * 100).requires_grad_()
    twin = values.detach().clone().requires_grad_()
    ours, theirs = LocalResponseNorm()(values), nn.LocalResponseNorm(5)(twin)
    torch.testing.assert_close(ours, theirs)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    torch.testing.assert_close(values.grad, twin.grad)


def test_is_caffes_formula():
    values = torch.rand(1, 7, 2, 3) * 255
    found = LocalResponseNorm()(values)
    for channel in range(7):
        near = values[:, max(0, channel - 2) : channel + 3].square().sum(1)
        torch.testing.assert_close(found[:, channel], values[:, channel] * (1 + 1e-4 / 5 * near) ** -0.75)
