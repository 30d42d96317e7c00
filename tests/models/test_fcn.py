import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pixelwise.errors import BadOption
from pixelwise.models.fcn import (
    fcn8s_atonce_vgg16,
    fcn8s_vgg16,
    fcn16s_vgg16,
    fcn32s_alexnet,
    fcn32s_googlenet,
    fcn32s_vgg16,
)
from pixelwise.models.fcn_streams import ALIGNMENTS, BilinearUpsampling

# spec, networks-2014-2016 §2.4: H, then the length of each map
TABLE = {
    1: (199, 100, 50, 25, 13, 7, 1, 64, 4, 80, 10, 88),
    224: (422, 211, 106, 53, 27, 14, 8, 288, 18, 304, 38, 312),
    256: (454, 227, 114, 57, 29, 15, 9, 320, 20, 336, 42, 344),
    375: (573, 287, 144, 72, 36, 18, 12, 416, 26, 432, 54, 440),
    500: (698, 349, 175, 88, 44, 22, 16, 544, 34, 560, 70, 568),
    640: (838, 419, 210, 105, 53, 27, 21, 704, 44, 720, 90, 728),
}
# H, then conv1, pool1, pool2, pool5, fc6 and the upscored scores of FCN-AlexNet
ALEXNET_TABLE = {227: (105, 52, 26, 13, 8, 287), 500: (173, 86, 43, 21, 16, 543)}
RELEASED = ALIGNMENTS["released"]
BUILDERS = {32: fcn32s_vgg16, 16: fcn16s_vgg16, 8: fcn8s_vgg16}


def bilinear_deconvolution(num_classes, kernel, stride):
    """FCN's surgery.py: the kernel on the diagonal of a full transposed convolution."""
    layer = nn.ConvTranspose2d(num_classes, num_classes, kernel, stride, bias=False)
    factor = (kernel + 1) // 2
    center = factor - 1 if kernel % 2 == 1 else factor - 0.5
    with torch.no_grad():
        layer.weight.zero_()
        for k in range(num_classes):
            for i in range(kernel):
                for j in range(kernel):
                    layer.weight[k, k, i, j] = (1 - abs(i - center) / factor) * (1 - abs(j - center) / factor)
    return layer


def naive(network, images, stride):
    """The prototxt: deconvolutions and crops as layers."""
    pool3, pool4, fc7 = network.backbone(images)
    height, width = images.shape[-2:]
    fused = network.score_fr(fc7)
    k = fused.shape[1]
    if stride <= 16:
        up = bilinear_deconvolution(k, 4, 2)(fused)
        fused = up + network.score_pool4(pool4)[..., 5 : 5 + up.shape[2], 5 : 5 + up.shape[3]]
    if stride == 8:
        up = bilinear_deconvolution(k, 4, 2)(fused)
        fused = up + network.score_pool3(pool3)[..., 9 : 9 + up.shape[2], 9 : 9 + up.shape[3]]
    offset = {32: 19, 16: 27, 8: 31}[stride]
    return bilinear_deconvolution(k, 2 * stride, stride)(fused)[..., offset : offset + height, offset : offset + width]


def narrow(stride, **options):
    return awake(BUILDERS[stride](num_classes=3, width=1 / 16, **options))


def awake(network):
    """In eval mode, with score layers that say something."""
    for name, module in network.named_children():
        if name.startswith("score"):
            nn.init.normal_(module.weight, std=0.2)
            nn.init.normal_(module.bias)
    return network.eval()


@pytest.mark.parametrize("stride", BUILDERS)
@pytest.mark.parametrize("size", [(1, 1), (37, 64), (5, 101)])
def test_fixed_upsampling_is_deconvolution_and_crop(stride, size):
    network = narrow(stride)
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(network(images), naive(network, images, stride), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [16, 8])
def test_learned_upsampling_starts_as_the_fixed_one(stride):
    fixed = narrow(stride)
    learned = BUILDERS[stride](num_classes=3, width=1 / 16, learn_upsampling=True).eval()
    missing = learned.load_state_dict(fixed.state_dict(), strict=False)
    layers = ["upscore2.weight"] if stride == 16 else ["upscore2.weight", "upscore_pool4.weight"]
    assert missing.missing_keys == layers
    assert learned.state_dict()["upscore2.weight"].shape == (3, 3, 4, 4)
    images = torch.randn(1, 3, 20, 33)
    torch.testing.assert_close(learned(images), fixed(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding", ["released", "same"])
@pytest.mark.parametrize(("coarse", "fine"), [(32, 16), (16, 8)])
def test_a_finer_network_starts_as_the_coarser_one(coarse, fine, padding):
    """With a coarser network's layers, the fused scores are its scores upsampled by 2, nothing else."""
    one = narrow(coarse, padding=padding)
    two = BUILDERS[fine](num_classes=3, width=1 / 16, padding=padding).eval()
    two.load_state_dict(one.state_dict(), strict=False)
    images = torch.randn(1, 3, 30, 41)
    expected = bilinear_deconvolution(3, 4, 2)(one.heads(images)["logits"].scores)
    found = two.heads(images)["logits"].scores
    if padding == "same":
        expected = expected[..., 1 : 1 + found.shape[2], 1 : 1 + found.shape[3]]
    torch.testing.assert_close(found, expected)


def test_at_once_is_8s_with_scaled_pools():
    network = awake(fcn8s_atonce_vgg16(num_classes=3, width=1 / 16))
    for name, layer, factor in (("pool4", network.score_pool4, 0.01), ("pool3", network.score_pool3, 0.0001)):
        nn.init.normal_(layer.weight, std=0.2 / factor)  # or it would be lost beside the others
        scale = network.state_dict()[f"scale_{name}.weight"]
        assert torch.equal(scale, torch.full((layer.in_channels,), factor))
    plain = fcn8s_vgg16(num_classes=3, width=1 / 16).eval()
    plain.load_state_dict(network.state_dict(), strict=False)
    with torch.no_grad():
        plain.score_pool4.weight *= 0.01
        plain.score_pool3.weight *= 0.0001
        images = torch.randn(2, 3, 37, 50)
        torch.testing.assert_close(network(images), naive(plain, images, 8), rtol=1e-4, atol=1e-5)
    assert [name for name, _ in network.named_parameters()] == [name for name, _ in plain.named_parameters()]


@pytest.mark.parametrize(("builder", "offset"), [(fcn32s_alexnet, 18), (fcn32s_googlenet, 1)])
@pytest.mark.parametrize("size", [(1, 1), (37, 64)])
def test_a_kernel_of_63_and_its_crop(builder, offset, size):
    network = awake(builder(num_classes=3, width=1 / 16))
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        whole = bilinear_deconvolution(3, 63, 32)(network.score_fr(network.backbone(images)[-1]))
        expected = whole[..., offset : offset + size[0], offset : offset + size[1]]
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-5)


def test_dropout_comes_before_the_scores_as_in_the_classifier():
    assert fcn32s_googlenet(num_classes=2, width=1 / 64).drop.p == 0.4
    assert fcn32s_vgg16(num_classes=2, width=1 / 64).drop.p == 0


def test_max_fusion_takes_the_larger_score():
    network = narrow(16, fusion="max")
    images = torch.randn(1, 3, 20, 33)
    _, pool4, fc7 = network.backbone(images)
    up, skip = network.upscore2(network.score_fr(fc7)), network.score_pool4(pool4)
    expected = torch.maximum(up, skip[..., 5 : 5 + up.shape[2], 5 : 5 + up.shape[3]])
    assert torch.equal(network.heads(images)["logits"].scores, expected)


@pytest.mark.parametrize("padding", ["released", "same"])
def test_pool4_alone_is_16s_without_the_stream_of_fc7(padding):
    whole, alone = narrow(16, padding=padding), narrow(16, padding=padding, fusion="pool4")
    unused = alone.load_state_dict(whole.state_dict(), strict=False)
    assert unused.missing_keys == []
    nn.init.zeros_(whole.score_fr.weight)
    nn.init.zeros_(whole.score_fr.bias)
    images = torch.randn(1, 3, 60, 75)
    torch.testing.assert_close(alone(images), whole(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding", ["released", "same"])
def test_pool5_at_stride_1_has_fc6_of_14(padding):
    network = awake(fcn32s_vgg16(num_classes=3, width=1 / 64, pool5_stride=1, padding=padding))
    assert network.backbone.fc6.kernel_size == (14, 14)
    for size in [(1, 1), (2, 40), (65, 33)]:
        head = network.heads(torch.randn(1, 3, *size))["logits"]
        assert head.resampling.image_size == size
        if padding == "same":
            assert head.scores.shape[-2:] == tuple(-(-n // 16) for n in size)
    with torch.device("meta"):
        fixed = fcn32s_vgg16(num_classes=21, pool5_stride=1)
    assert sum(p.numel() for p in fixed.parameters()) == 134_346_581 + 512 * 4096 * (14 * 14 - 7 * 7)


def test_fixed_trains_the_score_layer_alone():
    network = fcn32s_vgg16(num_classes=3, width=1 / 64, fixed=True)
    assert [name for name, p in network.named_parameters() if p.requires_grad] == ["score_fr.weight", "score_fr.bias"]
    network(torch.randn(1, 3, 9, 9)).sum().backward()
    assert network.backbone.fc7.weight.grad is None


@pytest.mark.parametrize(
    ("builder", "option", "message"),
    [
        (fcn32s_vgg16, {"pool5_stride": 3}, "pool5_stride must be 1 or 2, got 3"),
        (fcn16s_vgg16, {"fusion": "mean"}, 'fusion must be "sum", "max" or "pool4", got \'mean\''),
        (fcn16s_vgg16, {"fusion": "pool4", "learn_upsampling": True}, 'fusion="pool4" has no 2× upsampling'),
    ],
)
def test_impossible_options_are_refused(builder, option, message):
    with pytest.raises(BadOption, match=message):
        builder(num_classes=2, width=1 / 64, **option)


@pytest.mark.parametrize(
    "builder", [fcn32s_alexnet, fcn32s_googlenet, *BUILDERS.values(), fcn8s_atonce_vgg16], ids=lambda b: b.__name__
)
def test_a_new_network_says_nothing(builder):
    network = builder(num_classes=4, width=1 / 16)
    assert not network(torch.randn(1, 3, 9, 9)).any()


@pytest.mark.parametrize("height", TABLE)
def test_lengths_along_the_network(height):
    with torch.device("meta"):
        network = fcn8s_vgg16(num_classes=2, width=1 / 64)
        seen = {}
        for name, module in network.named_modules():
            leaf = name.rpartition(".")[2]
            module.register_forward_hook(
                lambda _m, _i, out, leaf=leaf: seen.update({leaf: out.shape[2]}) if torch.is_tensor(out) else None
            )
        images = torch.empty(1, 3, height, 50)
        network(images)
        ends = {s: BUILDERS[s](num_classes=2, width=1 / 64).heads(images)["logits"] for s in BUILDERS}
    whole = {s: (end.scores.shape[2] - 1) * s + 2 * s for s, end in ends.items()}  # before the crop
    names = ("conv1_1", "pool1", "pool2", "pool3", "pool4", "pool5", "fc6")
    found = [seen[n] for n in names] + [whole[32], seen["upscore2"], whole[16], seen["upscore_pool4"], whole[8]]
    assert tuple(found) == TABLE[height]
    assert all(end.resampling.image_size == (height, 50) for end in ends.values())


@pytest.mark.parametrize("height", ALEXNET_TABLE)
def test_lengths_along_alexnet(height):
    with torch.device("meta"):
        network = fcn32s_alexnet(num_classes=2, width=1 / 64)
        seen = {}
        layers = {**dict(network.backbone.convolutions.named_children()), "fc6": network.backbone.fc6}
        for name, layer in layers.items():
            layer.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out.shape[2]}))
        scores = network.heads(torch.empty(1, 3, height, 50))["logits"].scores
    found = [seen[name] for name in ("conv1", "pool1", "pool2", "pool5", "fc6")]
    assert (*found, (scores.shape[2] - 1) * 32 + 63) == ALEXNET_TABLE[height]


@pytest.mark.parametrize("padding", ["released", "same"])
@pytest.mark.parametrize("stride", BUILDERS)
def test_every_size_comes_back(stride, padding):
    with torch.device("meta"):
        network = BUILDERS[stride](num_classes=2, width=1 / 64, padding=padding)
        for height in [*range(1, 34), 63, 64, 65, 1499]:
            assert network.heads(torch.empty(1, 3, height, 33))["logits"].resampling.image_size == (height, 33)


@pytest.mark.parametrize("options", [{"fusion": "pool4"}, {"fusion": "pool4", "padding": "same"}])
def test_every_size_comes_back_from_pool4(options):
    with torch.device("meta"):
        network = fcn16s_vgg16(num_classes=2, width=1 / 64, **options)
        for height in range(1, 34):
            assert network.heads(torch.empty(1, 3, height, 33))["logits"].resampling.image_size == (height, 33)


@pytest.mark.parametrize("builder", [fcn32s_alexnet, fcn32s_googlenet])
def test_every_size_comes_back_from_other_backbones(builder):
    with torch.device("meta"):
        network = builder(num_classes=2, width=1 / 64)
        for height in [*range(1, 34), 63, 64, 65, 1499]:
            assert network.heads(torch.empty(1, 3, height, 33))["logits"].resampling.image_size == (height, 33)


@pytest.mark.parametrize(
    ("stride", "last", "trained", "fixed"),
    [
        (32, RELEASED.upscore, 134_506_364, 14_745_600),
        (16, RELEASED.upscore16, 134_537_144, 3_744_000),
        (8, RELEASED.upscore8, 134_552_564, 1_036_800),
    ],
    ids=["32s", "16s", "8s"],
)
def test_pascal_contexts_networks_have_60_classes(stride, last, trained, fixed):
    """Spec, networks-2014-2016 §2.2."""
    with torch.device("meta"):
        network = BUILDERS[stride](num_classes=60)
    assert sum(p.numel() for p in network.parameters()) == trained
    assert fixed_values(network, 60, last) == fixed


def fixed_values(network, num_classes, last):
    """The numbers in the released file's fixed layers: deconvolutions of all classes to all classes, and scales."""
    kernels = [last.kernel or 2 * last.factor] + [4] * sum(isinstance(m, BilinearUpsampling) for m in network.modules())
    return sum(num_classes**2 * kernel**2 for kernel in kernels) + sum(b.numel() for b in network.buffers())


def test_fixed_values_are_the_released_files():
    """Spec, networks-2014-2016 §2.2, for 21 classes."""
    with torch.device("meta"):
        for builder, expected in (
            (fcn32s_alexnet, 1_750_329),
            (fcn32s_googlenet, 1_750_329),
            (fcn32s_vgg16, 1_806_336),
        ):
            network = builder(num_classes=21)
            assert fixed_values(network, 21, network.upscore) == expected
        assert fixed_values(fcn16s_vgg16(num_classes=21), 21, RELEASED.upscore16) == 458_640
        assert fixed_values(fcn8s_vgg16(num_classes=21), 21, RELEASED.upscore8) == 127_008
        assert fixed_values(fcn8s_atonce_vgg16(num_classes=21), 21, RELEASED.upscore8) == 127_776


def test_same_padding_is_less_work():
    work = {}
    with torch.device("meta"):
        for padding in ("released", "same"):
            network = fcn8s_vgg16(num_classes=21, padding=padding).eval()
            with FlopCounterMode(display=False) as counter:
                network.heads(torch.empty(1, 3, 500, 500))
            work[padding] = counter.get_total_flops() // 2  # multiply-adds
    assert work == {"released": 180_965_880_576, "same": 107_825_881_344}
