"""timm's classifiers, for `pixelwise.surgery`. An extra, `pip install "pixelwise[timm]"`; nothing else here needs it.

`timm_classifier` gives a classifier with its normalization and the size of its pictures. With `pixelwise.surgery` it
gets other classes (`replace_classifier`), is slid over larger pictures (`convolutionalize`), or is made denser
(`set_output_stride`); `TimmTrunk` is the part before its pool, the backbone of a network of one's own.

Not all architectures can be slid or made denser: squeeze-and-excitation (MobileNet v3, EfficientNet, RegNet-Y) averages
over the whole picture in each block, transformers give tokens instead of maps. Surgery refuses them by the layer's
name. ResNets, VGG, DenseNet, ConvNeXt, MobileNet v2 and RegNet-X can.
"""

import importlib
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pixelwise.errors import BadOption, ShapeError, WeightsError, unknown_name
from pixelwise.layers.normalization import Normalization


class TimmClassifier(NamedTuple):
    """A classifier and what its pictures must be.

    Attributes:
        network: (N, 3, H, W) → (N, K) logits, in evaluation mode.
        normalization: of RGB pictures.
        input_size: (height, width) that it was trained on.
    """

    network: nn.Module
    normalization: Normalization
    input_size: tuple[int, int]


class TimmTrunk(nn.Module):
    """The part of a timm classifier before its pool: (N, 3, H, W) → the last map (N, C, h, w).

    Args:
        network: as `timm_classifier` gives it.

    Attributes:
        channels: C.

    Raises:
        BadOption: the network is not timm's.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        if not callable(getattr(network, "forward_features", None)):
            raise BadOption(f"{type(network).__name__} has no forward_features; pass a classifier of timm")
        self.network = network
        self.channels = int(network.num_features)  # type: ignore[arg-type]  # an int in all of timm's classifiers

    def forward(self, images: Tensor) -> Tensor:
        """The map.

        Raises:
            ShapeError: the network gives no map of channels, rows and columns.
        """
        features: Tensor = self.network.forward_features(images)  # type: ignore[operator]  # checked above
        if features.dim() != 4 or features.shape[1] != self.channels:
            raise ShapeError(
                f"{type(self.network).__name__} gives features {tuple(features.shape)}; expected a map (N, "
                f"{self.channels}, h, w), as convolutional networks give it"
            )
        return features


def timm_classifier(name: str, *, pretrained: bool = True, **options: Any) -> TimmClassifier:
    """A classifier of timm by name, "resnet18" or with the tag of its weights, "resnet18.a1_in1k".

    Args:
        pretrained: with its published weights, which timm downloads from the Hugging Face hub, or has in its cache.
        options: of `timm.create_model`: `num_classes`, `checkpoint_path`.

    Raises:
        BadOption: timm is not installed, or not importable beside this torch, or takes no such option.
        UnknownName: timm has no such model.
        WeightsError: its weights cannot be had.
    """
    timm = _timm()
    if not timm.is_model(name.partition(".")[0]):
        raise unknown_name("timm model", name, timm.list_models())
    try:
        network = timm.create_model(name, pretrained=pretrained, **options)
    except TypeError as error:
        raise BadOption(f"{name}: {error}") from error
    except (OSError, RuntimeError, ImportError) as error:
        if not pretrained:
            raise
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"the weights of timm's {name} cannot be had ({reason}); give pretrained=False, or a file that you have as "
            "checkpoint_path"
        ) from error
    config = network.pretrained_cfg
    mean, deviation = (tuple(255 * float(v) for v in config[key]) for key in ("mean", "std"))
    _, height, width = config["input_size"]
    return TimmClassifier(network.eval(), Normalization(mean, deviation), (height, width))


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        if error.name != "timm":
            raise BadOption(f"timm cannot be imported ({error}); install what it lacks") from error
        raise BadOption('timm is not installed; install it with: pip install "pixelwise[timm]"') from error
    except RuntimeError as error:  # torchvision, which timm imports, was built for another torch
        raise BadOption(
            f"timm imports torchvision, which does not fit torch {torch.__version__} ({error}); install the "
            "torchvision that was built for it"
        ) from error
