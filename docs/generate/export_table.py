"""Measure which network exports to which format: `python docs/generate/export_table.py [NAME...]`.

All take a quarter of an hour; `--page` writes the page alone, from what was measured.

Each network of `MODELS`, narrow, is exported as `pixelwise export` does it to all formats, and its labels are compared
with the network's own at sizes from 1 × 1 up. Writes what came out, `docs/generate/export_outcomes.json`, and from that
`docs/reference/export.md`.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pixelwise.errors import SurgeryError
from pixelwise.flow.export import LEAST, facts_of
from pixelwise.inference.export import TRACED, onnx_model, plain_copy, traced
from pixelwise.inference.export_files import FORMATS, INPUT, Graph, read_graph, write_onnx, write_program
from pixelwise.inference.export_picture import PictureClasses
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import MODELS, build, takes_levels
from pixelwise.segmenter import Segmenter

ROOT = Path(__file__).parents[2]
OUTCOMES = ROOT / "docs" / "generate" / "export_outcomes.json"
SIDES = (1, 2, 4, 8, 16, 32, 64)
SIZES = (*((side, side) for side in SIDES), (1, 40), (45, 2), (97, 131))

Outcome = dict[str, Any]
"""Of each format the shares of equal labels at `SIZES`, None where the runtime refuses; or the reason, "refused"."""

HEAD = """\
# Exports

Written by `docs/generate/export_table.py`; how to export: [deploy without torch](../how-to/deploy-without-torch.md).

Every network of `pixelwise list models`, narrow (1/16 of its channels, random weights), was exported by
`pixelwise export` to each format, and its labels were compared with the network's own on random pictures of 1 × 1,
2 × 2, 4 × 4 … 64 × 64, 1 × 40, 45 × 2 and 97 × 131. "Yes" means at least 99.9 % equal labels at each of them, "from n"
that the runtime refuses smaller squares.

| network | .onnx (ONNX Runtime) | .pt2 (torch) | .xml (OpenVINO) |
| --- | --- | --- | --- |
"""
FOOT = """
- Batch, height and width are open in every file. A batch holds pictures of one size.
- OpenVINO refuses maps that are smaller than the window of a pool; a small picture comes to that in the deeper layers.
- A dense CRF behind a model is left out, and the export says so.
- Bayesian SegNet's graph averages the weights, as its prediction without samples does.
- A model with the size of its pictures in the normalization brings them to it inside the graph, and its scores back.
- A model made of a prototxt (`pixelwise import-weights`) or of a classifier (`pixelwise heatmap`) is tried as it is;
  where torch cannot follow it for every size, the export says so and writes nothing.
- Pictures of more than 1024 × 2048 pixels are cut into tiles by `pixelwise predict`, whose labels may differ a little
  from the graph's, which takes every picture whole.
"""


def segmenter_of(name: str) -> Segmenter:
    """The narrow network, without layers that are all zero."""
    torch.manual_seed(0)
    options = {"num_classes": 5, "width": 1 / 16}
    network = build(name, **options).eval()
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    channels = next(p for p in network.parameters() if p.ndim == 4).shape[1]
    channels = {"fcn32s_rgb_hha": 6, "fcn16s_rgb_hha": 6}.get(name, channels)
    deviation = 1.0 if takes_levels(name) else 60.0
    labels = LabelSet(tuple("abcde"))
    normalization = Normalization((110.0,) * channels, (deviation,) * channels)
    return Segmenter(network, normalization, labels, {"builder": name, "options": options})


def measure(name: str, folder: Path) -> Outcome:
    """What each format did at each size, or why there is no graph."""
    segmenter = segmenter_of(name)
    channels = segmenter.normalization.channels
    example = torch.zeros(*TRACED, channels, dtype=torch.uint8)
    module = PictureClasses(plain_copy(segmenter.network), segmenter.normalization)
    try:
        program = traced(module, example, sides=(1, 2))
    except SurgeryError as error:
        return {"refused": str(error)}
    files = [folder / f"{name}{suffix}" for suffix in FORMATS]
    model = onnx_model(program, INPUT, ["labels"])
    for file in files:
        if file.suffix == ".pt2":
            write_program(program, file, ["labels"], facts_of(segmenter))
        else:
            write_onnx(model, file, facts_of(segmenter))
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (*size, channels), dtype=np.uint8) for size in SIZES]
    expected = [segmenter.predict_dense(picture, precision="fp32", crf=False).labels for picture in pictures]
    outcome: Outcome = {}
    for file in files:
        run = read_graph(file)
        outcome[file.suffix] = [equal(run, *pair) for pair in zip(pictures, expected, strict=True)]
    return outcome


def equal(run: Graph, picture: NDArray[np.uint8], expected: NDArray[Any]) -> float | None:
    """The share of labels that are the network's; None where the runtime refuses the picture."""
    try:
        labels = run(picture[None])[0][0]
    except Exception:  # each runtime has its own kinds
        return None
    return float(np.mean(labels == expected))


def cell(shares: list[float | None]) -> str:
    """What stands in the table: whether all sizes fit, or from which square on."""
    fits = [share is not None and share >= LEAST for share in shares]
    if all(fits):
        return "yes"
    squares = fits[: len(SIDES)]
    first = next((i for i in range(len(SIDES)) if all(squares[i:])), None)
    return "no" if first is None or not fits[-1] else f"from {SIDES[first]} × {SIDES[first]}"


def page(outcomes: dict[str, Outcome]) -> str:
    """The page of the documentation."""
    rows = []
    for name in MODELS:
        one = outcomes.get(name)  # while all are measured anew, some are not there yet
        cells = ["" if one is None else "no ¹" if "refused" in one else cell(one[s]) for s in FORMATS]
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    reasons = [f"¹ `{name}`: {one['refused']}." for name, one in outcomes.items() if "refused" in one]
    return HEAD + "\n".join(rows) + "\n\n" + "\n\n".join(reasons) + "\n" + FOOT


def main() -> None:
    """Measure the networks that are named, or all, and write both files."""
    stored = json.loads(OUTCOMES.read_text(encoding="utf-8")) if OUTCOMES.exists() else {}
    if sys.argv[1:] == ["--page"]:
        (ROOT / "docs" / "reference" / "export.md").write_text(page(stored), encoding="utf-8")
        return
    for name in sys.argv[1:] or MODELS:
        with tempfile.TemporaryDirectory() as folder:
            stored[name] = measure(name, Path(folder))
        print(name, stored[name], flush=True)
        outcomes = {each: stored[each] for each in MODELS if each in stored}
        lines = [f"{json.dumps(each)}: {json.dumps(one, ensure_ascii=False)}" for each, one in outcomes.items()]
        OUTCOMES.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        (ROOT / "docs" / "reference" / "export.md").write_text(page(outcomes), encoding="utf-8")


if __name__ == "__main__":
    main()
