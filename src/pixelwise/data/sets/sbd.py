"""SBD, the Semantic Boundaries Dataset: VOC's 21 classes on 11 355 of VOC 2011's pictures, in MATLAB files, no void.

    benchmark_RELEASE/dataset/img/<id>.jpg
                              cls/<id>.mat          GTcls.Segmentation: 0 background, 1–20 as in VOC
                              {train,val}.txt       one id a line: 8 498 and 2 857

Source: Hariharan et al. 2011.
"""

from pathlib import Path

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.layout import ARRAY_EXTENSIONS, Layout, directories
from pixelwise.data.lists import files_by_id, lists_in, pairs_by_lists, told_lists
from pixelwise.data.sets.voc import LABELS as VOC_LABELS
from pixelwise.labels import LabelSet

LABELS = LabelSet(VOC_LABELS.names, table={i: i for i in range(21)})


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
