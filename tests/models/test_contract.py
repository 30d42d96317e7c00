"""What every network promises, on narrow twins; full-size ones on the meta device."""

import copy
import inspect

import pytest
import torch
from torch.nn import functional

from pixelwise.errors import BadOption, UnknownName
from pixelwise.layers.head import Head
from pixelwise.models import MODELS, build, list_models

NARROW = {"num_classes": 5, "width": 1 / 16}
SIZES = [(1, 1), (2, 3), (17, 33), (64, 64)]

# spec, networks-2014-2016 §2.2 and §3.2, networks-2015-2017 §1.1.4 and §1.5.3
PARAMETERS = {
    "fcn32s_vgg16": (21, 134_346_581),
    "fcn16s_vgg16": (21, 134_357_354),
    "fcn8s_vgg16": (21, 134_362_751),
    "unet": (21, 31_038_933),
    "segnet_basic": (11, 1_416_587),
    "deeplab_v3_resnet50": (21, 39_048_533),
    "deeplab_v3_resnet101": (21, 58_040_661),
}

every_model = pytest.mark.parametrize("name", list(MODELS))


def awake(network):
    """The network with what starts at zero made random: a zero score layer would hide everything before it."""
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return network


def loss_of(network, images):
    target = torch.arange(images.shape[0] * images.shape[2] * images.shape[3]) % 5
    return functional.cross_entropy(network(images), target.reshape(images.shape[0], *images.shape[2:]))


@every_model
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_output_has_the_pictures_size(name, training):
    network = build(name, **NARROW).train(training)
    for height, width in SIZES:
        for batch in (1, 2):
            scores = network(torch.randn(batch, 3, height, width))
            assert scores.shape == (batch, 5, height, width)
            assert scores.dtype == torch.float32
            assert scores.isfinite().all()


@every_model
def test_first_head_is_the_prediction(name):
    network = awake(build(name, **NARROW)).eval()
    images = torch.randn(2, 3, 17, 33)
    heads = network.heads(images)
    first = next(iter(heads.values()))
    assert isinstance(first, Head)
    assert first.kind == "logits"
    assert first.resampling.coarse_size == first.scores.shape[-2:]
    assert first.resampling.image_size == (17, 33)
    assert torch.equal(first.resampling.apply(first.scores), network(images))


@every_model
def test_gradients_reach_all_parameters(name):
    network = awake(build(name, **NARROW | {"width": 1 / 8})).train()
    loss_of(network, torch.randn(2, 3, 64, 48)).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    assert all(p.grad.isfinite().all() for p in network.parameters())


@every_model
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_gradients_of_a_single_pixel(name, training):
    network = awake(build(name, **NARROW)).train(training)
    loss_of(network, torch.randn(1, 3, 1, 1)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(("name", "threads"), [(name, 1) for name in MODELS] + [("fcn8s_vgg16", 2)])
def test_the_same_bits_twice(name, threads):
    torch.set_num_threads(threads)
    network = awake(build(name, **NARROW)).train()
    images = torch.randn(2, 3, 33, 47)
    twins = [network, copy.deepcopy(network)]
    torch.use_deterministic_algorithms(True)  # raises where an operation is not deterministic on some device
    try:
        for twin in twins:
            torch.manual_seed(1)  # dropout
            loss_of(twin, images).backward()
    finally:
        torch.use_deterministic_algorithms(False)
    for one, other in zip(*(twin.parameters() for twin in twins), strict=True):
        assert torch.equal(one.grad, other.grad)
    for one, other in zip(*(twin.buffers() for twin in twins), strict=True):
        assert torch.equal(one, other)


@every_model
def test_state_goes_round(name):
    source = awake(build(name, **NARROW)).train()
    source(torch.randn(2, 3, 33, 33))  # running statistics that are not the initial ones
    copied = build(name, **NARROW)
    copied.load_state_dict(source.state_dict())
    images = torch.randn(1, 3, 20, 31)
    assert torch.equal(source.eval()(images), copied.eval()(images))


@every_model
def test_autocast_gives_float32_scores_and_trains(name):
    network = awake(build(name, **NARROW)).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = network(torch.randn(2, 3, 33, 40))
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()
    scores.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@every_model
def test_channels_last_changes_nothing(name):
    network = awake(build(name, **NARROW)).eval()
    images = torch.randn(2, 3, 33, 40)
    expected = network(images).detach()
    network.to(memory_format=torch.channels_last)
    found = network(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found.detach(), expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


@every_model
def test_takes_any_number_of_channels(name):
    network = build(name, in_channels=1, **NARROW | {"num_classes": 300}).eval()
    assert network(torch.randn(1, 1, 9, 8)).shape == (1, 300, 9, 8)


@every_model
def test_full_size_parameters_are_the_papers(name):
    num_classes, expected = PARAMETERS[name]
    with torch.device("meta"):
        network = build(name, num_classes=num_classes)
        assert sum(p.numel() for p in network.parameters()) == expected
        assert network(torch.empty(1, 3, 321, 500)).shape == (1, num_classes, 321, 500)


@every_model
def test_builder_takes_keywords_with_the_common_options(name):
    parameters = inspect.signature(MODELS[name]).parameters
    assert list(parameters)[:3] == ["num_classes", "in_channels", "width"]
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values())
    assert parameters["num_classes"].default is inspect.Parameter.empty
    assert (parameters["in_channels"].default, parameters["width"].default) == (3, 1.0)


@every_model
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes must be a whole number from 1 up, got 0"),
        ({"num_classes": 2.5}, "num_classes must be a whole number from 1 up, got 2.5"),
        ({"num_classes": 2, "in_channels": -1}, "in_channels must be a whole number from 1 up, got -1"),
        ({"num_classes": 2, "width": 0}, r"width must be a number above 0 .*, got 0"),
        ({"num_classes": 2, "width": float("nan")}, r"width must be a number above 0 .*, got nan"),
        ({"num_classes": 2, "width": "wide"}, r"width must be a number above 0 .*, got 'wide'"),
    ],
)
def test_impossible_numbers_are_refused(name, options, message):
    with torch.device("meta"), pytest.raises(BadOption, match=message):
        build(name, **options)


def test_misspelt_names():
    with pytest.raises(UnknownName, match="no model is called 'unett'; did you mean 'unet'"):
        build("unett", num_classes=2)
    with pytest.raises(BadOption, match=r"unet has no option 'num_clases'; did you mean 'num_classes'\? It takes \(\*"):
        build("unet", num_clases=2)
    with pytest.raises(BadOption, match=r"unet: missing a required argument: 'num_classes'. It takes \(\*, num_"):
        build("unet")


def test_models_are_listed_in_order():
    assert list_models() == list(MODELS)
    assert set(PARAMETERS) == set(MODELS)
