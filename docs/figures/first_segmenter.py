"""The pictures of the tutorial: what a model says after it has learned from ten drawn garden beds.

    python docs/figures/first_segmenter.py --width 0.25 --out docs/images

Writes `tutorial-data.jpg`, two of the ten pictures with their masks, and `tutorial-overlay.jpg`, two new pictures with
the classes that the model sees; prints the mean IoU on the pictures that were kept from training.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import pixelwise as pw
from pixelwise.flow.demo import CLASSES, PALETTE, draw_demo, draw_new_pictures

GAP = 8  # pixels between panels
COUNT = 10


def side_by_side(rows: list[list[Image.Image]]) -> Image.Image:
    """Panels of one size in rows."""
    width, height = rows[0][0].size
    page = Image.new("RGB", (len(rows[0]) * (width + GAP) - GAP, len(rows) * (height + GAP) - GAP), "white")
    for i, row in enumerate(rows):
        for j, panel in enumerate(row):
            page.paste(panel, (j * (width + GAP), i * (height + GAP)))
    return page


def colored(mask: Image.Image) -> Image.Image:
    """Classes in their colors."""
    return Image.fromarray(np.array(PALETTE, np.uint8)[np.asarray(mask)])


def main() -> None:
    """Draw, learn, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--width", type=float, help="of the network; the planner's if left out")
    options = parser.parse_args()
    settings = {} if options.width is None else {"model_options.width": options.width}
    with tempfile.TemporaryDirectory() as folder:
        garden, new = Path(folder, "garden"), Path(folder, "new-pictures")
        draw_demo(garden, count=COUNT)
        draw_new_pictures(new)
        pairs = [
            (Image.open(file), colored(Image.open(garden / "masks" / f"{file.stem}.png")))
            for file in sorted((garden / "images").iterdir())[:2]
        ]
        side_by_side([list(pair) for pair in pairs]).save(options.out / "tutorial-data.jpg", quality=88, optimize=True)
        result = pw.fit(garden, out=Path(folder, "run"), steps=options.steps, settings=settings)
        assert result.segmenter is not None and result.scores is not None
        rows = [
            [Image.open(file), Image.fromarray(np.asarray(result.segmenter.predict(file).overlay()))]
            for file in sorted(new.iterdir())[:2]
        ]
        side_by_side(rows).save(options.out / "tutorial-overlay.jpg", quality=88, optimize=True)
    print(f"{options.steps} steps on {COUNT} pictures of {len(CLASSES)} classes: mean IoU {result.scores.mean_iou:.3f}")


if __name__ == "__main__":
    main()
