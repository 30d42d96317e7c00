import copy

import numpy as np
import pytest
import torch

from pixelwise.caffe import CaffeLayer, CaffeWeights
from pixelwise.caffe.network import caffe_network_of
from pixelwise.errors import BadOption, CheckpointError, ShapeError, UnknownName, WeightsError
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.segmenter import Segmenter, load

INPUT = 'input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 12 }\n'


def layer(kind, name, bottom="data", top="", more=""):
    bottoms, tops = (
        " ".join(f'{which}: "{n}"' for n in names.split())
        for which, names in (("bottom", bottom), ("top", top or name))
    )
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} {tops} {more} }}\n'


def conv(name, bottom="data", top="", num_output=4, kernel=1, more="", fields=""):
    param = f"convolution_param {{ num_output: {num_output} kernel_size: {kernel} {fields} }}"
    return layer("Convolution", name, bottom, top, f"{param} {more}")


def weights(**blobs):
    layers = (CaffeLayer(name, "", tuple(np.asarray(b, np.float32) for b in held)) for name, held in blobs.items())
    return CaffeWeights("drawn", tuple(layers))


def randomized(network):
    for value in network.parameters():
        torch.nn.init.normal_(value)
    return network.eval().requires_grad_(False)


# what is run, and what is left out


def test_input_layers_and_input_fields_are_the_same():
    fields = 'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 12\n' + conv("a")
    declared = layer("Input", "in", top="data", bottom="", more="input_param { shape { dim: [1, 3, 8, 12] } }") + conv(
        "a"
    )
    for text in (fields, declared, INPUT + conv("a")):
        network = caffe_network_of(text)
        assert (network.in_channels, network.input_size, network.num_classes) == (3, (8, 12), 4)


def test_a_training_prototxt_loses_data_losses_and_what_reads_labels():
    text = (
        'layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN } '
        "transform_param { crop_size: 20 } }\n"
        'layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST } }\n'
        + conv("score", num_output=5)
        + layer("Interp", "small_label", "label", more="interp_param { shrink_factor: 8 }")
        + layer("SoftmaxWithLoss", "loss", "score small_label", "loss")
        + layer("Accuracy", "accuracy", "score label", more="include { phase: TEST }")
        + layer("Dropout", "drop", "score", "score", more="include { phase: TRAIN }")
        + layer("Softmax", "prob", "score", more='include { phase: TEST not_stage: "fit" }')
        + layer("Softmax", "other", "score", more='include { stage: "deploy" }')
        + layer("Softmax", "third", "score", more="exclude { phase: TEST }")
        + layer("Silence", "silence", "label", "nothing")
    )
    network = caffe_network_of(text, in_channels=1)
    assert [step.text.name for step in network.steps] == ["score", "prob"]
    assert (network.outputs, network.in_channels, network.input_size) == (("prob",), 1, (20, 20))


def test_the_two_older_formats_are_the_newest():
    old = """
      layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1
               convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
      layers { name: "relu" type: RELU bottom: "conv" top: "conv" }
      layers { name: "fc" type: INNER_PRODUCT bottom: "conv" top: "fc" inner_product_param { num_output: 2 } }"""
    oldest = """
      layers { layer { name: "pad" type: "padding" pad: 1 } bottom: "data" top: "pad" }
      layers { layer { name: "conv" type: "conv" num_output: 4 kernelsize: 3 } bottom: "pad" top: "conv" }
      layers { layer { name: "relu" type: "relu" } bottom: "conv" top: "conv" }
      layers { layer { name: "fc" type: "innerproduct" num_output: 2 biasterm: true } bottom: "conv" top: "fc" }"""
    newest = (
        conv("conv", kernel=3, fields="pad: 1")
        + layer("ReLU", "relu", "conv", "conv")
        + layer("InnerProduct", "fc", "conv", more="inner_product_param { num_output: 2 }")
    )
    networks = [randomized(caffe_network_of(INPUT + text)) for text in (newest, old, oldest)]
    images = torch.randn(2, 3, 8, 12)
    for network in networks:
        network.load_state_dict(networks[0].state_dict())
        assert torch.equal(network(images), networks[0](images))


def test_a_layer_in_place_changes_what_later_layers_read():
    text = conv("a") + layer("TanH", "early", "a") + layer("ReLU", "relu", "a", "a") + layer("AbsVal", "late", "a")
    network = randomized(caffe_network_of(INPUT + text))
    images = torch.randn(1, 3, 8, 12)
    blobs = network.run(images, ["a"])
    plain = network.layers.a(images)
    assert torch.equal(blobs["early"], plain.tanh())
    assert torch.equal(blobs["late"], plain.relu()) and torch.equal(blobs["a"], plain.relu())


def test_a_network_does_not_change_its_pictures():
    network = randomized(caffe_network_of(INPUT + layer("ReLU", "r", "data", "data") + conv("a")))
    images = torch.randn(1, 3, 8, 12)
    before = images.clone()
    network(images)
    assert torch.equal(images, before)


def test_run_gives_every_blob_that_nobody_reads():
    text = conv("a") + conv("b", "a") + conv("c", "a")
    network = caffe_network_of(INPUT + text)
    assert list(network.run(torch.zeros(1, 3, 8, 12))) == ["b", "c"]
    with pytest.raises(UnknownName, match="no blob is called 'd'"):
        network.run(torch.zeros(1, 3, 8, 12), ["d"])


def test_two_inputs_lie_one_behind_the_other():
    text = 'input: "color" input_dim: [1, 3, 8, 12] input: "hha" input_dim: [1, 2, 8, 12]\n'
    text = text.replace('input_dim: [1, 3, 8, 12] input: "hha"', 'input: "hha" input_dim: [1, 3, 8, 12]')
    network = caffe_network_of(text + layer("Concat", "y", "hha color"))
    images = torch.randn(1, 5, 8, 12)
    assert torch.equal(network(images), images[:, [3, 4, 0, 1, 2]])


# refusals


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (INPUT + layer("Axpy", "a"), r"net:2: layer 'a' \(Axpy\) is layer 1 of 1, of a type that is not run here"),
        (
            INPUT + conv("a", "b") + conv("b", "a"),
            r"net:2: layer 'a' \(Convolution\) reads 'b', and layer 'b' gives it",
        ),
        (INPUT + conv("a", "b"), "reads 'b', and no layer gives it"),
        (INPUT + conv("a", "a"), "reads 'a', and layer 'a' gives it only later"),
        (INPUT + layer("MultiStageMeanfield", "crf"), "is a dense CRF, .*model crfrnn_fcn8s"),
        (INPUT + layer("Python", "p", more='python_param { module: "m" layer: "L" }'), "written in Python .module 'm'"),
        (INPUT, "expected the layers of a network, found none"),
        (conv("a"), "reads 'data', and no layer gives it"),
        ('input: "data" input_dim: 3 ' + conv("a"), "expected four input_dim or one input_shape"),
        (INPUT.replace("dim: 8", "dim: 0") + conv("a"), "expected whole numbers from 1 for the shape of 'data'"),
        (
            INPUT + conv("a", num_output=2**31 - 1, kernel=9, fields="pad: 4"),
            "more than 536870912 values for a picture",
        ),
        (INPUT + layer("Split", "s", top="a a"), "has the same top twice"),
        (INPUT + layer("ReLU", "r", top="a b"), "gives 1 tops here, and has 2"),
        ("layer {", "net:1:8"),
    ],
)
def test_a_prototxt_that_cannot_be_run_is_refused(text, message):
    with pytest.raises(WeightsError, match=message):
        caffe_network_of(text, where="net")


def test_options_that_fit_no_picture_are_refused():
    for options, message in (
        ({"size": (0, 4)}, "size is the height and width"),
        ({"in_channels": 0}, "in_channels is a whole number"),
    ):
        with pytest.raises(BadOption, match=message):
            caffe_network_of(INPUT + conv("a"), **options)
    with pytest.raises(UnknownName, match="no blob is called 'b'"):
        caffe_network_of(INPUT + conv("a"), output="b")


def test_a_network_of_one_size_refuses_others_with_the_layer():
    text = conv("a") + layer("InnerProduct", "fc", "a", more="inner_product_param { num_output: 2 }")
    network = caffe_network_of(INPUT + text)
    assert network(torch.zeros(5, 3, 8, 12)).shape == (5, 2)
    message = r"layer 'fc' \(InnerProduct\) cannot take pictures of 9 × 12: .*; the prototxt is written for 8 × 12"
    with pytest.raises(ShapeError, match=message):
        network(torch.zeros(1, 3, 9, 12))
    assert network.accepts(8, 12) and not network.accepts(9, 12)
    with pytest.raises(ShapeError, match=r"the prototxt takes pictures \(N, 3, H, W\), got 1 × 4 × 8 × 12"):
        network(torch.zeros(1, 4, 8, 12))


# prediction


def test_a_softmax_at_the_end_gives_probabilities_and_an_argmax_is_left_out():
    text = conv("a") + layer("Softmax", "p", "a") + layer("ArgMax", "classes", "p", more="argmax_param { axis: 1 }")
    head = caffe_network_of(INPUT + text).heads(torch.zeros(1, 3, 8, 12))["logits"]
    assert head.kind == "probabilities" and head.scores.shape == (1, 4, 8, 12)


def test_smaller_scores_lie_where_the_layers_put_them():
    pool = layer("Pooling", "p", more="pooling_param { kernel_size: 2 stride: 2 pool: AVE }")
    network = caffe_network_of(INPUT + pool)
    ramp = torch.arange(12.0).expand(1, 3, 8, 12)
    # cell j is the mean of pixels 2j and 2j + 1, between which it is interpolated: the ramp itself
    assert torch.allclose(network(ramp)[..., 1:-1], ramp[..., 1:-1])


def test_a_map_without_a_fixed_grid_goes_from_corner_to_corner():
    interp = layer("Interp", "i", more="interp_param { height: 3 width: 3 }")
    ramp = torch.arange(12.0).expand(1, 3, 8, 12)
    assert torch.allclose(caffe_network_of(INPUT + interp)(ramp), ramp, atol=1e-5)


# weights


def test_weights_go_by_name_and_old_shapes_fit():
    text = conv("conv/a.b") + layer("InnerProduct", "fc", "conv/a.b", more="inner_product_param { num_output: 2 }")
    network = caffe_network_of(INPUT + text)
    kernel, matrix = np.random.default_rng(0).normal(size=(4, 3, 1, 1)), np.ones((1, 1, 2, 384))
    fit = network.load_caffemodel(
        weights(**{"conv/a.b": [kernel, np.ones((1, 1, 1, 4))], "fc": [matrix, np.ones((1, 1, 1, 2))], "loss": [[1.0]]})
    )
    assert str(fit) == "2 layers copied, 0 missing, 1 of the file unused (loss)"
    assert np.allclose(network.state_dict()["layers.conv_a_b.weight"], kernel)


@pytest.mark.parametrize(
    ("blobs", "message"),
    [
        ({"b": [[1.0]]}, r"0 layers copied, 1 missing \(a\), 1 of the file unused \(b\); pass the prototxt"),
        ({"a": [np.ones((4, 3, 1, 1))]}, r"layer 'a' \(Convolution\) has 2 blobs, and the weights have 1 for it"),
        (
            {"a": [np.ones((3, 4, 1, 1)), np.ones(4)]},
            "needs 4 × 3 × 1 × 1 for blob 0, and the weights have 3 × 4 × 1 × 1",
        ),
        ({"a": [np.ones((4, 3, 3, 3)), np.ones(4)]}, "the weights have 4 × 3 × 3 × 3"),
    ],
)
def test_weights_that_do_not_fit_are_refused(blobs, message):
    with pytest.raises(WeightsError, match=message):
        caffe_network_of(INPUT + conv("a")).load_caffemodel(weights(**blobs))


def test_a_partial_fit_is_taken_where_it_is_asked_for():
    network = caffe_network_of(INPUT + conv("a") + conv("b", "a"))
    fit = network.load_caffemodel(weights(a=[np.ones((4, 3, 1, 1)), np.ones(4)]), partial=True)
    assert fit.missing == ("b",) and fit.copied == ("a",)


SHARED = conv("a", num_output=3, more='param { name: "w" } param { name: "b" }') + conv(
    "c", "a", num_output=3, more='param { name: "w" } param { name: "b" }'
)


def test_layers_share_weights_by_name_and_a_file_holds_them_once(tmp_path):
    network = randomized(caffe_network_of(INPUT + SHARED))
    assert network.layers.a.weight is network.layers.c.weight
    assert sorted(network.state_dict()) == ["layers.a.bias", "layers.a.weight"]
    again = copy.deepcopy(network)
    assert again.layers.a.weight is again.layers.c.weight
    assert_saved(INPUT + SHARED, network, tmp_path)


def assert_saved(text, network, folder):
    segmenter = Segmenter(
        network,
        Normalization((1.0, 2.0, 3.0), (1.0, 1.0, 1.0), "bgr"),
        LabelSet(tuple("abcd"[: network.num_classes])),
        {"builder": "caffe_network", "options": {"prototxt": text}},
    )
    loaded = load(segmenter.save(folder / "model.safetensors"))
    images = torch.randn(1, 3, 8, 12)
    assert torch.equal(loaded.network(images), network(images))
    picture = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    assert np.array_equal(loaded.predict(picture).labels, segmenter.predict(picture).labels)


def test_a_segmenter_of_a_prototxt_is_saved_and_loaded_with_nothing_else(tmp_path):
    text = INPUT + conv("a") + layer("BatchNorm", "bn", "a", "a") + layer("PReLU", "p", "a", "a") + conv("type", "a")
    assert_saved(text, randomized(caffe_network_of(text)), tmp_path)


def test_a_damaged_prototxt_in_a_model_file_is_one_line(tmp_path):
    network = caffe_network_of(INPUT + conv("a"))
    options = {"prototxt": INPUT + layer("Axpy", "a")}
    segmenter = Segmenter(
        network,
        Normalization((0.0,) * 3, (1.0,) * 3),
        LabelSet(tuple("abcd")),
        {"builder": "caffe_network", "options": options},
    )
    with pytest.raises(CheckpointError, match=r"layer 'a' \(Axpy\)"):
        load(segmenter.save(tmp_path / "model.safetensors"))


def test_build_makes_one_by_its_name():
    assert build("caffe_network", prototxt=INPUT + conv("a")).num_classes == 4
