"""Changes of a network that keep its weights; works on any module of torch and knows none of ours."""

from pixelwise.surgery.dilation import set_multi_grid, set_output_stride

__all__ = ["set_multi_grid", "set_output_stride"]
