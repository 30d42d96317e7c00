"""Changes of a network that keep its weights; works on any module of torch and knows none of ours."""

from pixelwise.surgery.classifier import replace_classifier
from pixelwise.surgery.convolutional import convolutionalize
from pixelwise.surgery.dilation import set_multi_grid, set_output_stride
from pixelwise.surgery.receptive_field import ReceptiveField, receptive_field
from pixelwise.surgery.shift_and_stitch import shift_and_stitch
from pixelwise.surgery.transplant import Transplant, transplant

__all__ = [
    "convolutionalize",
    "set_output_stride",
    "set_multi_grid",
    "shift_and_stitch",
    "replace_classifier",
    "receptive_field",
    "ReceptiveField",
    "transplant",
    "Transplant",
]
