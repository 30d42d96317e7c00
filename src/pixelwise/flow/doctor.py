"""The doctor: what is this folder, which classes do its masks hold, and what is wrong with it?

`understand` finds the layout (`data.find`), reads every picture and mask once (`data.scan`), decides what the values
mean (`data.values.encoding`) and lists the faults. What cannot be understood is refused in one line; what is understood
but broken is a list of faults, and the pairs without fault are the splits.

The rule for a folder with some bad files: a fault with severity "error" stops a fit, and `check` ends with exit code 1,
since silently training on the rest would hide it; `check --fix OUT` writes the rest, and what can be repaired, as a
folder without errors. A warning stops nothing.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.decoding.files import ImageInfo
from pixelwise.data.duplicates import find_alike
from pixelwise.data.find import find_layout
from pixelwise.data.formats.class_folders import FullMask, class_folders, class_folders_layout
from pixelwise.data.formats.objects import ObjectMask
from pixelwise.data.layout import Fault, Layout, checked_folder
from pixelwise.data.sample import DrawnMask, ImageSource, MaskSource, Pair, path_of
from pixelwise.data.scan import ImageStatistics, MaskStatistics, Scan, scan
from pixelwise.data.values.blends import first_place
from pixelwise.data.values.classnames import find_class_names, read_class_names
from pixelwise.data.values.encoding import decide
from pixelwise.data.values.reading import Encoding
from pixelwise.errors import BadOption, DataError, DataQuestion
from pixelwise.flow.understanding import LabelsFrom, Understanding, size_told
from pixelwise.labels import LabelSet, unpack_color

RARE_SHARE = 1e-5
"""A class with a smaller share of the training pixels is called too rare to be learned."""

RARE_PICTURES = 3
"""So is a class in fewer training pictures than this, in a folder with ten times as many."""

_TRAIN = ("train", "all")


def understand(
    folder: str | Path,
    *,
    answers: Answers = NOTHING,
    classes: str | Path | None = None,
    layout: Layout | None = None,
    labels_from: LabelsFrom = "masks",
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Understanding:
    """Find out what a folder holds.

    Args:
        folder: with pictures and masks in a layout that is recognized, or with class folders; or a zip of one.
        answers: to questions that the folder leaves open.
        classes: a file of class names (`data.values.classnames`) instead of the one that lies near the masks.
        layout: the pairs, where they are known; found if left out.
        labels_from: "folders" where the pictures have no masks, but lie in a folder for each class.
        workers: threads that read.
        progress: called with (files read, files) from this thread.

    Raises:
        DataError: the folder cannot be understood; the message is one line.
        DataQuestion: it can be understood in two ways.
        BadOption: answers or classes about masks, where there are none.
    """
    by_folder = labels_from == "folders"
    if by_folder and (answers.words or classes is not None or layout is not None):
        raise BadOption("class folders have no masks to be read in some way; leave out --as, --classes and --dataset")
    if layout is None:
        root = checked_folder(folder)
        layout = class_folders_layout(root) if by_folder else _layout_of_masks(root, answers)
    listed = [pair for pairs in layout.splits.values() for pair in pairs]
    found = scan(listed, layout.root, workers=workers, lossy=answers.snap, progress=progress)
    masks = {path: mask for path, mask in found.masks.items() if isinstance(mask, MaskStatistics)}
    if not masks:
        first = next(error for error in found.masks.values() if isinstance(error, DataError))
        what = "pictures" if by_folder else "masks"
        raise DataError(f"none of the {len(found.masks)} {what} can be read: {first}")
    encoding = _encoding_of_folders(layout.labels[0]) if by_folder else encoding_of(layout, masks, answers, classes)
    labels = encoding.labels
    faults = [fault for fault in layout.faults if fault.picture is None] + [*encoding.faults]
    spoiled: dict[Path, list[Fault]] = {}
    for fault in layout.faults:
        if fault.picture is not None:
            spoiled.setdefault(fault.picture, []).append(fault)
    wrong = {pair: [*spoiled.get(path_of(pair.image), ()), *faults_of_pair(pair, found, labels)] for pair in listed}
    sound = [pair for pair in listed if not wrong[pair]]
    readable = [pair for pair in listed if isinstance(found.images[pair.image], ImageStatistics)]
    if not readable:
        first_fault = next(fault for pair in listed for fault in wrong[pair])
        raise DataError(f"none of the {len(listed)} pictures in {layout.root} can be read: {first_fault.message}")
    # where no pair is sound, the kind of the pictures is that of those that can be read: a clean copy may need it
    channels, dtype, odd = _kind(sound or readable, found)
    for pair, fault in odd:
        wrong[pair] = [*wrong[pair], fault]
    faults += [fault for pair in listed for fault in wrong[pair]]
    splits, broken = (
        {
            split: kept
            for split, pairs in layout.splits.items()
            if (kept := tuple(pair for pair in pairs if bool(wrong[pair]) == bad))
        }
        for bad in (False, True)
    )
    used = [pair for pairs in splits.values() for pair in pairs]
    images = {path: image for path, image in found.images.items() if isinstance(image, ImageStatistics)}
    mask_counts, void_pixels = _count(used, masks, labels)
    if by_folder:
        mask_counts = {mask: np.minimum(counts, 1) for mask, counts in mask_counts.items()}
    alike = find_alike([images[pair.image] for pair in used])
    understanding = Understanding(
        root=layout.root,
        layout=layout.name,
        rule=layout.rule,
        splits=splits,
        broken=broken,
        labels=labels,
        encoding=encoding.sentence,
        void_pixels=void_pixels,
        mask_counts=mask_counts,
        images=images,
        masks=masks,
        alike=tuple(alike),
        sizes=Counter(images[pair.image].info.size for pair in used),
        channels=channels,
        channel_names=layout.channel_names if len(layout.channel_names) == channels else _channel_names(channels),
        dtype=dtype,
        answers=answers,
        classes_file=None if classes is None else Path(classes).absolute(),
        drawn=layout.labels[0] if layout.labels and any(isinstance(mask, DrawnMask) for mask in masks) else None,
        labels_from=labels_from,
    )
    faults += _void_faults(understanding) + _class_faults(understanding) + _duplicate_faults(understanding)
    notes = (*layout.notes, *encoding.notes, *_notes(understanding))
    return replace(understanding, faults=tuple(sorted(faults, key=lambda fault: fault.severity)), notes=notes)


def _layout_of_masks(root: Path, answers: Answers) -> Layout:
    """The layout of a folder; a refusal says what helps where it seems to hold class folders."""
    try:
        return find_layout(root, answers)
    except DataError as error:
        classes = class_folders(root) if type(error) in (DataError, DataQuestion) else ()
        if not classes:
            raise
        shown = ", ".join(f"{name}/" for name in classes[:3]) + (" …" if len(classes) > 3 else "")
        hint = f"if {shown} are classes of whole pictures, `pixelwise fit` and `check` take --labels folders"
        if isinstance(error, DataQuestion):
            raise DataQuestion(f"{error.question} Or, {hint}.", error.answers) from None
        raise DataError(f"{error}; or, {hint}") from None


def encoding_of(
    layout: Layout, masks: Mapping[MaskSource, MaskStatistics], answers: Answers, classes: str | Path | None
) -> Encoding:
    """How the values of the masks are read."""
    names = (
        read_class_names(Path(classes))
        if classes is not None
        else find_class_names({path_of(mask).parent for mask in masks}, layout.root)
    )
    known = replace(answers, values={**layout.values, **answers.values})
    return decide(masks, names=names, known=layout.labels, answers=known)


def _encoding_of_folders(labels: LabelSet) -> Encoding:
    return Encoding(
        labels,
        f"no mask says where in a picture its class is: each is labeled as a whole, {labels.num_classes} classes",
    )


def faults_of_pair(pair: Pair, found: Scan, labels: LabelSet) -> list[Fault]:
    """What is wrong with the files of one pair; each of these faults is an error."""
    assert pair.mask is not None  # layouts give pairs
    image, mask = found.images[pair.image], found.masks[pair.mask]
    faults = []
    if isinstance(image, DataError):
        faults.append(_unreadable(pair.image, image))
    elif image.not_finite is not None:
        row, column = image.not_finite
        reason = f"{pair.image} holds a value at row {row}, column {column} that is infinite or not a number"
        faults.append(Fault("error", "value", path_of(pair.image), reason, "replace such values and save it again"))
    if isinstance(mask, DataError):
        return faults if isinstance(pair.mask, FullMask) else [*faults, _unreadable(pair.mask, mask)]
    if isinstance(image, ImageStatistics) and image.info.size != mask.size:
        faults.append(_size_fault(pair, image.info, mask))
    if mask.colors != labels.colors:
        kinds = ("colors", "numbers") if mask.colors else ("numbers", "colors")
        reason = f"{pair.mask} holds {kinds[0]}, the others {kinds[1]}"
        return [*faults, Fault("error", "value", path_of(pair.mask), reason, "save all masks in one way")]
    unknown = [] if labels.snap else [value for value in mask.values.tolist() if value not in labels.table]
    if unknown:
        row, column = first_place(pair.mask, unknown[0])
        shown = f"the color {unpack_color(unknown[0])}" if labels.colors else f"the value {unknown[0]}"
        more = f" (and {len(unknown) - 1} more such)" if len(unknown) > 1 else ""
        faults.append(
            Fault(
                "error",
                "value",
                path_of(pair.mask),
                f"{pair.mask} holds {shown} at row {row}, column {column}{more}; expected the {labels.num_classes} "
                "classes' values or void",
                "correct the mask or add the class",
            )
        )
    return faults


def _unreadable(source: ImageSource | MaskSource, error: DataError) -> Fault:
    for sign in ("; ", ": "):
        reason, found, remedy = str(error).rpartition(sign)
        if found:
            return Fault("error", "unreadable", path_of(source), reason, remedy)
    return Fault("error", "unreadable", path_of(source), str(error), "export it again")


def _size_fault(pair: Pair, image: ImageInfo, mask: MaskStatistics) -> Fault:
    assert pair.mask is not None
    (height, width), (mask_height, mask_width) = image.size, mask.size
    if (mask_height, mask_width) == (width, height):
        guess = (
            "the picture has an EXIF rotation that the mask was drawn without"
            if image.orientation >= 5 and mask.orientation == 1
            else "height and width are swapped"
        )
        remedy = "turn the mask"
        if isinstance(pair.mask, DrawnMask):
            remedy = "save the picture upright, without an EXIF rotation, or outline it as it is shown"
    elif max(abs(mask_height - height), abs(mask_width - width)) == 1:
        guess, remedy = "off by one", "export the mask at the picture's size"
    elif mask_height * 2 in range(height - 1, height + 2) and mask_width * 2 in range(width - 1, width + 2):
        guess, remedy = "half the size", "export the mask at full size"
    else:
        guess, remedy = "", "export the mask at the picture's size"
    reason = f"{pair.mask} is {size_told(mask.size)} but {pair.image} is {size_told(image.size)} (height × width)" + (
        f": {guess}" if guess else ""
    )
    return Fault("error", "size", path_of(pair.mask), reason, remedy)


def _count(
    pairs: list[Pair], masks: Mapping[MaskSource, MaskStatistics], labels: LabelSet
) -> tuple[dict[MaskSource, NDArray[np.int64]], int]:
    """Pixels of each class in each mask, and of void in all."""
    counts: dict[MaskSource, NDArray[np.int64]] = {}
    void_pixels = 0
    for pair in pairs:
        assert pair.mask is not None
        mask = masks[pair.mask]
        here = np.zeros(labels.num_classes, np.int64)
        classes = (
            labels.nearest(mask.values).tolist() if labels.snap else [labels.table[v] for v in mask.values.tolist()]
        )
        for cls, count in zip(classes, mask.counts.tolist(), strict=True):
            if cls == labels.void:
                void_pixels += count
            else:
                here[cls] += count
        counts[pair.mask] = here
    return counts, void_pixels


def _kind(pairs: list[Pair], found: Scan) -> tuple[int, str, list[tuple[Pair, Fault]]]:
    """(channels, dtype, faults) of all pictures; gray among color is fine, other mixtures are not."""
    faults = []
    infos = [seen.info for pair in pairs if isinstance(seen := found.images[pair.image], ImageStatistics)]
    channels = Counter(info.channels for info in infos)
    dtypes = Counter(info.dtype for info in infos)
    most = max(channels) if set(channels) <= {1, 3} else channels.most_common(1)[0][0]
    usual = dtypes.most_common(1)[0][0]
    for pair, info in zip(pairs, infos, strict=True):
        if info.channels != most and not (most == 3 and info.channels == 1):
            reason = f"{pair.image} has {info.channels} channels, most pictures {most}"
            faults.append((pair, Fault("error", "kind", path_of(pair.image), reason, "save all with the same")))
        if info.dtype != usual:
            reason = f"{pair.image} is {info.dtype}, most pictures {usual}"
            remedy = "save all with the same number of bits"
            faults.append((pair, Fault("error", "kind", path_of(pair.image), reason, remedy)))
    return most, usual, faults


def _channel_names(channels: int) -> tuple[str, ...]:
    return {1: ("gray",), 3: ("red", "green", "blue")}.get(channels) or tuple(f"band {i + 1}" for i in range(channels))


def _void_faults(understanding: Understanding) -> list[Fault]:
    """Masks without any pixel that counts, and rims one pixel wide."""
    labels, faults, rims = understanding.labels, [], []
    pairs = understanding.pairs
    for pair in pairs:
        assert pair.mask is not None
        mask = understanding.masks[pair.mask]
        if not understanding.mask_counts[pair.mask].any():
            reason = f"{pair.mask} is void everywhere, so that nothing of it counts"
            faults.append(Fault("warning", "void", path_of(pair.mask), reason, "complete or remove it"))
        elif mask.rim is not None and labels.table.get(mask.rim) == labels.void:
            rims.append(pair.mask)
    if rims and 2 * len(rims) >= len(pairs):
        reason = f"{len(rims)} of {len(pairs)} masks have a rim of void, one pixel wide, as {rims[0]}"
        remedy = "pixels at the edge are never learned: export the masks without a border, if it is not meant"
        faults.append(Fault("warning", "void", path_of(rims[0]), reason, remedy))
    return faults


def _class_faults(understanding: Understanding) -> list[Fault]:
    """Sets with fewer than two classes; classes that are missing from a part, or too rare to be learned."""
    labels, counts = understanding.labels, understanding.pixel_counts
    pairs = understanding.pairs
    present = np.flatnonzero(counts).tolist()
    if not pairs:
        return []
    if len(present) == 0:
        reason = f"all {len(pairs)} masks are void everywhere"
        return [Fault("error", "void", None, reason, "expected classes: export them again")]
    if len(present) == 1:
        name = labels.names[present[0]]
        if understanding.by_folder:
            reason = f"all {len(pairs)} pictures that can be used are of one class, {name}"
            return [Fault("error", "classes", None, reason, "expected two or more: mend or add those of the others")]
        reason = f"all {len(pairs)} masks hold only one class, {name}"
        remedy = "expected two or more: check that the masks were exported with their classes"
        return [Fault("error", "classes", None, reason, remedy)]
    faults = []
    by_split = understanding.class_splits
    trained = next((split for split in _TRAIN if split in by_split), None)
    for split in ("val", "test"):
        if split not in by_split or trained is None:
            continue
        unseen = [i for i in present if by_split[trained][i] and not by_split[split][i]]
        if unseen:
            reason = f"{_listed(labels, unseen)} in no picture of the {split} part"
            faults.append(Fault("warning", "classes", None, reason, "no score can be given there: move a picture over"))
        unlearned = [i for i in present if by_split[split][i] and not by_split[trained][i]]
        if unlearned:
            reason = f"{_listed(labels, unlearned)} in the {split} part, but in no picture to train on"
            faults.append(Fault("warning", "classes", None, reason, "such a class cannot be learned: move a picture"))
    if trained is not None:
        train = [understanding.mask_counts[p.mask] for p in understanding.splits[trained] if p.mask is not None]
        pixels = np.sum(train, 0)
        few = len(train) >= 10 * RARE_PICTURES
        rare = [
            i
            for i in present
            if 0 < pixels[i] < RARE_SHARE * pixels.sum() or (few and 0 < by_split[trained][i] < RARE_PICTURES)
        ]
        if rare:
            counted = "" if understanding.by_folder else "{:,} pixels in "
            told = ", ".join(
                f"{labels.names[i]} ({counted.format(pixels[i])}{by_split[trained][i]} "
                f"picture{'s' if by_split[trained][i] != 1 else ''})"
                for i in rare[:8]
            ) + (f" and {len(rare) - 8} more" if len(rare) > 8 else "")
            reason = f"too rare to be learned: {told}"
            remedy = (
                "add pictures of it, or merge its folder with another"
                if understanding.by_folder
                else "label more of it, merge it with another class in classes.yaml, or make it void there"
            )
            faults.append(Fault("warning", "classes", None, reason, remedy))
    return faults


def _duplicate_faults(understanding: Understanding) -> list[Fault]:
    """The same picture, or nearly the same, in two parts, or twice in one part with different masks."""
    pairs = understanding.pairs
    split_of = [split for split, part in understanding.splits.items() for _ in part]
    faults, seen = [], set()
    for first, second, likeness in sorted(understanding.alike, key=lambda alike: -alike.likeness):
        one, other = pairs[first], pairs[second]
        if split_of[first] == split_of[second]:
            if likeness == 2:
                assert one.mask is not None and other.mask is not None
                if not np.array_equal(understanding.mask_counts[one.mask], understanding.mask_counts[other.mask]):
                    by_folder = understanding.by_folder
                    how = "in two classes" if by_folder else "with different masks"
                    remedy = f"keep the right {'one' if by_folder else 'mask'}, remove the other"
                    reason = f"{one.image} and {other.image} are the same picture {how}"
                    faults.append(Fault("warning", "duplicate", path_of(other.image), reason, remedy))
            continue
        if second in seen or path_of(one.image) == path_of(other.image):  # one file in two lists is told by the layout
            continue
        seen.add(second)
        what = "the same picture" if likeness == 2 else f"nearly the same picture (likeness {likeness:.3f})"
        reason = f"{other.image} in the {split_of[second]} part and {one.image} in {split_of[first]} are {what}"
        remedy = "scores on such pictures are too good: remove one of them"
        faults.append(Fault("warning", "duplicate", path_of(other.image), reason, remedy))
    return faults


def _notes(understanding: Understanding) -> list[str]:
    notes = []
    pairs = understanding.pairs
    infos = [understanding.images[pair.image].info for pair in pairs]
    masks = [understanding.masks[pair.mask] for pair in pairs if pair.mask is not None]
    rotated = sum(info.orientation != 1 for info in infos), sum(mask.orientation != 1 for mask in masks)
    if any(rotated) and understanding.by_folder:
        notes.append(f"{rotated[0]} pictures have an EXIF rotation; it is applied")
    elif any(rotated):
        notes.append(f"{rotated[0]} pictures and {rotated[1]} masks have an EXIF rotation; it is applied")
    alphas = sum(info.alpha for info in infos)
    if alphas:
        have = "picture has" if alphas == 1 else "pictures have"
        notes.append(f"{alphas} {have} an alpha channel; it is dropped")
    if {info.channels for info in infos} == {1, 3}:
        gray = sum(info.channels == 1 for info in infos)
        notes.append(f"{gray} of {len(infos)} pictures are gray and are read as color")
    if understanding.dtype != "uint8":
        notes.append("each picture is scaled by its own mean and deviation, so that the range of its numbers is free")
    background = [
        pair for pair in pairs if pair.mask is not None and not understanding.mask_counts[pair.mask][1:].any()
    ]
    by_folder = understanding.by_folder
    if background and understanding.labels.names[0] == "background" and not by_folder:
        notes.append(f"{_masks(len(background))} nothing but background, as {background[0].mask}")
    shared = [mask for mask in masks if mask.shared]
    if shared:
        pixels = sum(mask.shared for mask in shared)
        files = any(isinstance(pair.mask, ObjectMask) for pair in pairs)
        what = "objects" if files else "objects of different classes"
        notes.append(f"{what} overlap: they share {pixels:,} pixels in {len(shared)} of {len(masks)} masks")
    absent = [
        name for name, count in zip(understanding.labels.names, understanding.pixel_counts, strict=True) if not count
    ]
    if absent:
        shown = ", ".join(absent[:6]) + (f" and {len(absent) - 6} more" if len(absent) > 6 else "")
        notes.append(f"{len(absent)} of {understanding.labels.num_classes} classes occur nowhere: {shown}")
    split_of = [split for split, part in understanding.splits.items() for _ in part]
    within = [alike for alike in understanding.alike if split_of[alike.first] == split_of[alike.second]]
    if within:
        identical = sum(alike.identical for alike in within)
        example = within[0]
        notes.append(
            f"pictures of one part that are alike: {len(within)} pair{'s' if len(within) != 1 else ''}, {identical} of "
            f"them identical, as {pairs[example.first].name} and {pairs[example.second].name}; such pictures are kept "
            "on one side when a validation part is set apart"
        )
    return notes


def _listed(labels: LabelSet, classes: list[int]) -> str:
    shown = ", ".join(labels.names[i] for i in classes[:6]) + (
        f" and {len(classes) - 6} more" if len(classes) > 6 else ""
    )
    return f"{shown} {'is' if len(classes) == 1 else 'are'}"


def _masks(count: int) -> str:
    return "1 mask holds" if count == 1 else f"{count} masks hold"
