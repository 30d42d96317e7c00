import pytest
import torch
from torch import nn
from torch.nn import functional

from pixelwise.models.segnet import max_pool, max_unpool, segnet, segnet_basic


def naive_pool_and_unpool(values):
    """The first maximum of each window of 2 x 2, alone in a map of zeros."""
    out = torch.zeros_like(values)
    n, c, height, width = values.shape
    for i in range(n):
        for k in range(c):
            for y in range(0, height, 2):
                for x in range(0, width, 2):
                    window = [(v, u) for v in (y, y + 1) for u in (x, x + 1) if v < height and u < width]
                    best = max(window, key=lambda place: values[i, k, place[0], place[1]].item())
                    out[i, k, best[0], best[1]] = values[i, k, best[0], best[1]]
    return out


def settled(network):
    """In evaluation, with running statistics, shifts and biases that are not the initial ones."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
        if isinstance(module, nn.BatchNorm2d | nn.Conv2d):
            nn.init.normal_(module.bias, std=0.3)
    return network.eval()


def naive(network, values, groups):
    """Figure 2 from the weights alone, with torch's own unpooling; the last of the names has no batch norm."""
    state = {key.split(".", 2)[2]: value for key, value in network.state_dict().items()}
    unpool = nn.MaxUnpool2d(2, 2)
    last = groups[-1][-1]

    def convolve(values, name, relu):
        weight = state[f"{name}.weight"]
        values = functional.conv2d(values, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)
        if name == last:
            return values
        mean, variance = (state[f"{name}_bn.running_{kind}"][:, None, None] for kind in ("mean", "var"))
        scale, shift = (state[f"{name}_bn.{kind}"][:, None, None] for kind in ("weight", "bias"))
        values = scale * (values - mean) / (variance + 1e-9).sqrt() + shift
        return values.relu() if relu else values

    masks = []
    half = len(groups) // 2
    for names in groups[:half]:
        for name in names:
            values = convolve(values, name, relu=True)
        size = values.shape[-2:]
        values, mask = nn.MaxPool2d(2, 2, ceil_mode=True, return_indices=True)(values)
        masks.append((mask, size))
    for names in groups[half:]:
        mask, size = masks.pop()
        values = unpool(values, mask, output_size=size)
        for name in names:
            values = convolve(values, name, relu="decode" not in name)
    return values


SEGNET = [
    ["conv1_1", "conv1_2"],
    ["conv2_1", "conv2_2"],
    ["conv3_1", "conv3_2", "conv3_3"],
    ["conv4_1", "conv4_2", "conv4_3"],
    ["conv5_1", "conv5_2", "conv5_3"],
    ["conv5_3_D", "conv5_2_D", "conv5_1_D"],
    ["conv4_3_D", "conv4_2_D", "conv4_1_D"],
    ["conv3_3_D", "conv3_2_D", "conv3_1_D"],
    ["conv2_2_D", "conv2_1_D"],
    ["conv1_2_D", "conv1_1_D"],
]
BASIC = [
    *(["conv1"], ["conv2"], ["conv3"], ["conv4"]),
    *(["conv_decode4"], ["conv_decode3"], ["conv_decode2"], ["conv_decode1", "conv_classifier"]),
]


def shapes(network, images):
    """The shape after each convolution and pool, by name."""
    seen = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            leaf = name.rpartition(".")[2]
            module.register_forward_hook(lambda _m, _i, out, leaf=leaf: seen.update({leaf: tuple(out.shape[1:])}))
    for index, pool in enumerate(network.pool, 1):
        pool.register_forward_hook(lambda _m, _i, out, i=index: seen.update({f"pool{i}": tuple(out[0].shape[1:])}))
    network(images)
    return seen


def test_unpooling_puts_maxima_back():
    for size in ((1, 1), (4, 6), (5, 3), (1, 7)):
        values = torch.randn(2, 3, *size).relu()  # with ties at 0
        pooled, places = max_pool(values)
        assert torch.equal(max_unpool(pooled, places, size), naive_pool_and_unpool(values))


def test_what_exports_follow_pools_and_unpools_the_same(monkeypatch):
    for size in ((1, 1), (2, 1), (4, 6), (5, 3), (1, 7), (9, 8)):
        values = torch.randn(2, 3, *size).relu() - 0.5  # with ties
        pooled, places = max_pool(values)
        expected = max_unpool(pooled, places, size)
        with monkeypatch.context() as exporting:
            exporting.setattr(torch.compiler, "is_exporting", lambda: True)
            found, windows = max_pool(values)
            assert torch.equal(found, pooled)
            assert torch.equal(max_unpool(found, windows, size), expected)


def test_unpooling_equals_torch_and_its_gradient():
    values = torch.randn(2, 3, 9, 7)
    pooled, places = max_pool(values)
    ours, theirs = pooled.clone().requires_grad_(), pooled.clone().requires_grad_()
    expected = nn.MaxUnpool2d(2)(theirs, places, output_size=(9, 7))
    found = max_unpool(ours, places, (9, 7))
    assert torch.equal(found, expected)
    weights = torch.randn(2, 3, 9, 7)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("size", [(1, 1), (5, 33), (36, 48), (45, 61)])
def test_equals_the_figure(size):
    network = settled(segnet(num_classes=3, width=1 / 16)).double()
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(network.heads(images)["logits"].scores, naive(network, images, SEGNET))


@pytest.mark.parametrize("size", [(1, 1), (5, 33), (36, 48)])
def test_basic_equals_the_figure(size):
    network = settled(segnet_basic(num_classes=3, width=1 / 16)).double()
    images = torch.rand(2, 3, *size, dtype=torch.float64) * 255
    found = network.heads(images)["logits"].scores
    torch.testing.assert_close(found, naive(network, network.encoder[0].norm(images), BASIC))


def test_the_table_of_layers():
    """Channels and sizes at 360 x 480; 23 rows and 12 rows are 22.5 and 11.5 rounded up."""
    with torch.device("meta"):
        network = segnet(num_classes=11)
        seen = shapes(network, torch.empty(1, 3, 360, 480))
    groups = [[name for name in seen if f"v{i}_" in name and "D" not in name] for i in range(1, 6)]
    assert groups == SEGNET[:5]
    sizes = [(360, 480), (180, 240), (90, 120), (45, 60), (23, 30)]
    for index, (names, channels) in enumerate(zip(SEGNET, (64, 128, 256, 512, 512), strict=False)):
        assert [seen[name] for name in names] == [(channels, *sizes[index])] * len(names)
    assert [seen[f"pool{i}"] for i in range(1, 6)] == [
        *((64, 180, 240), (128, 90, 120), (256, 45, 60), (512, 23, 30), (512, 12, 15))
    ]
    assert [[seen[name] for name in names] for names in SEGNET[5:]] == [
        [(512, 23, 30), (512, 23, 30), (512, 23, 30)],
        [(512, 45, 60), (512, 45, 60), (256, 45, 60)],
        [(256, 90, 120), (256, 90, 120), (128, 90, 120)],
        [(128, 180, 240), (64, 180, 240)],
        [(64, 360, 480), (11, 360, 480)],
    ]


def test_basic_shapes():
    with torch.device("meta"):
        seen = shapes(segnet_basic(num_classes=11), torch.empty(1, 3, 360, 480))
    assert [seen[f"conv{i}"] for i in (1, 2, 3, 4)] == [(64, 360, 480), (64, 180, 240), (64, 90, 120), (64, 45, 60)]
    assert seen["conv_decode4"] == (64, 45, 60)  # from 23 x 30: the prototxt pads it to 45 rows
    assert seen["conv_decode3"] == (64, 90, 120)
    assert seen["conv_decode2"] == (64, 180, 240)
    assert seen["conv_decode1"] == (64, 360, 480)
    assert seen["conv_classifier"] == (11, 360, 480)


def test_parameters_from_the_table():
    """29 449 355: 26 convolutions with biases, and two numbers a channel for the batch norm of all but the last."""
    down = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    up = [512, 512, 512, 512, 512, 512, 256, 256, 256, 128, 128, 64, 64]
    outputs = [*down[1:], *up[1:], 11]
    inputs = [*down, *up[1:]]
    assert len(outputs) == 26
    weights = sum(9 * i * o for i, o in zip(inputs, outputs, strict=True))
    biases, norms = sum(outputs), 2 * sum(outputs[:-1])
    assert weights + biases + norms == 29_449_355
    assert sum(9 * i * o + o for i, o in zip(inputs[:13], outputs[:13], strict=True)) == 14_714_688  # "14.7M"
    with torch.device("meta"):
        parameters = dict(segnet(num_classes=11).named_parameters())
    assert sum(p.numel() for p in parameters.values()) == 29_449_355
    assert sum(p.numel() for name, p in parameters.items() if "_bn." in name) == norms
    # SegNet-Basic: the prototxt's count; the paper's 1.425 M is 0.6 % more
    with torch.device("meta"):
        count = sum(p.numel() for p in segnet_basic(num_classes=11).parameters())
    assert count == 49 * 64 * (3 + 7 * 64) + 8 * 64 + (64 * 11 + 11) + 8 * 128 == 1_416_587


def test_local_response_normalization_is_caffes():
    """y = x / (k + alpha/n * sum of x^2 over 5 channels)^beta, zeros beyond the first and the last channel."""
    network = segnet_basic(num_classes=2, width=1 / 16)
    images = torch.rand(1, 3, 4, 5) * 255
    padded = torch.cat((torch.zeros(1, 2, 4, 5), images, torch.zeros(1, 2, 4, 5)), 1).square()
    total = torch.stack([padded[:, c : c + 5].sum(1) for c in range(3)], 1)
    torch.testing.assert_close(network.encoder[0].norm(images), images * (1 + 1e-4 / 5 * total) ** -0.75)


def test_decoder_of_basic_has_no_relu():
    network = segnet_basic(num_classes=2)
    kinds = [[type(module).__name__ for module in block] for block in network.decoder]
    assert kinds == [["Conv2d", "BatchNorm2d"]] * 3 + [["Conv2d", "BatchNorm2d", "Conv2d"]]
    assert [type(module).__name__ for module in network.encoder[1]] == ["Conv2d", "BatchNorm2d", "ReLU"]


def test_no_dropout_outside_bayesian_segnet():
    for builder in (segnet, segnet_basic):
        assert not any(isinstance(m, nn.Dropout) for m in builder(num_classes=2, width=1 / 16).modules())


@pytest.mark.parametrize(("builder", "norms", "taps"), [(segnet, 25, 9), (segnet_basic, 8, 49)])
def test_constants_of_the_release(builder, norms, taps):
    """Weights of deviation sqrt(2/fan-in), biases 0; batch norms with eps 1e-9 that start at scale 1, shift 0.001."""
    network = builder(num_classes=11, width=0.5)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    second = convolutions[1]
    assert second.weight.std().item() == pytest.approx((2 / (32 * taps)) ** 0.5, rel=0.03)
    assert not any(convolution.bias.any() for convolution in convolutions)
    found = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(found) == norms
    for norm in found:
        assert norm.eps == 1e-9
        assert (norm.weight == 1).all()
        assert (norm.bias == 0.001).all()
