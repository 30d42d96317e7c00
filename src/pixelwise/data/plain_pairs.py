"""Pictures and masks of a plain folder paired by their stems, by the rule that pairs most; and what is left over."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pixelwise.data.layout import Fault, Layout
from pixelwise.data.plain_names import Key
from pixelwise.data.sample import Pair
from pixelwise.data.words import IMAGE_WORDS, MASK_WORDS, SPLIT_WORDS, words_in
from pixelwise.errors import DataError

IMAGE_AFFIXES = sorted(IMAGE_WORDS - {"x", "raw"} | {"sat", "rgb"}, key=len, reverse=True)
MASK_AFFIXES = sorted(MASK_WORDS - {"y", "semantic", "semantics"} | {"ground[_\\- ]truth"}, key=len, reverse=True)


@dataclass(frozen=True)
class Rule:
    """How a stem becomes what pictures and masks share."""

    words: str
    image: Callable[[str], str]
    mask: Callable[[str], str]


@dataclass(frozen=True)
class Reading:
    """One way to pair the files."""

    image_place: str
    mask_place: str
    rule: Rule
    pairs: dict[Key, tuple[Path, Path]]
    lone_images: tuple[tuple[Key, Path], ...]
    lone_masks: tuple[tuple[Key, Path], ...]
    twins: tuple[tuple[Path, Path], ...]

    @property
    def matched(self) -> int:
        """How many pairs there are."""
        return len(self.pairs)

    def place_of_masks(self) -> str:
        """The name of the masks' directory."""
        return self.mask_place

    def place_of_images(self) -> str:
        """The name of the pictures' directory."""
        return self.image_place

    def words(self, key: str) -> frozenset[str]:
        """The words in the names of the place of the "masks" or "images"."""
        image, mask = next(iter(self.pairs.values()))
        place, file = (self.mask_place, mask) if key == "masks" else (self.image_place, image)
        parts = place.count("/") + 1
        return words_in(place) | frozenset[str]().union(*map(words_in, file.parent.parts[-parts:]))


def paired(
    root: Path,
    image_place: str,
    mask_place: str,
    images: list[tuple[Key, Path]],
    masks: list[tuple[Key, Path]],
) -> Reading:
    """The best rule's pairs.

    Raises:
        DataError: two rules pair equally many files in different ways.
    """
    if len({key.below for key, _ in images}) == 1 == len({key.below for key, _ in masks}):
        images = [(key._replace(below=""), path) for key, path in images]
        masks = [(key._replace(below=""), path) for key, path in masks]
    bare = (_without_splits(images), _without_splits(masks))
    ways = [(images, masks, rule) for rule in rules_for([k.stem for k, _ in images], [k.stem for k, _ in masks])]
    if bare != (images, masks):
        ways += [(*bare, rule) for rule in rules_for([k.stem for k, _ in bare[0]], [k.stem for k, _ in bare[1]], True)]
    results = []
    for image_files, mask_files, rule in ways:
        pictures, image_twins = _by_key(image_files, rule.image)
        targets, mask_twins = _by_key(mask_files, rule.mask)
        second = {path for _, path in (*image_twins, *mask_twins)}
        doubted = {_shared(key, rule.image) for key, path in image_files if path in second}
        doubted |= {_shared(key, rule.mask) for key, path in mask_files if path in second}
        pairs = {key: (pictures[key], targets[key]) for key in pictures if key in targets}
        results.append(
            Reading(
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


def layout_of(root: Path, reading: Reading, name: str) -> Layout:
    """The layout of the pairs of a folder, and as faults and notes what is left over.

    Raises:
        DataError: some pictures are for train, val or test, and others are not.
    """
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


def _name(key: Key) -> str:
    return "_".join([*key.below.split("/"), key.stem]) if key.below else key.stem


def _told_rule(reading: Reading) -> str:
    if reading.rule.words:
        return reading.rule.words
    image, mask = next(iter(reading.pairs.values()))
    return f"what is left of the names without their common beginnings and ends: {image.name} with {mask.name}"


def _without_splits(files: list[tuple[Key, Path]]) -> list[tuple[Key, Path]]:
    """The files with stems that do not begin or end with their own split's word: 21 for training/21_training."""
    found = []
    for key, path in files:
        stem = key.stem
        for word, split in SPLIT_WORDS.items():
            if split == key.split and len(stem) > len(word) + 1:
                stem = re.sub(rf"(?<=.)[_\-. ]+{word}$|^{word}[_\-. ]+(?=.)", "", stem, flags=re.IGNORECASE)
        found.append((key._replace(stem=stem), path))
    return found


def _shared(key: Key, stem: Callable[[str], str]) -> Key:
    return key._replace(stem=stem(key.stem))


def _by_key(
    files: list[tuple[Key, Path]], stem: Callable[[str], str]
) -> tuple[dict[Key, Path], list[tuple[Path, Path]]]:
    """{key: file}, and the twins: files with one key, of which none is kept."""
    found: dict[Key, Path] = {}
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


def rules_for(images: list[str], masks: list[str], changed: bool = False) -> list[Rule]:
    """The rules to try, the plainest first; `changed`: the stems are no longer those of the files."""

    def same(stem: str) -> str:
        return stem

    rules = [Rule("" if changed else "a picture and its mask have the same name", same, same)]
    mask_word = without_word(MASK_AFFIXES)
    image_word = without_word(IMAGE_AFFIXES)
    for image, mask in ((same, mask_word), (image_word, same), (image_word, mask_word)):
        rules.append(Rule("", image, mask))
    starts = _common_start(images), _common_start(masks)
    ends = _common_end(images), _common_end(masks)
    for use_start, use_end in ((True, False), (False, True), (True, True)):
        image_cut = _cutting(starts[0] if use_start else "", ends[0] if use_end else "")
        mask_cut = _cutting(starts[1] if use_start else "", ends[1] if use_end else "")
        rules.append(Rule("", image_cut, mask_cut))
    if not changed:
        told = "a picture and its mask have the same name, but for upper and lower case"
        rules.append(Rule(told, str.lower, str.lower))
    return rules


def without_word(words: list[str]) -> Callable[[str], str]:
    """What takes one of these words off the start or the end of a stem."""
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
