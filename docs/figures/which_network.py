"""Measured times and multiply-adds of the networks: `python docs/figures/which_network.py`.

Draws `docs/images/which-network.svg` from `src/pixelwise/models/facts.json` and from the table of
`benchmarks/networks.py` in `benchmarks/RESULTS.md`, and prints the table of `docs/explanation/which-network.md`.
"""

import re
from pathlib import Path

from drawing import BLUE, OCHER, PALE, Sheet, write

from pixelwise.flow.pretrained import TRUNKS
from pixelwise.models.facts import Facts, stored

RESULTS = Path(__file__).parents[2] / "benchmarks" / "RESULTS.md"
SHOWN = (
    "fcn32s_googlenet",
    "fcn32s_alexnet",
    "gcn_resnet50",
    "deeplab_v3_resnet50",
    "deeplab_v3_resnet101",
    "gcn_resnet152",
    "segnet_basic",
    "deeplab_largefov",
    "pspnet_resnet50",
    "torchvision_deeplab_v3_resnet50",
    "segnet",
    "deeplab_v2_resnet101_aspp",
    "fcn8s_vgg16",
    "unet",
    "refinenet_resnet101",
    "dilation8",
)


def milliseconds() -> dict[str, int]:
    """The times of the table in RESULTS.md."""
    text = RESULTS.read_text(encoding="utf-8")
    return {name: int(ms) for name, ms in re.findall(r"^\| `(\w+)` \| (\d+) \| [\d.]+ \| \d+ \|$", text, re.M)}


def facts() -> dict[str, Facts]:
    """By name."""
    return {one.name: one for one in stored()}


def figure() -> str:
    """Bars of multiply-adds, and the time beside each, by time."""
    times, known = milliseconds(), facts()
    names = sorted(SHOWN, key=lambda name: times[name])
    sheet = Sheet(74 + 25 * len(names), "Time and multiply-adds of the networks on a picture of 500 × 500")
    sheet.words(10, 20, "one picture of 500 × 500, two cores, float32", size=12, fill=PALE)
    sheet.box(10, 30, 12, 9, fill=BLUE, stroke="none")
    sheet.words(28, 39, "seconds", size=12)
    sheet.box(100, 30, 12, 9, fill=OCHER, stroke="none")
    sheet.words(118, 39, "thousand million multiply-adds", size=12)
    most_time, most_work = max(times[n] for n in names), max(known[n].multiply_adds for n in names)
    for number, name in enumerate(names):
        y = 54 + 25 * number
        sheet.words(206, y + 13, name.replace("torchvision_deeplab", "torchvision_…"), size=12, anchor="end")
        for shift, value, most, color, told in (
            (0, times[name], most_time, BLUE, f"{times[name] / 1000:.1f}"),
            (9.5, known[name].multiply_adds, most_work, OCHER, f"{known[name].multiply_adds / 1e9:.0f}"),
        ):
            length = 220 * value / most
            sheet.box(212, y + shift, length, 8.5, fill=color, stroke="none")
            sheet.words(216 + length, y + shift + 8.5, told, size=10.5, fill=PALE)
    return sheet.text()


def table() -> str:
    """All networks of the chart, in the order of their times."""
    times, known = milliseconds(), facts()
    rows = [
        "| network | time | multiply-adds | parameters | output stride | sees | trunk in the catalogue |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for name in sorted(SHOWN, key=lambda name: times[name]):
        one = known[name]
        field = one.receptive_field or "whole picture"
        trunk = f"`{TRUNKS[name]}`" if name in TRUNKS else "none"
        rows.append(
            f"| `{name}` | {times[name] / 1000:.1f} s | {one.multiply_adds / 1e9:.0f} G | {one.parameters / 1e6:.1f} M "
            f"| {one.output_stride} | {field} | {trunk} |"
        )
    return "\n".join(rows)


def figures() -> dict[str, str]:
    """The one."""
    return {"which-network.svg": figure()}


if __name__ == "__main__":
    write(figures())
    print(table())
