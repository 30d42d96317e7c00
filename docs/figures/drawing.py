"""A sheet of SVG for the figures of the documentation: white paper, legible at a phone's width.

Every script beside this file has `figures()`, which gives names of files in `docs/images` and their text, and
`python docs/figures/NAME.py` writes them. Sheets are 480 units wide, so that a telephone shows letters of 13 units at
about 10 pixels.
"""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

IMAGES = Path(__file__).parents[1] / "images"
WIDTH = 480
INK, PALE, FAINT = "#1f2328", "#6b7280", "#d4d8dd"
BLUE, RED, GREEN, PURPLE, OCHER = "#0b5fa5", "#c2410c", "#15803d", "#7e22ce", "#a16207"  # told apart in gray, too


class Sheet:
    """Shapes and words on white, in the order in which they are drawn."""

    def __init__(self, height: float, title: str, width: float = WIDTH) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" font-family="sans-serif" '
            f'font-size="13" fill="{INK}" role="img"><title>{escape(title)}</title>',
            f'<rect width="{width:g}" height="{height:g}" rx="6" fill="#fff"/>',
        ]

    def words(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 13,
        anchor: str = "start",
        fill: str = INK,
        bold: bool = False,
    ) -> None:
        """A line of words, its base line at y."""
        weight = ' font-weight="bold"' if bold else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" text-anchor="{anchor}" fill="{fill}"{weight}>'
            f"{escape(text)}</text>"
        )

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str = "none",
        stroke: str = INK,
        thick: float = 1,
        opacity: float = 1,
        corner: float = 0,
    ) -> None:
        """A rectangle."""
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}" stroke="{stroke}" '
            f'stroke-width="{thick:g}" fill-opacity="{opacity:g}" rx="{corner:g}"/>'
        )

    def disk(self, x: float, y: float, radius: float, *, fill: str = INK, stroke: str = "none") -> None:
        """A circle."""
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{fill}" stroke="{stroke}"/>')

    def line(
        self,
        points: Iterable[tuple[float, float]],
        *,
        stroke: str = INK,
        thick: float = 1,
        dash: str = "",
        close: bool = False,
        fill: str = "none",
    ) -> None:
        """Straight lines from point to point."""
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + ("Z" if close else "")
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<path d="{path}" fill="{fill}" stroke="{stroke}" stroke-width="{thick:g}" '
            f'stroke-linejoin="round"{dashes}/>'
        )

    def raster(self, values: NDArray[Any], x: float, y: float, width: float, height: float) -> None:
        """Pixels, (H, W) gray or (H, W, 3) uint8, kept sharp."""
        stream = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(values)).save(stream, "png", optimize=True)
        data = base64.b64encode(stream.getvalue()).decode()
        self.parts.append(
            f'<image x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" preserveAspectRatio="none" '
            f'style="image-rendering:pixelated" href="data:image/png;base64,{data}"/>'
        )

    def numbers(
        self,
        values: Sequence[Any],
        x: float,
        y: float,
        side: float,
        *,
        fills: Sequence[str] | None = None,
        size: float = 13,
    ) -> None:
        """A row of squares with what stands in them."""
        for place, value in enumerate(values):
            left = x + place * side
            self.box(left, y, side, side, fill=fills[place] if fills else "#fff", stroke=PALE)
            self.words(left + side / 2, y + side / 2 + size / 3, str(value), anchor="middle", size=size)

    def text(self) -> str:
        """The file."""
        return "\n".join([*self.parts, "</svg>\n"])


def write(figures: Mapping[str, str]) -> None:
    """Write each to `docs/images`."""
    IMAGES.mkdir(exist_ok=True)
    for name, text in figures.items():
        (IMAGES / name).write_text(text, encoding="utf-8")
        print(f"drawn in docs/images/{name}, {len(text) / 1024:.0f} KiB")
