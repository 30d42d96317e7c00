"""What lets `predict` go on: a record of the settings beside the results, and no remains of a kill."""

import json
import os
import re
import shutil
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from pixelwise.errors import DataError
from pixelwise.files import write_text
from pixelwise.segmenter import Segmenter

SETTINGS = ".pixelwise-settings.json"  # beside the results
WORDS = {
    "precision": "another --precision",
    "views": "other views (--scales, --flip)",
    "crf": "another CRF, or none,",
    "models": "another model",
    "engine": "another --engine",
    "samples": "other --samples",
    "tile": "another --tile",
}
_LEFT = re.compile(r"\..+\.(\d+)\.part(\.\w+)?")  # what files.replacing writes to, with the process's number


def fingerprint(segmenter: Segmenter) -> str:
    """What tells a model from another: a checksum of its weights."""
    checksum = 0
    for name, value in sorted(segmenter.network.state_dict().items()):
        checksum = zlib.crc32(name.encode(), checksum)
        plain = value.detach().cpu().contiguous()
        checksum = zlib.crc32(plain.reshape(-1).view(torch.uint8).numpy().data, checksum)
    return f"{checksum:08x}"


def write_settings(settings: Mapping[str, Any], out: Path) -> None:
    """Store what the results beside it are made with."""
    write_text(json.dumps(settings, ensure_ascii=False), out / SETTINGS)


def check_same(settings: Mapping[str, Any], out: Path) -> None:
    """Refuse to go on with results of other settings; what an older version did not record is not compared.

    Raises:
        DataError: names what differs.
    """
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
    if not isinstance(before, dict):
        before = dict.fromkeys(settings)
    same = json.loads(json.dumps(settings))
    other = [name for name in settings if name in before and before[name] != same[name]]
    if other:
        raise DataError(
            f"the results in {out} were made with {' and '.join(WORDS[name] for name in other)} than asked for now; "
            "--resume goes on with the same settings only: give these, choose another --out, or --overwrite"
        )


def remove_remains(out: Path, folders: Iterable[str], files: Iterable[str]) -> None:
    """Remove what processes that are no more had begun to write, in folders below `out` and of files in it."""
    found = [list((out / folder).rglob(".*.part*")) for folder in folders]
    found += [list(out.glob(f".{file}.*.part")) for file in (*files, SETTINGS)]
    for remains in found:
        for left in remains:
            match = _LEFT.fullmatch(left.name)
            if match and not _alive(int(match[1])):
                if left.is_dir():
                    shutil.rmtree(left)
                else:
                    left.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    if process == os.getpid():
        return False  # of an earlier process of the same number: this one has not begun
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
