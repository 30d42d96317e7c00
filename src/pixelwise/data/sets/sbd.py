"""SBD, the Semantic Boundaries Dataset: VOC's 21 classes on 11 355 of VOC 2011's pictures, in MATLAB files, no void.

    benchmark_RELEASE/dataset/img/<id>.jpg
                              cls/<id>.mat          GTcls.Segmentation: 0 background, 1–20 as in VOC
                              {train,val}.txt       one id a line: 8 498 and 2 857
                              train_noval.txt       5 623 of train; from SBD's site

What is made of SBD and VOC together is in `pixelwise.data.sets.voc`.
Source: Hariharan et al. 2011; spec, data sets §2.2.
"""

from pathlib import Path

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.folder import PairDataset, compare_counts
from pixelwise.data.layout import ARRAY_EXTENSIONS, Layout, checked_folder, directories
from pixelwise.data.lists import files_by_id, lists_in, pairs_by_lists, told_lists
from pixelwise.data.sets.voc import LABELS as VOC_LABELS
from pixelwise.data.sets.voc import SBD_SITE, listed_pairs
from pixelwise.errors import DataError, MissingSplit
from pixelwise.labels import LabelSet

LABELS = LabelSet(VOC_LABELS.names, table={i: i for i in range(21)})

_COUNTS = {"train": 8498, "val": 2857, "trainval": 11_355, "train_noval": 5623}  # val and trainval UNVERIFIED


def sbd(root: str | Path, split: str = "train") -> PairDataset:
    """SBD as its authors pack it; there is no void, the outlines belong to the objects.

    Args:
        root: the folder with img, cls and train.txt, or up to two above.
        split: a list: "train" (8 498), "val" (2 857), "train_noval"; or "trainval", both.

    Raises:
        MissingSplit: there is no such list.
        DataError: it is not there, a list is empty or names a picture twice, or a file that it names is
            missing.
    """
    folder = checked_folder(root)
    home = next((d for d in directories(folder, 2) if (d / "img").is_dir() and (d / "cls").is_dir()), None)
    if home is None:
        raise DataError(
            f"no img with cls under {folder} or up to two folders below; pass the folder that holds "
            f"benchmark_RELEASE/dataset (download: {SBD_SITE})"
        )
    paths = [home / f"{split}.txt"]
    if split == "trainval" and not paths[0].is_file():
        paths = [home / "train.txt", home / "val.txt"]
    lone = next((path for path in paths if not path.is_file()), None)
    if lone is not None:
        there = ", ".join(sorted(file.stem for file in home.glob("*.txt"))) or "no split"
        raise MissingSplit(f"there is no file {lone}; there are lists for {there}: pass one of them")
    pairs = listed_pairs(paths, files_by_id(home / "img"), files_by_id(home / "cls", ARRAY_EXTENSIONS))
    notes = compare_counts(f"{split} of SBD in {home}", len(pairs), _COUNTS.get(split, len(pairs)))
    return PairDataset(pairs, LABELS, home, split, notes=notes)


def sbd_layout(root: Path, answers: Answers = NOTHING) -> Layout | None:
    """The layout of a folder that is SBD's `dataset`, or holds it one or two below; None where it does not.

    Raises:
        DataError: no picture has a mask.
    """
    for home in directories(root, 2):
        if not ((home / "img").is_dir() and (home / "cls").is_dir()):
            continue
        masks = files_by_id(home / "cls", ARRAY_EXTENSIONS)
        if masks.files:
            lists = {split: paths[0] for split, paths in lists_in(home).items()}
            splits, faults = pairs_by_lists(lists, files_by_id(home / "img"), masks)
            return Layout(
                root=home,
                name="SBD, the Semantic Boundaries Dataset (img/ and cls/)",
                rule=f"img/<id>.jpg with cls/<id>.mat{told_lists(lists)}",
                splits=splits,
                faults=tuple(faults),
                labels=(LABELS,),
            )
    return None
