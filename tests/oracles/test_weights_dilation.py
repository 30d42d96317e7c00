"""Dilation under its released names, narrow: networks-2014-2016 §4.1, §4.2. The mirrored border is OpenCV's, too."""

import cv2
import numpy as np
import pytest

from pixelwise.models import MODELS
from pixelwise.weights.all_formats import WEIGHT_FORMATS

from .caffe import run, zoom
from .compare import WIDTH, K, agree, bilinear, convolutions_by_leaf, pictures, randomized
from .dilation import BASIC, CITYSCAPES, FC1, KITTI, LARGE, context, frontend
from .twins import imported

VOC_FRONTEND = frontend("fc-final") + zoom("zoom", "fc-final", 8)
URBAN_FRONTEND = frontend("final") + zoom("zoom", "final", 8)
CAMVID = "".join(
    [
        frontend("final"),
        context("ctx_", *BASIC, ("conv5_1", K, 16, 16), FC1, bottom="final"),
        zoom("zoom", "ctx_final", 8),
    ]
)
TWINS = {
    "dilation_frontend_voc": (VOC_FRONTEND, "zoom", {}),
    "dilation_frontend": (URBAN_FRONTEND, "zoom", {}),
    "dilation8_voc": (LARGE.replace("fc_final", "fc-final"), "zoom", {}),
    "dilation8_camvid": (CAMVID, "zoom", {"context": "basic"}),
    "dilation7_kitti": (KITTI, "zoom", {}),
    "dilation10_cityscapes": (CITYSCAPES, "ctx_upsample", {}),
}


def released(name):
    """The front end's last layer, as the files call it; ours is fc_final, and final under a basic context."""
    return {"fc_final": "final" if name == "dilation_frontend" else "fc-final"}


@pytest.mark.parametrize("name", TWINS)
def test_a_network_runs_as_its_file_does(name, tmp_path):
    layers, last, options = TWINS[name]
    build = MODELS[WEIGHT_FORMATS[name].model]
    blobs = convolutions_by_leaf(randomized(build(num_classes=K, width=WIDTH, **options)))
    weights = {released(name).get(layer, layer): blob for layer, blob in blobs.items()}
    if last == "ctx_upsample":
        weights[last] = [bilinear(K, 16, group=K)]
    network = imported(tmp_path, weights, name, build(num_classes=K, width=WIDTH, **options))
    images = pictures(40, 48)
    padded = [
        cv2.copyMakeBorder(image.permute(1, 2, 0).numpy(), 186, 186, 186, 186, cv2.BORDER_REFLECT_101)
        for image in images
    ]
    theirs = run(layers, weights, np.stack(padded).transpose(0, 3, 1, 2), last)
    agree(network(images.flip(1))[..., : theirs.shape[2], : theirs.shape[3]], theirs)
