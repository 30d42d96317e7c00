"""DeepLab v1 and v2 under their released names, narrow: networks-2014-2016 §5.1–5.6, §8.2."""

import pytest

from pixelwise.models import MODELS
from pixelwise.models.deeplab_v1 import deeplab_msc_largefov
from pixelwise.models.deeplab_v2 import deeplab_v2_resnet101_aspp
from pixelwise.weights.all_formats import WEIGHT_FORMATS
from pixelwise.weights.files import read_tensors

from .caffe import add, caffemodel, conv, conv_relu, run, zoom
from .compare import WIDTH, K, agree, conv_blobs, convolutions_by_leaf, narrow, pictures, randomized
from .deeplab import FOUR_BY_FOUR, LARGE_FOV, RESNET101_ASPP, multi_scale, resnet_blobs, vgg16_aspp
from .twins import agree_in_rgb, imported, stem_named


def four_by_four(kernel, rate):
    """The first networks, with fc6 of `kernel` taps at `rate`."""
    fc6 = conv_relu("fc6", "pool5", narrow(4096), 4, pad=6, dilation=4)
    other = conv_relu("fc6", "pool5", narrow(4096), kernel, pad=rate * (kernel - 1) // 2, dilation=rate)
    assert fc6 in FOUR_BY_FOUR
    return FOUR_BY_FOUR.replace(fc6, other)


VGG16 = {
    "deeplab_4x4": (FOUR_BY_FOUR, "fc8_crop", (74, 50)),
    "deeplab_4x4_rate8": (four_by_four(4, 8), "fc8_crop", (74, 50)),
    "deeplab_7x7": (four_by_four(7, 4), "fc8_crop", (50, 74)),
    "deeplab_largefov": (LARGE_FOV, "fc8_interp", (121, 97)),
    "deeplab_v2_vgg16_largefov": (LARGE_FOV, "fc8_interp", (121, 97)),
    "deeplab_v2_vgg16_aspp_s": (vgg16_aspp(2, 4, 8, 12), "fc8_interp", (73, 113)),
    "deeplab_v2_vgg16_aspp_l": (vgg16_aspp(6, 12, 18, 24), "fc8_interp", (121, 97)),
}


@pytest.mark.parametrize("name", VGG16)
def test_a_vgg16_runs_as_its_file_does(name, tmp_path):
    layers, last, size = VGG16[name]
    build = MODELS[name]
    weights = convolutions_by_leaf(randomized(build(num_classes=K, width=WIDTH)))
    network = imported(tmp_path, weights, name, build(num_classes=K, width=WIDTH))
    agree_in_rgb(network, layers, weights, last, size)


def side_branches(strides):
    """The five branches, read from the picture and the pools, at strides of their own."""
    text = ""
    for read, stride in zip(("data", "pool1", "pool2", "pool3", "pool4"), strides, strict=True):
        text += conv_relu(f"{read}_conv", read, narrow(128), 3, pad=1, stride=stride)
        text += conv_relu(f"{read}_fc", f"{read}_conv", narrow(128), 1)
        text += conv(f"{read}_ms", f"{read}_fc", K, 1)
    return text


def side_blobs(network):
    """The blobs of the branches, which bear no paths of their own in the prototxts."""
    blobs = {}
    for read in ("data", "pool1", "pool2", "pool3", "pool4"):
        branch = getattr(network, f"{read.replace('data', 'image')}_branch")
        blobs |= {f"{read}_conv": conv_blobs(branch.conv1), f"{read}_fc": conv_blobs(branch.conv2)}
        blobs[f"{read}_ms"] = conv_blobs(branch.score)
    return blobs


@pytest.fixture
def msc(tmp_path):
    """MSc's weights, and our network with them."""
    random = randomized(deeplab_msc_largefov(num_classes=K, width=WIDTH))
    for branch in (random.image_branch, random.pool1_branch, random.pool2_branch):
        branch.score.weight *= 3  # each branch counts
    names = {"conv1", "conv2", "score"}
    weights = {name: blobs for name, blobs in convolutions_by_leaf(random).items() if name not in names}
    weights |= side_blobs(random)
    network = deeplab_msc_largefov(num_classes=K, width=WIDTH)
    return imported(tmp_path, weights, "deeplab_msc_largefov", network), weights


SCORES = ("data_ms", "pool1_ms", "pool2_ms", "pool3_ms", "pool4_ms", "fc8_voc12")


def test_msc_runs_as_its_training_file_does_at_stride_8(msc):
    network, weights = msc
    layers = LARGE_FOV + side_branches((8, 4, 2, 1, 1)) + add("fc_fusion", *SCORES) + zoom("zoomed", "fc_fusion", 8)
    agree_in_rgb(network, layers, weights, "zoomed", (121, 97))


def test_msc_runs_as_its_test_file_does_at_each_eighth_pixel(msc):
    network, weights = msc
    zooms = {"pool1_ms": 2, "pool2_ms": 4, "pool3_ms": 8, "pool4_ms": 8, "fc8_voc12": 8}
    zoomed = [f"{score}_interp" for score in zooms]
    layers = LARGE_FOV.replace("fc8_interp", "unused") + side_branches((1, 1, 1, 1, 1))
    layers += "".join(zoom(f"{score}_interp", score, factor) for score, factor in zooms.items())
    layers += add("fc_fusion", "data_ms", *zoomed)
    images = pictures(97, 73)
    theirs = run(layers, weights, images.numpy(), "fc_fusion")
    agree(network(images.flip(1))[..., ::8, ::8], theirs[..., ::8, ::8])


LARGE_FOV_RESNET = RESNET101_ASPP[: RESNET101_ASPP.index('layer { name: "fc1_voc12_c0"')]
LARGE_FOV_RESNET += conv("fc1_voc12", "res5c", K, 3, pad=12, dilation=12)
RESNETS = {
    "deeplab_v2_resnet101_aspp": RESNET101_ASPP,
    "deeplab_v2_resnet101_largefov": LARGE_FOV_RESNET,
}


@pytest.mark.parametrize("name", RESNETS)
def test_a_resnet101_runs_as_its_file_does(name, tmp_path):
    build, layers = MODELS[name], RESNETS[name]
    blobs = resnet_blobs(randomized(build(num_classes=K, width=WIDTH)))
    weights = {stem_named(layer): blob for layer, blob in blobs.items()}
    network = imported(tmp_path, weights, name, build(num_classes=K, width=WIDTH))
    agree_in_rgb(network, stem_named(layers) + zoom("fc1_interp", "fc1_voc12", 8), weights, "fc1_interp", (121, 97))


def released(name, tower):
    """The name of a layer in a tower, as the released file has it: `fc1_voc12_res05_c0`, `res5c_branch2a_res05`."""
    head, voc, branch = name.partition("fc1_voc12")
    return f"{voc}{tower}{branch}" if voc else f"{head}{tower}"


def test_three_towers_run_as_their_file_does(tmp_path):
    random = randomized(deeplab_v2_resnet101_aspp(num_classes=K, width=WIDTH))
    blobs = {stem_named(layer): blob for layer, blob in resnet_blobs(random).items()}
    weights = {released(layer, tower): blob for layer, blob in blobs.items() for tower in ("", "_res075", "_res05")}
    name = "deeplab_v2_resnet101_aspp_msc"
    (tmp_path / "options.caffemodel").write_bytes(caffemodel(weights))
    tensors = WEIGHT_FORMATS[name].prepare(read_tensors(tmp_path / "options.caffemodel"))
    options = WEIGHT_FORMATS[name].options(tensors)
    assert options == {"num_classes": K, "multi_scale": True}
    network = imported(tmp_path, weights, name, deeplab_v2_resnet101_aspp(width=WIDTH, **options))
    # OpenCV's file ends all names with the scale, the scores' too
    other = {layer + tower: blob for layer, blob in blobs.items() for tower in ("", "_res075", "_res05")}
    images = pictures(65, 97)
    agree(network(images.flip(1)), run(stem_named(multi_scale(65, 97)), other, images.numpy(), "upscaled"))
