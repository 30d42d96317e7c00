"""A classifier slid over the picture, against a loop over its windows."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from pixelwise.backbones import CLASSIFIERS
from pixelwise.errors import BadOption, ShapeError, UnknownName
from pixelwise.labels import LabelSet
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.models import CONVERTED, MODELS, build, list_models
from pixelwise.models.convolutional_classifier import ConvolutionalClassifier
from pixelwise.segmenter import Segmenter, load

WINDOW, STRIDE, K = (15, 12), (4, 2), 3
RESNET = {"classifier": "resnet18", "num_classes": K, "width": 1 / 16, "input_size": 64}


def slid(shrink=1):
    """Without padding: rows 15 → 6 → 3 → 1, columns 12 → 8 → 4 → 1."""
    layers = nn.Conv2d(3, 4, 5, stride=(2, 1)), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, K, (3, 4))
    return ConvolutionalClassifier(nn.Sequential(*layers).eval(), WINDOW, shrink=shrink)


def mirrored(i, length):
    """The pixel that stands at place i ≥ 0 of a line that goes on mirrored."""
    period = max(1, 2 * (length - 1))
    return length - 1 - abs(length - 1 - i % period)


def shrunk(picture, s):
    """(C, H, W) → means of s × s pixels, at the end of those that are left."""
    rows, columns = (math.ceil(n / s) for n in picture.shape[1:])
    blocks = [
        [picture[:, i * s : (i + 1) * s, j * s : (j + 1) * s].mean((1, 2)) for j in range(columns)] for i in range(rows)
    ]
    return torch.stack([torch.stack(row, 1) for row in blocks], 1)


def windows(network, picture, shrink):
    """(K, rows, columns): each window through the network by itself."""
    small = shrunk(picture, shrink)
    _, height, width = small.shape
    count = [1 + max(0, math.ceil((n - w) / s)) for n, w, s in zip((height, width), WINDOW, STRIDE, strict=True)]
    scores = torch.empty(K, *count, dtype=torch.float64)
    for i in range(count[0]):
        for j in range(count[1]):
            rows = [mirrored(i * STRIDE[0] + k, height) for k in range(WINDOW[0])]
            columns = [mirrored(j * STRIDE[1] + k, width) for k in range(WINDOW[1])]
            scores[:, i, j] = network(small[:, rows][:, :, columns][None])[0, :, 0, 0]
    return scores


def between(scores, axis, pixels, shrink):
    """Linear interpolation along an axis between the middles of windows."""
    count, lines = scores.shape[axis], []
    for x in range(pixels):
        low, high = (shrink * (i * STRIDE[axis - 1] + WINDOW[axis - 1] / 2) - 0.5 for i in (0, count - 1))
        place = (min(max(x, low), high) - low) / (shrink * STRIDE[axis - 1])
        first = min(math.floor(place), max(0, count - 2))
        second = min(first + 1, count - 1)
        part = place - first
        lines.append((1 - part) * scores.select(axis, first) + part * scores.select(axis, second))
    return torch.stack(lines, axis)


@pytest.mark.parametrize("shrink", [1, 2, 3])
@pytest.mark.parametrize("size", [(1, 1), (2, 7), (15, 12), (16, 13), (40, 9), (47, 43)])
def test_each_cell_is_a_window_and_lies_in_its_middle(shrink, size):
    network = slid(shrink)
    picture = torch.rand(3, *size)
    with torch.no_grad():
        heads = network.heads(picture[None])
        expected = windows(network.network, picture, shrink)
        assert list(heads) == ["logits"]
        torch.testing.assert_close(heads["logits"].scores[0].double(), expected, rtol=1e-4, atol=1e-5)
        full = between(between(expected, 1, size[0], shrink), 2, size[1], shrink)
        torch.testing.assert_close(network(picture[None])[0].double(), full, rtol=1e-4, atol=1e-5)


def test_a_window_gives_one_cell_and_one_pixel_more_gives_two():
    network = slid(shrink=2)
    for size, cells in [((30, 24), (1, 1)), ((31, 24), (2, 1)), ((38, 25), (2, 2)), ((39, 28), (3, 2))]:
        head = network.heads(torch.rand(2, 3, *size))["logits"]
        assert isinstance(head, Head)
        assert (tuple(head.scores.shape), head.resampling.image_size) == ((2, K, *cells), size)


def test_the_stride_is_counted():
    assert slid().stride == STRIDE
    three = nn.Sequential(nn.Conv2d(1, 2, 5, stride=11))
    assert ConvolutionalClassifier(three, (5, 5), in_channels=1).stride == (11, 11)
    rounded_up = nn.Sequential(nn.MaxPool2d(11, ceil_mode=True))
    assert ConvolutionalClassifier(rounded_up, (11, 11)).stride == (11, 11)
    normed = nn.Sequential(nn.Conv2d(3, 2, 5), nn.BatchNorm2d(2)).train()  # refuses a single value
    assert ConvolutionalClassifier(normed, (5, 5)).stride == (1, 1)
    assert int(normed[1].num_batches_tracked) == 0


def test_a_network_that_gives_no_map_is_refused():
    with pytest.raises(
        ShapeError,
        match=r"\(N, K, h, w\) of its window of 2 × 2, got \(N, 2\); make it with pixelwise.surgery.convolutionalize",
    ):
        ConvolutionalClassifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), (2, 2))


def test_gradients_reach_the_network_in_training():
    network = slid(shrink=2).train()
    network(torch.rand(2, 3, 33, 20)).logsumexp(1).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize(("name", "size"), [("resnet18", 64), ("resnet50", (64, 96)), ("alexnet", 227), ("vgg16", 224)])
def test_the_builder_keeps_the_classifiers_scores(name, size):
    options = {"num_classes": K, "width": 1 / 32}
    torch.manual_seed(3)
    classifier = CLASSIFIERS[name](**options).eval()
    torch.manual_seed(3)
    network = build("convolutional_classifier", classifier=name, input_size=size, **options).eval()
    height, width = (size, size) if isinstance(size, int) else size
    pictures = torch.randn(2, 3, height, width)
    with torch.no_grad():
        scores = classifier(pictures)
        full = network(pictures)
    assert full.shape == (2, K, height, width)
    torch.testing.assert_close(full, scores[:, :, None, None].expand_as(full), rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in classifier.parameters())


def test_shrink_shows_the_classifier_means_of_blocks():
    torch.manual_seed(0)
    plain = build("convolutional_classifier", **RESNET).eval()
    half = build("convolutional_classifier", **RESNET, shrink=2).eval()
    half.load_state_dict(plain.state_dict())
    pictures = torch.randn(1, 3, 64, 96)
    larger = pictures.repeat_interleave(2, 2).repeat_interleave(2, 3)
    with torch.no_grad():
        torch.testing.assert_close(half.heads(larger)["logits"].scores, plain.heads(pictures)["logits"].scores)
        assert half(larger).shape == (1, K, 128, 192)


def test_a_lower_output_stride_gives_more_windows_with_the_same_weights():
    plain = build("convolutional_classifier", **RESNET).eval()
    dense = build("convolutional_classifier", **RESNET, output_stride=8).eval()
    dense.load_state_dict(plain.state_dict())
    assert (plain.stride, dense.stride) == ((32, 32), (8, 8))
    pictures = torch.randn(1, 3, 128, 160)
    with torch.no_grad():
        coarse, fine = (network.heads(pictures)["logits"].scores for network in (plain, dense))
    assert fine.shape == (1, K, 9, 13)
    torch.testing.assert_close(fine[..., ::4, ::4], coarse, rtol=1e-4, atol=1e-5)


def test_any_size_and_both_modes():
    network = build("convolutional_classifier", **RESNET, in_channels=4)
    for mode in (True, False):
        for size in ((1, 1), (3, 70), (65, 64)):
            with torch.no_grad():
                logits = network.train(mode)(torch.randn(1, 4, *size))
            assert logits.shape == (1, K, *size)
            assert logits.dtype == torch.float32
            assert logits.isfinite().all()


def test_the_record_of_a_model_file_builds_it_again(tmp_path):
    options = RESNET | {"shrink": 2, "output_stride": 16, "input_size": [64, 32]}
    record = {"builder": "convolutional_classifier", "options": options}
    network = build(record["builder"], **options).eval()
    labels = LabelSet(("a", "b", "c"))
    before = Segmenter(network, Normalization((100.0,) * 3, (50.0,) * 3), labels, json.loads(json.dumps(record)))
    after = load(before.save(tmp_path / "model.safetensors"))
    picture = np.random.default_rng(0).integers(0, 255, (150, 131, 3)).astype(np.uint8)
    assert isinstance(after.network, ConvolutionalClassifier)
    assert after.network.input_size == (64, 32)
    np.testing.assert_allclose(after.heatmap(picture, "b"), before.heatmap(picture, "b"), atol=1e-5)


def test_it_is_no_papers_segmenter():
    assert "convolutional_classifier" in CONVERTED
    assert "convolutional_classifier" not in {*MODELS, *list_models()}


def test_options_of_the_classifier_pass_through():
    deep = build("convolutional_classifier", **RESNET | {"classifier": "resnet50"}, deep_stem=True)
    assert any("conv1_3" in name for name, _ in deep.named_modules())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"classifier": "resnet19"}, UnknownName, "no classifier is called 'resnet19'; did you mean 'resnet18'"),
        ({"shrink": 0}, BadOption, "shrink must be a whole number from 1 up, got 0"),
        ({"shrink": 1.5}, BadOption, "shrink must be a whole number from 1 up, got 1.5"),
        ({"input_size": 0}, BadOption, "input_size must be a whole number from 1 up, or two of them.*got 0"),
        ({"input_size": True}, BadOption, "input_size must be a whole number"),
        ({"input_size": (64, 64, 3)}, BadOption, r"height and width; got \(64, 64, 3\)"),
        ({"input_size": 64.0}, BadOption, "got 64.0"),
        ({"widht": 1}, BadOption, "resnet18: .*widht"),
        ({"num_classes": 0}, BadOption, "num_classes must be a whole number from 1 up, got 0"),
        ({"classifier": "alexnet"}, ShapeError, "fc6 needs a map of at least 6 × 6"),
        ({"output_stride": 5}, BadOption, "5"),
    ],
)
def test_what_cannot_be_built(options, error, message):
    with pytest.raises(error, match=message):
        build("convolutional_classifier", **RESNET | options)


def test_a_missing_option_is_named():
    with pytest.raises(BadOption, match="missing a required argument: 'input_size'"):
        build("convolutional_classifier", classifier="resnet18", num_classes=2)
