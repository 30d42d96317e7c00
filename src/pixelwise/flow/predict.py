"""Predict files: pictures, folders or globs → results beside each other, with the pictures' own names."""

import csv
import glob
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixelwise.errors import BadOption, DataError, PixelwiseError
from pixelwise.files import write_text
from pixelwise.flow.machine import this_machine
from pixelwise.inference.predict import Precision
from pixelwise.inference.views import Scales, views_of
from pixelwise.processes import current
from pixelwise.segmenter import Segmenter

SETTINGS = ".pixelwise-settings.json"  # beside the results: what `resume` compares
KINDS = {"mask": ".png", "overlay": ".png", "confidence": ".png", "polygons": ".geojson"}
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"}


@dataclass(frozen=True)
class Picture:
    """A file to segment, and the name of its results: its path below the folder that was given, without suffix."""

    path: Path
    name: str


@dataclass(frozen=True)
class Predicted:
    """How many pictures were written and skipped, and a line for each that could not be read."""

    written: int
    skipped: int
    faults: tuple[str, ...]


def find_pictures(inputs: Sequence[str], out: Path | None = None) -> list[Picture]:
    """The pictures that paths, folders and globs name, each once, in order.

    Folders and globs do not find the results of an earlier prediction into `out`, such as OUT/mask/a.png.

    Two with the same stem keep their suffix in the name: a.jpg and a.png become a.jpg and a.png, not a and a.

    Raises:
        DataError: an input names nothing; names it.
    """
    results = {out.resolve() / kind for kind in KINDS} if out is not None else set()
    found: dict[Path, Path] = {}
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            files = [f for f in sorted(path.rglob("*")) if f.suffix.lower() in SUFFIXES and not f.name.startswith(".")]
            relative = {f: f.relative_to(path) for f in files}
        elif path.is_file():
            relative = {path: Path(path.name)}
        else:
            matched = sorted(Path(m) for m in glob.glob(text, recursive=True))  # noqa: PTH207 – absolute globs, too
            relative = {m: Path(m.name) for m in matched if m.is_file() and m.suffix.lower() in SUFFIXES}
        if results and not path.is_file():
            relative = {f: name for f, name in relative.items() if results.isdisjoint(f.resolve().parents)}
        if not relative:
            kind = "folder holds no pictures" if path.is_dir() else "there is no such file, folder or match"
            raise DataError(f"{text}: {kind} ({', '.join(sorted(SUFFIXES))})")
        for file, name in relative.items():
            found.setdefault(file, name)
    stems = Counter(name.with_suffix("") for name in found.values())
    names = {f: name.with_suffix("") if stems[name.with_suffix("")] == 1 else name for f, name in found.items()}
    double = [str(name) for name, count in Counter(names.values()).items() if count > 1]
    if double:
        raise DataError(f"two pictures are both called {double[0]}; segment their folders one after the other")
    return [Picture(file, name.as_posix()) for file, name in names.items()]


def predict_files(
    segmenter: Segmenter,
    pictures: Sequence[Picture],
    out: Path,
    *,
    kinds: str = "mask,overlay",
    overwrite: bool = False,
    resume: bool = False,
    precision: Precision | None = None,
    scales: Scales = None,
    flip: bool = False,
    crf: bool | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Predicted:
    """Segment pictures into OUT/mask/NAME.png, OUT/overlay/NAME.png …, and OUT/areas.csv.

    Several processes (`pixelwise.processes`) each take a part of the pictures.

    A picture that cannot be read does not stop the others; it is named in `Predicted.faults`.

    Args:
        kinds: any of mask, overlay, confidence, polygons, areas, separated by commas.
        overwrite: replace what exists; without it nothing is written when some result exists.
        resume: leave out pictures whose results all exist; the settings must be those of the results that are there,
            as far as a record tells them.
        scales, flip: see `Segmenter.predict`.
        crf: refine the labels with a dense CRF: with the segmenter's own, if it has one, where left out.

    Raises:
        BadOption: a kind or a scale is unknown, or several processes are to write a table of areas.
        DataError: a result exists already, or was made with other settings.
    """
    asked = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    wrong = [kind for kind in asked if kind not in KINDS and kind != "areas"]
    if wrong or not asked:
        raise BadOption(f"--save takes {', '.join([*KINDS, 'areas'])}, separated by commas; got {kinds!r}")
    files = {p: {kind: out / kind / f"{p.name}{KINDS[kind]}" for kind in asked if kind in KINDS} for p in pictures}
    areas = out / "areas.csv" if "areas" in asked else None
    if resume and areas is not None:
        raise BadOption("--resume cannot go on with areas: the table is of all pictures; use --overwrite")
    processes = current()
    if processes.count > 1 and areas is not None:
        raise BadOption(
            "the table of areas is of all pictures, and written by one process; leave out areas or torchrun"
        )
    existing = [f for listed in files.values() for f in listed.values() if f.exists()]
    existing += [areas] if areas is not None and areas.exists() else []
    existing = processes.told(existing)  # before one of them writes
    if existing and not (overwrite or resume):
        raise DataError(f"{existing[0]} exists already; choose another --out, or --overwrite or --resume")
    views = views_of(scales, flip=flip)
    own = segmenter.refinement_for(crf)
    settings = {
        "precision": precision or segmenter.precision,
        "views": views.to_record(),
        "crf": None if own is None else own.to_record(),
    }
    if resume and existing:
        _check_same(settings, out)
    elif processes.leads:
        write_text(json.dumps(settings, ensure_ascii=False), out / SETTINGS)
    segmenter.network.to(this_machine().device)
    rows: list[list[Any]] = [["picture", "class", "pixels", "share"]]
    faults, written, skipped = [], 0, 0
    own_part = pictures[processes.share(len(pictures))]
    for number, picture in enumerate(own_part):
        if resume and all(f.exists() for f in files[picture].values()):
            skipped += 1
        else:
            try:
                prediction = segmenter.predict(
                    picture.path, precision=precision, scales=views, confidence="confidence" in asked, crf=crf
                )
            except PixelwiseError as error:
                faults.append(str(error))
            else:
                for kind, path in files[picture].items():
                    if overwrite or not path.exists():
                        prediction.save_as(kind, path)
                total = prediction.labels.size
                rows += [[picture.name, c, n, round(n / total, 6)] for c, n in prediction.areas().items()]
                written += 1
        progress(number + 1, len(own_part))
    if areas is not None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        write_text(text.getvalue(), areas)
    written, skipped = (sum(processes.gathered(number)) for number in (written, skipped))
    return Predicted(written, skipped, tuple(fault for part in processes.gathered(faults) for fault in part))


def _check_same(settings: dict[str, Any], out: Path) -> None:
    """Refuse to go on with results of other settings; of an older version nothing tells them."""
    file = out / SETTINGS
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file}, which tells the settings of the results beside it, cannot be read ({error}); use --overwrite, or "
            "remove it to go on all the same"
        ) from error
    same = json.loads(json.dumps(settings))
    other = [name for name in settings if not isinstance(before, dict) or before.get(name) != same[name]]
    if other:
        words = {
            "precision": "another --precision",
            "views": "other views (--scales, --flip)",
            "crf": "another CRF, or none,",
        }
        raise DataError(
            f"the results in {out} were made with {' and '.join(words[name] for name in other)} than asked for now; "
            "--resume goes on with the same settings only: give these, choose another --out, or --overwrite"
        )
