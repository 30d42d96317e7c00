"""Graphs of networks: the scores and labels of the network itself, at sizes the graph was not made with."""

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pixelwise.data.levels import grid_of, statistics_of
from pixelwise.errors import BadOption, SurgeryError
from pixelwise.inference.export import TRACED, score_onnx, score_openvino, score_program, traced
from pixelwise.inference.export_files import check_format
from pixelwise.inference.export_picture import PictureClasses, own_statistics, resized, size_in_graph
from pixelwise.inference.predict import predict_image
from pixelwise.inference.views import resized as resized_by_opencv
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.layers.resample import Resampling
from pixelwise.models import MODELS, build

pytest.importorskip("onnxruntime", reason="the extra export is not installed")
pytest.importorskip("onnxscript", reason="the extra export is not installed")

ROOT = Path(__file__).parents[2]
SOAK = bool(os.environ.get("PIXELWISE_SOAK"))
SIZES = [(1, 1), (70, 33)]
NOT_A_GRAPH = {"crfrnn_fcn8s"}
# following a deep network takes half a minute: here cropping after a deconvolution, and pools that keep their places;
# tests/flow/test_export.py has a U-Net, tests/layers/test_resample_graph.py each way to resample, the soak all networks
USUAL = ["fcn32s_alexnet", "segnet_basic"]
ALL = [name for name in MODELS if name not in NOT_A_GRAPH]


class Tiny(nn.Module):
    """Two convolutions at 1/4, half-pixel upsampling."""

    def __init__(self, channels=3, num_classes=4):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(channels, 8, 5, stride=4, padding=2)
        self.score = nn.Conv2d(8, num_classes, 1)

    def heads(self, images):
        scores = self.score(torch.relu(self.conv(images)))
        sizes = (scores.shape[-2], scores.shape[-1]), (images.shape[-2], images.shape[-1])
        return {"logits": Head(scores, Resampling.half_pixel(*sizes))}


def narrow(name):
    torch.manual_seed(1)
    network = build(name, num_classes=5, width=1 / 16).eval()
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return network


def picture(size, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, channels), dtype=np.uint8)


def labels_graph(network, normalization, **options):
    example = torch.zeros(*TRACED, normalization.channels, dtype=torch.uint8)
    program = traced(PictureClasses(network, normalization, **options), example, sides=(1, 2))
    return torch.no_grad()(program.module())


def channels_of(name):
    return {"fcn32s_rgbd": 4, "fcn32s_rgb_hha": 6, "fcn16s_rgb_hha": 6}.get(name, 3)


@pytest.mark.parametrize("name", ALL if SOAK else USUAL)
def test_an_onnx_graph_gives_the_scores_of_the_network_at_every_size(name):
    import onnxruntime

    network = narrow(name)
    model = score_onnx(network, channels_of(name))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert [axis.dim_param for axis in model.graph.input[0].type.tensor_type.shape.dim] == [
        *("batch", "", "height", "width")
    ]
    for size in SIZES:
        images = torch.randn(1, channels_of(name), *size)
        with torch.inference_mode():
            expected = next(iter(network.heads(images).values())).scores.numpy()
        (found,) = session.run(["scores"], {"images": images.numpy()})
        assert found.shape == expected.shape
        scale = max(float(np.abs(expected).max()), 1e-6)
        assert np.abs(found - expected).max() < 1e-4 * scale


def test_openvino_takes_the_same_graph():
    openvino = pytest.importorskip("openvino", reason="the extra openvino is not installed")
    network = Tiny()
    compiled = openvino.compile_model(score_openvino(network, 3), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for size in [(1, 1), (31, 50)]:
        images = torch.randn(2, 3, *size)
        with torch.inference_mode():
            expected = network.heads(images)["logits"].scores.numpy()
        np.testing.assert_allclose(compiled(images.numpy())[0], expected, atol=1e-5)


def test_a_network_that_ends_in_a_crf_is_refused_and_told_why():
    network = build("crfrnn_fcn8s", num_classes=3, width=1 / 16)
    with pytest.raises(SurgeryError, match="CRFRNN ends in a dense CRF.* predict with pixelwise"):
        score_program(network, 3)


def test_a_network_whose_code_asks_for_numbers_is_refused_with_torchs_reason():
    class Odd(Tiny):
        def heads(self, images):
            return super().heads(images * float(images.mean()))

    with pytest.raises(SurgeryError, match="Scores cannot become a graph .*torch.export says"):
        score_program(Odd(), 3)


def test_exporting_leaves_the_network_in_its_mode():
    network = Tiny()
    network.conv.eval()
    network.score.train()
    score_program(network, 3)
    assert (network.conv.training, network.score.training, network.training) == (False, True, True)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("per_picture", [False, True])
def test_the_graph_normalizes_as_a_prediction_does(channels, per_picture):
    mean, deviation = tuple(range(90, 90 + channels)), tuple(range(50, 50 + channels))
    normalization = Normalization(mean, deviation, "bgr" if channels > 1 else "rgb", per_picture)
    network = Tiny(channels).eval()
    graph = labels_graph(network, normalization, confidence=True)
    for size in [(1, 1), (20, 33), (130, 65)]:
        image = picture(size, channels)
        expected = predict_image(network, normalization, image, confidence=True)
        labels, sure = graph(torch.from_numpy(image)[None])
        assert np.array_equal(labels[0], expected.labels)
        np.testing.assert_allclose(sure[0], expected.confidence, atol=1e-5)


@pytest.mark.parametrize("size", [24, (24, 16)] if SOAK else [(24, 16)])  # torch follows a shorter side slowly
def test_the_graph_brings_pictures_to_the_normalizations_size_and_its_scores_back(size):
    normalization = Normalization((120.0,) * 3, (60.0,) * 3, size=size)
    network = Tiny().eval()
    graph = labels_graph(network, normalization)
    for own in [(24, 24), (31, 50), (80, 61), (10, 9)]:  # as it is, smaller, by areas, larger
        image = picture(own)
        expected = predict_image(network, normalization, image).labels
        assert np.mean(graph(torch.from_numpy(image)[None])[0].numpy() == expected) > 0.998


def test_with_more_than_255_classes_labels_are_int32():
    graph = labels_graph(Tiny(num_classes=300), Normalization((0.0,) * 3, (1.0,) * 3))
    assert graph(torch.from_numpy(picture((8, 8)))[None]).dtype == torch.int32


def test_a_batch_gives_each_pictures_labels():
    normalization = Normalization((120.0,) * 3, (60.0,) * 3, per_picture=True)
    graph = labels_graph(Tiny(), normalization)
    both = torch.from_numpy(np.stack([picture((20, 30)), picture((20, 30), seed=1) // 3]))
    assert torch.equal(graph(both), torch.cat([graph(both[:1]), graph(both[1:])]))


@pytest.mark.parametrize("own", [(1, 1), (64, 65), (129, 300)])
def test_a_pictures_own_statistics_are_those_of_its_grid(own):
    image = picture(own)
    mean, deviation = own_statistics(torch.from_numpy(image)[None].float())
    np.testing.assert_allclose(torch.cat([mean, deviation]).reshape(2, 3), statistics_of(grid_of(image)), rtol=1e-5)


@pytest.mark.parametrize(("own", "wanted"), [((20, 30), (33, 40)), ((64, 90), (20, 31)), ((50, 20), (20, 19))])
def test_pictures_are_resized_as_opencv_does(own, wanted):
    image = picture(own)
    found = resized(torch.from_numpy(image).permute(2, 0, 1)[None].float(), own, wanted)
    np.testing.assert_allclose(found[0].permute(1, 2, 0), resized_by_opencv(image, wanted), atol=0.02)


def test_the_size_of_a_picture_is_rounded_as_python_rounds():
    for height in range(1, 40):
        for width in range(1, 40):
            for size in (5, 8):
                normalization = replace(Normalization((0.0,), (1.0,)), size=size)
                assert size_in_graph(size, (height, width)) == normalization.size_of(height, width)


def test_the_page_tells_what_was_measured_of_every_network():
    place = importlib.util.spec_from_file_location("export_table", ROOT / "docs" / "generate" / "export_table.py")
    script = importlib.util.module_from_spec(place)
    place.loader.exec_module(script)
    outcomes = json.loads((ROOT / "docs" / "generate" / "export_outcomes.json").read_text(encoding="utf-8"))
    assert list(outcomes) == list(MODELS)
    assert {name for name, one in outcomes.items() if "refused" in one} == NOT_A_GRAPH
    assert script.page(outcomes) == (ROOT / "docs" / "reference" / "export.md").read_text(encoding="utf-8")


def test_an_unknown_format_is_named_with_those_there_are(tmp_path):
    with pytest.raises(BadOption, match=r"written as \.onnx, \.pt2, \.xml, got 'model.tflite'"):
        check_format(tmp_path / "model.tflite")
