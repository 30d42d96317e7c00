"""`.caffemodel` and `.binaryproto` of every age: what is written byte by byte, and by Caffe itself, reads back."""

import itertools
import mmap
import tracemalloc
import warnings

import cv2
import numpy as np
import pytest
import torch

from pixelwise.caffe import (
    CaffeLayer,
    caffemodel,
    prototxt_text,
    read_binaryproto,
    read_caffemodel,
    read_prototxt,
    write_caffemodel,
)
from pixelwise.errors import DataError, WeightsError

from . import messages
from .messages import blob, content, float4, float8, group, layer, legacy, number, v0_layer, v1_layer


def numbers(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def read(data):
    return caffemodel.weights_of(data, "file")


def same(layer, name, kind, *blobs):
    assert (layer.name, layer.type, len(layer.blobs)) == (name, kind, len(blobs))
    for found, expected in zip(layer.blobs, blobs, strict=True):
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


WEIGHT, BIAS = numbers(4, 3, 2, 2), numbers(1, 1, 1, 4, seed=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("shape", ["shape", "unpacked shape", "legacy"])
@pytest.mark.parametrize("age", ["layer", "V1", "V0"])
def test_every_spelling_of_a_layer_reads_the_same(age, shape, packed, dtype):
    weight, bias = WEIGHT.astype(dtype), BIAS.astype(dtype)

    def written(one):
        axes = legacy(one.shape) if shape == "legacy" else messages.shape(one.shape, packed=shape == "shape")
        return axes + messages.values(one, packed=packed)

    blobs = written(weight), written(bias)
    data = {
        "layer": layer("conv1", "Convolution", *blobs),
        "V1": v1_layer("conv1", 4, *blobs),
        "V0": v0_layer("conv1", "conv", *blobs),
    }[age]
    weights = read(content(1, "net") + data + content(3, "data"))
    assert (weights.name, len(weights.layers)) == ("net", 1)
    same(weights.by_name["conv1"], "conv1", "Convolution", weight, bias)


def test_values_in_several_pieces_are_joined_in_their_order():
    first, second, third = numbers(2), numbers(3, seed=1), numbers(4, seed=2)
    for ways in itertools.product([True, False], repeat=3):
        pieces = [messages.values(one, packed=way) for one, way in zip([first, second, third], ways, strict=True)]
        data = pieces[0] + messages.shape([9]) + pieces[1] + content(5) + float8(77, 1) + pieces[2]
        same(read(layer("a", "Bias", data)).layers[0], "a", "Bias", np.concatenate([first, second, third]))


def test_a_value_with_a_longer_tag_than_needed_is_read():
    data = b"\xad\x00" + float4(5, 0.5)[1:] + b"\xad\x00" + float4(5, 1.5)[1:]
    same(read(layer("a", "Bias", data + messages.shape([2]))).layers[0], "a", "Bias", np.float32([0.5, 1.5]))


def test_doubles_win_over_floats_where_there_are_any():
    floats, doubles = numbers(3), numbers(3, dtype=np.float64)
    both = messages.values(floats) + messages.values(doubles) + messages.shape([3])
    none = messages.values(floats) + content(8) + messages.shape([3])
    weights = read(layer("both", "Bias", both) + layer("none", "Bias", none))
    same(weights.by_name["both"], "both", "Bias", doubles)
    same(weights.by_name["none"], "none", "Bias", floats)


def test_gradients_are_skipped():
    data = blob(WEIGHT) + content(6, WEIGHT.tobytes()) + float4(6, 1) * 9 + content(9, bytes(16)) + float8(9, 1) * 3
    same(read(layer("a", "Convolution", data)).layers[0], "a", "Convolution", WEIGHT)


def test_the_four_numbers_of_old_files_win_over_the_shape():
    data = legacy([1, 1, 2, 3]) + messages.values(numbers(6)) + messages.shape([6])
    assert read(layer("a", "Bias", data)).layers[0].blobs[0].shape == (1, 1, 2, 3)


def test_a_shape_in_several_pieces_is_joined():
    data = messages.shape([2, 3]) + messages.values(numbers(24)) + messages.shape([4], packed=False)
    assert read(layer("a", "Bias", data)).layers[0].blobs[0].shape == (2, 3, 4)


def test_a_blob_without_axes_is_one_value():
    assert read(layer("a", "Scale", content(7) + float4(5, 2.5))).layers[0].blobs[0] == np.float32(2.5)


def test_fields_that_forks_use_for_different_things_are_skipped():
    """SegNet's 45 and 137, DeepLab's 143 and 146, CRF-RNN's 1000, each with another wire type, and everywhere."""
    odd = [number(45, 7), content(137, b"\xff\xff\xff"), float4(143, 1), float8(146, 1), group(1000, number(1, 1))]
    for one in odd:
        inner = (
            content(1, "a") + one + content(2, "BN") + content(45, "\x00") + content(7, one, blob(WEIGHT), one) + one
        )
        same(read(one + content(100, inner) + one).layers[0], "a", "BN", WEIGHT)


def test_layers_keep_their_order_and_those_with_blobs_are_found_by_name():
    data = layer("data", "Input") + v1_layer("b", 14, blob(BIAS)) + layer("a", "ReLU") + layer("c", "Scale", blob(BIAS))
    weights = read(data)
    assert [one.name for one in weights.layers] == ["data", "b", "a", "c"]
    assert list(weights.by_name) == ["b", "c"]
    assert weights.by_name["b"].type == "InnerProduct"


def test_of_two_layers_with_one_name_the_last_is_taken():
    weights = read(layer("a", "Bias", blob(BIAS)) + layer("a", "Bias", blob(BIAS + 1)) + layer("a", "ReLU"))
    same(weights.by_name["a"], "a", "Bias", BIAS + 1)


def test_numbers_and_words_of_old_types_become_names():
    data = b"".join(v1_layer("", kind) for kind in [0, 14, 15, 21, 25, 39, 41, -1])
    data += b"".join(v0_layer("", kind) for kind in ["innerproduct", "pool", "softmax_loss", "padding"])
    assert [one.type for one in read(data).layers] == [
        *("V1:0", "InnerProduct", "LRN", "SoftmaxWithLoss", "Eltwise", "Deconvolution", "V1:41", "V1:-1"),
        *("InnerProduct", "Pooling", "SoftmaxWithLoss", "V0:padding"),
    ]


def opencv_reads(data):
    """The blobs of conv1, by an importer that shares nothing with ours; flat, for it makes its own shapes."""
    text = (
        'input: "data" input_dim: 1 input_dim: 3 input_dim: 5 input_dim: 5 layer { name: "conv1" type: "Convolution" '
        'bottom: "data" top: "conv1" convolution_param { num_output: 4 kernel_size: 2 } }'
    )
    net = cv2.dnn.readNetFromCaffe(np.frombuffer(text.encode(), np.uint8), np.frombuffer(data, np.uint8))
    return [net.getParam("conv1", i).ravel() for i in range(2)]


def test_opencv_reads_the_same_blobs_of_old_and_new_files(tmp_path):
    """V0 is not among them: of such a file OpenCV 4 gives the layer no blobs."""
    weight, bias = numbers(4, 3, 2, 2), numbers(4, seed=1)
    new = [blob(weight), blob(bias)]
    loose = [messages.shape(one.shape, packed=False) + messages.values(one, packed=False) for one in (weight, bias)]
    old = [legacy((1,) * (4 - one.ndim) + one.shape) + messages.values(one) for one in (weight, bias)]
    write_caffemodel(tmp_path / "net.caffemodel", [CaffeLayer("conv1", "Convolution", (weight, bias))])
    files = [
        layer("conv1", "Convolution", *new),
        layer("conv1", "Convolution", *loose),
        layer("conv1", "Convolution", *old),
        v1_layer("conv1", 4, *old),
        (tmp_path / "net.caffemodel").read_bytes(),
    ]
    for data in files:
        found = read(data).by_name["conv1"].blobs
        for ours, theirs, expected in zip(found, opencv_reads(data), (weight, bias), strict=True):
            assert np.array_equal(ours.ravel(), theirs) and np.array_equal(theirs, expected.ravel())


# the map


def test_packed_floats_are_views_of_the_file(tmp_path):
    path = tmp_path / "net.caffemodel"
    for shift in range(4):  # the values start at any byte
        path.write_bytes(content(1, "n" * shift) + layer("a", "Convolution", blob(WEIGHT)))
        [found] = read_caffemodel(path).by_name["a"].blobs
        assert isinstance(found.base, mmap.mmap)
        assert not found.flags.writeable
        assert np.array_equal(found, WEIGHT)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert torch.equal(torch.tensor(found), torch.from_numpy(WEIGHT))
        assert np.array(found).flags.aligned


def test_a_file_of_600_mb_takes_no_memory(tmp_path):
    """The file has a hole, so that it takes no disk either."""
    path, rows = tmp_path / "large.caffemodel", 150_000
    values = messages.varint(5 << 3 | 2) + messages.varint(4000 * rows)
    inner = messages.shape([rows, 1000]) + values
    start = messages.varint(7 << 3 | 2) + messages.varint(len(inner) + 4000 * rows)
    head = content(1, "fc6") + content(2, "InnerProduct") + start + inner
    tail = layer("fc7", "InnerProduct", blob(WEIGHT))
    with path.open("wb") as file:
        file.write(messages.varint(100 << 3 | 2) + messages.varint(len(head) + 4000 * rows) + head)
        file.seek(4000 * rows - 4, 1)
        file.write(np.float32(2.5).tobytes() + tail)
    tracemalloc.start()
    weights = read_caffemodel(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    [fc6] = weights.by_name["fc6"].blobs
    assert (fc6.shape, fc6[0, 0], fc6[-1, -1]) == ((rows, 1000), 0, 2.5)
    same(weights.by_name["fc7"], "fc7", "InnerProduct", WEIGHT)
    assert peak < 100_000


# errors


GOOD = layer("conv1", "Convolution", blob(WEIGHT))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (GOOD[:-1], "byte 0: expected at most 225 more bytes, for the file ends there; field 100 declares 226"),
        (number(100, 1), "byte 0: expected a layer .field 100. with wire type 2, found wire type 0"),
        (float4(2, 1), "byte 0: expected a layer .field 2. with wire type 2, found wire type 5"),
        (float8(1, 1), "byte 0: expected the network's name .field 1. with wire type 2, found wire type 1"),
        (content(100, number(1, 5)), "byte 3: expected a layer's name .field 1. with wire type 2, found wire type 0"),
        (content(100, number(2, 5)), "byte 3: expected a layer's type .field 2. with wire type 2, found wire type 0"),
        (
            content(100, number(7, 5)),
            "byte 3: expected blob 0 of layer '' .field 7. with wire type 2, found wire type 0",
        ),
        (content(2, content(5, "x")), "byte 2: expected a layer's type .field 5. with wire type 0, found wire type 2"),
        (
            content(2, number(1, 5)),
            "byte 2: expected a layer of format V0 .field 1. with wire type 2, found wire type 0",
        ),
        (
            layer("a", "B", float8(5, 1)),
            "expected the values of blob 0 of layer 'a' .field 5. with wire type 5, found wire type 1",
        ),
        (
            layer("a", "B", float4(8, 1)),
            "expected the values of blob 0 of layer 'a' .field 8. with wire type 1, found wire type 5",
        ),
        (
            layer("a", "B", content(5, bytes(7))),
            "expected values of 4 bytes for blob 0 of layer 'a', found 7 bytes of them",
        ),
        (
            layer("a", "B", number(7, 1)),
            "expected the shape of blob 0 of layer 'a' .field 7. with wire type 2, found wire type 0",
        ),
        (
            layer("a", "B", content(7, float4(1, 1))),
            "expected an axis of blob 0 of layer 'a' .field 1. with wire type 0, found .* 5",
        ),
        (
            layer("a", "B", content(1, "x")),
            "expected an axis of blob 0 of layer 'a' .field 1. with wire type 0, found .* 2",
        ),
        (
            layer("a", "B", messages.shape([2, 3]) + content(5, bytes(20))),
            "byte 9: expected 6 values for blob 0 of layer 'a', whose shape is 2×3, found 5",
        ),
        (
            layer("a", "B", messages.shape([2**62, 2**62]) + content(5, bytes(20))),
            "expected 21267647932558653966460912964485513216 values for blob 0 of layer 'a', .*, found 5",
        ),
        (
            layer("a", "B", content(5, bytes(8))),
            "expected 1 values for blob 0 of layer 'a', whose shape is .. of one value, found 2",
        ),
        (layer("a", "B", blob(WEIGHT), b""), "expected 1 values for blob 1 of layer 'a', whose shape is .* found 0"),
        (
            layer("a", "B", messages.shape([0, 5])),
            "expected lengths from 1 for the axes of blob 0 of layer 'a', found 0×5",
        ),
        (layer("a", "B", messages.shape([-2, -3]) + content(5, bytes(24))), "expected lengths from 1 .* found -2×-3"),
        (layer("a", "B", legacy([1, 1, -1, 1])), "expected lengths from 1 .* found 1×1×-1×1"),
        (layer("a", "B", legacy([0, 0, 0, 3]) + content(5, bytes(12))), "expected lengths from 1 .* found 0×0×0×3"),
        (layer("a", "B", messages.shape([1] * 33)), "expected at most 32 axes for blob 0 of layer 'a', found more"),
        (content(1, "net"), "^file: expected a network's layers with their weights, found none in 5 bytes"),
    ],
)
def test_a_broken_file_is_refused_in_one_line_with_its_byte(data, error):
    with pytest.raises(WeightsError, match=error) as caught:
        read(data)
    assert str(caught.value).startswith("file")
    assert "\n" not in str(caught.value)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 537\n"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "empty"),
        (LFS, "the pointer of a file in Git LFS: run `git lfs pull`, or download the file itself"),
        (b"\n<!DOCTYPE html><html><head>", "a page of HTML or XML: the download gave a web page instead of the file"),
        (
            b'# VGG\nname: "VGG"\nlayer { name: "a" }',
            "text, as a .prototxt, which holds the layers and not the weights",
        ),
        (b'\xef\xbb\xbfname: "VGG" layer { name: "a" }', "text, as a .prototxt"),
        (b"PK\x03\x04" + bytes(50), "a zip archive, as PyTorch's .pth files are"),
        (b"\x80\x02}q\x00(X\x0b\x00\x00\x00conv1_1", "a pickle, as PyTorch's old .pth files are"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "an HDF5 file"),
        (b"\x1f\x8b\x08" + bytes(50), "packed by gzip"),
    ],
)
def test_another_file_given_as_weights_is_called_what_it_is(data, error, tmp_path):
    path = tmp_path / "vgg.caffemodel"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=f"vgg.caffemodel: expected a .caffemodel, but the file seems to be {error}"):
        read_caffemodel(path)
    with pytest.raises(WeightsError, match=f"expected a .binaryproto, but the file seems to be {error}"):
        read_binaryproto(path)


def test_a_file_that_is_not_there_or_a_folder_is_an_error_of_data(tmp_path):
    for reader in (read_caffemodel, read_binaryproto, prototxt_text):
        with pytest.raises(DataError, match="none: there is no such file"):
            reader(tmp_path / "none")
        with pytest.raises(DataError, match="expected a file that can be read, found: .*directory"):
            reader(tmp_path)


def test_a_long_name_does_not_make_a_long_error():
    with pytest.raises(WeightsError) as caught:
        read(layer("\n" * 10_000, "B", messages.shape([3])))
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


# means


@pytest.mark.parametrize("written", [legacy([1, 3, 5, 4]), messages.shape([1, 3, 5, 4]), messages.shape([3, 5, 4])])
def test_a_mean_image_has_three_axes(written, tmp_path):
    mean = numbers(3, 5, 4)
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(written + messages.values(mean))
    assert np.array_equal(read_binaryproto(path), mean)


def test_a_mean_of_other_axes_is_refused():
    with pytest.raises(WeightsError, match=r"expected a mean image of .channels, height, width., found \(2, 3, 4, 5\)"):
        caffemodel.mean_of(blob(numbers(2, 3, 4, 5)), "mean")
    with pytest.raises(WeightsError, match="expected 6 values for the mean, whose shape is 1×2×3, found 5"):
        caffemodel.mean_of(messages.shape([1, 2, 3]) + messages.values(numbers(5)), "mean")


# writing


def test_what_is_written_reads_back_the_same(tmp_path):
    path = tmp_path / "net.caffemodel"
    layers = (
        CaffeLayer("conv1", "Convolution", (WEIGHT, numbers(4))),
        CaffeLayer("relu1", "ReLU", ()),
        CaffeLayer("scale/ä", "Scale", (np.float64(3.5).reshape(()), numbers(200, dtype=np.float64))),
        CaffeLayer("fc", "InnerProduct", (numbers(6, 4).T, BIAS)),  # not contiguous
    )
    write_caffemodel(path, layers, name="net")
    weights = read_caffemodel(path)
    assert weights.name == "net"
    for found, expected in zip(weights.layers, layers, strict=True):
        same(found, expected.name, expected.type, *expected.blobs)


def test_the_bytes_are_those_of_protobuf(tmp_path):
    path = tmp_path / "net.caffemodel"
    blobs = numbers(3, dtype=np.float64), numbers(300, 2)
    write_caffemodel(path, [CaffeLayer("a", "Bias", blobs)], name="net")
    inner = [messages.shape(one.shape) + messages.values(one) for one in blobs]
    assert path.read_bytes() == content(1, "net") + layer("a", "Bias", *inner)


def test_blobs_that_caffe_cannot_hold_are_not_written(tmp_path):
    for wrong in [
        np.zeros(3, np.int32),
        np.zeros((0, 3), np.float32),
        np.zeros(3, ">f4"),
        np.zeros([1] * 33, np.float32),
    ]:
        with pytest.raises(WeightsError, match="blob 0 of layer 'a': expected float32 or float64, at least one value"):
            write_caffemodel(tmp_path / "net.caffemodel", [CaffeLayer("a", "Bias", (wrong,))])
    large = np.broadcast_to(np.float32(0), (2**29,))
    with pytest.raises(WeightsError, match="the weights take 2147483.* bytes; Caffe reads files of at most 2147483647"):
        write_caffemodel(tmp_path / "net.caffemodel", [CaffeLayer("a", "Bias", (large,))])
    assert list(tmp_path.iterdir()) == []


# real files

REAL = {  # of each file: layers, and those with blobs
    "enet-cityscapes/cityscapes_weights.caffemodel": (348, 244),
    "enet-cityscapes/cityscapes_weights_before_bn_merge.caffemodel": (352, 244),
    "lenet-mnist/lenet_iter_10000.caffemodel": (9, 4),
    "mnet-deconv/mnet-deconv-0517.caffemodel": (223, 152),
    "mtcnn/det1.caffemodel": (18, 8),
    "mtcnn/det2.caffemodel": (22, 11),
    "mtcnn/det3.caffemodel": (25, 13),
    "rfb320/RFB-320.caffemodel": (116, 52),
    "waifu2x-upresnet10/scale2.0x_model.json.caffemodel": (73, 23),
}
NETWORKS = {
    "enet-cityscapes/enet_deploy_final.prototxt": "enet-cityscapes/cityscapes_weights.caffemodel",
    "enet-cityscapes/enet_deploy.prototxt": "enet-cityscapes/cityscapes_weights_before_bn_merge.caffemodel",
    "lenet-mnist/lenet.prototxt": "lenet-mnist/lenet_iter_10000.caffemodel",
    "mnet-deconv/mnet-deconv-0517.prototxt": "mnet-deconv/mnet-deconv-0517.caffemodel",
    "mtcnn/det1.prototxt": "mtcnn/det1.caffemodel",
    "mtcnn/det2.prototxt": "mtcnn/det2.caffemodel",
    "mtcnn/det3.prototxt": "mtcnn/det3.caffemodel",
    "rfb320/RFB-320.prototxt": "rfb320/RFB-320.caffemodel",
    "waifu2x-upresnet10/scale2.0x_model.prototxt": "waifu2x-upresnet10/scale2.0x_model.json.caffemodel",
}


@pytest.mark.real
def test_every_real_file_reads(real_data):
    files = {path.relative_to(real_data / "caffe").as_posix(): path for path in real_data.glob("caffe/**/*.caffemodel")}
    assert files.keys() == REAL.keys()
    for name, path in files.items():
        weights = read_caffemodel(path)
        assert (len(weights.layers), len(weights.by_name)) == REAL[name], name
        values = sum(one.nbytes for layer in weights.layers for one in layer.blobs)
        assert 0.9 < values / path.stat().st_size < 1, name  # nearly all of such a file is values


@pytest.mark.real
@pytest.mark.parametrize("network", NETWORKS)
def test_blobs_of_real_files_have_the_lengths_of_the_network(network, real_data):
    net = read_prototxt(prototxt_text(real_data / "caffe" / network), network)
    weights = read_caffemodel(real_data / "caffe" / NETWORKS[network]).by_name
    seen = 0
    for one in net.messages("layer"):
        kind, name = one.get("type", ""), one.get("name", "")
        if kind not in ("Convolution", "Deconvolution", "InnerProduct"):
            continue
        param = one.message("inner_product_param" if kind == "InnerProduct" else "convolution_param")
        weight, *biases = weights[name].blobs
        outputs, groups = param.get("num_output", 0), param.get("group", 1)
        if kind == "Deconvolution":
            assert weight.shape[1] * groups == outputs
        else:
            assert weight.shape[-4:][0] == outputs
        assert [bias.size for bias in biases] == [outputs] * param.get("bias_term", True)
        if "kernel_size" in param:
            assert weight.shape[2:] == (param.all("kernel_size") * 2)[:2]
        seen += 1
    assert seen >= 4


@pytest.mark.real
@pytest.mark.parametrize(
    "network", ["lenet-mnist/lenet", "mtcnn/det1", "mtcnn/det2", "mtcnn/det3", "mnet-deconv/mnet-deconv-0517"]
)
def test_blobs_of_real_files_are_those_that_opencv_reads(network, real_data):
    text = real_data / "caffe" / f"{network}.prototxt"
    weights = read_caffemodel(real_data / "caffe" / NETWORKS[f"{network}.prototxt"]).by_name
    net = cv2.dnn.readNetFromCaffe(str(text), str(real_data / "caffe" / NETWORKS[f"{network}.prototxt"]))
    seen = 0
    for name, one in weights.items():
        if one.type in ("Convolution", "Deconvolution", "InnerProduct") and net.getLayerId(name) >= 0:
            for i, found in enumerate(one.blobs):
                assert np.array_equal(net.getParam(name, i).ravel(), found.ravel()), name
            seen += 1
    assert seen >= 4
