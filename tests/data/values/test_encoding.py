"""What values of masks are taken for, and which questions are asked."""

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pixelwise.data.answers import Answers
from pixelwise.data.decode import decode_mask
from pixelwise.data.scan import mask_statistics
from pixelwise.data.values.classnames import read_class_names, write_classes
from pixelwise.data.values.encoding import decide
from pixelwise.errors import DataError, DataQuestion
from pixelwise.labels import VOID, LabelSet, pack_color, voc_color

BLACK, RED, GREEN, WHITE = (0, 0, 0), (255, 0, 0), (0, 255, 0), (255, 255, 255)


def blocks(values, dtype=np.uint8, side=4):
    """A mask of square blocks, one for each value, side by side."""
    return np.stack([np.repeat(np.array(values, dtype), side, axis=0)] * side)


def disk(low=0, high=255, size=96, kind=None, by=2):
    """A disk, and the same made smaller with smooth edges."""
    y, x = np.mgrid[:size, :size]
    inside = (y - size / 2) ** 2 + (x - size / 2) ** 2 < (size / 3) ** 2
    mask = np.where(inside[..., None], np.atleast_1d(high), np.atleast_1d(low)).astype(np.uint8).squeeze()
    if kind is None:
        return mask
    return np.asarray(Image.fromarray(mask).resize((size // by, size // by), getattr(Image.Resampling, kind)))


def masks_of(folder, *arrays, palette=None, extension="png", **options):
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for i, array in enumerate(arrays):
        path = folder / f"{i}.{extension}"
        if extension == "tif":
            tifffile.imwrite(path, array)
        else:
            image = Image.fromarray(array)
            if palette is not None:
                image = Image.frombytes("P", image.size, array.tobytes())
                image.putpalette(
                    [
                        c
                        for k in range(256)
                        for c in (palette[i] if isinstance(palette, list) else palette).get(k, BLACK)
                    ]
                )
            image.save(path, **options)
        found[path] = mask_statistics(path, lossy=True)
    return found


def decided(folder, *arrays, words=(), names=None, known=(), **options):
    masks = masks_of(folder / "masks", *arrays, **options)
    if names is not None:
        (folder / "classes.txt").write_text(names)
    listed = None if names is None else read_class_names(folder / "classes.txt")
    return decide(masks, names=listed, known=known, answers=Answers.of(words))


def asked(folder, *arrays, match, answers, **options):
    with pytest.raises(DataQuestion, match=match) as caught:
        decided(folder, *arrays, **options)
    assert caught.value.answers == answers and "\n" not in str(caught.value)
    assert caught.value.question.endswith(("?", ".")) and str(caught.value).endswith(f"--as {answers[-1]}")


class TestVoid:
    @pytest.mark.parametrize("tops", [(254,), (255,), (254, 255), (253, 254, 255)])
    def test_beside_small_numbers_what_is_near_255_is_void(self, tmp_path, tops):
        labels = decided(tmp_path, blocks([0, 1, 2, *tops])).labels
        assert labels.num_classes == 3
        assert {value for value, cls in labels.table.items() if cls == VOID} == {*tops}

    @pytest.mark.parametrize("values", [(0, 254), (0, 127, 254), (0, 50, 100, 150, 200, 254)])
    def test_beside_others_254_is_a_class(self, tmp_path, values):
        labels = decided(tmp_path, blocks(values)).labels
        assert labels.num_classes == len(values)

    def test_255_beside_odd_numbers_is_asked_for(self, tmp_path):
        mask = blocks([0, 100, 200, 255])
        asked(
            tmp_path,
            mask,
            match=r"is 255 a class or void \(never.*0\.png holds the value 255",
            answers=("255=void", "255=class"),
        )
        assert decided(tmp_path, mask, words=["255=void"]).labels.table[255] == VOID
        assert decided(tmp_path, mask, words=["255=class"]).labels.table[255] == 3

    def test_any_value_can_be_answered(self, tmp_path):
        labels = decided(tmp_path, blocks([0, 1, 2, 255]), words=["0=void", "255=class"]).labels
        assert labels.table == {0: VOID, 1: 0, 2: 1, 255: 2} and labels.names == ("class 1", "class 2", "class 255")

    def test_answers_count_for_grays_saved_as_colors(self, tmp_path):
        labels = decided(tmp_path, blocks([(v, v, v) for v in (0, 100, 200, 255)]), words=["255=void"]).labels
        assert labels.colors and labels.table[pack_color(WHITE)] == VOID

    def test_numbers_below_minus_one_are_asked_for(self, tmp_path):
        mask = blocks([-2, -1, 0, 1], np.int16)
        asked(
            tmp_path,
            mask,
            extension="tif",
            match="holds the value -2 at row 0, column 0; is it void",
            answers=("-2=void", "-2=class"),
        )
        assert decided(tmp_path, mask, extension="tif", words=["-2=void"]).labels.table == {
            -2: VOID,
            -1: VOID,
            0: 0,
            1: 1,
        }
        assert decided(tmp_path, mask, extension="tif", words=["-2=class", "-1=class"]).labels.num_classes == 4


class TestApart:
    """Some masks hold 0 and 1, others 0 and 255: 255 may be void, or what 1 is."""

    @pytest.mark.parametrize("top", [254, 255])
    def test_it_is_asked_for(self, tmp_path, top):
        masks = blocks([0, 1]), blocks([0, top]), blocks([0])
        asked(
            tmp_path,
            *masks,
            match=rf"no mask holds both 1 and {top}: .*0\.png has 1, .*1\.png has {top}; is {top} void .* or a class "
            rf"of its own\? .* classes\.yaml with 'values: \[1, {top}\]' makes one class of them",
            answers=(f"{top}=void", f"{top}=class"),
        )
        assert decided(tmp_path, *masks, words=[f"{top}=void"]).labels.table == {0: 0, 1: 1, top: VOID}
        assert decided(tmp_path, *masks, words=[f"{top}=class"]).labels.table == {0: 0, 1: 1, top: 2}

    def test_grays_saved_as_colors(self, tmp_path):
        masks = [blocks([(v, v, v) for v in values]) for values in ((0, 1), (0, 255))]
        asked(tmp_path, *masks, match="no mask holds both 1 and 255", answers=("255=void", "255=class"))

    def test_with_names(self, tmp_path):
        masks = blocks([0, 1]), blocks([0, 255])
        for names in ("ground\ncrack", "0 ground\n1 crack"):
            asked(tmp_path, *masks, names=names, match="no mask holds both 1 and 255", answers=("255=void",))
            assert decided(tmp_path, *masks, names=names, words=["255=void"]).labels.table[255] == VOID

    @pytest.mark.parametrize(
        "masks", [([0, 1, 255], [0, 1], [0, 255]), ([0, 1], [0, 2, 255]), ([0, 1], [0, 2], [0, 255]), ([0, 255],)]
    )
    def test_others_are_not(self, tmp_path, masks):
        decided(tmp_path, *(blocks(values) for values in masks))

    def test_a_palette_that_shows_void(self, tmp_path):
        palette = {0: BLACK, 1: RED, 255: voc_color(255)}
        found = decided(tmp_path, blocks([0, 1]), blocks([0, 255]), palette=palette)
        assert found.labels.table == {0: 0, 1: 1, 255: VOID}


class TestInvented:
    """Small class numbers, resized with smoothing: blends of two are third ones."""

    @staticmethod
    def smooth(ids, color=False):
        small = np.zeros((96, 96), np.uint8)
        for i, value in enumerate(ids):
            y, x = np.mgrid[:96, :96]
            small[(y - 20 - 28 * (i % 3)) ** 2 + (x - 20 - 28 * (i // 3)) ** 2 < 120] = value
        mask = np.asarray(Image.fromarray(small).resize((48, 48), Image.Resampling.BILINEAR))
        return np.stack([mask] * 3, axis=2) if color else mask

    @pytest.mark.parametrize("color", [False, True])
    @pytest.mark.parametrize("ids", [(3, 5, 8), (8,), (10, 20)])
    def test_they_are_asked_for(self, tmp_path, ids, color):
        mask = self.smooth(ids, color)
        asked(
            tmp_path,
            mask,
            match=r"numbers are nowhere solid .*0\.png holds .*exported again",
            answers=("snap", "numbers"),
        )
        every = decided(tmp_path, mask, words=["numbers"])
        assert every.labels.num_classes == len(np.unique(mask)) and not every.notes
        near = decided(tmp_path, mask, words=["snap"])
        values = {value & 255 for value in near.labels.table}
        assert values == {0, *ids} and near.labels.snap and not near.notes
        assert [fault.kind for fault in near.faults] == ["blended"]

    def test_thin_classes_are_not(self, tmp_path):
        """Poles and wires, which are never solid, but stand where they like."""
        mask = np.zeros((60, 60), np.uint8)
        mask[30:] = 2
        for i, value in enumerate((1, 3, 4, 5)):
            mask[5:55, 10 + 10 * i] = value
        assert decided(tmp_path, mask).labels.num_classes == 6


class TestNamed:
    def test_a_name_too_few_for_0_is_asked_for(self, tmp_path):
        mask = blocks([0, 1, 2])
        asked(
            tmp_path,
            mask,
            names="cat\ndog",
            match=r"2 names, .* 3 values: .*; is 0 void, or a background",
            answers=("0=void", "0=class"),
        )
        assert decided(tmp_path, mask, names="cat\ndog", words=["0=void"]).labels.table == {0: VOID, 1: 0, 2: 1}
        labels = decided(tmp_path, mask, names="cat\ndog", words=["0=class"]).labels
        assert labels.names == ("background", "cat", "dog") and labels.table == {0: 0, 1: 1, 2: 2}

    def test_one_name_for_0_and_255(self, tmp_path):
        asked(tmp_path, blocks([0, 255]), names="crack", match="has 1 name; which are they", answers=("0=class",))
        labels = decided(tmp_path, blocks([0, 255]), names="crack", words=["0=class"]).labels
        assert labels.names == ("background", "crack") and labels.table == {0: 0, 255: 1}

    def test_three_names_for_0_and_255(self, tmp_path):
        asked(tmp_path, blocks([0, 255]), names="a\nb\nc", match="has 3 names; which are they", answers=("255=void",))
        assert decided(tmp_path, blocks([0, 255]), names="a\nb\nc", words=["255=void"]).labels.table == {
            0: 0,
            1: 1,
            2: 2,
            255: VOID,
        }

    def test_smoothed_edges_between_listed_ids(self, tmp_path):
        found = decided(tmp_path, disk(kind="BILINEAR"), names="0 floor\n255 lamp")
        assert found.labels == LabelSet(("floor", "lamp"), table={0: 0, 255: 1}, snap=True) and len(found.faults) == 1


class TestWordsThatDoNotApply:
    @pytest.mark.parametrize("word", ["7=void", "inverted", "numbers", "colors", "palette=voc", "palette=none"])
    def test_they_are_noted(self, tmp_path, word):
        found = decided(tmp_path, blocks([0, 1, 2]), words=[word])
        assert found.notes == (f"--as {word} does not apply: nothing in these masks leaves that open",)
        assert found.labels == decided(tmp_path, blocks([0, 1, 2])).labels

    def test_places_are_not_ours(self, tmp_path):
        assert decided(tmp_path, blocks([0, 1, 2]), words=["masks=a", "images=b"]).notes == ()


class TestObjects:
    numbered = (blocks(range(6)), blocks(range(12)))

    def test_masks_that_count_up_are_asked_for(self, tmp_path):
        asked(
            tmp_path,
            *self.numbered,
            match=r"numbers from 1 up, .*0\.png to 5 and .*1\.png to 11; are they numbers of objects",
            answers=("objects", "numbers"),
        )
        assert decided(tmp_path, *self.numbered, words=["numbers"]).labels.num_classes == 12

    @pytest.mark.parametrize("dtype, extension", [(np.uint8, "png"), (np.uint16, "png"), (np.int32, "tif")])
    def test_every_number_but_0_is_foreground(self, tmp_path, dtype, extension):
        arrays = [array.astype(dtype) for array in self.numbered]
        found = decided(tmp_path, *arrays, words=["objects"], extension=extension)
        assert found.labels.names == ("background", "foreground") and not found.notes
        assert found.labels.to_classes(arrays[1])[0, ::4].tolist() == [0] + [1] * 11
        assert found.labels.to_classes(np.array([[200]])).tolist() == [[1]]  # another mask may count further
        assert found.sentence == "0 → background, every other number, an object's → foreground"

    def test_hundreds_of_objects_in_16_bits(self, tmp_path):
        mask = blocks(range(0, 60_000, 17), np.uint16, side=1)
        found = decided(tmp_path, mask, words=["objects", "34=void"])
        assert found.labels.to_classes(mask)[0].tolist() == [0, 1, 255, *[1] * (mask.shape[1] - 3)]

    def test_many_numbers_are_asked_for(self, tmp_path):
        asked(
            tmp_path,
            blocks(range(1, 1300), np.uint16),
            match="1299 different values: .*are they classes",
            answers=("objects",),
        )

    def test_colors(self, tmp_path):
        found = decided(tmp_path, blocks([BLACK, RED, GREEN]), words=["objects"])
        assert found.labels.to_classes(decode_mask(tmp_path / "masks/0.png"))[0, ::4].tolist() == [0, 1, 1]

    @pytest.mark.parametrize(
        "names, expected", [("cell", ("background", "cell")), ("ground\ncell", ("ground", "cell"))]
    )
    def test_names(self, tmp_path, names, expected):
        assert decided(tmp_path, *self.numbered, words=["objects"], names=names).labels.names == expected

    def test_classes_are_not_taken_for_objects(self, tmp_path):
        assert decided(tmp_path, blocks([0, 1]), blocks([0, 1, 2]), blocks([0, 3, 11])).labels.num_classes == 5


class TestInverted:
    def test_a_rare_0_is_noted_and_nothing_changes(self, tmp_path):
        found = decided(tmp_path, blocks([0, 255, 255, 255, 255]))
        assert found.notes == (
            "0 covers 20 % of the pixels and 255 80 %: perhaps 0 is the object; --as inverted names it so",
        )
        assert found.labels.table == {0: 0, 255: 1}

    @pytest.mark.parametrize("zeros", [1, 3])
    def test_a_common_0_is_not(self, tmp_path, zeros):
        assert decided(tmp_path, blocks([*[0] * zeros, 255])).notes == ()

    def test_a_folder_that_says_so(self, tmp_path):
        masks = masks_of(tmp_path / "masks_inverted", blocks([0, 0, 255]))
        (note,) = decide(masks).notes
        assert note.startswith(
            "0 covers 67 % of the pixels and 255 33 %, and the folder is called masks_inverted: perhaps"
        )

    @pytest.mark.parametrize(
        "name, says", [("background_masks", True), ("bg", True), ("foreground_background", False), ("subgrid", False)]
    )
    def test_a_folder_of_backgrounds(self, tmp_path, name, says):
        notes = decide(masks_of(tmp_path / name, blocks([0, 0, 255]))).notes
        assert [f"the folder is called {name}: perhaps 0 is the object" in note for note in notes] == [True] * says

    def test_the_answer(self, tmp_path):
        found = decided(tmp_path, blocks([0, 255, 255, 255]), words=["inverted"])
        assert found.labels.names == ("background", "foreground") and found.labels.table == {0: 1, 255: 0}
        assert found.notes == () and found.sentence == "255 → background, 0 → foreground"

    def test_colors_and_palettes_keep_theirs(self, tmp_path):
        found = decided(tmp_path / "a", blocks([BLACK, RED]), words=["inverted"])
        assert found.labels.table == {0: 1, pack_color(RED): 0} and found.labels.palette == (RED, BLACK)
        found = decided(tmp_path / "b", blocks([0, 1]), palette={0: GREEN, 1: RED}, words=["inverted"])
        assert found.labels.table == {0: 1, 1: 0} and found.labels.palette == (RED, GREEN)
        found = decided(tmp_path / "c", blocks([WHITE, BLACK]), words=["inverted"])
        assert found.labels.table == {0: 1, pack_color(WHITE): 0}

    def test_two_names_change_places(self, tmp_path):
        found = decided(tmp_path, blocks([0, 255]), names="floor\ncrack", words=["inverted"])
        assert found.labels.names == ("floor", "crack") and found.labels.table == {0: 1, 255: 0}


class TestTold:
    def test_grays_saved_as_colors_are_numbers(self, tmp_path):
        found = decided(tmp_path, blocks([(v, v, v) for v in (0, 1, 2, 255)]))
        assert found.sentence == "0 → class 0, 1 → class 1, 2 → class 2; 255 → void"
        assert [found.labels.values_of(cls) for cls in (0, 1, 2, VOID)] == ["0", "1", "2", "255"]
        assert decided(tmp_path, blocks([BLACK, RED])).sentence == "(0, 0, 0) → background, (255, 0, 0) → foreground"

    def test_a_list_that_is_not_read_is_noted(self, tmp_path):
        (tmp_path / "class_meanings.csv").write_text("cat;7")
        (note,) = decided(tmp_path, blocks([0, 1])).notes
        assert note.startswith(f"{tmp_path / 'class_meanings.csv'} is called like a list of classes but is not read")
        assert decided(tmp_path, blocks([0, 1]), names="a\nb").notes == ()


class TestPalettes:
    def test_palettes_that_disagree(self, tmp_path):
        arrays, palette = (blocks([0, 1]), blocks([0, 1])), [{1: RED}, {1: GREEN}]
        asked(
            tmp_path,
            *arrays,
            palette=palette,
            match=r"1 is \(255, 0, 0\) in .*0\.png and .*1\.png; do the numbers",
            answers=("numbers",),
        )
        assert decided(tmp_path, *arrays, palette=palette, words=["numbers"]).labels.table == {0: 0, 1: 1}
        with pytest.raises(DataError, match="palettes disagree: .*; where the colors count, .*: save all masks as RGB"):
            decided(tmp_path, *arrays, palette=palette, words=["colors"])

    def test_indices_win_over_a_known_palette(self, tmp_path):
        found = decided(tmp_path, blocks([0, 1, 2, 3]), palette={i: voc_color(i) for i in range(256)})
        assert found.labels.names == ("class 0", "class 1", "class 2", "class 3")

    def test_known_colors_bring_all_their_classes(self, tmp_path):
        found = decided(tmp_path, blocks([BLACK, (128, 64, 128), (70, 130, 180), (0, 0, 142)]))
        assert found.labels.num_classes == 19 and found.sentence.startswith(
            "the colors of Cityscapes: (128, 64, 128) → road"
        )
        assert found.labels.to_classes(decode_mask(tmp_path / "masks/0.png"))[0, ::4].tolist() == [255, 0, 10, 13]

    def test_two_palettes_are_a_question(self, tmp_path):
        mask = blocks([BLACK, (128, 0, 0), (128, 128, 0), (64, 0, 128)])
        asked(
            tmp_path,
            mask,
            match="4 colors that PASCAL VOC and CamVid have",
            answers=("palette=voc", "palette=camvid", "palette=none"),
        )
        assert decided(tmp_path, mask, words=["palette=camvid"]).labels.names[1] == "Building"
        assert decided(tmp_path, mask, words=["palette=voc"]).labels.names[1] == "aeroplane"
        none = decided(tmp_path, mask, words=["palette=none"])
        assert none.labels.num_classes == 4 and not none.notes

    def test_a_color_outside_the_named_palette(self, tmp_path):
        message = r"color \(255, 0, 1\) at row 0, column 4, a color that ADE20K does not have \(and 1 more\); correct"
        with pytest.raises(DataError, match=message):
            decided(tmp_path, blocks([(120, 120, 120), (255, 0, 1), (255, 0, 2)]), words=["palette=ade20k"])


class TestSnap:
    @pytest.mark.parametrize("kind", ["BILINEAR", "BICUBIC"])
    @pytest.mark.parametrize("low, high", [(0, 255), (0, 200), (BLACK, (250, 40, 10)), (RED, GREEN), (BLACK, WHITE)])
    def test_smoothed_edges_are_snapped_and_counted(self, tmp_path, kind, low, high):
        mask = disk(low, high, kind=kind)
        found = decided(tmp_path, mask)
        assert found.labels.snap and found.labels.num_classes == 2 and len(found.labels.table) == 2
        (fault,) = found.faults
        values = decode_mask(tmp_path / "masks/0.png")
        strange = ~np.isin(values, list(found.labels.table))
        assert (fault.severity, fault.kind, fault.path) == ("warning", "blended", tmp_path / "masks/0.png")
        count = len(np.unique(values[strange]))
        kinds = "values" if np.ndim(low) == 0 else "colors"
        share = 100 * strange.mean()
        assert (
            f"{count} {kinds} that are no class's, in {strange.sum():,} pixels ({share:.1f} %) of 1 of 1 masks"
            in fault.reason
        )
        sharp = np.asarray(Image.fromarray(disk()).resize(mask.shape[1::-1], Image.Resampling.BOX)) > 127
        classes = found.labels.to_classes(values)
        order = int(found.labels.table[int(values[values.shape[0] // 2, values.shape[1] // 2])])
        assert (classes == np.where(sharp, order, 1 - order)).mean() > 0.98

    def test_too_many_are_asked_for(self, tmp_path):
        mask = disk(size=24, kind="BILINEAR")
        asked(
            tmp_path,
            mask,
            match=r"smoothed edges: \d+ values between the classes, \d+ % of the pixels",
            answers=("snap",),
        )
        found = decided(tmp_path, mask, words=["snap"])
        assert found.labels.table == {0: 0, 255: 1} and found.labels.snap and found.faults and not found.notes

    @pytest.mark.parametrize("quality", [40, 75, 92])
    @pytest.mark.parametrize("extension", ["jpg", "png"])
    def test_lossy_binary_masks(self, tmp_path, quality, extension):
        sharp = disk()
        Image.fromarray(sharp).save(tmp_path / "a.jpg", quality=quality)
        lossy = np.asarray(Image.open(tmp_path / "a.jpg"))
        if extension == "png":
            with pytest.raises(DataQuestion) as caught:
                decided(tmp_path, lossy)
            assert "snap" in caught.value.answers
            found = decided(tmp_path, lossy, words=["snap"])
        else:
            found = decided(tmp_path, sharp, words=["snap"], extension="jpg", quality=quality)
        assert found.labels.names == ("background", "foreground") and found.labels.table == {0: 0, 255: 1}
        values = decode_mask(tmp_path / f"masks/0.{extension}", lossy=True)
        assert (found.labels.to_classes(values) == (sharp > 0)).mean() > 0.999

    def test_lossy_thin_lines(self, tmp_path):
        sharp = np.zeros((64, 64), np.uint8)
        sharp[np.arange(64), np.arange(64)] = 255
        found = decided(tmp_path, sharp, words=["snap"], extension="jpg", quality=95)
        assert found.labels.num_classes == 2
        assert (found.labels.to_classes(decode_mask(tmp_path / "masks/0.jpg", lossy=True)) == (sharp > 0)).mean() > 0.99

    def test_lossy_colors_of_a_known_palette(self, tmp_path):
        colors = [BLACK, (128, 64, 128), (70, 130, 180), (0, 0, 142), (107, 142, 35)]
        mask = blocks(colors, side=32)
        found = decided(tmp_path, mask, words=["snap"], extension="jpg", quality=90)
        assert found.labels.num_classes == 19 and found.labels.snap and "Cityscapes" in found.sentence
        values = decode_mask(tmp_path / "masks/0.jpg", lossy=True)
        expected = blocks([255, 0, 10, 13, 8], side=32)
        assert (found.labels.to_classes(values) == expected).mean() > 0.98

    def test_lossy_colors_with_names(self, tmp_path):
        mask = blocks([BLACK, (200, 30, 60), (20, 180, 90)], side=32)
        names = "ground 0 0 0\ncat 200 30 60\ndog 20 180 90"
        found = decided(tmp_path, mask, words=["snap"], names=names, extension="jpg", quality=90)
        values = decode_mask(tmp_path / "masks/0.jpg", lossy=True)
        assert (found.labels.to_classes(values) == blocks([0, 1, 2], side=32)).mean() > 0.98
        with pytest.raises(
            DataError, match=r"0\.jpg is lossy, .* nothing tells these; write classes\.txt with lines 'name red"
        ):
            decided(tmp_path / "unnamed", mask, words=["snap"], extension="jpg", quality=90)

    def test_lossy_black_and_white_in_color(self, tmp_path):
        found = decided(tmp_path, disk(BLACK, WHITE), words=["snap"], extension="jpg", quality=80)
        assert found.labels.colors and found.labels.table == {0: 0, pack_color(WHITE): 1}
        assert found.labels.names == ("background", "foreground")

    def test_a_known_set_is_snapped_to_its_rows(self, tmp_path):
        known = LabelSet(("a", "b"), (BLACK, RED), {0: 0, pack_color(RED): 1}, colors=True)
        found = decided(tmp_path, disk(BLACK, RED, kind="BILINEAR"), known=(known,))
        assert found.labels.snap and found.labels.table == known.table and len(found.faults) == 1
        sharp = decided(tmp_path / "sharp", disk(BLACK, RED), known=(known,))
        assert sharp.labels == known and not sharp.faults

    def test_smoothed_class_numbers_are_refused(self, tmp_path):
        mask = disk(1, 255, kind="BILINEAR").copy()
        mask[:16, :16], mask[:16, 32:], mask[40:, :8] = 0, 2, 3
        with pytest.raises(DataError, match="a blend of two class numbers is a third one: export the masks again"):
            decided(tmp_path, mask)

    def test_one_thin_value_between_two_is_asked_for(self, tmp_path):
        mask = blocks([0, 255], side=20)
        mask[:, 19] = 128
        asked(tmp_path, mask, match="1 of 3 numbers occurs only in thin places, .*128", answers=("snap", "numbers"))
        assert decided(tmp_path, mask, words=["numbers"]).labels.num_classes == 3
        assert decided(tmp_path, mask, words=["snap"]).labels.table == {0: 0, 255: 1}

    def test_thin_numbers_in_many_places_are_asked_for(self, tmp_path):
        mask = np.zeros((64, 64), np.uint8)
        mask[:40, :20] = 200
        for i, value in enumerate([70, 90, 130, 150, 170]):
            mask[45 + 3 * i, 30:60] = value  # lines, far from the other class
        asked(tmp_path, mask, match="5 of 7 numbers occur only in thin places", answers=("snap", "numbers"))
        assert decided(tmp_path, mask, words=["numbers"]).labels.num_classes == 7

    def test_values_that_almost_are_0_and_255(self, tmp_path):
        mask = blocks([0, 255], side=20)
        mask[5, 5], mask[5, 30] = 1, 254
        asked(tmp_path, mask, match="2 of 4 numbers occur only in thin places", answers=("snap", "numbers"))

    @pytest.mark.parametrize("values", [range(40), [*range(30), 255], [*range(0, 150, 1)]])
    def test_class_numbers_are_left_alone(self, tmp_path, values):
        mask = blocks(values)
        assert not decided(tmp_path, mask).labels.snap
        mask[::2, 1::2] = mask[0, 0]  # now no number but the first is solid
        if max(values) < 64 or 255 in values:
            assert not decided(tmp_path / "thin", mask).faults

    def test_true_thin_classes_survive_by_name(self, tmp_path):
        mask = blocks([0, 255], side=20)
        mask[:, 19] = 128
        assert decided(tmp_path, mask, names="a\nb\nc").labels.num_classes == 3


class TestTable:
    cases = (
        ({}, [blocks([0, 255])], ()),
        ({}, [blocks([0, 3, 40, 255])], ()),
        ({}, [blocks([0, 1, 2])], ("1=void",)),
        ({}, [disk(kind="BILINEAR")], ()),
        ({}, [disk(BLACK, RED, kind="BILINEAR")], ()),
        ({}, [blocks([BLACK, (128, 64, 128), (70, 130, 180), (0, 0, 142)])], ()),
        ({}, [blocks([(v, v, v) for v in (0, 1, 2, 255)])], ()),
        ({"names": "a 1 2 3\nb: 4 5 6\nnull 7 8 9"}, [blocks([0, 1, 2])], ()),
        ({}, [blocks(range(300), np.uint16)], ()),
        ({}, [blocks(range(20))], ("objects",)),
    )

    @pytest.mark.parametrize("case", range(len(cases)))
    def test_written_and_read_it_says_the_same_without_a_question(self, tmp_path, case):
        options, arrays, words = self.cases[case]
        found = decided(tmp_path, *arrays, words=words, **options)
        write_classes(found.labels, tmp_path / "classes.yaml")
        names = read_class_names(tmp_path / "classes.yaml")
        assert names.labels == found.labels
        again = decide(masks_of(tmp_path / "masks", *arrays), names=names)
        assert again.labels == found.labels and again.faults == found.faults and again.notes == ()

    def test_it_is_the_last_word(self, tmp_path):
        (tmp_path / "classes.yaml").write_text(
            "classes:\n- {name: a, values: [0, 100]}\n- {name: b, values: [200]}\nvoid: [255]"
        )
        names = read_class_names(tmp_path / "classes.yaml")
        masks = masks_of(tmp_path / "masks", blocks([0, 100, 200, 255]))
        found = decide(masks, names=names, known=(LabelSet(("x",), table={0: 0, 100: 0, 200: 0, 255: 0}),))
        assert found.labels.names == ("a", "b") and found.sentence.endswith("255 → void, as classes.yaml has it")

    def test_a_value_that_it_does_not_list(self, tmp_path):
        (tmp_path / "classes.yaml").write_text("classes:\n- {name: a, values: [0]}")
        names = read_class_names(tmp_path / "classes.yaml")
        masks = masks_of(tmp_path / "masks", blocks([0, 7, 9]))
        with pytest.raises(
            DataError,
            match=r"0\.png holds the value 7 at row 0, column 4, which .*classes\.yaml does not list \(and 1 more\)",
        ):
            decide(masks, names=names)
        assert decide(masks, names=names, answers=Answers.of(["snap"])).labels.snap

    def test_for_masks_of_another_kind(self, tmp_path):
        (tmp_path / "classes.yaml").write_text("masks: colors\nclasses:\n- {name: a, values: [[0, 0, 0]]}")
        with pytest.raises(
            DataError, match=r"classes\.yaml is for masks of colors, but .*0\.png holds numbers; correct its 'masks:'"
        ):
            decide(masks_of(tmp_path / "masks", blocks([0, 7])), names=read_class_names(tmp_path / "classes.yaml"))


@settings(max_examples=40, deadline=None)
@given(
    values=st.sets(st.integers(0, 255), min_size=1, max_size=12),
    words=st.sets(
        st.sampled_from(["snap", "objects", "inverted", "numbers", "0=void", "255=class", "255=void", "palette=none"])
    ),
    colors=st.booleans(),
)
def test_whatever_is_answered_each_value_has_a_class_or_one_line_says_why_not(tmp_path_factory, values, words, colors):
    words = words - {"255=void"} if "255=class" in words else words
    array = blocks(sorted(values))
    if colors:
        array = np.stack([array, array // 2, array * 0], axis=2)
    folder = tmp_path_factory.mktemp("any")
    try:
        found = decided(folder, array, words=sorted(words))
    except DataError as error:
        assert "\n" not in str(error)
    else:
        classes = found.labels.to_classes(decode_mask(folder / "masks/0.png"))
        assert classes.shape == array.shape[:2]
