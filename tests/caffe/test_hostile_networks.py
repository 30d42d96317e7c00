"""Prototxts that are broken as networks give a network that runs, or one WeightsError, soon and in little memory.

`make soak` builds 20 000 of them; the text itself is broken in `test_hostile_files.py`.
"""

import os
import random
import re

import pytest
import torch

from pixelwise.caffe.network import CaffeNetwork, caffe_network_of
from pixelwise.errors import ShapeError, WeightsError

from .test_hostile_files import steps_of

SOAK = bool(os.environ.get("PIXELWISE_SOAK"))
NETWORKS_PER_SEED, SEEDS = (1000, 20) if SOAK else (75, 2)
INPUT = 'input: "data" input_dim: [1, 4, 8, 12]\n'


def layer(kind, name, bottom="data", top=None, more=""):
    ends = "".join(f'bottom: "{one}" ' for one in bottom.split())
    ends += "".join(f'top: "{one}" ' for one in (top or name).split())
    return f'layer {{ name: "{name}" type: "{kind}" {ends}{more} }}\n'


def conv(name, bottom="data", fields="num_output: 4 kernel_size: 1", top=None):
    return layer("Convolution", name, bottom, top, f"convolution_param {{ {fields} }}")


def pool(name, bottom="data", fields="kernel_size: 2 stride: 2", top=None):
    return layer("Pooling", name, bottom, top, f"pooling_param {{ {fields} }}")


MASKED = pool("p", top="p m")
NETWORKS = [  # by what they have: windows; masks; axes; numbers
    INPUT
    + conv("a", fields="num_output: 4 kernel_size: 3 pad: 1 stride: 2 dilation: 1 group: 2 bias_filler { value: 0.5 }")
    + pool("b", "a", "pool: AVE kernel_size: 3 stride: 1 pad: 1")
    + layer(
        "Deconvolution",
        "c",
        "b",
        more="convolution_param { num_output: 3 kernel_size: 4 stride: 2 pad: 1 "
        'group: 1 weight_filler { type: "bilinear" } }',
    )
    + layer("Crop", "d", "c data", more="crop_param { axis: 2 offset: 0 }")
    + layer("LRN", "e", "d", more="lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 k: 2 }"),
    INPUT
    + MASKED
    + conv("a", "p", "num_output: 4 kernel_h: 3 kernel_w: 1 pad_h: 1 pad_w: 0")
    + layer("PReLU", "b", "a", "a", "prelu_param { channel_shared: false filler { value: 0.25 } }")
    + layer("Upsample", "c", "a m", more="upsample_param { scale: 2 }")
    + layer("BN", "d", "c", more="bn_param { bn_mode: INFERENCE scale_filler { value: 1 } }")
    + layer("Interp", "f", "d", more="interp_param { zoom_factor: 2 shrink_factor: 1 pad_beg: 0 pad_end: -1 }"),
    INPUT
    + layer("Slice", "s", top="x y", more="slice_param { axis: 1 slice_point: 3 }")
    + layer("Concat", "c", "x y x", more="concat_param { axis: 1 }")
    + layer("Permute", "p", "c", more="permute_param { order: 0 order: 2 order: 3 order: 1 }")
    + layer("Reshape", "r", "p", more="reshape_param { shape { dim: 0 dim: -1 dim: 2 dim: 4 } axis: 0 num_axes: -1 }")
    + layer("Softmax", "t", "r", more="softmax_param { axis: 1 }")
    + layer("Flatten", "f", "c", more="flatten_param { axis: 2 end_axis: -1 }")
    + layer("InnerProduct", "i", "f", more="inner_product_param { num_output: 5 axis: 1 bias_term: true }"),
    INPUT
    + layer("BatchNorm", "a", more="batch_norm_param { eps: 0.001 }")
    + layer("Scale", "b", "a", "a", "scale_param { axis: 1 num_axes: 1 bias_term: true }")
    + layer("Eltwise", "c", "a data", more="eltwise_param { operation: SUM coeff: 1 coeff: -1 }")
    + layer("Power", "d", "c", more="power_param { power: 2 scale: 0.5 shift: 1 }")
    + layer("Exp", "e", "d", more="exp_param { base: 2 scale: 0.1 }")
    + layer("Log", "g", "e", more="log_param { base: 10 shift: 3 }")
    + layer("ArgMax", "h", "g", more="argmax_param { axis: 1 }"),
]
TOKEN = re.compile(r'"[^"]*"|-?[0-9.]+|\w+|\S')


def broken(rng):
    """A network of which up to four numbers, names or words are others, or layers are lost, doubled or moved."""
    text = rng.choice(NETWORKS)
    if rng.random() < 0.3:
        head, *layers = text.splitlines()
        place = rng.randrange(len(layers))
        moved = layers.pop(place) if rng.random() < 0.5 else layers[place]
        layers.insert(rng.randrange(len(layers) + 1), moved)
        text = "\n".join([head, *layers[: len(layers) - (rng.random() < 0.3)]])
    tokens = TOKEN.findall(text)
    for _ in range(rng.randrange(1, 5)):
        place = rng.randrange(len(tokens))
        token = tokens[place]
        if token[0] == '"':
            tokens[place] = rng.choice([one for one in tokens if one[0] == '"'])
        elif token[-1].isdigit():
            odd = ["0", "1", "2", "3", "7", "-1", "-2", "0.5", "2147483647", "2147483648", "4294967296"]
            tokens[place] = rng.choice([*odd, "9223372036854775807", "1e300", "-1e300", "nan", "inf"])
        elif token.isidentifier():
            tokens[place] = rng.choice([one for one in tokens if one.isidentifier()])
    return " ".join(tokens)


def opened(text):
    """The network or the error; a network runs, or says in one line why not."""
    try:
        network = caffe_network_of(text, where="net").eval().requires_grad_(False)
    except WeightsError as error:
        assert len(str(error)) < 1200 and "\n" not in str(error), text
        return error
    for count, height, width in ((1, 8, 12), (2, 8, 12), (1, 9, 13)):
        try:
            out = network(torch.zeros(count, network.in_channels, height, width))
        except ShapeError as error:
            assert len(str(error)) < 1200 and "\n" not in str(error), text
        else:
            declared = (count, height, width) == (network.inputs[0].shape[0], *network.input_size)
            assert out.shape[1] == network.num_classes or not declared, text
    return network


@pytest.mark.parametrize("network", range(len(NETWORKS)))
def test_the_networks_run_before_they_are_broken(network):
    assert isinstance(opened(NETWORKS[network]), CaffeNetwork)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_broken_networks_run_or_give_one_line(seed):
    rng = random.Random(seed)
    found = [isinstance(opened(broken(rng)), CaffeNetwork) for _ in range(NETWORKS_PER_SEED)]
    assert 0.02 < sum(found) / len(found) < 0.98  # both happen


HUGE = "2147483647"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'input: "data" input_dim: [1, 3, {HUGE}, {HUGE}] ' + conv("a"), "the input 'data' is .*, more than 53687"),
        (f'input: "data" input_dim: [1, {HUGE}, 1, 1] ' + conv("a"), "the input 'data' is .*, more than 536870912 val"),
        (f'input: "data" input_dim: [{HUGE}, 3, {HUGE}, 1] ' + conv("a"), "the input 'data' is"),
        (conv("a", fields="num_output: 1 kernel_size: 1 pad: 1000000"), "gives 1 × 1 × 2000008 × 2000012, more than"),
        (conv("a", fields="num_output: 1000000000 kernel_size: 1"), "gives 1 × 1000000000 × 8 × 12, more than"),
        (conv("a", fields=f"num_output: 1 kernel_size: {HUGE} pad: {HUGE}"), "layer 'a' .* cannot take 1 × 4 × 8 × 12"),
        (layer("InnerProduct", "a", more=f"inner_product_param {{ num_output: {HUGE} }}"), "gives 1 × 2147483647, m"),
        (layer("Interp", "a", more="interp_param { height: 100000 width: 100000 }"), "gives 1 × 4 × 100000 × 100000"),
        ("".join(layer("Interp", f"a{i}", f"a{i - 1}" if i else "data", more="interp_param { zoom_factor: 99 }")
                 for i in range(9)), "layer 'a1' .* more than 536870912 values"),
        ("".join(layer("Concat", f"a{i}", (f"a{i - 1} " if i else "data ") * 10) for i in range(30)), "'a6' .*, m"),
        (conv("a", fields="num_output: 100000 kernel_size: 1") + conv("b", "a", "num_output: 9000 kernel_size: 1"),
         "the prototxt has 900509000 weights"),
        (layer("LRN", "a", more="lrn_param { local_size: 2147483647 }"), "expected an odd number below 4096"),
        (conv("a", fields="num_output: 4 kernel_size: 1 pad: -1"), "needs a whole number from 0 for pad, got -1"),
        (conv("a", fields="num_output: 4 kernel_size: 0"), "needs a whole number from 1 for kernel_size, got 0"),
        (conv("a", fields="num_output: 4 kernel_size: 1 stride: 0"), "needs a whole number from 1 for stride, got 0"),
        (conv("a", fields="num_output: 4 kernel_size: 1 group: 3"), "3 groups, which divide not both"),
        (layer("ReLU", "a", "data data"), "has 2 bottoms; expected 1"),
        (layer("Crop", "a"), "has 1 bottom; expected 2"),
        (layer("Scale", "a", "data data data"), "has 3 bottoms; expected 1 or 2"),
        (MASKED + layer("Eltwise", "a", "p m"), "reads 'm', which is the mask of a pool"),
        (layer("PReLU", "a", more='prelu_param { filler { type: "bilinear" } }'), "a bilinear filler for weight"),
        (conv("a", fields="num_output: 1 kernel_size: 1 bias_filler { value: 1e300 }"), "a number of 32 bits for b"),
        (layer("BatchNorm", "a", more="batch_norm_param { eps: -1 }"), "needs a number from 0 for eps, got -1"),
        ('input: "a" input: "b" input_dim: [1, 3, 8, 8, 1, 3, 8, 9] ' + layer("Concat", "c", "a b"), "as one tensor"),
        (layer("ArgMax", "a"), "an ArgMax of the input 'data'"),
        ('layer { name: "a" type: "ReLU" bottom { x: 1 } top: "b" }', "expected a string for bottom, found a message"),
        (layer("Axpy", "x" * 5000), r"layer 'x{79}…' \(Axpy\)"),
        (layer("ReLU", "a", "x" * 5000), "reads 'x{80}', and no layer gives it"),
        (layer("Permute", "a", more="permute_param { " + "order: 3 " * 5000 + "}"), r"orders the axes \(3, .*…$"),
        ("".join(layer("ReLU", f"a{i}", f"a{i - 1}" if i else "data") for i in range(5001)), "is layer 5001; expected"),
    ],
)  # fmt: skip
def test_what_no_machine_can_run_is_refused_in_one_line(text, message):
    error = opened(text if text.startswith("input") else INPUT + text)
    assert isinstance(error, WeightsError) and re.search(message, str(error)), str(error)


GROWING = {
    "layers": lambda n: "".join(layer("ReLU", f"a{i}", f"a{i - 1}" if i else "data") for i in range(n)),
    "layers of one name": lambda n: layer("ReLU", "r", top="x") * n,
    "layers in place": lambda n: conv("x") + layer("ReLU", "r", "x", "x") * n,
    "tops that nobody reads": lambda n: "".join(layer("ReLU", "r", top=f"x{i}") for i in range(n)),
    "bottoms": lambda n: layer("Concat", "c", "data " * n),
    "tops": lambda n: layer("Split", "c", top=" ".join(f"t{i}" for i in range(n))),
    "places": lambda n: "".join(
        pool(f"a{i}", f"a{i - 1}" if i else "data", "kernel_size: 1999999973 stride: 1999999973 pad: 5")
        for i in range(n)
    ),
}


def build(text, where):
    return caffe_network_of(text, where=where)


@pytest.mark.parametrize("kind", GROWING)
def test_steps_grow_no_faster_than_the_network(kind):
    n = 200 if SOAK else 20
    small, large = (INPUT + GROWING[kind](count) for count in (n, 4 * n))
    opened(small)  # what is done once is done
    assert steps_of(build, large) <= 1.1 * 4 * (steps_of(build, small) + 200)


def test_a_mask_of_another_size_than_the_map_is_refused():
    """Unpooling to a size that is written down fits pictures of one size alone."""
    fixed = layer("Upsample", "u", "p m", more="upsample_param { upsample_h: 8 upsample_w: 12 }")
    network = caffe_network_of(INPUT + MASKED + fixed)
    assert network.accepts(8, 12) and not network.accepts(16, 24) and not network.accepts(8, 8)
    with pytest.raises(ShapeError, match=r"layer 'u' .* its map is 8 × 12, and the mask is of a pool of 16 × 24"):
        network(torch.zeros(1, 4, 16, 24))
    scaled = caffe_network_of(INPUT + MASKED + layer("Upsample", "u", "p m", more="upsample_param { scale: 2 }"))
    assert scaled.accepts(16, 24) and scaled.accepts(7, 24)  # a row more than the pool read: an empty one
    assert not scaled.accepts(8, 11)  # a column more: all places would be wrong


def test_a_batch_that_the_prototxt_cannot_take_is_refused():
    text = layer("Reshape", "r", more="reshape_param { shape { dim: 1 dim: 4 dim: 12 dim: 8 } }")
    network = caffe_network_of(INPUT + text)
    assert network.run(torch.zeros(1, 4, 8, 12))["r"].shape == (1, 4, 12, 8)
    with pytest.raises(ShapeError, match=r"layer 'r' .* cannot take 2 pictures at once: .* is written for 1$"):
        network(torch.zeros(2, 4, 8, 12))
