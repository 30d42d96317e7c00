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
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.decode import MASK_EXTENSIONS
from pixelwise.data.layout import (
    ARRAY_EXTENSIONS,
    Layout,
    directories,
    files_below,
    foreign_annotations,
    foreign_files,
    normal,
)
from pixelwise.data.plain_names import Directory, Key, key_of, read_directory
from pixelwise.data.plain_pairs import MASK_AFFIXES, Reading, layout_of, paired, without_word
from pixelwise.data.words import (
    MASK_WORDS,
    says_mask,
    split_aside,
    words_in,
    words_of,
)
from pixelwise.errors import DataError, DataQuestion

_NUMBER = re.compile(r"(?<![0-9a-z])[0-9a-f]{6,}(?![0-9a-z])|\d+")  # decimal, or long and hexadecimal

MOST_SETS = 40
"""A folder with more folders than this is not looked through for sets of their own: they are parts of one."""

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


_SIDE_WORDS = MASK_WORDS - {"y"}


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
    layout = layout_of(
        root, best, f"pictures in {best.image_place}/, masks in {best.mask_place}/".replace("./,", "the folder itself,")
    )
    return replace(layout, notes=(*layout.notes, *notes))


def _check_answers(root: Path, found: Mapping[Path, object], told: Mapping[Path, Directory], answers: Answers) -> None:
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


def _decided(root: Path, rivals: list[Reading]) -> tuple[Reading, list[str]]:
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
        (Reading.place_of_masks, "masks", _SECOND_MASKS),
        (Reading.place_of_images, "images", _SECOND_IMAGES),
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


def _check_one_set(root: Path, reading: Reading, told: Mapping[Path, Directory]) -> None:
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


def _readings(
    root: Path,
    images: Mapping[Path, tuple[Path, ...]],
    masks: Mapping[Path, tuple[Path, ...]],
    others: Mapping[Path, tuple[Path, ...]],
    told: Mapping[Path, Directory],
) -> list[Reading]:
    """Every combination of a name for pictures and a name for masks that pairs anything; `others` as a last resort."""
    # in scene1/images, scene1/masks, scene2/… what belongs together has the same folder above on both sides
    apart = {told[directory].home for directory in images} != {told[directory].home for directory in masks}

    def grouped(part: Mapping[Path, tuple[Path, ...]]) -> dict[str, list[tuple[Key, Path]]]:
        groups: dict[str, list[tuple[Key, Path]]] = {}
        homes: dict[str, set[str]] = {}
        for directory, files in part.items():
            groups.setdefault(told[directory].word, []).extend((key_of(told[directory], file), file) for file in files)
            homes.setdefault(told[directory].word, set()).add(told[directory].home)
        for directory, files in part.items():  # auto/labels and manual/labels, each by itself
            about = told[directory]
            if apart and 1 < len(homes[about.word]) <= MOST_SETS and about.home:
                alone = replace(about, below=about.below.removeprefix(about.home).lstrip("/"))
                place = f"{about.home}/{about.word}"
                groups.setdefault(place, []).extend((key_of(alone, file), file) for file in files)
        return groups

    mask_groups = grouped(masks)
    image_groups = grouped(images)
    if not image_groups:  # pictures right in the folder, in train, val, test, or in a folder with a name of its own
        for directory, files in others.items():
            name = told[directory].below or "."
            about = replace(told[directory], below="" if name != "." else told[directory].below)
            image_groups.setdefault(name, []).extend((key_of(about, file), file) for file in files)
    readings = []
    for image_place, image_files in image_groups.items():
        for mask_place, mask_files in mask_groups.items():
            readings.append(paired(root, image_place, mask_place, image_files, mask_files))
    return [reading for reading in readings if reading.matched] or readings


def _check_enough(reading: Reading, root: Path) -> None:
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


def _no_match(reading: Reading) -> DataError:
    """No picture has a mask: where the folders differ that is said, else what name was expected."""
    images, masks = len(reading.lone_images), len(reading.lone_masks)
    image, mask = reading.lone_images[0][1], reading.lone_masks[0][1]
    without = without_word(MASK_AFFIXES)
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


def _question_of_parts(root: Path, reading: Reading) -> DataQuestion | None:
    """Which folder of masks is meant, where the masks lie in several and each has one for the same pictures."""
    if reading.matched or len({key.below for key, _ in reading.lone_images}) != 1:
        return None
    parts: dict[str, list[tuple[Key, Path]]] = {}
    for key, path in reading.lone_masks:
        parts.setdefault(key.below, []).append((key, path))
    fit = []
    for below, masks in parts.items():
        try:
            found = paired(root, reading.image_place, below, list(reading.lone_images), masks)
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


def _side_by_side(root: Path, found: Mapping[Path, tuple[Path, ...]], told: Mapping[Path, Directory]) -> Layout:
    """Pictures and masks in the same directories, told apart by a word in their names, or as a.jpg and a.png."""
    without = without_word(MASK_AFFIXES)
    images: list[tuple[Key, Path]] = []
    masks: list[tuple[Key, Path]] = []
    others: list[tuple[Key, Path]] = []
    again: list[tuple[Key, Path]] = []
    for directory, files in found.items():
        for file in files:
            key = key_of(told[directory], file)
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
        reading = paired(root, "pictures", "masks", images, masks)
        _check_enough(reading, root)
        layout = layout_of(root, reading, "pictures and masks side by side")
        note = (
            f"{len(others)} files that are neither by their names, as {others[0][1].name}, are passed over"
            if others
            else ""
        )
        return replace(layout, notes=(*layout.notes, note)) if note else layout
    for directory in directories(root, 3):
        if directory != root and read_directory(root, directory, NOTHING).role == "mask":
            foreign = foreign_annotations(root)
            raise DataError(
                f"{directory} holds no masks that can be read; "
                + (foreign or "expected PNG, TIFF or other pictures: export them there")
            )
    lossy = [(key, file) for key, file in images if file.suffix.lower() in (".jpg", ".jpeg", ".jpe", ".jfif")]
    lossless = [(key, file) for key, file in images if file.suffix.lower() == ".png"]
    if len(lossy) == len(lossless) and {key for key, _ in lossy} == {key for key, _ in lossless} and lossy:
        reading = paired(root, "pictures", "masks", lossy, lossless)
        return layout_of(root, reading, "pictures (JPEG) and masks (PNG) side by side")
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
    root: Path, pictures: Mapping[Path, tuple[Path, ...]], told: Mapping[Path, Directory]
) -> DataQuestion | None:
    """Which directory is that of the masks, where several hold files of the same names; None where none do."""
    groups: dict[str, list[Key]] = {}
    spoken: set[str] = set()
    for directory, files in pictures.items():
        about = told[directory]
        place = about.word or about.below
        if about.role == "left out" or not place:
            continue
        if about.role == "image":
            spoken.add(place)
        groups.setdefault(place, []).extend(Key(about.split, "", normal(file.stem)) for file in files)
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


def _loose_mask(root: Path, directory: Path, about: Directory) -> Directory | None:
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
    best: Reading,
    found: Mapping[Path, tuple[Path, ...]],
    told: Mapping[Path, Directory],
) -> list[str]:
    """Notes of the directories that an answer left out and that hold masks for the same pictures, too."""
    groups: dict[str, list[tuple[Key, Path]]] = {}
    belows = {key.below for key in best.pairs}
    for directory, files in found.items():
        below = told[directory].below
        place = below if below and below not in belows and belows == {""} else told[directory].word
        groups.setdefault(place, []).extend((key_of(told[directory], file), file) for file in files)
    used = [(key, image) for key, (image, _) in best.pairs.items()] + list(best.lone_images)
    images = [(Key(key.split, "", normal(path.stem)), path) for key, path in used]
    notes = []
    for place, masks in groups.items():
        masks = [(key._replace(below=""), path) for key, path in masks]
        try:
            matched = paired(root, best.image_place, place, images, masks).matched
        except DataError:
            continue
        if 2 * matched >= min(len(images), len(masks)):
            notes.append(f"{len(masks)} files in {place}/ fit, too, and are left out; --as masks={place} takes them")
    return notes


def _told(root: Path, found: Iterable[Path], answers: Answers) -> dict[Path, Directory]:
    """What the names of all directories say.

    Words for splits among other words (uavid_train, DUTS-TR-Mask) count where they give every directory a split.
    """
    found = list(found)
    told = {directory: read_directory(root, directory, answers) for directory in found}
    apart = {directory: read_directory(root, directory, answers, apart=True) for directory in found}
    splits = {about.split for about in apart.values()}
    if None not in splits and "" not in splits and len(splits) > 1:
        told = apart
    for role in ("mask", "image"):
        if any(about.chosen and about.role == role and not about.deeper for about in told.values()):
            for directory, about in told.items():
                if about.chosen and about.role == role and about.deeper:
                    told[directory] = replace(read_directory(root, directory, NOTHING), role="left out", chosen=False)
    return told


def _some(directories: Mapping[Path, object]) -> str:
    first = next(iter(directories))
    return str(first) + (f" and {len(directories) - 1} more" if len(directories) > 1 else "")
