"""YOLO's polygons become masks."""

import numpy as np
import pytest
from PIL import Image

from pixelwise.data.answers import Answers
from pixelwise.data.formats.yolo import yolo_layout
from pixelwise.errors import DataError

SIZE = (20, 40)


def picture(path, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(path)


def text(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def told(layout):
    return [(fault.severity, fault.kind) for fault in layout.faults]


LOWER = "1 0 0.5 1 0.5 1 1 0 1"  # the lower half
CORNER = "0 0 0 0.25 0 0.25 0.5 0 0.5"


class TestMasks:
    @pytest.mark.parametrize(
        "yaml, places",
        [
            (
                "path: ../datasets/coco8-seg\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n",
                ("images/train", "labels/train", "images/val", "labels/val"),
            ),
            (
                "train: ../train/images\nval: ../valid/images\n\nnc: 2\nnames: ['cat', 'dog']\n",
                ("train/images", "train/labels", "valid/images", "valid/labels"),
            ),
            (
                "train: [one.txt]\nval: list.txt\nnames: [cat, dog]\n",
                ("images/x", "labels/x", "images/y", "labels/y"),
            ),
        ],
    )
    def test_with_settings(self, tmp_path, yaml, places):
        (tmp_path / "data.yaml").write_text(yaml, encoding="utf-8")
        images, labels, val_images, val_labels = (tmp_path / place for place in places)
        picture(images / "a.jpg")
        picture(images / "b.jpg")
        picture(val_images / "c.jpg")
        text(labels / "a.txt", LOWER, CORNER)
        text(val_labels / "c.txt", CORNER)
        text(tmp_path / "one.txt", "./images/x/a.jpg", "./images/x/b.jpg")
        text(tmp_path / "list.txt", "/content/images/y/c.jpg")
        layout = yolo_layout(tmp_path)
        assert layout.faults == ()
        assert {s: [p.name for p in pairs] for s, pairs in layout.splits.items()} == {"train": ["a", "b"], "val": ["c"]}
        assert layout.labels[0].names == ("background", "cat", "dog")
        expected = np.zeros(SIZE, int)
        expected[10:] = 2
        expected[:10, :10] = 1
        values, shared = layout.splits["train"][0].mask.draw()
        np.testing.assert_array_equal(values, expected)
        assert shared == 0 and not layout.splits["train"][1].mask.draw()[0].any()
        assert layout.notes == ("1 picture has no lines of text: all background",)

    @pytest.mark.parametrize("names", [None, "cat\ndog\n", "0 cat\n1 dog\n"])
    def test_without_settings(self, tmp_path, names):
        for split in ("train", "val"):
            picture(tmp_path / f"images/{split}/{split}1.png")
            text(tmp_path / f"labels/{split}/{split}1.txt", LOWER)
        if names:
            (tmp_path / "labels/classes.txt").write_text(names, encoding="utf-8")
        layout = yolo_layout(tmp_path)
        assert layout.labels[0].names == ("background", *(("cat", "dog") if names else ("class 1",)))
        assert not layout.faults and list(layout.splits) == ["train", "val"]
        assert layout.splits["val"][0].mask.draw()[0][15, 5] == (2 if names else 1)

    def test_side_by_side(self, tmp_path):
        picture(tmp_path / "a.png")
        picture(tmp_path / "b.png")
        text(tmp_path / "a.txt", LOWER)
        (tmp_path / "b.txt").write_text("", encoding="utf-8")
        layout = yolo_layout(tmp_path)
        assert len(layout.splits["all"]) == 2 and not layout.faults

    def test_a_background_and_an_ignored_class(self, tmp_path):
        text(tmp_path / "data.yaml", "names: [background, ignore, crack]", "train: images")
        picture(tmp_path / "images/a.png")
        text(tmp_path / "labels/a.txt", "2" + LOWER[1:], CORNER, "1 0.5 0 1 0 1 0.25 0.5 0.25")
        layout = yolo_layout(tmp_path)
        assert layout.labels[0].names == ("background", "crack")
        values, _ = layout.splits["train"][0].mask.draw()
        assert [values[2, 2], values[2, 30], values[15, 2]] == [0, 255, 1]


class TestFaults:
    def test_lines_that_cannot_be_drawn(self, tmp_path):
        text(tmp_path / "data.yaml", "names: [cat, dog]", "train: images")
        picture(tmp_path / "images/a.png")
        picture(tmp_path / "images/b.png")
        (tmp_path / "images/c.png").write_bytes(b"no picture")
        text(tmp_path / "labels/c.txt", LOWER)
        text(
            tmp_path / "labels/a.txt",
            LOWER,
            "0 0.5 0.5 0.2 0.2",
            "0 0.1 0.1 0.2 0.2 0.3",
            "0 0.1 0.1 1.2 0.2 0.3 0.3",
            "0 0.1 0.1 1.01 0.2 0.3 0.3",
            "cat 0.1 0.1 0.2 0.2 0.3 0.3",
            "0.5 0.1 0.1 0.2 0.2 0.3 0.3",
            "0 0.1 0.1 0.2 0.2 0.3 0.3",
            "0 nan 0.1 0.2 0.2 0.3 0.3",
            "7 0.1 0.1 0.2 0.2 0.3 0.1",
        )
        text(tmp_path / "labels/gone.txt", LOWER)
        layout = yolo_layout(tmp_path)
        found = {fault.reason.partition(", line ")[2].partition(",")[0]: fault for fault in layout.faults}
        assert sorted(found) == ["", "10", "2", "3", "4", "6", "7", "8", "9"]
        assert found["2"].reason.endswith(
            "line 2, is a box (expected a polygon of 3 points or more), so that a.png is left out"
        )
        assert "holds 1.2 (expected x and y from 0 to 1)" in found["4"].reason
        assert "holds words" in found["6"].reason and "begins with 0.5" in found["7"].reason
        assert "has no area" in found["8"].reason and "holds nan" in found["9"].reason
        assert "is of the class 7 (named are 0–1), so that a.png is left out" in found["10"].reason
        for number, fault in found.items():
            lost = number not in ("", "8")  # without area it draws nothing anyway
            assert fault.severity == ("error" if lost or fault.kind == "unreadable" else "warning")
            assert not lost or fault.picture == tmp_path / "images/a.png"
        assert {("error", "unreadable"), ("warning", "orphan")} <= set(told(layout))
        assert [pair.name for pair in layout.splits["train"]] == ["a", "b"]

    def test_a_text_that_cannot_be_read_spoils_its_picture(self, tmp_path):
        for name in "ab":
            picture(tmp_path / f"images/{name}.png")
            text(tmp_path / f"labels/{name}.txt", LOWER)
        (tmp_path / "labels/b.txt").write_bytes(b"\xff\xfe0\x000")
        layout = yolo_layout(tmp_path)
        assert [(f.severity, f.picture) for f in layout.faults] == [("error", tmp_path / "images/b.png")]
        assert len(layout.splits["all"]) == 2

    def test_refused(self, tmp_path):
        picture(tmp_path / "images/a.png")
        text(tmp_path / "labels/a.txt", "0 0.5 0.5 0.2 0.2", "1 0.5 0.5 0.2 0.2")
        with pytest.raises(DataError, match=r"a\.txt and all others hold boxes .*; expected polygons"):
            yolo_layout(tmp_path)
        text(tmp_path / "data.yaml", "names: [cat, dog]", "train: images")
        text(tmp_path / "labels/a.txt", "0 5 5 20 20 5 20")
        with pytest.raises(DataError, match=r"coordinates in pixels, as 20; .*: divide them by the picture's width"):
            yolo_layout(tmp_path)
        text(tmp_path / "labels/a.txt", "a line of words")
        with pytest.raises(DataError, match=r"no line of the texts .* is a polygon: .*a\.txt, line 1, holds words"):
            yolo_layout(tmp_path)
        text(tmp_path / "labels/a.txt", LOWER)
        text(tmp_path / "data.yaml", "names: [cat, dog]", "train: pictures", "val: more")
        with pytest.raises(DataError, match=r"data\.yaml names train: pictures, val: more, but there are no such"):
            yolo_layout(tmp_path)
        text(tmp_path / "data.yaml", "names: [cat, cat]", "train: images")
        with pytest.raises(DataError, match=r"data\.yaml names 'cat' twice"):
            yolo_layout(tmp_path)
        text(tmp_path / "data.yaml", "names: 5", "train: images")
        with pytest.raises(DataError, match=r"names that are neither a list nor numbered"):
            yolo_layout(tmp_path)
        text(tmp_path / "data.yaml", "names: [cat", "train: images")
        with pytest.raises(DataError, match=r"data\.yaml is no YAML at line 2, column 6"):
            yolo_layout(tmp_path)

    def test_others(self, tmp_path):
        assert yolo_layout(tmp_path) is None
        picture(tmp_path / "images/a.png")
        picture(tmp_path / "masks/a.png")
        text(tmp_path / "notes/readme.txt", "1 2 3 4 5")
        text(tmp_path / "a.txt", "/x/a.jpg /x/a.png")
        text(tmp_path / "ids.txt", "2007_000129", "2007_000130")
        assert yolo_layout(tmp_path) is None
        text(tmp_path / "labels/a.txt", "0 0.5 0.5 0.2 0.2")
        assert yolo_layout(tmp_path) is None  # boxes beside masks: the masks count
        text(tmp_path / "labels/a.txt", LOWER)
        assert yolo_layout(tmp_path, Answers.of(["masks=masks"])) is None
        assert yolo_layout(tmp_path, Answers.of(["masks=labels"])) is not None
