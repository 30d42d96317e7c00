"""Heat maps as pictures: where in a picture a class is likely (Long et al. 2015, Figure 2, for a person)."""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pixelwise.data.decode import decode_image
from pixelwise.errors import BadOption, DataError
from pixelwise.flow.machine import this_machine
from pixelwise.inference.heatmap import class_heatmap
from pixelwise.inference.pictures import displayable, write_picture
from pixelwise.report.heat import bar_colors, blended
from pixelwise.segmenter import Segmenter

SUFFIXES = (".png", ".jpg", ".jpeg")
LONGEST, SHORTEST = 1000, 320  # pixels: the longer side of a drawn picture is between them
SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-zenhei.ttc",
    "PingFang.ttc",
    "Arial Unicode.ttf",
    "msyh.ttc",
    "arial.ttf",
)  # for letters that Pillow's own lacks
THINNEST = 48  # its shorter side is at least this
WIDE = 2.5  # pictures wider than this times their height stand above each other
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
TOP = 5  # classes that are named
TEXT, FAINT, PAPER = (30, 34, 40), (120, 126, 134), (255, 255, 255)


@dataclass(frozen=True)
class Drawn:
    """A heat map that was drawn.

    Attributes:
        out: the file.
        name: of the class.
        row, column: the pixel where it is most likely.
        probability: 0–1, there.
        top: (class, its highest probability anywhere in the picture), the highest first; this class may be missing.
    """

    out: Path
    name: str
    row: int
    column: int
    probability: float
    top: tuple[tuple[str, float], ...]


def draw_heatmap(
    segmenter: Segmenter, image: Path, name: str, *, out: Path | None = None, overwrite: bool = False
) -> Drawn:
    """Draw a picture beside the heat map of a class over it, with a color bar, into one file.

    Args:
        name: of the class.
        out: a .png or .jpg; PICTURE-CLASS.png here if left out.
        overwrite: replace a file that exists.

    Raises:
        UnknownName: there is no such class; names the nearest.
        BadOption: `out` has another suffix, or is the picture itself.
        DataError: the picture is a folder or cannot be read, or `out` exists.
        WeightsError: the network's probabilities are no numbers.
        ShapeError: the picture's channels are not the network's.
    """
    index = segmenter.class_index(name)
    name = segmenter.labels.names[index]
    out = out or Path(f"{image.stem}-{_file_name(name)}.png")
    if out.suffix.lower() not in SUFFIXES:
        raise BadOption(f"a heat map is written as {', '.join(SUFFIXES)}, got {out}")
    if out.exists() and image.exists() and out.samefile(image):
        raise BadOption(f"{out} is the picture itself; choose another --out")
    if out.exists() and not overwrite:
        raise DataError(f"{out} exists already; choose another --out, or --overwrite")
    if image.is_dir():
        raise DataError(f"{image} is a folder; heatmap takes one picture: name one in it")
    pixels = decode_image(image)
    segmenter.network.to(this_machine().device)
    heatmap = class_heatmap(segmenter.engine(), segmenter.normalization, pixels, index, name=str(image))
    row, column = heatmap.place
    probability = float(heatmap.probability[row, column])
    title = f"Most likely at row {row}, column {column}: {told(probability)}"
    picture = figure(pixels, heatmap.probability, (row, column), image.name, f"probability of {name}", title)
    write_picture(picture, out)
    ranked = np.argsort(-heatmap.peaks, kind="stable")[:TOP].tolist()
    top = tuple((segmenter.labels.names[i], float(heatmap.peaks[i])) for i in ranked)
    return Drawn(out, name, row, column, probability, top)


def told(probability: float) -> str:
    """A probability with three digits; never 0 or 1 where it is not.

    >>> told(0.25), told(0.00001), told(0.99999), told(1.0)
    ('0.250', '<0.001', '>0.999', '1')
    """
    if probability in (0, 1):
        return f"{probability:g}"
    return "<0.001" if probability < 0.001 else ">0.999" if probability > 0.999 else f"{probability:.3f}"


def figure(
    image: NDArray[Any],
    probability: NDArray[np.float32],
    place: tuple[int, int],
    left: str,
    right: str,
    below: str,
) -> Image.Image:
    """A picture (H, W, C), its heat map (H, W) beside or below it, and a color bar.

    Small pictures are drawn larger, large ones smaller; only those that would be thinner than `THINNEST` change shape.

    Args:
        place: (row, column) of the ring.
        left, right: what stands above the two.
        below: what stands below them.
    """
    height, width = image.shape[:2]
    scale = min(max(1.0, SHORTEST / max(height, width)), LONGEST / max(height, width))
    size = (max(THINNEST, round(width * scale)), max(THINNEST, round(height * scale)))
    how = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    panel = Image.fromarray(displayable(image)).resize(size, how)
    heat = np.asarray(Image.fromarray(probability).resize(size, how))
    panels = [panel, Image.fromarray(blended(np.asarray(panel), heat))]
    em = round(min(26, max(14, max(size) / 40)))
    _ring(panels[1], [(at + 0.5) * new / old for at, new, old in zip(place, size[::-1], (height, width), strict=True)])
    column = max(size[0], 16 * em)  # room for the words above
    gap, bar = em, max(12, em)
    stacked = size[0] > WIDE * size[1]
    columns, lines = (1, 2) if stacked else (2, 1)
    block = round(1.8 * em) + size[1]
    total = (
        gap + columns * (column + gap) + bar + 4 * em,
        gap + lines * (block + gap) + round(1.5 * em) + gap // 2,
    )
    paper = Image.new("RGB", total, PAPER)
    draw = ImageDraw.Draw(paper)
    for number, (panel, words) in enumerate(zip(panels, (left, right), strict=True)):
        x = gap + (number % columns) * (column + gap)
        y = gap + (number // columns) * (block + gap)
        _write(draw, (x, y), words, em, column)
        paper.paste(panel, (x, y + round(1.8 * em)))
    top = gap + round(1.8 * em)
    bottom = gap + lines * (block + gap) - gap
    _color_bar(draw, (gap + columns * (column + gap), top, bar, bottom - top), em)
    _write(draw, (gap, bottom + round(0.7 * em)), below, em, total[0] - 2 * gap)
    return paper


def _color_bar(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], em: int) -> None:
    """Probability 1 on top, 0 below, with numbers on the right."""
    x, y, width, height = box
    for line, color in enumerate(bar_colors(np.linspace(1, 0, height)).tolist()):
        draw.line((x, y + line, x + width - 1, y + line), tuple(color))
    for tick in TICKS:
        at = y + round((1 - tick) * (height - 1))
        draw.line((x + width, at, x + width + em // 3, at), FAINT)
        _write(draw, (x + width + em // 2, at), f"{tick:g}", em, 4 * em, "lm")


def _ring(panel: Image.Image, place: list[float]) -> None:
    """A white ring with dark edges around a place (row, column)."""
    draw = ImageDraw.Draw(panel)
    y, x = place
    radius = max(8.0, max(panel.size) / 60)
    for more, color in ((1.5, (0, 0, 0)), (-2.5, (0, 0, 0)), (0.0, (255, 255, 255))):
        r = radius + more
        draw.ellipse((x - r, y - r, x + r, y + r), outline=color, width=2)


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], words: str, em: int, width: int, anchor: str = "la"
) -> None:
    """Words in one line, or as many of their letters as fit and "…"."""
    words, font = _font(" ".join(words.split()), em)
    fitting = words
    while words and font.getlength(fitting) > width:
        words = words[:-1]
        fitting = f"{words}…"
    draw.text(place, fitting, TEXT, font, anchor)


def _font(words: str, size: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """Words and a font that has all their letters.

    Pillow's own font has those of English. For others the system's are tried; in the last resort accents are left out,
    and what is still missing is "?".
    """
    own = ImageFont.load_default(size)
    assert isinstance(own, ImageFont.FreeTypeFont)  # as all wheels of Pillow have it
    if _has(own, words):
        return words, own
    for name in SYSTEM_FONTS:
        try:
            font = ImageFont.truetype(name, size)
        except OSError:
            continue
        if _has(font, words):
            return words, font
    plain = (letter for letter in unicodedata.normalize("NFKD", words) if not unicodedata.combining(letter))
    return "".join(letter if _has(own, letter) else "?" for letter in plain), own


def _has(font: ImageFont.FreeTypeFont, words: str) -> bool:
    missing = font.getmask("\uffff")
    return all(letter == " " or bytes(font.getmask(letter)) != bytes(missing) for letter in set(words))


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", name)
