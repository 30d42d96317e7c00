"""The options that the builders have beside `num_classes`, `in_channels` and `width`."""

import inspect
import json

import pytest
import torch

from pixelwise.errors import BadOption, UnknownName
from pixelwise.models import MODELS, build

from .contract import NARROW, SIZES, awake, centered, loss_of, pictures, untouched

COMMON = ("num_classes", "in_channels", "width")
# another value than the default of any builder that has the option, and as a model file holds it
OTHER = {
    "padding": "same",
    "pool5_stride": 1,
    "fixed": True,
    "fusion": "max",
    "learn_upsampling": True,
    "geometric_classes": 7,
    "depth": 4,
    "released": True,
    "release": "pascal",
    "context": "basic",
    "multi_scale": True,
    "output_stride": 8,
    "multi_grid": [2, 1, 1],
    "rates": [2, 4],
    "image_pooling": False,
    "deep_stem": True,
    "blocks": 6,
    "cascade": 2,
    "pooling_blocks": 2,
    "pooling_order": "conv_pool",
    "auxiliary": None,  # the other one
    "bins": [1, 2],
    "pooling": "max",
    "stride_in": "3x3",
    "stem_pool": "padded",
    "kernel": 7,
    "convolution": "trivial",
    "boundary_refinement": False,
    "training_steps": 10,
    "steps": 3,
}
CASES = [
    (name, option)
    for name, builder in MODELS.items()
    for option in inspect.signature(builder).parameters
    if option not in COMMON
]


def described(network):
    """All that can differ: layers and their numbers, plain attributes, what is trained."""
    modules = [
        (name, type(m), m.extra_repr(), [(k, repr(v)) for k, v in vars(m).items() if not k.startswith("_")])
        for name, m in network.named_modules()
    ]
    return modules, [p.requires_grad for p in network.parameters()]


@pytest.mark.parametrize(("name", "option"), CASES)
def test_every_option_does_something(name, option):
    default = inspect.signature(MODELS[name]).parameters[option].default
    value = OTHER[option] if OTHER[option] is not None else not default
    assert json.loads(json.dumps(value)) == value != default
    with torch.device("meta"):
        usual, other = build(name, **NARROW), build(name, **NARROW, **{option: value})
    assert described(usual) != described(other)
    with torch.device("meta"):
        assert described(usual) == described(build(name, **NARROW))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fcn32s_vgg16", {"pool5_stride": True}, "pool5_stride must be 1 or 2, got True"),
        ("fcn32s_vgg16", {"pool5_stride": 2.0}, "pool5_stride must be 1 or 2, got 2.0"),
        ("unet", {"depth": 30}, "depth must be 1 to 10 levels, .* got 30"),
        ("unet_valid", {"depth": 11}, "depth must be 1 to 10 levels, .* got 11"),
        ("pspnet_resnet50", {"bins": 6}, "bins must be a list of whole numbers from 1 up, got 6"),
        ("gcn_resnet50", {"convolution": ["global"]}, "convolution must be .*, got \\['global'\\]"),
    ],
)
def test_impossible_values(name, options, message):
    with torch.device("meta"), pytest.raises(BadOption, match=message):
        build(name, num_classes=2, **options)


# What the builders' own options give beside the released configuration: each is a network of its own.
VARIANTS = [
    ("fcn32s_vgg16", {"padding": "same"}),
    ("fcn32s_vgg16", {"pool5_stride": 1}),
    ("fcn32s_vgg16", {"pool5_stride": 1, "padding": "same"}),
    ("fcn16s_vgg16", {"learn_upsampling": True, "padding": "same"}),
    ("fcn16s_vgg16", {"fusion": "max"}),
    ("fcn16s_vgg16", {"fusion": "pool4"}),
    ("fcn16s_vgg16", {"fusion": "pool4", "padding": "same"}),
    ("fcn8s_vgg16", {"learn_upsampling": True}),
    ("fcn8s_atonce_vgg16", {"padding": "same"}),
    ("fcn32s_rgbd", {"padding": "same"}),
    ("fcn32s_rgb_hha", {"padding": "same"}),
    ("fcn16s_rgb_hha", {"padding": "same", "learn_upsampling": True}),
    ("fcn32s_two_headed", {"padding": "same", "geometric_classes": 2}),
    ("fcn16s_two_headed", {"padding": "same", "learn_upsampling": True}),
    ("fcn8s_two_headed", {"padding": "same"}),
    ("crfrnn_fcn8s", {"padding": "same", "training_steps": 2, "steps": 1}),
    ("unet_valid", {"released": True, "depth": 3}),
    ("unet", {"depth": 3}),
    ("bayesian_segnet", {"release": "camvid"}),
    ("bayesian_segnet", {"release": "pascal"}),
    ("bayesian_segnet", {"release": "basic"}),
    ("dilation8", {"context": "basic"}),
    ("deeplab_v2_vgg16_largefov", {"multi_scale": True}),
    ("deeplab_v2_vgg16_aspp_s", {"multi_scale": True}),
    ("deeplab_v2_resnet101_aspp", {"multi_scale": True}),
    ("deeplab_v3_resnet50", {"output_stride": 8, "deep_stem": True}),
    ("deeplab_v3_resnet50", {"output_stride": 2, "image_pooling": False}),
    ("deeplab_v3_cascade_resnet50", {"output_stride": 256}),
    ("deeplab_v3_cascade_resnet50", {"output_stride": 8, "blocks": 5}),
    ("refinenet_resnet50", {"cascade": 2, "pooling_order": "conv_pool"}),
    ("refinenet_resnet50", {"cascade": 1, "pooling_blocks": 2}),
    ("refinenet_resnet50", {"stride_in": "3x3", "stem_pool": "padded"}),
    ("pspnet_resnet50", {"auxiliary": True, "pooling": "max"}),
    ("pspnet_resnet50", {"bins": (1,)}),
    ("pspnet_resnet50", {"bins": ()}),
    ("pspnet_resnet50", {"stride_in": "3x3"}),
    ("gcn_resnet50", {"kernel": 1, "boundary_refinement": False}),
    ("gcn_resnet50", {"kernel": 7, "convolution": "trivial"}),
    ("gcn_resnet50", {"kernel": 7, "convolution": "stack"}),
    ("torchvision_fcn_resnet50", {"auxiliary": False}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=[f"{n}-{o}" for n, o in VARIANTS])
def test_variants_keep_the_contract(name, options):
    network = awake(build(name, **NARROW | options)).train()
    loss_of(network, pictures(name, 2, 40, 33)).backward()
    assert set(untouched(network)) <= set(centered(network))
    assert all(p.grad.isfinite().all() for p in network.parameters())
    with torch.inference_mode():
        for height, width in SIZES:
            assert network.train()(pictures(name, 2, height, width)).shape == (2, 5, height, width)
            images = pictures(name, 2, height, width)
            together = network.eval()(images)
            assert together.isfinite().all()
            alone = torch.cat([network(image[None]) for image in images])
            torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5 * together.abs().max().item())


def test_misspelt_names():
    with pytest.raises(UnknownName, match="no model is called 'unett'; did you mean 'unet'"):
        build("unett", num_classes=2)
    with pytest.raises(BadOption, match=r"unet has no option 'num_clases'; did you mean 'num_classes'\? It takes \(\*"):
        build("unet", num_clases=2)
    with pytest.raises(BadOption, match=r"unet: missing a required argument: 'num_classes'. It takes \(\*, num_"):
        build("unet")
    with pytest.raises(UnknownName, match="no model is called 'pspnet_resnt50'; did you mean 'pspnet_resnet50'"):
        build("pspnet_resnt50", num_classes=2)
    with pytest.raises(
        BadOption, match=r"pspnet_resnet50: auxiliary must be True or False, got 'yes'. It takes \(\*, n"
    ):
        build("pspnet_resnet50", num_classes=2, auxiliary="yes")
