"""ADE20K as the scene parsing challenge packs it: 150 classes of things and stuff, 0 is what is none of them.

    ADEChallengeData2016/images/{training,validation}/ADE_{train,val}_<8 digits>.jpg
                         annotations/{training,validation}/….png        0 other (void), 1–150
                         objectInfo150.txt                              number and names of each class

A plain folder, known by its stems; 20 210 and 2 000 pictures. The names are always the usual short ones;
objectInfo150.txt, whose copies differ in them, is not read. The pictures of the test set, which have no masks, are a
download of their own: release_test/testing.
Source: Zhou et al. 2017; spec, data sets §2.9.
"""

import re
from dataclasses import replace
from pathlib import Path

from pixelwise.data.folder import PairDataset, compare_counts
from pixelwise.data.layout import Layout, checked_folder, directories
from pixelwise.data.lists import files_by_id
from pixelwise.data.sample import Pair, path_of
from pixelwise.errors import DataError, MissingSplit
from pixelwise.labels import VOID, Color, LabelSet

_NAMES = (
    "wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, "
    "door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, "
    "field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, "
    "signboard, chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, "
    "stairs, runway, case, pool table, pillow, screen door, stairway, river, bridge, bookcase, blind, coffee "
    "table, toilet, flower, book, hill, bench, countertop, stove, palm, kitchen island, computer, swivel chair, "
    "boat, bar, arcade machine, hovel, bus, towel, light, truck, tower, chandelier, awning, streetlight, booth, "
    "television receiver, airplane, dirt track, apparel, pole, land, bannister, escalator, ottoman, bottle, "
    "buffet, poster, stage, van, ship, fountain, conveyer belt, canopy, washer, plaything, swimming pool, stool, "
    "barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step, tank, trade name, microwave, "
    "pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, "
    "ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock, flag"
)
_COLORS = (  # road and skyscraper share one
    "787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846 08ff33 ff0652 "
    "8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff 08ffd6 07ffe0 "
    "ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14 ff0829 ff0599 0633ff eb0cff a09614 00a3ff "
    "8c8c8c fa0a0f 14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff 0bc8c8 ff5200 00fff5 003dff "
    "00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00 008fff 33ff00 0052ff 00ff29 00ffad 0a00ff adff00 00ff99 ff5c00 ff00ff "
    "ff00f5 ff0066 ffad00 ff0014 ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2 00ff52 000aff 0070ff 3300ff 00c2ff 007aff "
    "00ffa3 ff9900 00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00 08b8aa 8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070 "
    "5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3 ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500 "
    "0abed4 d6ff00 00ccff 1400ff ffff00 0099ff 0029ff 00ffcc 2900ff 29ff00 ad00ff 00f5ff 4700ff 7a00ff 00ffb8 005cff "
    "b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff"
)
NAMES = tuple(_NAMES.split(", "))
PALETTE: tuple[Color, ...] = tuple(
    (int(color[:2], 16), int(color[2:4], 16), int(color[4:], 16)) for color in _COLORS.split()
)
LABELS = LabelSet(NAMES, PALETTE, {0: VOID} | {i + 1: i for i in range(150)})

_STEM = re.compile(r"ADE_(train|val|test)_\d{8}")
_FOLDERS = {"train": "training", "val": "validation"}
_TESTS = ("images/testing", "images/test", "release_test/testing", "testing")
_COUNTS = {"train": (20_210,), "val": (2000,), "test": (3352, 2000)}  # of test the later release, the first
_SITE = "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip"
_TEST_SITE = "http://data.csail.mit.edu/places/ADEchallenge/release_test.zip"


def ade20k(root: str | Path, split: str = "train") -> PairDataset:
    """ADE20K's 150 classes; 0 in the files is void. Gray pictures, of which there are some, are repeated to RGB.

    Args:
        root: ADEChallengeData2016, or up to two above.
        split: "train" (20 210), "val" (2 000); "test", which has no masks.

    Raises:
        MissingSplit: there is no such split, or not its folders.
        DataError: a folder is missing, or a picture has no mask.
    """
    folder = checked_folder(root)
    if split not in _COUNTS:
        raise MissingSplit(f"ade20k has no split {split!r}; it has {', '.join(_COUNTS)}: pass one of them")
    places = directories(folder, 2)
    if split == "test":
        home = next((d for d in places if any((d / test).is_dir() for test in _TESTS)), None)
        if home is None:
            raise MissingSplit(
                f"no {' or '.join(_TESTS)} under {folder}; pass the folder above (download: {_TEST_SITE})"
            )
        images = next(home / test for test in _TESTS if (home / test).is_dir())
        pairs = [Pair(file, None, name) for name, file in files_by_id(images).files.items()]
    else:
        part = _FOLDERS[split]
        home = next((d for d in places if all((d / p / part).is_dir() for p in ("images", "annotations"))), None)
        if home is None:
            lone = any((d / "images" / part).is_dir() for d in places)
            raise (DataError if lone else MissingSplit)(
                f"no images/{part} with annotations/{part} under {folder} or up to two folders below; pass "
                f"ADEChallengeData2016 (download: {_SITE})"
            )
        images = home / "images" / part
        masks = files_by_id(home / "annotations" / part)
        pairs = []
        for name, file in files_by_id(images).files.items():
            if name not in masks.files:
                raise DataError(f"{masks.folder} has no {name}.png for {file}; unpack the data set again, whole")
            pairs.append(Pair(file, masks.files[name], name))
    if not pairs:
        raise DataError(f"{images} holds no pictures; unpack the data set again, whole")
    official = _COUNTS[split]
    count = len(pairs) if len(pairs) in official else official[0]
    notes = compare_counts(f"{split} of ADE20K in {home}", len(pairs), count)
    return PairDataset(pairs, LABELS, home, split, channels=3, notes=notes)


def ade20k_named(layout: Layout) -> Layout:
    """A plain layout with the challenge's classes where all its masks are the challenge's by their names."""
    masks = [path_of(pair.mask) for pairs in layout.splits.values() for pair in pairs if pair.mask is not None]
    if not masks or not all(_STEM.fullmatch(mask.stem) for mask in masks):
        return layout
    return replace(layout, name=f"ADE20K's 150 classes: {layout.name}", labels=(LABELS,))
