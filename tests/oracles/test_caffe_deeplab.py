"""DeepLab v1 and v2: networks-2014-2016 §5.1, §5.2, §5.5, §5.6."""

import pytest

from pixelwise.models.deeplab_v1 import deeplab_4x4, deeplab_largefov
from pixelwise.models.deeplab_v2 import deeplab_v2_resnet101_aspp, deeplab_v2_vgg16_aspp_l, deeplab_v2_vgg16_aspp_s

from .caffe import run, zoom
from .compare import WIDTH, K, agree, convolutions_by_leaf, pictures, randomized
from .deeplab import FOUR_BY_FOUR, LARGE_FOV, RESNET101_ASPP, multi_scale, resnet_blobs, vgg16_aspp


# sizes 8n + 1, and 8n + 2 as the 514 of `vgg128_noup`; more than 24 cells, so that taps of each rate lie on the grid
@pytest.mark.parametrize(
    ("build", "layers", "last", "size"),
    [
        (deeplab_largefov, LARGE_FOV, "fc8_interp", (209, 145)),
        (deeplab_largefov, LARGE_FOV, "fc8_interp", (153, 217)),
        (deeplab_v2_vgg16_aspp_s, vgg16_aspp(2, 4, 8, 12), "fc8_interp", (145, 121)),
        (deeplab_v2_vgg16_aspp_s, vgg16_aspp(2, 4, 8, 12), "fc8_interp", (73, 113)),
        (deeplab_v2_vgg16_aspp_l, vgg16_aspp(6, 12, 18, 24), "fc8_interp", (209, 145)),
        (deeplab_v2_vgg16_aspp_l, vgg16_aspp(6, 12, 18, 24), "fc8_interp", (153, 217)),
        (deeplab_4x4, FOUR_BY_FOUR, "fc8_crop", (98, 146)),
        (deeplab_4x4, FOUR_BY_FOUR, "fc8_crop", (74, 50)),
    ],
)
def test_vgg(build, layers, last, size):
    network = randomized(build(num_classes=K, width=WIDTH))
    images = pictures(*size)
    agree(network(images), run(layers, convolutions_by_leaf(network), images.numpy(), last))


@pytest.mark.parametrize("size", [(209, 145), (153, 217)])
def test_resnet101_aspp(size):
    network = randomized(deeplab_v2_resnet101_aspp(num_classes=K, width=WIDTH))
    images = pictures(*size)
    layers = RESNET101_ASPP + zoom("fc1_interp", "fc1_voc12", 8)
    agree(network(images), run(layers, resnet_blobs(network), images.numpy(), "fc1_interp"))


@pytest.mark.parametrize("size", [(97, 161), (129, 65)])
def test_three_scales(size):
    network = randomized(deeplab_v2_resnet101_aspp(num_classes=K, width=WIDTH, multi_scale=True))
    blobs = {name + scale: blob for name, blob in resnet_blobs(network).items() for scale in ("", "_res075", "_res05")}
    images = pictures(*size)
    agree(network(images), run(multi_scale(*size), blobs, images.numpy(), "upscaled"))
