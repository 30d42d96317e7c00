"""The doctor understands a folder, or says in one line why not: encodings, class names, faults."""

import json

import numpy as np
import pytest
from PIL import Image

from pixelwise.errors import DataError
from pixelwise.flow.doctor import understand
from pixelwise.labels import LabelSet, voc_color

RED, GREEN, BLACK, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 0), (255, 255, 255)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("PIXELWISE_CACHE", str(tmp_path_factory.mktemp("cache")))


def blocks(values, dtype=np.uint8, side=4):
    """A mask of square blocks, one for each value, side by side: solid areas, as true masks have."""
    rows = np.repeat(np.array(values, dtype), side, axis=0)
    return np.stack([rows] * side)


def write(path, array, palette=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    if palette is not None:
        image = Image.frombytes("P", array.shape[::-1], array.tobytes())
        image.putpalette([c for i in range(256) for c in palette.get(i, BLACK)])
    else:
        image = Image.fromarray(array)
    image.save(path, **options)
    return path


def folder(root, *masks, names=None, palette=None, extension="png"):
    """images/ and masks/ with these masks, and a classes.txt."""
    for i, mask in enumerate(masks):
        write(root / "images" / f"{i}.jpg", np.full((*mask.shape[:2], 3), 90, np.uint8))
        write(root / "masks" / f"{i}.{extension}", mask, palette)
    if names is not None:
        (root / "classes.txt").write_text(names)
    return root


def classes(understanding, index=0):
    (data,) = understanding.datasets().values()
    return data[index].targets["labels"][0, ::4].tolist()


class TestEncodings:
    @pytest.mark.parametrize("values", [(0, 255), (0, 1), (0, 7), (0, 65_535)])
    def test_two_values_with_0_are_background_and_foreground(self, tmp_path, values):
        found = understand(folder(tmp_path, blocks(values, np.uint16 if max(values) > 255 else np.uint8)))
        assert found.labels.names == ("background", "foreground")
        assert found.encoding == f"0 → background, {values[1]} → foreground"
        assert classes(found) == [0, 1] and found.void_pixels == 0

    def test_one_bit(self, tmp_path):
        found = understand(folder(tmp_path, blocks([False, True], bool)))
        assert found.labels.names == ("background", "foreground") and classes(found) == [0, 1]

    def test_one_and_two(self, tmp_path):
        found = understand(folder(tmp_path, blocks([1, 2])))
        assert found.labels.names == ("class 1", "class 2") and classes(found) == [0, 1]

    @pytest.mark.parametrize("dtype, void", [(np.uint8, 255), (np.uint16, 65_535), (np.uint16, 255)])
    def test_ids_with_void(self, tmp_path, dtype, void):
        found = understand(folder(tmp_path, blocks([0, 1, 2, void], dtype)))
        assert found.labels.names == ("class 0", "class 1", "class 2")
        assert classes(found) == [0, 1, 2, 255] and found.void_pixels == 16
        assert found.encoding == f"0 → class 0, 1 → class 1, 2 → class 2; {void} → void"

    def test_ids_up_to_150_with_void(self, tmp_path):
        found = understand(folder(tmp_path, blocks([*range(151), 255])))
        assert found.labels.num_classes == 151 and found.void_pixels == 16

    def test_more_than_255_classes(self, tmp_path):
        found = understand(folder(tmp_path, blocks([*range(300), 65_535], np.uint16)))
        assert found.labels.num_classes == 300 and found.labels.void == 65_535
        assert classes(found) == [*range(300), 65_535]

    def test_minus_one_is_void(self, tmp_path):
        import tifffile

        root = folder(tmp_path, blocks([0, 1, 2]))
        (root / "masks/0.png").unlink()
        tifffile.imwrite(root / "masks/0.tif", blocks([-1, 0, 1], np.int16))
        found = understand(root)
        assert found.labels.names == ("background", "foreground") and classes(found) == [255, 0, 1]

    def test_sparse_ids_keep_their_order_and_show_their_table(self, tmp_path):
        found = understand(folder(tmp_path, blocks([3, 0, 40]), blocks([12, 0, 0])))
        assert found.encoding == "0 → class 0, 3 → class 3, 12 → class 12, 40 → class 40"
        assert classes(found) == [1, 0, 3] and found.labels.table == {0: 0, 3: 1, 12: 2, 40: 3}

    @pytest.mark.parametrize("grays", [(0, 128, 255), (0, 85, 170, 255), (0, 127, 255), (0, 40, 80, 120)])
    def test_gray_valued_classes(self, tmp_path, grays):
        found = understand(folder(tmp_path, blocks(grays)))
        assert found.labels.num_classes == len(grays) and classes(found) == [*range(len(grays))]

    def test_a_palette_gives_colors_and_its_indices_count(self, tmp_path):
        palette = {i: voc_color(i) for i in range(256)}
        found = understand(folder(tmp_path, blocks([0, 2, 1, 255]), palette=palette))
        assert found.labels.palette == (voc_color(0), voc_color(1), voc_color(2))
        assert classes(found) == [0, 2, 1, 255]

    def test_a_black_and_white_palette_is_binary(self, tmp_path):
        found = understand(folder(tmp_path, blocks([0, 255]), palette={255: WHITE}))
        assert classes(found) == [0, 1] and found.labels.num_classes == 2

    @pytest.mark.parametrize("alpha", [None, 255])
    def test_colors_are_sorted_with_black_first(self, tmp_path, alpha):
        mask = blocks([RED, BLACK, GREEN])
        if alpha is not None:
            mask = np.concatenate([mask, np.full((*mask.shape[:2], 1), alpha, np.uint8)], axis=2)
        found = understand(folder(tmp_path, mask))
        assert found.labels.palette == (BLACK, GREEN, RED)
        assert found.encoding == "(0, 0, 0) → class 0, (0, 255, 0) → class 1, (255, 0, 0) → class 2"
        assert classes(found) == [2, 0, 1]

    def test_black_and_a_color_are_background_and_foreground(self, tmp_path):
        found = understand(folder(tmp_path, blocks([BLACK, RED])))
        assert found.labels.names == ("background", "foreground") and classes(found) == [0, 1]

    def test_black_and_white_in_rgb_are_binary(self, tmp_path):
        found = understand(folder(tmp_path, blocks([BLACK, WHITE])))
        assert found.labels.names == ("background", "foreground") and classes(found) == [0, 1]

    def test_ids_saved_as_rgb(self, tmp_path):
        found = understand(folder(tmp_path, blocks([(i, i, i) for i in (0, 1, 2, 255)])))
        assert found.labels.num_classes == 3 and classes(found) == [0, 1, 2, 255]

    def test_vocs_cream_is_void_beside_vocs_colors(self, tmp_path):
        found = understand(folder(tmp_path, blocks([voc_color(i) for i in (0, 15, 255)])))
        assert found.labels.palette == (voc_color(0), voc_color(15)) and classes(found) == [0, 1, 255]

    def test_the_table_is_saved_with_the_labels(self, tmp_path):
        found = understand(folder(tmp_path, blocks([0, 3, 40])))
        assert LabelSet.from_record(found.to_record()["labels"]) == found.labels

    def test_thin_classes_are_not_taken_for_smoothing(self, tmp_path):
        mask = blocks([0, 0, 0, 0])
        mask[0] = [0, 1, 2, 3] * 4
        assert understand(folder(tmp_path, mask)).labels.num_classes == 4

    @pytest.mark.parametrize("names", [None, "0 a\n255 b"])
    def test_a_crack_one_pixel_wide(self, tmp_path, names):
        mask = np.zeros((16, 16), np.uint8)
        mask[5] = 255
        found = understand(folder(tmp_path, mask, names=names))
        assert found.pixel_counts.tolist() == [240, 16]

    @pytest.mark.parametrize("high", [255, 200, (250, 40, 10)])
    def test_smoothed_edges_are_taken_for_the_nearest_class(self, tmp_path, high):
        y, x = np.mgrid[:64, :64]
        inside = (y - 30) ** 2 + (x - 32) ** 2 < 400
        disk = (inside[..., None] * np.atleast_1d(high)).astype(np.uint8).squeeze()
        small = np.asarray(Image.fromarray(disk).resize((32, 32), Image.Resampling.BILINEAR))
        found = understand(folder(tmp_path, small))
        (fault,) = found.faults
        assert (fault.severity, fault.kind) == (
            "warning",
            "blended",
        ) and "are taken for the nearest class" in fault.reason
        assert found.labels.num_classes == 2 and found.labels.snap
        (data,) = found.datasets().values()
        assert (data[0].targets["labels"] == inside[::2, ::2]).mean() > 0.95


class TestRefusedEncodings:
    def refused(self, root, message):
        with pytest.raises(DataError, match=message) as caught:
            understand(root)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("others", [(0, 100, 200), (0, 200), (0, 30, 90)])
    def test_255_beside_odd_grays_is_asked_for(self, tmp_path, others):
        root = folder(tmp_path, blocks([*others, 255]))
        self.refused(root, r"is 255 a class or void \(never counted\)\? .*0\.png holds the value 255 at row 0, column")
        (root / "classes.txt").write_text("\n".join(f"{v} name{v}" for v in others) + "\n255 void\n")
        assert classes(understand(root)) == [*range(len(others)), 255]

    def test_0_and_255_with_vocs_palette_are_asked_for(self, tmp_path):
        root = folder(tmp_path, blocks([0, 255]), palette={i: voc_color(i) for i in range(256)})
        self.refused(root, r"the masks hold 0 and 255; is 255 a class or void")

    @pytest.mark.parametrize("high", [255, 200])
    def test_much_smoothed_binary_masks(self, tmp_path, high):
        y, x = np.mgrid[:64, :64]
        disk = ((y - 30) ** 2 + (x - 32) ** 2 < 400).astype(np.uint8) * high
        small = Image.fromarray(disk).resize((64 // 3, 64 // 3), Image.Resampling.BILINEAR)
        self.refused(
            folder(tmp_path, np.asarray(small)),
            r"smoothed edges: \d+ values .* only along edges, as .*0\.png holds the value \d+ at row \d+, column \d+; "
            "a blend of two classes is neither: export the masks again as PNG without smoothing",
        )

    def test_more_than_64_colors(self, tmp_path):
        self.refused(
            folder(tmp_path, blocks([(i, 255 - i, 7) for i in range(65)])),
            r"hold 65 different colors, expected at most 64: .*0\.png holds the color \(0, 255, 7\) at row 0, column 0",
        )

    def test_a_photograph_as_a_mask(self, tmp_path):
        noise = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
        self.refused(folder(tmp_path, noise), r"the masks hold \d+ different values: .*are they classes\?")

    def test_jpeg_masks(self, tmp_path):
        self.refused(
            folder(tmp_path, blocks([0, 255]), extension="jpg"),
            r"none of the 1 masks can be read: .*0\.jpg is a lossy JPEG, .*; export the masks as PNG",
        )

    def test_two_encodings(self, tmp_path):
        self.refused(
            folder(tmp_path, blocks([0, 1]), blocks([BLACK, RED])),
            r"in two encodings: .*1\.png holds colors, .*0\.png numbers; which one is meant\? Save all",
        )

    def test_palettes_that_disagree(self, tmp_path):
        root = folder(tmp_path, blocks([0, 1]), palette={1: RED})
        write(root / "images/9.jpg", np.zeros((4, 8, 3), np.uint8))
        write(root / "masks/9.png", blocks([0, 1]), palette={1: GREEN})
        self.refused(root, r"1 is \(255, 0, 0\) in .*0\.png and \(0, 255, 0\) in .*9\.png; do the numbers count, or")

    def test_names_that_are_too_few(self, tmp_path):
        self.refused(
            folder(tmp_path, blocks([0, 1, 2, 7]), names="a\nb\nc"),
            r"classes\.txt has 3 names, but the masks hold 4 values: .*0\.png holds the value 7 at row 0, column 12; "
            "correct the mask, or write a line 'value name'",
        )

    def test_names_without_background(self, tmp_path):
        self.refused(
            folder(tmp_path, blocks([0, 1, 2]), names="cat\ndog"),
            r"classes\.txt has 2 names, but the masks hold 3 values: .*; is 0 void, or a background that is missing",
        )
        root = folder(tmp_path / "binary", blocks([0, 255]), names="crack")
        self.refused(root, r"the masks hold 0 and 255, but .*classes\.txt has 1 name; which are they\? Expected two")

    def test_a_value_beyond_the_ids(self, tmp_path):
        self.refused(
            folder(tmp_path, blocks([0, 5]), names="0 a\n4 b"),
            r"0\.png holds the value 5 at row 0, column 4, which .*classes\.txt does not list; correct the mask or add",
        )

    def test_colors_and_names_without(self, tmp_path):
        self.refused(
            folder(tmp_path, blocks([BLACK, RED, GREEN]), names="a\nb\nc"),
            r"hold the colors \(0, 0, 0\), .* and .*classes\.txt has 3 names without colors; which is which\? Write",
        )

    def test_a_color_beyond_the_list(self, tmp_path):
        self.refused(
            folder(tmp_path, blocks([BLACK, RED, GREEN]), names="a 0 0 0\nb 255 0 0"),
            r"0\.png holds the color \(0, 255, 0\) at row 0, column 8, a color that .*classes\.txt does not list",
        )
        root = folder(tmp_path / "twice", blocks([BLACK, RED]), names="a 0 0 0\nb 0 0 0")
        self.refused(root, r"classes\.txt gives the color \(0, 0, 0\) twice; give every class its own")

    def test_all_minus_one(self, tmp_path):
        import tifffile

        root = folder(tmp_path, blocks([0, 1]))
        (root / "masks/0.png").unlink()
        tifffile.imwrite(root / "masks/0.tif", blocks([-1, -1], np.int16))
        self.refused(root, r"every pixel of the 1 masks is void; expected classes: export the masks again")


class TestNames:
    def test_lines_are_numbers(self, tmp_path):
        found = understand(folder(tmp_path, blocks([0, 2, 255]), names="sky\nroad\ntree\n"))
        assert found.labels.names == ("sky", "road", "tree")
        assert classes(found) == [0, 2, 255]
        assert found.encoding == "0 → sky, 1 → road, 2 → tree; 255 → void, named by classes.txt"

    def test_numbers_from_one(self, tmp_path):
        assert classes(understand(folder(tmp_path, blocks([1, 3, 255]), names="a\nb\nc"))) == [0, 2, 255]

    @pytest.mark.parametrize(
        "values, expected", [((0, 255), [0, 1]), ((0, 100, 200), [0, 1, 2]), ((0, 60, 90, 255), [0, 1, 2, 3])]
    )
    def test_as_many_names_as_values(self, tmp_path, values, expected):
        names = "\n".join("abcd"[: len(values)])
        assert classes(understand(folder(tmp_path, blocks(values), names=names))) == expected

    def test_names_settle_whether_255_is_void(self, tmp_path):
        assert classes(understand(folder(tmp_path, blocks([0, 60, 90, 255]), names="a\nb\nc"))) == [0, 1, 2, 255]

    def test_values_before_names(self, tmp_path):
        found = understand(folder(tmp_path, blocks([0, 90, 255]), names="90 cat\n0 floor\n4 dog\n"))
        assert found.labels.names == ("cat", "floor", "dog") and classes(found) == [1, 0, 255]

    def test_colors_after_names(self, tmp_path):
        found = understand(
            folder(
                tmp_path,
                blocks([GREEN, BLACK, RED, (7, 7, 7)]),
                names="tree 0 255 0\nroad 255 0 0\nno 0 0 0\nvoid 7 7 7",
            )
        )
        assert found.labels.names == ("tree", "road", "no") and classes(found) == [0, 2, 1, 255]
        assert found.labels.palette == (GREEN, RED, BLACK)

    def test_colors_of_lines_beside_masks_of_numbers(self, tmp_path):
        found = understand(folder(tmp_path, blocks([0, 1]), names="tree 0 255 0\nroad 255 0 0"))
        assert found.labels.palette == (GREEN, RED) and classes(found) == [0, 1]

    def test_void_among_the_names(self, tmp_path):
        found = understand(folder(tmp_path, blocks([0, 1, 2]), names="a\nvoid\nb"))
        assert found.labels.names == ("a", "b") and classes(found) == [0, 255, 1]

    def test_two_names_for_black_and_a_color(self, tmp_path):
        found = understand(folder(tmp_path, blocks([RED, BLACK]), names="floor\ncat"))
        assert found.labels.names == ("floor", "cat") and classes(found) == [1, 0]

    @pytest.mark.parametrize("file", ["labels.txt", "class_names.txt", "labelmap.txt", "masks/codes.txt"])
    def test_their_files(self, tmp_path, file):
        root = folder(tmp_path, blocks([0, 1]))
        (root / file).write_text("floor\ncat\n")
        assert understand(root).labels.names == ("floor", "cat")


class TestKnownLayouts:
    def voc(self, root, *masks, name="VOC2012", palette=None):
        home = root / "VOCdevkit" / name
        for i, mask in enumerate(masks):
            write(home / "JPEGImages" / f"{i}.jpg", np.zeros((*mask.shape[:2], 3), np.uint8))
            write(home / "SegmentationClass" / f"{i}.png", mask, palette)
        (home / "ImageSets/Segmentation").mkdir(parents=True)
        (home / "ImageSets/Segmentation/train.txt").write_text("\n".join(str(i) for i in range(len(masks))))
        return home

    @pytest.mark.parametrize("colors", [False, True])
    def test_voc_brings_its_classes(self, tmp_path, colors):
        ids = [0, 15, 255]
        self.voc(tmp_path, blocks([voc_color(i) for i in ids] if colors else ids))
        found = understand(tmp_path)
        assert found.labels.num_classes == 21 and found.labels.names[15] == "person"
        assert found.encoding.startswith("the data set's own table: ") and classes(found) == ids

    def test_a_value_that_voc_does_not_have(self, tmp_path):
        self.voc(tmp_path, blocks([0, 15]), blocks([0, 34, 35]))
        (error,) = understand(tmp_path).errors
        assert error.path.name == "1.png"
        assert "1.png holds the value 34 at row 0, column 4 (and 1 more such); expected the 21" in error.message

    def test_own_colors_in_vocs_folders(self, tmp_path):
        home = self.voc(tmp_path, blocks([0, 15]))
        (home / "labelmap.txt").write_text("background:0,0,0::\nfish:255,0,0::\n")
        write(home / "SegmentationClass/0.png", blocks([BLACK, RED]))
        assert understand(tmp_path).labels.names == ("background", "fish")

    def test_own_data_in_vocs_layout_are_numbered(self, tmp_path):
        self.voc(tmp_path, blocks([0, 1, 2]), name="mine")
        assert understand(tmp_path).labels.names == ("class 0", "class 1", "class 2")

    def camvid(self, root, name, values):
        for split in ("train", "val"):
            write(root / name / split / "a.png", np.zeros((4, 4 * len(values), 3), np.uint8))
            write(root / name / f"{split}annot/a.png", blocks(values))
            line = f"/SegNet/{name}/{split}/a.png /SegNet/{name}/{split}annot/a.png\n"
            (root / name / f"{split}.txt").write_text(line)

    def test_camvids_void_is_11(self, tmp_path):
        self.camvid(tmp_path, "CamVid", [0, 4, 10, 11])
        found = understand(tmp_path)
        assert found.labels.num_classes == 11 and found.void_pixels == 32
        assert found.datasets()["val"][0].targets["labels"][0, ::4].tolist() == [0, 4, 10, 255]

    def test_other_lists_of_pairs_are_numbered(self, tmp_path):
        self.camvid(tmp_path, "Garden", [0, 4, 10, 11])
        assert understand(tmp_path).labels.names == ("class 0", "class 4", "class 10", "class 11")


class TestFaults:
    def errors(self, root):
        found = understand(root)
        return [fault.message for fault in found.errors], found

    @pytest.mark.parametrize(
        "size, guess",
        [
            ((8, 6), ": height and width are swapped; turn the mask"),
            ((3, 4), ": half the size; export the mask at full size"),
            ((6, 7), ": off by one; export the mask at the picture's size"),
            ((5, 20), "; export the mask at the picture's size"),
        ],
    )
    def test_sizes(self, tmp_path, size, guess):
        root = folder(tmp_path, *[blocks([0, 1])[:, :8]] * 2)
        write(root / "images/9.jpg", np.zeros((6, 8, 3), np.uint8))
        write(root / "masks/9.png", np.ones(size, np.uint8))
        (message,), found = self.errors(root)
        assert message == (
            f"{root}/masks/9.png is {size[0]} × {size[1]} but {root}/images/9.jpg is 6 × 8 (height × width){guess}"
        )
        assert len(found.splits["all"]) == 2

    def test_a_rotation_that_only_the_picture_has(self, tmp_path):
        root = folder(tmp_path, blocks([0, 1]), blocks([0, 1]))
        exif = Image.Exif()
        exif[274] = 6
        write(root / "images/0.jpg", np.zeros((4, 8, 3), np.uint8), exif=exif)
        (message,), _ = self.errors(root)
        assert message.endswith("the picture has an EXIF rotation that the mask was drawn without; turn the mask")

    def test_a_rotation_is_noted(self, tmp_path):
        root = folder(tmp_path, blocks([0, 1]).T.copy())
        exif = Image.Exif()
        exif[274] = 6
        write(root / "images/0.jpg", np.zeros((4, 8, 3), np.uint8), exif=exif)
        found = understand(root)
        assert found.notes == ("1 pictures and 0 masks have an EXIF rotation; it is applied",) and not found.faults
        assert found.sizes == {(8, 4): 1}
        assert found.datasets()["all"][0].size == (8, 4)

    def test_files_that_cannot_be_read(self, tmp_path):
        root = folder(tmp_path, *[blocks([0, 1])] * 4)
        (root / "images/0.jpg").write_bytes(b"")
        (root / "images/1.jpg").write_bytes((root / "images/1.jpg").read_bytes()[:-20])
        (root / "masks/2.png").write_text("something else, and long enough to be looked at")
        messages, found = self.errors(root)
        assert [m.split(" (")[0].split(";")[0].removeprefix(f"{root}/") for m in messages] == [
            "images/0.jpg is empty",
            "images/1.jpg is truncated or damaged",
            "masks/2.png is no picture of a known kind",
        ]
        assert [pair.name for pair in found.splits["all"]] == ["3"]

    def test_one_jpeg_among_the_masks(self, tmp_path):
        root = folder(tmp_path, *[blocks([0, 255])] * 2)
        (root / "masks/1.png").unlink()
        write(root / "masks/1.jpg", blocks([0, 255]))
        (message,), found = self.errors(root)
        assert "1.jpg is a lossy JPEG" in message and found.labels.num_classes == 2

    def test_nothing_usable(self, tmp_path):
        root = folder(tmp_path, blocks([0, 1]))
        (root / "images/0.jpg").write_bytes(b"")
        with pytest.raises(DataError, match=r"none of the 1 pictures in .* can be read: .*0\.jpg is empty"):
            understand(root)

    @pytest.mark.parametrize("value", [0, 255, 3])
    def test_one_class_only(self, tmp_path, value):
        (message,), _ = self.errors(folder(tmp_path, *[blocks([value, value])] * 2))
        assert message.startswith("all 2 masks hold only one class, ") and "expected two or more: check" in message

    def test_all_void(self, tmp_path):
        root = folder(tmp_path, blocks([0, 1, 255]), blocks([255, 255]))
        found = understand(root)
        (fault,) = found.faults
        assert fault.severity == "warning" and not found.errors
        assert (
            fault.message
            == f"{root}/masks/1.png is void everywhere, so that nothing of it counts; complete or remove it"
        )
        (root / "classes.txt").write_text("a\nb\nc")
        write(root / "masks/0.png", blocks([255, 255, 255]))
        messages, _ = self.errors(root)
        assert messages == ["all 2 masks are void everywhere; expected classes: export them again"]

    def test_gray_among_color_is_read_as_color(self, tmp_path):
        root = folder(tmp_path, *[blocks([0, 1])] * 3)
        write(root / "images/1.jpg", np.zeros((4, 8), np.uint8))
        found = understand(root)
        assert found.channels == 3 and not found.faults
        assert found.notes[0] == "1 of 3 pictures are gray and are read as color"
        assert found.datasets()["all"][1].image.shape == (4, 8, 3)

    def test_gray_alone_stays_gray_and_alpha_is_noted(self, tmp_path):
        root = folder(tmp_path, blocks([0, 1]))
        (root / "images/0.jpg").unlink()
        write(root / "images/0.png", np.zeros((4, 8, 2), np.uint8))
        found = understand(root)
        assert (found.channels, found.dtype) == (1, "uint8")
        assert found.notes == ("1 picture has an alpha channel; it is dropped",)

    def test_mixed_channels_and_bits(self, tmp_path):
        import tifffile

        root = folder(tmp_path, *[blocks([0, 1])] * 4)
        for i, array in ((0, np.zeros((4, 8, 5), np.uint8)), (1, np.zeros((4, 8), np.uint16))):
            (root / f"images/{i}.jpg").unlink()
            tifffile.imwrite(root / f"images/{i}.tif", array, photometric="minisblack", planarconfig="contig")
        messages, found = self.errors(root)
        assert messages == [
            f"{root}/images/0.tif has 5 channels, most pictures 3; save all with the same",
            f"{root}/images/1.tif is uint16, most pictures uint8; save all with the same number of bits",
        ]
        assert [pair.name for pair in found.splits["all"]] == ["2", "3"]

    def test_errors_of_the_layout_are_there(self, tmp_path):
        root = folder(tmp_path, *[blocks([0, 1])] * 3)
        write(root / "images/1.png", np.zeros((4, 8, 3), np.uint8))
        (message,), _ = self.errors(root)
        assert "have the same name, so that their pair is in doubt" in message


class TestUnderstanding:
    def test_counts(self, tmp_path):
        found = understand(folder(tmp_path, blocks([0, 1, 255, 255]), blocks([0, 0]), blocks([2])))
        assert found.pixel_counts.tolist() == [48, 16, 16] and found.pixel_counts.dtype == np.int64
        assert found.image_counts.tolist() == [2, 1, 1]
        assert found.void_pixels == 32
        assert found.sizes == {(4, 16): 1, (4, 8): 1, (4, 4): 1}
        assert list(found.splits) == ["all"] and found.root == tmp_path

    def test_a_record_is_json(self, tmp_path):
        root = folder(tmp_path, blocks([0, 1, 255]), blocks([255]))
        record = json.loads(json.dumps(understand(root).to_record()))
        assert record["splits"] == {"all": 2} and record["pixel_counts"] == [16, 16]
        assert record["sizes"] == [[4, 12, 1], [4, 4, 1]]
        assert record["faults"][0]["severity"] == "warning" and record["faults"][0]["path"].endswith("masks/1.png")

    def test_the_second_look_says_the_same(self, tmp_path):
        root = folder(tmp_path, blocks([0, 1, 255]), blocks([255]))
        assert understand(root).to_record() == understand(root, workers=1).to_record()

    def test_progress(self, tmp_path):
        told = []
        understand(folder(tmp_path, *[blocks([0, 1])] * 3), progress=lambda done, total: told.append((done, total)))
        assert told[-1] == (6, 6)
