"""The papers' networks, drawn from our code: `python docs/figures/papers.py` writes `docs/images/paper-*.svg`.

A row is a layer or a block of the network, from the picture down to the scores; its column is its output stride, the
width of its bar grows with the logarithm of its channels. Channels and sizes are those that the network itself has on a
picture of the size named, strides are measured by a second, larger picture; nothing is typed in but what a row is
called and from where it is fed.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from drawing import BLUE, FAINT, GREEN, INK, OCHER, PALE, PURPLE, Sheet, write
from torch import Tensor, nn

import pixelwise as pw

LARGER = 512  # pixels by which the second picture is larger; all strides divide it
COLUMNS = (1, 2, 4, 8, 16, 32)
LEFT, COLUMN, ROW, TOP, END = 30.0, 33.0, 25.0, 58.0, 472.0
TRUNK, SCORES, JOINED, LAST = BLUE, OCHER, GREEN, PURPLE


@dataclass(frozen=True)
class Row:
    """A bar of the figure.

    Attributes:
        module: whose output it is, by its dotted name; "" for what has the picture's size.
        of: names of the rows that feed it; the row above if left out.
        places: it takes from its last source only where maxima were, drawn dashed.
    """

    name: str
    module: str
    color: str = TRUNK
    of: tuple[str, ...] = ()
    places: bool = False


@dataclass(frozen=True)
class Figure:
    """A network to draw."""

    model: str
    size: tuple[int, int]
    rows: tuple[Row, ...]
    num_classes: int = 21


def vgg(prefix: str) -> tuple[Row, ...]:
    """The five groups of VGG-16."""
    return tuple(Row(f"conv{n}, pool{n}", f"{prefix}conv{n}") for n in range(1, 6))


def resnet(prefix: str = "backbone.") -> tuple[Row, ...]:
    """Stem and stages of a ResNet."""
    return Row("stem, pool", f"{prefix}maxpool"), *(Row(f"res{n}", f"{prefix}layer{n - 1}") for n in range(2, 6))


FIGURES = {
    "fcn": Figure(
        "fcn8s_vgg16",
        (500, 500),
        (
            *vgg("backbone."),
            Row("fc6", "backbone.fc6"),
            Row("fc7", "backbone.fc7"),
            Row("score_fr", "score_fr", SCORES),
            Row("upscore2 + score_pool4", "upscore2", JOINED, ("score_fr", "conv4, pool4")),
            Row("upscore_pool4 + score_pool3", "upscore_pool4", JOINED, ("upscore2 + score_pool4", "conv3, pool3")),
            Row("upscore8, cropped", "", LAST),
        ),
    ),
    "unet": Figure(
        "unet_valid",
        (388, 388),
        (
            *(Row("two 3 × 3" if not n else "pool, two 3 × 3" + " " * n, f"encoder.{n}") for n in range(5)),
            *(
                Row(
                    f"up, crop, join, two 3 × 3{' ' * n}",
                    f"decoder.{n}",
                    JOINED,
                    ("", "two 3 × 3" if not n else "pool, two 3 × 3" + " " * n),
                )
                for n in (3, 2, 1, 0)
            ),
            Row("scores", "score", LAST),
        ),
    ),
    "segnet": Figure(
        "segnet",
        (360, 480),
        (
            Row("conv1", "encoder.0"),
            *(Row(f"pool{n - 1}, conv{n}", f"encoder.{n - 1}") for n in range(2, 6)),
            Row("pool5", "pool.4"),
            Row("unpool, conv5_D", "decoder.0", JOINED, ("", "pool4, conv5"), places=True),
            Row("unpool, conv4_D", "decoder.1", JOINED, ("", "pool3, conv4"), places=True),
            Row("unpool, conv3_D", "decoder.2", JOINED, ("", "pool2, conv3"), places=True),
            Row("unpool, conv2_D", "decoder.3", JOINED, ("", "pool1, conv2"), places=True),
            Row("unpool, conv1_D", "decoder.4", LAST, ("", "conv1"), places=True),
        ),
        num_classes=11,
    ),
    "dilation": Figure(
        "dilation8",
        (528, 528),
        (
            *(Row(f"conv{n}, pool{n}", f"frontend.conv{n}") for n in (1, 2, 3)),
            Row("conv4", "frontend.conv4"),
            Row("conv5, dilation 2", "frontend.conv5"),
            Row("fc6, 7 × 7, dilation 4", "frontend.fc6"),
            Row("fc7", "frontend.fc7"),
            Row("fc-final", "frontend.score", SCORES),
            Row("ct_conv1_1", "context.ct_conv1_1", JOINED),
            Row("ct_conv1_2", "context.ct_conv1_2", JOINED),
            Row("ct_conv2_1, dilation 2", "context.ct_conv2_1", JOINED),
            Row("ct_conv3_1, dilation 4", "context.ct_conv3_1", JOINED),
            Row("ct_conv4_1, dilation 8", "context.ct_conv4_1", JOINED),
            Row("ct_conv5_1, dilation 16", "context.ct_conv5_1", JOINED),
            Row("ct_fc1", "context.ct_fc1", JOINED),
            Row("ct_final", "context.ct_final", SCORES),
            Row("zoom by 8", "", LAST),
        ),
    ),
    "deeplab-v1": Figure(
        "deeplab_msc_largefov",
        (321, 321),
        (
            *vgg("backbone."),
            Row("pool5a", "backbone.pool5a"),
            Row("fc6, 3 × 3, dilation 12", "fc.fc6"),
            Row("fc7", "fc.fc7"),
            Row("fc8_voc12", "fc8_voc12", SCORES),
            Row("of the picture", "image_branch", SCORES, ("picture",)),
            *(Row(f"of pool{n}", f"pool{n}_branch", SCORES, (f"conv{n}, pool{n}",)) for n in range(1, 5)),
            Row(
                "sum",
                "fc8_voc12",
                JOINED,
                ("fc8_voc12", "of the picture", *(f"of pool{n}" for n in range(1, 5))),
            ),
            Row("zoom by 8", "", LAST),
        ),
    ),
    "deeplab-v2": Figure(
        "deeplab_v2_resnet101_aspp",
        (321, 321),
        (
            *resnet(),
            *(Row(f"3 × 3, dilation {6 * n + 6}", f"aspp.fc1_voc12_c{n}", SCORES, ("res5",)) for n in range(4)),
            Row("sum", "aspp", JOINED, tuple(f"3 × 3, dilation {6 * n + 6}" for n in range(4))),
            Row("zoom by 8", "", LAST),
        ),
    ),
    "deeplab-v3": Figure(
        "deeplab_v3_resnet101",
        (513, 513),
        (
            *resnet(),
            Row("1 × 1", "aspp.aspp0", JOINED, ("res5",)),
            *(Row(f"3 × 3, dilation {6 * n + 6}", f"aspp.rates.{n}", JOINED, ("res5",)) for n in range(3)),
            Row("mean of the map, 1 × 1", "aspp.image_pooling", JOINED, ("res5",)),
            Row(
                "joined, 1 × 1",
                "aspp.projection",
                JOINED,
                ("1 × 1", *(f"3 × 3, dilation {6 * n + 6}" for n in range(3)), "mean of the map, 1 × 1"),
            ),
            Row("logits", "logits", SCORES),
            Row("zoom by 16", "", LAST),
        ),
    ),
    "crf-rnn": Figure(
        "crfrnn_fcn8s",
        (500, 500),
        (
            *vgg("backbone."),
            Row("fc6, fc7", "backbone.fc7"),
            Row("score-fr", "score_fr", SCORES),
            Row("score2 + score-pool4", "score2", JOINED, ("score-fr", "conv4, pool4")),
            Row("score4 + score-pool3", "score4", JOINED, ("score2 + score-pool4", "conv3, pool3")),
            Row("upsample, cropped", "", SCORES),
            Row("mean field, 5 or 10 steps", "mean_field", LAST, ("upsample, cropped", "picture")),
        ),
    ),
    "refinenet": Figure(
        "refinenet_resnet101",
        (400, 400),
        (
            *resnet(),
            Row("RefineNet-4", "refine.0", JOINED),
            *(
                Row(f"RefineNet-{n}", f"refine.{4 - n}", JOINED, (f"RefineNet-{n + 1}", f"res{n + 1}"))
                for n in (3, 2, 1)
            ),
            Row("clf_conv", "clf_conv", SCORES),
            Row("zoom by 4", "", LAST),
        ),
    ),
    "pspnet": Figure(
        "pspnet_resnet101",
        (473, 473),
        (
            *resnet(),
            *(
                Row(f"means of {n} × {n}, 1 × 1", f"pyramid_pooling.levels.pool{n}", JOINED, ("res5",))
                for n in (6, 3, 2, 1)
            ),
            Row(
                "stretched, joined",
                "pyramid_pooling",
                JOINED,
                ("res5", *(f"means of {n} × {n}, 1 × 1" for n in (6, 3, 2, 1))),
            ),
            Row("conv5_4", "conv5_4"),
            Row("conv6", "conv6", SCORES),
            Row("zoom by 8", "", LAST),
        ),
    ),
    "gcn": Figure(
        "gcn_resnet152",
        (512, 512),
        (
            *resnet(),
            Row("GCN, BR", "gcn_res5", SCORES),
            *(
                Row(f"+ GCN of res{n}, BR", f"br_res{n}", JOINED, ("", f"res{n}"))
                for n in (4, 3, 2)
            ),
            Row("up, BR", "br_half", JOINED),
            Row("up, BR ", "br_full", LAST),
        ),
    ),
}  # fmt: skip


def shapes(figure: Figure) -> dict[str, tuple[int, int, int, int | None]]:
    """Of each row: channels, height, width, and output stride, None where the map does not grow with the picture."""
    with torch.device("meta"):
        network = pw.build(figure.model, num_classes=figure.num_classes).eval()
    first, second = _run(network, figure.size), _run(network, (figure.size[0] + LARGER, figure.size[1] + LARGER))
    found: dict[str, tuple[int, int, int, int | None]] = {}
    for row in (Row("picture", ""), *figure.rows):
        channels = 3 if row.name == "picture" else figure.num_classes
        one, two = first.get(row.module), second.get(row.module)
        if one is None or two is None:
            found[row.name] = (channels, *figure.size, 1)
            continue
        grown = two[1] - one[1]
        found[row.name] = (*one, LARGER // grown if grown else None)
    return found


def _run(network: nn.Module, size: tuple[int, int]) -> dict[str, tuple[int, int, int]]:
    """Channels, height and width of what every module gives."""
    seen: dict[str, tuple[int, int, int]] = {}

    def watch(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            values = output[0] if isinstance(output, tuple) else output
            if isinstance(values, Tensor) and values.ndim == 4:
                seen.setdefault(name, (int(values.shape[1]), int(values.shape[2]), int(values.shape[3])))

        return hook

    hooks = [module.register_forward_hook(watch(name)) for name, module in network.named_modules() if name]
    with torch.no_grad():
        network.get_submodule("").heads(torch.empty(1, 3, *size, device="meta"))  # type: ignore[operator]
    for handle in hooks:
        handle.remove()
    return seen


def draw(figure: Figure) -> str:
    """The sheet."""
    known = shapes(figure)
    rows = (Row("picture", "", PALE), *figure.rows)
    whole = any(known[row.name][3] is None for row in rows)
    sheet = Sheet(TOP + ROW * len(rows) + 6, f"{figure.model}: its maps, from the picture to the scores")
    height, width = figure.size
    names = 262 if whole else 230
    sheet.words(names, 20, figure.model, bold=True)
    sheet.words(names, 36, f"a picture of {height} × {width}", size=12, fill=PALE)
    sheet.words(LEFT - 14, 20, "output stride", size=12, fill=PALE)
    for column, stride in enumerate((*COLUMNS, *(["fixed"] if whole else []))):
        x = LEFT + column * COLUMN
        sheet.words(x, 40, str(stride), anchor="middle", size=12, fill=PALE)
        sheet.line([(x, 46), (x, TOP + ROW * len(rows) - 4)], stroke=FAINT, dash="1 4")
    place: dict[str, tuple[float, float, float, int]] = {}
    for index, row in enumerate(rows):
        stride = known[row.name][3]
        column = len(COLUMNS) if stride is None else COLUMNS.index(stride)
        half = 2 + 1.3 * math.log2(known[row.name][0])
        place[row.name] = (LEFT + column * COLUMN, TOP + ROW * index + 8, half, index)
    for above, row in pairwise(rows):
        for number, source in enumerate(row.of or ("",)):
            dash = "3 3" if row.places and number == len(row.of) - 1 else ""
            _connect(sheet, place, source or above.name, row.name, rows, dash)
    for row in rows:
        x, y, half, _ = place[row.name]
        channels, high, wide, _ = known[row.name]
        sheet.box(x - half, y - 6, 2 * half, 12, fill=row.color, stroke="#fff", corner=2)
        sheet.words(names, y + 4, row.name.rstrip(), size=12.5)
        sheet.words(END, y + 4, f"{channels} · {high} × {wide}", anchor="end", size=11, fill=PALE)
    return sheet.text()


def _connect(
    sheet: Sheet, place: dict[str, tuple[float, float, float, int]], source: str, row: str, rows: Any, dash: str
) -> None:
    """A line from a bar to a later one that crosses no third bar."""
    x0, y0, half0, from_index = place[source]
    x1, y1, half1, to_index = place[row]
    between = [place[r.name] for r in rows if from_index < place[r.name][3] < to_index]
    blocked = any(abs(x - x0) < 1 for x, _, _, _ in between)
    if to_index == from_index + 1 and x0 != x1:
        middle = (y0 + y1) / 2
        points = [(x0, y0 + 6), (x0, middle), (x1, middle), (x1, y1 - 6)]
    elif not blocked and x0 == x1:
        points = [(x0, y0 + 6), (x1, y1 - 6)]
    elif not blocked:
        points = [(x0, y0 + 6), (x0, y1), (x1 - half1 if x1 > x0 else x1 + half1, y1)]
    else:  # a bus beside the bars: right where many feed one, else left
        many = any(r.name == row and len(r.of) > 2 for r in rows)
        bus = x0 + 22 if many else x0 - 20 - 5 * (from_index % 2)
        side0, side1 = (half0, half1) if many else (-half0, -half1)
        points = [(x0 + side0, y0), (bus, y0), (bus, y1), (x1 + side1, y1)]
    sheet.line(points, stroke=INK, thick=1.2, dash=dash)


def figures() -> dict[str, str]:
    """All of them."""
    return {f"paper-{name}.svg": draw(figure) for name, figure in FIGURES.items()}


if __name__ == "__main__":
    write(figures())
