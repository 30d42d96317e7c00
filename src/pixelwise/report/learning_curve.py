"""The page of a learning curve, and its answers in words, which the terminal shows, too."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from pixelwise.errors import DataError
from pixelwise.report.html import render, write_page
from pixelwise.report.plots import Point, nice_ticks
from pixelwise.report.thumbnails import picture_uri

CURVE = "learning_curve.json"
MOST_PLOTS = 40  # classes with a plot of their own
NAMED = 3  # classes or pictures that a sentence names
LEAST_CROPS = 600  # below, a network is far from what it could learn, from few pictures or many
LISTED = 30  # doubted or unlabelled pictures in a table
HOW_IT_ENDED = {"finished": "Finished", "budget": "Ended with its time", "interrupted": "Interrupted"}

Band = tuple[float, float, float]  # x, low, high
Line = tuple[str, str, str, Sequence[Point]]  # name, color, dashes, points


def answers(record: Mapping[str, Any]) -> list[str]:
    """A sentence or two for each question: would more pictures help, which labels look wrong, which to label next."""
    found = [_would_more_help(record), _which_look_wrong(record)]
    ranked = [picture["name"] for picture in record["unlabelled"]]
    if ranked:
        found.append(f"Label next: {_listed(ranked[:NAMED])}; the models are least sure of these, of {len(ranked)}.")
    return found


def headline(record: Mapping[str, Any]) -> str:
    """The answer to the first question in a few words."""
    whole = record["forecast"]["mean_iou"]
    verdict = whole["verdict"]
    if verdict == "gain":
        return f"Twice the pictures: {points(whole['value'], signed=True)} points"
    return {
        "hardly": "More pictures would hardly help",
        "open": "What more pictures bring is open",
        "unknown": "Too few trainings for a forecast",
    }[verdict]


def points(value: float | None, *, signed: bool = False) -> str:
    """A score 0–1 in hundredths, which are the points of a gain.

    >>> points(0.7123), points(0.0321, signed=True), points(None)
    ('71.2', '+3.2', '–')
    """
    if value is None:
        return "–"
    return f"{value * 100:{'+' if signed else ''}.1f}".replace("-", "−")


def gain_told(gain: Mapping[str, Any]) -> str:
    """A gain with its interval.

    >>> gain_told({"value": 0.032, "low": 0.014, "high": 0.06})
    '+3.2 (1.4 to 6.0)'
    """
    return f"{points(gain['value'], signed=True)} ({points(gain['low'])} to {points(gain['high'])})"


def write_curve_report(run: Path) -> Path:
    """Write RUN/report.html of a learning curve, and return its path.

    Raises:
        DataError: learning_curve.json cannot be read, or the page cannot be written.
    """
    path = run / CURVE
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        page = render(
            "learning_curve.html",
            record=record,
            run=str(run),
            headline=headline(record),
            outcome=HOW_IT_ENDED.get(record["outcome"], record["outcome"]),
            plot=_whole_plot(record),
            classes=_classes(record),
            doubted=[
                doubt
                | {"panels": [(view, uri) for view in PANELS if (uri := picture_uri(run, doubt["files"].get(view)))]}
                for doubt in record["doubted"]["pictures"]
            ],
            panel_titles=PANELS,
            listed=LISTED,
            points=points,
            gain_told=gain_told,
            commands=[(COMMANDS[key], command) for key, command in record["commands"].items()],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is expected to hold a learning curve and cannot be read ({error}); go on with --resume to write it"
        ) from error
    target = run / "report.html"
    write_page(page, target)
    return target


PANELS = {"mask": "Your mask", "model": "What the model sees", "where": "Where it doubts the mask"}
COMMANDS = {
    "resume": "Make the trainings that are left",
    "fit": "Train a model on all pictures",
    "predict": "Use the model of all training pictures",
}


def _would_more_help(record: Mapping[str, Any]) -> str:
    forecast, last = record["forecast"], record["sizes"][-1]
    whole, now = forecast["mean_iou"], last["mean_iou"]["value"]
    twice = f"Twice the pictures, {forecast['pictures']} instead of {last['pictures']},"
    done, planned = len(record["trainings"]), record["planned"]["trainings"]
    so_far = f" ({done} of {planned} trainings were made.)" if done < planned else ""
    crops = record["recipe"]["steps"] * record["recipe"]["batch_size"]
    if crops < LEAST_CROPS:
        so_far += (
            f" Each training saw only {crops} crops, too few to learn much: give it more time before you trust this."
        )
    measured = record["data"]["measured"]
    if whole["verdict"] == "unknown":
        sizes, repeats = len(record["sizes"]), min(size["trainings"] for size in record["sizes"])
        return (
            f"Mean IoU is {points(now)} with {last['pictures']} pictures; what more would bring cannot be told: that "
            f"takes 3 sizes and 2 trainings of each, here are {sizes} and {repeats}.{so_far}"
        )
    if whole["verdict"] == "open":
        return (
            f"Mean IoU is {points(now)} with {last['pictures']} pictures. Whether more would help is not told by these "
            f"trainings: for twice as many anything from {points(whole['low'])} to {points(whole['high'])} points more "
            f"fits. More --repeats or time, or more than {measured} pictures to measure on, narrow it.{so_far}"
        )
    if whole["verdict"] == "hardly":
        told = (
            f"{twice} would hardly help: mean IoU {gain_told(whole)} points, from {points(now)} now. Another network, "
            f"more time, or better labels may"
        )
    else:
        told = f"{twice} would bring mean IoU {gain_told(whole)} points, from {points(now)} now"
    gaining = sorted(
        (c for c in forecast["per_class"] if c["verdict"] == "gain"), key=lambda c: (-c["value"], c["name"])
    )
    named = [f"{c['name']} {gain_told(c)}" for c in gaining[:NAMED]]
    return f"{told}{f'; most for {_listed(named)}' if named else ''}.{so_far}"


def _which_look_wrong(record: Mapping[str, Any]) -> str:
    judged, out = record["doubted"]["pictures"], record["doubted"]["stand_out"]
    left = len(record["doubted"]["not_judged"])
    unseen = f" {left} {'was' if left == 1 else 'were'} not judged." if left else ""
    if not judged:
        return "No mask was judged: it takes a training that leaves the picture out."
    if not out:
        first = [doubt["name"] for doubt in judged[:NAMED] if doubt["doubt"]]
        most = f"; the most doubted: {_listed(first)}" if first else ""
        return f"Of {len(judged)} judged masks none stands out{most}.{unseen}"
    named = [
        f"{doubt['name']} (labeled {doubt['given']}, looks like {doubt['seen']}: {doubt['doubt']:.0%} in doubt)"
        for doubt in judged[: min(out, NAMED)]
    ]
    more = f", and {out - NAMED} more" if out > NAMED else ""
    told = "1 stands out; look at it first" if out == 1 else f"{out} stand out; look at them first"
    return f"Of {len(judged)} judged masks {told}: {', '.join(named) if more else _listed(named)}{more}.{unseen}"


def _listed(names: Sequence[str]) -> str:
    """Names as a person lists them.

    >>> _listed(["a"]), _listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _classes(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each class with its color, its scores with most pictures, its forecast, and a plot if there are not too many."""
    found = []
    for index, entry in enumerate(record["classes"]):
        own = [(size["pictures"], size["per_class"][index]) for size in record["sizes"]]
        known = [(x, scores) for x, scores in own if scores["iou"]["value"] is not None]
        lines: list[Line] = [
            (name, color, dashes, [(x, s[name]["value"]) for x, s in known if s[name]["value"] is not None])
            for name, color, dashes in (
                ("recall", "var(--warm)", "2 4"),
                ("precision", "var(--cool)", "7 4"),
                ("iou", "var(--accent)", ""),
            )
        ]
        band = [(x, s["iou"]["low"], s["iou"]["high"]) for x, s in known if s["iou"]["low"] is not None]
        plot = _plot(f"IoU, precision and recall of {entry['name']}", lines, band, small=True) if known else None
        forecast = record["forecast"]["per_class"][index]
        last = own[-1][1]
        found.append(dict(entry) | {"plot": plot if index < MOST_PLOTS else None, "forecast": forecast, "last": last})
    return found


def _whole_plot(record: Mapping[str, Any]) -> Markup | None:
    """Mean IoU over pictures: each training, the means with their intervals, and the forecast."""
    sizes = [(s["pictures"], s["mean_iou"]) for s in record["sizes"] if s["mean_iou"]["value"] is not None]
    if not sizes:
        return None
    curve = record["forecast"]["mean_iou"]["curve"]
    most = record["sizes"][-1]["pictures"]
    shown: list[Line] = [("mean", "var(--accent)", "", [(x, m["value"]) for x, m in sizes])]
    band: list[Band] = [(x, m["low"], m["high"]) for x, m in sizes if m["low"] is not None]
    ahead: list[Band] = []
    if curve:
        shown.insert(0, ("forecast", "var(--cool)", "5 5", [(c["pictures"], c["value"]) for c in curve]))
        ahead = [(c["pictures"], c["low"], c["high"]) for c in curve if c["pictures"] >= most - 0.01]
    dots = [(t["pictures"], t["mean_iou"]) for t in record["trainings"] if t["mean_iou"] is not None]
    ticks = [*(s["pictures"] for s in record["sizes"]), *([record["forecast"]["pictures"]] if curve else [])]
    return _plot("Mean IoU", shown, band, ahead=ahead, dots=dots, ticks=ticks)


def _plot(
    title: str,
    lines: Sequence[Line],
    band: Sequence[Band],
    *,
    ahead: Sequence[Band] = (),
    dots: Sequence[Point] = (),
    ticks: Sequence[int] = (),
    small: bool = False,
) -> Markup:
    """Scores 0–1 over numbers of pictures, the axis in ratios, as `<svg>`.

    Args:
        lines: drawn in this order; the last one has its last value beside it.
        band: the interval around the last line; `ahead` that of the forecast.
        ticks: numbers of pictures on the axis; those of the last line if left out.
    """
    width, height, left, right, top, bottom = (250, 165, 34, 12, 10, 26) if small else (440, 290, 40, 18, 16, 46)
    main = lines[-1][3]
    ticks = list(ticks) or [int(x) for x, _ in main]
    everything = [y for _, _, _, found in lines for _, y in found] + [y for _, *ends in (*band, *ahead) for y in ends]
    everything += [y for _, y in dots]
    low, high = (0.0, 1.0) if small else (max(min(everything), 0.0), min(max(everything), 1.0))
    levels = [0.0, 0.5, 1.0] if small else [tick for tick in nice_ticks(low, high, 5) if tick <= 1.0001]
    low, high = min(levels[0], low), max(levels[-1], high)
    first, last = min(ticks), max(ticks)

    def across(x: float) -> float:
        share = math.log(x / first) / math.log(last / first) if last > first else 0.5
        return left + 8 + (width - left - right - 16) * share

    def up(y: float) -> float:
        return height - bottom - (height - top - bottom) * (min(max(y, low), high) - low) / (high - low)

    def area(ends: Sequence[Band], color: str, opacity: float) -> str:
        if len(ends) == 1:
            ((x, a, b),) = ends
            place = f'x1="{across(x):.1f}" x2="{across(x):.1f}" y1="{up(a):.1f}" y2="{up(b):.1f}"'
            return f'<line {place} style="stroke:{color};stroke-width:6;opacity:{opacity}"/>'
        there = [f"{across(x):.1f} {up(b):.1f}" for x, _, b in ends]
        back = [f"{across(x):.1f} {up(a):.1f}" for x, a, _ in reversed(ends)]
        return f'<path d="M{"L".join([*there, *back])}Z" style="fill:{color};opacity:{opacity};stroke:none"/>'

    told = (
        f"{title}: {main[0][1]:.3f} with {main[0][0]:g} pictures, {main[-1][1]:.3f} with {main[-1][0]:g}"
        if main
        else ""
    )
    parts = [f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(told)}">']
    for level in levels:
        y = up(level)
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 7}" y="{y + 4:.1f}" text-anchor="end">{level * 100:.3g}</text>')
    beside = -math.inf
    for tick in sorted(ticks):
        x = across(tick)
        if x - beside < 24:
            continue
        beside = x
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - bottom + 17}" text-anchor="middle">{tick}</text>')
    if not small:
        middle = (left + width - right) / 2
        parts.append(
            f'<text class="tick" x="{middle:.0f}" y="{height - 6}" text-anchor="middle">training pictures</text>'
        )
    if band:
        parts.append(area(band, "var(--accent)", 0.16))
    if ahead:
        parts.append(area(ahead, "var(--cool)", 0.16))
    for name, color, dashes, found in lines:
        path = "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in found)
        dashed = f";stroke-dasharray:{dashes}" if dashes else ""
        if len(found) > 1:
            parts.append(f'<path class="line" style="stroke:{color}{dashed}" d="M{path}"/>')
        for x, y in found if name != "forecast" else ():
            parts.append(
                f'<circle style="fill:{color}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="{2.2 if small else 4}">'
                f"<title>{escape(name)} with {x:g} pictures: {y * 100:.1f}</title></circle>"
            )
    for x, y in dots:
        parts.append(
            f'<circle style="fill:none;stroke:var(--soft)" cx="{across(x):.1f}" cy="{up(y):.1f}" r="3">'
            f"<title>a training with {x:g} pictures: {y * 100:.1f}</title></circle>"
        )
    if main and not small:
        x, y = main[-1]
        parts.append(
            f'<text class="marked" x="{across(x):.1f}" y="{up(y) - 12:.1f}" text-anchor="middle">{y * 100:.1f}</text>'
        )
    parts.append("</svg>")
    return Markup("".join(parts))
