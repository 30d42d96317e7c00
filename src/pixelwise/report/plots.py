"""Plots as inline SVG.

They are drawn by hand because the page is light or dark as its reader likes: colors are the page's CSS variables, text
is its font. Everything that reaches the markup is a number or is escaped.
"""

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

Point = tuple[float, float]

WIDTH, HEIGHT = 360, 230  # in the SVG's own units, about pixels where three plots stand side by side
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 12, 32
ROOM = 28  # above a curve, for the value of its highest point
MOST_POINTS = 400  # more than the plot has columns to show
LARGEST_DISK = 13  # radius of the most frequent size


def line_plot(
    title: str,
    points: Sequence[Point],
    *,
    color: str,
    values: Callable[[float], str],
    end_step: float | None = None,
    smooth: bool = False,
    dots: bool = False,
    marked: Point | None = None,
    resumed: Sequence[float] = (),
    floor: float | None = None,
    ceiling: float | None = None,
) -> Markup | None:
    """A curve over steps as `<svg>`, or None without a finite point.

    Args:
        title: what is drawn, for those who hear the page.
        points: (step, value) in the order of the steps; values that are not finite leave a gap.
        color: a CSS color of the line, such as `var(--accent)`.
        values: writes a value for the axis and the tooltips.
        end_step: the right end of the axis; the last point's step if left out.
        smooth: draw the values faintly and their running mean over them.
        dots: mark each value, if they are few.
        marked: the point that the page speaks of, the highest one, drawn large with its value above.
        resumed: steps where training was taken up again, as dashed lines.
        floor: the axis reaches down to at least this.
        ceiling: the axis never goes above this.
    """
    finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if not finite:
        return None
    lowest, highest = min(y for _, y in finite), max(y for _, y in finite)
    ticks = nice_ticks(lowest if floor is None else min(floor, lowest), highest, 4)
    bottom = min(ticks[0], lowest)
    top = max(ticks[-1], highest)
    if ceiling is not None and highest <= ceiling:
        top = min(top, ceiling)
        ticks = [tick for tick in ticks if tick <= ceiling]
    last = max(finite[-1][0], end_step or 0, 1)

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * x / last

    def up(y: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - ROOM - BOTTOM) * (y - bottom) / (top - bottom)

    def path(line: Sequence[Point]) -> str:
        pieces, pen = [], "M"
        for x, y in line:
            if math.isfinite(y):
                pieces.append(f"{pen}{across(x):.1f} {up(y):.1f}")
                pen = "L"
            else:
                pen = "M"
        return "".join(pieces)

    label = f"{title}: from {values(finite[0][1])} to {values(finite[-1][1])} over {whole(finite[-1][0])} steps"
    parts = [
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">',
    ]
    for tick in ticks:
        y = up(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        text = escape(values(tick))
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for tick in nice_ticks(0, last, 4):
        if tick <= last:
            x, anchor = across(tick), "end" if across(tick) > WIDTH - RIGHT - 12 else "middle"
            parts.append(
                f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="{anchor}">{whole(tick)}</text>'
            )
    for step in resumed:
        if 0 < step < last:
            x = across(step)
            parts.append(
                f'<line class="resumed" x1="{x:.1f}" x2="{x:.1f}" y1="{ROOM}" y2="{HEIGHT - BOTTOM}">'
                f"<title>resumed at step {whole(step)}</title></line>"
            )
    thin = thinned(points, MOST_POINTS)
    faint = " faint" if smooth else ""
    parts.append(f'<path class="line{faint}" style="stroke:{escape(color)}" d="{path(thin)}"/>')
    if smooth:
        averaged = thinned(running_mean(finite, max(1, len(finite) // 25)), MOST_POINTS)
        parts.append(f'<path class="line" style="stroke:{escape(color)}" d="{path(averaged)}"/>')
    if dots or len(finite) == 1:
        for x, y in finite if len(finite) <= 60 else []:
            parts.append(
                f'<circle class="dot" style="fill:{escape(color)}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="2.6">'
                f"<title>step {whole(x)}: {escape(values(y))}</title></circle>"
            )
    if marked is not None and math.isfinite(marked[1]):
        x, y = across(marked[0]), up(marked[1])
        anchor = "end" if x > WIDTH - RIGHT - 18 else "start" if x < LEFT + 18 else "middle"
        parts.append(f'<circle class="mark" style="stroke:{escape(color)}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
        parts.append(
            f'<text class="marked" x="{x:.1f}" y="{y - 11:.1f}" text-anchor="{anchor}">'
            f"{escape(values(marked[1]))}</text>"
        )
    parts.append("</svg>")
    return Markup("".join(parts))


def size_plot(sizes: Sequence[tuple[int, int, int]]) -> Markup | None:
    """Pictures by width and height as `<svg>`, a disk's area is their number; None with fewer than two sizes.

    Args:
        sizes: (height, width, pictures); many different ones are gathered in the cells of a grid.
    """
    if len(sizes) < 2:
        return None
    columns = nice_ticks(min(w for _, w, _ in sizes), max(w for _, w, _ in sizes), 4)
    rows = nice_ticks(min(h for h, _, _ in sizes), max(h for h, _, _ in sizes), 4)
    inner_width, inner_height = WIDTH - LEFT - RIGHT - 2 * LARGEST_DISK, HEIGHT - TOP - BOTTOM - 2 * LARGEST_DISK

    def across(width: float) -> float:
        return LEFT + LARGEST_DISK + inner_width * (width - columns[0]) / (columns[-1] - columns[0])

    def up(height: float) -> float:
        return HEIGHT - BOTTOM - LARGEST_DISK - inner_height * (height - rows[0]) / (rows[-1] - rows[0])

    disks: dict[tuple[float, float], tuple[int, int, int, int]] = {}  # place: (pictures, sizes, height, width)
    cell = 0.5 if len(sizes) <= MOST_POINTS else 6
    for height, width, number in sorted(sizes, key=lambda size: -size[2]):
        place = round(across(width) / cell) * cell, round(up(height) / cell) * cell
        known, kinds, h, w = disks.get(place, (0, 0, height, width))
        disks[place] = known + number, kinds + 1, h, w
    most = max(number for number, _, _, _ in disks.values())
    label = f"Sizes: {len(sizes)} different ones, widths {whole(columns[0])} to {whole(columns[-1])}"
    parts = [f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
    for tick in rows:
        y = up(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{whole(tick)}</text>')
    for tick in columns:
        x = across(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{whole(tick)}</text>'
        )
    for (x, y), (number, kinds, height, width) in sorted(disks.items(), key=lambda disk: -disk[1][0]):
        radius = max(2.2, LARGEST_DISK * math.sqrt(number / most))
        more = f" and {kinds - 1} sizes near" if kinds > 1 else ""
        pictures = "1 picture" if number == 1 else f"{number} pictures"
        parts.append(
            f'<circle class="disk" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">'
            f"<title>{height} × {width}{more}: {pictures}</title></circle>"
        )
    parts.append("</svg>")
    return Markup("".join(parts))


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers that enclose low…high, about so many: steps of 1, 2, 2.5 or 5 times a power of ten.

    >>> nice_ticks(0.12, 0.91, 4)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if high <= low:
        low, high = low - (abs(low) or 1) * 0.1, high + (abs(high) or 1) * 0.1
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{k * step:.10g}") for k in range(first, last + 1)]


def running_mean(points: Sequence[Point], reach: int) -> list[Point]:
    """The mean of each point with `reach` neighbors on either side (fewer at the ends)."""
    sums = [0.0]
    for _, y in points:
        sums.append(sums[-1] + y)
    result = []
    for i, (x, _) in enumerate(points):
        near = min(reach, i, len(points) - 1 - i)
        result.append((x, (sums[i + near + 1] - sums[i - near]) / (2 * near + 1)))
    return result


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most about `most` of the points: of each run of neighbors the lowest and the highest, so that peaks stay."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(2 * len(points) / most)
    kept: list[Point] = []
    for start in range(0, len(points), size):
        run = points[start : start + size]
        if any(not math.isfinite(y) for _, y in run):
            kept.extend(run)
        else:
            kept.extend(sorted({min(run, key=lambda p: p[1]), max(run, key=lambda p: p[1])}))
    return kept


def whole(value: float) -> str:
    """A count for an axis.

    >>> whole(500), whole(1500), whole(20_000), whole(2_500_000)
    ('500', '1.5k', '20k', '2.5M')
    """
    if value >= 1e6:
        return f"{value / 1e6:.4g}M"
    return f"{value / 1e3:.4g}k" if value >= 1000 else f"{value:.4g}"
