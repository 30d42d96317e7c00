"""LabelMe's JSON files become masks."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from pixelwise.data.answers import Answers
from pixelwise.data.decode import image_info
from pixelwise.data.formats.labelme import labelme_layout
from pixelwise.errors import DataError
from pixelwise.labels import LabelSet

SIZE = (40, 60)


def picture(path, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(path)


def shape(label, points, kind="polygon", **more):
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}} | more


def write(path, shapes, image="", size=SIZE, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": image or f"{path.stem}.png"}
    record |= {"imageData": None, "imageHeight": size[0], "imageWidth": size[1]} | more
    path.write_text(json.dumps(record, indent=2), encoding="utf-8")


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def box(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def told(layout):
    return [(fault.severity, fault.kind) for fault in layout.faults]


class TestMasks:
    def test_all_kinds_of_shapes(self, tmp_path):
        picture(tmp_path / "a.png")
        patch = np.array([[255, 0], [255, 255]], np.uint8)
        shapes = [
            shape("road", box(0, 30, 60, 40)),
            shape("car", [[10, 25], [2, 35]], "rectangle"),
            shape("car", box(20, 30, 24, 34), "oriented_rectangle"),
            shape("ball", [[40, 10], [40, 14]], "circle"),
            shape("mast", [[30, 2], [30, 20]], "line"),
            shape("mast", [[50, 2], [50, 10], [50, 20]], "linestrip"),
            shape("ball", [[8, 8]], "point"),
            shape("ball", [[16, 8], [18, 8]], "points"),
            shape("car", [[55, 35], [56, 36]], "mask", mask=png(patch)),
        ]
        del shapes[0]["shape_type"]  # old files have none
        write(tmp_path / "a.json", shapes)
        layout = labelme_layout(tmp_path)
        assert layout.faults == () and layout.labels == (LabelSet(("background", "ball", "car", "mast", "road")),)
        (pair,) = layout.splits["all"]
        assert pair.image == tmp_path / "a.png" and pair.name == "a"
        values, shared = pair.mask.draw()
        y, x = np.mgrid[:40, :60] + 0.5
        expected = np.where(y > 30, 4, 0)
        expected[25:35, 2:10] = expected[30:34, 20:24] = 2
        expected[np.hypot(x - 40, y - 10) <= 4] = 1
        for at, low, high in ((30, 2, 20), (50, 2, 20)):
            expected[np.hypot(x - at, y - y.clip(low, high)) <= 5] = 3
        for at in (8, 16, 18):
            expected[np.hypot(x - at, y - 8) <= 5] = 1
        expected[35, 55] = expected[36, 55] = expected[36, 56] = 2
        np.testing.assert_array_equal(values, expected)
        assert shared == 8 * 5 + 16 + 3 + (np.hypot(x - 40, y - 10) <= 4)[:, 45:].sum()

    def test_background_first_void_and_holes(self, tmp_path):
        picture(tmp_path / "a.png")
        write(
            tmp_path / "a.json",
            [
                shape("zebra", box(0, 0, 30, 30)),
                shape("_background_", box(5, 5, 10, 10)),
                shape("__ignore__", box(20, 20, 25, 25)),
                shape("Ape", box(40, 0, 60, 5)),
            ],
        )
        layout = labelme_layout(tmp_path)
        labels = layout.labels[0]
        assert labels.names == ("background", "Ape", "zebra")
        values, shared = layout.splits["all"][0].mask.draw()
        classes = labels.to_classes(values)
        assert [classes[y, x] for y, x in ((2, 2), (7, 7), (22, 22), (2, 50), (35, 35))] == [2, 0, 255, 1, 0]
        assert shared == 0

    @pytest.mark.parametrize("lines", ["__ignore__\n_background_\nzebra\nape\nowl", "zebra\nape\nowl"])
    def test_order_of_a_list(self, tmp_path, lines):
        picture(tmp_path / "a.png")
        write(tmp_path / "a.json", [shape("ape", box(0, 0, 5, 5)), shape("cow", box(9, 9, 15, 15))])
        picture(tmp_path / "b.png")
        write(tmp_path / "b.json", [shape("ape", box(0, 0, 5, 5))])
        (tmp_path / "labels.txt").write_text(lines, encoding="utf-8")
        layout = labelme_layout(tmp_path)
        assert layout.labels[0].names == ("background", "zebra", "ape", "owl")
        assert told(layout) == [("error", "value")]
        assert "a.json, shape 2 (cow), is of a class that labels.txt does not list" in layout.faults[0].message
        assert [fault.picture for fault in layout.faults] == [tmp_path / "a.png"]
        assert [pair.name for pair in layout.splits["all"]] == ["a", "b"]
        assert layout.splits["all"][1].mask.draw()[0][2, 2] == 2
        assert "classes in the order of labels.txt" in layout.notes

    def test_all_of_unlisted_classes(self, tmp_path):
        picture(tmp_path / "a.png")
        write(tmp_path / "a.json", [shape("cow", box(9, 9, 15, 15))])
        (tmp_path / "labels.txt").write_text("ape", encoding="utf-8")
        with pytest.raises(
            DataError, match=r"none of the 1 JSON file under .* \(cow\), is of a class that labels\.txt"
        ):
            labelme_layout(tmp_path)

    def test_empty_is_background(self, tmp_path):
        for name in "ab":
            picture(tmp_path / f"{name}.png")
        write(tmp_path / "a.json", [])
        write(tmp_path / "b.json", [shape("x", box(0, 0, 9, 9))])
        layout = labelme_layout(tmp_path)
        assert "1 JSON file has no shapes: all background" in layout.notes and not layout.faults
        assert not layout.splits["all"][0].mask.draw()[0].any()

    def test_what_cannot_be_drawn_is_left_out(self, tmp_path):
        picture(tmp_path / "a.png")
        shapes = [
            shape("x", box(0, 0, 9, 9)),
            shape("x", [[0, 0], [5, 5]]),
            shape("x", [[0, 0], [5, float("nan")], [9, 9]]),
            shape("x", box(100, 0, 109, 9)),
            shape("x", [[0, 0], [5, 5], [9, 9]]),
            shape("x", [[0, 0], [5, 5]], "cube"),
            shape("", box(0, 0, 9, 9)),
            "nonsense",
        ]
        write(tmp_path / "a.json", shapes)
        layout = labelme_layout(tmp_path)
        lost = [True, True, False, False, True, True, True]
        assert told(layout) == [("error" if one else "warning", "object") for one in lost]
        assert [fault.picture for fault in layout.faults] == [tmp_path / "a.png" if one else None for one in lost]
        assert layout.faults[0].reason == (
            f"{tmp_path / 'a.json'}, shape 2 (x), has 2 points (expected at least 3), so that a.png is left out"
        )
        assert [fault.reason.split(", ")[2] for fault in layout.faults[1:5]] == [
            "has the coordinate nan (expected pixels)",
            "lies outside the picture",
            "has no area",
            "is a cube (expected circle",
        ]
        assert layout.splits["all"][0].mask.draw()[0].sum() == 81


class TestFiles:
    def test_size_from_the_picture(self, tmp_path):
        picture(tmp_path / "a.png")
        write(tmp_path / "a.json", [shape("x", box(0, 0, 9, 9))], imageHeight=None, imageWidth=None)
        assert labelme_layout(tmp_path).splits["all"][0].mask.draw()[0].shape == SIZE

    @pytest.mark.parametrize("written", ["..\\images\\{}.png", "C:\\Users\\me\\{}.png", "/home/me/{}.png", "{}.png"])
    def test_a_folder_of_their_own_in_splits(self, tmp_path, written):
        for split in ("train", "valid", "test"):
            picture(tmp_path / split / "images" / f"{split}.png")
            write(tmp_path / split / "json" / f"{split}.json", [shape("x", box(0, 0, 9, 9))], written.format(split))
        layout = labelme_layout(tmp_path)
        assert {s: [p.image.parent.parent.name for p in pairs] for s, pairs in layout.splits.items()} == {
            "train": ["train"],
            "val": ["valid"],
            "test": ["test"],
        }
        assert not layout.faults

    def test_renamed_together(self, tmp_path):
        picture(tmp_path / "new.jpg")
        write(tmp_path / "new.json", [], "old.jpg")
        write(tmp_path / "other.json", [shape("x", box(0, 0, 9, 9))], "gone.jpg")
        layout = labelme_layout(tmp_path)
        assert layout.splits["all"][0].image == tmp_path / "new.jpg"
        assert told(layout) == [("error", "missing")]
        assert "other.json is for gone.jpg, which is not there, and holds no imageData" in layout.faults[0].message

    def test_the_picture_inside(self, tmp_path, own_cache):
        write(tmp_path / "a.json", [shape("x", box(0, 0, 9, 9))], "../x/b.png", imageData=png(np.eye(40, 60) > 0))
        layout = labelme_layout(tmp_path)
        (pair,) = layout.splits["all"]
        assert own_cache / "embedded" in pair.image.parents and pair.name == "a"
        assert image_info(pair.image).size == (40, 60)
        assert labelme_layout(tmp_path).splits["all"][0].image == pair.image
        write(tmp_path / "b.json", [], "b.png", imageData="data:image/png;base64,????")
        assert told(labelme_layout(tmp_path)) == [("error", "unreadable")]

    def test_without_json_or_twice(self, tmp_path):
        for name in "ab":
            picture(tmp_path / f"{name}.png")
        write(tmp_path / "a.json", [shape("x", box(0, 0, 9, 9))])
        write(tmp_path / "a2.json", [shape("x", box(0, 0, 9, 9))], "a.png")
        layout = labelme_layout(tmp_path)
        assert told(layout) == [("error", "twin"), ("warning", "orphan")]
        assert "b.png has no JSON and is left out" in layout.faults[1].message

    def test_damaged_and_foreign(self, tmp_path):
        for name in "abc":
            picture(tmp_path / f"{name}.png")
        write(tmp_path / "a.json", [shape("x", box(0, 0, 9, 9))])
        (tmp_path / "b.json").write_text('{"shapes": [\n {"label": ', encoding="utf-8")
        (tmp_path / "c.json").write_text('{"shapes": 3}', encoding="utf-8")
        (tmp_path / "package.json").write_text("{}", encoding="utf-8")
        layout = labelme_layout(tmp_path)
        assert told(layout)[:2] == [("error", "unreadable")] * 2
        assert "b.json is cut off: no JSON from line 2, column 12" in layout.faults[0].message
        assert 'c.json is no JSON of LabelMe; expected "shapes", a list' in layout.faults[1].message
        assert "1 other JSON file passed over" in layout.notes
        (tmp_path / "a.json").unlink()
        with pytest.raises(DataError, match=r"none of the 2 JSON files under .* can be used: .*b\.json is cut off"):
            labelme_layout(tmp_path)

    def test_others(self, tmp_path):
        assert labelme_layout(tmp_path) is None
        picture(tmp_path / "images/a.png")
        (tmp_path / "a.json").write_text('{"images": [], "annotations": []}', encoding="utf-8")
        assert labelme_layout(tmp_path) is None
        write(tmp_path / "json" / "a.json", [])
        assert labelme_layout(tmp_path, Answers.of(["masks=masks"])) is None
        assert labelme_layout(tmp_path, Answers.of(["masks=json"])) is not None
