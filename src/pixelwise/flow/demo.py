"""The demo's own data: a garden bed seen from above, drawn with its masks.

Every picture has its own light, soil, focus and noise. No class is known by its color alone: there are green fruits
and mossy soil beside green leaves, soil-colored stones, and flowers in the colors of the fruits. Shape, texture and
shading tell them apart, so a network has something to learn, and a minute on two cores is enough to see it learn.

Everything is drawn at twice the size and averaged down; a pixel of the mask is the class that covers most of it.
The k-th picture is a pure function of (seed, k, size): the same call writes the same bytes.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from pixelwise.errors import BadOption, DataError

CLASSES = ("soil", "leaf", "fruit", "flower", "stone")
PALETTE = ((110, 84, 64), (74, 160, 73), (214, 64, 69), (240, 188, 66), (128, 146, 168))
SOIL, LEAF, FRUIT, FLOWER, STONE = range(len(CLASSES))

Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]
Random = np.random.Generator

_ZOOM = 2  # drawn at twice the size, so that edges are smooth and masks are majorities
_LABELED, _NEW = 0, 1  # two streams of random numbers: new pictures never repeat labeled ones, whatever the seeds


def draw_demo(folder: Path, *, count: int = 60, size: tuple[int, int] = (192, 256), seed: int = 0) -> None:
    """Write a small labeled data set: images/NNN.jpg, masks/NNN.png (palette, 0–4), classes.txt.

    The folder appears complete or not at all: it is written beside its place and renamed.

    Args:
        folder: a new or an empty one.
        count: number of pictures, from 1.
        size: (height, width) in pixels, each from 32.
        seed: another one, other pictures.

    Raises:
        DataError: `folder` holds something already, or cannot be written.
        BadOption: `count` or `size` is too small.
    """
    folder = Path(folder)
    _check(folder, count, size)
    beside = _place_beside(folder)
    try:
        for name in ("images", "masks"):
            (beside / name).mkdir(parents=True)
        for k in range(count):
            image, target = draw_scene(np.random.default_rng([_LABELED, seed, k]), size)
            Image.fromarray(image).save(beside / "images" / f"garden_{k:03d}.jpg", quality=92)
            mask = Image.fromarray(target).convert("P")
            mask.putpalette([value for color in PALETTE for value in color])
            mask.save(beside / "masks" / f"garden_{k:03d}.png", optimize=True)
        (beside / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES), encoding="utf-8")
        _put_in_place(beside, folder)
    except OSError as error:
        raise DataError(f"cannot write the demo's data to {folder}: {error}; pass another folder") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def draw_new_pictures(folder: Path, count: int = 3, seed: int = 1, *, size: tuple[int, int] = (240, 360)) -> None:
    """Write pictures of the same garden without masks, new_NNN.jpg: something to predict on.

    They are larger than those of `draw_demo`, and none of them occurs there, whatever the seeds.

    Raises:
        DataError: `folder` holds something already, or cannot be written.
        BadOption: `count` or `size` is too small.
    """
    folder = Path(folder)
    _check(folder, count, size)
    beside = _place_beside(folder)
    try:
        beside.mkdir(parents=True)
        for k in range(count):
            image, _ = draw_scene(np.random.default_rng([_NEW, seed, k]), size)
            Image.fromarray(image).save(beside / f"new_{k:03d}.jpg", quality=92)
        _put_in_place(beside, folder)
    except OSError as error:
        raise DataError(f"cannot write the demo's pictures to {folder}: {error}; pass another folder") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def draw_scene(random: Random, size: tuple[int, int]) -> tuple[NDArray[np.uint8], Labels]:
    """One picture (H, W, 3) uint8 RGB and its classes (H, W) uint8, drawn from `random`."""
    height, width = size
    big = (height * _ZOOM, width * _ZOOM)
    angle = random.uniform(0, 2 * np.pi)
    light = (float(np.cos(angle)), float(np.sin(angle)))  # where it comes from, in the plane of the picture
    canvas = _soil(random, big, light)
    target = np.zeros(big, np.uint8)

    scale = random.uniform(0.9, 1.35)  # how near the camera is
    area = height * width / (192 * 256)
    low = [STONE] * random.poisson(3.2 * area) + [LEAF] * random.poisson(7 * area)
    high = (
        [LEAF] * random.poisson(3 * area) + [FRUIT] * random.poisson(4.2 * area) + [FLOWER] * random.poisson(3.4 * area)
    )
    random.shuffle(low)
    random.shuffle(high)
    for index in (*low, *high):
        _place(random, canvas, target, index, scale, light)

    scene = _floats(cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA))
    image = _photograph(random, scene)
    parts = [(target == k).astype(np.float32) for k in range(len(CLASSES))]
    votes = [cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA) for part in parts]
    return image, np.argmax(np.stack(votes), axis=0).astype(np.uint8)


@dataclass(frozen=True)
class _Thing:
    """One object in its own square patch: where it is, how high, in which color.

    inside (S, S) bool; height (S, S) in units of its radius; color (S, S, 3) 0–1; gloss 0–1.
    """

    inside: NDArray[np.bool_]
    height: Floats
    color: Floats
    gloss: float


def _soil(random: Random, size: tuple[int, int], light: tuple[float, float]) -> Floats:
    """Crumbly ground (H, W, 3) 0–1, with stains of moss, grit and straw: all of it counts as soil."""
    palette = _floats(
        [(0.40, 0.28, 0.19), (0.30, 0.22, 0.17), (0.55, 0.43, 0.30), (0.45, 0.27, 0.20), (0.40, 0.36, 0.31)]
    )
    base = palette[random.integers(len(palette))] * random.uniform(0.85, 1.15)
    relief = _noise(random, size, 64, 5)
    color = base * (0.75 + 0.55 * _noise(random, size, 130, 4)[..., None])
    moss = np.clip((_noise(random, size, 150, 4) - random.uniform(0.55, 0.85)) * 5, 0, 1)[..., None] * 0.6
    color = color * (1 - moss) + moss * _floats([0.30, 0.38, 0.16]) * (
        0.7 + 0.6 * _noise(random, size, 10, 2)[..., None]
    )

    overlay = np.ascontiguousarray(color)
    for _ in range(int(random.poisson(60) * size[0] * size[1] / (384 * 512))):  # grit
        x, y = int(random.integers(size[1])), int(random.integers(size[0]))
        tone = base * random.uniform(0.6, 1.7) + random.uniform(-0.03, 0.05, 3)
        axes = (int(random.integers(1, 5)), int(random.integers(1, 4)))
        cv2.ellipse(overlay, (x, y), axes, random.uniform(0, 180), 0, 360, [float(t) for t in tone], -1, cv2.LINE_AA)
    for _ in range(int(random.poisson(5))):  # straw
        start = random.uniform((0, 0), (size[1], size[0]))
        turn, length = random.uniform(0, 2 * np.pi), random.uniform(30, 110)
        bend = np.linspace(0, random.uniform(-0.6, 0.6), 12)
        path = start + np.cumsum(np.stack([np.cos(turn + bend), np.sin(turn + bend)], 1) * length / 12, axis=0)
        tone = _floats([0.62, 0.53, 0.32]) * random.uniform(0.6, 1.2)
        cv2.polylines(
            overlay, [path.astype(np.int32)], False, [float(t) for t in tone], int(random.integers(2, 4)), cv2.LINE_AA
        )
    shading = _shading(relief * 9, light, 1.0)
    return np.asarray(np.clip(overlay * shading[..., None], 0, 1), np.float32)


def _leaf(random: Random, radius: float) -> _Thing:
    """A pointed blade with a bent midrib, side veins, a ragged edge and sometimes holes."""
    x, y = _grid(random, radius, 1.15)
    bend = random.uniform(-0.35, 0.35)
    y = y - bend * (1 - x * x)
    half = random.uniform(0.30, 0.52)  # half of the widest width, in units of half the length
    skew = random.uniform(-0.25, 0.25)
    teeth = random.integers(0, 2) * 0.035 * np.sin(x * random.uniform(30, 45))
    profile = half * np.clip(1 - x * x, 0, None) ** random.uniform(0.7, 1.1) * (1 + skew * x) + teeth
    stalk = (np.abs(y) < 0.035) & (x < -0.8) & (x > -1.12)
    inside = (np.abs(y) < profile) & (np.abs(x) < 1)
    for _ in range(int(random.poisson(0.5))):
        hole = random.uniform((-0.6, -0.2), (0.6, 0.2))
        inside &= np.hypot(x - hole[0], y - hole[1]) > random.uniform(0.04, 0.1)

    across = np.abs(y) / np.maximum(profile, 1e-3)
    veins = np.abs(np.mod(x * random.uniform(5, 8) - np.abs(y) * random.uniform(4, 7), 1) - 0.5) * 2  # 1 at a vein
    rib = np.exp(-((y / 0.025) ** 2)) + 0.45 * np.exp(-(((1 - veins) / 0.13) ** 2)) * (across < 0.95)
    green = _mix(random, (0.20, 0.42, 0.12), (0.42, 0.58, 0.20), (0.13, 0.34, 0.20))
    autumn = _mix(random, (0.72, 0.55, 0.16), (0.62, 0.24, 0.12), (0.45, 0.30, 0.16))
    turned = np.clip(_noise(random, x.shape, radius * 1.2, 3) * 1.6 - random.uniform(0.5, 1.6), 0, 1)[..., None]
    color = green * (1 - turned) + autumn * turned
    color = color * (0.82 + 0.36 * _noise(random, x.shape, radius / 3, 3)[..., None])
    color = color + rib[..., None] * _floats([0.16, 0.17, 0.09])
    height = 0.35 * (1 - across**2) * half - 0.05 * rib + 0.12 * np.sin(2.5 * x + random.uniform(0, 6))
    return _Thing(inside | stalk, _floats(height), _floats(color), 0.18)


def _fruit(random: Random, radius: float) -> _Thing:
    """A glossy, slightly lobed ball, striped or speckled, with a small star where the stalk was."""
    x, y = _grid(random, radius, 1.1)
    squeeze = random.uniform(0.82, 1.0)
    y = y / squeeze
    angle, distance = np.arctan2(y, x), np.hypot(x, y)
    lobes = int(random.integers(3, 7))
    distance = distance / (1 + random.uniform(0, 0.04) * np.cos(lobes * angle + random.uniform(0, 6)))
    base = _mix_one(
        random, (0.78, 0.13, 0.12), (0.86, 0.42, 0.10), (0.50, 0.60, 0.18), (0.42, 0.14, 0.32), (0.84, 0.68, 0.20)
    )
    blush = _mix_one(random, (0.80, 0.25, 0.15), (0.85, 0.70, 0.25), (0.50, 0.58, 0.22))
    amount = np.clip(_noise(random, x.shape, radius * 1.6, 2) * 1.5 - random.uniform(0.3, 1.0), 0, 1)[..., None]
    color = base * (1 - amount) + blush * amount
    color = color * (0.93 + 0.14 * _noise(random, x.shape, max(radius / 6, 3), 2)[..., None])
    if random.random() < 0.4:
        color = color * (1 - 0.18 * (np.cos(angle * 2 * lobes + 3 * distance) > 0.3)[..., None])
    spot = random.uniform(-0.45, 0.45, 2)
    away, toward = np.hypot(x - spot[0], y - spot[1]), np.arctan2(y - spot[1], x - spot[0])
    star = (away < 0.10 + 0.10 * np.abs(np.cos(2.5 * toward)))[..., None]
    color = np.where(star, _floats([0.24, 0.27, 0.10]), color)
    height = np.sqrt(np.clip(1.02 - distance**2, 0, None)) * 0.9
    return _Thing(distance < 1, _floats(height), _floats(color), 0.9)


def _flower(random: Random, radius: float) -> _Thing:
    """Petals in one or two rings around a grainy disk."""
    x, y = _grid(random, radius, 1.1)
    angle, distance = np.arctan2(y, x), np.hypot(x, y)
    petals = int(random.integers(5, 10))
    sharp = random.uniform(0.35, 0.9)
    gap = random.uniform(0.45, 0.75)
    base = _mix_one(
        random,
        (0.93, 0.92, 0.88),
        (0.92, 0.75, 0.18),
        (0.86, 0.45, 0.62),
        (0.56, 0.40, 0.76),
        (0.84, 0.22, 0.20),
        (0.93, 0.52, 0.18),
    )
    throat = base * random.uniform(0.55, 1.05) + random.uniform(-0.08, 0.08, 3)
    inside = np.zeros(x.shape, bool)
    height = np.zeros(x.shape, np.float32)
    color = np.broadcast_to(base, (*x.shape, 3)).copy()
    for ring in range(int(random.integers(1, 3))):  # the outer ring first, the inner one over it
        reach = 1 - 0.28 * ring
        wave = np.abs(np.cos((angle + ring * np.pi / petals) * petals / 2))
        edge = reach * (1 - gap * (1 - wave**sharp)) * (1 + 0.03 * np.sin(13 * angle))
        here = distance < edge
        along = np.clip(distance / np.maximum(edge, 1e-3), 0, 1)
        streaks = 0.90 + 0.10 * np.cos(angle * petals * 5) * along
        tone = (
            (throat + (base - throat) * along[..., None])
            * (streaks * (0.86 + 0.14 * wave))[..., None]
            * (1 - 0.06 * ring)
        )
        color = np.where(here[..., None], tone, color)
        height = np.where(here, 0.22 * wave + 0.10 * along + 0.12 * ring, height)
        inside |= here
    core = random.uniform(0.17, 0.30)
    disk = distance < core
    heart = _mix_one(random, (0.80, 0.60, 0.12), (0.34, 0.21, 0.11), (0.62, 0.66, 0.22))
    grain = 0.6 + 0.8 * _noise(random, x.shape, 5, 1)[..., None]
    color = np.where(disk[..., None], heart * grain, color)
    height = np.where(disk, 0.35 + 0.25 * np.sqrt(np.clip(1 - (distance / core) ** 2, 0, None)), height)
    return _Thing(inside | disk, _floats(height), _floats(color), 0.08)


def _stone(random: Random, radius: float) -> _Thing:
    """A rounded lump with flat faces, speckles, a vein and sometimes lichen."""
    x, y = _grid(random, radius, 1.2)
    y = y / random.uniform(0.65, 0.95)
    angle = np.arctan2(y, x)
    outline = np.ones(x.shape, np.float32)
    for frequency in range(2, 6):
        outline += random.uniform(0, 0.16) / frequency * np.cos(frequency * angle + random.uniform(0, 6))
    distance = np.hypot(x, y) / outline
    height = np.sqrt(np.clip(1.03 - distance**2, 0, None)) * 0.75
    for _ in range(int(random.integers(2, 5))):  # cut it with planes: the faces
        turn = random.uniform(0, 2 * np.pi)
        height = np.minimum(
            height, random.uniform(0.45, 0.75) + random.uniform(0.2, 0.7) * (x * np.cos(turn) + y * np.sin(turn))
        )
    height = height + 0.10 * _noise(random, x.shape, radius / 2, 4)
    base = _mix_one(
        random, (0.56, 0.56, 0.56), (0.44, 0.45, 0.48), (0.60, 0.54, 0.46), (0.68, 0.66, 0.60), (0.38, 0.37, 0.38)
    )
    speckle = _noise(random, x.shape, 4, 1)
    color = base * (0.78 + 0.2 * speckle + 0.3 * _noise(random, x.shape, radius, 4))[..., None]
    if random.random() < 0.4:
        line = x * random.uniform(-1, 1) + y + 0.15 * np.sin(4 * x) + random.uniform(-0.3, 0.3)
        color = _floats(color + 0.18 * np.exp(-((line / 0.05) ** 2))[..., None])
    if random.random() < 0.35:
        lichen = np.clip((_noise(random, x.shape, radius / 1.5, 3) - 0.55) * 8, 0, 1)[..., None] * 0.7
        color = color * (1 - lichen) + lichen * _mix(random, (0.45, 0.52, 0.26), (0.66, 0.62, 0.30), (0.60, 0.64, 0.56))
    return _Thing(distance < 1, _floats(height), _floats(color), 0.12)


_DRAW: dict[int, tuple[Callable[[Random, float], _Thing], float, float]] = {
    LEAF: (_leaf, 19, 40),  # with the smallest and the largest radius, in pixels of the finished picture
    FRUIT: (_fruit, 13, 27),
    FLOWER: (_flower, 16, 30),
    STONE: (_stone, 17, 38),
}


def _place(
    random: Random, canvas: Floats, target: Labels, index: int, scale: float, light: tuple[float, float]
) -> None:
    """Draw one thing with its shadow somewhere, in place; it may hang over the border."""
    draw, low, high = _DRAW[index]
    radius = float(np.exp(random.uniform(np.log(low), np.log(high)))) * scale * _ZOOM
    thing = draw(random, radius)
    side = thing.inside.shape[0]
    height, width = target.shape
    middle = random.uniform((0, 0), (height, width))
    top, left = int(middle[0]) - side // 2, int(middle[1]) - side // 2

    throw = radius * 0.16 * (0.5 if index == LEAF else 1.0)
    pad = int(throw * 2) + 6
    outline = np.pad(thing.inside.astype(np.float32), pad)
    move = _floats([[1, 0, -light[0] * throw], [0, 1, -light[1] * throw]])
    moved = cv2.warpAffine(outline, move, (outline.shape[1], outline.shape[0]))
    shadow = cv2.GaussianBlur(moved, (0, 0), throw * 0.45 + 1)
    there, here = _overlap((height, width), (top - pad, left - pad), shadow.shape[0])
    canvas[there] *= 1 - 0.62 * shadow[here][..., None]

    there, here = _overlap((height, width), (top, left), side)
    lit = _shading(thing.height * radius, light, 0.9)
    color = thing.color * lit[..., None] + thing.gloss * _highlight(thing.height * radius, light)[..., None]
    edge = cv2.GaussianBlur(thing.inside.astype(np.float32), (0, 0), 0.8)[here][..., None]
    canvas[there] = np.clip(canvas[there] * (1 - edge) + color[here] * edge, 0, 1)
    target[there][thing.inside[here]] = index


def _photograph(random: Random, scene: Floats) -> NDArray[np.uint8]:
    """What a camera makes of the scene (H, W, 3) 0–1: uneven light, color cast, focus, grain; uint8."""
    height, width = scene.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    center = random.uniform(-0.5, 0.5, 2)
    glow = 1.08 - random.uniform(0.05, 0.22) * ((x - center[0]) ** 2 + (y - center[1]) ** 2)
    dapple = 1 - random.uniform(0, 0.2) * np.clip((_noise(random, (height, width), 70, 2) - 0.5) * 4, 0, 1)
    cast = 1 + random.uniform(-0.09, 0.09) * np.array([1, 0.1, -1])
    exposed = np.clip(scene * (glow * dapple)[..., None] * cast * random.uniform(0.85, 1.2), 0, 1)
    image = exposed ** random.uniform(0.78, 0.98)
    image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.35, 0.8))
    image = image + random.normal(0, random.uniform(0.008, 0.03), image.shape)
    return np.asarray(np.clip(np.rint(image * 255), 0, 255), np.uint8)


def _grid(random: Random, radius: float, reach: float) -> tuple[Floats, Floats]:
    """Turned coordinates (S, S), in units of the radius, that reach to ±`reach`."""
    half = int(np.ceil(radius * reach)) + 2
    turn = random.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32) / np.float32(radius)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    return _floats(x * cos + y * sin), _floats(y * cos - x * sin)


def _noise(random: Random, size: tuple[int, ...], period: float, octaves: int) -> Floats:
    """Smooth noise (H, W), about 0–1: random grids of halving period (in pixels), enlarged and added."""
    height, width = size[:2]
    total = np.zeros((height, width), np.float32)
    weight, norm = 1.0, 0.0
    for _ in range(octaves):
        rows, columns = int(height / max(period, 1)) + 3, int(width / max(period, 1)) + 3
        grid = random.random((rows, columns), np.float32)
        big = cv2.resize(
            grid, (int(columns * max(period, 1)) + 1, int(rows * max(period, 1)) + 1), interpolation=cv2.INTER_CUBIC
        )
        y, x = (int(random.integers(0, big.shape[axis] - size[axis] + 1)) for axis in (0, 1))
        total += weight * big[y : y + height, x : x + width]
        norm, weight, period = norm + weight, weight * 0.55, period / 2
    return total / np.float32(norm)


def _slopes(height: Floats) -> tuple[Floats, Floats]:
    smooth = cv2.GaussianBlur(height, (0, 0), 1.0)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, 1 - k, k, scale=1 / 8) for k in (0, 1))
    return _floats(across), _floats(down)


def _shading(height: Floats, light: tuple[float, float], depth: float) -> Floats:
    """How bright a matt surface of this height (in pixels) is, 1 where it is flat."""
    dx, dy = _slopes(height)
    toward = -(dx * light[0] + dy * light[1]) * np.float32(depth)
    steep = np.sqrt(1 + dx * dx + dy * dy)
    return np.clip((1 + 0.75 * toward) / steep * 0.85 + 0.15, 0.25, 1.7)


def _highlight(height: Floats, light: tuple[float, float]) -> Floats:
    """The mirrored light on a glossy surface, 0–1."""
    dx, dy = _slopes(height)
    miss = (dx + 0.45 * light[0]) ** 2 + (dy + 0.45 * light[1]) ** 2  # 0 where the slope mirrors the light to us
    return np.exp(-miss / 0.05)


def _floats(values: ArrayLike) -> Floats:
    return np.asarray(values, np.float32)


def _mix(random: Random, *colors: tuple[float, float, float]) -> Floats:
    """A random color between these."""
    return _floats(random.dirichlet([0.7] * len(colors)) @ np.array(colors))


def _mix_one(random: Random, *colors: tuple[float, float, float]) -> Floats:
    """A random color near one of these."""
    near = np.array(colors[random.integers(len(colors))]) * random.uniform(0.85, 1.15) + random.uniform(-0.04, 0.04, 3)
    return _floats(np.clip(near, 0, 1))


def _overlap(
    size: tuple[int, int], corner: tuple[int, int], side: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a square patch with this top left corner lies in the picture, and the same part of the patch."""
    starts = [max(c, 0) for c in corner]
    ends = [min(c + side, s) for c, s in zip(corner, size, strict=True)]
    ends = [max(a, b) for a, b in zip(starts, ends, strict=True)]
    there = (slice(starts[0], ends[0]), slice(starts[1], ends[1]))
    here = (slice(starts[0] - corner[0], ends[0] - corner[0]), slice(starts[1] - corner[1], ends[1] - corner[1]))
    return there, here


def _check(folder: Path, count: int, size: tuple[int, int]) -> None:
    if count < 1:
        raise BadOption(f"the demo needs at least 1 picture, got count={count}")
    if min(size) < 32:
        raise BadOption(f"the demo's pictures are at least 32 × 32 pixels, got {size[0]} × {size[1]}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"the demo is drawn into a new or empty folder, but {folder} holds something already; "
            "pass another one or empty it"
        )


def _place_beside(folder: Path) -> Path:
    beside = folder.absolute().with_name(f".{folder.absolute().name}.partial")
    shutil.rmtree(beside, ignore_errors=True)  # left by a run that was killed
    return beside


def _put_in_place(beside: Path, folder: Path) -> None:
    if folder.exists():
        folder.rmdir()  # empty, as was checked; a folder is not renamed over another one everywhere
    beside.rename(folder)
