"""Curves as one SVG file that needs no page around it: white paper, black axes, a legend."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from pixelwise.errors import BadOption
from pixelwise.files import write_text

_WIDTH, _HEIGHT = 640, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 18, 44, 54
_COLORS = ("#0b5fa5", "#c2410c", "#15803d", "#7e22ce", "#a16207", "#475569")  # told apart in gray, too
_DASHES = ("", "7 4", "2 3", "10 3 2 3")


def write_plot(
    curves: Mapping[str, Sequence[tuple[float, float]]], path: Path | str, *, title: str, across: str, up: str
) -> None:
    """Write curves through points (x, y), both with linear axes; points that are not finite leave a gap.

    Raises:
        BadOption: the path does not end in .svg, or there is no finite point.
    """
    path = Path(path)
    if path.suffix.lower() != ".svg":
        raise BadOption(f"plots are written as SVG; got {path}: give a name that ends in .svg")
    finite = [point for points in curves.values() for point in points if all(map(math.isfinite, point))]
    if not finite:
        raise BadOption(f"there is nothing to draw in {path}: no score is a number")
    columns = _ticks(min(x for x, _ in finite), max(x for x, _ in finite))
    rows = _ticks(min(y for _, y in finite), max(y for _, y in finite))

    def right(x: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (x - columns[0]) / (columns[-1] - columns[0])

    def down(y: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (y - rows[0]) / (rows[-1] - rows[0])

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="12" role="img"><title>{escape(title)}</title>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
    ]
    for tick in rows:
        parts.append(f'<path d="M{_LEFT} {down(tick):.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{down(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in columns:
        parts.append(f'<text x="{right(tick):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{tick:g}</text>')
    parts.append(
        f'<path d="M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}" fill="none" stroke="#000"/>'
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 14}" text-anchor="middle">{escape(across)}</text>'
        f'<text transform="translate(16 {(_TOP + _HEIGHT - _BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(up)}</text>"
    )
    for i, (name, points) in enumerate(curves.items()):
        color, dash = _COLORS[i % len(_COLORS)], _DASHES[i // len(_COLORS) % len(_DASHES)]
        line, pen = [], "M"
        for x, y in points:
            known = math.isfinite(x) and math.isfinite(y)
            if known:
                line.append(f"{pen}{right(x):.1f} {down(y):.1f}")
            pen = "L" if known else "M"
        style = f'fill="none" stroke="{color}" stroke-width="2" stroke-dasharray="{dash}"'
        y_legend = _HEIGHT - _BOTTOM - 14 - 18 * (len(curves) - 1 - i)
        parts.append(f'<path d="{"".join(line)}" {style}/>')
        parts.append(f'<path d="M{_WIDTH - 220} {y_legend - 4}h26" {style}/>')
        parts.append(f'<text x="{_WIDTH - 186}" y="{y_legend}">{escape(name)}</text>')
    size = min(12.0, 1.9 * (_WIDTH - 24) / max(1, len(title)))  # a sans-serif letter is about half as wide as high
    parts.append(f'<text x="12" y="22" font-size="{size:.1f}">{escape(title)}</text></svg>\n')
    write_text("\n".join(parts), path)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers around low…high, 4 to 8 of them, in steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        low, high = low - 1, high + 1
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(m * power for m in (1, 2, 5, 10) if (high - low) / (m * power) <= 6)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.10g}") for i in range(first, last + 1)]
