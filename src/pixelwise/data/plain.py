"""The plain folder: images/ and masks/ in their usual names, with or without train, val, test; or side by side.

A directory's part is read from its name: words for pictures (images, imgs, x, …), for masks (masks, labels, y, …) and
for splits (train, val, test), alone or together (train_images, trainannot), above or below each other; numbers and
words like set or data beside them do not matter (train2017, training set). Words for splits among other words
(uavid_train, DUTS-TR-Mask) count where they give every directory a split. Directories with other names are passed
over, unless they are the only place where pictures for the masks can be, or one of their words is one for masks
(my_labels): these are masks where there are no others, and it is asked where they fit as well as others do. Without a
directory of masks, files in one directory are told apart by such a word at the end or start of their names (a.jpg,
a_mask.png), or by a.jpg standing beside a.png; files called depth, hha or the like are neither. `--as masks=NAME` and
`images=NAME` name the directory, by a path below the folder or its last part, whatever it is called.

Masks are pictures, or arrays in .mat and .npy files. Where both have the same names, the pictures count.

Files are paired by stem within their split and sub-folder, in Unicode's composed form. If stems differ, the rule is
learned: words for pictures and masks at the ends of the stems, or what all pictures and all masks have at their ends.
A stem's own split (test/01_test) does not matter then. The rule that pairs most files is taken, if it pairs at least
half of the pictures or of the masks and no other rule pairs as many in another way. Of several directories for masks
or pictures the one that pairs most is taken; where two pair as many, the one whose name does not say that it is a
by-product (color_labels, depth, nir); else it is asked. Where no name says which are masks, but several directories
hold the same names, it is asked, too. What an answer leaves out and fits is told.

Folders below that each hold pictures and masks are one set where their names differ in numbers only (scene1, scene2),
or where there are more than 40; else they are several sets, of which one must be passed.

What is left over: a picture without a mask is a warning while the masks are all used, and so is a mask without a
picture while the pictures are all used; a split without any mask is one warning. Where both are left over, they may
belong together, and that is an error. Two files with one stem are an error, and left out.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.decode import MASK_EXTENSIONS
from pixelwise.data.layout import (
    ARRAY_EXTENSIONS,
    Fault,
    Layout,
    directories,
    files_below,
    foreign_annotations,
    foreign_files,
    normal,
)
from pixelwise.data.sample import Pair
from pixelwise.data.words import (
    IMAGE_WORDS,
    MASK_WORDS,
    SPLIT_WORDS,
    place_of,
    says_mask,
    split_aside,
    words_in,
    words_of,
)
from pixelwise.errors import DataError, DataQuestion

_NUMBER = re.compile(r"(?<![0-9a-z])[0-9a-f]{6,}(?![0-9a-z])|\d+")  # decimal, or long and hexadecimal

MOST_SETS = 40
"""A folder with more folders than this is not looked through for sets of their own: they are parts of one."""

_IMAGE_AFFIXES = sorted(IMAGE_WORDS - {"x", "raw"} | {"sat", "rgb"}, key=len, reverse=True)
_MASK_AFFIXES = sorted(MASK_WORDS - {"y", "semantic", "semantics"} | {"ground[_\\- ]truth"}, key=len, reverse=True)
_SECOND_MASKS = frozenset(  # of two directories of masks, the one whose name says this is the other's by-product
    (
        "color colour colored coloured colors colours rgb vis viz visualization visualisation overlay preview instance "
        "instances object objects human boundary boundaries edge edges watershed"
    ).split()
)
_SECOND_IMAGES = frozenset(  # of two directories of pictures, the one whose name says this is not the photograph
    (
        "depth dsm ndsm dem dtm height nir ir swir infrared thermal ndvi disparity disp hha normal normals label "
        "labels mask masks boundary boundaries edge edges overlay preview vis viz visualization visualisation"
    ).split()
)
_DRAWN_AGAIN = re.compile(  # of masks side by side with others: by-products
    r"[_\-. ](colou?r(ed)?|rgb|watershed|viz|vis|overlay)([_\-. ](mask|label)s?)?$", re.IGNORECASE
)
_OTHERS = re.compile(  # files beside pictures and masks that are neither
    r"(^|[_\-. ])(depth|disparity|disp|hha|normals?|overlay|blend|vis|preview|instances?|instanceids"
    r"|pred|predictions?|predicted)([_\-. ][^_]*)?$",
    re.IGNORECASE,
)


_HOW = frozenset("manual manuals semantic semantics".split())  # say how masks were made, and so that they are some
_SIDE_WORDS = MASK_WORDS - {"y"}


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
    home: str  # what of `below` stands above all words for pictures, masks and splits
    chosen: bool = False  # by an answer
    deeper: bool = False  # chosen by a name above another word for the same


class SeveralSets(DataError):
    """A folder holds several complete sets."""


def several_sets(root: Path, sets: Iterable[Path], also: str = "") -> SeveralSets:
    """The refusal of a folder with several sets, which names them."""
    names = sorted(path.relative_to(root).as_posix() for path in sets)
    shown = ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
    return SeveralSets(f"{root} holds {len(names)} sets, {shown}; which one is meant? Pass its folder{also}")


def plain_layout(root: Path, answers: Answers = NOTHING) -> Layout:
    """The layout of a plain folder; see this module's first lines for the rules.

    Raises:
        DataQuestion: two directories of masks, or of pictures, fit as well.
        DataError: as `find_layout`.
    """
    found = files_below(root, MASK_EXTENSIONS)
    told = _told(root, found, answers)
    _check_answers(root, found, told, answers)
    pictures = {d: tuple(f for f in files if f.suffix.lower() not in ARRAY_EXTENSIONS) for d, files in found.items()}
    pictures = {d: files for d, files in pictures.items() if files}
    masks = {d: files for d, files in found.items() if told[d].role == "mask"}
    if not pictures:
        foreign = foreign_files(root)
        raise DataError(
            f"no pictures in {root}; {foreign}"
            if foreign
            else f"no pictures in {root} (JPEG, PNG, BMP, WebP, GIF, TIFF); expected images/ and masks/: "
            "pass their folder"
        )
    loose = {d: about for d in found if told[d].role is None and (about := _loose_mask(root, d, told[d])) is not None}
    if not masks:
        try:
            return _side_by_side(root, pictures, told)
        except DataError as error:
            if not loose:
                raise _question_of_places(root, pictures, told) or error from None
    if answers.masks is None:
        told |= loose
        masks |= {d: found[d] for d in loose}
    masks, notes = _without_doubles(masks)
    images = {d: files for d, files in pictures.items() if told[d].role == "image"}
    others = {d: files for d, files in pictures.items() if told[d].role is None and d not in loose}
    readings = _readings(root, images, masks, others, told)
    if not readings:
        count = sum(len(files) for files in masks.values())
        foreign = foreign_files(root)
        raise DataError(
            f"{count} masks in {_some(masks)}, but no pictures for them under {root}; "
            + (foreign or "expected a folder images/ beside masks/: add it")
        )
    best = max(readings, key=lambda reading: reading.matched)
    asked = _question_of_parts(root, best)
    if asked is not None:
        raise asked
    _check_enough(best, root)
    rivals = [r for r in readings if r.matched == best.matched and set(r.pairs.values()) != set(best.pairs.values())]
    if rivals:
        best, told_so = _decided(root, [best, *rivals])
        notes += told_so
    for place in dict.fromkeys(r.mask_place for r in readings if 2 * r.matched >= best.matched):
        if place != best.mask_place and not any(f"masks={place} " in note for note in notes):
            if not place.endswith("/" + best.mask_place):
                fewer = all(r.matched < best.matched for r in readings if r.mask_place == place)
                but = ", but fewer" if fewer else ""
                notes.append(f"masks in {place}/ fit, too{but}; --as masks={place} takes them")
    for place in dict.fromkeys(r.image_place for r in readings if r.matched == best.matched):
        if place != best.image_place and not any(f"images={place} " in note for note in notes):
            if not place.endswith("/" + best.image_place):
                notes.append(f"pictures in {place}/ fit, too; --as images={place} takes them")
    if answers.masks is not None:
        used = {file.parent for pair in best.pairs.values() for file in pair}
        aside = {d: about for d, about in told.items() if about.role == "left out" and about.word} | loose
        aside |= {d: replace(a, word=a.below, below="") for d, a in told.items() if a.role is None and a.below}
        aside = {d: about for d, about in (aside | loose).items() if d not in used}
        notes += _left_out(root, best, {d: found[d] for d in aside}, aside)
    _check_one_set(root, best, told)
    layout = _layout(
        root, best, f"pictures in {best.image_place}/, masks in {best.mask_place}/".replace("./,", "the folder itself,")
    )
    return replace(layout, notes=(*layout.notes, *notes))


def _check_answers(root: Path, found: Mapping[Path, object], told: Mapping[Path, _Directory], answers: Answers) -> None:
    """Each directory that was named must be there.

    Raises:
        DataError: it is not; the message lists those that are.
    """
    for role, key, name in (("mask", "masks", answers.masks), ("image", "images", answers.images)):
        if name is not None and not any(about.chosen and about.role == role for about in told.values()):
            names = dict.fromkeys(told[d].word or d.relative_to(root).as_posix() for d in found)
            shown = ", ".join(list(names)[:12]) + (" …" if len(names) > 12 else "")
            raise DataError(f"{key}={name} names no directory with files under {root}; there are {shown}: name one")


def _without_doubles(masks: Mapping[Path, tuple[Path, ...]]) -> tuple[dict[Path, tuple[Path, ...]], list[str]]:
    """The masks without the arrays that stand beside a picture of the same name; and a note of them."""
    kept, dropped = {}, 0
    for directory, files in masks.items():
        stems = {normal(file.stem) for file in files if file.suffix.lower() not in ARRAY_EXTENSIONS}
        kept[directory] = tuple(
            file for file in files if file.suffix.lower() not in ARRAY_EXTENSIONS or normal(file.stem) not in stems
        )
        dropped += len(files) - len(kept[directory])
    return kept, [f"{dropped} .mat or .npy files beside masks of the same names are passed over"] if dropped else []


def _decided(root: Path, rivals: list["_Reading"]) -> tuple["_Reading", list[str]]:
    """Of several readings that pair as many, the one that keeps closest together, or whose masks are no arrays.

    Returns:
        the reading, and notes of those that were passed over.

    Raises:
        DataQuestion: several are as good.
    """
    together = {id(r): min(len(Path(os.path.commonpath(pair)).parts) for pair in r.pairs.values()) for r in rivals}
    rivals = [r for r in rivals if together[id(r)] == max(together.values())]
    if len(rivals) == 1:
        return rivals[0], []
    drawn = [r for r in rivals if all(mask.suffix.lower() not in ARRAY_EXTENSIONS for _, mask in r.pairs.values())]
    if drawn and len(drawn) < len(rivals):
        arrays = dict.fromkeys(r.mask_place for r in rivals if r not in drawn)
        notes = [
            f"{place}/ holds .mat or .npy masks of the same names; --as masks={place} takes them" for place in arrays
        ]
        return (drawn[0], notes) if len(drawn) == 1 else (_decided(root, drawn)[0], notes)
    for place_in, key, secondary in (
        (_Reading.place_of_masks, "masks", _SECOND_MASKS),
        (_Reading.place_of_images, "images", _SECOND_IMAGES),
    ):
        first = [r for r in rivals if not r.words(key) & secondary]
        if first and len({place_in(r) for r in first}) == 1 < len({place_in(r) for r in rivals}):
            notes = [
                f"{place}/ fits as well, but by its name comes second; --as {key}={place} takes it"
                for place in dict.fromkeys(place_in(r) for r in rivals if r not in first)
            ]
            if len(first) == 1:
                return first[0], notes
            best, more = _decided(root, first)
            return best, notes + more
    mask_places = list(dict.fromkeys(r.mask_place for r in rivals))
    image_places = list(dict.fromkeys(r.image_place for r in rivals))
    what, key, places = (
        ("masks", "masks", mask_places) if len(mask_places) > 1 else ("pictures", "images", image_places)
    )
    raise DataQuestion(
        f"{root} has {what} in {' and in '.join(places)}, and {'both' if len(places) == 2 else 'all'} fit all the same;"
        " which are meant?",
        [f"{key}={place}" for place in places],
    )


def _check_one_set(root: Path, reading: "_Reading", told: Mapping[Path, _Directory]) -> None:
    """Pictures and masks in several folders below must be parts of one set, by the names of these folders.

    Raises:
        SeveralSets: they are sets of their own.
    """
    homes = dict.fromkeys(told[image.parent].home for image, _ in reading.pairs.values())
    masks = {told[mask.parent].home for _, mask in reading.pairs.values()}
    if 1 < len(homes) <= MOST_SETS and "" not in homes and masks == set(homes):
        if len({_NUMBER.sub("#", home.lower()) for home in homes}) > 1:
            also = ", or put the pictures of all into one images/ and their masks into one masks/"
            raise several_sets(root, [root / home for home in homes], also)


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

    def place_of_masks(self) -> str:
        return self.mask_place

    def place_of_images(self) -> str:
        return self.image_place

    def words(self, key: str) -> frozenset[str]:
        """The words in the names of the place of the "masks" or "images"."""
        image, mask = next(iter(self.pairs.values()))
        place, file = (self.mask_place, mask) if key == "masks" else (self.image_place, image)
        parts = place.count("/") + 1
        return words_in(place) | frozenset[str]().union(*map(words_in, file.parent.parts[-parts:]))


def _readings(
    root: Path,
    images: Mapping[Path, tuple[Path, ...]],
    masks: Mapping[Path, tuple[Path, ...]],
    others: Mapping[Path, tuple[Path, ...]],
    told: Mapping[Path, _Directory],
) -> list[_Reading]:
    """Every combination of a name for pictures and a name for masks that pairs anything; `others` as a last resort."""
    # in scene1/images, scene1/masks, scene2/… what belongs together has the same folder above on both sides
    apart = {told[directory].home for directory in images} != {told[directory].home for directory in masks}

    def grouped(part: Mapping[Path, tuple[Path, ...]]) -> dict[str, list[tuple[_Key, Path]]]:
        groups: dict[str, list[tuple[_Key, Path]]] = {}
        homes: dict[str, set[str]] = {}
        for directory, files in part.items():
            groups.setdefault(told[directory].word, []).extend((_key(told[directory], file), file) for file in files)
            homes.setdefault(told[directory].word, set()).add(told[directory].home)
        for directory, files in part.items():  # auto/labels and manual/labels, each by itself
            about = told[directory]
            if apart and 1 < len(homes[about.word]) <= MOST_SETS and about.home:
                alone = replace(about, below=about.below.removeprefix(about.home).lstrip("/"))
                place = f"{about.home}/{about.word}"
                groups.setdefault(place, []).extend((_key(alone, file), file) for file in files)
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
    bare = (_without_splits(images), _without_splits(masks))
    ways = [(images, masks, rule) for rule in _rules([k.stem for k, _ in images], [k.stem for k, _ in masks])]
    if bare != (images, masks):
        ways += [(*bare, rule) for rule in _rules([k.stem for k, _ in bare[0]], [k.stem for k, _ in bare[1]], True)]
    results = []
    for image_files, mask_files, rule in ways:
        pictures, image_twins = _by_key(image_files, rule.image)
        targets, mask_twins = _by_key(mask_files, rule.mask)
        second = {path for _, path in (*image_twins, *mask_twins)}
        doubted = {_shared(key, rule.image) for key, path in image_files if path in second}
        doubted |= {_shared(key, rule.mask) for key, path in mask_files if path in second}
        pairs = {key: (pictures[key], targets[key]) for key in pictures if key in targets}
        results.append(
            _Reading(
                image_place,
                mask_place,
                rule,
                pairs,
                tuple((key, path) for key, path in pictures.items() if key not in targets and key not in doubted),
                tuple((key, path) for key, path in targets.items() if key not in pictures and key not in doubted),
                (*image_twins, *mask_twins),
            )
        )
        if len(results) == 1 and len(pairs) == len(image_files) == len(mask_files):
            break  # all have equal names: no other rule counts
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


def _without_splits(files: list[tuple[_Key, Path]]) -> list[tuple[_Key, Path]]:
    """The files with stems that do not begin or end with their own split's word: 21 for training/21_training."""
    found = []
    for key, path in files:
        stem = key.stem
        for word, split in SPLIT_WORDS.items():
            if split == key.split and len(stem) > len(word) + 1:
                stem = re.sub(rf"(?<=.)[_\-. ]+{word}$|^{word}[_\-. ]+(?=.)", "", stem, flags=re.IGNORECASE)
        found.append((key._replace(stem=stem), path))
    return found


def _shared(key: _Key, stem: Callable[[str], str]) -> _Key:
    return key._replace(stem=stem(key.stem))


def _by_key(
    files: list[tuple[_Key, Path]], stem: Callable[[str], str]
) -> tuple[dict[_Key, Path], list[tuple[Path, Path]]]:
    """{key: file}, and the twins: files with one key, of which none is kept."""
    found: dict[_Key, Path] = {}
    twins = []
    for key, path in files:
        shared = _shared(key, stem)
        if shared in found:
            twins.append((found[shared], path))
        else:
            found[shared] = path
    for first, _ in twins:
        found = {key: path for key, path in found.items() if path != first}
    return found, twins


def _rules(images: list[str], masks: list[str], changed: bool = False) -> list[_Rule]:
    """The rules to try, the plainest first; `changed`: the stems are no longer those of the files."""

    def same(stem: str) -> str:
        return stem

    rules = [_Rule("" if changed else "a picture and its mask have the same name", same, same)]
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
    if not changed:
        told = "a picture and its mask have the same name, but for upper and lower case"
        rules.append(_Rule(told, str.lower, str.lower))
    return rules


def _without_word(words: list[str]) -> Callable[[str], str]:
    joined = "|".join(words)
    pattern = re.compile(rf"^(?:{joined})[_\-. ]+(?=.)|(?<=.)(?:[_\-. ]+(?:{joined}))+(?:\d\d)?$", re.IGNORECASE)
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
            "twin",
            second,
            f"{first} and {second} have the same name, so that their pair is in doubt",
            "rename or remove one",
        )
        for first, second in reading.twins
    ]
    notes = []
    bare = {key.split for key, _ in reading.lone_images} - {key.split for key in reading.pairs}
    bare -= {key.split for key, _ in reading.lone_masks}
    for split in sorted(split or "" for split in bare):
        alone = [path for key, path in reading.lone_images if key.split == (split or None)]
        where = alone[0].parent
        reason = f"the {len(alone)} pictures of {split or 'no split'}, as {alone[0]}, have no masks and are left out"
        faults.append(Fault("warning", "orphan", where, reason, "add the masks, or leave them for prediction"))
    known = {key._replace(below="") for key in reading.pairs if not key.below}
    second = [path for key, path in reading.lone_masks if key.below and key._replace(below="") in known]
    passed = set(second)
    if second:
        places = ", ".join(dict.fromkeys(path.parent.relative_to(root).as_posix() for path in second[:200]))
        notes.append(f"{len(second)} masks in {places} have the names of others that are taken, and are passed over")
    lone_masks = tuple((key, path) for key, path in reading.lone_masks if path not in passed)
    doubted = {key.split for key, _ in reading.lone_images} & {key.split for key, _ in lone_masks}
    for kind, partner, lone in (
        ("picture", "mask", reading.lone_images),
        ("mask", "picture", lone_masks),
    ):
        for key, path in lone:
            if key.split in bare:
                continue
            if key.split in doubted:
                reason = f"{path} has no {partner}, and there are also files left over on the other side"
                faults.append(Fault("error", "orphan", path, reason, "give both the same name, or remove them"))
            else:
                reason = f"{path} has no {partner} and is left out"
                faults.append(Fault("warning", "orphan", path, reason, f"add the {partner}"))
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
    if not reading.matched and reading.lone_images and reading.lone_masks:
        raise _no_match(reading)
    image = reading.lone_images[0][1] if reading.lone_images else None
    mask = reading.lone_masks[0][1] if reading.lone_masks else None
    examples = f", as {image.name} and {mask.name}" if image and mask else ""
    raise DataError(
        f"only {reading.matched} of {images} pictures and {masks} masks under {root} have names that fit{examples}; "
        "expected a mask with its picture's name: rename them"
    )


def _no_match(reading: _Reading) -> DataError:
    """No picture has a mask: where the folders differ that is said, else what name was expected."""
    images, masks = len(reading.lone_images), len(reading.lone_masks)
    image, mask = reading.lone_images[0][1], reading.lone_masks[0][1]
    without = _without_word(_MASK_AFFIXES)
    by_stem = {key.stem: path for key, path in reading.lone_images}
    for other, path in reading.lone_masks:
        for stem in (other.stem, without(other.stem)):
            if stem in by_stem:
                return DataError(
                    f"{path} has the name of {by_stem[stem]}, but no mask lies where its picture does; expected "
                    "the same folders of splits and parts on both sides: move them so"
                )
    return DataError(
        f"none of the {images} pictures in {image.parent} has a mask by its name among the {masks} in {mask.parent}, "
        f"as {mask.name}; expected for {image.name} a mask {image.stem}.png or {image.stem}_mask.png: rename them"
    )


def _question_of_parts(root: Path, reading: _Reading) -> DataQuestion | None:
    """Which folder of masks is meant, where the masks lie in several and each has one for the same pictures."""
    if reading.matched or len({key.below for key, _ in reading.lone_images}) != 1:
        return None
    parts: dict[str, list[tuple[_Key, Path]]] = {}
    for key, path in reading.lone_masks:
        parts.setdefault(key.below, []).append((key, path))
    fit = []
    for below, masks in parts.items():
        try:
            found = _paired(root, reading.image_place, below, list(reading.lone_images), masks)
        except DataError:
            continue
        if found.matched and 2 * found.matched >= min(len(reading.lone_images), len(masks)):
            fit.append(below)
    if not 1 < len(fit) <= 12 or "" in fit:
        return None
    return DataQuestion(
        f"{root} has masks for the same pictures in {' and in '.join(fit)}, expected one mask for each picture of all "
        "classes; which are meant?",
        [f"masks={below}" for below in fit],
    )


def _side_by_side(root: Path, found: Mapping[Path, tuple[Path, ...]], told: Mapping[Path, _Directory]) -> Layout:
    """Pictures and masks in the same directories, told apart by a word in their names, or as a.jpg and a.png."""
    without = _without_word(_MASK_AFFIXES)
    images: list[tuple[_Key, Path]] = []
    masks: list[tuple[_Key, Path]] = []
    others: list[tuple[_Key, Path]] = []
    again: list[tuple[_Key, Path]] = []
    for directory, files in found.items():
        for file in files:
            key = _key(told[directory], file)
            if _DRAWN_AGAIN.search(key.stem) and words_in(key.stem) & _SIDE_WORDS:
                again.append((key, file))
                continue
            if _OTHERS.search(key.stem):
                others.append((key, file))
                continue
            (masks if without(key.stem) != key.stem else images).append((key, file))
    if masks:
        others += again
    else:
        masks = again
    if others and not (masks and images):  # their names are those of pictures, then
        images, others = sorted(images + others, key=lambda item: item[1]), []
    if masks and not images:
        raise DataError(
            f"all {len(masks)} files under {root} are masks by their names, as {masks[0][1].name}; "
            "expected their pictures beside them or in images/: add them"
        )
    if masks:
        reading = _paired(root, "pictures", "masks", images, masks)
        _check_enough(reading, root)
        layout = _layout(root, reading, "pictures and masks side by side")
        note = (
            f"{len(others)} files that are neither by their names, as {others[0][1].name}, are passed over"
            if others
            else ""
        )
        return replace(layout, notes=(*layout.notes, note)) if note else layout
    for directory in directories(root, 3):
        if directory != root and _directory(root, directory, NOTHING).role == "mask":
            foreign = foreign_annotations(root)
            raise DataError(
                f"{directory} holds no masks that can be read; "
                + (foreign or "expected PNG, TIFF or other pictures: export them there")
            )
    lossy = [(key, file) for key, file in images if file.suffix.lower() in (".jpg", ".jpeg", ".jpe", ".jfif")]
    lossless = [(key, file) for key, file in images if file.suffix.lower() == ".png"]
    if len(lossy) == len(lossless) and {key for key, _ in lossy} == {key for key, _ in lossless} and lossy:
        reading = _paired(root, "pictures", "masks", lossy, lossless)
        return _layout(root, reading, "pictures (JPEG) and masks (PNG) side by side")
    foreign = foreign_files(root) or foreign_annotations(root) or _ends_beside([key.stem for key, _ in images])
    if foreign:
        raise DataError(f"{len(images)} pictures but no masks under {root}; {foreign}")
    raise DataError(
        f"{len(images)} pictures but no masks under {root}; expected a folder masks/ (or labels/, annotations/) "
        "beside images/, or files like a_mask.png: add the masks"
    )


def _ends_beside(stems: list[str]) -> str:
    """What to do where the names of some pictures go on in those of others (a, a_1stHO), in words; or nothing."""
    known = set(stems)
    ends: Counter[str] = Counter()
    for stem in stems:
        for at in range(len(stem) - 1, 0, -1):
            if stem[at] in "_-. " and stem[:at] in known:
                ends[stem[at:]] += 1
                break
    starts = len(stems) - sum(ends.values())
    fit = [end for end, count in ends.items() if 2 * count >= starts and not end[1:].isdecimal()]
    if not fit or len(fit) > 4:
        return ""
    shown = " or ".join(f"*{end}" for end in fit)
    return f"perhaps {shown} are the masks: rename those that are meant to *_mask, or move them into masks/"


def _question_of_places(
    root: Path, pictures: Mapping[Path, tuple[Path, ...]], told: Mapping[Path, _Directory]
) -> DataQuestion | None:
    """Which directory is that of the masks, where several hold files of the same names; None where none do."""
    groups: dict[str, list[_Key]] = {}
    spoken: set[str] = set()
    for directory, files in pictures.items():
        about = told[directory]
        place = about.word or about.below
        if about.role == "left out" or not place:
            continue
        if about.role == "image":
            spoken.add(place)
        groups.setdefault(place, []).extend(_Key(about.split, "", normal(file.stem)) for file in files)
    keys = {place: set(found) for place, found in groups.items() if len(set(found)) == len(found)}
    fit = [
        place
        for place in keys
        if any(other != place and 2 * len(keys[other] & keys[place]) >= len(keys[place]) for other in keys)
    ]
    offered = [place for place in fit if place not in spoken]
    if len(fit) < 2 or not offered or len(fit) > 8:
        return None
    return DataQuestion(
        f"{root} has files of the same names in {' and in '.join(fit)}, and no name says which are masks; which are?",
        [f"masks={place}" for place in offered],
    )


def _loose_mask(root: Path, directory: Path, about: _Directory) -> _Directory | None:
    """A directory for masks by one word of its name, or of one above it; None where no word says so."""
    parts = directory.relative_to(root).parts
    first = next((i for i, part in enumerate(parts) if words_of(part) == (None, None) and says_mask(part)), None)
    if first is None:
        return None
    if says_mask(parts[-1]):
        first = len(parts) - 1
    word = "/".join(rest for part in parts[first:] if (rest := split_aside(part)[1].lower()))
    return replace(about, role="mask", word=word, below="")


def _left_out(
    root: Path,
    best: "_Reading",
    found: Mapping[Path, tuple[Path, ...]],
    told: Mapping[Path, _Directory],
) -> list[str]:
    """Notes of the directories that an answer left out and that hold masks for the same pictures, too."""
    groups: dict[str, list[tuple[_Key, Path]]] = {}
    belows = {key.below for key in best.pairs}
    for directory, files in found.items():
        below = told[directory].below
        place = below if below and below not in belows and belows == {""} else told[directory].word
        groups.setdefault(place, []).extend((_key(told[directory], file), file) for file in files)
    used = [(key, image) for key, (image, _) in best.pairs.items()] + list(best.lone_images)
    images = [(_Key(key.split, "", normal(path.stem)), path) for key, path in used]
    notes = []
    for place, masks in groups.items():
        masks = [(key._replace(below=""), path) for key, path in masks]
        try:
            matched = _paired(root, best.image_place, place, images, masks).matched
        except DataError:
            continue
        if 2 * matched >= min(len(images), len(masks)):
            notes.append(f"{len(masks)} files in {place}/ fit, too, and are left out; --as masks={place} takes them")
    return notes


def _told(root: Path, found: Iterable[Path], answers: Answers) -> dict[Path, _Directory]:
    """What the names of all directories say.

    Words for splits among other words (uavid_train, DUTS-TR-Mask) count where they give every directory a split.
    """
    found = list(found)
    told = {directory: _directory(root, directory, answers) for directory in found}
    apart = {directory: _directory(root, directory, answers, apart=True) for directory in found}
    splits = {about.split for about in apart.values()}
    if None not in splits and "" not in splits and len(splits) > 1:
        told = apart
    for role in ("mask", "image"):
        if any(about.chosen and about.role == role and not about.deeper for about in told.values()):
            for directory, about in told.items():
                if about.chosen and about.role == role and about.deeper:
                    told[directory] = replace(_directory(root, directory, NOTHING), role="left out", chosen=False)
    return told


def _directory(root: Path, directory: Path, answers: Answers, apart: bool = False) -> _Directory:
    """What the names between `root` and a directory say; an answer decides, else the deepest word.

    Args:
        apart: words for splits count among other words, too; where two contradict each other, the split is "".
    """
    parts = directory.relative_to(root).parts
    named = _named_part(parts, "mask", answers.masks) or _named_part(parts, "image", answers.images)
    if named is not None:
        after = [part_role for part in parts[named[1].stop :] if (part_role := words_of(part)[0]) is not None]
        if after and after[-1] != named[0]:
            named = None
    deeper = named is not None and any(words_of(part)[0] for part in parts[named[1].stop :])
    role, word, split, below, home = None, "", None, list[str](), None
    for i, part in enumerate(parts):
        part_role, part_split = words_of(part)
        if words_in(part) & _HOW and any(words_of(later)[0] for later in parts[i + 1 :]):
            part_role = None  # manual/labels beside auto/labels
        if named is not None and i in named[1]:
            split = part_split or (split_aside(part)[0] if apart else None) or split
            role, word = named[0], _path_word(parts, named[1])
        elif part_role is None and part_split is None:
            aside, rest = split_aside(part)
            if apart and aside is not None:
                split = aside if split in (None, aside) else ""
                part = rest
            if part:
                below.append(normal(part))
            continue
        else:
            if part_role is not None and (named is None or i < min(named[1])):
                role, word = part_role, place_of(part)
            if part_split is not None:
                split = part_split if not apart or split in (None, part_split) else ""
        if home is None:
            home = "/".join(below)
    if named is not None:
        role, word = named[0], _path_word(parts, named[1])
    elif (role == "mask" and answers.masks is not None) or (role == "image" and answers.images is not None):
        role, word = "left out", word
    return _Directory(role, word, split, "/".join(below), home or "", named is not None, deeper)


def _named_part(parts: tuple[str, ...], role: str, name: str | None) -> tuple[str, range] | None:
    """(role, which of a path's parts an answer names): its words in a row, the last perhaps without its split."""
    if name is None:
        return None
    wanted = tuple(part for part in normal(name).lower().replace("\\", "/").split("/") if part not in ("", "."))
    if not wanted:
        return (role, range(0)) if not parts else None
    lowered = tuple(normal(part).lower() for part in parts)
    for start in range(len(parts) - len(wanted) + 1):
        if lowered[start : start + len(wanted)] == wanted:
            return role, range(start, start + len(wanted))
    plain = tuple(place_of(part) for part in parts)
    if len(wanted) > 1:  # home/word, with a split between them
        ends = [i for i, part in enumerate(plain) if part == wanted[-1] and words_of(parts[i])[0]]
        if ends and "/".join(p for p in lowered[: ends[-1]] if words_of(p) == (None, None)) == "/".join(wanted[:-1]):
            return role, range(ends[-1], ends[-1] + 1)
        return _without_split_words(parts, role, wanted)
    for start, part in enumerate(plain):
        if part == wanted[0] and words_of(parts[start])[0] is not None:
            return role, range(start, start + 1)
    return _without_split_words(parts, role, wanted)


def _without_split_words(parts: tuple[str, ...], role: str, wanted: tuple[str, ...]) -> tuple[str, range] | None:
    """As `_named_part`, where the names hold words for splits among others: uavid/labels is uavid_train/labels."""
    rests = [(i, rest.lower()) for i, part in enumerate(parts) if (rest := split_aside(part)[1])]
    if len(rests) == len(parts) and all(rest == normal(parts[i]).lower() for i, rest in rests):
        return None
    for start in range(len(rests) - len(wanted) + 1):
        if tuple(rest for _, rest in rests[start : start + len(wanted)]) == wanted:
            return role, range(rests[start][0], rests[start + len(wanted) - 1][0] + 1)
    return None


def _path_word(parts: tuple[str, ...], span: range) -> str:
    if not span:
        return "."
    last = place_of(parts[span[-1]])
    if words_of(parts[span[-1]]) == (None, None):
        last = split_aside(parts[span[-1]])[1].lower() or last
    return "/".join([*(normal(parts[i]).lower() for i in span[:-1]), last])


def _key(about: _Directory, file: Path) -> _Key:
    return _Key(about.split, about.below, normal(file.stem))


def _some(directories: Mapping[Path, object]) -> str:
    first = next(iter(directories))
    return str(first) + (f" and {len(directories) - 1} more" if len(directories) > 1 else "")
