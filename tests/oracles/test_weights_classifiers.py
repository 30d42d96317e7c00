"""Caffe's classifiers under their released names, narrow: networks-2014-2016 §1.3, §2.1; networks-2015-2017 §0.1."""

import numpy as np
import pytest

from pixelwise.backbones import CLASSIFIERS

from .caffe import conv_relu, convs, layer, lrn, pool, relu
from .compare import WIDTH, K, conv_blobs, convolutions_by_leaf, narrow, randomized
from .googlenet import GOOGLENET
from .resnet import R50, R101, conv_bn_blobs, conv_bn_relu, stage, stages_blobs
from .twins import agree_in_rgb, imported, stem_named


def inner_product(name, bottom, num_output):
    return layer("InnerProduct", name, bottom, "inner_product_param", num_output=num_output)


def fully_connected(bottom):
    fc6 = inner_product("fc6", bottom, narrow(4096)) + relu("fc6")
    fc7 = inner_product("fc7", "fc6", narrow(4096)) + relu("fc7")
    return fc6 + fc7 + inner_product("fc8", "fc7", K)


VGG16 = "".join(
    [
        convs("conv1", 2, "data", narrow(64), 3, pad=1),
        pool("pool1", "conv1_2", 2, stride=2),
        convs("conv2", 2, "pool1", narrow(128), 3, pad=1),
        pool("pool2", "conv2_2", 2, stride=2),
        convs("conv3", 3, "pool2", narrow(256), 3, pad=1),
        pool("pool3", "conv3_3", 2, stride=2),
        convs("conv4", 3, "pool3", narrow(512), 3, pad=1),
        pool("pool4", "conv4_3", 2, stride=2),
        convs("conv5", 3, "pool4", narrow(512), 3, pad=1),
        pool("pool5", "conv5_3", 2, stride=2),
        fully_connected("pool5"),
    ]
)
CAFFENET = "".join(
    [
        conv_relu("conv1", "data", narrow(96), 11, stride=4),
        pool("pool1", "conv1", 3, stride=2),
        lrn("norm1", "pool1", 5, 1e-4, 0.75),
        conv_relu("conv2", "norm1", narrow(256), 5, pad=2, group=2),
        pool("pool2", "conv2", 3, stride=2),
        lrn("norm2", "pool2", 5, 1e-4, 0.75),
        conv_relu("conv3", "norm2", narrow(384), 3, pad=1),
        conv_relu("conv4", "conv3", narrow(384), 3, pad=1, group=2),
        conv_relu("conv5", "conv4", narrow(256), 3, pad=1, group=2),
        pool("pool5", "conv5", 3, stride=2),
        fully_connected("pool5"),
    ]
)


def linear_blobs(network):
    """The blobs of the three fully connected layers."""
    return {name: conv_blobs(network.classifier.get_submodule(name)) for name in ("fc6", "fc7", "fc8")}


@pytest.mark.parametrize(
    ("name", "model", "layers", "side"),
    [("ilsvrc_vgg16", "vgg16", VGG16, 224), ("bvlc_caffenet", "alexnet", CAFFENET, 227)],
)
def test_a_classifier_runs_as_its_file_does(name, model, layers, side, tmp_path):
    random = randomized(CLASSIFIERS[model](num_classes=K, width=WIDTH))
    weights = convolutions_by_leaf(random) | linear_blobs(random)
    network = imported(tmp_path, weights, name, CLASSIFIERS[model](num_classes=K, width=WIDTH))
    agree_in_rgb(network, layers, weights, "fc8", (side, side))
    # old files have four axes, fully connected weights 1 × 1 × O × I, biases 1 × 1 × 1 × N
    old = {layer: [w.reshape((1,) * (4 - w.ndim) + w.shape) for w in blobs] for layer, blobs in weights.items()}
    again = imported(tmp_path, old, name, CLASSIFIERS[model](num_classes=K, width=WIDTH))
    for path, values in network.state_dict().items():
        assert np.array_equal(values, again.state_dict()[path]), path


TRUNK = GOOGLENET[: GOOGLENET.index('layer { name: "score_fr"')]
CLASSIFIER = "".join(
    [
        TRUNK,
        pool("pool5/7x7_s1", "inception_5b/output", 7, pool="AVE", stride=1),
        inner_product("loss3/classifier", "pool5/7x7_s1", K),
    ]
)


def test_googlenet_runs_as_its_file_does_and_its_other_classifiers_are_left_out(tmp_path):
    build = CLASSIFIERS["googlenet"]
    random = randomized(build(num_classes=K, width=1 / 8))
    blobs = convolutions_by_leaf(random) | {"loss3_classifier": conv_blobs(random.loss3_classifier)}
    names = [part.partition('"')[0] for part in CLASSIFIER.split('name: "')[1:]]
    weights = {name: blobs[name.replace("/", "_")] for name in names if name.replace("/", "_") in blobs}
    assert len(weights) == len(blobs)
    ones = np.ones((16, 64, 1, 1), np.float32)
    weights |= {"loss1/conv": [ones, ones[:, 0, 0, 0]], "loss2/classifier": [ones[:, :, 0, 0], ones[:, 0, 0, 0]]}
    network = imported(tmp_path, weights, "bvlc_googlenet", build(num_classes=K, width=1 / 8))
    agree_in_rgb(network, CLASSIFIER, weights, "loss3/classifier", (224, 224))


R152 = (R101[0], ("a", *(f"b{i}" for i in range(1, 8))), ("a", *(f"b{i}" for i in range(1, 36))), R101[3])


def resnet(units, bias):
    """For 64 × 64 pixels, of which 2 × 2 cells are left."""
    last = [f"res{number}{letters[-1]}" for number, letters in enumerate(units, 2)]
    stem = conv_bn_relu("conv1", "data", narrow(64), 7, stride=2, pad=3)
    if bias:
        stem = stem.replace("bias_term: false", "bias_term: true", 1)
    return "".join(
        [
            stem_named(stem),
            pool("pool1", "conv1", 3, stride=2),
            stage(2, units[0], "pool1", 64, stride_in="1x1"),
            stage(3, units[1], last[0], 128, stride_in="1x1", stride=2),
            stage(4, units[2], last[1], 256, stride_in="1x1", stride=2),
            stage(5, units[3], last[2], 512, stride_in="1x1", stride=2),
            pool("pool5", last[3], 2, pool="AVE", stride=1),
            inner_product("fc1000", "pool5", K),
        ]
    )


@pytest.mark.parametrize(("depth", "units"), [(50, R50), (101, R101), (152, R152)])
def test_a_resnet_of_the_first_release_runs_as_its_file_does(depth, units, tmp_path):
    def build():
        options = {"stride_in": "1x1", "stem_pool": "unpadded"}
        return CLASSIFIERS[f"resnet{depth}"](num_classes=K, width=WIDTH, **options)

    random = randomized(build())
    stem = conv_bn_blobs("conv1", random.conv1, random.bn1)
    weights = {stem_named(layer): blobs for layer, blobs in stem.items()} | stages_blobs(units, random)
    weights["fc1000"] = conv_blobs(random.fc)
    if depth == 50:  # the release's has a bias before its batch norm
        weights["conv1"] = [*weights["conv1"], np.linspace(-0.2, 0.2, narrow(64), dtype=np.float32)]
    network = imported(tmp_path, weights, f"msra_resnet{depth}", build())
    agree_in_rgb(network, resnet(units, bias=depth == 50), weights, "fc1000", (64, 64))
