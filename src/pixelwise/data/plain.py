"""The plain folder: images/ and masks/ in their usual names, with or without train, val, test; or side by side.

A directory's part is read from its name: words for pictures (images, imgs, x, …), for masks (masks, labels, y, …) and
for splits (train, val, test), alone or together (train_images, trainannot), above or below each other; numbers and
words like set or data beside them do not matter (train2017, training set). Directories with other names are passed
over, unless they are the only place where pictures for the masks can be, or nothing else is understood and one of
their words is one for masks (my_labels). Without a directory of masks, files in one directory are told apart by such a
word at the end or start of their names (a.jpg, a_mask.png), or by a.jpg standing beside a.png; files called depth, hha
or the like are neither. `--as masks=NAME` and `images=NAME` name the directory, by a path below the folder or its last
part, whatever it is called.

Masks are pictures, or arrays in .mat and .npy files. Where both have the same names, the pictures count.

Files are paired by stem within their split and sub-folder, in Unicode's composed form. If stems differ, the rule is
learned: words for pictures and masks at the ends of the stems, or what all pictures and all masks have at their ends.
The rule that pairs most files is taken, if it pairs at least half of the pictures or of the masks and no other rule
pairs as many in another way. Of several directories for masks or pictures the one that pairs most is taken; where two
pair as many, it is asked.

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
    foreign_files,
    normal,
)
from pixelwise.data.sample import Pair
from pixelwise.data.words import IMAGE_WORDS, MASK_WORDS, place_of, says_mask, words_of
from pixelwise.errors import DataError, DataQuestion

_NUMBER = re.compile(r"(?<![0-9a-z])[0-9a-f]{6,}(?![0-9a-z])|\d+")  # decimal, or long and hexadecimal

MOST_SETS = 40
"""A folder with more folders than this is not looked through for sets of their own: they are parts of one."""

_IMAGE_AFFIXES = sorted(IMAGE_WORDS - {"x", "raw"} | {"sat", "rgb"}, key=len, reverse=True)
_MASK_AFFIXES = sorted(MASK_WORDS - {"y"}, key=len, reverse=True)
_OTHERS = re.compile(  # files beside pictures and masks that are neither
    r"(^|[_\-. ])(depth|disparity|disp|hha|normals?|overlay|blend|vis|preview|instances?|instanceids"
    r"|pred|predictions?|predicted)([_\-. ][^_]*)?$",
    re.IGNORECASE,
)


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
    told = {directory: _directory(root, directory, answers) for directory in found}
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
    if not masks:
        try:
            return _side_by_side(root, pictures, told)
        except DataError:
            loose = {
                d: replace(told[d], role="mask", word=normal(d.name).lower(), below="")
                for d in found
                if d != root and told[d].role is None and says_mask(d.name)
            }
            if not loose:
                raise
            told |= loose
            masks = {d: found[d] for d in loose}
    masks, notes = _without_doubles(masks)
    images = {d: files for d, files in pictures.items() if told[d].role == "image"}
    others = {d: files for d, files in pictures.items() if told[d].role is None}
    readings = _readings(root, images, masks, others, told)
    if not readings:
        count = sum(len(files) for files in masks.values())
        foreign = foreign_files(root)
        raise DataError(
            f"{count} masks in {_some(masks)}, but no pictures for them under {root}; "
            + (foreign or "expected a folder images/ beside masks/: add it")
        )
    best = max(readings, key=lambda reading: reading.matched)
    _check_enough(best, root)
    rivals = [r for r in readings if r.matched == best.matched and set(r.pairs.values()) != set(best.pairs.values())]
    if rivals:
        best, told_so = _decided(root, [best, *rivals])
        notes += told_so
    for place in dict.fromkeys(r.mask_place for r in readings if 2 * r.matched >= best.matched):
        if place != best.mask_place and not any(f"masks={place} " in note for note in notes):
            if not place.endswith("/" + best.mask_place):
                notes.append(f"masks in {place}/ fit, too, but fewer; --as masks={place} takes them")
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
    pattern = re.compile(rf"^(?:{joined})[_\-. ]+(?=.)|(?<=.)[_\-. ]+(?:{joined})(?:\d\d)?$", re.IGNORECASE)
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
    doubted = {key.split for key, _ in reading.lone_images} & {key.split for key, _ in reading.lone_masks}
    for kind, partner, lone in (
        ("picture", "mask", reading.lone_images),
        ("mask", "picture", reading.lone_masks),
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
    others: list[tuple[_Key, Path]] = []
    for directory, files in found.items():
        for file in files:
            key = _key(told[directory], file)
            if _OTHERS.search(key.stem):
                others.append((key, file))
                continue
            (masks if without(key.stem) != key.stem else images).append((key, file))
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
            raise DataError(
                f"{directory} holds no masks that can be read; expected PNG, TIFF or other pictures: export them there"
            )
    lossy = [(key, file) for key, file in images if file.suffix.lower() in (".jpg", ".jpeg", ".jpe", ".jfif")]
    lossless = [(key, file) for key, file in images if file.suffix.lower() == ".png"]
    if len(lossy) == len(lossless) and {key for key, _ in lossy} == {key for key, _ in lossless} and lossy:
        reading = _paired(root, "pictures", "masks", lossy, lossless)
        return _layout(root, reading, "pictures (JPEG) and masks (PNG) side by side")
    foreign = foreign_files(root)
    if foreign:
        raise DataError(f"{len(images)} pictures but no masks under {root}; {foreign}")
    raise DataError(
        f"{len(images)} pictures but no masks under {root}; expected a folder masks/ (or labels/, annotations/) "
        "beside images/, or files like a_mask.png: add the masks"
    )


def _directory(root: Path, directory: Path, answers: Answers) -> _Directory:
    """What the names between `root` and a directory say; an answer decides, else the deepest word."""
    parts = directory.relative_to(root).parts
    named = _named_part(parts, "mask", answers.masks) or _named_part(parts, "image", answers.images)
    role, word, split, below, home = None, "", None, list[str](), None
    for i, part in enumerate(parts):
        part_role, part_split = words_of(part)
        if named is not None and i in named[1]:
            split = part_split or split
            role, word = named[0], _path_word(parts, named[1])
        elif part_role is None and part_split is None:
            below.append(normal(part))
            continue
        else:
            if part_role is not None and (named is None or i < min(named[1])):
                role, word = part_role, place_of(part)
            split = part_split or split
        if home is None:
            home = "/".join(below)
    if named is not None:
        role, word = named[0], _path_word(parts, named[1])
    elif (role == "mask" and answers.masks is not None) or (role == "image" and answers.images is not None):
        role, word = "left out", word
    return _Directory(role, word, split, "/".join(below), home or "", named is not None)


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
        return None
    for start, part in enumerate(plain):
        if part == wanted[0] and words_of(parts[start])[0] is not None:
            return role, range(start, start + 1)
    return None


def _path_word(parts: tuple[str, ...], span: range) -> str:
    return "/".join([*(normal(parts[i]).lower() for i in span[:-1]), place_of(parts[span[-1]])]) if span else "."


def _key(about: _Directory, file: Path) -> _Key:
    return _Key(about.split, about.below, normal(file.stem))


def _some(directories: Mapping[Path, object]) -> str:
    first = next(iter(directories))
    return str(first) + (f" and {len(directories) - 1} more" if len(directories) > 1 else "")
