import pytest
import torch
from torch.nn import functional

from pixelwise.errors import BadOption, ShapeError
from pixelwise.models.dilation import (
    CONTEXT7,
    CONTEXT8,
    CONTEXT10,
    FrontEnd,
    basic_context,
    dilation7,
    dilation8,
    dilation10,
    dilation_frontend,
    identity_initialize,
    large_context,
)

NETWORKS = [dilation_frontend, dilation7, dilation8, dilation10]
VGG = [("1_1", 1), ("1_2", 1), "pool", ("2_1", 1), ("2_2", 1), "pool", ("3_1", 1), ("3_2", 1), ("3_3", 1), "pool"]
VGG += [("4_1", 1), ("4_2", 1), ("4_3", 1), ("5_1", 2), ("5_2", 2), ("5_3", 2)]
BASIC = {"ctx_conv1_1": 1, "ctx_conv1_2": 1, "ctx_conv2_1": 2, "ctx_conv3_1": 4, "ctx_conv4_1": 8}
DEPLOY = {  # the context modules of the deploy files: name and dilation
    dilation_frontend: {},
    dilation7: {**BASIC, "ctx_fc1": 1},
    dilation8: {"ct_conv1_1": 1, "ct_conv1_2": 1, "ct_conv2_1": 2, "ct_conv3_1": 4, "ct_conv4_1": 8}
    | {"ct_conv5_1": 16, "ct_fc1": 1},
    dilation10: {**BASIC, "ctx_conv5_1": 16, "ctx_conv6_1": 32, "ctx_conv7_1": 64, "ctx_fc1": 1},
}


def leaves(network):
    """(weight, bias) of each convolution by its own name."""
    modules = [(name, m) for name, m in network.named_modules() if isinstance(m, torch.nn.Conv2d)]
    return {name.rpartition(".")[2]: (m.weight, m.bias) for name, m in modules}


def awake(network):
    """Random biases and scores that the ReLUs of the context let through."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias") or "final" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return network


def deploy(build, layers, images):
    """Scores as the deploy file lists them, on a picture that is mirrored by torch."""
    x = functional.pad(images, (186, 186, 186, 186), mode="reflect")
    for layer in VGG:
        if layer == "pool":
            x = functional.max_pool2d(x, 2)
        else:
            x = functional.conv2d(x, *layers[f"conv{layer[0]}"], dilation=layer[1]).relu()
    x = functional.conv2d(x, *layers["fc6"], dilation=4).relu()
    x = functional.conv2d(x, *layers["fc7"]).relu()
    x = functional.conv2d(x, *layers["fc_final" if build in (dilation8, dilation_frontend) else "final"])
    for index, (name, dilation) in enumerate(DEPLOY[build].items()):
        padding = dilation if build is not dilation8 else 33 if index == 0 else 0
        x = functional.conv2d(x, *layers[name], padding=padding, dilation=dilation).relu()
    if DEPLOY[build]:
        x = functional.conv2d(x, *layers["ct_final" if build is dilation8 else "ctx_final"])
    return x


@pytest.mark.parametrize(("build", "size"), [(b, s) for b in NETWORKS for s in [(192, 200), (208, 192)]])
def test_networks_are_the_deploy_prototxts(build, size):
    network = awake(build(num_classes=3, width=1 / 32)).eval()
    images = torch.randn(1, 3, *size)
    scores = deploy(build, leaves(network), images)
    assert scores.shape[-2:] == (size[0] // 8, size[1] // 8)
    torch.testing.assert_close(network.heads(images)["logits"].scores, scores, rtol=1e-4, atol=1e-5)
    if build is dilation10:  # ctx_upsample: 16/8/4, one bilinear kernel for each class
        taps = 1 - (torch.arange(16) - 7.5).abs() / 8
        kernel = (taps[:, None] * taps).expand(3, 1, 16, 16)
        zoomed = functional.conv_transpose2d(scores, kernel, stride=8, padding=4, groups=3)
    else:  # source pixel i/8: floor and fraction, the last cell repeated
        source = [torch.arange(length) / 8 for length in size]
        zoomed = scores
        for axis, at in ((-2, source[0]), (-1, source[1])):
            first = at.floor().long()
            second = (first + 1).clamp(max=zoomed.shape[axis] - 1)
            fraction = (at - first).reshape((-1, 1) if axis == -2 else (-1,))
            zoomed = zoomed.index_select(axis, first) * (1 - fraction) + zoomed.index_select(axis, second) * fraction
    torch.testing.assert_close(network(images), zoomed, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (2, 13), (41, 17)])
def test_any_size_is_mirrored_to_the_next_cell(size):
    """Beyond 186 pixels on each side the mirrored picture goes on to a multiple of 8."""
    network = awake(dilation_frontend(num_classes=2, width=1 / 64)).eval()
    images = torch.randn(1, 3, *size)
    places = []
    for length in size:
        period = max(2 * (length - 1), 1)
        folded = [
            abs((i + period * 999 + length - 1) % period - (length - 1)) for i in range(-186, -(-length // 8) * 8 + 186)
        ]
        places.append(folded)
    padded = images[:, :, places[0]][..., places[1]]
    scores = network.heads(images)["logits"].scores
    assert scores.shape[-2:] == (-(-size[0] // 8), -(-size[1] // 8))
    torch.testing.assert_close(scores, network.frontend(padded))


def test_map_sizes_of_the_files():
    with torch.device("meta"):
        frontend = FrontEnd(2, width=1 / 64)
        for padded, cells in {500: 16, 628: 32, 852: 60, 900: 66, 1396: 128, 1640: 159}.items():
            assert frontend(torch.empty(1, 3, 380, padded)).shape == (1, 2, 1, cells)
    with pytest.raises(ShapeError, match=r"at least 380 × 380, 186 mirrored pixels .*, got \(380, 379\); mirror"):
        FrontEnd(2, width=1 / 64)(torch.zeros(1, 3, 380, 379))


def window(modules):
    """Center of cell 0 in the first pixels, stride, and receptive field, from the layers' own numbers."""
    center, jump, field = 0.0, 1, 1
    for module in modules:
        if isinstance(module, torch.nn.Conv2d | torch.nn.MaxPool2d):
            kernel, stride, padding, dilation = (
                value if isinstance(value, int) else value[0]
                for value in (module.kernel_size, module.stride, module.padding, module.dilation)
            )
            center += (dilation * (kernel - 1) / 2 - padding) * jump
            field += dilation * (kernel - 1) * jump
            jump *= stride
    return center, jump, field


def test_receptive_fields_and_the_shift_of_the_labels():
    with torch.device("meta"):
        assert window(FrontEnd(2, width=1 / 64).modules()) == (189.5, 8, 380)  # so cell 0 is at 3.5 of the picture
        for context, field in [
            (basic_context(2, CONTEXT7), 35),
            (basic_context(2, CONTEXT8), 67),
            (basic_context(2, CONTEXT10), 259),
            (large_context(2), 67),
        ]:
            assert window(context) == (0, 1, field)
            assert context(torch.empty(1, 2, 5, 1)).shape == (1, 2, 5, 1)


@pytest.mark.parametrize(
    ("make", "classes", "parameters"),
    [
        (large_context, 21, 6_803_139),
        (basic_context, 11, 7_832),
        (lambda c: basic_context(c, CONTEXT7), 11, 6_732),
        (lambda c: basic_context(c, CONTEXT10), 19, 34_656 - 19 * 16 * 16),  # without the fixed deconvolution
        (lambda c: dilation_frontend(num_classes=c), 21, 134_346_581),
        (lambda c: dilation8(num_classes=c), 21, 141_149_720),
        (lambda c: dilation8(num_classes=c, context="basic"), 11, 134_313_443),
        (lambda c: dilation7(num_classes=c), 11, 134_312_343),
        (lambda c: dilation10(num_classes=c), 19, 134_368_179),
    ],
)
def test_parameters_of_the_files(make, classes, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in make(classes).parameters()) == parameters


def test_widths_of_the_large_context():
    with torch.device("meta"):
        layers = leaves(large_context(21))
    assert [w.shape[0] for w, _ in layers.values()] == [42, 42, 84, 168, 336, 672, 672, 21]


@pytest.mark.parametrize(
    ("groups", "inputs", "outputs", "kernel"), [(3, 3, 3, 3), (3, 3, 12, 3), (2, 8, 4, 3), (4, 12, 4, 1)]
)
def test_identity_initialization_is_equations_4_and_5(groups, inputs, outputs, kernel):
    conv = identity_initialize(torch.nn.Conv2d(inputs, outputs, kernel), groups, deviation=1e-6)
    for b in range(outputs):
        for a in range(inputs):
            for t in range(kernel * kernel):
                center = t == kernel * kernel // 2
                same = a * groups // inputs == b * groups // outputs
                expected = groups / outputs if center and same else 0.0
                found = conv.weight[b, a, t // kernel, t % kernel].item()
                assert found == expected if expected else 0 < abs(found) < 1e-5
    assert not conv.bias.any()


def test_noise_beside_the_identity():
    layers = leaves(large_context(21, width=1 / 2))
    for name, factor in [("ct_conv1_1", 1), ("ct_conv3_1", 4), ("ct_fc1", 16), ("ct_final", 1)]:
        weight = layers[name][0]
        noise = weight[weight.abs() < 0.9 / factor]
        assert noise.std().item() == pytest.approx(0.01 / factor, rel=0.1)


@pytest.mark.parametrize("context", [basic_context, large_context])
def test_a_fresh_context_passes_scores_through(context):
    """Up to noise, which grows with the channels; the ReLUs cut what is below zero."""
    scores = torch.randn(2, 4, 12, 15)
    passed = context(4)(scores)
    positive = scores.relu()
    assert (passed - positive).square().mean().sqrt() < 0.2
    assert torch.corrcoef(torch.stack([passed.flatten(), positive.flatten()]))[0, 1] > 0.95
    exact = context(4)
    for layer in exact:
        if isinstance(layer, torch.nn.Conv2d):
            identity_initialize(layer, 4, deviation=0)
    torch.testing.assert_close(exact(scores), positive)


def test_initial_scores():
    network = dilation10(num_classes=19, width=1 / 4)
    layers = leaves(network)
    assert layers["final"][0].std().item() == pytest.approx(0.001, rel=0.05)
    assert layers["fc7"][0].std().item() == pytest.approx((2 / 1024) ** 0.5, rel=0.05)
    assert not any(bias.any() for _, bias in layers.values())


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (dilation8, {"context": "huge"}, "context must be 'large' or 'basic', got 'huge'"),
        (dilation_frontend, {"in_channels": 0}, "in_channels must be a whole number from 1 up, got 0"),
        (dilation7, {"width": 0}, "width must be a number above 0 .*, got 0"),
        (dilation10, {"num_classes": 0}, "num_classes must be a whole number from 1 up, got 0"),
    ],
)
def test_impossible_options(build, options, message):
    with torch.device("meta"), pytest.raises(BadOption, match=message):
        build(**{"num_classes": 2} | options)
