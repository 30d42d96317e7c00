"""What every network promises, on narrow twins; full-size ones on the meta device."""

import copy
import inspect

import pytest
import torch
from torch import nn
from torch.nn import functional

from pixelwise.errors import BadOption
from pixelwise.labels import LabelSet
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.models import MODELS, build, list_models
from pixelwise.segmenter import Segmenter

from .contract import NARROW, SIZES, UNSTEADY, Recorded, awake, centered, channels_of, loss_of, pictures, untouched

# spec, networks-2014-2016 §2.2 and §3.2, networks-2015-2017 §1.1.4 and §1.5.3
PARAMETERS = {
    "fcn32s_alexnet": (21, 56_954_261),
    "fcn32s_googlenet": (21, 5_995_077),
    "fcn32s_vgg16": (21, 134_346_581),
    "fcn16s_vgg16": (21, 134_357_354),
    "fcn8s_vgg16": (21, 134_362_751),
    "fcn8s_atonce_vgg16": (21, 134_362_751),
    "fcn32s_rgbd": (40, 134_425_000),
    "fcn32s_rgb_hha": (40, 268_848_848),
    "fcn16s_rgb_hha": (40, 268_889_888),
    "fcn32s_two_headed": (33, 134_408_036),
    "fcn16s_two_headed": (33, 134_426_504),
    "fcn8s_two_headed": (33, 134_435_756),
    "unet_valid": (21, 31_033_045),
    "unet": (21, 31_038_933),
    "segnet": (11, 29_449_355),
    "segnet_basic": (11, 1_416_587),
    "bayesian_segnet": (11, 29_449_355),
    "deeplab_7x7": (21, 134_346_581),
    "deeplab_4x4": (21, 65_140_565),
    "deeplab_4x4_rate8": (21, 65_140_565),
    "deeplab_largefov": (21, 20_505_429),
    "deeplab_msc_largefov": (21, 21_711_550),
    "crfrnn_fcn8s": (21, 134_362_751 + 21 * 21 * 16 * 2 + 21 + 3 * 21 * 21),
    "dilation_frontend": (21, 134_346_581),
    "dilation7": (11, 134_312_343),
    "dilation8": (21, 141_149_720),
    "dilation10": (19, 134_368_179),
    "deeplab_v2_vgg16_largefov": (21, 20_505_429),
    "deeplab_v2_vgg16_aspp_s": (21, 37_877_652),
    "deeplab_v2_vgg16_aspp_l": (21, 37_877_652),
    "deeplab_v2_resnet101_largefov": (21, 42_887_253),
    "deeplab_v2_resnet101_aspp": (21, 44_048_532),
    "deeplab_v3_resnet50": (21, 39_048_533),
    "deeplab_v3_resnet101": (21, 58_040_661),
    "deeplab_v3_cascade_resnet50": (21, 63_714_389),
    "deeplab_v3_cascade_resnet101": (21, 82_706_517),
    "refinenet_resnet50": (21, 99_060_309),
    "refinenet_resnet101": (21, 118_052_437),
    "refinenet_resnet152": (21, 133_696_085),
    "pspnet_resnet50": (150, 46_782_550),
    "pspnet_resnet101": (21, 65_708_501),
    "gcn_resnet50": (21, 26_052_308),
    "gcn_resnet101": (21, 45_044_436),
    "gcn_resnet152": (21, 60_688_084),
    "torchvision_fcn_resnet50": (21, 35_322_218),
    "torchvision_fcn_resnet101": (21, 54_314_346),
    "torchvision_deeplab_v3_resnet50": (21, 42_004_074),
    "torchvision_deeplab_v3_resnet101": (21, 60_996_202),
}

every_model = pytest.mark.parametrize("name", list(MODELS))


@every_model
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_output_has_the_pictures_size(name, training):
    network = build(name, **NARROW).train(training)
    for height, width in SIZES:
        for batch in (1, 2):
            scores = network(pictures(name, batch, height, width))
            assert scores.shape == (batch, 5, height, width)
            assert scores.dtype == torch.float32
            assert scores.isfinite().all()


@every_model
def test_first_head_is_the_prediction(name):
    network = awake(build(name, **NARROW)).eval()
    images = pictures(name, 2, 17, 33)
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
    loss_of(network, pictures(name, 2, 64, 48)).backward()
    assert set(untouched(network)) <= set(centered(network))
    assert all(p.grad.isfinite().all() for p in network.parameters())


@every_model
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_gradients_of_a_single_pixel(name, training):
    network = awake(build(name, **NARROW)).train(training)
    loss_of(network, pictures(name, 1, 1, 1)).backward()
    served = [p for n, p in network.named_parameters() if training or not n.startswith("aux")]  # which trains alone
    assert all(p.grad is not None and p.grad.isfinite().all() for p in served)


@pytest.mark.parametrize(("name", "threads"), [(name, 1) for name in MODELS] + [("fcn8s_vgg16", 2)])
def test_the_same_bits_twice(name, threads):
    torch.set_num_threads(threads)
    network = awake(build(name, **NARROW)).train()
    images = pictures(name, 2, 33, 47)
    twins = [network, copy.deepcopy(network)]
    recorded = Recorded()
    for twin in twins:
        torch.manual_seed(1)  # dropout
        with recorded:
            loss_of(twin, images).backward()
    assert recorded.names & UNSTEADY == set()
    for one, other in zip(*(twin.parameters() for twin in twins), strict=True):
        assert torch.equal(one.grad, other.grad)
    for one, other in zip(*(twin.buffers() for twin in twins), strict=True):
        assert torch.equal(one, other)


def test_unsteady_operations_are_noticed():
    values = torch.randn(1, 2, 8, 8, requires_grad=True)
    with Recorded() as recorded:
        resized = functional.interpolate(values, (9, 9), mode="bilinear")
        pooled = functional.adaptive_avg_pool2d(functional.pad(resized, (1, 1, 1, 1), mode="reflect"), 3)
        nn.LocalResponseNorm(5)(pooled).sum().backward()
        functional.max_unpool2d(*functional.max_pool2d(values, 2, return_indices=True), 2)
    assert recorded.names & UNSTEADY == {
        "_adaptive_avg_pool2d_backward",
        "avg_pool3d_backward",
        "max_unpool2d",
        "reflection_pad2d_backward",
        "upsample_bilinear2d_backward",
    }


@every_model
def test_every_size_comes_back(name):
    with torch.device("meta"):
        network = build(name, **NARROW).eval()
        for height in (1, 2, 3, 4, 5, 7, 8, 11, 15, 16, 17, 24, 30, 31, 32, 33, 47, 64, 65, 69):
            for head in network.heads(torch.empty(1, channels_of(name), height, 70 - height)).values():
                assert head.resampling.image_size == (height, 70 - height)
                assert head.resampling.coarse_size == tuple(head.scores.shape[-2:])


@every_model
def test_other_precisions_run(name):
    network = build(name, **NARROW).eval()
    images = pictures(name, 1, 20, 17)
    for dtype in (torch.bfloat16, torch.float64):
        scores = network.to(dtype)(images.to(dtype))
        assert scores.isfinite().all()
    assert scores.dtype == torch.float64


@every_model
def test_a_model_file_goes_round(name, tmp_path):
    channels = channels_of(name)
    options = NARROW | {"in_channels": channels}
    network = awake(build(name, **options)).eval().to(memory_format=torch.channels_last)  # as a loaded one is
    labels = LabelSet(tuple("abcde"))
    deviation = 1.0 if getattr(network, "takes_levels", False) else 50.0
    normalization = Normalization((100.0,) * channels, (deviation,) * channels)
    architecture = {"builder": name, "options": options}
    file = Segmenter(network, normalization, labels, architecture).save(tmp_path / "model.safetensors")
    images = pictures(name, 1, 20, 31)
    assert torch.equal(Segmenter.load(file).network(images), network(images))


@every_model
def test_state_goes_round(name):
    source = awake(build(name, **NARROW)).train()
    source(pictures(name, 2, 33, 33))  # running statistics that are not the initial ones
    copied = build(name, **NARROW)
    copied.load_state_dict(source.state_dict())
    images = pictures(name, 1, 20, 31)
    assert torch.equal(source.eval()(images), copied.eval()(images))


@every_model
def test_autocast_gives_float32_scores_and_trains(name):
    network = awake(build(name, **NARROW)).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = [head.full_size() for head in network.heads(pictures(name, 2, 33, 40)).values()]
    assert all(full.dtype == torch.float32 and full.isfinite().all() for full in scores)
    sum(full.square().mean() for full in scores).backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@every_model
def test_channels_last_changes_nothing(name):
    network = awake(build(name, **NARROW)).eval()
    images = pictures(name, 2, 33, 40)
    expected = network(images).detach()
    network.to(memory_format=torch.channels_last)
    found = network(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found.detach(), expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


@every_model
def test_takes_any_number_of_channels_and_classes(name):
    for channels, classes in ((1, 2), (16, 1000)):
        if channels_of(name) == 3:
            network = build(name, in_channels=channels, num_classes=classes, width=1 / 32).eval()
            assert network(torch.randn(1, channels, 9, 8)).shape == (1, classes, 9, 8)
        else:
            with pytest.raises(BadOption, match=f"in_channels .*{channels_of(name)}.*, got {channels}"):
                build(name, in_channels=channels, num_classes=classes, width=1 / 32)
            network = build(name, num_classes=classes, width=1 / 32).eval()
            assert network(pictures(name, 1, 9, 8)).shape == (1, classes, 9, 8)


@every_model
def test_a_batch_is_its_pictures_one_by_one(name):
    network = awake(build(name, **NARROW)).eval()
    images = pictures(name, 3, 30, 21)
    with torch.inference_mode():
        together = network(images)
        alone = torch.cat([network(images[i : i + 1]) for i in range(3)])
        assert torch.equal(together, network(images))
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5 * together.abs().max().item())


@every_model
def test_full_size_parameters_are_the_papers(name):
    num_classes, expected = PARAMETERS[name]
    with torch.device("meta"):
        network = build(name, num_classes=num_classes)
        assert sum(p.numel() for p in network.parameters()) == expected
        assert network(torch.empty(1, channels_of(name), 321, 500)).shape == (1, num_classes, 321, 500)


@every_model
def test_builder_takes_keywords_with_the_common_options(name):
    parameters = inspect.signature(MODELS[name]).parameters
    assert list(parameters)[:3] == ["num_classes", "in_channels", "width"]
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values())
    assert parameters["num_classes"].default is inspect.Parameter.empty
    fixed = {"fcn32s_rgbd": 4, "fcn32s_rgb_hha": 6, "fcn16s_rgb_hha": 6}
    assert parameters["in_channels"].default == fixed.get(name, 3)
    assert parameters["width"].default == 1.0


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


def test_models_are_listed_in_order():
    assert list_models() == list(MODELS)
    assert set(PARAMETERS) == set(MODELS)
