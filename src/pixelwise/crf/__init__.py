"""Dense conditional random fields: mean field with Gaussian edges.

    from pixelwise.crf import CRFParameters, dense_crf
    marginals = dense_crf(probabilities, image, CRFParameters(bilateral_sigma_color=5), steps=10)

`reference.py` defines what is computed. The public names below are loaded when first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pixelwise.crf.dense import dense_crf as dense_crf
    from pixelwise.crf.edge_filter import DomainTransform as DomainTransform
    from pixelwise.crf.edge_filter import domain_transform as domain_transform
    from pixelwise.crf.lattice import Lattice as Lattice
    from pixelwise.crf.mean_field import MeanField as MeanField
    from pixelwise.crf.model import DenseCRF as DenseCRF
    from pixelwise.crf.parameters import PRESETS as PRESETS
    from pixelwise.crf.parameters import CRFParameters as CRFParameters

_HOME = {
    "dense_crf": "pixelwise.crf.dense",
    "DenseCRF": "pixelwise.crf.model",
    "CRFParameters": "pixelwise.crf.parameters",
    "PRESETS": "pixelwise.crf.parameters",
    "Lattice": "pixelwise.crf.lattice",
    "MeanField": "pixelwise.crf.mean_field",
    "domain_transform": "pixelwise.crf.edge_filter",
    "DomainTransform": "pixelwise.crf.edge_filter",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pixelwise.crf' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value
