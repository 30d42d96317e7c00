"""Dilation: networks-2014-2016 §4.1, §4.2. The mirrored border is OpenCV's, too."""

import cv2
import numpy as np
import pytest

from pixelwise.models.dilation import dilation7, dilation8, dilation10, dilation_frontend

from .caffe import run
from .compare import WIDTH, K, agree, bilinear, convolutions_by_leaf, pictures, randomized
from .dilation import CITYSCAPES, FRONTEND, KITTI, LARGE


@pytest.mark.parametrize("size", [(40, 72), (64, 48)])
@pytest.mark.parametrize(
    ("build", "layers", "last"),
    [
        (dilation_frontend, FRONTEND, "zoom"),
        (dilation7, KITTI, "zoom"),
        (dilation8, LARGE, "zoom"),
        (dilation10, CITYSCAPES, "ctx_upsample"),
    ],
)
def test_dilation(build, layers, last, size):
    network = randomized(build(num_classes=K, width=WIDTH))
    weights = convolutions_by_leaf(network) | {"ctx_upsample": [bilinear(K, 16, group=K)]}
    images = pictures(*size)
    padded = [
        cv2.copyMakeBorder(image.permute(1, 2, 0).numpy(), 186, 186, 186, 186, cv2.BORDER_REFLECT_101)
        for image in images
    ]
    theirs = run(layers, weights, np.stack(padded).transpose(0, 3, 1, 2), last)
    agree(network(images)[..., : theirs.shape[2], : theirs.shape[3]], theirs)  # a zoom ends at the last cell
