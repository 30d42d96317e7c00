"""What readers of a page have before they begin, beside the common folder: BEFORE, by the page."""

import copy
import os
import shutil
import types
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from pixelwise.backbones import CLASSIFIERS
from pixelwise.caffe.caffemodel import CaffeLayer, write_caffemodel
from pixelwise.data.sets import cityscapes
from pixelwise.flow import tracking
from pixelwise.flow.demo import draw_demo
from pixelwise.flow.predicting.video import writing
from pixelwise.inference.crf_search import Grid
from pixelwise.inference.export import onnx_model
from pixelwise.labels import LabelSet
from pixelwise.weights.all_formats import WEIGHT_FORMATS
from pixelwise.weights.catalogue import CATALOGUE
from pixelwise.weights.detection import network_of
from pixelwise.weights.export import export_caffemodel
from pixelwise.weights.importing import foreign_tensors
from pixelwise.weights.label_sets import LABEL_SETS
from pixelwise.weights.opening import load

from .layouts import draw_layouts
from .places import MODEL, draw_camvid, draw_sbd, draw_voc, save_picture, tiny_model, write_pets
from .reader import WEIGHTS_WIDTH

GEO = [  # the tags of a GeoTIFF: pixels of 0.5 m, a corner, UTM 33 N
    (33550, 12, 3, (0.5, 0.5, 0.0), True),
    (33922, 12, 6, (0.0, 0.0, 0.0, 440_000.0, 5_400_000.0, 0.0), True),
    (34735, 3, 16, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633), True),
]


def nothing_learned(reader):
    """The page trains the model that it uses."""
    shutil.rmtree("runs", ignore_errors=True)


def nothing(reader):
    """The page draws what it needs."""
    for folder in ("cells", "new-pictures", "runs"):
        shutil.rmtree(folder)


def checking(reader):
    """Masks in which 255 may be void or a class, the same as a zip, and VOC under data/."""
    mask = np.kron(np.array([[0, 3], [255, 1]]), np.ones((24, 32))).astype(np.uint8)
    for file in sorted(Path("cells/masks").iterdir())[:2]:
        Image.fromarray(mask).save(file)
    names = "".join(f"  - {{name: {name}, values: [{value}]}}\n" for value, name in enumerate("abcd"))
    Path("cells/classes.yaml").write_text(f"masks: numbers\nclasses:\n{names}void: [255]\n")
    Path("cells/classes.txt").unlink()
    shutil.make_archive("export", "zip", "cells")
    reader.before["pixelwise convert export.zip cells"] = partial(shutil.rmtree, "cells")
    draw_voc(Path("data/VOCdevkit"))


def correcting(reader):
    """Corrections as the server saves them, and more pictures with masks."""
    from pixelwise.server.corrections import Corrections
    from pixelwise.server.models import open_models

    shutil.copytree("cells", "data")
    models = open_models([str(MODEL)])
    corrections = Corrections(Path("corrections"), models, local=True)
    for image in sorted(Path("cells/images").iterdir())[:4]:
        mask = Path("cells/masks", f"{image.stem}.png")
        saved = corrections.save(models[0], image.read_bytes(), mask.read_bytes(), 10**6, ("", ""))
    assert saved.command == f"pixelwise fit corrections --start {MODEL}"
    for name in "ab":
        shutil.copy(MODEL, f"{name}.safetensors")


def deploying(reader):
    """A model beside the reader, whose graph is followed once for all exports."""
    shutil.copy(MODEL, "model.safetensors")
    graphs = {}

    def once(program, image, outputs):
        key = (image, *outputs)
        if key not in graphs:
            graphs[key] = onnx_model(program, image, outputs)
        return copy.deepcopy(graphs[key])

    for module in ("pixelwise.flow.export", "pixelwise.inference.export_files"):
        reader.patch.setattr(f"{module}.onnx_model", once)


def evaluating(reader):
    """Two models of VOC's classes and one of Cityscapes', and both sets."""
    labels = LabelSet(LABEL_SETS["voc2012"].names)
    for seed, name in enumerate(("model", "a", "b")):
        tiny_model(Path(f"{name}.safetensors"), labels, seed=seed, depth=2)
    tiny_model(Path("city.safetensors"), cityscapes.LABELS, depth=2)
    draw_voc(Path("VOCdevkit"))
    for part, source in (("images", "JPEGImages"), ("masks", "SegmentationClass")):
        Path("data", part).mkdir(parents=True)
        for mask in Path("VOCdevkit/VOC2012/SegmentationClass").iterdir():
            (file,) = Path("VOCdevkit/VOC2012", source).glob(f"{mask.stem}.*")
            shutil.copy(file, Path("data", part, file.name))
    frame = Path("cityscapes/leftImg8bit/test/bonn/bonn_000000_000019_leftImg8bit.png")
    frame.parent.mkdir(parents=True)
    Image.new("RGB", (32, 16)).save(frame)
    reader.patch.setattr("pixelwise.flow.evaluate.RESULT_SIZE", None)


def locating(reader):
    """Pets in folders, the same with masks, and later an old model and new pictures."""
    for name in ("pets", "other-pets", "new-pets"):
        write_pets(Path(name))
    write_pets(Path("masked-pets"), masks=True)

    def earlier():
        Path("old").mkdir()
        shutil.copy("runs/pets/model.safetensors", "old/model.safetensors")

    reader.before["pixelwise fit pets --labels folders --start old/model.safetensors"] = earlier


def predicting(reader):
    """Models with dropout, and a film."""
    for file in (MODEL, "a.safetensors", "b.safetensors", "c.safetensors"):
        tiny_model(Path(file), LabelSet(("background", "leaf", "fruit")), "bayesian_segnet")
    reader.names["segmenter"] = load(MODEL)
    with writing(Path("film.mp4"), 12.5, (16, 16)) as film:
        for value in (40, 220):
            film.write(np.full((16, 16, 3), value, np.uint8))


def refining(reader):
    """A small search; probabilities, scores and features of three classes."""
    reader.patch.setattr("pixelwise.flow.tune_crf.PAPER_GRID", Grid((4.0,), (20.0,), (10.0,)))
    reader.names.update(crf_names())


def crf_names():
    """What a page on the CRF has at hand."""
    rng = np.random.default_rng(0)
    unary = rng.gamma(1.0, 2.0, (3, 20, 30)).astype(np.float32)
    powers = np.exp(-unary)
    sizes = {"num_labels": 3, "height": 20, "width": 30}
    return sizes | {
        "probabilities": powers / powers.sum(0),
        "scores": -unary,
        "unary": unary.reshape(3, -1),
        "features": rng.normal(size=(2, 20, 30)),
        "image": rng.integers(0, 256, (20, 30, 3)).astype(np.uint8),
    }


def scanning(reader):
    """A tiled GeoTIFF, and a large picture."""
    pixels = np.random.default_rng(0).integers(0, 255, (200, 260, 3)).astype(np.uint8)
    tifffile.imwrite("scan.tif", pixels, tile=(64, 64), photometric="rgb", extratags=GEO)
    Image.fromarray(pixels).save("poster.png")


def labeling(reader):
    """Pictures enough for a curve."""
    shutil.rmtree("cells")
    nothing_learned(reader)
    draw_demo(Path("cells"), count=12, size=(48, 64))


def serving(reader):
    """A server at $URL."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    from pixelwise.server.app import create_app
    from pixelwise.server.models import open_models
    from pixelwise.server.running import background
    from pixelwise.server.settings import Settings

    app = create_app(open_models([str(MODEL)]), Settings(threads=1, corrections=Path("corrections")))
    url = reader.stack.enter_context(background(app))
    reader.patch.setenv("URL", url)
    reader.names["URL"] = url
    reader.before[f"pixelwise fit corrections --start {MODEL}"] = partial(correcting_more, url)


def correcting_more(url):
    """Pairs beside the one that the page sends."""
    from pixelwise.server.client import Client

    for image in sorted(Path("cells/images").iterdir())[:4]:
        with Image.open(image) as picture, Image.open(f"cells/masks/{image.stem}.png") as mask:
            Client(url).correct(np.asarray(picture), np.asarray(mask))


def steering(reader):
    """An older model."""
    Path("old").mkdir()
    shutil.copy(MODEL, "old/model.safetensors")
    nothing_learned(reader)


class Tracker:
    """Weights & Biases, MLflow and TensorBoard, as far as the page needs them: remembers what it is told."""

    def __init__(self, told, folder=None):
        self.told = told

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.told.append("ended")

    def add_scalar(self, name, value, step):
        self.told.append((name, value, step))

    def log(self, numbers, step):
        self.told.append((step, *numbers))

    def flush(self):
        pass

    def finish(self):
        self.told.append("ended")


def tracking_runs(reader):
    """Programs that track, played by ones that remember; the data set of a recipe."""
    told = reader.names["told"] = []
    tracker = Tracker(told)
    wandb = types.SimpleNamespace(init=lambda project: tracker)
    mlflow = types.SimpleNamespace(
        start_run=lambda: tracker, log_metrics=tracker.log, log_artifact=lambda path: told.append(path)
    )
    reader.patch.setitem(__import__("sys").modules, "wandb", wandb)
    reader.patch.setitem(__import__("sys").modules, "mlflow", mlflow)
    reader.patch.setattr(tracking, "_summary_writer", lambda: partial(Tracker, told))
    draw_camvid(Path("CamVid"))


def training_by_recipes(reader):
    """CamVid, and VOC."""
    draw_camvid(Path("CamVid"))
    draw_voc(Path("VOC/VOCdevkit"), 2011)
    draw_sbd(Path("VOC"))


FORMATS = (
    "torchvision_deeplab_v3_resnet101",
    "torchvision_fcn_resnet50",
    "berkeley_fcn8s_vgg16",
    "berkeley_fcn8s_atonce_vgg16",
)
SCORE = 'type: "Convolution" bottom: "data" top: "score" convolution_param { num_output: 3 kernel_size: 1 }'
DEPLOY = f'input: "data" input_shape {{ dim: 1 dim: 3 dim: 32 dim: 32 }} layer {{ name: "score" {SCORE} }}'


def narrow_release(reader, name, **options):
    """A published file's record, without its checksum, and a narrow network, which its format takes from now on."""
    record = replace(CATALOGUE[name], digest=None, size=None)
    usual = WEIGHT_FORMATS[record.format]
    made = replace(usual, options=lambda tensors: usual.options(tensors) | {"width": WEIGHTS_WIDTH})
    reader.patch.setitem(CATALOGUE, name, record)
    WEIGHT_FORMATS[record.format] = made
    classes = 1000 if record.classifier else 21
    return record, network_of(record.network, num_classes=classes, width=WEIGHTS_WIDTH, **options)


def published_weights(reader):
    """Narrow networks as published files, here and in the cache; a Caffe network with its prototxt."""
    reader.stack.enter_context(patch.dict(WEIGHT_FORMATS))  # puts them back in their order
    cached = Path(os.environ["PIXELWISE_CACHE"]) / "weights"
    cached.mkdir()
    for name, place in (("torchvision_deeplab_v3_resnet101_voc", cached), ("torchvision_fcn_resnet50_voc", Path())):
        record, network = narrow_release(reader, name, auxiliary=True)
        torch.save(dict(foreign_tensors(network, WEIGHT_FORMATS[record.format])), place / record.file)
    record, network = narrow_release(reader, "fcn8s_vgg16_voc")
    export_caffemodel(network, record.format, record.file)
    (cached / record.file).write_bytes(Path(record.file).read_bytes())
    for name in set(WEIGHT_FORMATS) - set(FORMATS):
        del WEIGHT_FORMATS[name]  # a search through all is tested elsewhere
    caffe_network()
    for part in ("images", "masks"):
        Path("voc-pictures", part).mkdir(parents=True)
    Path("voc-pictures/classes.txt").write_text("\n".join(LABEL_SETS["voc2012"].names) + "\n")
    save_picture("voc-pictures/images/0.png", 0)
    Image.fromarray(np.full((40, 44), 8, np.uint8)).save("voc-pictures/masks/0.png")


def caffe_network():
    """deploy.prototxt and net.caffemodel, of one layer."""
    Path("deploy.prototxt").write_text(DEPLOY)
    score = CaffeLayer("score", "Convolution", (np.ones((3, 3, 1, 1), np.float32), np.zeros(3, np.float32)))
    write_caffemodel("net.caffemodel", [score])


def publishing_weights(reader):
    """Published weights; a fit stops at its plan, which tells what it would begin with."""
    published_weights(reader)
    reader.fit_with = ("--plan-only", "--steps", "1", "--set", "batch_size=1")


def layouts(reader):
    """A folder in each layout; CamVid."""
    shutil.rmtree("cells")
    draw_layouts(Path())
    draw_camvid(Path("CamVid"))


def few_pictures(reader):
    """An older model, a published one, pictures enough for a curve."""
    steering(reader)
    labeling(reader)
    published_weights(reader)


def rare_classes(reader):
    """Pictures with all classes."""
    shutil.rmtree("cells")
    draw_demo(Path("cells"), count=8, size=(96, 128))


def many_channels(reader):
    """TIFFs of five bands and 16 bits."""
    for number in range(6):
        for folder in ("fields/images", "new-scenes")[: 1 + (number < 2)]:
            Path(folder).mkdir(parents=True, exist_ok=True)
            bands = np.random.default_rng(number).integers(0, 4000, (48, 64, 5)).astype(np.uint16)
            options = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": [0] * 4}
            tifffile.imwrite(f"{folder}/{number}.tif", bands, **options)
    shutil.copytree("cells/masks", "fields/masks")
    for number, mask in enumerate(sorted(Path("fields/masks").iterdir())):
        mask.rename(mask.with_name(f"{number}.png")) if number < 6 else mask.unlink()


def own_data(reader):
    """Corrections, as the page of the server would save them."""
    nothing_learned(reader)
    draw_demo(Path("corrections"), count=4, size=(48, 64), seed=1)


def other_classes(reader):
    """An older model, a published one, and pictures of other classes."""
    steering(reader)
    published_weights(reader)
    shutil.copytree("cells", "weeds")
    Path("weeds/classes.txt").write_text("soil\nleaf\nfruit\nweed\nstone\n")


def papers_table(reader):
    """CamVid, VOC and a published network."""
    nothing_learned(reader)
    published_weights(reader)
    draw_camvid(Path("CamVid"))
    draw_voc(Path("VOCdevkit"))


def readme(reader):
    """All that the README speaks of."""
    nothing_learned(reader)
    published_weights(reader)
    draw_camvid(Path("CamVid"))
    shutil.copytree("new-pictures", "scans")
    reader.names.update(crf_names(), classifier=CLASSIFIERS["vgg16"](num_classes=9))


BEFORE = {
    "docs/tutorial/first-segmenter.md": nothing,
    "docs/tutorial/your-own-data.md": own_data,
    "docs/how-to/fine-tune-with-other-classes.md": other_classes,
    "docs/how-to/imbalanced-classes.md": rare_classes,
    "docs/how-to/many-channels-and-tiff.md": many_channels,
    "docs/how-to/own-data-in-each-layout.md": layouts,
    "docs/how-to/reproduce-a-papers-table.md": papers_table,
    "docs/how-to/small-data.md": few_pictures,
    "docs/how-to/train-on-many-processes.md": training_by_recipes,
    "README.md": readme,
    "docs/how-to/check-your-data.md": checking,
    "docs/how-to/correct-and-continue.md": correcting,
    "docs/how-to/deploy-without-torch.md": deploying,
    "docs/how-to/evaluate-by-a-protocol.md": evaluating,
    "docs/how-to/locate-without-masks.md": locating,
    "docs/how-to/predict-many-files.md": predicting,
    "docs/how-to/refine-with-a-crf.md": refining,
    "docs/how-to/segment-huge-images.md": scanning,
    "docs/how-to/serve-a-model.md": serving,
    "docs/how-to/steer-a-fit.md": steering,
    "docs/how-to/track-a-run.md": tracking_runs,
    "docs/how-to/train-a-published-recipe.md": training_by_recipes,
    "docs/how-to/use-published-weights.md": publishing_weights,
    "docs/how-to/how-many-pictures.md": labeling,
}
