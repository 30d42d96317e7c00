"""SegNet and SegNet-Basic: networks-2014-2016 §3.1, §3.2, §3.4.

OpenCV lacks two of caffe-segnet's layers: BN, which is BatchNorm and Scale here, and Upsample, which it lets Python
define; its own Pooling gives the places. The encoders are compared alone, too, up to the last pool.
"""

import cv2
import pytest

from pixelwise.models.segnet import segnet, segnet_basic

from .caffe import run
from .compare import WIDTH, K, agree, batch_norm_blobs, conv_blobs, pictures, randomized, scale_blobs
from .segnet import BASIC_DECODER, BASIC_ENCODER, DECODER, ENCODER, Upsample


@pytest.fixture
def _upsample():
    cv2.dnn_registerLayer("Upsample", Upsample)
    yield
    cv2.dnn_unregisterLayer("Upsample")


@pytest.mark.parametrize("size", [(45, 60), (77, 50)])
@pytest.mark.parametrize(
    ("build", "encoder", "decoder", "last_pool", "scores", "contrast"),
    [
        (segnet, ENCODER, DECODER, "pool5", "conv1_1_D", 1),
        (segnet_basic, BASIC_ENCODER, BASIC_DECODER, "pool4", "conv_classifier", 100),
    ],
)
@pytest.mark.usefixtures("_upsample")
def test_segnet(build, encoder, decoder, last_pool, scores, contrast, size):
    network = randomized(build(num_classes=K, width=WIDTH))
    weights = {}
    for path, module in network.named_modules():
        leaf = path.rpartition(".")[2]
        if leaf.endswith("_bn"):
            weights |= {leaf: batch_norm_blobs(module), leaf.replace("_bn", "_scale"): scale_blobs(module)}
        elif leaf.startswith("conv"):
            weights |= {leaf: conv_blobs(module)}
    images = contrast * pictures(*size)  # `norm` acts on raw pictures
    pooled = []
    network.pool[-1].register_forward_hook(lambda module, inputs, output: pooled.append(output[0]))
    ours = network(images)
    agree(pooled[0], run(encoder, weights, images.numpy(), last_pool))
    agree(ours, run(encoder + decoder, weights, images.numpy(), scores))
