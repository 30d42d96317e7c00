import pytest
import torch
from torch import nn

from pixelwise.models.fcn import fcn8s_vgg16, fcn16s_vgg16, fcn32s_vgg16

# spec, networks-2014-2016 §2.4: H, then the length of each map
TABLE = {
    1: (199, 100, 50, 25, 13, 7, 1, 64, 4, 80, 10, 88),
    224: (422, 211, 106, 53, 27, 14, 8, 288, 18, 304, 38, 312),
    256: (454, 227, 114, 57, 29, 15, 9, 320, 20, 336, 42, 344),
    375: (573, 287, 144, 72, 36, 18, 12, 416, 26, 432, 54, 440),
    500: (698, 349, 175, 88, 44, 22, 16, 544, 34, 560, 70, 568),
    640: (838, 419, 210, 105, 53, 27, 21, 704, 44, 720, 90, 728),
}
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
    network = BUILDERS[stride](num_classes=3, width=1 / 16, **options).eval()
    for name, module in network.named_children():
        if name.startswith("score"):
            nn.init.normal_(module.weight, std=0.2)
            nn.init.normal_(module.bias)
    return network


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


def test_zero_skip_leaves_the_upsampled_stream():
    """A new 16s network with a 32s network's weights: the fused scores are upscore2 of score_fr, nothing else."""
    one, two = narrow(32), fcn16s_vgg16(num_classes=3, width=1 / 16).eval()
    two.load_state_dict(one.state_dict(), strict=False)
    images = torch.randn(1, 3, 30, 41)
    coarse = one.heads(images)["logits"].scores
    expected = bilinear_deconvolution(3, 4, 2)(coarse)
    torch.testing.assert_close(two.heads(images)["logits"].scores, expected)


@pytest.mark.parametrize("stride", BUILDERS)
def test_a_new_network_says_nothing(stride):
    network = BUILDERS[stride](num_classes=4, width=1 / 16)
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


@pytest.mark.parametrize("stride", BUILDERS)
def test_every_size_comes_back(stride):
    with torch.device("meta"):
        network = BUILDERS[stride](num_classes=2, width=1 / 64)
        for height in [*range(1, 70), 1023, 1499]:
            assert network.heads(torch.empty(1, 3, height, 33))["logits"].resampling.image_size == (height, 33)
