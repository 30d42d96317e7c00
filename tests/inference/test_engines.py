"""Engines: exported graphs give the network's own scores; a segmenter makes each engine once for its weights."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from pixelwise.errors import BadOption, CheckpointError, LabelError, UnknownName
from pixelwise.inference.engine import TorchEngine
from pixelwise.inference.graph_engine import GraphEngine
from pixelwise.inference.predict import predict_image
from pixelwise.labels import LabelSet
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.layers.resample import Resampling
from pixelwise.models import build
from pixelwise.segmenter import Segmenter, load

PLAIN = Normalization((100.0,) * 3, (50.0,) * 3)


class Small(nn.Module):
    """Two convolutions, the first with stride 4, and a norm between them."""

    tiling = (64, 16, 4)

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.score = (
            nn.Conv2d(3, 8, 4, 4, padding=2),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 5, 3, 1, 1),
        )

    def heads(self, images):
        scores = self.score(self.norm(self.first(images)).relu())
        at = Resampling.half_pixel((scores.shape[-2], scores.shape[-1]), (images.shape[-2], images.shape[-1]))
        return {"labels": Head(scores, at)}


def picture(height=37, width=50):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def segmenter(name="unet", **options):
    torch.manual_seed(0)
    architecture = {"builder": name, "options": {"num_classes": 3, "width": 1 / 16} | options}
    network = build(name, **architecture["options"]).eval()
    return Segmenter(network, PLAIN, LabelSet(("a", "b", "c")), architecture)


@pytest.mark.parametrize(("program", "kind"), [("openvino", "OpenVINOEngine"), ("onnxruntime", "ONNXRuntimeEngine")])
def test_a_graph_gives_the_networks_scores_at_any_size(program, kind):
    pytest.importorskip(program)
    pytest.importorskip("onnxscript")
    module = {"openvino": "openvino_engine", "onnxruntime": "onnx_engine"}[program]
    make = getattr(__import__(f"pixelwise.inference.{module}", fromlist=[kind]), kind)
    network = Small().eval()
    engine = make(network)
    assert (engine.device, engine.tiling) == (torch.device("cpu"), (64, 16, 4))
    kept = []
    for size in ((37, 50), (16, 16), (64, 33)):
        images = torch.randn(1, 3, *size)
        (found,), (wanted,) = engine.heads(images).values(), TorchEngine(network).heads(images).values()
        torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-4, atol=1e-4)
        assert found.resampling.image_size == size and found.kind == "logits"
        kept.append((found.scores, wanted.scores))
    for found, wanted in kept:  # a later picture does not write over an earlier one's scores
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    big = picture(90, 70)  # in tiles, by the network's own tiling
    a, b = predict_image(engine, PLAIN, big), predict_image(network, PLAIN, big)
    assert (a.labels == b.labels).mean() > 0.999


def test_onnx_runtime_has_no_bfloat16():
    from pixelwise.inference.onnx_engine import ONNXRuntimeEngine

    with pytest.raises(BadOption, match="onnxruntime computes in float32 on a CPU, not in bf16"):
        ONNXRuntimeEngine(Small().eval(), "bf16")


def test_a_program_that_fails_or_gives_another_grid_says_what_to_do():
    def broken(images):
        raise RuntimeError("no such\n  window")

    images = torch.zeros(1, 3, 8, 8)
    with pytest.raises(
        BadOption, match=r"Small in toy does not take a picture of 8 × 8 \(no such window\); use --engine"
    ):
        GraphEngine(Small().eval(), broken, "toy").heads(images)
    with pytest.raises(Exception, match="Small in toy gives scores of 1 × 1, the network itself 3 × 3"):
        GraphEngine(Small().eval(), lambda images: np.zeros((1, 5, 1, 1), np.float32), "toy").heads(images)


def test_a_segmenter_predicts_with_its_folded_network():
    own, image = segmenter(), picture()
    for module in own.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
    found = own.predict(image, entropy=True)
    live = predict_image(own.network, PLAIN, image, confidence=True, entropy=True)
    np.testing.assert_allclose(found.confidence, live.confidence, atol=1e-4)
    np.testing.assert_allclose(found.entropy, live.entropy, atol=1e-4)
    assert (found.labels == live.labels).mean() >= 0.9999
    assert not any(isinstance(module, nn.BatchNorm2d) for module in own.engine().network.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in own.network.modules())


def test_an_engine_is_made_once_and_again_after_the_weights_have_changed():
    own = segmenter()
    engine = own.engine()
    assert own.engine() is engine and own.engine("fp32") is engine and own.engine("bf16") is not engine
    parameters = own.network.parameters()
    optimizer = torch.optim.SGD(parameters, 0.1)
    own.network.train()(torch.randn(2, 3, 33, 33)).square().mean().backward()
    optimizer.step()
    trained = own.engine()
    assert trained is not engine and not own.network.training
    image = picture()
    wanted = predict_image(own.network, PLAIN, image, confidence=True).confidence
    np.testing.assert_allclose(own.predict(image).confidence, wanted, atol=1e-4)
    own.network.load_state_dict(own.network.state_dict())
    assert own.engine() is not trained
    own.network = build("unet", num_classes=3, width=1 / 16)
    assert own.engine().heads(torch.zeros(1, 3, 8, 8)) and own.engine() is own.engine()
    for other in (copy.deepcopy(own), pickle.loads(pickle.dumps(own))):
        assert other.engine() is not own.engine()


def test_bfloat16_is_taken_where_the_machine_has_it_and_validation_found_the_same_labels(monkeypatch, tmp_path):
    own = segmenter()
    for fast in (True, False):
        monkeypatch.setattr("pixelwise.segmenter.fast_bfloat16", lambda device, fast=fast: fast)
        for precision, same, wanted in (
            ("bf16", 0.996, "bf16" if fast else "fp32"),
            ("bf16", 0.994, "fp32"),
            ("bf16", None, "fp32"),
            ("fp32", 1.0, "fp32"),
        ):
            own.precision, own.same_labels = precision, same
            assert own.settled_precision == own.engine().precision == own.engine("auto").precision == wanted
            assert own.engine("bf16").precision == "bf16"
            again = load(own.save(tmp_path / "model.safetensors"))
            assert (again.same_labels, again.settled_precision) == (same, wanted)


@pytest.mark.parametrize("share", ["much", 1.5, True, [1]])
def test_a_share_that_is_none_is_a_damaged_file(share, tmp_path):
    own = segmenter()
    own.same_labels = share
    with pytest.raises(CheckpointError, match="same_labels"):
        load(own.save(tmp_path / "model.safetensors"))


def test_unknown_engines_and_precisions_are_named():
    own = segmenter()
    with pytest.raises(UnknownName, match=r"openvin.*did you mean 'openvino'"):
        own.predict(picture(), engine="openvin")
    with pytest.raises(BadOption, match="precision is auto, fp32 or bf16, got 'int8'"):
        own.predict(picture(), precision="int8")


def test_models_are_averaged_where_their_classes_are_the_same():
    own, other = segmenter(), segmenter("bayesian_segnet")
    found = own.predict(picture(), others=[other])
    live = predict_image([own.network, other.network], PLAIN, picture(), confidence=True)
    np.testing.assert_allclose(found.confidence, live.confidence, atol=1e-4)
    other.labels = LabelSet(("a", "b", "d"))
    with pytest.raises(LabelError, match="bayesian_segnet cannot be averaged with unet: .*a, b, c, the other a, b, d"):
        own.predict(picture(), others=[other])


def test_samples_reach_the_folded_copy_and_the_seed_counts():
    own = segmenter("bayesian_segnet")
    first, again, other = (own.predict(picture(), samples=4, seed=seed).uncertainty for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and first.max() > 0
    assert own.predict(picture()).uncertainty is None
