"""Convolution, batch normalization, ReLU: the block that U-Net, PSPNet, DeepLab v3 and torchvision share unchanged."""

from torch import nn

from pixelwise.layers.small_batch import BatchNorm2d


def conv_bn_relu(in_channels: int, out_channels: int, kernel: int, *, dilation: int = 1) -> list[nn.Module]:
    """A convolution without bias that keeps the size, (N, C, H, W) → (N, C′, H, W), its batch norm and ReLU.

    Args:
        kernel: odd, so that padding can keep the size.

    >>> [type(module).__name__ for module in conv_bn_relu(3, 8, 3)]
    ['Conv2d', 'BatchNorm2d', 'ReLU']
    """
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=False)
    return [conv, BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
