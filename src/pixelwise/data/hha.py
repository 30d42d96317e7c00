"""HHA: a depth picture as three channels that a network for color can take – disparity, height, angle with gravity.

    disparity   31 000 / max(depth, 100), depth in centimeters: 1 m and nearer is 255, 2 m is 155, 4 m is 78
    height      centimeters above the lowest point; where none is 90 below the camera, above 130 below it
    angle       degrees between the surface's normal and gravity, plus 38: floor 38, wall 128, ceiling 218

Each is rounded, halves up as in MATLAB, and saturated to 0–255; the file holds disparity as red, height as green and
angle as blue.

Source: Gupta et al. 2014, Learning Rich Features from RGB-D Images; spec, datasets-and-protocols §2.6.1. Reference
code: s-gupta/rcnn-depth (saveHHA, MATLAB) and its port charlesCXK/Depth2HHA-python.

**Differences:** where a window determines a plane, its sums are taken over pixel numbers counted from its middle, which
are exact, instead of X/Z and Y/Z where they stand. Where it does not – fewer than three points with depth, or all on
one line – the reference's normal is nothing but the rounding of its terms; these are then taken as the port takes them,
one by one, so that its files are met there, too. Depth that is zero, less or not finite is always missing. The port
rounds halves to even.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from pixelwise.data.decode import decode_image
from pixelwise.errors import DataError, ShapeError
from pixelwise.files import replacing

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        focal_x, focal_y: focal lengths in pixels.
        center_x, center_y: the principal point in pixels, of which the first is 1 (MATLAB's count).
    """

    focal_x: float
    focal_y: float
    center_x: float
    center_y: float

    def cropped(self, top: int, left: int) -> Self:
        """The camera of pictures that lack so many rows at the top and columns at the left."""
        return replace(self, center_x=self.center_x - left, center_y=self.center_y - top)


def hha(depth: NDArray[Any], camera: Camera, *, missing: Mask | None = None) -> NDArray[np.uint8]:
    """HHA of a depth picture: (H, W) meters → (H, W, 3) uint8, disparity, height, angle.

    Args:
        depth: with its holes filled; 0, less or not finite where nothing is known, which then counts as at the camera.
        missing: (H, W) where the depth was filled in, so that no normal is estimated from it.

    Raises:
        ShapeError: depth is not (H, W), or missing not of its size.

    >>> wall = np.full((2, 2), 2.0)
    >>> hha(wall, Camera(500, 500, 1.5, 1.5))[0, 0].tolist()
    [155, 130, 128]
    """
    if depth.ndim != 2 or depth.size == 0 or (missing is not None and missing.shape != depth.shape):
        shapes = f"{depth.shape}" + ("" if missing is None else f" and missing {missing.shape}")
        raise ShapeError(f"depth is (H, W) in meters, and missing as large, got {shapes}; pass one picture's")
    z = np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float64) * 100  # centimeters
    unknown = z == 0 if missing is None else missing | (z == 0)
    fine, coarse = (normals(z, camera, unknown, radius) for radius in (3, 10))
    down = gravity(coarse)
    cosine = np.einsum("c,chw->hw", down, fine)
    angle = np.degrees(np.arccos(np.where(np.isnan(cosine), -1, np.clip(cosine, -1, 1))))
    encoded = np.empty((*z.shape, 3), np.uint8)
    for i, channel in enumerate((31_000 / np.maximum(z, 100), _height(z, camera, down), angle + 128 - 90)):
        encoded[:, :, i] = np.clip(np.floor(channel + 0.5), 0, 255)
    return encoded


def normals(z: Floats, camera: Camera, missing: Mask, radius: int) -> Floats:
    """(H, W) depth → (3, H, W) unit normals (x right, y down, z ahead), not-a-number where nothing is known.

    In the window of (2·radius + 1)² pixels around each, the plane n·P = 1 is fitted by least squares, each point
    divided by its Z: n·(X/Z, Y/Z, 1) = 1/Z. Inverse depth is linear in the pixel's column u and row v, 1/Z = q +
    g·(u, v), so that n ∝ (fx·gu, fy·gv, q at the principal point). Normals point away from the camera; a floor's down.

    Args:
        z: with holes filled.
        missing: pixels that are left out of the sums.
    """
    u, v = _pixels(z.shape)
    known = (~missing).astype(np.float64)
    inverse = np.divide(1, z, out=np.zeros_like(z), where=~missing)

    def summed(values: Floats) -> Floats:
        side = 2 * radius + 1
        found = cv2.boxFilter(values, cv2.CV_64F, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
        return np.asarray(found, np.float64)

    # sums over pixel numbers that are counted from each window's middle; whole numbers, so nothing is rounded
    count, su, sv = summed(known), summed(known * u), summed(known * v)
    suu = summed(known * u * u) - 2 * u * su + u * u * count
    suv = summed(known * u * v) - u * sv - v * su + u * v * count
    svv = summed(known * v * v) - 2 * v * sv + v * v * count
    su, sv = su - u * count, sv - v * count
    s = summed(inverse)
    sums = (suu, suv, su, svv, sv, count, summed(inverse * u) - u * s, summed(inverse * v) - v * s, s)
    gu, gv, q = _solved(*sums)
    n = np.stack(
        [camera.focal_x * gu, camera.focal_y * gv, q + gu * (camera.center_x - u) + gv * (camera.center_y - v)]
    )
    n[:, count == 0] = np.nan
    undetermined = (count > 0) & (_determinant(*sums[:6]) <= 0)
    if undetermined.any():
        n[:, undetermined] = _undetermined(z, camera, missing, radius, undetermined)
    with np.errstate(invalid="ignore"):
        n /= np.sqrt(n[0] ** 2 + n[1] ** 2 + n[2] ** 2)
    n *= np.where(n[2] < 0, -1.0, 1.0)
    away = n[0] * (u - camera.center_x) / camera.focal_x + n[1] * (v - camera.center_y) / camera.focal_y + n[2]
    n *= np.where(away * z < 0, -1.0, 1.0)
    return n


def gravity(normals: Floats) -> Floats:
    """(3,) unit vector down: the direction to which most normals are parallel or perpendicular.

    Starting from straight down, normals within a threshold of it (floors, ceilings) and of its plane (walls) are
    gathered, and the direction that fits both best by least squares is taken; five times with 45°, five with 15°.

    Args:
        normals: (3, H, W), not-a-number where unknown.
    """
    n = normals.reshape(3, -1)
    n = n[:, ~np.isnan(n[0])]
    first, second = np.triu_indices(3)
    products = n[first] * n[second]
    down = np.array([0.0, 1.0, 0.0])
    for degrees in (45,) * 5 + (15,) * 5:
        likeness = np.abs(down @ n)
        threshold = np.radians(degrees)
        weights = (likeness < np.sin(threshold)).astype(np.float64) - (likeness > np.cos(threshold))
        moments = np.empty((3, 3))
        moments[first, second] = moments[second, first] = products @ weights
        if moments.any():
            best = np.linalg.eigh(moments)[1][:, 0]  # of the smallest eigenvalue
            down = best if best @ down >= 0 else -best
    return down


def encode_folder(
    depth: str | Path,
    out: str | Path,
    camera: Camera,
    *,
    unit: float = 0.001,
    raw: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write HHA of a folder of depth pictures: OUT/<name>.png for each; the number of files that were written.

    A file that is there already is left as it is, and each appears whole or not at all: the same call goes on after an
    end at any moment.

    Args:
        depth: PNG or TIFF of one channel, with holes filled.
        camera: what the pictures were taken with.
        unit: meters that the value 1 stands for: 0.001 for millimeters (FCN's NYUDv2), 0.0002, 0.0001.
        raw: pictures of the same names as the sensor gave them; where they are 0 or less, no normal is estimated.
        progress: called with (pictures done, pictures).

    Raises:
        DataError: there are no pictures, one cannot be read or has several channels, or its raw one is missing.
    """
    depth, out = Path(depth), Path(out)
    if not depth.is_dir():
        raise DataError(f"there is no folder {depth}; expected depth pictures there, PNG or TIFF of one channel")
    files = sorted(file for file in depth.iterdir() if file.suffix.lower() in (".png", ".tif", ".tiff"))
    if not files:
        raise DataError(f"{depth} holds no depth pictures; expected PNG or TIFF of one channel")
    written = 0
    for done, file in enumerate(files, 1):
        place = out / f"{file.stem}.png"
        if not place.exists():
            meters = _depth(file) * unit
            missing = None if raw is None else _missing(Path(raw) / file.name, file, meters.shape)
            write_hha(hha(meters, camera, missing=missing), place)
            written += 1
        if progress is not None:
            progress(done, len(files))
    return written


def write_hha(encoded: NDArray[np.uint8], path: Path) -> None:
    """Write HHA as a PNG, disparity as red; whole or not at all."""
    with replacing(path) as beside:
        PillowImage.fromarray(encoded).save(beside, format="PNG")


def _pixels(size: tuple[int, ...]) -> tuple[Floats, Floats]:
    """(1, W) columns and (H, 1) rows, counted from 1."""
    rows, columns = (np.arange(1, length + 1, dtype=np.float64) for length in size)
    return columns[None, :], rows[:, None]


def _solved(a: Floats, b: Floats, c: Floats, d: Floats, e: Floats, f: Floats, *right: Floats) -> list[Floats]:
    """adj([[a, b, c], [b, d, e], [c, e, f]]) · right."""
    adjugate = (
        (d * f - e * e, c * e - b * f, b * e - c * d),
        (c * e - b * f, a * f - c * c, b * c - a * e),
        (b * e - c * d, b * c - a * e, a * d - b * b),
    )
    return [row[0] * right[0] + row[1] * right[1] + row[2] * right[2] for row in adjugate]


def _determinant(a: Floats, b: Floats, c: Floats, d: Floats, e: Floats, f: Floats) -> Floats:
    return a * (d * f - e * e) + b * (c * e - b * f) + c * (b * e - c * d)


def _undetermined(z: Floats, camera: Camera, missing: Mask, radius: int, where: Mask) -> Floats:
    """(3, n) normals of the windows around `where`, not normalized, by the sums of the reference in its order."""
    u, v = _pixels(z.shape)
    z = z / 100 * 100  # the reference goes to meters and back
    x, y = (u - camera.center_x) * z / camera.focal_x, (v - camera.center_y) * z / camera.focal_y
    with np.errstate(divide="ignore", invalid="ignore"):
        xz, yz, zz = x / z, y / z, z * z
        terms = np.stack([xz * xz, xz * yz, xz, yz * yz, yz, np.ones_like(z), x / zz, y / zz, 1 / z])
    terms[:, missing] = 0
    padded = np.pad(terms, ((0, 0), (radius, radius), (radius, radius)))
    rows, columns = np.nonzero(where)
    sums = np.zeros((9, len(rows)))
    for i in range(2 * radius + 1):
        for j in range(2 * radius + 1):
            sums += padded[:, rows + i, columns + j]
    return np.stack(_solved(*sums))


def _height(z: Floats, camera: Camera, down: Floats) -> Floats:
    """(H, W) centimeters above the lowest point; where none is 90 below the camera, above 130 below it."""
    if np.degrees(np.arccos(np.clip(down[1], -1, 1))) <= 0.1:
        down = np.array([0.0, 1.0, 0.0])
    u, v = _pixels(z.shape)
    height = -z * (
        down[0] * (u - camera.center_x) / camera.focal_x + down[1] * (v - camera.center_y) / camera.focal_y + down[2]
    )
    lowest = float(height.min())
    return np.asarray(height - (lowest if lowest <= -90 else -130))


def _depth(path: Path) -> NDArray[Any]:
    picture = decode_image(path)
    if picture.shape[2] != 1:
        raise DataError(f"{path} has {picture.shape[2]} channels; expected depth in one: export it so")
    return picture[:, :, 0]


def _missing(path: Path, filled: Path, size: tuple[int, ...]) -> Mask:
    """(H, W) where a raw depth picture knows nothing."""
    raw = _depth(path)
    if raw.shape != size:
        raise DataError(
            f"{path} is {raw.shape[0]} × {raw.shape[1]} but {filled} is {size[0]} × {size[1]} (height × width); "
            "export both again"
        )
    return np.asarray(raw <= 0)
