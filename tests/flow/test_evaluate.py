"""Evaluating by named data sets and protocols: what is counted, by which rules, and what is written."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

import pixelwise as pw
from pixelwise.data import open_dataset
from pixelwise.data.sample import Sample
from pixelwise.data.sets import cityscapes as cityscapes_set
from pixelwise.data.sets import sift_flow as sift_flow_set
from pixelwise.data.sets import voc as voc_set
from pixelwise.errors import BadOption, DataError, LabelError, UnknownName
from pixelwise.flow.evaluate import check_plot, compare_on_folder, evaluate_folder, plot_trimaps
from pixelwise.inference.evaluate import evaluate_network, usual_protocol
from pixelwise.inference.measures import MEASURES, PLAIN, protocols_of
from pixelwise.inference.predict import predict_image
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.protocols import PROTOCOLS
from pixelwise.protocols.boundaries import TrimapAccumulator
from pixelwise.protocols.boundary_f import BoundaryFAccumulator
from pixelwise.protocols.cityscapes import to_ids
from pixelwise.protocols.intervals import score_difference, score_interval
from pixelwise.protocols.upper_bound import upper_bounds
from pixelwise.segmenter import Segmenter, evaluate_pictures

NORMALIZATION = Normalization((120.0,) * 3, (60.0,) * 3)
SIFT = "spatial_envelope_256x256_static_8outdoorcategories"


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Parts of data sets warn of their counts."""
    caplog.set_level(logging.ERROR, "pixelwise")


def model(labels, builder="unet", seed=0, **options):
    torch.manual_seed(seed)
    options = {"num_classes": labels.num_classes, "width": 0.0625} | options
    network = build(builder, **options)
    for parameter in network.parameters():  # far from all classes being equal
        torch.nn.init.normal_(parameter, 0, 0.3)
    return Segmenter(network.eval(), NORMALIZATION, labels, {"builder": builder, "options": options})


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def segmenter():
    """Two classes, as the folders of `make_folder` have them."""
    return model(LabelSet(("background", "foreground"), table={0: 0, 255: 1}), depth=3)


def write_voc(root, count=3, seed=0, masks=True, year=2012):
    """VOC's layout with val of some pictures, and test of two without masks."""
    home, random = root / f"VOCdevkit/VOC{year}", np.random.default_rng(seed)
    lists = home / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    names = [f"2008_{i:06}" for i in range(count + 2)]
    for name in names:
        image = random.integers(0, 255, (32, 40, 3)).astype(np.uint8)
        save(home / "JPEGImages" / f"{name}.jpg", image)
    (home / "SegmentationClass").mkdir(exist_ok=True)
    for name in names[:count] if masks else []:
        mask = random.integers(0, 21, (8, 10)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
        mask[:, ::13] = 255
        save(home / "SegmentationClass" / f"{name}.png", mask)
    (lists / "val.txt").write_text("\n".join(names[:count]) + "\n")
    (lists / "test.txt").write_text("\n".join(names[count:]) + "\n")
    return root


def write_sift(root):
    random = np.random.default_rng(0)
    for part in ("Images", "SemanticLabels", "GeoLabels"):
        (root / part / SIFT).mkdir(parents=True)
    for name in ("coast_a", "forest_b", "highway_c"):
        save(root / "Images" / SIFT / f"{name}.jpg", random.integers(0, 256, (24, 24, 3)).astype(np.uint8))
        savemat(
            root / "SemanticLabels" / SIFT / f"{name}.mat", {"S": random.integers(0, 34, (24, 24)).astype(np.uint8)}
        )
        savemat(root / "GeoLabels" / SIFT / f"{name}.mat", {"S": random.choice([-1.0, 0.0, 1.0, 2.0, 3.0], (24, 24))})
    (root / "test.txt").write_text("forest_b\nhighway_c\n")
    return root


def write_cityscapes(root, instances=True, size=(24, 40)):
    random = np.random.default_rng(3)
    for frame in ("lindau_000000_000019", "lindau_000001_000019"):
        save(
            root / f"leftImg8bit/val/lindau/{frame}_leftImg8bit.png",
            random.integers(0, 255, (*size, 3)).astype(np.uint8),
        )
        ids = random.integers(0, 34, (size[0] // 4, size[1] // 4)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
        save(root / f"gtFine/val/lindau/{frame}_gtFine_labelIds.png", ids)
        if instances:
            objects = np.where(np.isin(ids, [24, 25, 26]), ids.astype(np.int32) * 1000 + 1, ids).astype(np.uint16)
            save(root / f"gtFine/val/lindau/{frame}_gtFine_instanceIds.png", objects)
    return root


def predictions(segmenter, data):
    return [predict_image(segmenter.engine(), segmenter.normalization, data[i].image).labels for i in range(len(data))]


# protocols


def test_a_named_data_set_is_scored_by_the_papers_protocol_and_any_other_that_is_named(tmp_path):
    segmenter = model(voc_set.LABELS)
    root = write_voc(tmp_path)
    part, plain = evaluate_folder(segmenter, root, dataset="voc2012")
    assert (part, plain.scores.protocol) == ("val", "fcn")
    for name in ("voc", "fcn", "semseg", "torchvision", "refinenet"):
        _, found = evaluate_folder(segmenter, root, dataset="voc2012", split="val", protocol=name)
        counter = PROTOCOLS[name].accumulator(voc_set.LABELS)
        data = open_dataset("voc2012", root, "val")
        for prediction, sample in zip(predictions(segmenter, data), data, strict=True):
            counter.update(prediction, sample.targets["labels"], name=sample.name)
        assert found.scores.to_record() == counter.scores().to_record()
        assert f"scored by {name}: " in found.protocol
    assert plain.scores.confusion.tolist() == counter.scores().confusion.tolist()
    with pytest.raises(UnknownName, match="no protocol is called 'vok'; did you mean 'voc'"):
        evaluate_folder(segmenter, root, dataset="voc2012", protocol="vok")
    with pytest.raises(LabelError, match="protocol camvid is for 11 classes, got 21"):
        evaluate_folder(segmenter, root, dataset="voc2012", protocol="camvid")


class Named:
    def __init__(self, name, *label_sets):
        self.name, self.labels = name, dict(zip(("labels", "geometric"), label_sets, strict=False))


def classes(count):
    return LabelSet(tuple(f"c{i}" for i in range(count)))


def test_the_usual_protocol_is_the_papers_where_it_fits():
    def usual(name, *counts):
        return usual_protocol(Named(name, *map(classes, counts))).name

    assert [usual("pascal_context", n) for n in (60, 59, 33, 459)] == ["context60", "context59", "context33", "fcn"]
    assert usual_protocol(Named("cityscapes", cityscapes_set.LABELS)).name == "cityscapes"
    assert usual_protocol(Named("sift_flow", sift_flow_set.LABELS)).name == "sift_flow"
    assert (usual("camvid", 11), usual("ade20k", 150), usual("nyud_v2", 13)) == ("camvid_segnet", "ade20k", "fcn")
    assert usual("voc2012", 21) == usual("coco", 81) == "fcn"  # voc's mean is no number on parts of VOC
    assert usual_protocol(Named("", classes(3))) is PLAIN


def test_a_plain_evaluation_still_refuses_strange_targets():
    class Strange:
        labels = {"labels": classes(3)}  # noqa: RUF012

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return Sample(np.zeros((8, 8, 3), np.uint8), {"labels": np.full((8, 8), 7, np.uint8)}, "x")

    with pytest.raises(LabelError, match="x holds 7 at row 0, column 0; classes are 0–2"):
        evaluate_pictures(model(classes(3)), Strange())
    found = evaluate_pictures(model(classes(3)), Strange(), protocol="fcn")  # score.py drops them
    assert found.scores.confusion.sum() == 0 and np.isnan(found.pictures[0].mean_iou)


def test_protocols_and_measures_are_named_together():
    assert protocols_of("trimap_void, voc,upper_bound") == (PROTOCOLS["voc"], ("trimap_void", "upper_bound"))
    assert protocols_of(None) == (None, ())
    with pytest.raises(BadOption, match="one protocol at a time, got voc and fcn"):
        protocols_of("voc,fcn")


def test_measures_are_those_of_the_library(tmp_path):
    segmenter, root = model(voc_set.LABELS), write_voc(tmp_path)
    _, found = evaluate_folder(segmenter, root, dataset="voc2012", protocol="voc," + ",".join(MEASURES))
    data = open_dataset("voc2012", root, "val")
    protocol = PROTOCOLS["voc"]
    void = TrimapAccumulator(voc_set.LABELS, around="void", protocol=protocol)
    around = TrimapAccumulator(voc_set.LABELS, around="labels", protocol=protocol)
    one_to_one = BoundaryFAccumulator(voc_set.LABELS, variant="segnet", protocol=protocol)
    dilated = BoundaryFAccumulator(voc_set.LABELS, variant="davis", protocol=protocol)
    for prediction, sample in zip(predictions(segmenter, data), data, strict=True):
        for counter in (void, around, one_to_one, dilated):
            counter.update(prediction, sample.targets["labels"], name=sample.name)
    bounds = upper_bounds(((s.name, s.targets["labels"]) for s in data), voc_set.LABELS, protocol=protocol)
    record = found.to_record()["measures"]
    assert record["trimap_void"] == void.curve().to_record()
    assert record["trimap_labels"] == around.curve().to_record()
    assert record["boundary_segnet"] == one_to_one.scores().to_record()
    assert record["boundary_davis"] == dilated.scores().to_record()
    assert record["upper_bound"]["note"].startswith("targets resampled nearest, void filled")
    assert [b.scores.mean_iou for b in found.measures["upper_bound"]] == pytest.approx(
        [b.scores.mean_iou for b in bounds], nan_ok=True
    )
    plot_trimaps({"mine": replace_measures(found, "trimap_void")}, tmp_path / "curve.svg")
    assert "within Chebyshev distance w of void" in (tmp_path / "curve.svg").read_text()


def replace_measures(found, name):
    return replace(found, measures={name: found.measures[name]})


def test_a_plot_needs_one_kind_of_curve():
    tmp = Path("a.svg")
    check_plot("voc,trimap_void", tmp)
    with pytest.raises(BadOption, match="--plot draws the curve of one of trimap_void and trimap_labels, got neither"):
        check_plot("voc", tmp)
    with pytest.raises(BadOption, match="got trimap_void and trimap_labels; name one"):
        check_plot("trimap_void,trimap_labels", tmp)
    with pytest.raises(BadOption, match=r"plots are written as SVG; got a\.png"):
        check_plot("trimap_void", Path("a.png"))


# data sets with rules of their own


def test_both_heads_of_sift_flow_are_scored(tmp_path):
    root = write_sift(tmp_path)
    segmenter = model(sift_flow_set.LABELS, "fcn32s_two_headed")
    part, found = evaluate_folder(segmenter, root, dataset="sift_flow", scales=(0.5, 1.0))
    assert (part, found.scores.protocol) == ("test", "sift_flow")
    data = open_dataset("sift_flow", root, "test")
    right = counted = 0
    for i in range(len(data)):
        seen = predict_image(
            segmenter.engine(), NORMALIZATION, data[i].image, views=found.views, more=("geometric",)
        ).more["geometric"]
        truth = data[i].targets["geometric"]
        right, counted = right + int((seen == truth).sum()), counted + int((truth != 255).sum())
    assert found.scores.extra == {"geometric_pixel_accuracy": pytest.approx(right / counted)}
    assert found.scores.classes_left_out >= 3  # cow, desert, moon


def test_a_network_without_the_second_head_is_scored_on_the_first(tmp_path):
    _, found = evaluate_folder(model(sift_flow_set.LABELS), write_sift(tmp_path), dataset="sift_flow")
    assert found.scores.extra == {}
    assert found.protocol.endswith("; the head geometric is not scored, as the network has none")


def test_cityscapes_is_scored_by_ids_with_instances_and_written_in_ids(tmp_path, monkeypatch):
    root, segmenter = write_cityscapes(tmp_path / "c"), model(cityscapes_set.LABELS)
    _, found = evaluate_folder(segmenter, root, dataset="cityscapes")
    data = open_dataset("cityscapes", root, "val")
    counter = PROTOCOLS["cityscapes"].accumulator(data.labels)
    labels = predictions(segmenter, data)
    for i, prediction in enumerate(labels):
        counter.update(prediction, data[i].targets["labels"], name=data[i].name, instances=data.instances(i))
    assert found.scores.to_record() == counter.scores().to_record()
    assert set(found.scores.tables) == {"category_iou", "instance_iou", "category_instance_iou"}
    monkeypatch.setattr("pixelwise.flow.evaluate.RESULT_SIZE", None)
    _, same = evaluate_folder(segmenter, root, dataset="cityscapes", results=tmp_path / "out")
    assert same.scores.mean_iou == found.scores.mean_iou
    for prediction, sample in zip(labels, data, strict=True):
        written = np.array(Image.open(tmp_path / "out" / f"{sample.name}_leftImg8bit.png"))
        assert (written == to_ids(prediction)).all()


def test_cityscapes_without_instances_says_so(tmp_path):
    _, found = evaluate_folder(
        model(cityscapes_set.LABELS), write_cityscapes(tmp_path, instances=False), dataset="cityscapes"
    )
    assert set(found.scores.tables) == {"category_iou"}
    assert "no instances are there, so that none are weighted (no iIoU)" in found.protocol


def test_options_of_a_data_set_stand_behind_its_name(tmp_path):
    root = write_cityscapes(tmp_path)
    segmenter = model(cityscapes_set.ID_LABELS)
    _, found = evaluate_folder(segmenter, root, dataset="cityscapes,classes=ids")
    assert found.scores.protocol == "cityscapes"
    with pytest.raises(BadOption, match="the data set cityscapes has no option 'classe'; it takes masks, classes"):
        evaluate_folder(segmenter, root, dataset="cityscapes,classe=ids")
    with pytest.raises(BadOption, match="--dataset takes NAME or NAME,option=value, .*; got 'ids'"):
        evaluate_folder(segmenter, root, dataset="cityscapes,ids")
    with pytest.raises(
        LabelError, match="the model has 34 classes, the data 19; .* class 0, 'unlabeled' of the model, 'road' of"
    ):
        evaluate_folder(segmenter, root, dataset="cityscapes")


# result files


def test_pictures_without_masks_become_result_files(tmp_path):
    segmenter, root = model(voc_set.LABELS), write_voc(tmp_path / "data")
    with pytest.raises(DataError, match="2008_000003 has no mask; evaluation needs one for every picture"):
        evaluate_folder(segmenter, root, dataset="voc2012", split="test")
    part, found = evaluate_folder(segmenter, root, dataset="voc2012", split="test", results=tmp_path / "out")
    assert (part, found.pictures) == ("test", ())
    folder = tmp_path / "out/results/VOC2012/Segmentation/comp6_test_cls"
    assert sorted(p.name for p in folder.iterdir()) == ["2008_000003.png", "2008_000004.png"]
    data = open_dataset("voc2012", root, "test")
    for prediction, sample in zip(predictions(segmenter, data), data, strict=True):
        assert (np.array(Image.open(folder / f"{sample.name}.png")) == prediction).all()
    json.dumps(found.to_record())
    with pytest.raises(BadOption, match=r"out exists already; choose a new folder"):
        evaluate_folder(segmenter, root, dataset="voc2012", split="test", results=tmp_path / "out")
    for name in (None, "camvid"):
        with pytest.raises(BadOption, match="result files are for the test servers of VOC and Cityscapes; give"):
            evaluate_folder(segmenter, root, dataset=name, results=tmp_path / "new")


def test_class_folders_have_no_protocol_and_no_scales(tmp_path, segmenter):
    segmenter.scores = {"counted": "pictures"}
    for options in ({"protocol": "voc"}, {"scales": (0.5, 1)}):
        with pytest.raises(BadOption, match="class folders count whole pictures, seen once or mirrored; leave"):
            evaluate_folder(segmenter, tmp_path, **options)
    with pytest.raises(BadOption, match="two models are compared by mean IoU, which class folders have none of"):
        compare_on_folder(segmenter, segmenter, tmp_path)


# intervals


def test_an_evaluation_has_the_interval_of_its_pictures(tmp_path, make_folder, segmenter):
    _, found = evaluate_folder(segmenter, make_folder(tmp_path / "data", count=5), split="all")
    assert found.interval == score_interval(found.accumulator)
    assert found.interval.low <= found.scores.mean_iou <= found.interval.high
    assert found.to_record()["mean_iou_interval"]["level"] == 0.95
    _, single = evaluate_folder(segmenter, make_folder(tmp_path / "one", count=1), split="all")
    assert single.interval is None and single.to_record()["mean_iou_interval"] is None


def test_two_models_are_compared_on_the_same_pictures(tmp_path, make_folder, segmenter):
    folder = make_folder(tmp_path / "data", count=6)
    other = model(segmenter.labels, seed=4, depth=3)
    found = compare_on_folder(segmenter, other, folder, split="all", flip=True)
    _, first = evaluate_folder(segmenter, folder, split="all", flip=True)
    _, second = evaluate_folder(other, folder, split="all", flip=True)
    assert found.difference == score_difference(first.accumulator, second.accumulator)
    assert found.difference.value == pytest.approx(second.scores.mean_iou - first.scores.mean_iou)
    record = found.to_record()
    assert record["mean_iou"] == round(first.scores.mean_iou, 6)
    assert record["compared"]["mean_iou"] == round(second.scores.mean_iou, 6)
    assert record["mean_iou_difference"]["samples"] == 2000


def test_a_comparison_leaves_out_what_either_model_was_trained_on(tmp_path, make_folder, segmenter):
    folder = make_folder(tmp_path / "data", count=6)
    other = model(segmenter.labels, seed=4, depth=3)
    segmenter.trained_on, other.trained_on = ("img_00",), ("img_03", "img_04")
    found = compare_on_folder(segmenter, other, folder)
    assert [p.name for p in found.first.pictures] == ["img_01", "img_02", "img_05"]
    assert found.first.accumulator.names == found.second.accumulator.names
    with pytest.raises(LabelError, match="the two models have different classes, .* compare models of the same"):
        compare_on_folder(segmenter, model(classes(3)), folder)


def test_the_views_of_an_evaluation_stand_in_its_protocol(tmp_path, make_folder, segmenter):
    folder = make_folder(tmp_path / "data", count=2)
    _, found = evaluate_folder(segmenter, folder, split="all", scales="0.5,1", flip=True)
    assert "; probabilities are averaged over scales 0.5, 1 and mirrored pictures" in found.protocol
    assert found.to_record()["views"]["scales"] == [0.5, 1.0]
    data = open_dataset("folder", folder, "all")
    same = evaluate_network(segmenter.engine(), segmenter.normalization, data, views=found.views)
    assert same.scores.confusion.tolist() == found.scores.confusion.tolist()
    assert pw.evaluate(segmenter, data, scales=(0.5, 1), flip=True).mean_iou == found.scores.mean_iou
