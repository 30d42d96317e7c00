"""The plain folder: images/ and masks/ in their usual names, with or without train, val, test; or side by side.

A directory's part is read from its name: words for pictures (images, imgs, x, …), for masks (masks, labels, y, …) and
for splits (train, val, test), alone or together (train_images, trainannot), above or below each other. Directories with
other names are passed over, unless they are the only place where pictures for the masks can be. Without a directory of
masks, files in one directory are told apart by such a word at the end or start of their names (a.jpg, a_mask.png), or
by a.jpg standing beside a.png.

Files are paired by stem within their split and sub-folder, in Unicode's composed form. If stems differ, the rule is
learned: words for pictures and masks at the ends of the stems, or what all pictures and all masks have at their ends.
The rule that pairs most files is taken, if it pairs at least half of the pictures or of the masks and no other rule
pairs as many in another way.

What is left over: a picture without a mask is a warning while the masks are all used, and so is a mask without a
picture while the pictures are all used. Where both are left over, they may belong together, and that is an error. Two
files with one stem are an error, and left out.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pixelwise.data.camvid import list_layout
from pixelwise.data.cityscapes import cityscapes_layout
from pixelwise.data.classnames import find_class_names
from pixelwise.data.encoding import decide
from pixelwise.data.folder import PairDataset, chosen_split
from pixelwise.data.layout import Fault, Layout, checked_folder, directories, normal, pictures_below
from pixelwise.data.sample import Pair
from pixelwise.data.scan import MaskStatistics, scan
from pixelwise.data.voc import voc_layout
from pixelwise.errors import DataError

IMAGE_WORDS = frozenset("image images img imgs jpegimages input inputs raw x photo photos picture pictures".split())
MASK_WORDS = frozenset(
    (
        "mask masks label labels annotation annotations annot annots ann anns gt gts groundtruth segmentation "
        "segmentations segmentationclass seg segs target targets y"
    ).split()
)
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}

_SEPARATORS = re.compile(r"[_\-. ]+")
_IMAGE_AFFIXES = sorted(IMAGE_WORDS - {"x", "raw"} | {"sat", "rgb"}, key=len, reverse=True)
_MASK_AFFIXES = sorted(MASK_WORDS - {"y"}, key=len, reverse=True)


class _Key(NamedTuple):
    """Where a file stands, apart from being a picture or a mask: two files of one pair have the same."""

    split: str | None
    below: str  # other directories on the way, joined by /
    stem: str


@dataclass(frozen=True)
class _Directory:
    """What the names on the way to a directory say."""

    role: str | None  # "image", "mask"
    word: str  # the directory's name that said so, lower case
    split: str | None
    below: str


def folder(root: str | Path, split: str | None = None) -> PairDataset:
    """The pictures of a folder in any layout that is recognized, with the classes that its masks tell.

    Every mask is read once, and what it holds is remembered (`pixelwise.data.scan`).

    Args:
        root: the folder.
        split: "train", "val" or "test" as the folder names them; "all" or None where it names none.

    Raises:
        DataError: the folder is not understood, a mask cannot be read, or there is no such split.
    """
    layout = find_layout(checked_folder(root))
    pairs = [pair for pairs in layout.splits.values() for pair in pairs]
    found = scan(pairs, layout.root)
    masks: dict[Path, MaskStatistics] = {}
    for path, mask in found.masks.items():
        if isinstance(mask, DataError):
            raise mask
        masks[path] = mask
    names = find_class_names({path.parent for path in masks}, layout.root)
    labels = decide(masks, names=names, known=layout.labels).labels
    datasets = {name: PairDataset(pairs, labels, layout.root, name) for name, pairs in layout.splits.items()}
    return chosen_split(datasets, split, layout.root)


def find_layout(root: Path) -> Layout:
    """The layout of a folder, from names alone: Cityscapes, VOC, lists of pairs, or a plain folder.

    Raises:
        DataError: no layout is recognized, or two are equally likely; one line says what was found instead.
    """
    for find in (cityscapes_layout, voc_layout, list_layout):
        layout = find(root)
        if layout is not None:
            return layout
    return plain_layout(root)


def plain_layout(root: Path) -> Layout:
    """The layout of a plain folder; see this module's first lines for the rules.

    Raises:
        DataError: as `find_layout`.
    """
    found = pictures_below(root)
    if not found:
        raise DataError(
            f"no pictures in {root} (JPEG, PNG, BMP, WebP, GIF, TIFF); expected images/ and masks/: pass their folder"
        )
    told = {directory: _directory(root, directory) for directory in found}
    masks = {d: files for d, files in found.items() if told[d].role == "mask"}
    images = {d: files for d, files in found.items() if told[d].role == "image"}
    if not masks:
        return _side_by_side(root, found, told)
    others = {d: files for d, files in found.items() if told[d].role is None}
    readings = _readings(root, images, masks, others, told)
    if not readings:
        count = sum(len(files) for files in masks.values())
        raise DataError(
            f"{count} masks in {_some(masks)}, but no pictures for them under {root}; expected a folder images/ "
            "beside masks/: add it"
        )
    best = max(readings, key=lambda reading: reading.matched)
    _check_enough(best, root)
    rivals = [r for r in readings if r is not best and r.matched == best.matched]
    if rivals:
        one, other = (
            (best.mask_place, rivals[0].mask_place)
            if best.mask_place != rivals[0].mask_place
            else (best.image_place, rivals[0].image_place)
        )
        what = "masks" if best.mask_place != rivals[0].mask_place else "pictures"
        raise DataError(
            f"{root} has {what} in {one} and in {other}, and both fit all the same; which are meant? "
            "Move the others elsewhere"
        )
    return _layout(
        root, best, f"pictures in {best.image_place}/, masks in {best.mask_place}/".replace("./,", "the folder itself,")
    )


@dataclass(frozen=True)
class _Rule:
    """How a stem becomes what pictures and masks share."""

    words: str
    image: Callable[[str], str]
    mask: Callable[[str], str]


@dataclass(frozen=True)
class _Reading:
    """One way to pair the files."""

    image_place: str
    mask_place: str
    rule: _Rule
    pairs: dict[_Key, tuple[Path, Path]]
    lone_images: tuple[tuple[_Key, Path], ...]
    lone_masks: tuple[tuple[_Key, Path], ...]
    twins: tuple[tuple[Path, Path], ...]

    @property
    def matched(self) -> int:
        return len(self.pairs)


def _readings(
    root: Path,
    images: Mapping[Path, tuple[Path, ...]],
    masks: Mapping[Path, tuple[Path, ...]],
    others: Mapping[Path, tuple[Path, ...]],
    told: Mapping[Path, _Directory],
) -> list[_Reading]:
    """Every combination of a name for pictures and a name for masks that pairs anything; `others` as a last resort."""

    def grouped(part: Mapping[Path, tuple[Path, ...]]) -> dict[str, list[tuple[_Key, Path]]]:
        groups: dict[str, list[tuple[_Key, Path]]] = {}
        for directory, files in part.items():
            group = groups.setdefault(told[directory].word, [])
            group += [(_key(told[directory], file), file) for file in files]
        return groups

    mask_groups = grouped(masks)
    image_groups = grouped(images)
    if not image_groups:  # pictures right in the folder, in train, val, test, or in a folder with a name of its own
        for directory, files in others.items():
            name = told[directory].below or "."
            about = replace(told[directory], below="" if name != "." else told[directory].below)
            image_groups.setdefault(name, []).extend((_key(about, file), file) for file in files)
    readings = []
    for image_place, image_files in image_groups.items():
        for mask_place, mask_files in mask_groups.items():
            readings.append(_paired(root, image_place, mask_place, image_files, mask_files))
    return [reading for reading in readings if reading.matched] or readings


def _paired(
    root: Path,
    image_place: str,
    mask_place: str,
    images: list[tuple[_Key, Path]],
    masks: list[tuple[_Key, Path]],
) -> _Reading:
    """The best rule's pairs.

    Raises:
        DataError: two rules pair equally many files in different ways.
    """
    if len({key.below for key, _ in images}) == 1 == len({key.below for key, _ in masks}):
        images = [(key._replace(below=""), path) for key, path in images]
        masks = [(key._replace(below=""), path) for key, path in masks]
    results = []
    for rule in _rules([key.stem for key, _ in images], [key.stem for key, _ in masks]):
        pictures, image_twins = _by_key(images, rule.image)
        targets, mask_twins = _by_key(masks, rule.mask)
        pairs = {key: (pictures[key], targets[key]) for key in pictures if key in targets}
        results.append(
            _Reading(
                image_place,
                mask_place,
                rule,
                pairs,
                tuple((key, path) for key, path in pictures.items() if key not in targets),
                tuple((key, path) for key, path in targets.items() if key not in pictures),
                (*image_twins, *mask_twins),
            )
        )
    best = max(results, key=lambda result: result.matched)  # the first of equals, and equal stems come first
    if best.rule is not results[0].rule:
        for other in results:
            if other.matched == best.matched and set(other.pairs.values()) != set(best.pairs.values()):
                image, mask = next(iter(best.pairs.values()))
                partner = dict(other.pairs.values()).get(image)
                raise DataError(
                    f"the names under {root} can be paired in two ways: {image.name} with {mask.name} or with "
                    f"{partner.name if partner else 'none'}; which one is meant? Give each mask its picture's name"
                )
    return best


def _by_key(
    files: list[tuple[_Key, Path]], stem: Callable[[str], str]
) -> tuple[dict[_Key, Path], list[tuple[Path, Path]]]:
    """{key: file}, and the twins: files with one key, of which none is kept."""
    found: dict[_Key, Path] = {}
    twins = []
    for key, path in files:
        shared = key._replace(stem=stem(key.stem))
        if shared in found:
            twins.append((found[shared], path))
        else:
            found[shared] = path
    for first, _ in twins:
        found = {key: path for key, path in found.items() if path != first}
    return found, twins


def _rules(images: list[str], masks: list[str]) -> list[_Rule]:
    """The rules to try, the plainest first."""

    def same(stem: str) -> str:
        return stem

    rules = [_Rule("a picture and its mask have the same name", same, same)]
    mask_word = _without_word(_MASK_AFFIXES)
    image_word = _without_word(_IMAGE_AFFIXES)
    for image, mask in ((same, mask_word), (image_word, same), (image_word, mask_word)):
        rules.append(_Rule("", image, mask))
    starts = _common_start(images), _common_start(masks)
    ends = _common_end(images), _common_end(masks)
    for use_start, use_end in ((True, False), (False, True), (True, True)):
        image_cut = _cutting(starts[0] if use_start else "", ends[0] if use_end else "")
        mask_cut = _cutting(starts[1] if use_start else "", ends[1] if use_end else "")
        rules.append(_Rule("", image_cut, mask_cut))
    rules.append(_Rule("a picture and its mask have the same name, but for upper and lower case", str.lower, str.lower))
    return rules


def _without_word(words: list[str]) -> Callable[[str], str]:
    joined = "|".join(words)
    pattern = re.compile(rf"^(?:{joined})[_\-. ]+(?=.)|(?<=.)[_\-. ]+(?:{joined})$", re.IGNORECASE)
    return lambda stem: pattern.sub("", stem, count=1)


def _cutting(start: str, end: str) -> Callable[[str], str]:
    return lambda stem: stem.removeprefix(start).removesuffix(end)


def _common_start(stems: list[str]) -> str:
    """What all stems begin with, up to the last character that is no digit: img_0 of img_01, img_02 is img_."""
    low, high = min(stems), max(stems)
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return low[:same].rstrip("0123456789") if len(set(stems)) > 1 else ""


def _common_end(stems: list[str]) -> str:
    return _common_start([stem[::-1] for stem in stems])[::-1]


def _layout(root: Path, reading: _Reading, name: str) -> Layout:
    splits: dict[str, list[Pair]] = {}
    names = Counter(_name(key) for key in reading.pairs)
    for key, (image, mask) in reading.pairs.items():
        unique = _name(key) if names[_name(key)] == 1 else f"{key.split}_{_name(key)}" if key.split else _name(key)
        splits.setdefault(key.split or "all", []).append(Pair(image, mask, unique))
    named = [split for split in ("train", "val", "test") if split in splits]
    if named and "all" in splits:
        raise DataError(
            f"{root} has pictures in {', '.join(named)} and others outside, as {splits['all'][0].image}; "
            "which are they for? Move them into train, val or test"
        )
    faults = [
        Fault(
            "error",
            second,
            f"{first} and {second} have the same name, so that their pair is in doubt; rename or remove one",
        )
        for first, second in reading.twins
    ]
    notes = []
    doubted = {key.split for key, _ in reading.lone_images} & {key.split for key, _ in reading.lone_masks}
    for kind, partner, lone in (
        ("picture", "mask", reading.lone_images),
        ("mask", "picture", reading.lone_masks),
    ):
        for key, path in lone:
            if key.split in doubted:
                ending = "there are also files left over on the other side: give both the same name, or remove them"
                faults.append(Fault("error", path, f"{path} has no {partner}, and {ending}"))
            else:
                faults.append(Fault("warning", path, f"{path} has no {partner} and is left out; add the {partner}"))
        if lone:
            plural = f"{len(lone)} {kind}{'s have' if len(lone) > 1 else ' has'} no {partner} and"
            notes.append(f"{plural} {'are' if len(lone) > 1 else 'is'} left out")
    order = [split for split in ("train", "val", "test", "all") if split in splits]
    return Layout(
        root=root,
        name=name + (f", with {', '.join(named)}" if named else ""),
        rule=_told_rule(reading),
        splits={split: tuple(sorted(splits[split], key=lambda pair: pair.name)) for split in order},
        faults=tuple(faults),
        notes=tuple(notes),
    )


def _name(key: _Key) -> str:
    return "_".join([*key.below.split("/"), key.stem]) if key.below else key.stem


def _told_rule(reading: _Reading) -> str:
    if reading.rule.words:
        return reading.rule.words
    image, mask = next(iter(reading.pairs.values()))
    return f"what is left of the names without their common beginnings and ends: {image.name} with {mask.name}"


def _check_enough(reading: _Reading, root: Path) -> None:
    """At least half of the pictures or of the masks must be paired; else the names do not belong together."""
    images = reading.matched + len(reading.lone_images)
    masks = reading.matched + len(reading.lone_masks)
    if reading.matched and 2 * reading.matched >= min(images, masks):
        return
    image = reading.lone_images[0][1] if reading.lone_images else None
    mask = reading.lone_masks[0][1] if reading.lone_masks else None
    examples = f", as {image.name} and {mask.name}" if image and mask else ""
    raise DataError(
        f"only {reading.matched} of {images} pictures and {masks} masks under {root} have names that fit{examples}; "
        "expected a mask with its picture's name: rename them"
    )


def _side_by_side(root: Path, found: Mapping[Path, tuple[Path, ...]], told: Mapping[Path, _Directory]) -> Layout:
    """Pictures and masks in the same directories, told apart by a word in their names, or as a.jpg and a.png."""
    without = _without_word(_MASK_AFFIXES)
    images: list[tuple[_Key, Path]] = []
    masks: list[tuple[_Key, Path]] = []
    for directory, files in found.items():
        for file in files:
            key = _key(told[directory], file)
            (masks if without(key.stem) != key.stem else images).append((key, file))
    if masks and not images:
        raise DataError(
            f"all {len(masks)} files under {root} are masks by their names, as {masks[0][1].name}; "
            "expected their pictures beside them or in images/: add them"
        )
    if masks:
        reading = _paired(root, "pictures", "masks", images, masks)
        _check_enough(reading, root)
        return _layout(root, reading, "pictures and masks side by side")
    for directory in directories(root, 3):
        if directory != root and _directory(root, directory).role == "mask":
            raise DataError(
                f"{directory} holds no masks that can be read; expected PNG, TIFF or other pictures: export them there"
            )
    lossy = [(key, file) for key, file in images if file.suffix.lower() in (".jpg", ".jpeg", ".jpe")]
    lossless = [(key, file) for key, file in images if file.suffix.lower() == ".png"]
    if len(lossy) == len(lossless) and {key for key, _ in lossy} == {key for key, _ in lossless} and lossy:
        reading = _paired(root, "pictures", "masks", lossy, lossless)
        return _layout(root, reading, "pictures (JPEG) and masks (PNG) side by side")
    raise DataError(
        f"{len(images)} pictures but no masks under {root}; expected a folder masks/ (or labels/, annotations/) "
        "beside images/, or files like a_mask.png: add the masks"
    )


def _directory(root: Path, directory: Path) -> _Directory:
    """What the names between `root` and a directory say; the deepest word for pictures or masks decides."""
    role, word, split, below = None, "", None, []
    for part in directory.relative_to(root).parts:
        part_role, part_split = _words(part)
        if part_role is None and part_split is None:
            below.append(normal(part))
            continue
        if part_role is not None:
            role, word = part_role, _place(part)
        split = part_split or split
    return _Directory(role, word, split, "/".join(below))


def _words(name: str) -> tuple[str | None, str | None]:
    """(role, split) that a directory's name tells; nothing if it holds any other word.

    >>> _words("trainannot"), _words("val_images"), _words("Ground_Truth"), _words("unet_reference")
    (('mask', 'train'), ('image', 'val'), ('mask', None), (None, None))
    """
    lowered = normal(name).lower().replace("ground_truth", "groundtruth").replace("ground-truth", "groundtruth")
    role: str | None = None
    split: str | None = None
    for word in _SEPARATORS.split(lowered.replace("ground truth", "groundtruth")):
        for start in sorted(SPLIT_WORDS, key=len, reverse=True):
            rest = word.removeprefix(start)
            if rest != word and (rest == "" or rest in (IMAGE_WORDS | MASK_WORDS) - {"x", "y"}):
                split, word = SPLIT_WORDS[start], rest
                break
        if word in IMAGE_WORDS and role is None:
            role = "image"
        elif word in MASK_WORDS and role != "mask":
            role = "mask"  # image_masks are masks
        elif word:
            return None, None
    return role, split


def _place(name: str) -> str:
    """A directory's name without the words for splits, for telling and for grouping.

    >>> _place("train_images"), _place("Masks"), _place("valannot")
    ('images', 'masks', 'annot')
    """
    lowered = normal(name).lower()
    for word in sorted(SPLIT_WORDS, key=len, reverse=True):
        for end in ("_", "-", ".", " ", ""):
            lowered = lowered.removeprefix(word + end) if lowered != word else lowered
            lowered = lowered.removesuffix(end + word) if end and lowered != word else lowered
    return lowered


def _key(about: _Directory, file: Path) -> _Key:
    return _Key(about.split, about.below, normal(file.stem))


def _some(directories: Mapping[Path, object]) -> str:
    first = next(iter(directories))
    return str(first) + (f" and {len(directories) - 1} more" if len(directories) > 1 else "")
