"""Details of the papers that neither counts nor shapes show: dropout, and which ResNet it is."""

import pytest
import torch
from torch import nn

from pixelwise.backbones.resnet import ResNetStages
from pixelwise.models import MODELS, build

HALF = ("Dropout", 0.5)

# in the order of the layers; spec, networks-2014-2016 §2.1, §3.3, §4.1, §5, networks-2015-2017 §1.2–1.5
DROPOUTS = {
    "fcn32s_alexnet": [HALF] * 2,
    "fcn32s_googlenet": [("Dropout", 0.4)],
    "fcn32s_vgg16": [HALF] * 2,
    "fcn16s_vgg16": [HALF] * 2,
    "fcn8s_vgg16": [HALF] * 2,
    "fcn8s_atonce_vgg16": [HALF] * 2,
    "fcn32s_rgbd": [HALF] * 2,
    "fcn32s_rgb_hha": [HALF] * 4,
    "fcn16s_rgb_hha": [HALF] * 4,
    "fcn32s_two_headed": [HALF] * 2,
    "fcn16s_two_headed": [HALF] * 2,
    "fcn8s_two_headed": [HALF] * 2,
    "unet_valid": [],
    "unet": [],
    "segnet": [],
    "segnet_basic": [],
    "bayesian_segnet": [HALF] * 6,
    "deeplab_7x7": [HALF] * 2,
    "deeplab_4x4": [HALF] * 2,
    "deeplab_4x4_rate8": [HALF] * 2,
    "deeplab_largefov": [HALF] * 2,
    "deeplab_msc_largefov": [HALF] * (2 + 5),  # a branch uses its own twice
    "crfrnn_fcn8s": [HALF] * 2,
    "dilation_frontend": [HALF] * 2,
    "dilation7": [HALF] * 2,
    "dilation8": [HALF] * 2,
    "dilation10": [HALF] * 2,
    "deeplab_v2_vgg16_largefov": [HALF] * 2,
    "deeplab_v2_vgg16_aspp_s": [HALF] * 8,
    "deeplab_v2_vgg16_aspp_l": [HALF] * 8,
    "deeplab_v2_resnet101_largefov": [],
    "deeplab_v2_resnet101_aspp": [],
    "deeplab_v3_resnet50": [("Dropout", 0.1)],
    "deeplab_v3_resnet101": [("Dropout", 0.1)],
    "deeplab_v3_cascade_resnet50": [],
    "deeplab_v3_cascade_resnet101": [],
    "refinenet_resnet50": [HALF],  # used three times
    "refinenet_resnet101": [HALF],
    "refinenet_resnet152": [HALF],
    "pspnet_resnet50": [("Dropout", 0.1)],
    "pspnet_resnet101": [("Dropout", 0.1)],
    "gcn_resnet50": [],
    "gcn_resnet101": [],
    "gcn_resnet152": [],
    "torchvision_fcn_resnet50": [("Dropout", 0.1)] * 2,  # the second in the auxiliary head
    "torchvision_fcn_resnet101": [("Dropout", 0.1)] * 2,
    "torchvision_deeplab_v3_resnet50": [HALF, ("Dropout", 0.1)],
    "torchvision_deeplab_v3_resnet101": [HALF, ("Dropout", 0.1)],
}

# stem, pool (padding, rounds up), the convolution with a stage's stride; spec, networks-2015-2017 §0.1
TORCHVISION = ("7x7", (1, False), "conv2")
FIRST_RELEASE = ("7x7", (0, True), "conv1")
FLAVORS = {
    "deeplab_v2_resnet101_largefov": ("7x7", (1, True), "conv1"),
    "deeplab_v2_resnet101_aspp": ("7x7", (1, True), "conv1"),
    "deeplab_v3_resnet50": TORCHVISION,
    "deeplab_v3_resnet101": TORCHVISION,
    "deeplab_v3_cascade_resnet50": TORCHVISION,
    "deeplab_v3_cascade_resnet101": TORCHVISION,
    "refinenet_resnet50": FIRST_RELEASE,
    "refinenet_resnet101": FIRST_RELEASE,
    "refinenet_resnet152": FIRST_RELEASE,
    "pspnet_resnet50": ("3x3", (1, False), "conv1"),
    "pspnet_resnet101": ("3x3", (1, False), "conv2"),
    "gcn_resnet50": FIRST_RELEASE,
    "gcn_resnet101": FIRST_RELEASE,
    "gcn_resnet152": FIRST_RELEASE,
    "torchvision_fcn_resnet50": TORCHVISION,
    "torchvision_fcn_resnet101": TORCHVISION,
    "torchvision_deeplab_v3_resnet50": TORCHVISION,
    "torchvision_deeplab_v3_resnet101": TORCHVISION,
}


@pytest.mark.parametrize("name", list(MODELS))
def test_dropouts(name):
    with torch.device("meta"):
        network = build(name, num_classes=2, width=1 / 16)
    kinds = (nn.Dropout, nn.Dropout2d)
    found = [(type(m).__name__, m.p) for m in network.modules() if isinstance(m, kinds) and m.p > 0]
    assert found == DROPOUTS[name]


@pytest.mark.parametrize("name", list(MODELS))
def test_dropout_is_used(name):
    """In training two passes differ where there is dropout, and in evaluation none do."""
    network = build(name, num_classes=2, width=1 / 16).train()
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0  # or the second pass would differ by its statistics
    channels = next(m for m in network.modules() if isinstance(m, nn.Conv2d)).in_channels
    images = torch.randn(2, 6 if "hha" in name else channels, 40, 33)
    with torch.inference_mode():
        assert torch.equal(network(images), network(images)) == (not DROPOUTS[name])
        network.eval()
        assert torch.equal(network(images), network(images))


@pytest.mark.parametrize("name", [name for name in MODELS if "resnet" in name])
def test_flavors_of_resnet(name):
    with torch.device("meta"):
        network = build(name, num_classes=2, width=1 / 16)
    (trunk,) = (m for m in network.modules() if isinstance(m, ResNetStages))
    stem, pool, stride_in = FLAVORS[name]
    assert isinstance(trunk.conv1, nn.Sequential) == (stem == "3x3")
    assert (trunk.maxpool.padding, trunk.maxpool.ceil_mode) == pool
    first = trunk.layer2[0]  # no network takes this stage's stride
    assert [n for n in ("conv1", "conv2", "conv3") if getattr(first, n).stride == (2, 2)] == [stride_in]


def he(layer, fan):
    """He et al.'s deviation; `fan` is 0 for the outputs of a connection, 1 for its inputs."""
    return (2 / (layer.weight.shape[fan] * layer.weight[0, 0].numel())) ** 0.5


def torchs(layer):
    """What torch gives a convolution: uniform up to 1/√inputs."""
    return (3 * layer.weight[0].numel()) ** -0.5


CUT = 0.8796  # deviation of a Gaussian cut at two deviations

INITIAL = [
    ("deeplab_v3_resnet50", "logits", lambda layer: 0.01 * CUT),
    ("deeplab_v3_resnet50", "aspp.rates.1.0", lambda layer: he(layer, 0)),
    ("deeplab_v3_cascade_resnet50", "logits", lambda layer: 0.01 * CUT),
    ("deeplab_v3_cascade_resnet50", "backbone.layer6.1.conv2", lambda layer: he(layer, 0)),
    ("deeplab_largefov", "fc8_voc12", lambda layer: 0.01),
    ("deeplab_largefov", "backbone.conv4.conv4_2", lambda layer: he(layer, 1)),
    ("deeplab_v2_resnet101_aspp", "aspp.fc1_voc12_c2", lambda layer: 0.01),
    ("dilation_frontend", "frontend.score.fc_final", lambda layer: 0.001),
    ("refinenet_resnet50", "clf_conv", lambda layer: 0.01),
    ("refinenet_resnet50", "refine.2.pooling.outvar_dimred.3", lambda layer: 0.01),
    ("pspnet_resnet50", "conv6", lambda layer: he(layer, 1)),
    ("pspnet_resnet50", "backbone.layer3.2.conv2", lambda layer: he(layer, 1)),
    ("gcn_resnet50", "gcn_res4.0.left.0", lambda layer: he(layer, 1)),
    ("segnet", "encoder.3.conv4_2", lambda layer: he(layer, 1)),
    ("unet", "encoder.3.3", lambda layer: he(layer, 1)),
    ("torchvision_deeplab_v3_resnet50", "classifier.4", torchs),
    ("torchvision_deeplab_v3_resnet50", "classifier.0.convs.2.0", torchs),
    ("torchvision_fcn_resnet50", "classifier.0", torchs),
]


@pytest.mark.parametrize(("name", "layer", "deviation"), INITIAL, ids=[f"{n}-{layer}" for n, layer, _ in INITIAL])
def test_initial_weights(name, layer, deviation):
    module = build(name, num_classes=100, width=1 / 8).get_submodule(layer)
    assert module.weight.std().item() == pytest.approx(deviation(module), rel=0.06)
    assert abs(module.weight.mean().item()) < 0.06 * module.weight.std().item()
