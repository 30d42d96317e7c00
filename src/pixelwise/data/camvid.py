"""CamVid as SegNet's tutorial packs it: 11 classes of street scenes, 11 void; and lists of pairs in its manner.

    CamVid/{train,val,test}/<id>.png   CamVid/{train,val,test}annot/<id>.png
    CamVid/{train,val,test}.txt        a line: /SegNet/CamVid/train/<id>.png /SegNet/CamVid/trainannot/<id>.png

The paths in the lists are those of the authors' machine; what matters is how they end. 367, 101 and 233 pictures of
360 × 480. Source: Badrinarayanan et al. 2017, SegNet; Brostow et al. 2009.
"""

import re
from pathlib import Path, PurePosixPath

from pixelwise.data.decode import IMAGE_EXTENSIONS
from pixelwise.data.folder import PairDataset
from pixelwise.data.layout import Fault, Layout, checked_folder, directories, normal, read_text
from pixelwise.data.sample import Pair
from pixelwise.errors import DataError
from pixelwise.labels import VOID, Color, LabelSet

_CLASSES: tuple[tuple[str, Color], ...] = (  # in the order of the training prototxt
    ("Sky", (128, 128, 128)),
    ("Building", (128, 0, 0)),
    ("Pole", (192, 192, 128)),
    ("Road", (128, 64, 128)),
    ("Pavement", (60, 40, 222)),
    ("Tree", (128, 128, 0)),
    ("SignSymbol", (192, 128, 128)),
    ("Fence", (64, 64, 128)),
    ("Car", (64, 0, 128)),
    ("Pedestrian", (64, 64, 0)),
    ("Bicyclist", (0, 128, 192)),
)
LABELS = LabelSet(
    names=tuple(name for name, _ in _CLASSES),
    palette=tuple(color for _, color in _CLASSES),
    table={i: i for i in range(11)} | {11: VOID},
)

_SPLITS = ("train", "val", "test")


def camvid(root: str | Path, split: str = "train") -> PairDataset:
    """CamVid in SegNet's packaging.

    Args:
        root: the folder with train.txt, or the one above.
        split: "train", "val" or "test".

    Raises:
        DataError: there is no such list, or a file that it names is missing.
    """
    home = list_home(checked_folder(root))
    if home is None or not (home / f"{split}.txt").is_file():
        raise DataError(f"no {split}.txt with a picture and a mask a line under {root}; pass the folder that holds it")
    pairs, faults = _listed(home, home / f"{split}.txt")
    if faults:
        raise DataError(faults[0].message)
    return PairDataset(pairs, LABELS, home, split)


def list_home(root: Path) -> Path | None:
    """The folder, `root` or one below, whose train.txt (or val, test) lists a picture and a mask a line."""
    for home in directories(root, 1):
        for split in _SPLITS:
            path = home / f"{split}.txt"
            if path.is_file() and _entries(path):
                return home
    return None


def list_layout(root: Path) -> Layout | None:
    """The layout of a folder with lists of pairs; None where there are none.

    Only what the lists name is taken. The classes are CamVid's where the lists or the folder say so.
    """
    home = list_home(root)
    if home is None:
        return None
    splits: dict[str, tuple[Pair, ...]] = {}
    faults: list[Fault] = []
    says_camvid = "camvid" in home.name.lower()
    for split in _SPLITS:
        path = home / f"{split}.txt"
        if not path.is_file():
            continue
        says_camvid |= "camvid" in read_text(path).lower()
        splits[split], missing = _listed(home, path)
        faults += missing
    if not any(splits.values()):
        raise DataError(f"none of the pairs listed in {home} has both files: {faults[0].message}")
    return Layout(
        root=home,
        name="lists of pairs as SegNet's tutorial has them (" + ", ".join(f"{split}.txt" for split in splits) + ")",
        rule="each line of a list names a picture and its mask; the paths are taken by their ends",
        splits=splits,
        faults=tuple(faults),
        labels=(LABELS,) if says_camvid else (),
    )


def _entries(path: Path) -> list[tuple[int, str, str]]:
    """(line number, picture, mask) of each line of a list; empty where a line is anything else."""
    entries = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        words = [word for word in re.split(r"[,;\t]", line.strip()) if word.strip()]
        if len(words) != 2:
            words = line.split()
        suffixes = [PurePosixPath(word.strip().replace("\\", "/")).suffix.lower() for word in words]
        if len(words) != 2 or not IMAGE_EXTENSIONS.issuperset(suffixes):
            return []
        entries.append((number, words[0].strip(), words[1].strip()))
    return entries


def _listed(home: Path, path: Path) -> tuple[tuple[Pair, ...], list[Fault]]:
    """The pairs of a list, and an error for each line that leads nowhere."""
    entries = _entries(path)
    if not entries:
        raise DataError(f"{path} is empty or not a list of pairs; expected a picture and a mask on every line")
    pairs, faults = [], []
    for number, *words in entries:
        files = [_file_ending_in(home, word) for word in words]
        image, mask = files
        if image is None or mask is None:
            word = words[0] if image is None else words[1]
            message = f"{path}, line {number}, lists {word}, but there is no such file under {home}; "
            faults.append(Fault("error", path, message + "add it or take the line out"))
        else:
            pairs.append(Pair(image, mask, normal(image.stem)))
    return tuple(pairs), faults


def _file_ending_in(home: Path, written: str) -> Path | None:
    """The file under `home` whose path is the longest possible end of the written one, which may be foreign."""
    parts = [part for part in written.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for start in range(len(parts)):
        candidate = home.joinpath(*parts[start:])
        if candidate.is_file():
            return candidate
    return None
