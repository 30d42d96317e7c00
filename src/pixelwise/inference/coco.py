"""Areas of a mask in COCO's form: polygons where an area has no holes, run lengths where it has.

COCO's polygons have no holes, so an area with some is given by its pixels: `counts` are the lengths of runs outside and
inside, in turn, down the columns, one column after the other, beginning with a run outside.

Source: https://cocodataset.org/#format-data, "Object Detection".
"""

from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pixelwise.inference.pictures import is_background, outlines
from pixelwise.labels import LabelSet


def annotations(labels: NDArray[Any], label_set: LabelSet) -> list[dict[str, Any]]:
    """One annotation for each connected area of a picture's classes (H, W), as `pictures.polygons` has them.

    Each has `category_id`, the class's number in the mask; `segmentation`; `area`, its pixels; `bbox`, (x, y, width,
    height); and `iscrowd` 0. What is missing are `id` and `image_id`.
    """
    found = []
    part_of: dict[int, NDArray[np.int32]] = {}  # of a class with holes: which connected area each pixel belongs to
    for index, rings in outlines(labels, label_set):
        corners = np.array(rings[0])
        (left, top), (right, bottom) = corners.min(0).tolist(), corners.max(0).tolist()
        segmentation: Any = [[number for corner in rings[0][:-1] for number in corner]]
        if len(rings) > 1:
            if index not in part_of:
                part_of = {index: cv2.connectedComponents((labels == index).astype(np.uint8), connectivity=8)[1]}
            parts = part_of[index]
            x, y = min(rings[0], key=lambda corner: corner[::-1])  # below and right of it is a pixel of the area
            inside = parts[top:bottom, left:right] == parts[y, x]
            segmentation = {"size": list(labels.shape), "counts": _runs(inside, (left, top), labels.shape)}
        found.append(
            {
                "category_id": index,
                "segmentation": segmentation,
                "area": _area(rings[0]) - sum(_area(ring) for ring in rings[1:]),
                "bbox": [left, top, right - left, bottom - top],
                "iscrowd": 0,
            }
        )
    return found


def categories(label_set: LabelSet) -> list[dict[str, Any]]:
    """The classes that can have annotations: all but one called background."""
    return [{"id": i, "name": name} for i, name in enumerate(label_set.names) if not is_background(name)]


def _runs(inside: NDArray[np.bool_], corner: tuple[int, int], size: tuple[int, ...]) -> list[int]:
    """Lengths of runs outside and inside, down the columns, of a part of a picture that begins at a corner (x, y)."""
    columns, rows = np.nonzero(inside.T)
    places = (columns + corner[0]) * size[0] + rows + corner[1]
    breaks = np.flatnonzero(np.diff(places) > 1)
    starts = places[np.concatenate([[0], breaks + 1])]
    stops = places[np.concatenate([breaks, [len(places) - 1]])] + 1
    edges = np.stack([starts, stops], axis=1).ravel()
    counts: list[int] = np.diff(edges, prepend=0, append=size[0] * size[1]).tolist()
    return counts if counts[-1] else counts[:-1]


def _area(ring: list[list[int]]) -> int:
    """Pixels within a closed ring that runs along their edges: the sum of its steps to the side times their height."""
    return abs(sum((x1 - x0) * y0 for (x0, y0), (x1, _) in pairwise(ring)))
