"""What the names of directories and files say: pictures, masks, and the splits train, val and test."""

import re

from pixelwise.data.layout import normal

IMAGE_WORDS = frozenset("image images img imgs jpegimages input inputs raw x photo photos picture pictures".split())
MASK_WORDS = frozenset(
    (
        "mask masks label labels lbl lbls annotation annotations annot annots ann anns gt gts groundtruth groundtruths "
        "segmentation segmentations segmentationclass seg segs target targets y"
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

_NEUTRAL = frozenset("set sets dataset data split folder files png jpg jpeg tif tiff mat".split())
_SEPARATORS = re.compile(r"[_\-. ]+")
_BY_LENGTH = sorted(SPLIT_WORDS, key=len, reverse=True)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=\d)|[^A-Za-z]+")


def words_of(name: str) -> tuple[str | None, str | None]:
    """(role, split) that a directory's name tells; nothing if it holds any other word.

    Numbers (train2017) and words like set, data or png (training set, masks_png) do not count beside another.

    >>> words_of("trainannot"), words_of("val_images"), words_of("Ground_Truth"), words_of("unet_reference")
    (('mask', 'train'), ('image', 'val'), ('mask', None), (None, None))
    >>> words_of("train2017"), words_of("Training Set"), words_of("data"), words_of("2017")
    ((None, 'train'), (None, 'train'), (None, None), (None, None))
    """
    role: str | None = None
    split: str | None = None
    for word in _SEPARATORS.split(_joined(name)):
        for start in _BY_LENGTH:
            rest = word.removeprefix(start)
            if rest == word:
                continue
            rest = rest.strip("0123456789")
            if rest == "" or rest in (IMAGE_WORDS | MASK_WORDS | _NEUTRAL) - {"x", "y"}:
                split, word = SPLIT_WORDS[start], rest
                break
        if word in IMAGE_WORDS and role is None:
            role = "image"
        elif word in MASK_WORDS and role != "mask":
            role = "mask"  # image_masks are masks
        elif word and not word.isdecimal() and word not in _NEUTRAL:
            return None, None
    return role, split


def says_mask(name: str) -> bool:
    """Whether any word of a name is one for masks, whatever the others are.

    >>> says_mask("my_masks"), says_mask("SegmentationAug"), says_mask("colorLabels2"), says_mask("unet_reference")
    (True, True, True, False)
    """
    words = {word.lower() for word in _CAMEL.split(normal(name)) if word}
    return bool(words & (MASK_WORDS - {"y"})) or "groundtruth" in _joined(name)


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
