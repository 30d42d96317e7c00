"""Compute the table of the networks: `python docs/generate/models_table.py`, a minute.

Writes `src/pixelwise/models/facts.json`, which `pixelwise list models` prints, and `docs/reference/models.md`.
"""

from pathlib import Path

from pixelwise.models import MODELS
from pixelwise.models.facts import Facts, compute, to_json

ROOT = Path(__file__).parents[2]
HEAD = """\
# Networks

Written by `docs/generate/models_table.py`; on the terminal: `pixelwise list models`, or `pixelwise list models --json`.

Each name is what `pw.build(NAME, num_classes=…)` and `pixelwise fit --model NAME` take. The numbers are for 21 classes
and the papers' or released files' configuration: trainable parameters; multiply-adds of the convolutions for one
picture of 500 × 500, FCN's and Dilation's wide borders included; output stride, in pixels from one cell of the scores
to the next; receptive field, the side of the square of pixels that a cell of the scores is computed from.

"""
FOOT = """
Receptive fields are those of the scores that come out. Papers often give that of the deepest stream alone: FCN-16s and
FCN-8s see 404 pixels at stride 32, and one cell more after each 2× upsampling. The table in FCN's paper has 907 for
GoogLeNet, which counts the 7 × 7 pool that its text discards. DeepLab's papers call 128 and 224 "field of view",
(k + 3)·8 for an fc6 that reaches over k cells; its released LargeFOV has pools of 3 × 3 and one more average, 435 and
not 404. A field larger than the picture ends in zeros or mirrored pixels. For any network, also your own:

```python
import pixelwise as pw
from pixelwise.surgery import receptive_field

network = pw.build("fcn8s_vgg16", num_classes=21)
receptive_field(network, at="backbone.conv4.pool4").height  # size 100, stride 16, center -91.5
```

Papers:

"""


def page(facts: list[Facts]) -> str:
    """The page of the documentation."""
    rows = ["| name | paper | year | parameters | multiply-adds | stride | field |", "| --- " * 3 + "| ---: " * 4 + "|"]
    for one in facts:
        field = "whole picture" if one.receptive_field is None else one.receptive_field
        rows.append(
            f"| `{one.name}` | {one.authors} | {one.year} | {one.parameters:,} | {one.multiply_adds / 1e9:.1f} G "
            f"| {one.output_stride} | {field} |".replace(",", " ")
        )
    papers = dict.fromkeys(f"- {one.authors} {one.year}: {one.title}. {one.link}" for one in facts)
    return HEAD + "\n".join(rows) + "\n" + FOOT + "\n".join(papers) + "\n"


def main() -> None:
    """Write both files."""
    facts = []
    for name in MODELS:
        facts.append(compute(name))
        print(f"{name}: {facts[-1].parameters:,} parameters, field {facts[-1].receptive_field}", flush=True)
    (ROOT / "src" / "pixelwise" / "models" / "facts.json").write_text(to_json(facts), encoding="utf-8")
    (ROOT / "docs" / "reference" / "models.md").write_text(page(facts), encoding="utf-8")


if __name__ == "__main__":
    main()
