"""Changes of a network that keep its weights; works on any module of torch and knows none of ours."""

from pixelwise.surgery.dilation import set_multi_grid, set_output_stride
from pixelwise.surgery.receptive_field import ReceptiveField, receptive_field

__all__ = ["set_output_stride", "set_multi_grid", "receptive_field", "ReceptiveField"]
