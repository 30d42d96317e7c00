"""The kernel of the deconvolutions that released files hold and that nobody trained: bilinear upsampling."""

import torch
from torch import Tensor

TOLERANCE = 1e-5  # of a tap


def bilinear_kernel(shape: torch.Size | tuple[int, ...], device: torch.device | None = None) -> Tensor:
    """The kernel (in, out/groups, h, w) that upsamples each channel by itself, bilinear.

    Along a side of k taps, with f = ⌊(k + 1)/2⌋, tap i is 1 − |i/f − (k − 1)/(2f)|; other channels' taps are 0.

    Source: Long et al. 2015, `surgery.py`; spec, networks 2014–2016, §1.5.

    >>> bilinear_kernel((1, 1, 4, 4))[0, 0, 1]
    tensor([0.1875, 0.5625, 0.5625, 0.1875])
    """
    sides = []
    for taps in shape[2:]:
        factor = (taps + 1) // 2
        places = torch.arange(taps, dtype=torch.float64, device=device)
        sides.append(1 - (places / factor - (taps - 1) / (2 * factor)).abs())
    window = (sides[0][:, None] * sides[1]).float()
    kernel = torch.zeros(shape, device=device)
    if shape[1] == 1:  # each channel is a group
        kernel[:, 0] = window
    else:
        kernel.diagonal().copy_(window[:, :, None])  # the diagonal of (in, out) comes last
    return kernel


def is_near(tensor: Tensor, wanted: Tensor) -> bool:
    """Whether two kernels of one shape are equal to 1e-5 in every tap; always on the meta device."""
    if tensor.is_meta or wanted.is_meta:
        return True
    return bool((tensor.float() - wanted.to(tensor.device)).abs().max() <= TOLERANCE)
