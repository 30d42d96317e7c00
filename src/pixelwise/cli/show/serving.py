"""What `serve` shows: what is served and where, and a line for each request."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from pixelwise.server.models import ServedModel
    from pixelwise.server.settings import Settings


def request_log() -> None:
    """The server's lines of log, one a request, to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger("pixelwise.server")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for parser in ("tifffile", "python_multipart"):
        logging.getLogger(parser).setLevel(logging.CRITICAL)  # a refused upload has one line, ours


def print_serving(console: Console, served: Sequence["ServedModel"], settings: "Settings", url: str) -> None:
    """What is served, where, and what happens to corrections."""
    for model in served:
        names = model.segmenter.labels.names
        shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        console.print(f"{model.name}: {shown}", markup=False, soft_wrap=True)
    kept = "are not saved (--read-only)" if settings.read_only else f"go to {settings.corrections}/"
    console.print(f"Corrections {kept}.", markup=False, soft_wrap=True)
    if not settings.local and settings.token is None:
        console.print("Anyone who reaches this machine can use it; --token asks for one.", soft_wrap=True)
    console.print(f"Open {url}/ – Ctrl-C ends.", markup=False, soft_wrap=True)
