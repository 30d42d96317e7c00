"""What a linear layer becomes when it is slid: a convolution with many weights for few places."""

import torch.nn.functional as F
from torch import Tensor, nn


class MatrixConv2d(nn.Conv2d):
    """`torch.nn.Conv2d`, computed as a matrix product where it has more filters than places, on a CPU.

    Torch's convolution there rearranges all its weights at each call, which for AlexNet's fc6 takes longer than the
    multiplications. The windows of all places, side by side, are then no more numbers than the weights.
    """

    def forward(self, values: Tensor) -> Tensor:
        """(N, C, H, W) → (N, O, h, w)."""
        if isinstance(self.padding, str) or self.groups > 1 or self.padding_mode != "zeros":
            return super().forward(values)
        rows, columns = (
            (side + 2 * border - step * (taps - 1) - 1) // stride + 1
            for side, border, step, taps, stride in zip(
                values.shape[-2:], self.padding, self.dilation, self.kernel_size, self.stride, strict=True
            )
        )
        if not 0 < len(values) * rows * columns <= self.out_channels or min(rows, columns) < 1 or not _on_cpu(values):
            return super().forward(values)
        windows = F.unfold(values, self.kernel_size, self.dilation, self.padding, self.stride)  # (N, C·taps, places)
        scores = F.linear(windows.transpose(1, 2), self.weight.flatten(1), self.bias)
        return scores.transpose(1, 2).reshape(len(values), -1, rows, columns).contiguous()


def _on_cpu(values: Tensor) -> bool:
    return values.device.type == "cpu" and values.ndim == 4
