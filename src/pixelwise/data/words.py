"""What the names of directories and files say: pictures, masks, and the splits train, val and test."""

import re

from pixelwise.data.layout import normal

IMAGE_WORDS = frozenset("image images img imgs jpegimages input inputs raw x photo photos picture pictures".split())
MASK_WORDS = frozenset(
    (
        "mask masks label labels lbl lbls annotation annotations annot annots ann anns gt gts groundtruth groundtruths "
        "segmentation segmentations segmentationclass seg segs target targets y "
        "lab labs anno annos semantic semantics manual manuals"
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

_NEUTRAL = frozenset(
    (
        "set sets dataset data split folder files png jpg jpeg tif tiff mat all org orig original 1st 2nd 3rd rgb "
        "color colour colored coloured colors colours"
    ).split()
)
_WEAK = frozenset("lab labs".split())  # a laboratory, unless there is a split beside it
_SHORT_SPLITS = SPLIT_WORDS | {"tr": "train", "te": "test"}
_ITEM = re.compile(r"^[a-z]\. +", re.IGNORECASE)  # a. Training Set
_APART = re.compile(r"([_\-. ]+)")
SEPARATORS = re.compile(r"[_\-. ]+")
_BY_LENGTH = sorted(SPLIT_WORDS, key=len, reverse=True)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=\d)|[^A-Za-z]+")


def words_of(name: str) -> tuple[str | None, str | None]:
    """(role, split) that a directory's name tells; nothing if it holds any other word.

    Numbers (train2017) and words like set, data or png (training set, masks_png) do not count beside another.

    >>> words_of("trainannot"), words_of("val_images"), words_of("Ground_Truth"), words_of("unet_reference")
    (('mask', 'train'), ('image', 'val'), ('mask', None), (None, None))
    >>> words_of("1st_manual"), words_of("train_lab"), words_of("lab"), words_of("train_val")
    (('mask', None), ('mask', 'train'), (None, None), (None, 'train'))
    >>> words_of("train2017"), words_of("Training Set"), words_of("data"), words_of("2017")
    ((None, 'train'), (None, 'train'), (None, None), (None, None))
    """
    role: str | None = None
    split: str | None = None
    weak = False
    splits: list[str] = []
    for word in SEPARATORS.split(_joined(_ITEM.sub("", name))):
        for start in _BY_LENGTH:
            rest = word.removeprefix(start)
            if rest == word:
                continue
            rest = rest.strip("0123456789")
            if rest == "" or rest in (IMAGE_WORDS | MASK_WORDS | _NEUTRAL) - {"x", "y"}:
                splits.append(SPLIT_WORDS[start])
                word = rest
                break
        if word in IMAGE_WORDS:
            role = role or "image"
        elif word in MASK_WORDS:  # image_masks and mask_images are masks
            weak = word in _WEAK and (role != "mask" or weak)
            role = "mask"
        elif word and not word.isdecimal() and word not in _NEUTRAL:
            return None, None
    if len(set(splits)) > 1 and set(splits) != {"train", "val"}:
        return None, None
    split = None if not splits else "train" if "train" in splits else splits[0]
    return (None, None) if weak and split is None else (role, split)


def split_aside(name: str) -> tuple[str | None, str]:
    """(split, what is left) of a directory's name in which one word is a split, whatever the others are.

    >>> split_aside("uavid_train"), split_aside("DUTS-TE-Mask"), split_aside("test"), split_aside("strain_a")
    (('train', 'uavid'), ('test', 'DUTS-Mask'), ('test', ''), (None, 'strain_a'))
    """
    name = normal(name)
    parts = _APART.split(name)
    at = [i for i, part in enumerate(parts) if part.lower().rstrip("0123456789") in _SHORT_SPLITS]
    if len(at) != 1:
        return None, name
    split = _SHORT_SPLITS[parts[at[0]].lower().rstrip("0123456789")]
    before, after = parts[: at[0]], parts[at[0] + 1 :]
    return split, "".join(before + after[1:] if before else after[1:]).strip("_-. ")


def words_in(name: str) -> frozenset[str]:
    """All words of a name, in lower case, parted at separators, digits and capitals.

    >>> sorted(words_in("2_Ortho_RGB")), sorted(words_in("SegmentationClassVisualization/nir"))
    (['ortho', 'rgb'], ['class', 'nir', 'segmentation', 'visualization'])
    """
    return frozenset(word.lower() for word in _CAMEL.split(normal(name)) if word)


def says_mask(name: str) -> bool:
    """Whether any word of a name is one for masks, whatever the others are.

    >>> says_mask("my_masks"), says_mask("SegmentationAug"), says_mask("colorLabels2"), says_mask("unet_reference")
    (True, True, True, False)
    """
    return bool(words_in(name) & (MASK_WORDS - {"y"} - _WEAK)) or "groundtruth" in _joined(name)


def place_of(name: str) -> str:
    """A directory's name without the words for splits, for telling and for grouping.

    >>> place_of("train_images"), place_of("Masks"), place_of("valannot"), place_of("test")
    ('images', 'masks', 'annot', 'test')
    """
    lowered = normal(name).lower()
    for word in _BY_LENGTH:
        for end in ("_", "-", ".", " ", ""):
            lowered = lowered.removeprefix(word + end) if lowered != word else lowered
            lowered = lowered.removesuffix(end + word) if end and lowered != word else lowered
    return lowered


def _joined(name: str) -> str:
    return re.sub(r"ground[_\- ]truth", "groundtruth", normal(name).lower())
