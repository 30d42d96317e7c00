"""COCO's JSON becomes masks."""

import json

import numpy as np
import pytest
from PIL import Image

from pixelwise.data.answers import Answers
from pixelwise.data.formats import coco as module
from pixelwise.data.formats.coco import coco_layout
from pixelwise.errors import DataError

SIZE = (30, 40)
CATEGORIES = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}, {"id": 90, "name": "toothbrush"}]


def picture(path, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(path)


def box(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


def thing(number, image, category, segmentation, **more):
    record = {"id": number, "image_id": image, "category_id": category, "iscrowd": 0, "bbox": [0, 0, 5, 5], "area": 25}
    return record | ({} if segmentation is None else {"segmentation": segmentation}) | more


def write(path, names, annotations, categories=CATEGORIES, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": i, "file_name": name, "height": SIZE[0], "width": SIZE[1]} for i, name in enumerate(names, 1)]
    record = {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(record | more), encoding="utf-8")


def told(layout):
    return [(fault.severity, fault.kind) for fault in layout.faults]


class TestMasks:
    def test_polygons_runs_and_crowds(self, tmp_path):
        """As COCO packs it: gaps between ids, several parts, run lengths as list and as string."""
        for split, name in (("train2017", "000000000009.jpg"), ("val2017", "000000000025.jpg")):
            picture(tmp_path / split / name)
        crowd = np.zeros(SIZE, bool)
        crowd[20:, 30:] = True
        runs = np.diff(np.flatnonzero(np.diff(np.concatenate(([0], crowd.T.ravel(), [0])))), prepend=0).tolist()
        runs += [SIZE[0] * SIZE[1] - sum(runs)]
        write(
            tmp_path / "annotations/instances_train2017.json",
            ["000000000009.jpg"],
            [
                thing(1, 1, 90, [box(0, 0, 2, 2)]),
                thing(2, 1, 18, [box(0, 0, 10, 10), box(20, 0, 25, 5)]),
                thing(3, 1, 1, {"counts": runs, "size": [*SIZE]}, iscrowd=1),
            ],
        )
        write(
            tmp_path / "annotations/instances_val2017.json",
            ["000000000025.jpg"],
            [thing(4, 1, 18, {"counts": "52l01", "size": [*SIZE]})],
        )
        write(tmp_path / "annotations/captions_train2017.json", ["000000000009.jpg"], [], [])
        layout = coco_layout(tmp_path)
        assert told(layout) == [("error", "object")]  # 5 + 2 + 28 + 3 are not the picture's pixels
        assert [fault.picture for fault in layout.faults] == [layout.splits["val"][0].image]
        assert "annotation 4 (dog), has runs of 38 pixels (expected 30 × 40 = 1200)" in layout.faults[0].message
        assert {s: [p.image.name for p in pairs] for s, pairs in layout.splits.items()} == {
            "train": ["000000000009.jpg"],
            "val": ["000000000025.jpg"],
        }
        assert layout.labels[0].names == ("background", "person", "dog", "toothbrush")
        expected = np.where(crowd, 1, 0)
        expected[:10, :10] = expected[:5, 20:25] = 2
        expected[:2, :2] = 3  # the smaller lies on top
        values, shared = layout.splits["train"][0].mask.draw()
        np.testing.assert_array_equal(values, expected)
        assert shared == 4 and values.dtype == np.uint8
        assert "1 region of crowds (iscrowd) are taken as their category" in layout.notes
        assert "the smaller lies on top" in layout.rule

    def test_roboflow(self, tmp_path):
        """One JSON beside the pictures of each split, and a category that only groups the others."""
        categories = [
            {"id": 0, "name": "cells", "supercategory": "none"},
            {"id": 1, "name": "red", "supercategory": "cells"},
            {"id": 2, "name": "white", "supercategory": "cells"},
        ]
        for split in ("train", "valid", "test"):
            picture(tmp_path / split / f"{split}.jpg")
            write(
                tmp_path / split / "_annotations.coco.json",
                [f"{split}.jpg"],
                [thing(0, 1, 2, [box(0, 0, 3, 3)])],
                categories,
            )
        layout = coco_layout(tmp_path)
        assert list(layout.splits) == ["train", "val", "test"] and not layout.faults
        assert layout.labels[0].names == ("background", "red", "white")
        assert layout.splits["val"][0].mask.draw()[0].sum() == 18

    def test_label_studio(self, tmp_path):
        picture(tmp_path / "images/1a-photo.png")
        picture(tmp_path / "images/2b-photo.png")
        names = ["images\\1a-photo.png", "../../label-studio/data/images/2b-photo.png"]
        categories = [{"id": 0, "name": "Background"}, {"id": 1, "name": "ignore"}, {"id": 2, "name": "leaf"}]
        write(
            tmp_path / "result.json",
            names,
            [
                thing(0, 1, 2, [box(0, 0, 9, 9)]),
                thing(1, 1, 0, [box(1, 1, 3, 3)]),
                thing(2, 1, 1, [box(5, 5, 6, 6)]),
            ],
            categories,
        )
        layout = coco_layout(tmp_path)
        assert layout.labels[0].names == ("background", "leaf")
        values, shared = layout.splits["all"][0].mask.draw()
        assert [values[0, 0], values[2, 2], values[5, 5], values[20, 20]] == [1, 0, 255, 0] and shared == 0
        assert "1 picture has no annotations: all background" in layout.notes
        assert not layout.faults

    def test_what_cannot_be_drawn(self, tmp_path):
        picture(tmp_path / "a.png")
        annotations = [
            thing(1, 1, 1, [box(0, 0, 9, 9), [1, 1, 2, 2]]),  # one part is sound
            thing(2, 1, 1, [[1, 1, 2, 2, 3]]),
            thing(3, 1, 1, [box(90, 90, 99, 99)]),
            thing(4, 1, 1, [box(0, 0, 9, 9), box(0.6, 0.6, 0.7, 0.7)]),  # a speck of a larger object
            thing(5, 1, 1, []),
            thing(6, 1, 1, {"counts": [1200], "size": [9, 9]}),
            thing(7, 1, 1, "x"),
            thing(8, 1, 1, box(10, 10, 12, 12)),  # not in a list of parts
        ]
        write(tmp_path / "a.json", ["a.png"], annotations)
        layout = coco_layout(tmp_path)
        assert [(fault.severity, int(fault.reason.split("annotation ")[1][0])) for fault in layout.faults] == [
            ("error", 1),
            ("error", 2),
            ("warning", 3),
            ("error", 5),
            ("error", 6),
            ("error", 7),
        ]
        for fault in layout.faults:
            assert fault.kind == "object" and fault.path == tmp_path / "a.json"
            assert fault.picture == (tmp_path / "a.png" if fault.severity == "error" else None)
        assert layout.splits["all"][0].mask.draw()[0].sum() == 85  # the pair stays; the doctor leaves it out
        assert layout.faults[3].message.endswith(
            "annotation 5 (person), has no segmentation (a box is no mask), so that a.png is left out; draw it again, "
            "or remove it if nothing is there"
        )

    def test_polygons_looked_at_together_are_as_each_by_itself(self, tmp_path, monkeypatch):
        picture(tmp_path / "a.png")
        random = np.random.default_rng(0)
        annotations = []
        for number in range(400):
            corners = (
                random.random(2) * [60, 50]
                - 10
                + random.random((random.integers(2, 7), 2)) * random.choice([0.4, 3, 20])
            )
            corners = corners.round(int(random.integers(0, 3)))
            if random.random() < 0.3:
                corners = np.concatenate([corners, corners[:1]])
            part = corners.ravel().tolist()
            if random.random() < 0.1:
                part[2] = [None, "3", "x", True, float("nan"), 1e9, 1e300, 10**400, [1]][number % 9]
            parts = [part, box(0, 0, 1, 1)][: 1 + number % 2]
            annotations.append(thing(number, 1, int(random.choice([1, 18, 90])), parts))
        write(tmp_path / "a.json", ["a.png"], annotations)
        together = coco_layout(tmp_path)
        monkeypatch.setattr(module._SoundPolygons, "ring", lambda self, part, size: None)
        alone = coco_layout(tmp_path)
        assert together.faults == alone.faults and len(alone.faults) > 40
        (one,), (other,) = together.splits["all"], alone.splits["all"]
        assert len(one.mask.shapes) == len(other.mask.shapes) > 200
        assert one.mask.key == other.mask.key  # a digest of all shapes in their order
        np.testing.assert_array_equal(one.mask.draw()[0], other.mask.draw()[0])

    def test_a_lost_object_spoils_its_picture_alone(self, tmp_path):
        """One box among outlines, as Roboflow packs them: its picture would teach that the object is background."""
        for name in "ab":
            picture(tmp_path / f"{name}.png")
        annotations = [thing(1, 1, 1, [box(0, 0, 9, 9)]), thing(2, 1, 18, []), thing(3, 2, 1, [box(0, 0, 9, 9)])]
        write(tmp_path / "x.json", ["a.png", "b.png"], annotations)
        layout = coco_layout(tmp_path)
        assert [(fault.severity, fault.picture) for fault in layout.faults] == [("error", tmp_path / "a.png")]
        assert [pair.name for pair in layout.splits["all"]] == ["a", "b"]


class TestFiles:
    def test_unknown_ids(self, tmp_path):
        picture(tmp_path / "a.png")
        annotations = [thing(1, 1, 1, [box(0, 0, 9, 9)]), thing(2, 7, 1, [box(0, 0, 9, 9)])]
        write(tmp_path / "a.json", ["a.png"], [*annotations, thing(3, 1, 5, [box(0, 0, 9, 9)])])
        layout = coco_layout(tmp_path)
        assert told(layout) == [("error", "value"), ("warning", "orphan")]
        assert "annotation 3, is of the category id 5, which the file does not list, so that a.png is left out" in str(
            layout.faults[0]
        )
        assert layout.faults[0].picture == tmp_path / "a.png"
        assert "1 annotation of pictures that it does not list, the first (id 2) of the image id 7" in str(
            layout.faults[1]
        )

    @pytest.mark.parametrize("place", ["categories", "category_id", "images", "image_id"])
    def test_ids_as_text(self, tmp_path, place):
        """7 here and "7" there are one."""
        picture(tmp_path / "a.png")
        write(tmp_path / "a.json", ["a.png"], [thing(1, 1, 18, [box(0, 0, 9, 9)])])
        record = json.loads((tmp_path / "a.json").read_text())
        rows, key = (record[place], "id") if place in record else (record["annotations"], place)
        for row in rows:
            row[key] = str(row[key])
        (tmp_path / "a.json").write_text(json.dumps(record))
        layout = coco_layout(tmp_path)
        assert not layout.faults and layout.splits["all"][0].mask.draw()[0].sum() == 2 * 81
        assert layout.labels[0].names == ("background", "person", "dog", "toothbrush")
        what = "category" if place.startswith("cat") else "image"
        assert layout.notes == (f"a.json has {what} ids as numbers and as text; they are matched by their text",)

    def test_two_ids_with_one_text(self, tmp_path):
        picture(tmp_path / "a.png")
        write(tmp_path / "a.json", ["a.png"], [], [{"id": 1, "name": "x"}, {"id": "1", "name": "y"}])
        with pytest.raises(DataError, match="gives the category id 1 twice"):
            coco_layout(tmp_path)

    def test_missing_left_over_and_twice(self, tmp_path):
        picture(tmp_path / "a.png")
        picture(tmp_path / "b.png")
        write(tmp_path / "a.json", ["a.png", "gone.png", "x/a.png"], [thing(1, 1, 1, [box(0, 0, 9, 9)])])
        layout = coco_layout(tmp_path)
        assert told(layout) == [("error", "missing"), ("error", "twin"), ("warning", "orphan")]
        assert "a.json lists gone.png, but there is no such file" in layout.faults[0].message

    def test_a_split_that_was_not_downloaded(self, tmp_path):
        picture(tmp_path / "val2017/a.jpg")
        write(tmp_path / "annotations/instances_val2017.json", ["a.jpg"], [thing(1, 1, 1, [box(0, 0, 9, 9)])])
        write(tmp_path / "annotations/instances_train2017.json", ["b.jpg"], [thing(1, 1, 1, [box(0, 0, 9, 9)])])
        layout = coco_layout(tmp_path)
        assert list(layout.splits) == ["val"] and not layout.faults
        assert "instances_train2017.json is passed over: none of its 1 picture is here" in layout.notes

    def test_refused(self, tmp_path):
        picture(tmp_path / "a.png")
        write(tmp_path / "a.json", ["a.png"], [thing(1, 1, 1, None), thing(2, 1, 1, [])])
        with pytest.raises(DataError, match=r"a\.json holds boxes only; .* boxes are not masks"):
            coco_layout(tmp_path)
        segments = {"image_id": 1, "file_name": "a.png", "segments_info": []}
        write(tmp_path / "a.json", ["a.png"], [segments])
        with pytest.raises(DataError, match=r"a\.json is a panoptic JSON, .*: use instances_\*\.json, or write"):
            coco_layout(tmp_path)
        write(tmp_path / "a.json", ["gone.png"], [thing(1, 1, 1, [box(0, 0, 9, 9)])])
        with pytest.raises(DataError, match=r"none of the pictures of .*a\.json can be used: .* lists gone\.png"):
            coco_layout(tmp_path)
        (tmp_path / "a.json").write_text('{"images": [{"file_name": "a.png"', encoding="utf-8")
        with pytest.raises(DataError, match=r"a\.json is cut off: no JSON from line 1, column 34"):
            coco_layout(tmp_path)
        write(tmp_path / "a.json", ["a.png"], [], [{"id": "one", "name": "x"}])
        with pytest.raises(DataError, match=r'category 1, has no whole "id" or no "name"'):
            coco_layout(tmp_path)

    def test_files_that_disagree(self, tmp_path):
        for split in ("train", "val"):
            picture(tmp_path / split / f"{split}.png")
            write(
                tmp_path / split / "x.json",
                [f"{split}.png"],
                [thing(1, 1, 1, [box(0, 0, 9, 9)])],
                [{"id": 1, "name": split}],
            )
        with pytest.raises(DataError, match=r"x\.json calls the category 1 train, .*x\.json calls it val; which"):
            coco_layout(tmp_path)

    def test_others(self, tmp_path):
        assert coco_layout(tmp_path) is None
        picture(tmp_path / "a.png")
        (tmp_path / "a.json").write_text('{"categories": [], "file_name": "a"}', encoding="utf-8")
        assert coco_layout(tmp_path) is None
        write(tmp_path / "b.json", ["a.png"], [thing(1, 1, 1, [box(0, 0, 9, 9)])])
        assert coco_layout(tmp_path, Answers.of(["masks=masks"])) is None
        assert coco_layout(tmp_path, Answers.of(["masks=b.json"])) is not None
