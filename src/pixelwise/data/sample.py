"""Sample and Dataset: what every data set gives, and what everything that reads data asks for."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import ShapeError
from pixelwise.labels import ClassMap, LabelSet

Image = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """One picture with its targets.

    Attributes:
        image: (H, W, C) uint8, uint16 or float32; color is RGB.
        targets: {head: (H, W) classes 0…K−1 and void}; most often the one head "labels"; empty when unlabelled.
        name: the file's stem, unique in its data set.
    """

    image: Image
    targets: Mapping[str, ClassMap]
    name: str

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        height, width = self.image.shape[:2]
        return int(height), int(width)


@dataclass(frozen=True)
class Channels:
    """A picture whose channels lie in several files of one size, in this order.

    Attributes:
        files: at least two.
    """

    files: tuple[Path, ...]

    @property
    def path(self) -> Path:
        """The file that an error names."""
        return self.files[0]

    def __str__(self) -> str:
        return str(self.files[0])


class DrawnImage(ABC):
    """A picture that stands in no file of its own: one of many in an archive, or made from other files.

    Attributes:
        path: the file that an error names.
        files: all files that it depends on.
    """

    path: Path
    files: tuple[Path, ...]

    @abstractmethod
    def draw(self) -> Image:
        """The picture, (H, W, C) uint8, uint16 or float32.

        Raises:
            DataError: a file cannot be read.
        """

    @abstractmethod
    def __str__(self) -> str:
        """What an error calls it, and what tells it from every other picture: the file and the place in it."""


class DrawnMask(ABC):
    """A mask that stands in no file of its own: drawn from outlines, or put together from several files.

    Attributes:
        path: the file that an error names.
        files: all files that it depends on.
    """

    path: Path
    files: tuple[Path, ...]

    @abstractmethod
    def draw(self) -> tuple[NDArray[Any], int]:
        """(values, pixels that objects share): the values (H, W) are uint8, uint16 or int32.

        Mask files share pixels where any two objects do, outlines where objects of different classes do.

        Raises:
            DataError: a file cannot be read, or says what no mask can be.
        """

    @property
    def key(self) -> str:
        """What tells it from every other mask, in the memory of what was scanned."""
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)


ImageSource = Path | Channels | DrawnImage
MaskSource = Path | DrawnMask


@dataclass(frozen=True)
class Pair:
    """The files of one sample, before anything is decoded.

    Attributes:
        mask: of the head "labels"; None where the picture is unlabelled.
        more: {head: mask} of the other heads, where a data set has several.
    """

    image: ImageSource
    mask: MaskSource | None
    name: str
    more: Mapping[str, MaskSource] = field(default_factory=dict, hash=False)


class Dataset(Protocol):
    """A plain sequence of samples. Opening one decodes nothing."""

    @property
    def labels(self) -> Mapping[str, LabelSet]:
        """One label set per head."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...

    def describe(self) -> str:
        """Where it looked and what it counted."""


def path_of(source: ImageSource | MaskSource) -> Path:
    """The file that an error names."""
    return source if isinstance(source, Path) else source.path


def files_of(source: ImageSource | MaskSource) -> tuple[Path, ...]:
    """All files that a source is read from."""
    return (source,) if isinstance(source, Path) else source.files


def adapt_channels(image: NDArray[Any], channels: int, *, name: str = "image") -> NDArray[Any]:
    """An image (H, W, C) with the channels that a network takes: grey is repeated to RGB, equal-channel RGB made grey.

    Raises:
        ShapeError: anything else, since channels are never guessed.
    """
    found = image.shape[2]
    if found == channels:
        return image
    if found == 1 and channels == 3:
        return np.repeat(image, 3, axis=2)
    if found == 3 and channels == 1 and (image[..., :1] == image).all():
        return image[..., :1]
    raise ShapeError(
        f"{name} has {found} channels, the model takes {channels}; convert the picture or train on such ones"
    )


def spread(count: int, wanted: int) -> list[int]:
    """`wanted` of the indices 0…count − 1, evenly spread; all of them where there are no more.

    >>> spread(10, 4), spread(2, 4)
    ([0, 2, 5, 7], [0, 1])
    """
    wanted = min(wanted, count)
    return [i * count // wanted for i in range(wanted)]
