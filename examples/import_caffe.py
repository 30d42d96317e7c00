"""A network of Caffe's, run as its prototxt describes it, without Caffe.

    python examples/import_caffe.py

Writes two small files as somebody else might have left them, a deploy.prototxt and a .caffemodel: a convolution that
tells blue pixels from others, in Caffe's order of channels, and a softmax. Imports them as one model file, and predicts
a drawn picture. Prints what became of each layer, and the share of the classes.
"""

from pathlib import Path

import numpy as np

import pixelwise as pw
from pixelwise.caffe import CaffeLayer, write_caffemodel
from pixelwise.weights import import_weights

Path("deploy.prototxt").write_text(
    """
    input: "data"  input_shape { dim: 1  dim: 3  dim: 64  dim: 64 }
    layer { name: "score"  type: "Convolution"  bottom: "data"  top: "score"
            convolution_param { num_output: 2  kernel_size: 3  pad: 1 } }
    layer { name: "prob"  type: "Softmax"  bottom: "score"  top: "prob" }
    """
)
weight = np.zeros((2, 3, 3, 3), np.float32)
weight[1, :, 1, 1] = (0.1, 0, -0.1)  # blue less red: Caffe's channels are BGR
bias = np.zeros(2, np.float32)
write_caffemodel("net.caffemodel", [CaffeLayer("score", "Convolution", (weight, bias))])

files = "deploy.prototxt", "net.caffemodel"
segmenter, report = import_weights(*files, classes=["ground", "water"], mean=[120, 120, 120])
print(report)
segmenter.save("water.safetensors")  # holds the prototxt, too

picture = np.full((80, 120, 3), (150, 120, 80), np.uint8)
picture[:, 90:] = (60, 110, 190)
prediction = pw.load("water.safetensors").predict(picture)
print({name: f"{pixels / prediction.labels.size:.0%}" for name, pixels in prediction.areas().items()})
