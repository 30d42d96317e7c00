"""Cityscapes, from files in the format of its authors."""

import json
import logging
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pixelwise.data import open_dataset
from pixelwise.data.find import find_layout
from pixelwise.data.sets.cityscapes import (
    CATEGORIES,
    INSTANCE_CLASSES,
    LABELS,
    TABLE,
    TRAIN_IDS_TO_IDS,
    draw_polygons,
)
from pixelwise.errors import BadOption, DataError, LabelError, ShapeError
from pixelwise.protocols import PROTOCOLS
from pixelwise.protocols import cityscapes as protocol
from pixelwise.protocols.server_files import write_cityscapes_results

SIZE = (20, 30)
TO_TRAIN = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13} | {
    27: 14,
    28: 15,
    31: 16,
    32: 17,
    33: 18,
}


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def to_train(ids):
    """As createTrainIdLabelImgs writes them."""
    return np.array([TO_TRAIN.get(int(i), 255) for i in ids.ravel()], np.uint8).reshape(ids.shape)


def box(left, top, right, bottom):
    """Pillow fills both ends: columns left…right, rows top…bottom."""
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def thing(label, polygon, **more):
    return {"label": label, "polygon": polygon} | more


def write_json(path, objects, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"imgHeight": size[0], "imgWidth": size[1], "objects": objects}))


def frame(root, split, city, number, kinds=("labelIds",), truth="gtFine"):
    """One picture with its masks; its label ids, which hold all 34."""
    random = np.random.default_rng(number)
    name = f"{city}_{number:06d}_000019"
    save(
        root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png",
        random.integers(0, 256, (*SIZE, 3)).astype(np.uint8),
    )
    ids = random.permutation(np.resize(np.arange(34, dtype=np.uint8), SIZE[0] * SIZE[1])).reshape(SIZE)
    forms = {
        "labelIds": ids,
        "labelTrainIds": to_train(ids),
        "color": np.array([row.color for row in TABLE], np.uint8)[ids],
        "instanceIds": ids.astype(np.uint16),
    }
    for kind in kinds:
        save(root / truth / split / city / f"{name}_{truth}_{kind}.png", forms[kind])
    return ids


def test_the_table_serves_the_protocol():
    assert protocol.to_ids(np.arange(19)).tolist() == [*TRAIN_IDS_TO_IDS]
    assert {i: t for t, i in enumerate(TRAIN_IDS_TO_IDS)} == TO_TRAIN
    assert len(CATEGORIES) == 7 and {*protocol.INSTANCE_SIZES} == {*INSTANCE_CLASSES} - {29, 30}
    assert LABELS.names == tuple(name for _, name in protocol.CLASSES)


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
def test_19_classes_are_the_train_ids(tmp_path, kind):
    ids = [frame(tmp_path / "cs", "train", city, n, (kind, "color")) for n, city in enumerate(("aachen", "bonn"))]
    for root in (tmp_path, tmp_path / "cs"):
        data = open_dataset("cityscapes", root)
        assert [data[i].name for i in (0, 1)] == ["aachen_000000_000019", "bonn_000001_000019"]
        for i in (0, 1):
            np.testing.assert_array_equal(data[i].targets["labels"], to_train(ids[i]))
        assert data.labels["labels"].names[13] == "car" and data.labels["labels"].palette[13] == (0, 0, 142)


def test_all_ids(tmp_path):
    ids = frame(tmp_path, "val", "munster", 3)
    data = open_dataset("cityscapes", tmp_path, "val", classes="ids")
    np.testing.assert_array_equal(data[0].targets["labels"], ids)
    labels = data.labels["labels"]
    assert labels.num_classes == 34 and labels.names[18] == "polegroup" and labels.table[-1] == labels.table[255] == 255
    frame(tmp_path, "train", "bonn", 3, ("labelTrainIds", "color"))
    with pytest.raises(DataError, match=r"expected \*_gtFine_labelIds\.png or \*_gtFine_polygons\.json: .*classes='tr"):
        open_dataset("cityscapes", tmp_path, classes="ids")


def test_colors_where_there_is_nothing_else(tmp_path):
    ids = frame(tmp_path, "val", "lindau", 1, ("color",))
    data = open_dataset("cityscapes", tmp_path, "val")
    np.testing.assert_array_equal(data[0].targets["labels"], to_train(np.where(ids == 18, 17, ids)))
    assert "only the colors are there: polegroup counts as pole" in data.describe()


class TestPolygons:
    OBJECTS = (
        thing("road", box(0, 10, 29, 19)),
        thing("car", box(2, 8, 9, 14)),
        thing("license plate", box(4, 12, 6, 13)),
        thing("cargroup", box(12, 8, 18, 14)),
        thing("car", box(8, 9, 13, 12), deleted=0),
        thing("building", box(0, 0, 29, 9), deleted=1),
        thing("polegroup", box(20, 0, 21, 5)),
        thing("skygroup", box(25, 0, 40, 2)),
        thing("bicycle", [[-5, 18], [3, 18], [3, 25], [-5, 25]]),
    )

    def drawn(self, car=26, second=26):
        ids = np.zeros(SIZE, int)
        ids[10:20] = 7
        ids[8:15, 2:10] = car
        ids[8:15, 12:19] = 26
        ids[9:13, 8:14] = second
        ids[:6, 20:22] = 18
        ids[:3, 25:] = 23
        ids[18:, :4] = 33 if car == 26 else 33_000
        return ids

    def test_later_objects_lie_on_top(self, tmp_path):
        write_json(tmp_path / "a.json", self.OBJECTS)
        np.testing.assert_array_equal(draw_polygons(tmp_path / "a.json"), self.drawn())

    def test_any_polygon_is_filled_as_the_script_does(self, tmp_path):
        """In an 8-bit picture; corners may lie outside, be fractions, or be two."""
        random = np.random.default_rng(0)
        rows = [row for row in TABLE if row.id >= 0]
        objects, picture = [], Image.new("L", SIZE[::-1])
        for place in random.integers(0, len(rows), 60):
            corners = (random.random((random.integers(2, 9), 2)) * [50, 40] - 10).round(int(random.integers(0, 2)))
            objects.append(thing(rows[place].name, corners.tolist()))
            ImageDraw.Draw(picture).polygon([tuple(corner) for corner in corners.tolist()], fill=rows[place].id)
        write_json(tmp_path / "a.json", objects)
        np.testing.assert_array_equal(draw_polygons(tmp_path / "a.json"), np.asarray(picture))

    def test_single_objects_are_numbered_and_groups_are_not(self, tmp_path):
        write_json(tmp_path / "a.json", self.OBJECTS)
        found = draw_polygons(tmp_path / "a.json", instances=True)
        np.testing.assert_array_equal(found, self.drawn(26_000, 26_001))

    def test_they_are_the_masks_where_no_ids_are(self, tmp_path):
        frame(tmp_path, "train", "ulm", 5, ("color",))
        write_json(tmp_path / "gtFine/train/ulm/ulm_000005_000019_gtFine_polygons.json", self.OBJECTS)
        data = open_dataset("cityscapes", tmp_path)
        np.testing.assert_array_equal(data[0].targets["labels"], to_train(self.drawn()))
        np.testing.assert_array_equal(data.instances(0), self.drawn(26_000, 26_001))
        assert "masks are drawn from polygons.json" in data.describe()
        assert (pickle.loads(pickle.dumps(data))[0].targets["labels"] == data[0].targets["labels"]).all()
        whole = open_dataset("cityscapes", tmp_path, classes="ids")
        np.testing.assert_array_equal(whole[0].targets["labels"], self.drawn())
        layout = find_layout(tmp_path)
        assert layout.labels == (LABELS,) and layout.rule.endswith("gtFine_polygons")
        np.testing.assert_array_equal(layout.splits["train"][0].mask.draw()[0], self.drawn())

    @pytest.mark.parametrize(
        "text, message",
        [
            ('{"imgHeight": 20, "imgWidth": 30, "objects": [', r"x\.json is cut off: no JSON from line 1, column"),
            ('{"imgHeight": 20, "objects": []}', r"x\.json is no annotation of Cityscapes; expected imgHeight, imgW"),
            ('{"imgHeight": 9e6, "imgWidth": 9e6, "objects": []}', r"x\.json says that it has 9000000 × 9000000 pixel"),
            ('{"imgHeight": 9, "imgWidth": 9, "objects": [{"label": "cat"}]}', r"object 1, has the label 'cat'; expec"),
            ('{"imgHeight": 9, "imgWidth": 9, "objects": [{"label": "car"}]}', r"object 1 \(car\), has no polygon"),
            (
                '{"imgHeight": 9, "imgWidth": 9, "objects": [{"label": "car", "polygon": [[1, 2], [3]]}]}',
                r"object 1 \(car\), has no polygon .*expected a list of \[x, y\]: download it again",
            ),
            (
                '{"imgHeight": 9, "imgWidth": 9, "objects": [{"label": "car", "polygon": [["a", "b"], [1, 2]]}]}',
                r"object 1 \(car\), has no polygon",
            ),
            ('{"imgHeight": 9, "imgWidth": 9, "objects": [3]}', r"object 1, has the label None"),
        ],
    )
    def test_broken(self, tmp_path, text, message):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(DataError, match=message):
            draw_polygons(tmp_path / "x.json")

    def test_another_size(self, tmp_path):
        frame(tmp_path, "train", "ulm", 5, ())
        write_json(tmp_path / "gtFine/train/ulm/ulm_000005_000019_gtFine_polygons.json", [], (5, 5))
        with pytest.raises(ShapeError, match=r"polygons\.json is 5 × 5 but .*leftImg8bit\.png is 20 × 30"):
            open_dataset("cityscapes", tmp_path)[0]


class TestSplits:
    def test_coarse_masks_and_train_extra(self, tmp_path):
        fine = frame(tmp_path, "train", "ulm", 1)
        coarse = frame(tmp_path, "train", "ulm", 1, truth="gtCoarse")
        mask = tmp_path / "gtCoarse/train/ulm/ulm_000001_000019_gtCoarse_labelIds.png"
        save(mask, np.zeros_like(coarse))
        extra = frame(tmp_path, "train_extra", "bayreuth", 2, truth="gtCoarse")
        np.testing.assert_array_equal(open_dataset("cityscapes", tmp_path)[0].targets["labels"], to_train(fine))
        data = open_dataset("cityscapes", tmp_path, masks="coarse")
        assert len(data) == 1 and (data[0].targets["labels"] == 255).all()
        data = open_dataset("cityscapes", tmp_path, "train_extra", masks="coarse")
        np.testing.assert_array_equal(data[0].targets["labels"], to_train(extra))
        with pytest.raises(BadOption, match="train_extra has coarse masks alone; pass masks='coarse'"):
            open_dataset("cityscapes", tmp_path, "train_extra")

    def test_the_dummies_of_the_test_set_are_not_read(self, tmp_path):
        frame(tmp_path, "test", "berlin", 1)
        data = open_dataset("cityscapes", tmp_path, "test")
        assert data[0].targets == {} and "its masks are dummies and are not read" in data.describe()
        with pytest.raises(DataError, match=r"leftImg8bit\.png has no instances: the labels of the test set are not"):
            data.instances(0)
        shutil.rmtree(tmp_path / "gtFine")
        assert len(open_dataset("cityscapes", tmp_path, "test")) == 1
        folder = write_cityscapes_results([(data[0].name, np.arange(19)[None])], tmp_path / "out", size=None)
        written = np.asarray(Image.open(folder / "berlin_000001_000019_leftImg8bit.png"))
        assert written[0].tolist() == [*TRAIN_IDS_TO_IDS]

    def test_archives_unpacked_side_by_side(self, tmp_path):
        ids = frame(tmp_path, "val", "lindau", 1)
        for name in ("leftImg8bit", "gtFine"):
            (tmp_path / f"{name}_trainvaltest").mkdir()
            (tmp_path / name).rename(tmp_path / f"{name}_trainvaltest" / name)
        data = open_dataset("cityscapes", tmp_path, "val")
        np.testing.assert_array_equal(data[0].targets["labels"], to_train(ids))

    def test_other_counts_are_told(self, tmp_path, caplog):
        frame(tmp_path, "val", "lindau", 1)
        with caplog.at_level(logging.WARNING, logger="pixelwise"):
            told = open_dataset("cityscapes", tmp_path, "val").describe()
        assert "has 1 picture here, officially 500" in told and "officially 500" in caplog.text
        assert f"val of {tmp_path}: 1 picture, 19 classes" in told and "gtFine/val/lindau" in told

    def test_what_is_missing(self, tmp_path):
        with pytest.raises(DataError, match=r"no leftImg8bit/val with gtFine/val under .*leftImg8bit is in leftImg8bi"):
            open_dataset("cityscapes", tmp_path, "val")
        frame(tmp_path, "val", "lindau", 1, ())
        with pytest.raises(DataError, match=r"\(gtFine is in gtFine_trainvaltest\.zip, download: https"):
            open_dataset("cityscapes", tmp_path, "val")
        (tmp_path / "gtFine/val/lindau").mkdir(parents=True)
        with pytest.raises(
            DataError, match=r"no picture of val has a mask in .*gtFine/val; expected \*_gtFine_labelId"
        ):
            open_dataset("cityscapes", tmp_path, "val")
        for number in (2, 3):
            frame(tmp_path, "val", "lindau", number)
        expected = r"lindau_000001_000019_leftImg8bit\.png has no mask lindau_000001_000019_gtFine_labelIds\.png in"
        with pytest.raises(DataError, match=expected):
            open_dataset("cityscapes", tmp_path, "val")
        with pytest.raises(DataError, match=r"leftImg8bit_trainextra\.zip"):
            open_dataset("cityscapes", tmp_path, "train_extra", masks="coarse")
        (tmp_path / "leftImg8bit/train").mkdir()
        (tmp_path / "gtFine/train").mkdir()
        with pytest.raises(DataError, match=r"leftImg8bit/train holds no <city>/\*_leftImg8bit\.png"):
            open_dataset("cityscapes", tmp_path)

    def test_wrong_options(self, tmp_path):
        with pytest.raises(BadOption, match="masks is one of fine, coarse, got 'rough'"):
            open_dataset("cityscapes", tmp_path, masks="rough")
        with pytest.raises(BadOption, match="classes is one of train, ids, got 19"):
            open_dataset("cityscapes", tmp_path, classes=19)
        with pytest.raises(DataError, match="has no split 'all'; it has train, val, test, train_extra"):
            open_dataset("cityscapes", tmp_path, "all")

    def test_a_value_that_is_no_id(self, tmp_path):
        frame(tmp_path, "val", "lindau", 1)
        mask = tmp_path / "gtFine/val/lindau/lindau_000001_000019_gtFine_labelIds.png"
        save(mask, np.full(SIZE, 40, np.uint8))
        with pytest.raises(LabelError, match=r"gtFine_labelIds\.png holds the value 40 at row 0, column 0"):
            open_dataset("cityscapes", tmp_path, "val")[0]


def test_instances_are_read_or_drawn(tmp_path):
    ids = frame(tmp_path, "val", "lindau", 1, ("labelIds", "instanceIds"))
    data = open_dataset("cityscapes", tmp_path, "val")
    numbered = np.where(ids == 26, 26_007, ids).astype(np.uint16)
    file = tmp_path / "gtFine/val/lindau/lindau_000001_000019_gtFine_instanceIds.png"
    save(file, numbered)
    assert data.subset([0]).instances(0).dtype == np.int32
    np.testing.assert_array_equal(data.instances(0), numbered)
    file.unlink()
    with pytest.raises(DataError, match=r"there is neither .*instanceIds\.png nor .*polygons\.json beside it"):
        data.instances(0)


@pytest.mark.real
def test_the_real_one(real_data):
    root = real_data / "cityscapes-mini"
    for split, count in (("train", 3), ("val", 2)):
        data = open_dataset("cityscapes", root, split)
        whole = open_dataset("cityscapes", root, split, classes="ids")
        assert len(data) == len(whole) == count
        accumulator = PROTOCOLS["cityscapes"].accumulator(data.labels["labels"])
        for i in range(count):
            path = data.pairs[i].mask
            ids = np.asarray(Image.open(path))
            sample = data[i]
            lookup = np.array([TO_TRAIN.get(value, 255) for value in range(256)])
            np.testing.assert_array_equal(sample.targets["labels"], lookup[ids])
            np.testing.assert_array_equal(whole[i].targets["labels"], ids)
            instances = data.instances(i)
            np.testing.assert_array_equal(np.where(instances >= 1000, instances // 1000, instances), ids)
            assert {*np.unique(instances[instances >= 1000] // 1000).tolist()} <= {*INSTANCE_CLASSES}
            prediction = np.where(sample.targets["labels"] == 255, 0, sample.targets["labels"])
            accumulator.update(prediction, sample.targets["labels"], name=sample.name, instances=instances)
        scores = accumulator.scores()
        assert scores.mean_iou == 1 and scores.extra["mean_instance_iou"] == 1


@pytest.mark.real
def test_real_train_ids(real_data, tmp_path):
    """Of the small frame, whose labelIds and labelTrainIds were reduced apart: 77 pixels of them disagree."""
    root = real_data / "cityscapes-mini"
    name = "val/frankfurt/frankfurt_000000_000294"
    for part in (f"leftImg8bit/{name}_leftImg8bit.png", f"gtFine/{name}_gtFine_labelTrainIds.png"):
        (tmp_path / part).parent.mkdir(parents=True)
        shutil.copy(root / part, tmp_path / part)
    data = open_dataset("cityscapes", tmp_path, "val")
    np.testing.assert_array_equal(data[0].targets["labels"], np.asarray(Image.open(data.pairs[0].mask)))
