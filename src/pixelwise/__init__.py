"""pixelwise: semantic segmentation in Python, for people.

    import pixelwise as pw
    pw.fit("cells/", out="runs/cells", minutes=10)
    segmenter = pw.load("runs/cells/model.safetensors")
    prediction = segmenter.predict("new.jpg")

The public names below are loaded when first used, so that `import pixelwise` is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

from pixelwise.version import VERSION as __version__

if TYPE_CHECKING:
    from pixelwise.data import list_datasets as list_datasets
    from pixelwise.data import open_dataset as open_dataset
    from pixelwise.errors import PixelwiseError as PixelwiseError
    from pixelwise.flow.doctor import understand as understand
    from pixelwise.flow.export import Exported as Exported
    from pixelwise.flow.export import export as export
    from pixelwise.flow.fit import FitResult as FitResult
    from pixelwise.flow.fit import fit as fit
    from pixelwise.inference.prediction import Prediction as Prediction
    from pixelwise.labels import LabelSet as LabelSet
    from pixelwise.metrics import ConfusionMatrix as ConfusionMatrix
    from pixelwise.metrics import Scores as Scores
    from pixelwise.models import build as build
    from pixelwise.models import list_models as list_models
    from pixelwise.recipes import list_recipes as list_recipes
    from pixelwise.report.page import write_report as write_report
    from pixelwise.segmenter import Segmenter as Segmenter
    from pixelwise.segmenter import evaluate as evaluate
    from pixelwise.server.client import Client as Client
    from pixelwise.weights.catalogue import list_weights as list_weights
    from pixelwise.weights.opening import load as load

_HOME = {
    "fit": "pixelwise.flow.fit",
    "FitResult": "pixelwise.flow.fit",
    "load": "pixelwise.weights.opening",
    "Segmenter": "pixelwise.segmenter",
    "Prediction": "pixelwise.inference.prediction",
    "evaluate": "pixelwise.segmenter",
    "export": "pixelwise.flow.export",
    "Exported": "pixelwise.flow.export",
    "Client": "pixelwise.server.client",
    "build": "pixelwise.models",
    "list_models": "pixelwise.models",
    "open_dataset": "pixelwise.data",
    "list_datasets": "pixelwise.data",
    "list_weights": "pixelwise.weights.catalogue",
    "list_recipes": "pixelwise.recipes",
    "understand": "pixelwise.flow.doctor",
    "write_report": "pixelwise.report.page",
    "ConfusionMatrix": "pixelwise.metrics",
    "Scores": "pixelwise.metrics",
    "LabelSet": "pixelwise.labels",
    "PixelwiseError": "pixelwise.errors",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pixelwise' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
