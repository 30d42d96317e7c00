"""What must be there when all of a page was typed, beyond that it ran: AFTER, by the page."""

import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pixelwise.caffe.caffemodel import read_caffemodel
from pixelwise.flow.plan import Plan
from pixelwise.weights.opening import load

from .blocks import files_listed
from .places import MODEL
from .reader import small_python


def written(*patterns):
    """Each of these files is there."""
    for pattern in patterns:
        assert list(Path().glob(pattern)), f"nothing wrote {pattern}"


def listed(reader, text, folder=""):
    """The files of the page's tables are there."""
    found = [name for name in files_listed(text) if not re.search(r"[A-Z]{3}", name.partition(".")[0])]
    assert found
    written(*(f"{folder}{name}" for name in found))


def surgery(reader, text):
    """The receptive field is the spec's, and the maps are those that the comments say."""
    assert int(reader.printed[0]) == 404
    with torch.no_grad():
        assert reader.names["network"](torch.zeros(1, 3, 384, 384)).shape == (1, 1000, 24, 24)
    assert "(1, 1000, 6, 6)" in text and "(1, 1000, 24, 24)" in text


def locating(reader, text):
    """Shares of right pictures and heat maps come out."""
    written("new-cats.png")
    (statement,) = re.findall(r"`(result = pw\.fit[^`]*)`", text)
    names = {"pw": __import__("pixelwise")}
    with small_python():
        exec(statement, names)
    assert 0 <= names["result"].scores.accuracy <= 1
    heat = names["result"].segmenter.heatmap("new.jpg", "cats")
    with Image.open("new.jpg") as picture:
        assert heat.shape == picture.size[::-1]
    assert heat.dtype == np.float32


def refining(reader, text):
    """Probabilities add up to 1; a divergence a step was printed."""
    for name in ("refined", "cheap", "marginals"):
        np.testing.assert_allclose(reader.names[name].sum(0), 1, atol=1e-5)
    assert reader.names["labels"].shape == (20, 30)
    assert len(reader.printed[1].split()) == 5
    for folder in ("predictions", "plain", "refined"):
        assert len(list(Path(folder, "mask").iterdir())) == 2


def published_weights(reader, text):
    """The plans say what they begin with; what went back to Caffe is what came."""
    starts = [Plan.load(path).reasons.get("start", "") for path in sorted(Path("runs").glob("cells*/plan.yaml"))]
    assert any("/fcn8s_vgg16_voc-" in start for start in starts)
    assert any(start.startswith("fcn8s.safetensors") for start in starts)
    assert any(start.startswith("random weights: resnet50_imagenet is not on this machine") for start in starts)
    assert "" in starts
    assert reader.names["labels"].ndim == 2
    ours, theirs = read_caffemodel("fcn8s-mine.caffemodel"), read_caffemodel("fcn8s-heavy-pascal.caffemodel")
    for name, layer in theirs.by_name.items():
        for blob, other in zip(layer.blobs, ours.by_name[name].blobs, strict=True):
            np.testing.assert_array_equal(blob, other)


def predicting(reader, text):
    """Every kind that the page asked for is there."""
    assert reader.names["prediction"].uncertainty.ndim == 2
    for kind, file in re.findall(r"^\| `(\w+)` \| `([\w./]+)`", text, re.M):
        if kind in ("mask", "overlay", "uncertainty"):
            written(f"predictions/{file.replace('NAME', 'new_000')}")
    written("predictions/overlay/film.mp4", "predictions/mask/film/000000.png")


def scanning(reader, text):
    """The results of a streamed picture."""
    written(*re.findall(r"`(predictions/(?:mask|overlay)/scan\.\w+)`", text), "mask.tif")


def tracking(reader, text):
    """Both programs were told the numbers of each step, and ended."""
    told = reader.names["told"]
    assert ("loss", "rate") == next(item for item in told if isinstance(item[0], int))[1:3]
    assert any("mean_iou" in item for item in told)
    assert told[-1] == "ended" and told.count("ended") == 2
    assert any(str(item).endswith("model.safetensors") for item in told)


def evaluating(reader, text):
    """Files for the servers, a curve, and a note on how it was counted."""
    written("out/results/VOC2012/Segmentation/comp6_test_cls/*.png", "curve.svg", "out-cityscapes/*.png")
    assert "voc: void pixels are not counted" in reader.printed[-1]


def serving(reader, text):
    """What came back is what the model predicts."""
    with Image.open("mask.png") as mask:
        np.testing.assert_array_equal(np.array(mask), load(MODEL).predict("photo.jpg", confidence=False).labels)
        assert str(mask.size[::-1]) in reader.printed[0]
    written("overlay.png", "photo.json", "confidence.png", "models.json", "runs/corrections/model.safetensors")


def training(reader, text):
    """A run folder with the files of the list."""
    found = re.findall(r"`([\w.]+)`", re.search(r"^- `recipe.yaml`.*?^- `stages", text, re.M | re.S)[0])
    assert len(found) > 5
    written(*(f"runs/segnet_basic_camvid/{name}" for name in found), "runs/fcn16s_vgg16_voc*/stages/*/", "mine.yaml")


AFTER = {
    "docs/how-to/serve-a-model.md": serving,
    "docs/how-to/train-a-published-recipe.md": training,
    "docs/explanation/surgery.md": surgery,
    "docs/how-to/evaluate-by-a-protocol.md": evaluating,
    "docs/how-to/locate-without-masks.md": locating,
    "docs/how-to/predict-many-files.md": predicting,
    "docs/how-to/refine-with-a-crf.md": refining,
    "docs/how-to/segment-huge-images.md": scanning,
    "docs/how-to/track-a-run.md": tracking,
    "docs/how-to/use-published-weights.md": published_weights,
    "docs/how-to/how-many-pictures.md": lambda reader, text: listed(reader, text, "runs/cells/"),
}
