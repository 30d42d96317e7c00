"""Border weights: how much each pixel counts in the loss, so that thin gaps between objects are learned."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pixelwise.data.sample import Sample
from pixelwise.errors import ShapeError
from pixelwise.labels import VOID, ClassMap

REACH = 6  # sigmas of d1 + d2 beyond which the border's term is below w0 · e⁻¹⁸ and left out


class BorderWeights(BaseModel):
    """w(x) = w_c(x) + w0 · exp(−(d1(x) + d2(x))² / (2σ²)), U-Net's weight of each pixel.

    d1 and d2 are the distances, in pixels of the picture, to the nearest and the second nearest object. The second
    term stands between objects: on background pixels alone, and where there are two objects at least. Distances are
    from middle to middle, so that d1 of a pixel beside an object is 1. Void has weight 0.

    Objects are the values of the sample's target `instances` that are not 0; or else the connected components
    (8-connected) of each class but `background`. Objects of one class that touch are then one object, which the
    authors cut apart by morphology first.

    Attributes:
        w0: weight of the second term.
        sigma: σ in pixels.
        class_weights: w_c of each class, which balance how frequent they are; 1 each if left out.
        background: the class between the objects.
        instances: the head of the target that holds instance numbers, 0 for none; connected components if left out.
        void: the value of the target that is not counted.

    Source: Ronneberger et al. 2015, Eq. 2 (w0 = 10, σ ≈ 5 pixels). That the second term is 0 on the objects is how
    their Figure 3 looks; UNVERIFIED.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    w0: float = Field(10.0, ge=0)
    sigma: float = Field(5.0, gt=0)
    class_weights: tuple[float, ...] | None = None
    background: int = 0
    instances: str | None = None
    void: int = VOID

    def __call__(self, sample: Sample) -> NDArray[np.float32]:
        """(H, W) float32 weights of a sample's target "labels".

        Raises:
            ShapeError: the target holds a class without a weight, or the instances have another size.
        """
        target = sample.targets["labels"]
        if self.instances is None:
            objects = connected_objects(target, background=self.background, void=self.void)
        else:
            objects = sample.targets[self.instances].astype(np.int32)
        if objects.shape != target.shape:
            raise ShapeError(
                f"{sample.name}: the target is {target.shape} but its instances are {objects.shape}; "
                "they have one size: export them again"
            )
        weights = border_term(objects, w0=self.w0, sigma=self.sigma)
        weights[target != self.background] = 0
        weights += self._balanced(target, sample.name)
        weights[target == self.void] = 0
        return weights

    def _balanced(self, target: ClassMap, name: str) -> NDArray[np.float32] | np.float32:
        """w_c: (H, W), or one number for all."""
        if self.class_weights is None:
            return np.float32(1)
        table = np.zeros(self.void + 1, np.float32)
        table[: len(self.class_weights)] = self.class_weights
        if (wrong := (target >= len(self.class_weights)) & (target != self.void)).any():
            raise ShapeError(
                f"{name} holds class {int(target[wrong][0])}, and there are {len(self.class_weights)} class weights; "
                "give one for each class"
            )
        balanced: NDArray[np.float32] = table[target]
        return balanced


def border_term(objects: NDArray[Any], *, w0: float = 10.0, sigma: float = 5.0) -> NDArray[np.float32]:
    """w0 · exp(−(d1 + d2)² / (2σ²)), (H, W) float32: 0 on the objects, and below w0 · e⁻¹⁸ left out.

    Args:
        objects: (H, W) integers: a number for each object, 0 between them.
        w0: the largest value, where both distances would be 0.
        sigma: σ in pixels.

    Source: Ronneberger et al. 2015, Eq. 2.
    """
    height, width = objects.shape
    nearest = np.full(objects.shape, np.inf, np.float32)
    second = nearest.copy()
    reach = int(np.ceil(REACH * sigma))
    for number, (top, bottom, left, right) in _boxes(objects):
        window = (
            slice(max(top - reach, 0), min(bottom + reach, height)),
            slice(max(left - reach, 0), min(right + reach, width)),
        )
        outside = (objects[window] != number).astype(np.uint8)
        distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        one, two = nearest[window], second[window]
        np.minimum(two, np.maximum(one, distance), out=two)
        np.minimum(one, distance, out=one)
    second += nearest
    second *= second
    second /= np.float32(-2 * sigma**2)
    term: NDArray[np.float32] = np.exp(second, out=second)
    term *= np.float32(w0)
    term[objects != 0] = 0
    return term


def connected_objects(target: ClassMap, *, background: int = 0, void: int = VOID) -> NDArray[np.int32]:
    """(H, W) int32: the connected components (8-connected) of each class, from 1 on; 0 at background and void."""
    objects = np.zeros(target.shape, np.int32)
    count = 0
    for cls in np.flatnonzero(np.bincount(target.ravel())):
        if cls in (background, void):
            continue
        found, parts = cv2.connectedComponents((target == cls).astype(np.uint8), connectivity=8)
        np.add(parts, count, out=objects, where=parts > 0)
        count += found - 1
    return objects


def _boxes(objects: NDArray[Any]) -> list[tuple[int, tuple[int, int, int, int]]]:
    """(number, (top, bottom, left, right)) of each object, ends excluded."""
    rows, columns = np.nonzero(objects)
    if not rows.size:
        return []
    numbers = objects[rows, columns]
    order = np.argsort(numbers, kind="stable")
    found, starts = np.unique(numbers[order], return_index=True)
    edges = [
        end(places[order], starts) + after
        for places in (rows, columns)
        for end, after in ((np.minimum.reduceat, 0), (np.maximum.reduceat, 1))
    ]
    return [(int(number), (int(a), int(b), int(c), int(d))) for number, a, b, c, d in zip(found, *edges, strict=True)]
