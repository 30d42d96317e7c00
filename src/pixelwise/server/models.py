"""Models: what is served, under which name, and what a client is told of it."""

import hmac
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pixelwise.errors import DataError
from pixelwise.segmenter import Segmenter
from pixelwise.weights.opening import open_model

DEMO = Path(__file__).with_name("demo_model.safetensors")
TICKET = 3600  # seconds that a link to a report opens


@dataclass(frozen=True)
class ServedModel:
    """A model and its name in requests.

    Attributes:
        path: its file, or None for one in memory.
        demo: it is the package's own.
    """

    name: str
    segmenter: Segmenter
    path: Path | None = None
    demo: bool = False

    @property
    def report(self) -> Path | None:
        """The report beside the file, where there is one."""
        if self.path is None or self.demo:
            return None
        found = self.path.with_name("report.html")
        return found if found.is_file() else None

    def record(self, *, default: bool, token: str | None) -> dict[str, Any]:
        """What `GET /v1/models` tells of it."""
        own = self.segmenter
        labels = own.labels
        return {
            "name": self.name,
            "default": default,
            "demo": self.demo,
            "network": str(own.architecture["builder"]),
            "parameters": own.parameters,
            "channels": own.normalization.channels,
            "void": labels.void,
            "classes": [
                {"index": index, "name": name, "color": list(color)}
                for index, (name, color) in enumerate(zip(labels.names, labels.palette, strict=True))
            ],
            "precision": own.precision,
            "crf": own.refinement is not None,
            "scores": finite(own.scores),
            "report": None if self.report is None else f"v1/models/{self.name}/report{_ticket(self.name, token)}",
        }


def open_models(
    models: Sequence[str | Path], *, open_one: Callable[[Path], Segmenter] = open_model
) -> list[ServedModel]:
    """The models of files and published names, each under a name of its own; the demo model for none.

    runs/cells/model.safetensors is called cells, weights/cells.safetensors as well, and the second one then cells-2.

    Args:
        open_one: what opens a model, with what a command line shows of a download.

    Raises:
        CheckpointError, UnknownName and others: as `pixelwise.weights.opening.open_model`.
        DataError: there is no demo model.
    """
    if not models:
        if not DEMO.is_file():
            raise DataError(
                "this installation has no demo model; name a model: pixelwise serve runs/cells/model.safetensors"
            )
        return [ServedModel("demo", Segmenter.load(DEMO), DEMO, demo=True)]
    served: list[ServedModel] = []
    for model in models:
        path = Path(model)
        segmenter = open_one(path)
        base = _plain(path.resolve().parent.name if path.name == "model.safetensors" else path.stem)
        taken = {one.name for one in served}
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}-{number}"
        served.append(ServedModel(name, segmenter, path if path.is_file() else None))
    return served


def finite(value: Any) -> Any:
    """Plain values for JSON: numbers that are not finite are None.

    >>> finite({"a": [1.5, float("nan")], "b": (True, None)})
    {'a': [1.5, None], 'b': [True, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def ticket_opens(name: str, ticket: str, token: str) -> bool:
    """Whether a link's ticket is one of ours, for this model, and still good."""
    until, _, _ = ticket.partition("-")
    if not (until.isascii() and until.isdecimal() and len(until) < 16):
        return False
    ours = _signed(name, int(until), token)
    return hmac.compare_digest(ticket.encode("utf-8", "replace"), ours.encode()) and time.time() < int(until)


def _ticket(name: str, token: str | None) -> str:
    return "" if token is None else f"?ticket={_signed(name, int(time.time()) + TICKET, token)}"


def _signed(name: str, until: int, token: str) -> str:
    return f"{until}-{hmac.new(token.encode(), f'report {name} {until}'.encode(), sha256).hexdigest()}"


def _plain(name: str) -> str:
    """A name that needs no quoting in an address."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "model"
