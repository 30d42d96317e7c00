"""Files of Berkeley's FCNs and of CRF-RNN, narrow, imported by their formats: networks-2014-2016 §2.1, §2.7, §7.2."""

import numpy as np
import pytest
import torch

from pixelwise.caffe.caffemodel import read_caffemodel
from pixelwise.models import build
from pixelwise.weights.fcn_formats import FORMATS
from pixelwise.weights.files import caffe_tensors
from pixelwise.weights.importing import load_weights

from .caffe import caffemodel, conv_relu, run
from .compare import WIDTH, K, agree, bilinear, conv_blobs, convolutions_by_leaf, narrow, pictures, randomized
from .fcn import ALEXNET, AT_ONCE, CRF_RNN_UNARY, FCN8S, FCN16S, FCN32S, TOWERS, two_headed

SIZE = 43, 70
FIRST = conv_relu("conv1_1", "data", narrow(64), 3, pad=100)
COLOR_D = FCN32S.replace(FIRST, FIRST.replace("conv1_1", "conv1_1_bgrd")).replace(
    'bottom: "conv1_1"', 'bottom: "conv1_1_bgrd"'
)
# of §2.1 and §7.2; FCN-AlexNet's has 63 taps
DECONVOLUTIONS = {"upscore": 64, "upscore2": 4, "upscore16": 32, "upscore_pool4": 4, "upscore8": 16, "upsample": 16}


def written(path, network, layers, **more):
    """The weights of a network by the names of its prototxt, as a file: its convolutions, and the fixed kernels."""
    blobs = convolutions_by_leaf(network) | more
    kernels = DECONVOLUTIONS | ({"upscore": 63} if layers == ALEXNET else {})
    for name, kernel in kernels.items():
        for end, classes in {"": K, "_sem": K, "_geo": 3}.items():
            if f'name: "{name}{end}"' in layers:
                blobs[name + end] = [bilinear(classes, kernel)]
    named = {name: blob for name, blob in blobs.items() if f'name: "{name}"' in layers or name == "inference1"}
    path.write_bytes(caffemodel(named))
    return named


def imported(path, format, **options):
    """A new network of the format's, narrow, with the file's weights."""
    network = randomized(build(format.model, num_classes=K, width=WIDTH, **options))
    report = load_weights(network, caffe_tensors(read_caffemodel(path)), format)
    assert report.complete
    return network


def bgr(images):
    return images[:, [2, 1, 0, *range(3, images.shape[1])]].numpy()


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("berkeley_fcn32s_vgg16", FCN32S),
        ("berkeley_fcn16s_vgg16", FCN16S),
        ("berkeley_fcn8s_vgg16", FCN8S),
        ("berkeley_fcn8s_atonce_vgg16", AT_ONCE),
        ("berkeley_fcn32s_alexnet", ALEXNET),
        ("berkeley_nyud_color", FCN32S),
        ("berkeley_context_32s", FCN32S),
        ("berkeley_context_16s", FCN16S),
        ("berkeley_context_8s", FCN8S),
        ("berkeley_nyud_color_d", COLOR_D),
    ],
)
def test_a_narrow_file_gives_what_opencv_gives_for_it(name, layers, tmp_path):
    format = FORMATS[name]
    # other factors than those that a new network has
    scales = {"scale_pool4": [factors(512)], "scale_pool3": [factors(256)]}
    blobs = written(
        tmp_path / "w.caffemodel", randomized(build(format.model, num_classes=K, width=WIDTH)), layers, **scales
    )
    network = imported(tmp_path / "w.caffemodel", format)
    images = pictures(*SIZE)
    if name == "berkeley_nyud_color_d":
        images = torch.cat([images, pictures(*SIZE)[:, :1]], 1)
    agree(network(images), run(layers, blobs, bgr(images), "score"))


def factors(channels):
    return np.linspace(0.5, 2, narrow(channels), dtype=np.float32)


def test_hha_is_not_flipped(tmp_path):
    format = FORMATS["berkeley_nyud_hha"]
    blobs = written(tmp_path / "w.caffemodel", randomized(build(format.model, num_classes=K, width=WIDTH)), FCN32S)
    images = pictures(*SIZE)
    agree(imported(tmp_path / "w.caffemodel", format)(images), run(FCN32S, blobs, images.numpy(), "score"))


def test_of_two_towers_only_that_of_color_is_flipped(tmp_path):
    format = FORMATS["berkeley_nyud_color_hha"]
    network = randomized(build(format.model, num_classes=K, width=WIDTH))
    towers = {
        name + end: blob
        for end, trunk, score in (
            ("color", network.color, network.score_frcolor),
            ("hha", network.hha, network.score_frhha),
        )
        for name, blob in (convolutions_by_leaf(trunk) | {"score_fr": conv_blobs(score)}).items()
    }
    blobs = written(tmp_path / "w.caffemodel", network, TOWERS, **towers)
    images = torch.cat([pictures(*SIZE), pictures(*SIZE)], 1)
    agree(imported(tmp_path / "w.caffemodel", format)(images), run(TOWERS, blobs, bgr(images), "score"))


@pytest.mark.parametrize(
    ("name", "layers"),
    [("berkeley_sift_flow_32s", FCN32S), ("berkeley_sift_flow_16s", FCN16S), ("berkeley_sift_flow_8s", FCN8S)],
)
def test_both_heads_of_sift_flow_get_their_weights(name, layers, tmp_path):
    format, layers = FORMATS[name], two_headed(layers, 3)
    blobs = written(tmp_path / "w.caffemodel", randomized(build(format.model, num_classes=K, width=WIDTH)), layers)
    network, images = imported(tmp_path / "w.caffemodel", format), pictures(*SIZE)
    for head, end in (("logits", "sem"), ("geometric", "geo")):
        agree(network.heads(images)[head].full_size(), run(layers, blobs, bgr(images), f"score_{end}"))


def test_crf_rnn_gets_its_unary_scores_its_learned_upsampling_and_its_matrices(tmp_path):
    format = FORMATS["crfrnn_fcn8s"]
    network = randomized(build("crfrnn_fcn8s", num_classes=K, width=WIDTH))
    matrices = torch.randn(3, K, K)
    more = {name.replace("score_", "score-"): blob for name, blob in convolutions_by_leaf(network).items()} | {
        "score2": [torch.randn(K, K, 4, 4).numpy(), torch.randn(K).numpy()],
        "score4": [torch.randn(K, K, 4, 4).numpy()],
        "inference1": [matrix[None, None].numpy() for matrix in matrices],
    }
    blobs = written(tmp_path / "w.caffemodel", network, CRF_RNN_UNARY, **more)
    network = imported(tmp_path / "w.caffemodel", format, steps=0)  # with no step, the scores are the unary ones
    images = pictures(*SIZE)
    del blobs["inference1"]  # OpenCV has no mean field
    agree(network(images), run(CRF_RNN_UNARY, blobs, bgr(images), "coarse"))
    mean_field = network.mean_field
    for mine, theirs in zip(
        (mean_field.spatial, mean_field.bilateral, mean_field.compatibility), matrices, strict=True
    ):
        assert torch.equal(mine, theirs)
