"""Windows, receptive fields, offsets and stitched maps: `python docs/figures/fully_convolutional.py`.

Draws `docs/images/fully-convolutional-*.svg`. Sizes, strides, fields and values are computed by the package; the
picture of hills and the row of numbers are made up here.
"""

from fractions import Fraction

import torch
from drawing import BLUE, FAINT, GREEN, INK, OCHER, PALE, PURPLE, RED, Sheet, write
from torch import Tensor, nn

import pixelwise as pw
from pixelwise.backbones import CLASSIFIERS
from pixelwise.models.fcn import fcn8s_vgg16
from pixelwise.surgery import convolutionalize, receptive_field, set_output_stride, shift_and_stitch

WINDOW = 224  # pixels that VGG-16 was made for
PICTURE = (288, 352)
STAGES = ("conv1.pool1", "conv2.pool2", "conv3.pool3", "conv4.pool4", "conv5.pool5", "fc6")
SIGNAL = (3, 1, 4, 1, 5, 9, 2, 6, 5, 3)
COLORS = (BLUE, RED, GREEN)


def scene(sheet: Sheet, x: float, y: float, width: float, height: float) -> None:
    """Hills, a sun and a house."""
    sheet.box(x, y, width, height, fill="#dceefb", stroke=PALE)
    sheet.disk(x + 0.8 * width, y + 0.22 * height, 0.09 * width, fill="#f2b705")
    for start, top, end, color in ((0, 0.45, 0.75, "#9cc5a1"), (0.3, 0.35, 1, "#7fb069")):
        points = ((start, 1.0), ((start + end) / 2, top), (end, 1.0))
        sheet.line([(x + a * width, y + b * height) for a, b in points], stroke="none", fill=color, close=True)
    sheet.box(x + 0.16 * width, y + 0.66 * height, 0.2 * width, 0.24 * height, fill="#d9a066", stroke="none")
    roof = ((0.13, 0.66), (0.26, 0.5), (0.39, 0.66))
    sheet.line([(x + a * width, y + b * height) for a, b in roof], stroke="none", fill="#8c3b2a", close=True)
    sheet.box(x, y + 0.9 * height, width, 0.1 * height, fill="#a98467", stroke="none")


def slid_map() -> tuple[int, int]:
    """Height and width of what VGG-16, made convolutional, gives for the picture."""
    network = convolutionalize(CLASSIFIERS["vgg16"](num_classes=2, width=1 / 16), WINDOW).eval()
    with torch.no_grad():
        scores = network(torch.zeros(1, 3, *PICTURE))
    return scores.shape[-2], scores.shape[-1]


def windows() -> str:
    """Three windows on a picture, and their cells in the map."""
    rows, columns = slid_map()
    sheet = Sheet(256, "Three windows of a classifier on a picture, and the cells of its map that they become")
    x, y, scale = 14, 34, 0.72
    sheet.words(x, 22, f"a picture of {PICTURE[0]} × {PICTURE[1]}, windows of {WINDOW}")
    scene(sheet, x, y, PICTURE[1] * scale, PICTURE[0] * scale)
    cells = ((0, 0), (0, columns - 1), (rows - 1, columns // 2))
    for color, (row, column) in zip(COLORS, cells, strict=True):
        side = WINDOW * scale
        sheet.box(x + 32 * scale * column, y + 32 * scale * row, side, side, stroke=color, thick=2.5)
    left, top, side = 320, 92, 27
    sheet.words(left, 72, f"scores, {rows} × {columns}")
    for row in range(rows):
        for column in range(columns):
            fill = dict(zip(cells, COLORS, strict=True)).get((row, column), "#fff")
            sheet.box(left + side * column, top + side * row, side, side, fill=fill, stroke=PALE, opacity=0.85)
    sheet.words(left, top + side * rows + 20, "next cell: the window", size=12, fill=PALE)
    sheet.words(left, top + side * rows + 35, "32 pixels further", size=12, fill=PALE)
    return sheet.text()


def fields() -> dict[str, tuple[int, Fraction]]:
    """Receptive field and output stride of VGG-16's stages."""
    with torch.device("meta"):
        network = pw.build("fcn32s_vgg16", num_classes=21)
    found = {}
    for stage in STAGES:
        axis = receptive_field(network, at=f"backbone.{stage}").height
        assert axis.size is not None and axis.stride is not None
        found[stage.rpartition(".")[2]] = (axis.size, axis.stride)
    return found


def receptive_fields() -> str:
    """Squares of what one cell of each stage sees, on a picture of 500 × 500."""
    sheet = Sheet(300, "What a cell of VGG-16's maps sees of a picture of 500 × 500")
    x, y, side = 14, 34, 250
    sheet.words(x, 22, "a picture of 500 × 500")
    scene(sheet, x, y, side, side)
    colors = (OCHER, PURPLE, GREEN, RED, BLUE, INK)
    left = 284
    sheet.words(left, 70, "a cell of")
    sheet.words(left + 118, 70, "sees", anchor="end")
    sheet.words(left + 186, 70, "stride", anchor="end")
    for number, (color, (name, (size, stride))) in enumerate(zip(colors, fields().items(), strict=True)):
        half = size * side / 500 / 2
        sheet.box(x + side / 2 - half, y + side / 2 - half, 2 * half, 2 * half, stroke=color, thick=2.2)
        line = 96 + 24 * number
        sheet.words(left, line, name, fill=color, bold=True)
        sheet.words(left + 118, line, str(size), anchor="end")
        sheet.words(left + 186, line, str(stride), anchor="end")
    return sheet.text()


def streams(length: int = 224) -> list[tuple[str, int, Fraction, Fraction, int]]:
    """FCN-8s's maps for a picture of `length` pixels: name, cells, stride, pixel of cell 0, cells cropped before."""
    with torch.device("meta"):
        network = fcn8s_vgg16(num_classes=21).eval()
    sizes: dict[str, int] = {}
    names = ("score_fr", "upscore2", "score_pool4", "upscore_pool4", "score_pool3")
    hooks = []
    for name in names:

        def watch(_: nn.Module, __: object, output: Tensor, name: str = name) -> None:
            sizes[name] = output.shape[-1]

        hooks.append(network.get_submodule(name).register_forward_hook(watch))
    with torch.no_grad():
        head = network.heads(torch.empty(1, 3, length, length, device="meta"))["logits"]
    for hook in hooks:
        hook.remove()
    found = []
    alignment = network.alignment
    cropped = {"score_pool4": alignment.fuse_pool4[1], "score_pool3": alignment.fuse_pool3[1]}
    for name in names:
        axis = receptive_field(network, at=name).width
        assert axis.stride is not None and axis.center is not None
        found.append((name, sizes[name], axis.stride, axis.center, cropped.get(name, 0)))
    coarse = head.resampling.coarse_size[0]
    crop = alignment.upscore8.crop
    assert crop is not None
    found.append(("upscore8", (coarse - 1) * 8 + 16, Fraction(1), Fraction(-crop), crop))
    return found


def offsets() -> str:
    """Where the cells of FCN-8s's streams lie on the picture, and which are cropped."""
    length = 224
    sheet = Sheet(320, "Where the cells of FCN-8s's streams lie on a picture of 224 pixels, and which are cropped")
    low, high = -108, 336

    def across(pixel: float) -> float:
        return 14 + (pixel - low) * (452 / (high - low))

    sheet.box(across(-0.5), 28, across(length - 0.5) - across(-0.5), 262, fill="#eef4fb", stroke="none")
    sheet.words(across(length / 2), 20, f"the picture, {length} pixels", anchor="middle", fill=PALE)
    kept = length
    shown = streams(length)
    by_name = {name: (cells, stride, first) for name, cells, stride, first, _ in shown}
    joins = {"score_pool4": "upscore2", "score_pool3": "upscore_pool4"}
    for number, (name, cells, stride, first, crop) in enumerate(shown):
        y = 62 + 44 * number
        kept = by_name[joins[name]][0] if name in joins else length if name == "upscore8" else cells
        told = f"{name}: {cells} cells, {stride} apart" if stride > 1 else f"{name}: {cells} pixels"
        if crop:
            told += f", {crop} cropped before, {cells - crop - kept} behind"
        sheet.words(14, y - 9, told, size=12.5)
        if stride == 1:
            for a, b, color in ((0, cells, FAINT), (crop, crop + kept, BLUE)):
                sheet.line(
                    [(across(float(first) + a), y + 4), (across(float(first) + b), y + 4)], stroke=color, thick=6
                )
            continue
        for cell in range(cells):
            x = across(float(first + stride * cell))
            inside = crop <= cell < crop + kept
            color = BLUE if name in ("score_fr", "upscore2", "upscore_pool4") else GREEN
            radius = 3.6 if stride > 16 else 2.8 if stride > 8 else 1.7
            if inside:
                sheet.disk(x, y + 4, radius, fill=color)
            else:
                sheet.disk(x, y + 4, radius, fill="#fff", stroke=PALE)
    for pixel in (-100, 0, 100, 200, 300):
        sheet.line([(across(pixel), 292), (across(pixel), 298)], stroke=PALE)
        sheet.words(across(pixel), 312, str(pixel), size=12, anchor="middle", fill=PALE)
    return sheet.text()


def toy() -> nn.Sequential:
    """A pool of two with stride 2, then the difference of two neighbors."""
    difference = nn.Conv2d(1, 1, (1, 2), bias=False)
    with torch.no_grad():
        difference.weight.copy_(torch.tensor([[[[1.0, -1.0]]]]))
    return nn.Sequential(nn.MaxPool2d((1, 2)), difference).eval()


def stitched() -> dict[str, list[int]]:
    """The toy network's maps on `SIGNAL`: as it is, shifted and stitched, and with its stride taken."""
    signal = torch.tensor(SIGNAL, dtype=torch.float32).reshape(1, 1, 1, -1)
    network = toy()

    def row(values: Tensor) -> list[int]:
        return [int(value) for value in values.flatten()]

    with torch.no_grad():
        shifted = network(nn.functional.pad(signal, (1, 0)))
        return {
            "pooled": row(network[0](signal)),
            "as it is": row(network(signal)),
            "pooled, shifted": row(network[0](nn.functional.pad(signal, (1, 0)))),
            "shifted": row(shifted),
            "stitched": row(shift_and_stitch(network, signal, (1, 2))),
            "pooled, dense": row(set_output_stride(network, 1)[0](signal)),
            "dense": row(set_output_stride(network, 1)(signal)),
        }


def stitch() -> str:
    """The same dense map by two passes and by one."""
    maps = stitched()
    side, x = 30, 146
    sheet = Sheet(414, "Shift and stitch, and the stride taken away, give the same map")
    top = 14

    def show(label: str, values: list[int], start: float, step: int, fills: list[str] | None = None) -> None:
        nonlocal top
        sheet.words(x - 24, top + 20, label, anchor="end", size=12.5)
        for place, value in enumerate(values):
            fill = fills[place] if fills else "#fff"
            left = x + side * (start + step * place)
            sheet.box(left, top, side, side, fill=fill, stroke=PALE)
            sheet.words(left + side / 2, top + 20, str(value), anchor="middle")
        top += side + 8

    def title(text: str) -> None:
        nonlocal top
        top += 22
        sheet.words(14, top - 7, text, bold=True)

    first, second = "#cfe2f5", "#fbdcc8"
    show("input", list(SIGNAL), 0, 1)
    title("as it is: every second place")
    show("pool of 2", maps["pooled"], 0.5, 2)
    show("difference", maps["as it is"], 1.5, 2, [first] * 9)
    title("shifted by one, a zero before it")
    show("pool of 2", maps["pooled, shifted"], -0.5, 2)
    show("difference", maps["shifted"], 0.5, 2, ["#fff"] + [second] * 9)
    title("stitched; the window with the zero is left out")
    show("two passes", maps["stitched"], 1.5, 1, [first, second] * 5)
    title("stride taken, the difference spread by 2")
    show("pool of 2", maps["pooled, dense"], 0.5, 1)
    show("one pass", maps["dense"], 1.5, 1, ["#d9ead3"] * 9)
    return sheet.text()


def figures() -> dict[str, str]:
    """All of them."""
    return {
        "fully-convolutional-windows.svg": windows(),
        "fully-convolutional-fields.svg": receptive_fields(),
        "fully-convolutional-offsets.svg": offsets(),
        "fully-convolutional-stitch.svg": stitch(),
    }


if __name__ == "__main__":
    write(figures())
    print(f"a map of {slid_map()} for {PICTURE}")
    for row in streams():
        print(*row)
