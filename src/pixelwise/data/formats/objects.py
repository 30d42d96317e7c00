"""One mask file for each object, or for each class: several black-and-white files that together are one mask.

    <id>/images/<id>.png  <id>/masks/*.png                     Data Science Bowl 2018
    images/<stem>.png     masks/<stem>/*.png
    images/<stem>.png     masks/<stem>_1.png, <stem>_mask_2.png, …, also side by side where names say "mask"
    images/<stem>.png     masks/<stem>_<class>.png, masks/<stem>_<class>_1.png
    images/<stem>.png     masks/<class>/<stem>.png             the same pictures in two classes or more

Where what is left of the names without stem, digits and words for masks is made of letters alone, it is the class;
otherwise all objects are of one class. In each file whatever is not black (or is opaque) is the object. Where objects
of different classes overlap, the class that comes later in the alphabet lies on top.

A folder is read so only where a picture has several such files, and those that are looked at hold two values each: a
plain folder has one mask for each picture, and is `pixelwise.data.plain`'s.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.decode import decode_mask, image_info
from pixelwise.data.formats.finding import counted, into_splits, is_background, split_of_directory, unique_names
from pixelwise.data.layout import Fault, Layout, normal, pictures_below
from pixelwise.data.sample import DrawnMask, Pair
from pixelwise.data.words import IMAGE_WORDS, MASK_WORDS, SEPARATORS, SPLIT_WORDS
from pixelwise.errors import DataError
from pixelwise.labels import LabelSet

_NO_CLASS = MASK_WORDS | frozenset(
    "object objects obj instance instances inst ids id no nr part roi rois number num".split()
)
_DRAWN_AGAIN = frozenset("color colour colored coloured rgb watershed overlay vis viz preview".split())
_LOOKED_AT = 2  # pictures whose files are read before the layout is believed


@dataclass(frozen=True, eq=False)
class ObjectMask(DrawnMask):
    """A mask from several files, each black but for its object.

    Attributes:
        path: the first file.
        files: all of them, in the order of drawing.
        values: of each file's object; 0 is where no object is.
    """

    path: Path
    files: tuple[Path, ...]
    values: tuple[int, ...]

    def draw(self) -> tuple[NDArray[Any], int]:
        """(values (H, W) uint8, or uint16 above 255; pixels that several objects share).

        Raises:
            DataError: a file cannot be read, holds more than two values, or is not of the first one's size.
        """
        values: NDArray[Any] | None = None
        shared = np.zeros((0, 0), bool)
        for file, value in zip(self.files, self.values, strict=True):
            inside = object_pixels(file)
            if values is None:
                values = np.zeros(inside.shape, np.uint8 if max(self.values) <= 255 else np.uint16)
                shared = np.zeros(inside.shape, bool)
            if inside.shape != values.shape:
                raise DataError(
                    f"{file} is {inside.shape[0]} × {inside.shape[1]}, {self.path} is {values.shape[0]} × "
                    f"{values.shape[1]}; the files of one picture must be of one size: export them again"
                )
            shared |= inside & (values != 0)
            np.copyto(values, values.dtype.type(value), where=inside)
        assert values is not None
        return values, int(np.count_nonzero(shared))

    @property
    def key(self) -> str:
        """All files with their values."""
        return " ".join(f"{file}={value}" for file, value in zip(self.files, self.values, strict=True))


def object_pixels(path: Path) -> NDArray[np.bool_]:
    """Which pixels of a file (H, W) are its object: the larger of its two values, or what is opaque.

    A file of one value is all object, or none where the value is 0.

    Raises:
        DataError: the file cannot be read, or holds more than two values.
    """
    try:
        mask = decode_mask(path)
    except DataError as error:
        if "transparency varies" not in str(error):
            raise
        with PillowImage.open(path) as image:
            mask = np.asarray(image.convert("RGBA"))[:, :, 3]
    low, high = mask.min(), mask.max()
    inside: NDArray[np.bool_] = mask == high if high != 0 else np.zeros(mask.shape, bool)
    other = ~inside & (mask != low)
    if other.any():
        row, column = (int(i) for i in np.argwhere(other)[0])
        raise DataError(
            f"{path} holds {low}, {high} and {mask[row, column]} (at row {row}, column {column}); expected black and "
            "one other value, since there are several files for one picture: export one object a file, or one mask of "
            "all classes a picture"
        )
    return inside


@dataclass(frozen=True)
class _Found:
    """How the files belong together."""

    name: str
    rule: str
    files: Mapping[Path, tuple[tuple[Path, str], ...]]  # {picture: its files, each with what its name holds besides}
    lone_masks: tuple[Path, ...] = ()


def objects_layout(root: Path, answers: Answers = NOTHING) -> Layout | None:
    """The layout of a folder with several mask files for a picture; None where there is none.

    Raises:
        DataError: some pictures are in train, val, test and others in none.
    """
    pictures = pictures_below(root)
    if answers.masks is not None:
        pictures = {
            directory: files
            for directory, files in pictures.items()
            if not _is_for(directory, root, MASK_WORDS) or _answered(directory, root, answers.masks)
        }
    for find in (_bowl, _folder_each, _class_folders, _by_stem):
        found = find(root, pictures)
        if found is not None and _is_binary(found.files):
            return _layout(root, found, pictures)
    return None


def _layout(root: Path, found: _Found, pictures: Mapping[Path, tuple[Path, ...]]) -> Layout:
    words = {file: word for files in found.files.values() for file, word in _with_classes(files)}
    classes = sorted({*words.values()}, key=str.lower)
    if not all(re.fullmatch(r"[^\W\d_]+(?: [^\W\d_]+)*", word) for word in classes) or len(classes) >= len(words):
        classes = ["foreground"]
        words = dict.fromkeys(words, "foreground")
    kinds = [name for name in classes if not is_background(name)]
    values = {name: i for i, name in enumerate(kinds, 1)}
    labels = LabelSet(("background", *kinds))
    names = unique_names(found.files, root)
    listed = []
    for image, files in found.files.items():
        drawn = sorted(
            ((values[words[file]], file) for file, _ in files if words[file] in values), key=lambda pair: pair[0]
        )
        if drawn:
            mask = ObjectMask(drawn[0][1], tuple(file for _, file in drawn), tuple(value for value, _ in drawn))
            split = split_of_directory(drawn[0][1], root) or split_of_directory(image, root)
            listed.append((split, Pair(image, mask, names[image])))
    used = {file for files in found.files.values() for file, _ in files}
    faults = [
        Fault("warning", "orphan", path, f"{path} has no picture and is left out", "add the picture")
        for path in found.lone_masks
    ]
    homes = {image.parent for image in found.files}
    bowls = {home.parent.parent for home in homes} if found.name.startswith("Data Science Bowl") else set()
    for directory, images in pictures.items():
        if directory in homes or (directory.parent.parent in bowls and directory.name.lower() in IMAGE_WORDS):
            for image in images:
                if image not in found.files and image not in used:
                    reason = f"{image} has no mask files and is left out"
                    faults.append(Fault("warning", "orphan", image, reason, "add them, or an all-black one"))
    count = sum(len(pair.mask.files) for _, pair in listed if isinstance(pair.mask, ObjectMask))
    told = "objects of one class" if len(kinds) == 1 else f"the classes {', '.join(kinds)}"
    return Layout(
        root=root,
        name=found.name,
        rule=found.rule + "; in each file what is not black is the object, and what no file covers is background",
        splits=into_splits(listed, root),
        faults=tuple(faults),
        notes=(f"{counted(count, 'mask file')} for {counted(len(listed), 'picture')}: {told}",),
        labels=(labels,),
    )


def _bowl(root: Path, pictures: Mapping[Path, tuple[Path, ...]]) -> _Found | None:
    """<id>/images/<one picture> with <id>/masks/*: each picture has a folder of its own."""
    found = {}
    masks_in = {d.parent: d for d in reversed(list(pictures)) if d.name.lower() in MASK_WORDS}
    for directory, images in pictures.items():
        if directory.name.lower() not in IMAGE_WORDS or directory == root or directory.parent.name in SPLIT_WORDS:
            continue
        masks = masks_in.get(directory.parent)
        if masks is None:
            continue
        if len(images) != 1:
            return None
        found[images[0]] = tuple((file, _rest(file.stem, images[0].stem)) for file in pictures[masks])
    named = all(normal(image.stem) == normal(image.parent.parent.name) for image in found)
    if not found or not (named or (len(found) > 1 and any(len(files) > 1 for files in found.values()))):
        return None
    return _Found(
        "Data Science Bowl (a folder for each picture, a mask file for each object)",
        "the picture in <id>/images/ with all files in <id>/masks/",
        found,
    )


def _folder_each(root: Path, pictures: Mapping[Path, tuple[Path, ...]]) -> _Found | None:
    """masks/<stem>/*: a folder of files for each picture."""
    stems: dict[str, list[Path]] = {}
    for directory, files in pictures.items():
        if not _is_for(directory, root, MASK_WORDS):
            for file in files:
                stems.setdefault(normal(file.stem), []).append(file)
    homes = [d for d in pictures if d.parent != root.parent and d.parent.name.lower() in MASK_WORDS]
    matched = {home: _nearest(stems[normal(home.name)], home, root) for home in homes if normal(home.name) in stems}
    if not matched or 2 * len(matched) < len(homes) or len(set(matched.values())) < len(matched):
        return None
    lone = [file for home in homes if home not in matched for file in pictures[home]]
    return _Found(
        "a folder of mask files for each picture",
        "all files of the folder that has the picture's name are its mask",
        {
            image: tuple((file, _rest(file.stem, image.stem)) for file in pictures[home])
            for home, image in matched.items()
        },
        tuple(lone),
    )


def _class_folders(root: Path, pictures: Mapping[Path, tuple[Path, ...]]) -> _Found | None:
    """masks/<class>/<stem>: the same stems in two folders or more, beside pictures that are in no such folders."""
    groups: dict[Path, list[Path]] = {}
    for directory in pictures:
        if (
            directory.parent.name.lower() in MASK_WORDS
            and directory.name.lower() not in MASK_WORDS | IMAGE_WORDS | SPLIT_WORDS.keys()
        ):
            groups.setdefault(directory.parent, []).append(directory)
    found: dict[Path, tuple[tuple[Path, str], ...]] = {}
    images = {d: files for d, files in pictures.items() if not _is_for(d, root, MASK_WORDS)}
    for folders in groups.values():
        stems = [{normal(file.stem) for file in pictures[folder]} for folder in folders]
        if len(folders) < 2 or any(other != stems[0] for other in stems[1:]):
            return None
        if stems[0] & {normal(file.stem) for file in pictures.get(folders[0].parent, ())}:
            return None  # masks of all classes lie above: the folders are by-products
        if any(directory.name == folder.name for directory in images for folder in folders):
            return None  # the pictures have these sub-folders, too
        candidates: dict[str, list[Path]] = {}
        for files in images.values():
            for file in files:
                candidates.setdefault(normal(file.stem), []).append(file)
        by_stem: dict[str, list[tuple[Path, str]]] = {}
        for folder in folders:
            for file in pictures[folder]:
                by_stem.setdefault(normal(file.stem), []).append((file, folder.name))
        for stem in stems[0] & candidates.keys():
            found[_nearest(candidates[stem], folders[0], root)] = tuple(by_stem[stem])
    if not found or 2 * len(found) < sum(map(len, images.values())):
        return None  # most pictures have their masks elsewhere
    return _Found(
        "a folder of mask files for each class",
        "the files with the picture's name in the folders of all classes are its mask",
        dict(sorted(found.items())),
    )


def _by_stem(root: Path, pictures: Mapping[Path, tuple[Path, ...]]) -> _Found | None:
    """<stem>_…: files whose names begin with the picture's and go on after a separator."""
    mask_files = [file for d, files in pictures.items() if _is_for(d, root, MASK_WORDS) for file in files]
    if mask_files:
        image_files = [file for d, files in pictures.items() if not _is_for(d, root, MASK_WORDS) for file in files]
    else:  # side by side: what has a word for masks in its name
        every = [file for files in pictures.values() for file in files]
        mask_files = [file for file in every if MASK_WORDS & set(SEPARATORS.split(normal(file.stem).lower()))]
        image_files = [file for file in every if file not in set(mask_files)]
    stems: dict[str, list[Path]] = {}
    for file in image_files:
        stems.setdefault(normal(file.stem), []).append(file)
    found: dict[Path, list[tuple[Path, str]]] = {}
    lone = []
    for file in mask_files:
        stem = _longest_start(normal(file.stem), stems)
        if stem is None:
            lone.append(file)
        else:
            image = _nearest(stems[stem], file, root)
            found.setdefault(image, []).append((file, _rest(file.stem, stem)))
    if not any(len(files) > 1 for files in found.values()) or len(lone) > len(mask_files) // 2:
        return None
    if any(not rest for files in found.values() for _, rest in files):
        return None  # a mask of exactly the picture's name is the mask of a plain folder
    if any(word in _DRAWN_AGAIN for files in found.values() for _, word in _with_classes(files)):
        return None  # a mask, and the same in colors
    return _Found(
        "several mask files for a picture",
        "all files whose names begin with the picture's are its mask",
        {image: tuple(files) for image, files in sorted(found.items())},
        tuple(lone),
    )


def _longest_start(name: str, stems: Mapping[str, Any]) -> str | None:
    """The longest stem that a name begins with, up to a separator or the end."""
    if name in stems:
        return name
    ends = [match.start() for match in SEPARATORS.finditer(name)]
    return next((name[:end] for end in reversed(ends) if name[:end] in stems), None)


def _rest(name: str, stem: str) -> str:
    """What a file's name holds besides the picture's."""
    name, stem = normal(name), normal(stem)
    return name[len(stem) :] if name.startswith(stem) else name


def _with_classes(files: Iterable[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """Each file with the words of its rest that are neither numbers nor words for masks."""
    found = []
    for file, rest in files:
        words = [word for word in SEPARATORS.split(rest) if word and not word.isdigit()]
        words = [re.sub(r"(?<=[^\W\d_])\d+$", "", word) for word in words]
        found.append((file, " ".join(word for word in words if word.lower() not in _NO_CLASS)))
    return found


def _is_for(directory: Path, root: Path, words: frozenset[str]) -> bool:
    """Whether a directory, or one above it up to the root, has one of these names; words for splits do not count."""
    for part in directory.relative_to(root).parts:
        own = [word for word in SEPARATORS.split(normal(part).lower()) if word and word not in SPLIT_WORDS.keys()]
        if own and all(word in words for word in own):
            return True
    return False


def _answered(directory: Path, root: Path, place: str) -> bool:
    below = directory.relative_to(root)
    return place in below.parts or below.is_relative_to(place.strip("/"))


def _nearest(files: list[Path], place: Path, root: Path) -> Path:
    """The file that has most of its way from the root in common with a place."""
    if len(files) == 1:
        return files[0]
    split = split_of_directory(place / "x", root)

    def worth(file: Path) -> tuple[bool, int]:
        same = sum(one == other for one, other in zip(file.parts, place.parts, strict=False))
        return split is not None and split_of_directory(file, root) == split, same

    return max(files, key=worth)


def _is_binary(found: Mapping[Path, tuple[tuple[Path, str], ...]]) -> bool:
    """Whether the files of the first pictures hold two values each; what cannot be read is told of later."""
    several = [files for files in found.values() if len(files) > 1] or list(found.values())
    for files in several[:_LOOKED_AT]:
        for file, _ in files[:8]:
            try:
                image_info(file)
            except DataError:
                continue
            try:
                object_pixels(file)
            except DataError:
                return False
    return True
