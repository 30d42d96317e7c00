"""Weights put into networks by a format, all or none; formats found; classes, means, records; and the way back."""

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import pixelwise as pw
from pixelwise.caffe.caffemodel import CaffeLayer, read_caffemodel, write_caffemodel
from pixelwise.data.sets.voc import LABELS as VOC
from pixelwise.errors import BadOption, DataError, UnknownName, WeightsError
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.weights import WEIGHT_FORMATS, caffe_network, export_caffemodel, import_weights
from pixelwise.weights.detection import Unfilled, find_format, network_of
from pixelwise.weights.files import caffe_tensors, digest_of, read_tensors
from pixelwise.weights.fixed import bilinear_kernel
from pixelwise.weights.formats import WeightFormat, by_leaf, classes_of
from pixelwise.weights.import_files import told_normalization
from pixelwise.weights.importing import foreign_tensors, load_weights
from pixelwise.weights.label_sets import label_set_of


class Small(nn.Module):
    """A convolution of pictures, a batch norm, scores."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 4, 3), bn1=nn.BatchNorm2d(4)))
        self.score = nn.Conv2d(4, 2, 1)


FORMAT = WeightFormat(
    "small",
    "fcn32s_vgg16",
    "made up",
    by_leaf({"score": "score-fr"}),
    fixed=lambda network: {"up.weight": bilinear_kernel((2, 2, 4, 4))},
    ignore=("loss*", "up2"),
    options=classes_of("score-fr"),
)
LAYERS = ["trunk.conv1", "trunk.bn1", "score"]


def file_tensors():
    """What a file of the format holds, in BGR."""
    generator = torch.Generator().manual_seed(1)
    shapes = {
        "conv1.weight": (4, 3, 3, 3),
        "conv1.bias": (4,),
        "bn1.weight": (4,),
        "bn1.bias": (4,),
        "bn1.running_mean": (4,),
        "bn1.running_var": (4,),
        "score-fr.weight": (2, 4, 1, 1),
        "score-fr.bias": (2,),
    }
    return {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}


def refused(tensors, match, *, format=FORMAT):
    """It is refused, and the network is as it was."""
    network = Small()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(WeightsError, match=match) as error:
        load_weights(network, tensors, format)
    assert "\n" not in str(error.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_every_tensor_comes_to_its_place_and_the_first_convolution_is_flipped():
    network, tensors = Small(), file_tensors()
    report = load_weights(network, tensors, FORMAT)
    state = network.state_dict()
    assert torch.equal(state["trunk.conv1.weight"], tensors["conv1.weight"][:, [2, 1, 0]])
    for ours, theirs in (("trunk.conv1.bias", "conv1.bias"), ("score.weight", "score-fr.weight")):
        assert torch.equal(state[ours], tensors[theirs])
    for part in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(state[f"trunk.bn1.{part}"], tensors[f"bn1.{part}"])
    assert [entry.target for entry in report.copied] == ["trunk.bn1", "score"]
    assert [(entry.target, entry.how) for entry in report.reshaped] == [("trunk.conv1", "channels reversed")]
    assert report.left == report.unused == ()


def test_a_file_in_rgb_is_not_flipped():
    network, tensors = Small(), file_tensors()
    load_weights(network, tensors, replace(FORMAT, reverse_channels=False))
    assert torch.equal(network.trunk.conv1.weight, tensors["conv1.weight"])


def test_what_is_missing_or_left_over_is_refused_in_one_line_and_nothing_is_changed():
    tensors = file_tensors()
    del tensors["bn1.weight"], tensors["bn1.bias"], tensors["bn1.running_mean"], tensors["bn1.running_var"]
    refused(tensors, r"does not fit .*: 1 of our layers are missing from the file: trunk\.bn1\. To take what fits")
    more = file_tensors() | {f"conv{i}.weight": torch.ones(1) for i in range(2, 14)}
    refused(more, r"12 of its layers would be unused: conv2, .*, conv9, … \(12 in all\)\. To take")


def test_a_missing_or_spare_bias_is_refused():
    tensors = file_tensors()
    del tensors["score-fr.bias"]
    refused(tensors, r"1 of our layers are missing from the file: score\.bias")
    refused(file_tensors() | {"conv1.scale": torch.ones(4)}, r"1 of its layers would be unused: conv1\.scale")


def test_another_shape_is_refused():
    tensors = file_tensors() | {"score-fr.weight": torch.ones(3, 4, 1, 1), "score-fr.bias": torch.ones(3)}
    refused(tensors, r"1 have other shapes: score \(gives 2 channels, the source's 3\)")


def test_a_file_of_another_network_is_refused_with_names_of_both():
    refused({"a.weight": torch.ones(1)}, "none of the layers of small: expected conv1, bn1, score-fr, found a")
    with pytest.raises(WeightsError, match="none of the layers of small"):
        load_weights(Small(), {"a.weight": torch.ones(1)}, FORMAT, partial=True)


def test_a_partial_file_is_taken_where_it_is_wished_and_the_report_says_what_stays():
    network, tensors = Small(), file_tensors() | {"fc.weight": torch.ones(2, 2)}
    del tensors["score-fr.weight"], tensors["score-fr.bias"]
    score = network.score.weight.clone()
    report = load_weights(network, tensors, FORMAT, partial=True)
    assert torch.equal(network.trunk.conv1.weight, tensors["conv1.weight"].flip(1))
    assert torch.equal(network.score.weight, score)
    assert [(entry.target, entry.how) for entry in report.left] == [("score", "the file has no such layer")]
    assert [entry.source for entry in report.unused] == ["fc"]


def test_a_fixed_deconvolution_must_be_bilinear_on_the_diagonal():
    kernel = np.zeros((2, 2, 4, 4), np.float32)
    taps = np.array([0.25, 0.75, 0.75, 0.25], np.float32)  # §1.5, the table's row of k = 4
    kernel[0, 0] = kernel[1, 1] = np.outer(taps, taps)
    report = load_weights(Small(), file_tensors() | {"up.weight": torch.tensor(kernel)}, FORMAT)
    assert [(entry.source, entry.how) for entry in report.unused] == [("up", "fixed in the network, too: checked")]
    for change in ((0, 0, 1, 1), (0, 1, 2, 2)):
        wrong = torch.tensor(kernel)
        wrong[change] += 2e-5
        expected = r"up of the file, \(2, 2, 4, 4\), is not the fixed deconvolution .*deploy\.prototxt.*caffe_network"
        refused(file_tensors() | {"up.weight": wrong}, expected)
        near = torch.tensor(kernel)
        near[change] += 5e-6
        load_weights(Small(), file_tensors() | {"up.weight": near}, FORMAT)
    refused(file_tensors() | {"up.weight": bilinear_kernel((2, 2, 8, 8))}, r"up of the file, \(2, 2, 8, 8\), is not")


def test_a_fixed_deconvolution_with_a_bias_is_refused():
    tensors = file_tensors() | {"up.weight": bilinear_kernel((2, 2, 4, 4)), "up.bias": torch.ones(2)}
    refused(tensors, r"up\.bias of the file, \(2,\), is not the fixed deconvolution of our network: expected none")
    load_weights(Small(), tensors | {"up.bias": torch.zeros(2)}, FORMAT)


def test_ignored_layers_may_stay_but_not_as_deconvolutions_of_their_own():
    tensors = file_tensors() | {"loss1/fc.weight": torch.ones(7, 5), "loss_geo.weight": torch.ones(3, 2, 1, 1)}
    report = load_weights(Small(), tensors, FORMAT)
    assert [(entry.source, entry.how) for entry in report.unused] == [
        ("loss1/fc", "not needed"),
        ("loss_geo", "not needed"),
    ]
    load_weights(Small(), file_tensors() | {"up2.weight": bilinear_kernel((3, 1, 4, 4))}, FORMAT)
    refused(file_tensors() | {"up2.weight": torch.ones(3, 1, 4, 4)}, "up2 of the file.*expected a bilinear one")


@pytest.mark.parametrize("kernel", [4, 16, 32, 63, 64])
def test_the_bilinear_kernel_is_the_specifications(kernel):
    factor = (kernel + 1) // 2
    centre = factor - 1 if kernel % 2 else factor - 0.5
    taps = [1 - abs(i - centre) / factor for i in range(kernel)]  # §1.5, FCN's surgery.py
    made = bilinear_kernel((2, 2, kernel, kernel))
    assert torch.allclose(made[0, 0], torch.tensor(taps)[:, None] * torch.tensor(taps))
    assert torch.equal(made[1, 1], made[0, 0]) and not made[0, 1].any() and not made[1, 0].any()


def test_the_way_back_gives_the_files_tensors():
    network, tensors = Small(), file_tensors()
    load_weights(network, tensors, FORMAT)
    back = foreign_tensors(network, FORMAT)
    assert back.keys() == tensors.keys() | {"up.weight"}
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())
    with pytest.raises(BadOption, match="cannot be written as small: what reading does to them cannot be undone"):
        foreign_tensors(network, replace(FORMAT, prepare=lambda tensors: dict(tensors)))


def test_learned_upsampling_is_exported_as_it_was_learned(tmp_path):
    network, other = (build("fcn16s_vgg16", num_classes=3, width=1 / 32, learn_upsampling=True) for _ in range(2))
    nn.init.normal_(network.upscore2.weight)
    export_caffemodel(network, "berkeley_fcn16s_vgg16", tmp_path / "a.caffemodel")
    tensors = read_tensors(tmp_path / "a.caffemodel")
    assert tensors["upscore2.weight"].shape == (3, 3, 4, 4)
    assert load_weights(other, tensors, WEIGHT_FORMATS["berkeley_fcn16s_vgg16"]).complete
    assert torch.equal(other.upscore2.weight, network.upscore2.weight)
    fixed = build("fcn16s_vgg16", num_classes=3, width=1 / 32)
    with pytest.raises(WeightsError, match="upscore2 of the file, .* is not the fixed deconvolution of our network"):
        load_weights(fixed, tensors, WEIGHT_FORMATS["berkeley_fcn16s_vgg16"])


@pytest.mark.parametrize("name", ["berkeley_fcn8s_atonce_vgg16", "berkeley_nyud_color_hha", "crfrnn_fcn8s"])
def test_an_exported_file_is_imported_again_as_it_was(name, tmp_path):
    format = WEIGHT_FORMATS[name]
    network, other = (build(format.model, num_classes=4, width=1 / 32) for _ in range(2))
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    export_caffemodel(network, name, tmp_path / "a.caffemodel")
    assert load_weights(other, read_tensors(tmp_path / "a.caffemodel"), format).complete
    pairs = zip(network.state_dict().values(), other.state_dict().values(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_an_export_of_another_network_or_format_is_refused(tmp_path):
    segmenter = pw.Segmenter(
        build("unet", num_classes=2, width=1 / 16),
        Normalization((0.0,) * 3, (1.0,) * 3),
        LabelSet(("a", "b")),
        {"builder": "unet", "options": {}},
    )
    with pytest.raises(BadOption, match="the model is unet; berkeley_fcn8s_vgg16 is for fcn8s_vgg16"):
        export_caffemodel(segmenter, "berkeley_fcn8s_vgg16", tmp_path / "a.caffemodel")
    with pytest.raises(UnknownName, match="no weight format is called 'berkeley_fcn8'; did you mean 'berkeley_fcn8s"):
        export_caffemodel(segmenter, "berkeley_fcn8", tmp_path / "a.caffemodel")
    with pytest.raises(BadOption, match="torchvision_vgg16 is no format of Caffe"):
        export_caffemodel(segmenter, "torchvision_vgg16", tmp_path / "a.caffemodel")


def meta_tensors(name, classes):
    format = WEIGHT_FORMATS[name]
    with torch.device("meta"), Unfilled():
        network = network_of(format.model, num_classes=classes)
    return foreign_tensors(network, format)


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("berkeley_context_32s", 60),
        ("berkeley_fcn8s_vgg16", 21),
        ("berkeley_fcn8s_atonce_vgg16", 21),
        ("ilsvrc_vgg16", 1000),
    ],
)
def test_the_format_is_found_by_the_layers_and_the_number_of_classes(name, classes):
    assert find_format(meta_tensors(name, classes), "caffe").name == name


def test_two_formats_with_the_same_layers_are_a_question():
    tensors = meta_tensors("berkeley_nyud_hha", 40)
    with pytest.raises(WeightsError, match=r"2 formats alike: berkeley_nyud_color \(.*; berkeley_nyud_hha .*--format"):
        find_format(tensors, "caffe")
    assert find_format(tensors, "caffe", name="berkeley_nyud_hha").name == "berkeley_nyud_hha"


def test_two_networks_with_the_same_layers_are_a_question_though_the_classes_are_of_one():
    """SegNet and Bayesian SegNet differ in dropout alone."""
    for name in ("segnet_camvid", "segnet_basic_camvid"):
        with pytest.raises(WeightsError, match=rf"formats alike: {name} .*bayesian_segnet.* \(Bad.*Which is it\?"):
            find_format(meta_tensors(name, 11), "caffe")
    assert find_format(meta_tensors("segnet_camvid", 11), "caffe", model="segnet").name == "segnet_camvid"


@pytest.mark.parametrize("shape", [(), (0,), (7,), (5, 5, 5), (0, 3, 1, 1)])
def test_a_file_of_odd_shapes_is_of_no_format(shape):
    for name, layer in (("semseg_pspnet_resnet50", "cls.0.weight"), ("wkentaro_fcn8s_atonce_vgg16", "score_fr.weight")):
        format = WEIGHT_FORMATS[name]
        tensors = {f"{one}.1.weight": torch.empty(8, 8, 1, 1) for one in ("ppm.features.0", "ppm.features.1")}
        tensors |= {"score_pool4.weight": torch.empty(2, 2, 1, 1), "cls.4.weight": torch.empty(2, 2, 1, 1)}
        with pytest.raises(WeightsError, match="of no format of .* that is known"):
            find_format(tensors | {layer: torch.empty(shape)}, "torch", model=format.model)


def test_an_error_of_a_format_itself_is_not_taken_for_another_file(monkeypatch):
    def broken(tensors):
        raise RuntimeError("a fault in prepare")

    monkeypatch.setitem(WEIGHT_FORMATS, "small", replace(FORMAT, model="fcn32s_vgg16", prepare=broken))
    with pytest.raises(RuntimeError, match="a fault in prepare"):
        find_format(file_tensors(), "caffe")


def test_a_format_that_does_not_fit_the_question_is_refused():
    tensors = meta_tensors("berkeley_fcn32s_vgg16", 21)
    with pytest.raises(WeightsError, match="is a format of fcn8s_vgg16, not of unet"):
        find_format(tensors, "caffe", model="unet", name="berkeley_fcn8s_vgg16")
    with pytest.raises(
        WeightsError, match=r"is a format of \.caffemodel files, this is a \.pth, \.pt or \.safetensors"
    ):
        find_format(tensors, "torch", name="berkeley_fcn8s_vgg16")
    with pytest.raises(WeightsError, match="no format of caffe files is known for unet; known: fcn32s_vgg16, "):
        find_format(tensors, "caffe", model="unet")
    with pytest.raises(UnknownName, match="no model is called 'unett'; did you mean 'unet'"):
        find_format(tensors, "caffe", model="unett")
    with pytest.raises(UnknownName, match="no weight format is called 'berkeley'"):
        find_format(tensors, "caffe", name="berkeley")


def test_a_file_of_no_format_is_told_its_nearest_one():
    tensors = meta_tensors("berkeley_fcn8s_vgg16", 21)
    del tensors["conv1_1.bias"]
    with pytest.raises(
        WeightsError, match=r"of no format that is known: conv1_1, .* \(21 in all\); nearest is berkeley_"
    ):
        find_format(tensors, "caffe")
    with pytest.raises(WeightsError, match="known: foo; give a Caffe network's deploy.prototxt, too"):
        find_format({"foo.weight": torch.ones(1)}, "caffe")


def test_classes_are_the_data_sets_or_given():
    assert label_set_of(None, 21, data_set="voc2012") is VOC
    assert label_set_of("voc2012", 21).names[15] == "person"
    assert label_set_of("cat, dog", 2).names == label_set_of(["cat", "dog"], 2).names == ("cat", "dog")
    assert label_set_of(VOC, 21) is VOC
    with pytest.raises(WeightsError, match=r"scores 20 classes, not voc2012's 21; give their names .*--classes FILE"):
        label_set_of(None, 20, data_set="voc2012")
    with pytest.raises(WeightsError, match="scores 2 classes, and their names are not known"):
        label_set_of(None, 2)
    with pytest.raises(WeightsError, match="scores 3 classes, but 2 are named: a, b; name as many"):
        label_set_of("a,b", 3)
    with pytest.raises(WeightsError, match="classes must be different names, got a, a"):
        label_set_of("a,a", 2)
    with pytest.raises(DataError, match=r"no file of classes at names\.txt"):
        label_set_of("names.txt", 2)


def test_classes_are_read_from_a_file_with_their_colors(tmp_path):
    (tmp_path / "classes.txt").write_text("road 1 2 3\nvoid 0 0 0\nsky 4 5 6\n")
    labels = label_set_of(tmp_path / "classes.txt", 2)
    assert labels.names == ("road", "sky") and labels.palette == ((1, 2, 3), (4, 5, 6))
    (tmp_path / "plain.txt").write_text("road\nsky\n")
    assert label_set_of(str(tmp_path / "plain.txt"), 2).names == ("road", "sky")


# a prototxt with its weights

TEXT = """
name: "tiny"
input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 2 kernel_size: 3 pad: 1 } }
"""


@pytest.fixture
def tiny(tmp_path):
    """(prototxt, caffemodel, weight, bias) of a net of one convolution."""
    generator = np.random.default_rng(0)
    weight = generator.standard_normal((2, 3, 3, 3)).astype(np.float32)
    bias = np.array([0.5, -0.5], np.float32)
    write_caffemodel(tmp_path / "tiny.caffemodel", [CaffeLayer("conv", "Convolution", (weight, bias))])
    (tmp_path / "tiny.prototxt").write_text(TEXT)
    return tmp_path / "tiny.prototxt", tmp_path / "tiny.caffemodel", torch.tensor(weight), torch.tensor(bias)


def test_a_prototxt_with_its_weights_is_a_segmenter_that_reads_bgr(tiny, tmp_path):
    prototxt, caffemodel, weight, bias = tiny
    segmenter, report = import_weights(prototxt, caffemodel, classes="a,b", mean=(3, 2, 1))
    segmenter = pw.load(segmenter.save(tmp_path / "model.safetensors"))
    picture = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    levels = torch.tensor(picture[..., ::-1].copy()).permute(2, 0, 1)[None] - torch.tensor([1.0, 2, 3])[:, None, None]
    expected = nn.functional.conv2d(levels, weight, bias, padding=1)[0].argmax(0)
    assert np.array_equal(segmenter.predict(picture).labels, expected.numpy())
    assert [entry.source for entry in report.copied] == ["conv"]
    record = segmenter.recipe["imported"]
    assert record == {
        "files": {path.name: digest_of(path) for path in (prototxt, caffemodel)},
        "format": "caffe_network",
        "copied": ["conv"],
        "reshaped": [],
        "missing": [],
        "unused": [],
    }


def test_the_mean_and_the_scale_are_the_prototxts_where_it_has_them(tiny):
    prototxt, caffemodel, *_ = tiny
    with pytest.raises(WeightsError, match=r"tiny\.prototxt does not say which mean .*--mean R,G,B\), or 0"):
        import_weights(prototxt, caffemodel, classes="a,b")
    data = 'layer { name: "data" type: "Data" top: "data" transform_param { scale: 0.5 %s } }'
    prototxt.write_text(TEXT.replace("layer {", data % "mean_value: 104 mean_value: 117 mean_value: 123" + "\nlayer {"))
    told = told_normalization(prototxt.read_text())
    assert (told.mean, told.scale) == ((104, 117, 123), 0.5)
    segmenter, _ = import_weights(tiny[0], tiny[1], classes="a,b")
    assert segmenter.normalization == Normalization((104.0, 117.0, 123.0), (2.0, 2.0, 2.0), "bgr")
    segmenter, _ = import_weights(tiny[0], tiny[1], classes="a,b", mean=[0], scale=0.25, channel_order="rgb")
    assert segmenter.normalization == Normalization((0.0,) * 3, (4.0,) * 3, "rgb")
    with pytest.raises(BadOption, match="reads 3 channels, but the mean has 2: 1, 2"):
        import_weights(tiny[0], tiny[1], classes="a,b", mean=[1, 2])
    with pytest.raises(BadOption, match="scale must be above 0, got -1"):
        import_weights(tiny[0], tiny[1], classes="a,b", mean=[0], scale=-1)


def test_two_data_layers_that_differ_are_refused():
    data = 'layer { name: "data" transform_param { mean_value: %d } }'
    with pytest.raises(WeightsError, match="the data layers of prototxt differ in mean or scale"):
        told_normalization(data % 1 + data % 2)
    assert told_normalization(data % 1 + data % 1).mean == (1.0,)


def test_a_network_that_takes_no_other_sizes_gets_pictures_of_the_prototxts(tiny):
    prototxt, caffemodel, *_ = tiny
    assert import_weights(prototxt, caffemodel, classes="a,b", mean=[0])[0].normalization.size is None
    pool = (
        'layer { name: "half" type: "Pooling" bottom: "conv" top: "half" pooling_param { kernel_size: 2 stride: 2 } }'
    )
    param = "convolution_param { num_output: 2 group: 2 kernel_size: 2 stride: 2 bias_term: false }"
    up = f'layer {{ name: "up" type: "Deconvolution" bottom: "half" top: "up" {param} }}'
    add = 'layer { name: "sum" type: "Eltwise" bottom: "conv" bottom: "up" top: "sum" }'  # of even sizes alone
    prototxt.write_text(TEXT + pool + up + add)
    layers = [
        *read_caffemodel(caffemodel).layers,
        CaffeLayer("up", "Deconvolution", (np.ones((2, 1, 2, 2), np.float32),)),
    ]
    write_caffemodel(caffemodel.with_name("up.caffemodel"), layers)
    segmenter, _ = import_weights(prototxt, caffemodel.with_name("up.caffemodel"), classes="a,b", mean=[0])
    assert segmenter.normalization.size == (8, 8)
    assert segmenter.predict(np.zeros((9, 7, 3), np.uint8)).labels.shape == (9, 7)


def test_caffe_network_runs_the_files_as_they_are(tiny):
    prototxt, caffemodel, weight, bias = tiny
    images = torch.randn(1, 3, 6, 5)
    network = caffe_network(prototxt, caffemodel)
    assert torch.allclose(network(images), nn.functional.conv2d(images, weight, bias, padding=1), atol=1e-5)


def test_a_classifiers_prototxt_is_refused_with_the_way_to_use_it(tiny):
    prototxt, caffemodel, *_ = tiny
    kind = "pooling_param { pool: AVE global_pooling: true }"
    pool = f'layer {{ name: "pool" type: "Pooling" bottom: "conv" top: "pool" {kind} }}'
    flat = 'layer { name: "flat" type: "Flatten" bottom: "pool" top: "flat" }'
    prototxt.write_text(TEXT + pool + flat)
    with pytest.raises(WeightsError, match="is a classifier: .*caffe_network and make it convolutional"):
        import_weights(prototxt, caffemodel, classes="a,b", mean=[0])


def test_files_and_options_that_do_not_go_together_are_refused(tiny, tmp_path):
    prototxt, caffemodel, *_ = tiny
    with pytest.raises(BadOption, match="expected one file of weights, and at most one .prototxt, got none"):
        import_weights()
    with pytest.raises(BadOption, match=r"expected one file of weights.*got .*tiny\.prototxt$"):
        import_weights(prototxt)
    with pytest.raises(DataError, match=r"no file at .*other\.caffemodel"):
        import_weights(prototxt, tmp_path / "other.caffemodel")
    with pytest.raises(BadOption, match="with a .prototxt the network is run as it is; leave out model and format"):
        import_weights(prototxt, caffemodel, model="unet")
    with pytest.raises(BadOption, match="leave out channel_order"):
        import_weights(caffemodel, channel_order="bgr")
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(BadOption, match=r"a \.prototxt goes with a \.caffemodel, got .*a\.safetensors"):
        import_weights(prototxt, tmp_path / "a.safetensors")
    with pytest.raises(
        WeightsError, match=r"tiny\.caffemodel: the file's layers are of no format that is known: conv;"
    ):
        import_weights(caffemodel)


# one of our networks: resnet18, the smallest that has a format


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory):
    """(file, tensors) of torchvision's ResNet-18 with 3 classes."""
    format = WEIGHT_FORMATS["torchvision_resnet18"]
    network = network_of("resnet18", num_classes=3)
    tensors = foreign_tensors(network, format)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(tensors, path)
    return path, network


def test_a_classifier_comes_out_made_convolutional(resnet18, tmp_path):
    path, network = resnet18
    segmenter, report = import_weights(path, model="resnet18", classes="a,b,c", size=(64, 96))
    assert report.complete
    segmenter = pw.load(segmenter.save(tmp_path / "model.safetensors"))
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = network.eval()(images)
        scores = segmenter.network.heads(images)["logits"].scores
    assert scores.shape == (1, 3, 1, 1) and torch.allclose(scores[..., 0, 0], expected, atol=1e-4)
    assert segmenter.architecture["options"]["input_size"] == [64, 96]
    assert segmenter.normalization == WEIGHT_FORMATS["torchvision_resnet18"].normalization
    assert segmenter.recipe["imported"]["format"] == "torchvision_resnet18"


def test_a_partial_import_is_recorded(resnet18, tmp_path):
    tensors = {name: tensor for name, tensor in torch.load(resnet18[0], weights_only=True).items() if "bn1" not in name}
    torch.save(tensors | {"more.weight": torch.ones(2)}, tmp_path / "less.pth")
    with pytest.raises(
        WeightsError, match=r"less\.pth: the file does not fit resnet18 as torchvision_resnet18: \d+ of our"
    ):
        import_weights(tmp_path / "less.pth", format="torchvision_resnet18", classes="a,b,c")
    segmenter, report = import_weights(
        tmp_path / "less.pth", format="torchvision_resnet18", classes="a,b,c", partial=True, mean=(1, 2, 3)
    )
    record = segmenter.recipe["imported"]
    assert len(record["missing"]) == len(report.left) > 0
    assert record["missing"][0].endswith(": the file has no such layer")
    assert record["unused"] == ["more: no layer of the target was paired with it"]
    known = WEIGHT_FORMATS["torchvision_resnet18"].normalization
    assert segmenter.normalization == replace(known, mean=(1.0, 2.0, 3.0))


def test_what_a_prototxt_lacks_and_what_a_file_lacks_are_recorded(tiny):
    prototxt, caffemodel, *_ = tiny
    more = 'layer { name: "score" type: "Convolution" bottom: "conv" top: "score" convolution_param { %s } }'
    prototxt.write_text(TEXT + more % "num_output: 2 kernel_size: 1")
    surplus = [*read_caffemodel(caffemodel).layers, CaffeLayer("old", "Convolution", (np.ones((1, 1, 1, 1), "f4"),))]
    write_caffemodel(caffemodel, surplus)
    with pytest.raises(WeightsError, match=r"1 missing \(score\), 1 of the file unused \(old\).*partial=True"):
        import_weights(prototxt, caffemodel, classes="a,b", mean=[0])
    segmenter, report = import_weights(prototxt, caffemodel, classes="a,b", mean=[0], partial=True)
    record = segmenter.recipe["imported"]
    assert record["copied"] == ["conv"] and record["missing"] == ["score: the file has no such layer"]
    assert record["unused"] == ["old: the prototxt has no such layer"]
    assert "score  the file has no such layer" in str(report) and "old    the prototxt has no such layer" in str(report)


def test_what_no_file_tells_is_a_note_of_the_import(tmp_path):
    network = network_of("alexnet", num_classes=4, width=1 / 32)
    format = replace(WEIGHT_FORMATS["bvlc_caffenet"], options=lambda tensors: {"num_classes": 4, "width": 1 / 32})
    export_caffemodel(network, format, tmp_path / "a.caffemodel")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(WEIGHT_FORMATS, "bvlc_caffenet", format)
        segmenter, _ = import_weights(tmp_path / "a.caffemodel", format="bvlc_caffenet", classes="a,b,c,d")
    [note] = segmenter.recipe["imported"]["notes"]
    assert "bvlc_alexnet has the same layers" in note and "deploy.prototxt" in note


def test_the_types_of_an_exported_file_are_caffes(tmp_path):
    network = build("crfrnn_fcn8s", num_classes=3, width=1 / 64)
    export_caffemodel(network, "crfrnn_fcn8s", tmp_path / "a.caffemodel")
    layers = read_caffemodel(tmp_path / "a.caffemodel").by_name
    kinds = {name: layers[name].type for name in ("conv1_1", "fc6", "score2", "score4", "upsample", "inference1")}
    assert kinds == {
        "conv1_1": "Convolution",
        "fc6": "Convolution",
        "score2": "Deconvolution",
        "score4": "Deconvolution",
        "upsample": "Deconvolution",
        "inference1": "",
    }
    assert len(layers["inference1"].blobs) == 3 and caffe_tensors(read_caffemodel(tmp_path / "a.caffemodel"))
