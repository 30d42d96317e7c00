"""COCO's objects as classes, from files in the official format."""

import json
import logging
import os
import pickle

import cv2
import numpy as np
import pytest
from PIL import Image

from pixelwise.data import open_dataset
from pixelwise.data.formats import coco_index as module
from pixelwise.data.formats.coco_index import coco_index
from pixelwise.data.sets.coco import VOC_CLASSES
from pixelwise.data.sets.voc import LABELS as VOC_LABELS
from pixelwise.errors import BadOption, DataError, ShapeError

SIZE = (60, 80)
CAT_LIST = [0, 5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72]  # torchvision's
IDS = sorted({*range(1, 91)} - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
NAMES = {i: f"thing {i}" for i in IDS} | VOC_CLASSES
PERSON, DOG, KITE, HAIR_DRIER = 1, 18, 38, 89


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    """Each test is a process of its own."""
    monkeypatch.setattr(module, "_KNOWN", {})


def box(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


def encoded(mask):
    """Run lengths down the columns, the first of zeros."""
    flat = mask.T.ravel().astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flat, [0]))))
    edges = edges[edges < flat.size]
    return np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()


def compressed(counts):
    """COCO's string, as cocoapi's rleToString writes it."""
    text = ""
    for i, count in enumerate(counts):
        x = count - (counts[i - 2] if i > 2 else 0)
        more = True
        while more:
            c = x & 31
            x >>= 5
            more = x != -1 if c & 16 else x != 0
            text += chr((c | 32 if more else c) + 48)
    return text


def thing(image, category, segmentation, area=1500.0, **more):
    return {"image_id": image, "category_id": category, "segmentation": segmentation, "area": area, "iscrowd": 0} | more


def write(root, annotations, split="train", year=2017, images=(9, 25), folder=None, categories=NAMES):
    """The JSON of a split, and its pictures; the objects are numbered."""
    name = f"{split}{year}"
    files = {i: f"COCO_{name}_{i:012d}.jpg" if year == 2014 else f"{i:012d}.jpg" for i in images}
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / (folder or name)).mkdir(parents=True, exist_ok=True)
    for file in files.values():
        Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(root / (folder or name) / file)
    record = {
        "info": {"year": year},
        "images": [{"id": i, "file_name": file, "height": SIZE[0], "width": SIZE[1]} for i, file in files.items()],
        "categories": [{"id": i, "name": n, "supercategory": "x"} for i, n in categories.items()],
        "annotations": [{"id": i} | annotation for i, annotation in enumerate(annotations, 1)],
    }
    stem = f"image_info_{name}" if split == "test" else f"instances_{name}"
    path = root / "annotations" / f"{stem}.json"
    path.write_text(json.dumps(record))
    return path


def areas(*boxes):
    """Where integer boxes are."""
    mask = np.zeros(SIZE, bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return mask


class TestVoc:
    def test_the_classes_are_torchvisions(self):
        assert [0, *VOC_CLASSES] == CAT_LIST
        same = {"airplane": "aeroplane", "dining table": "diningtable", "motorcycle": "motorbike"} | {
            "potted plant": "pottedplant",
            "couch": "sofa",
            "tv": "tvmonitor",
        }
        assert tuple(same.get(name, name) for name in VOC_CLASSES.values()) == VOC_LABELS.names[1:]

    def test_objects_become_vocs_classes_and_overlaps_void(self, tmp_path):
        """Two objects of one class overlap, too; what is no class of VOC's neither shows nor overlaps."""
        crowd = areas((60, 30, 80, 60))
        annotations = [
            thing(9, PERSON, [box(0, 0, 20, 20), box(30, 0, 40, 10)]),
            thing(9, PERSON, [box(10, 10, 30, 30)]),
            thing(9, DOG, [box(35, 5, 50, 15)]),
            thing(9, KITE, [box(0, 0, 45, 45)]),
            thing(9, PERSON, {"counts": encoded(crowd), "size": [*SIZE]}, iscrowd=1),
            thing(9, DOG, {"counts": compressed(encoded(areas((55, 50, 65, 60)))), "size": [*SIZE]}),
        ]
        write(tmp_path / "coco", annotations)
        for root in (tmp_path, tmp_path / "coco"):
            data = open_dataset("coco", root)
            assert data.labels["labels"] is VOC_LABELS and [pair.name for pair in data.pairs] == ["000000000009"]
            persons = areas((0, 0, 20, 20), (30, 0, 40, 10)).astype(int) + areas((10, 10, 30, 30)) + crowd
            dogs = areas((35, 5, 50, 15)).astype(int) + areas((55, 50, 65, 60))
            expected = np.where(dogs > 0, 12, np.where(persons > 0, 15, 0))
            expected[persons + dogs > 1] = 255
            np.testing.assert_array_equal(data[0].targets["labels"], expected)
            assert data[0].image.shape == (*SIZE, 3)

    def test_two_parts_of_one_object_do_not_overlap(self, tmp_path):
        write(tmp_path, [thing(9, DOG, [box(0, 0, 20, 20), box(10, 10, 30, 30)])])
        target = open_dataset("coco", tmp_path)[0].targets["labels"]
        np.testing.assert_array_equal(target, np.where(areas((0, 0, 20, 20), (10, 10, 30, 30)), 12, 0))

    def test_more_than_1000_pixels_are_trained_on(self, tmp_path):
        annotations = [
            thing(1, PERSON, [box(0, 0, 5, 5)], 600.25),
            thing(1, DOG, [box(0, 0, 5, 5)], 399.75),  # 1000 together: too few
            thing(2, PERSON, [box(0, 0, 5, 5)], 600.25),
            thing(2, DOG, [box(0, 0, 5, 5)], 399.76),
            thing(3, KITE, [box(0, 0, 5, 5)], 9000.0),
            thing(4, KITE, [box(0, 0, 5, 5)], 9000.0),
            thing(4, PERSON, [box(0, 0, 5, 5)], 3.0),
            thing(6, PERSON, [box(0, 0, 5, 5)], 1001.0),
        ]
        for split in ("train", "val"):
            write(tmp_path, annotations, split, images=(6, 5, 4, 3, 2, 1))
        data = open_dataset("coco", tmp_path)
        assert [int(pair.name) for pair in data.pairs] == [2, 6]
        assert "2 of 6 pictures have more than 1000 pixels of VOC's classes; the others are left out" in data.describe()
        data = open_dataset("coco", tmp_path, "val")
        assert [int(pair.name) for pair in data.pairs] == [1, 2, 3, 4, 5, 6]
        assert not data[4].targets["labels"].any() and "1 picture has no annotations: all backg" in data.describe()
        assert len(open_dataset("coco", tmp_path, classes="own")) == 6

    @pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools' own
    def test_as_torchvision_and_cocoapi(self, tmp_path):
        """Run lengths are the same; outlines of polygons differ by at most a pixel."""
        masks = pytest.importorskip("pycocotools.mask")
        random = np.random.default_rng(0)
        annotations = []
        for _ in range(12):
            turn = np.sort(random.random(9)) * 2 * np.pi
            points = np.clip(random.random(2) * [80, 60] + 14 * np.c_[np.cos(turn), np.sin(turn)], 0, [80, 60])
            category = int(random.choice([PERSON, DOG, KITE]))
            annotations.append(thing(9, category, [points.round(2).ravel().tolist()]))
        rough = cv2.resize(random.random((6, 8)), SIZE[::-1]) > 0.7
        annotations.append(thing(25, PERSON, {"counts": encoded(rough), "size": [*SIZE]}, iscrowd=1))
        write(tmp_path, annotations)
        data = open_dataset("coco", tmp_path)

        def torchvision(image):
            chosen = [a for a in annotations if a["image_id"] == image and a["category_id"] in CAT_LIST]
            found = []
            for annotation in chosen:
                mask = masks.decode(masks.frPyObjects(annotation["segmentation"], *SIZE))
                found.append((mask if mask.ndim == 3 else mask[..., None]).any(axis=2))
            found = np.stack(found).astype(np.uint8)
            numbers = np.array([CAT_LIST.index(a["category_id"]) for a in chosen], np.uint8)
            target = (found * numbers[:, None, None]).max(0)
            target[found.sum(0) > 1] = 255
            return target

        np.testing.assert_array_equal(data[1].targets["labels"], torchvision(25))
        ours, theirs = data[0].targets["labels"], torchvision(9)
        assert 0 < (ours != theirs).mean() < 0.1
        near = np.ones((3, 3), np.uint8)
        for value in np.unique(theirs):
            for one, other in ((ours, theirs), (theirs, ours)):
                assert not ((one == value) & (cv2.dilate((other == value).astype(np.uint8), near) == 0)).any()

    def test_other_numbers_are_refused(self, tmp_path):
        write(tmp_path, [thing(9, 1, [box(0, 0, 5, 5)])], categories={1: "person", 5: "bus"})
        with pytest.raises(DataError, match=r"calls 'bus' the category 5, which is airplane in COCO; .*classes='own'"):
            open_dataset("coco", tmp_path)
        write(tmp_path, [thing(9, 1, [box(0, 0, 5, 5)])], categories={1: "person"})
        with pytest.raises(DataError, match=r"lists no category 5, which is airplane in COCO"):
            open_dataset("coco", tmp_path)
        assert open_dataset("coco", tmp_path, classes="own").labels["labels"].names == ("background", "person")

    def test_an_area_that_is_missing(self, tmp_path):
        write(tmp_path, [thing(25, DOG, [box(0, 0, 5, 5)], None)])
        with pytest.raises(DataError, match=r"gives no area for an object in 000000000025\.jpg, by which"):
            open_dataset("coco", tmp_path)


class TestOwn:
    def test_80_classes_by_their_ids(self, tmp_path):
        annotations = [
            thing(9, HAIR_DRIER, [box(0, 0, 10, 10)]),
            thing(9, PERSON, [box(0, 0, 40, 40)]),
            thing(9, KITE, [box(30, 30, 50, 50)]),
            thing(9, 90, {"counts": encoded(areas((70, 50, 80, 60))), "size": [*SIZE]}, iscrowd=1),
        ]
        write(tmp_path, annotations)
        data = open_dataset("coco", tmp_path, classes="own")
        labels = data.labels["labels"]
        assert labels.num_classes == 81 and labels.names[80] == NAMES[90] and labels.names[1] == "person"
        expected = np.where(areas((0, 0, 40, 40)), 1, 0)
        expected[areas((30, 30, 50, 50))] = 1 + IDS.index(KITE)  # the smaller lies on top
        expected[areas((0, 0, 10, 10))] = 1 + IDS.index(HAIR_DRIER)
        expected[areas((70, 50, 80, 60))] = 80
        np.testing.assert_array_equal(data[0].targets["labels"], expected)
        assert not data[1].targets["labels"].any()
        assert "1 region of crowds (iscrowd) are taken as their category" in data.describe()

    def test_names_that_stand_twice(self, tmp_path):
        write(tmp_path, [], categories={1: "cup", 2: "cup"})
        with pytest.raises(DataError, match=r"calls two categories cup; rename one"):
            open_dataset("coco", tmp_path, classes="own")


class TestFiles:
    def test_years_and_folders(self, tmp_path):
        annotation = [thing(9, DOG, [box(0, 0, 40, 40)])]
        write(tmp_path, annotation, year=2014)
        assert open_dataset("coco", tmp_path).pairs[0].image.name == "COCO_train2014_000000000009.jpg"
        write(tmp_path, annotation, folder="images/train2017")
        data = open_dataset("coco", tmp_path)
        assert data.pairs[0].image == tmp_path / "images/train2017/000000000009.jpg"
        assert len(open_dataset("coco", tmp_path, year=2014, classes="own")) == 2

    def test_a_list_without_annotations(self, tmp_path):
        path = write(tmp_path, [], "test")
        record = json.loads(path.read_text())
        del record["annotations"]
        path.write_text(json.dumps(record))
        for classes in ("voc", "own"):
            data = open_dataset("coco", tmp_path, "test", classes=classes)
            assert len(data) == 2 and data[0].targets == {} and data.labels["labels"].num_classes in (21, 81)
        assert "the annotations of the test set are not published" in data.describe()

    def test_gray_pictures_are_repeated(self, tmp_path):
        write(tmp_path, [thing(9, DOG, [box(0, 0, 40, 40)])])
        Image.fromarray(np.full(SIZE, 9, np.uint8)).save(tmp_path / "train2017/000000000009.jpg")
        assert open_dataset("coco", tmp_path)[0].image.shape == (*SIZE, 3)

    def test_a_picture_of_another_size(self, tmp_path):
        write(tmp_path, [thing(9, DOG, [box(0, 0, 40, 40)])])
        Image.fromarray(np.full((5, 5), 9, np.uint8)).save(tmp_path / "train2017/000000000009.jpg")
        with pytest.raises(
            ShapeError, match=r"instances_train2017\.json \(0+9\.jpg\) is 60 × 80 but .*0+9\.jpg is 5 ×"
        ):
            open_dataset("coco", tmp_path)[0]

    def test_other_counts_are_told(self, tmp_path, caplog):
        write(tmp_path, [], "val")
        with caplog.at_level(logging.WARNING, logger="pixelwise"):
            told = open_dataset("coco", tmp_path, "val").describe()
        assert "val of COCO 2017" in told and "has 2 pictures here, officially 5000" in told
        assert "officially 5000" in caplog.text and "val2017 with masks from" in told

    def test_what_is_missing(self, tmp_path):
        expected = r"no annotations/instances_train2017\.json or annotations/instances_train2014\.json under .*; pass"
        with pytest.raises(DataError, match=expected):
            open_dataset("coco", tmp_path)
        with pytest.raises(
            DataError, match=r"no annotations/image_info_test2014\.json under .*image_info_test2014\.zip"
        ):
            open_dataset("coco", tmp_path, "test", year=2014)
        write(tmp_path, [thing(9, DOG, [box(0, 0, 40, 40)])])
        (tmp_path / "train2017/000000000025.jpg").unlink()
        with pytest.raises(
            DataError, match=r"train2017 lacks 1 of the 2 pictures that .*, the first is 0+25\.jpg; unpa"
        ):
            open_dataset("coco", tmp_path)
        (tmp_path / "train2017").rename(tmp_path / "pictures")
        with pytest.raises(DataError, match=r"no train2017 or images/train2017 in .*; unpack train2017\.zip there"):
            open_dataset("coco", tmp_path)

    def test_wrong_options(self, tmp_path):
        with pytest.raises(BadOption, match="classes is one of voc, own, got 'all'"):
            open_dataset("coco", tmp_path, classes="all")
        with pytest.raises(BadOption, match="year is 2017 or 2014, got 2015"):
            open_dataset("coco", tmp_path, year=2015)
        with pytest.raises(DataError, match="has no split 'minival'; it has train, val, test"):
            open_dataset("coco", tmp_path, "minival")

    @pytest.mark.parametrize(
        "annotation, message",
        [
            (thing(9, DOG, []), r"annotation 1 \(dog\), has no segmentation; a box is no mask"),
            (thing(9, DOG, None), r"annotation 1 \(dog\), has no segmentation"),
            (thing(9, DOG, [[1, 2, 3, 4, 5, 6, 7]]), r"has a polygon that is no list of x and y in turn"),
            (thing(9, DOG, [[1, 2, 3, 4, 5, "six"]]), r"has a polygon that is no list of numbers"),
            (thing(9, DOG, [box(0, 0, 5, 5), box(0, 0, 1e9, 5)]), r"annotation 1 \(dog\), has the coordinate 1e\+09"),
            (thing(9, DOG, [[1, 2, 3, 4, 5, float("nan")]]), r"has the coordinate nan; expected pixels"),
            (
                thing(9, DOG, {"counts": [5, 5], "size": [*SIZE]}),
                r"has runs of 10 pixels; expected 60 × 80 = 4800; exp",
            ),
            (
                thing(9, DOG, {"counts": [4800], "size": [80, 60]}),
                r"has run lengths for \[80, 60\]; expected \[60, 80\]",
            ),
            (thing(9, DOG, {"counts": "~~", "size": [*SIZE]}), r"has run lengths that are not in COCO's code"),
            (
                thing(9, 12, [box(0, 0, 5, 5)]),
                r"annotation 1 \(\?\), is of the category id 12, which the file does not",
            ),
        ],
    )
    def test_broken_objects(self, tmp_path, annotation, message):
        write(tmp_path, [annotation, thing(9, DOG, [box(0, 0, 40, 40)])])
        with pytest.raises(DataError, match=message):
            open_dataset("coco", tmp_path)

    def test_broken_coordinates_are_found_behind_others(self, tmp_path):
        sound = [thing(9, DOG, [[1, 2]]), thing(9, KITE, {"counts": [4800], "size": [*SIZE]})] * 2
        sound.append(thing(9, DOG, [box(0, 0, 5, 5)] * 3))
        write(tmp_path, [*sound, thing(25, KITE, [box(0, 0, 5, 5), box(0, 0, 5, -1e8)]), *sound])
        with pytest.raises(DataError, match=r"annotation 6 \(thing 38\), has the coordinate -1e\+08"):
            open_dataset("coco", tmp_path)

    @pytest.mark.parametrize(
        "text, message",
        [
            ('{"images": [', r"train2017\.json is cut off: no JSON from line 1"),
            ("[]", r"train2017\.json is no COCO JSON; expected an object with images"),
            ('{"images": [], "annotations": 3}', r'holds "annotations" that are no list'),
            ('{"images": [{"id": 1}]}', r'image 1, has no "id" or "file_name"'),
            ('{"images": [{"id": 1, "file_name": "a.jpg"}]}', r"gives no height and width for a\.jpg; correct it"),
        ],
    )
    def test_broken_files(self, tmp_path, text, message):
        path = write(tmp_path, [])
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            open_dataset("coco", tmp_path)

    def test_specks_and_strays_are_told(self, tmp_path):
        write(tmp_path, [thing(9, DOG, [[1, 2, 3, 4], box(0, 0, 5, 5)], 2000), thing(7, DOG, [box(0, 0, 5, 5)])])
        data = open_dataset("coco", tmp_path)
        assert data[0].targets["labels"].sum() == 25 * 12
        assert "1 polygon of fewer than three points are left out" in data.describe()
        assert "1 annotation of pictures that are not listed are left out" in data.describe()


class TestIndex:
    def test_it_is_parsed_once(self, tmp_path, own_cache, monkeypatch):
        annotations = [thing(9, DOG, [box(0, 0, 40, 40)]), thing(25, DOG, {"counts": [4000, 800], "size": [*SIZE]})]
        path = write(tmp_path, annotations)
        first = [open_dataset("coco", tmp_path)[i].targets["labels"] for i in (0, 1)]
        assert len([*(own_cache / "coco").iterdir()]) == 1
        monkeypatch.setattr(module, "_KNOWN", {})
        with monkeypatch.context() as patch:
            patch.setattr(module, "_made", lambda path: pytest.fail("parsed again"))
            data = open_dataset("coco", tmp_path)
            for i in (0, 1):
                np.testing.assert_array_equal(data[i].targets["labels"], first[i])
            assert isinstance(coco_index(path).coordinates, np.memmap)
        write(tmp_path, [thing(9, DOG, [box(0, 0, 10, 10)])])
        os.utime(path, ns=(1, 1))
        assert open_dataset("coco", tmp_path)[0].targets["labels"].sum() == 12 * 100
        assert len([*(own_cache / "coco").iterdir()]) == 1

    @pytest.mark.parametrize("damage", ["index.json", "coordinates.npy", "parts.npy", "lengths.npy"])
    def test_a_damaged_cache_is_made_anew(self, tmp_path, own_cache, monkeypatch, damage):
        annotations = [thing(9, DOG, [box(0, 0, 40, 40)]), thing(25, DOG, {"counts": [4000, 800], "size": [*SIZE]})]
        write(tmp_path, annotations)
        first = open_dataset("coco", tmp_path)[0].targets["labels"]
        (file,) = (own_cache / "coco").glob(f"*/{damage}")
        file.write_bytes(file.read_bytes()[:-9])
        monkeypatch.setattr(module, "_KNOWN", {})
        np.testing.assert_array_equal(open_dataset("coco", tmp_path)[0].targets["labels"], first)

    def test_no_cache_can_be_written(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("PIXELWISE_CACHE", str(tmp_path / "file"))
        write(tmp_path / "coco", [thing(9, DOG, [box(0, 0, 40, 40)])])
        assert open_dataset("coco", tmp_path / "coco")[0].targets["labels"].sum() == 12 * 1600

    def test_workers_get_no_arrays(self, tmp_path, monkeypatch):
        """What is sent to another process is paths; the index is opened there."""
        write(tmp_path, [thing(9, DOG, [box(0, 0, 40, 40)])])
        data = open_dataset("coco", tmp_path)
        sent = pickle.dumps(data)
        monkeypatch.setattr(module, "_KNOWN", {})
        assert len(sent) < 10_000 and pickle.loads(sent)[0].targets["labels"].sum() == 12 * 1600

    def test_a_file_that_changed_is_refused(self, tmp_path):
        write(tmp_path, [thing(25, DOG, [box(0, 0, 40, 40)])])
        data = open_dataset("coco", tmp_path)
        path = write(tmp_path, [thing(9, DOG, [box(0, 0, 40, 40)])], images=(25,))
        os.utime(path, ns=(1, 1))
        with pytest.raises(
            DataError, match=r"instances_train2017\.json has changed since it was opened; open the data"
        ):
            data[0]

    def test_few_indices_stay_in_memory(self, tmp_path):
        for i in range(5):
            open_dataset("coco", write(tmp_path / str(i), []).parent.parent, classes="own")
        assert len(module._KNOWN) == 3
