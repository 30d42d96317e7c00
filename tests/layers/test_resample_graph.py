"""In a graph, the same taps as outside of it, for sizes that the graph does not know."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim
from torch.fx.experimental import _config as symbols

from pixelwise.layers.mirror import mirror_pad, mirror_to_at_least
from pixelwise.layers.resample import Resampling

SIZES = [(1, 1), (1, 5), (2, 3), (7, 4), (9, 16)]
MAKERS = {
    "identity": (lambda h, n: Resampling.identity(h), lambda h: h),
    "half_pixel": (Resampling.half_pixel, lambda h: 5 * h + 3),
    "half_pixel_down": (Resampling.half_pixel, lambda h: (h + 2) // 3),
    "align_corners": (Resampling.align_corners, lambda h: 4 * h - 2),
    "zoom": (lambda h, n: Resampling.zoom(h, n, factor=8), lambda h: 8 * h - 5),
    "zoom_offset": (lambda h, n: Resampling.zoom(h, n, factor=4, offset=-2), lambda h: 4 * h + 3),
    "blocks": (lambda h, n: Resampling.blocks(h, n, factor=4), lambda h: 4 * h - 1),
    "deconvolution": (lambda h, n: Resampling.deconvolution(h, n, factor=2, offset=0), lambda h: 2 * h + 2),
    "deconvolution_odd": (
        lambda h, n: Resampling.deconvolution(h, n, factor=32, offset=18, kernel=63),
        lambda h: 32 * h + 10,
    ),
}


class Resampled(nn.Module):
    def __init__(self, maker, length):
        super().__init__()
        self.maker, self.length = maker, length

    def forward(self, scores):
        height, width = scores.shape[-2:]
        return self.maker((height, width), (self.length(height), self.length(width))).apply(scores)


class Mirrored(nn.Module):
    def forward(self, images):
        padded = mirror_pad(images, top=3, bottom=-images.shape[-2] % 4, left=5, right=2)
        return mirror_to_at_least(padded, (11, 9))


def exported(module):
    axes = ({2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
    with symbols.patch(backed_size_oblivious=True):
        program = torch.export.export(module, (torch.zeros(1, 2, 5, 6),), dynamic_shapes=axes, strict=False)
    return program.module(check_guards=False)


@pytest.mark.parametrize("name", MAKERS)
def test_a_graph_resamples_as_numpys_taps_do_at_every_size(name):
    module = Resampled(*MAKERS[name])
    graph = exported(module)
    for size in SIZES:
        scores = torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(0))
        np.testing.assert_allclose(graph(scores), module(scores), rtol=1e-6, atol=1e-6)


def test_a_graph_mirrors_as_numpy_does_at_every_size():
    graph = exported(Mirrored())
    for size in SIZES:
        images = torch.randn(1, 2, *size)
        assert torch.equal(graph(images), Mirrored()(images))
