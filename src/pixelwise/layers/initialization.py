"""Initial weights that several papers share."""

from typing import Literal

from torch import nn


def he_initialize(network: nn.Module, mode: Literal["fan_in", "fan_out"] = "fan_in") -> None:
    """Set all convolutions and fully connected layers to Gaussians of deviation √(2/fan), biases to 0.

    He, Zhang, Ren, Sun: Delving Deep into Rectifiers, ICCV 2015; "fan_in" is Caffe's "msra", "fan_out" torchvision's.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
