"""Segment pictures with model.onnx: python predict.py PICTURE_OR_FOLDER... --out FOLDER [--overlay].

Needs numpy, Pillow and onnxruntime alone. Writes OUT/NAME.png, an indexed picture whose numbers are the classes of
classes.json, in their colors, at the picture's own size; with --overlay also OUT/NAME-overlay.png.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parent
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"}


def load(folder: Path = HERE) -> tuple[Any, dict[str, Any]]:
    """The model's session, and what classes.json says."""
    import onnxruntime

    facts = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
    known = [p for p in onnxruntime.get_available_providers() if p.startswith(("CUDA", "CPU"))]
    return onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=known), facts


def read(path: Path, channels: int, bits: int) -> NDArray[Any]:
    """The picture upright, (H, W, C) uint8, or uint16 for a model of 16 bits."""
    with Image.open(path) as file:
        deep = file.mode.startswith("I;16")
        if file.mode in ("I", "F") or (deep and bits == 8):
            raise ValueError(f"has pixels of more than {bits} bits ({file.mode}); convert it first")
        picture = ImageOps.exif_transpose(file)
        pixels = np.atleast_3d(np.asarray(picture if deep else picture.convert("L" if channels == 1 else "RGB")))
    pixels = np.repeat(pixels, 3, 2) if deep and channels == 3 else pixels
    if pixels.shape[2] != channels:
        raise ValueError(f"has {pixels.shape[2]} channels, the model takes {channels}")
    return pixels * np.uint16(257) if bits == 16 and not deep else pixels


def colored(labels: NDArray[Any], facts: dict[str, Any]) -> Image.Image:
    """The classes as an indexed picture with their colors; 16 bits of gray with more than 255 classes."""
    if labels.dtype != np.uint8:
        return Image.fromarray(labels.astype(np.uint16))
    picture = Image.fromarray(labels)
    picture.putpalette([value for color in facts["palette"] for value in color])
    return picture


def listed(inputs: list[str]) -> Iterator[tuple[Path, Path]]:
    """(file, the name of its result) of files and folders; of two with the same stem the second keeps its suffix."""
    taken: set[Path] = set()
    for given in map(Path, inputs):
        inside = sorted(p for p in given.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        for path in inside if given.is_dir() else [given]:
            name = path.relative_to(given) if given.is_dir() else Path(path.name)
            name = name if name.with_suffix("") in taken else name.with_suffix("")
            taken.add(name)
            yield path, name


def save(picture: Image.Image, path: Path) -> None:
    """Write a PNG beside its place and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    picture.save(beside, "PNG")
    beside.replace(path)


def main() -> int:
    """Read the arguments, go through the pictures, and tell which could not be read."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="+", help="pictures, or folders of them")
    parser.add_argument("--out", required=True, type=Path, help="the folder for the results")
    parser.add_argument("--overlay", action="store_true", help="write the classes over the picture, too")
    arguments = parser.parse_args()
    session, facts = load()
    written, failed = 0, 0
    for path, name in listed(arguments.inputs):
        try:
            pixels = read(path, facts["channels"], facts["bits"])
            mask = colored(session.run(["labels"], {"picture": pixels[None]})[0][0], facts)
            save(mask, arguments.out / f"{name}.png")
            if arguments.overlay and mask.mode == "P":
                base = Image.fromarray((pixels >> (facts["bits"] - 8)).astype(np.uint8).repeat(3 // pixels.shape[2], 2))
                save(Image.blend(base, mask.convert("RGB"), 0.5), arguments.out / f"{name}-overlay.png")
            written += 1
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            failed += 1
    print(f"{written} pictures written to {arguments.out}" + (f", {failed} could not be read" if failed else ""))
    return 1 if failed or not written else 0


if __name__ == "__main__":
    sys.exit(main())
