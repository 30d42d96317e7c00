import re

import numpy as np
import pytest
import torch

from pixelwise.caffe import CaffeLayer, CaffeWeights
from pixelwise.caffe.network import caffe_network_of
from pixelwise.errors import ShapeError, WeightsError

from . import caffe
from .compare import agree
from .fcn import FCN8S


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def network(layers, *shapes, blobs=None):
    """A network of inputs "data", "data2" …, its weights loaded."""
    text = "".join(
        f'input: "data{number or ""}" input_shape {{ {" ".join(f"dim: {length}" for length in shape)} }}\n'
        for number, shape in enumerate(shapes)
    )
    built = caffe_network_of(text + layers).eval()
    if blobs:
        weights = tuple(CaffeLayer(name, "", tuple(values)) for name, values in blobs.items())
        built.load_caffemodel(CaffeWeights("", weights))
    return built


def ours(layers, values, blobs=None, top="y"):
    with torch.no_grad():
        return network(layers, values.shape, blobs=blobs).run(torch.from_numpy(values), [top])[top].numpy()


def one(kind, param="", **fields):
    return caffe.layer(kind, "y", "data", param, **fields)


OPENCV = {  # layer, its blobs' shapes, the input's
    "a convolution": (caffe.conv("y", "data", 6, 3), [(6, 4, 3, 3), (6,)], (2, 4, 7, 9)),
    "a strided, padded convolution in groups": (
        caffe.conv("y", "data", 6, 3, stride=2, pad=1, group=2, bias_term=False),
        [(6, 2, 3, 3)],
        (1, 4, 8, 9),
    ),
    "a dilated convolution": (caffe.conv("y", "data", 3, 3, dilation=2, pad=2), [(3, 4, 3, 3), (3,)], (1, 4, 8, 9)),
    "a convolution of another height than width": (
        one(
            "Convolution",
            "convolution_param",
            num_output=3,
            kernel_h=1,
            kernel_w=5,
            pad_h=0,
            pad_w=2,
            stride_w=2,
            stride_h=1,
        ),
        [(3, 4, 1, 5), (3,)],
        (1, 4, 6, 9),
    ),
    "a deconvolution": (caffe.deconv("y", "data", 3, 4, stride=2, pad=1), [(4, 3, 4, 4)], (1, 4, 5, 6)),
    "a deconvolution in groups": (caffe.deconv("y", "data", 4, 4, stride=2, group=4), [(4, 1, 4, 4)], (1, 4, 5, 6)),
    "a pool that rounds up": (caffe.pool("y", "data", 2, stride=2), [], (1, 3, 7, 9)),
    "a padded pool whose last window would begin outside": (
        caffe.pool("y", "data", 3, stride=2, pad=1),
        [],
        (1, 3, 8, 7),
    ),
    "an average with border": (caffe.pool("y", "data", 3, pool="AVE", stride=2, pad=1), [], (1, 3, 8, 7)),
    "an average that rounds up": (caffe.pool("y", "data", 2, pool="AVE", stride=2), [], (1, 3, 8, 8)),
    "an average of the whole map": (
        one("Pooling", "pooling_param", pool="AVE", global_pooling=True),
        [],
        (2, 3, 5, 6),
    ),
    "the maximum of the whole map": (
        one("Pooling", "pooling_param", pool="MAX", global_pooling=True),
        [],
        (2, 3, 5, 6),
    ),
    "a response norm": (caffe.lrn("y", "data", 5, 0.5, 0.75), [], (2, 9, 4, 5)),
    "a leaky ReLU": (one("ReLU", "relu_param", negative_slope=0.3), [], (2, 3, 4, 5)),
    "a PReLU": (one("PReLU"), [(3,)], (2, 3, 4, 5)),
    "an ELU": (one("ELU", "elu_param", alpha=1.5), [], (2, 3, 4, 5)),
    "a sigmoid": (one("Sigmoid"), [], (2, 3, 4, 5)),
    "a tanh": (one("TanH"), [], (2, 3, 4, 5)),
    "an absolute value": (one("AbsVal"), [], (2, 3, 4, 5)),
    "a power": (one("Power", "power_param", power=2, scale=0.5, shift=3), [], (2, 3, 4, 5)),
    "a softmax": (one("Softmax"), [], (2, 3, 4, 5)),
    "a scale": (caffe.scale("y", "data", bias_term=True), [(3,), (3,)], (2, 3, 4, 5)),
    "an inner product": (
        one("InnerProduct", "inner_product_param", num_output=7),
        [(7, 60), (7,)],
        (2, 3, 4, 5),
    ),
    "a permutation": (one("Permute", "permute_param", order=[0, 2, 3, 1]), [], (2, 3, 4, 5)),
    "a flattening": (one("Flatten"), [], (2, 3, 4, 5)),
    "a reshape": (one("Reshape", "reshape_param", shape="{ dim: 0 dim: -1 dim: 5 }"), [], (2, 3, 4, 5)),
    "a sum with coefficients": (
        caffe.layer("Power", "x", "data", "power_param", power=2)
        + caffe.layer("Eltwise", "y", ["data", "x"], "eltwise_param", operation="SUM", coeff=[0.5, -2]),
        [],
        (2, 3, 4, 5),
    ),
    "a product": (
        caffe.layer("TanH", "x", "data")
        + caffe.layer("Eltwise", "y", ["data", "x"], "eltwise_param", operation="PROD"),
        [],
        (2, 3, 4, 5),
    ),
    "a maximum": (
        caffe.layer("TanH", "x", "data") + caffe.layer("Eltwise", "y", ["data", "x"], "eltwise_param", operation="MAX"),
        [],
        (2, 3, 4, 5),
    ),
    "a concatenation": (caffe.layer("TanH", "x", "data") + caffe.concat("y", "x", "data"), [], (2, 3, 4, 5)),
    "a part of a slice": (
        caffe.layer("Slice", "s", "data", "slice_param", top=["x", "y"], axis=1, slice_point=1),
        [],
        (2, 3, 4, 5),
    ),
    "a dropout": (one("Dropout"), [], (2, 3, 4, 5)),
}


# readNetFromCaffe names outputs by layer: of a slice the second is asked for by its top
@pytest.mark.parametrize("name", OPENCV)
def test_a_layer_gives_what_opencv_gives(name):
    layers, shapes, size = OPENCV[name]
    values = drawn(*size)
    blobs = {"y": [drawn(*shape, seed=1) for shape in shapes]} if shapes else {}
    if name == "a part of a slice":
        assert np.array_equal(ours(layers, values, blobs), values[:, 1:])
        return
    theirs = caffe.run(layers, blobs, values, "y")
    got = ours(layers, values, blobs)
    assert got.shape == theirs.shape
    assert np.abs(got - theirs).max() < 1e-5 * max(1, np.abs(theirs).max())


def test_batch_norm_divides_its_statistics_by_the_factor():
    values, mean, variance = drawn(2, 3, 4, 5), drawn(3), np.square(drawn(3, seed=2))
    blobs = {"y": [4 * mean, 4 * variance, np.array([4], np.float32)]}
    expected = (values - mean[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-3)
    assert np.allclose(ours(caffe.batch_norm("y", "data", eps=1e-3), values, blobs), expected, atol=1e-5)


def test_segnets_bn_is_a_scale_and_a_shift():
    values, scale, shift = drawn(2, 3, 4, 5), drawn(1, 3, 1, 1, seed=1), drawn(1, 3, 1, 1, seed=2)
    layers = one("BN", "bn_param", bn_mode="INFERENCE")
    assert np.allclose(ours(layers, values, {"y": [scale, shift]}), values * scale + shift, atol=1e-6)


def test_segnets_bn_without_its_mode_is_refused():
    with pytest.raises(WeightsError, match=r"prototxt:2: layer 'y' \(BN\) has no bn_mode: INFERENCE"):
        network(one("BN", "bn_param", scale_filler="{ value: 1 }"), (1, 3, 4, 5))


def test_pspnets_bn_has_slope_bias_mean_and_variance():
    values = drawn(2, 3, 4, 5)
    slope, bias, mean = (drawn(1, 3, 1, 1, seed=seed) for seed in (1, 2, 3))
    variance = np.square(drawn(1, 3, 1, 1, seed=4))
    layers = one("BN", "bn_param", frozen=True, momentum=0.95)
    expected = slope * (values - mean) / np.sqrt(variance + 1e-5) + bias
    assert np.allclose(ours(layers, values, {"y": [slope, bias, mean, variance]}), expected, atol=1e-4)


def within_channel(values, size, alpha, beta):
    """y = x·(1 + α/n²·Σ x² over n × n places)^−β."""
    height, width = values.shape[2:]
    padded = np.pad(values, ((0, 0), (0, 0), (size // 2,) * 2, (size // 2,) * 2))
    out = np.empty_like(values)
    for y in range(height):
        for x in range(width):
            squares = np.square(padded[:, :, y : y + size, x : x + size]).sum((2, 3))
            out[:, :, y, x] = values[:, :, y, x] * (1 + alpha / size**2 * squares) ** -beta
    return out


def test_a_response_norm_within_a_channel_is_its_formula():
    values = drawn(2, 3, 6, 7)
    layers = one("LRN", "lrn_param", local_size=3, alpha=0.7, beta=0.6, norm_region="WITHIN_CHANNEL")
    assert np.allclose(ours(layers, values), within_channel(values, 3, 0.7, 0.6), atol=1e-5)


def test_a_response_norm_takes_another_constant_than_one():
    values = drawn(1, 7, 2, 2)
    squares = np.pad(np.square(values), ((0, 0), (1, 1), (0, 0), (0, 0)))
    total = squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:]
    layers = one("LRN", "lrn_param", local_size=3, alpha=0.6, beta=0.5, k=2)
    assert np.allclose(ours(layers, values), values * (2 + 0.2 * total) ** -0.5, atol=1e-5)


def bilinear(values, height, width):
    """Align-corners, cell by cell."""
    rows, columns = values.shape[2:]
    out = np.empty((*values.shape[:2], height, width), np.float32)
    for i in range(height):
        for j in range(width):
            y = i * (rows - 1) / (height - 1) if height > 1 else 0
            x = j * (columns - 1) / (width - 1) if width > 1 else 0
            top, left = min(int(y), rows - 1), min(int(x), columns - 1)
            below, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            v, u = y - top, x - left
            upper = values[:, :, top, left] * (1 - u) + values[:, :, top, right] * u
            lower = values[:, :, below, left] * (1 - u) + values[:, :, below, right] * u
            out[:, :, i, j] = upper * (1 - v) + lower * v
    return out


@pytest.mark.parametrize(
    ("fields", "cut", "size"),
    [
        ({"height": 9, "width": 4}, (0, 0), (9, 4)),
        ({"zoom_factor": 3}, (0, 0), (13, 19)),
        ({"shrink_factor": 2}, (0, 0), (3, 4)),
        ({"shrink_factor": 2, "zoom_factor": 3}, (0, 0), (7, 10)),
        ({"zoom_factor": 2, "pad_beg": -1, "pad_end": -2}, (1, 2), (3, 7)),
    ],
)
def test_interp_is_bilinear_from_corner_to_corner(fields, cut, size):
    values = drawn(2, 3, 5, 7)
    part = values[:, :, cut[0] : 5 - cut[1], cut[0] : 7 - cut[1]]
    assert np.allclose(ours(one("Interp", "interp_param", **fields), values), bilinear(part, *size), atol=1e-5)


def test_upsample_puts_each_value_where_the_pool_found_it():
    pool = caffe.layer("Pooling", "p", "data", "pooling_param", top=["p", "mask"], pool="MAX", kernel_size=2, stride=2)
    values = drawn(2, 3, 6, 8)
    expected = np.zeros_like(values)
    for place in np.ndindex(2, 3, 3, 4):
        n, c, i, j = place
        window = values[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        y, x = divmod(int(window.argmax()), 2)
        expected[n, c, 2 * i + y, 2 * j + x] = window.max()
    for param, fields in {
        "scale": {"scale": 2},
        "size": {"upsample_h": 6, "upsample_w": 8},
    }.items():
        layers = pool + caffe.layer("Upsample", "y", ["p", "mask"], "upsample_param", **fields)
        assert np.array_equal(ours(layers, values), expected), param
    layers = pool + caffe.layer(
        "Unpooling", "y", ["p", "mask"], "unpooling_param", unpool="MAX", kernel_size=2, stride=2
    )
    assert np.array_equal(ours(layers, values), expected)


def test_upsample_leaves_out_a_row_as_segnet_basic_does():
    pool = caffe.layer("Pooling", "p", "data", "pooling_param", top=["p", "mask"], pool="MAX", kernel_size=2, stride=2)
    layers = pool + caffe.layer("Upsample", "y", ["p", "mask"], "upsample_param", scale=2, pad_out_h=True)
    values = np.abs(drawn(1, 2, 5, 8)) + 1
    got = ours(layers, values)
    assert got.shape == values.shape
    assert np.array_equal(got[got > 0], values[got > 0])


def test_the_first_of_equal_values_is_the_masks():
    layers = caffe.layer("Pooling", "y", "data", "pooling_param", top=["p", "y"], pool="MAX", kernel_size=2, stride=2)
    assert ours(layers, np.ones((1, 1, 4, 4), np.float32)).ravel().tolist() == [0, 2, 8, 10]


@pytest.mark.parametrize(
    ("kind", "param", "fields", "formula"),
    [
        ("Exp", "exp_param", {"base": 2, "scale": 0.5, "shift": 1}, lambda x: 2 ** (0.5 * x + 1)),
        ("Exp", "", {}, np.exp),
        ("Log", "log_param", {"base": 10, "scale": 0.1, "shift": 3}, lambda x: np.log10(0.1 * x + 3)),
        ("Bias", "bias_param", {}, lambda x: x + drawn(3, seed=1)[:, None, None]),
        ("Scale", "scale_param", {"axis": 2, "num_axes": -1}, lambda x: x * drawn(4, 5, seed=1)),
    ],
)
def test_a_layer_is_its_formula(kind, param, fields, formula):
    values = drawn(2, 3, 4, 5)
    blobs = {"Bias": {"y": [drawn(3, seed=1)]}, "Scale": {"y": [drawn(4, 5, seed=1)]}}.get(kind)
    assert np.allclose(ours(one(kind, param, **fields), values, blobs), formula(values), atol=1e-5)


def test_a_scale_takes_a_second_bottom():
    layers = one("Pooling", "pooling_param", top="p", pool="AVE", global_pooling=True)
    layers += caffe.layer("Flatten", "f", "p") + caffe.layer("Scale", "z", ["data", "f"], "scale_param", axis=0)
    values = drawn(2, 3, 4, 5)
    assert np.allclose(ours(layers, values, top="z"), values * values.mean((2, 3))[:, :, None, None], atol=1e-6)


def test_an_inner_product_may_hold_its_weight_transposed():
    values, weight = drawn(2, 3, 4, 5), drawn(60, 7, seed=1)
    layers = one("InnerProduct", "inner_product_param", num_output=7, transpose=True, bias_term=False)
    assert np.allclose(ours(layers, values, {"y": [weight]}), values.reshape(2, 60) @ weight, atol=1e-4)


def test_reshape_changes_some_axes_and_keeps_the_others():
    layers = one("Reshape", "reshape_param", shape="{ dim: 2 dim: -1 }", axis=1, num_axes=1)
    values = drawn(2, 6, 4, 5)
    assert np.array_equal(ours(layers, values), values.reshape(2, 2, 3, 4, 5))


def test_slice_cuts_into_equal_parts():
    layers = caffe.layer("Slice", "s", "data", "slice_param", top=["a", "y", "b"], axis=2)
    values = drawn(2, 3, 6, 5)
    assert np.array_equal(ours(layers, values), values[:, :, 2:4])


def test_argmax_takes_the_last_of_equal_values():
    values = np.array([1, 3, 3, 2], np.float32).reshape(1, 4, 1, 1)
    scores = caffe.layer("Power", "scores", "data")
    assert ours(scores + caffe.layer("ArgMax", "y", "scores", "argmax_param", axis=1), values).ravel().tolist() == [2]
    assert ours(scores + caffe.layer("ArgMax", "y", "scores"), values).shape == (1, 1, 1)


def test_a_pool_may_round_down():
    layers = one("Pooling", "pooling_param", pool="MAX", kernel_size=2, stride=2, round_mode="FLOOR")
    assert ours(layers, drawn(1, 1, 5, 7)).shape == (1, 1, 2, 3)


def test_deeplabs_hole_is_a_dilation():
    layers = [caffe.conv("y", "data", 2, 3, **{field: 2}, pad=2) for field in ("hole", "dilation")]
    blobs, values = {"y": [drawn(2, 3, 3, 3), drawn(2)]}, drawn(1, 3, 6, 6)
    assert np.array_equal(*(ours(layer, values, blobs) for layer in layers))


def test_a_bilinear_filler_is_open_cvs_and_caffes_kernel():
    layer = network(
        caffe.deconv("y", "data", 2, 4, group=2, weight_filler='{ type: "bilinear" }'), (1, 2, 3, 3)
    ).layers.y
    taps = np.array([0.25, 0.75, 0.75, 0.25])
    assert np.allclose(layer.weight.detach().numpy(), np.broadcast_to(np.outer(taps, taps), (2, 1, 4, 4)))


CROPS = (
    caffe.conv("conv", "data", 2, 3, pad=100)
    + caffe.pool("pool", "conv", 2, stride=2)
    + caffe.conv("fc", "pool", 2, 7)
    + caffe.deconv("up", "fc", 2, 4, stride=2)
)


def test_crop_finds_its_offset_by_the_layers_between():
    # (x + 99)/1 → pool (x + 98.5)/2 → kernel 7: −3 → (x + 92.5)/2 → deconvolution: 2x + 1.5 = x + 94
    net = network(CROPS + caffe.layer("Crop", "y", ["up", "data"]), (1, 1, 20, 30), blobs=None)
    for name, value in net.named_parameters():
        torch.nn.init.normal_(value) if name else None
    with torch.no_grad():
        blobs = net.run(torch.from_numpy(drawn(1, 1, 20, 30)), ["up"])
    assert torch.equal(blobs["y"], blobs["up"][:, :, 94:114, 94:124])


def test_crop_takes_the_offset_that_is_written():
    layers = caffe.layer("Pooling", "p", "data", "pooling_param", kernel_size=3)
    values = drawn(1, 2, 6, 7)
    for fields, start in (({"axis": 2, "offset": 1}, (1, 1)), ({"offset": [0, 2]}, (0, 2)), ({"axis": 2}, (0, 0))):
        crop = caffe.layer("Crop", "y", ["data", "p"], "crop_param", **fields)
        expected = values[:, :, start[0] : start[0] + 4, start[1] : start[1] + 5]
        assert np.array_equal(ours(layers + crop, values), expected)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (one("Convolution", "convolution_param", kernel_size=3), "needs a whole number from 1 for num_output, got 0"),
        (one("Convolution", "convolution_param", num_output=2), "needs a kernel_size, or kernel_h and kernel_w"),
        (caffe.conv("y", "data", 4, 3, group=2), "has 2 groups, which divide not both its 3 channels"),
        (caffe.conv("y", "data", 4, 9), "cannot take 1 × 3 × 6 × 6: .*[Kk]ernel size"),
        (caffe.pool("y", "data", 2, pool="STOCHASTIC"), "pools by STOCHASTIC; MAX and AVE are run here"),
        (caffe.pool("y", "data", 2, pad=2), "pads by 2 × 2, more than half of its window 2 × 2"),
        (one("Upsample"), "has 1 bottom; expected 2"),
        (one("Interp"), "needs height and width, a zoom_factor, or a shrink_factor"),
        (one("Interp", "interp_param", zoom_factor=2, pad_beg=1), "they can only crop"),
        (one("LRN", "lrn_param", local_size=4), "expected an odd number"),
        (one("Softmax", "softmax_param", axis=4), "has axis: 4, and its bottom has 4 axes"),
        (one("Permute", "permute_param", order=[0, 0]), "orders the axes"),
        (one("Reshape", "reshape_param", shape="{ dim: -1 dim: -1 }"), "−1 at most once"),
        (one("Reshape", "reshape_param", shape="{ dim: 7 }"), "cannot take 1 × 3 × 6 × 6: shape '\\[7\\]' is invalid"),
        (one("Slice", "slice_param", top=["a", "b"]), "into 2 equal parts, which it has not"),
        (one("Eltwise", "eltwise_param", coeff=[1, 2]), "has 2 coeff for SUM of 1 bottoms"),
        (one("Log", "log_param", base=0), "has base: 0; expected −1 for e"),
        (one("ArgMax", "argmax_param", top_k=2), "has top_k or out_max_val"),
        (one("Flatten") + caffe.conv("z", "y", 1, 1), "takes a map \\(N, C, H, W\\), and its bottom is 1 × 108"),
        (caffe.pool("p", "data", 3) + caffe.layer("Eltwise", "y", ["data", "p"]), "joins blobs of different shapes"),
        (
            caffe.pool("p", "data", 2, stride=2) + caffe.layer("Crop", "y", ["data", "p"]),
            "has no offset, and none fits: cell x of the pictures is 1·x \\+ 0 of its first bottom and 0.5·x",
        ),
        (
            one("Interp", "interp_param", height=9, width=9) + caffe.layer("Crop", "z", ["y", "data"]),
            "layer 'y' has no fixed grid; write crop_param",
        ),
    ],
)
def test_a_layer_that_cannot_be_is_refused_by_name_type_and_line(layers, message):
    with pytest.raises(WeightsError, match=rf"prototxt:\d+: layer '\w+' \(\w+\) .*{message}"):
        network(layers, (1, 3, 6, 6))


def test_a_crop_beyond_the_blob_is_refused_when_run():
    layers = caffe.layer("Pooling", "p", "data", "pooling_param", kernel_size=3, stride=2)
    layers += caffe.layer("Interp", "i", "p", "interp_param", height=5, width=5)
    net = network(layers + caffe.layer("Crop", "y", ["data", "i"], "crop_param", axis=2), (1, 3, 6, 6))
    with pytest.raises(ShapeError, match=r"layer 'y' \(Crop\) cannot take pictures of 4 × 9: axis 2 has 4 cells"):
        net.run(torch.zeros(1, 3, 4, 9))


@pytest.mark.parametrize("size", [(43, 70), (97, 50)])
def test_fcn8s_as_it_is_gives_what_opencv_gives(size):
    values = drawn(1, 3, *size)
    net = network(FCN8S, (1, 3, 500, 500))
    net.layers.requires_grad_(False)
    shapes = {name: tuple(value.shape) for name, value in net.named_parameters()}
    blobs = {}
    for name, shape in shapes.items():
        layer = name.split(".")[1]
        scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
        blobs.setdefault(layer, []).append(drawn(*shape, seed=len(blobs)) * np.float32(scale))
    net.load_caffemodel(CaffeWeights("", tuple(CaffeLayer(name, "", tuple(held)) for name, held in blobs.items())))
    head = net.heads(torch.from_numpy(values))["logits"]
    assert head.resampling.is_identity and net.output == "score"
    agree(net(torch.from_numpy(values)), caffe.run(FCN8S, blobs, values, "score"))
    # without the offsets that the file has, the same are found
    bare = network(re.sub(r"crop_param \{[^}]*\}", "", FCN8S), (1, 3, 500, 500)).eval()
    bare.load_state_dict(net.state_dict())
    assert torch.equal(bare(torch.from_numpy(values)), net(torch.from_numpy(values)))
