"""A dense CRF behind a network, held to `dense_crf` on the network's own probabilities at full size."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from pixelwise.crf import PRESETS, CRFParameters, dense_crf
from pixelwise.data.sample import Sample
from pixelwise.errors import BadOption, ShapeError, WeightsError
from pixelwise.inference import predict
from pixelwise.inference.evaluate import evaluate_network
from pixelwise.inference.predict import predict_image
from pixelwise.inference.refine import Refinement, preset_for, refine
from pixelwise.labels import LabelSet
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.layers.resample import Resampling

NORMALIZATION = Normalization((120.0,) * 3, (60.0,) * 3)
SETTINGS = CRFParameters(bilateral_sigma_pixels=12, bilateral_sigma_color=20, normalization="after")
CRF = Refinement(SETTINGS, steps=4)


class Coarse(nn.Module):
    """Scores on a quarter of the rows and columns; a random convolution."""

    def __init__(self, classes=3, channels=3, kind="logits"):
        super().__init__()
        torch.manual_seed(5)
        self.score = nn.Conv2d(channels, classes, 4, 4)
        self.kind = kind

    def heads(self, images):
        size = tuple(images.shape[-2:])
        padded = nn.functional.pad(images, (0, -size[1] % 4, 0, -size[0] % 4))
        scores = 3 * self.score(padded)
        scores = scores.softmax(1).bfloat16() if self.kind == "probabilities" else scores
        return {"logits": Head(scores, Resampling.zoom(tuple(scores.shape[-2:]), size, factor=4), self.kind)}


def picture(height=44, width=57, seed=0):
    """Blocks of colors, a little noisy, so that the CRF has something to follow."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 240, (-(-height // 11), -(-width // 11), 3)).repeat(11, 0).repeat(11, 1)[:height, :width]
    return (blocks + rng.integers(0, 15, blocks.shape)).astype(np.uint8)


def full_probabilities(network, image):
    """All of them, in one line."""
    with torch.no_grad():
        return network.heads(NORMALIZATION(image[None]))["logits"].full_size().softmax(1)[0].numpy()


@pytest.mark.parametrize("size", [(1, 1), (44, 57)])
def test_labels_and_confidence_are_those_of_the_dense_crf_on_all_probabilities(size):
    network, image = Coarse().eval(), picture(*size)
    found = predict_image(network, NORMALIZATION, image, confidence=True, refinement=CRF)
    marginals = dense_crf(full_probabilities(network, image), image, SETTINGS, 4)
    assert (found.labels == marginals.argmax(0)).all()
    assert found.labels.dtype == np.uint8
    np.testing.assert_allclose(found.confidence, marginals.max(0), atol=1e-5)
    assert predict_image(network, NORMALIZATION, image, refinement=CRF).confidence is None
    assert size == (1, 1) or (found.labels != predict_image(network, NORMALIZATION, image).labels).any()


def test_a_mirrored_picture_is_averaged_before_the_crf():
    network, image = Coarse().eval(), picture()
    found = predict_image(network, NORMALIZATION, image, flip=True, confidence=True, refinement=CRF)
    mirrored = full_probabilities(network, image[:, ::-1])[..., ::-1]
    marginals = dense_crf((full_probabilities(network, image) + mirrored) / 2, image, SETTINGS, 4)
    assert (found.labels == marginals.argmax(0)).all()
    np.testing.assert_allclose(found.confidence, marginals.max(0), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_the_crf_reads_every_picture_in_levels(dtype):
    image = picture()
    same = (image.astype(np.uint16) * 257) if dtype == np.uint16 else image.astype(np.float32) / 255
    probabilities = full_probabilities(Coarse().eval(), image)
    np.testing.assert_allclose(refine(probabilities, same, CRF), refine(probabilities, image, CRF), atol=1e-4)


def test_a_picture_of_the_size_of_a_tile_is_refined_whole():
    network, image = Coarse().eval(), picture(64, 64)
    whole = predict_image(network, NORMALIZATION, image, confidence=True, refinement=CRF, tile=10_000)
    tiled = predict_image(network, NORMALIZATION, image, confidence=True, refinement=CRF, tile=64)
    assert (whole.labels == tiled.labels).all()
    assert (whole.confidence == tiled.confidence).all()


def test_tiles_are_refined_each_with_its_margin():
    """With widths far below the margin a tile's kept part is nearly what the whole picture gives."""
    network, image = Coarse().eval(), picture(150, 164)
    whole = predict_image(network, NORMALIZATION, image, refinement=CRF)
    network.tiling = (140, 48, 4)  # on the network's own grid, so that only the CRF differs
    tiled = predict_image(network, NORMALIZATION, image, refinement=CRF)
    assert (whole.labels == tiled.labels).mean() > 0.995
    window, inner, place = next(iter(predict.tiles((150, 164), *network.tiling)))
    alone = predict_image(network, NORMALIZATION, image[window], refinement=CRF)
    assert (tiled.labels[place] == alone.labels[inner]).all()


def test_many_classes_are_refined_in_smaller_windows(monkeypatch):
    network, image = Coarse(classes=5).eval(), picture(80, 180)
    whole = predict_image(network, NORMALIZATION, image, confidence=True, refinement=CRF)
    shapes = []
    refined = predict.refine

    def noting(probabilities, *rest):
        shapes.append(probabilities.shape)
        return refined(probabilities, *rest)

    monkeypatch.setattr(predict, "REFINED", 5 * 144**2 // 2)
    monkeypatch.setattr(predict, "MARGIN", 36)
    monkeypatch.setattr(predict, "refine", noting)
    parts = predict_image(network, NORMALIZATION, image, confidence=True, refinement=CRF)
    assert shapes == [(5, 80, 144)] * 2
    assert (whole.labels == parts.labels).mean() > 0.995
    assert np.abs(whole.confidence - parts.confidence).mean() < 0.005


def test_probabilities_in_bfloat16_are_made_to_add_up():
    image = picture()
    rounded = predict_image(Coarse(kind="probabilities").eval(), NORMALIZATION, image, refinement=CRF)
    exact = predict_image(Coarse().eval(), NORMALIZATION, image, refinement=CRF)
    assert (rounded.labels == exact.labels).mean() > 0.9


def test_a_grey_picture_of_one_channel_is_refined():
    network = Coarse(channels=1).eval()
    image = picture()[..., :1]
    grey = Normalization((120.0,), (60.0,))
    with torch.no_grad():
        probabilities = network.heads(grey(image[None]))["logits"].full_size().softmax(1)[0].numpy()
    found = predict_image(network, grey, image, refinement=CRF)
    assert (found.labels == dense_crf(probabilities, image, SETTINGS, 4).argmax(0)).all()


def test_a_network_that_gives_no_numbers_is_named():
    network = Coarse().eval()
    with torch.no_grad():
        network.score.bias[0] = math.nan
    with pytest.raises(WeightsError, match=r"probabilities of scan\.png that are no numbers: its weights are broken"):
        predict_image(network, NORMALIZATION, picture(), refinement=CRF, name="scan.png")


def test_pictures_that_do_not_fit_are_refused():
    probabilities = np.full((2, 4, 5), 0.5, np.float32)
    with pytest.raises(ShapeError, match=r"image is \(5, 4, 3\): expected \(4, 5\)"):
        refine(probabilities, np.zeros((5, 4, 3), np.uint8), CRF)
    with pytest.raises(BadOption, match="a Gaussian is too narrow for the range of its image"):
        refine(probabilities, np.linspace(0, 1e5, 60, dtype=np.float32).reshape(4, 5, 3), CRF)


def test_settings_survive_a_record():
    stored = Refinement(SETTINGS, 7, "tuned on 3 pictures of val: mean IoU +0.012")
    assert Refinement.from_record(stored.to_record()) == stored
    for wrong, match in (
        ({"steps": -1}, "steps is -1: expected a whole number from 0 up"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"steps": True}, "steps is True"),
        ({"origin": None}, "origin is None: expected words"),
        ({"parameters": {"sigma": 1}}, "CRFParameters has no 'sigma'"),
    ):
        with pytest.raises(BadOption, match=match):
            Refinement.from_record(stored.to_record() | wrong)


def test_a_preset_is_the_networks_own_or_the_authors_defaults():
    own = preset_for("deeplab_largefov")
    assert own == Refinement(PRESETS["deeplab_largefov"], 10, "preset deeplab_largefov, not tuned on this data")
    assert preset_for("unet").parameters == PRESETS["deeplab_code"]
    assert (
        own.describe()
        == "a dense CRF (w1 4, σα 121 pixels, σβ 5, w2 3, σγ 3 pixels, normalization after, 10 steps; preset "
        "deeplab_largefov, not tuned on this data)"
    )
    alone = Refinement(CRFParameters(bilateral_weight=0), steps=1)
    assert alone.describe() == "a dense CRF (w2 3, σγ 3 pixels, normalization symmetric, 1 step)"


class Pictures:
    """Two pictures with masks."""

    labels = {"labels": LabelSet(("a", "b", "c"))}  # noqa: RUF012

    def __len__(self):
        return 2

    def __getitem__(self, index):
        image = picture(seed=index)
        return Sample(image, {"labels": (image[..., 0] // 86).astype(np.uint8)}, f"picture {index}")


def test_an_evaluation_counts_the_refined_labels_and_names_the_crf():
    network, data = Coarse().eval(), Pictures()
    found = evaluate_network(network, NORMALIZATION, data, refinement=CRF)
    counts = np.zeros((3, 3), int)
    for index in range(2):
        marginals = dense_crf(full_probabilities(network, data[index].image), data[index].image, SETTINGS, 4)
        np.add.at(counts, (data[index].targets["labels"], marginals.argmax(0)), 1)
    assert (found.scores.confusion == counts).all()
    assert found.protocol.endswith("; labels are those of " + CRF.describe())
    assert "CRF" not in evaluate_network(network, NORMALIZATION, data).protocol


def test_a_picture_with_too_wide_a_range_is_named():
    grey = Normalization((120.0,), (60.0,))
    image = np.linspace(0, 1e5, 60, dtype=np.float32).reshape(6, 10, 1)
    with pytest.raises(BadOption, match=r"scan\.tif cannot be refined: features reach .* a Gaussian is too narrow"):
        predict_image(Coarse(channels=1).eval(), grey, image, refinement=CRF, name="scan.tif")
