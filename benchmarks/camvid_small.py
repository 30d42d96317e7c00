"""CamVid at 240 × 180 from random weights, in twenty minutes: what `pixelwise fit` reaches on the test part.

    python benchmarks/camvid_small.py CAMVID [--minutes 20] [--out RUN] [--size 180 240] [--set KEY=VALUE …]

CAMVID is the folder of SegNet's packing: 367 training, 101 validation and 233 test pictures of 480 × 360. They are
halved once, pictures by the mean of areas, masks by nearest, and kept beside RUN. `pixelwise fit` gets no option but
the time and what `--set` says; everything it does counts: reading, choosing a network, validating, the trial of a CRF,
the final scores. Then the whole test part is counted at 240 × 180 as SegNet's script does (`camvid_segnet`) and as a
plain mean (`fcn`), with and without the CRF where the model keeps one. RUN/model.safetensors is the trained network on
which the agreement of precisions and engines is measured (`benchmarks/predict_speed.py`).
"""

import argparse
import time
from pathlib import Path

import cv2
import yaml
from PIL import Image

import pixelwise as pw

PARTS = ("train", "val", "test")


def reduce(camvid: Path, out: Path, size: tuple[int, int]) -> Path:
    """CamVid at (height, width), in the same layout; made once."""
    camvid = camvid / "CamVid" if (camvid / "CamVid").is_dir() else camvid
    whole = (size[1], size[0])
    for part in PARTS:
        for folder, is_mask in ((part, False), (f"{part}annot", True)):
            (out / folder).mkdir(parents=True, exist_ok=True)
            for file in sorted((camvid / folder).iterdir()):
                target = out / folder / file.name
                if target.exists():
                    continue
                if is_mask:
                    Image.open(file).resize(whole, Image.Resampling.NEAREST).save(target)
                else:
                    picture = cv2.resize(cv2.imread(str(file)), whole, interpolation=cv2.INTER_AREA)
                    cv2.imwrite(str(target), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
        (out / f"{part}.txt").write_text((camvid / f"{part}.txt").read_text())
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/camvid-small"))
    parser.add_argument("--size", type=int, nargs=2, default=(180, 240), metavar=("H", "W"))
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    asked = parser.parse_args()

    data = reduce(asked.camvid, asked.out.with_name(f"{asked.out.name}-data"), tuple(asked.size))
    settings = {key: yaml.safe_load(value) for key, _, value in (text.partition("=") for text in asked.settings)}
    began = time.monotonic()
    result = pw.fit(data, out=asked.out, minutes=asked.minutes, settings=settings)
    seconds = time.monotonic() - began
    recipe = result.segmenter.recipe
    print(f"{recipe['model']} {recipe['model_options']}, {recipe['steps']} steps; {seconds / 60:.1f} minutes in all")
    test = pw.open_dataset("camvid", data, "test")
    for protocol in ("camvid_segnet", "fcn"):
        for crf in (False, True) if result.segmenter.refinement is not None else (False,):
            scores = pw.evaluate(result.segmenter, test, protocol=protocol, crf=crf)
            found = (100 * value for value in (scores.pixel_accuracy, scores.mean_accuracy, scores.mean_iou))
            print(
                f"{len(test)} test pictures, {protocol}{', CRF' if crf else ''}: "
                "global {:.1f}, class average {:.1f}, mean IoU {:.1f}".format(*found)
            )


if __name__ == "__main__":
    main()
