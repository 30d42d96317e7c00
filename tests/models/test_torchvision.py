"""Keys, counts, dilations and forward pass from torchvision's layout as the specification lists it (§1.5.6, §0.2)."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from pixelwise.backbones.resnet import resnet50
from pixelwise.models.torchvision import (
    torchvision_deeplab_v3_resnet50,
    torchvision_deeplab_v3_resnet101,
    torchvision_fcn_resnet50,
    torchvision_fcn_resnet101,
)

NARROW = {"num_classes": 4, "width": 1 / 32}


def batch_norm(name):
    return [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]


def backbone_keys(units):
    keys = ["backbone.conv1.weight", *batch_norm("backbone.bn1")]
    for stage, number in enumerate(units, 1):
        for unit in range(number):
            name = f"backbone.layer{stage}.{unit}"
            for index in (1, 2, 3):
                keys += [f"{name}.conv{index}.weight", *batch_norm(f"{name}.bn{index}")]
            if unit == 0:
                keys += [f"{name}.downsample.0.weight", *batch_norm(f"{name}.downsample.1")]
    return keys


def fcn_keys(name):
    return [f"{name}.0.weight", *batch_norm(f"{name}.1"), f"{name}.4.weight", f"{name}.4.bias"]


def deeplab_keys():
    keys = []
    for index in range(4):
        keys += [f"classifier.0.convs.{index}.0.weight", *batch_norm(f"classifier.0.convs.{index}.1")]
    keys += ["classifier.0.convs.4.1.weight", *batch_norm("classifier.0.convs.4.2")]
    keys += ["classifier.0.project.0.weight", *batch_norm("classifier.0.project.1")]
    return [*keys, "classifier.1.weight", *batch_norm("classifier.2"), "classifier.4.weight", "classifier.4.bias"]


@pytest.mark.parametrize(
    ("builder", "units", "head", "with_auxiliary", "without"),
    [
        (torchvision_fcn_resnet50, (3, 4, 6, 3), fcn_keys("classifier"), 35_322_218, 32_957_013),
        (torchvision_fcn_resnet101, (3, 4, 23, 3), fcn_keys("classifier"), 54_314_346, 51_949_141),
        (torchvision_deeplab_v3_resnet50, (3, 4, 6, 3), deeplab_keys(), 42_004_074, 39_638_869),
        (torchvision_deeplab_v3_resnet101, (3, 4, 23, 3), deeplab_keys(), 60_996_202, 58_630_997),
    ],
)
def test_keys_and_parameters(builder, units, head, with_auxiliary, without):
    with torch.device("meta"):
        full, plain = builder(num_classes=21), builder(num_classes=21, auxiliary=False)
    assert list(full.state_dict()) == [*backbone_keys(units), *head, *fcn_keys("aux_classifier")]
    assert list(plain.state_dict()) == [*backbone_keys(units), *head]
    assert sum(p.numel() for p in full.parameters()) == with_auxiliary
    assert sum(p.numel() for p in plain.parameters()) == without
    assert full.state_dict()["aux_classifier.0.weight"].shape == (256, 1024, 3, 3)
    assert full.state_dict()["classifier.4.weight"].shape[0] == 21
    with torch.device("meta"):
        assert full.eval().heads(torch.empty(1, 3, 520, 400))["logits"].scores.shape == (1, 21, 65, 50)


def test_shapes_of_the_heads():
    with torch.device("meta"):
        deeplab = torchvision_deeplab_v3_resnet50(num_classes=21).state_dict()
        fcn = torchvision_fcn_resnet50(num_classes=21).state_dict()
    assert deeplab["classifier.0.convs.0.0.weight"].shape == (256, 2048, 1, 1)
    assert deeplab["classifier.0.convs.3.0.weight"].shape == (256, 2048, 3, 3)
    assert deeplab["classifier.0.convs.4.1.weight"].shape == (256, 2048, 1, 1)
    assert deeplab["classifier.0.project.0.weight"].shape == (256, 1280, 1, 1)
    assert deeplab["classifier.1.weight"].shape == (256, 256, 3, 3)
    assert deeplab["classifier.4.weight"].shape == (21, 256, 1, 1)
    assert fcn["classifier.0.weight"].shape == (512, 2048, 3, 3)
    assert fcn["classifier.4.weight"].shape == (21, 512, 1, 1)


def test_dilations_by_hand():
    """§0.2: the first unit of a dilated stage keeps the dilation before it."""
    with torch.device("meta"):
        network = torchvision_deeplab_v3_resnet101(num_classes=21)
    stages = [getattr(network.backbone, f"layer{stage}") for stage in (1, 2, 3, 4)]
    assert [[unit.conv2.dilation[0] for unit in stage] for stage in stages] == [
        [1] * 3,
        [1] * 4,
        [1] + [2] * 22,
        [2, 4, 4],
    ]
    assert [stage[0].conv2.stride for stage in stages] == [(1, 1), (2, 2), (1, 1), (1, 1)]
    branches = network.classifier[0].convs
    assert [branch[0].dilation[0] for branch in branches[:4]] == [1, 12, 24, 36]
    assert [branch[0].padding[0] for branch in branches[:4]] == [0, 12, 24, 36]


def test_dropouts():
    with torch.device("meta"):
        deeplab = torchvision_deeplab_v3_resnet50(num_classes=21)
        fcn = torchvision_fcn_resnet50(num_classes=21)
    assert [m.p for m in deeplab.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.1]  # projection, auxiliary
    assert [m.p for m in fcn.modules() if isinstance(m, nn.Dropout)] == [0.1, 0.1]


def conv(state, name, values, dilation=1):
    weight = state[f"{name}.weight"]
    padding = dilation * (weight.shape[-1] // 2)
    return functional.conv2d(values, weight, state.get(f"{name}.bias"), padding=padding, dilation=dilation)


def bn_relu(state, name, values):
    parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return functional.relu(functional.batch_norm(values, *parts))


def settled(network):
    """In evaluation, with statistics that are not the initial ones."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.bias, std=0.3)
    return network.eval()


def test_deeplab_head_from_the_key_list():
    network = settled(torchvision_deeplab_v3_resnet50(**NARROW))
    state = network.classifier.state_dict()
    features = torch.randn(2, 64, 6, 5)
    branches = [bn_relu(state, "0.convs.0.1", conv(state, "0.convs.0.0", features))]
    for index, rate in ((1, 12), (2, 24), (3, 36)):
        branches.append(bn_relu(state, f"0.convs.{index}.1", conv(state, f"0.convs.{index}.0", features, rate)))
    pooled = functional.adaptive_avg_pool2d(features, 1)
    pooled = bn_relu(state, "0.convs.4.2", conv(state, "0.convs.4.1", pooled))
    branches.append(functional.interpolate(pooled, (6, 5), mode="bilinear", align_corners=False))
    values = bn_relu(state, "0.project.1", conv(state, "0.project.0", torch.cat(branches, 1)))
    values = bn_relu(state, "2", conv(state, "1", values))
    torch.testing.assert_close(network.classifier(features), conv(state, "4", values))


def test_fcn_head_from_the_key_list():
    network = settled(torchvision_fcn_resnet50(**NARROW))
    for head, channels in ((network.classifier, 64), (network.aux_classifier, 32)):
        state = head.state_dict()
        features = torch.randn(2, channels, 6, 5)
        expected = conv(state, "4", bn_relu(state, "1", conv(state, "0", features)))
        torch.testing.assert_close(head(features), expected)


def test_exact_keeps_the_values_of_the_classifier():
    """At 1/8 each fourth position is the map of the network that ImageNet's weights were trained in."""
    network = settled(torchvision_fcn_resnet50(**NARROW)).double()
    plain = resnet50(width=1 / 32).double().eval()
    plain.load_state_dict(network.backbone.state_dict())
    images = torch.randn(1, 3, 70, 97, dtype=torch.float64)
    dense, coarse = network.backbone(images), plain(images)
    torch.testing.assert_close(dense.res5[..., ::4, ::4], coarse.res5, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(dense.res4[..., ::2, ::2], coarse.res4, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("builder", [torchvision_fcn_resnet50, torchvision_deeplab_v3_resnet50])
def test_heads_and_half_pixel_upsampling(builder):
    network = settled(builder(**NARROW))
    images = torch.randn(2, 3, 45, 30)
    heads = network.heads(images)
    assert list(heads) == ["logits"]
    expected = functional.interpolate(heads["logits"].scores, (45, 30), mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(images), expected)

    heads = network.train().heads(images)
    assert list(heads) == ["logits", "auxiliary"]
    features = network.backbone(images).res4
    network.aux_classifier.eval()
    scores = network.aux_classifier(features)
    assert heads["auxiliary"].scores.shape == scores.shape == (2, 4, 6, 4)
    expected = functional.interpolate(scores, (45, 30), mode="bilinear", align_corners=False)
    torch.testing.assert_close(heads["auxiliary"].resampling.apply(scores), expected)

    assert list(builder(auxiliary=False, **NARROW).train().heads(images)) == ["logits"]
