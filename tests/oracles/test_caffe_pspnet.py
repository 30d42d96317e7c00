"""PSPNet: networks-2015-2017 §0.1, §0.2, §1.3.1; its own batch norm is BatchNorm and Scale here."""

import pytest

from pixelwise.models.pspnet import pspnet_resnet50, pspnet_resnet101

from .caffe import run
from .compare import WIDTH, K, agree, pictures, randomized
from .pspnet import pspnet, pspnet_blobs
from .resnet import R50, R101


# 8k + 1 pixels for k + 1 cells, which 6 bins divide
@pytest.mark.parametrize("size", [(89, 137), (137, 89)])
@pytest.mark.parametrize(
    ("build", "units", "stride_in"), [(pspnet_resnet50, R50, "1x1"), (pspnet_resnet101, R101, "3x3")]
)
def test_pspnet(build, units, stride_in, size):
    network = randomized(build(num_classes=K, width=WIDTH))
    weights = pspnet_blobs(units, network)
    images = pictures(*size)
    layers = pspnet(units, stride_in, (size[0] + 7) // 8, (size[1] + 7) // 8)
    agree(network(images), run(layers, weights, images.numpy(), "conv6_interp"))
