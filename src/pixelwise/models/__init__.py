"""The networks: one file a paper, one line each in `MODELS`.

Every network is a `torch.nn.Module` with
- `heads(images)`, a dict of `Head`, the prediction first;
- `forward(images)`, (N, C, H, W) → (N, K, H, W) float32, for every H and W from 1 up, every N, and both modes.
"""

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from pixelwise.errors import BadOption, unknown_name
from pixelwise.models.deeplab_v3 import DeepLabV3, deeplab_v3_resnet50, deeplab_v3_resnet101
from pixelwise.models.fcn import FCN8s, FCN16s, FCN32s, fcn8s_vgg16, fcn16s_vgg16, fcn32s_vgg16
from pixelwise.models.segnet import SegNetBasic, segnet_basic
from pixelwise.models.unet import UNet, unet

Network = FCN32s | FCN16s | FCN8s | UNet | SegNetBasic | DeepLabV3  # for annotations; there is no base class

MODELS: dict[str, Callable[..., Network]] = {
    # 2015
    "fcn32s_vgg16": fcn32s_vgg16,
    "fcn16s_vgg16": fcn16s_vgg16,
    "fcn8s_vgg16": fcn8s_vgg16,
    "unet": unet,
    "segnet_basic": segnet_basic,
    # 2017
    "deeplab_v3_resnet50": deeplab_v3_resnet50,
    "deeplab_v3_resnet101": deeplab_v3_resnet101,
}


def list_models() -> list[str]:
    """The names that `build` takes, oldest first."""
    return list(MODELS)


def build(name: str, **options: Any) -> Network:
    """A new network by name, with its paper's initialization.

    Args:
        name: a key of `MODELS`.
        options: what the builder of that name takes: `num_classes`, `in_channels`, `width`, and its own.

    Raises:
        UnknownName: there is no such model; names the nearest.
        BadOption: the builder does not take an option, misses one, or refuses its value.

    >>> sum(p.numel() for p in build("unet", num_classes=2, width=0.25).parameters())
    1942594
    """
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    builder = MODELS[name]
    signature = inspect.signature(builder)
    shown = str(signature).rpartition(" -> ")[0]
    for option in options:
        if option not in signature.parameters:
            near = difflib.get_close_matches(option, signature.parameters, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise BadOption(f"{name} has no option {option!r}{hint} It takes {shown}")
    try:
        signature.bind(**options)
    except TypeError as error:
        raise BadOption(f"{name}: {error}. It takes {shown}") from None
    return builder(**options)
