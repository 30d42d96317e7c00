"""SegNet's released Caffe files, and what its training leaves behind.

Its fork's batch norm has a scale and a shift, and no statistics: in training it takes those of each batch. Before a net
is used, the authors' `compute_bn_statistics.py` takes them over the training set and folds them in, so that in testing
y = scale·x + shift (spec, networks 2014–2016, §3.4). All published files (`Example_Models`) and those of the
`…_inference` prototxts are of this kind: here they come with mean 0 and variance 1.

What is left by training itself (`…_iter_40000.caffemodel`) is not usable alone: the means and variances, which the
formats that end in `_training` ask for, are nowhere in it. With `partial=True` the rest is taken, and one pass over the
training set gives them (`torch.optim.swa_utils.update_bn`, whose variance is the unbiased one). Both kinds have the
same layers and shapes. What tells them apart is how large the first batch norm's output is (`doubt_of_statistics`): an
import of a file as training left it says so in one line.

| format                         | file                                     | our network                         |
| ------------------------------ | ---------------------------------------- | ----------------------------------- |
| `segnet_camvid`                | the tutorial's segnet (11 classes)       | `segnet`                            |
| `segnet`                       | segnet_pascal (21), _sun (38), driving   | `segnet`                            |
| `segnet_basic_camvid`          | segnet_basic_camvid                      | `segnet_basic`                      |
| `bayesian_segnet`              | the tutorial's, bayesian_segnet_sun (38) | `bayesian_segnet`                   |
| `bayesian_segnet_camvid`       | bayesian_segnet_camvid                   | `bayesian_segnet(release="camvid")` |
| `bayesian_segnet_pascal`       | bayesian_segnet_pascal (21)              | `bayesian_segnet(release="pascal")` |
| `bayesian_segnet_basic_camvid` | bayesian_segnet_basic_camvid             | `bayesian_segnet(release="basic")`  |

Pictures are BGR, 0–255, nothing subtracted (§3.2). SegNet-Basic's last layer is `conv_classifier` in training and
`dense_softmax_inner_prod` in the published file.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pixelwise.caffe.bn_doubt import drawn_picture, stray
from pixelwise.weights.fcn_formats import less
from pixelwise.weights.formats import Tensors, WeightFormat, by_leaf, filters_of, no_doubt

SPEC = "networks-2014-2016 §3"
FOLDED = ", the statistics of the batch norms in their scales and shifts"
BASIC_CLASSIFIERS = ("conv_classifier", "dense_softmax_inner_prod")


def with_statistics(tensors: Tensors) -> Tensors:
    """Mean 0 and variance 1 for each batch norm whose statistics are in its scale and shift."""
    whole = dict(tensors)
    for name, scale in tensors.items():
        norm, _, part = name.rpartition(".")
        if norm.endswith("_bn") and part == "weight" and f"{norm}.running_mean" not in tensors:
            whole |= {f"{norm}.running_mean": torch.zeros_like(scale), f"{norm}.running_var": torch.ones_like(scale)}
    return whole


def folded_statistics(tensors: Tensors) -> Tensors:
    """The inverse, for any statistics: scale γ/√(Var + 1e-9), shift β − γ·E/√(Var + 1e-9) (§3.4)."""
    folded = {}
    for name, tensor in tensors.items():
        norm, _, part = name.rpartition(".")
        if f"{norm}.running_var" not in tensors:
            folded[name] = tensor
        elif part in ("weight", "bias"):
            scale = tensors[f"{norm}.weight"] / (tensors[f"{norm}.running_var"] + 1e-9).sqrt()
            shift = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale
            folded[name] = scale if part == "weight" else shift
    return folded


def doubt_of_statistics(network: nn.Module) -> str:
    """Whether the first batch norm gives, for a drawn picture of levels 0–255, what none with statistics does."""
    name, norm = next((name, part) for name, part in network.named_modules() if isinstance(part, nn.BatchNorm2d))
    parameter = next(network.parameters())
    if parameter.is_meta:
        return ""
    found: list[Tensor] = []
    hook = norm.register_forward_hook(lambda module, given, top: found.append(top))
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(drawn_picture(3, 64, 64).to(parameter.device))
    finally:
        hook.remove()
        network.train(training)
    return stray(name, found[0])


def renamed_classifier(to: str) -> Callable[[Tensors], Tensors]:
    """SegNet-Basic's last layer by the name that our network has for it."""

    def rename(tensors: Tensors) -> Tensors:
        renamed = {}
        for name, tensor in tensors.items():
            layer, _, part = name.rpartition(".")
            renamed[f"{to if layer in BASIC_CLASSIFIERS else layer}.{part}"] = tensor
        return renamed

    return rename


def _format(
    name: str,
    model: str,
    source: str,
    *,
    score: str = "conv1_1_D",
    release: str = "",
    labels: str | None = None,
    folded: bool = True,
) -> WeightFormat:
    """A format of files with statistics folded in, or of what training leaves behind.

    Args:
        score: the last layer, in our network.
    """
    rename = renamed_classifier(score) if score in BASIC_CLASSIFIERS else dict

    def prepare(tensors: Tensors) -> Tensors:
        return with_statistics(rename(tensors)) if folded else rename(tensors)

    def options(tensors: Tensors) -> dict[str, Any]:
        return {"num_classes": filters_of(tensors, score)} | ({"release": release} if release else {})

    return WeightFormat(
        name,
        model,
        f"Badrinarayanan, Kendall, Cipolla, {source}{FOLDED if folded else ''}; {SPEC}",
        by_leaf(),
        prepare=prepare,
        restore=folded_statistics if folded else None,
        normalization=less(0.0, 0.0, 0.0),
        labels=labels,
        options=options,
        doubt=doubt_of_statistics if folded else no_doubt,
    )


CLASSIFIER, RELEASED_CLASSIFIER = BASIC_CLASSIFIERS
TRAINING = "as training leaves it: means and variances of the batch norms are missing"
_FORMATS = (
    _format("segnet_camvid", "segnet", "SegNet on CamVid", labels="camvid"),
    _format("segnet", "segnet", "SegNet on other data: SUN RGB-D, Pascal, driving"),
    _format("segnet_training", "segnet", f"SegNet {TRAINING}", folded=False),
    _format("segnet_basic_camvid", "segnet_basic", "SegNet-Basic on CamVid", score=CLASSIFIER, labels="camvid"),
    _format("segnet_basic_training", "segnet_basic", f"SegNet-Basic {TRAINING}", score=CLASSIFIER, folded=False),
    _format(
        "bayesian_segnet", "bayesian_segnet", "Bayesian SegNet, the tutorial's and SUN RGB-D's", release="tutorial"
    ),
    _format(
        "bayesian_segnet_training",
        "bayesian_segnet",
        f"Bayesian SegNet {TRAINING}",
        release="tutorial",
        folded=False,
    ),
    _format(
        "bayesian_segnet_camvid",
        "bayesian_segnet",
        "Bayesian SegNet on CamVid, with the layer camvid",
        score="camvid",
        release="camvid",
        labels="camvid",
    ),
    _format("bayesian_segnet_pascal", "bayesian_segnet", "Bayesian SegNet on Pascal", release="pascal"),
    _format(
        "bayesian_segnet_basic_camvid",
        "bayesian_segnet",
        "Bayesian SegNet-Basic on CamVid",
        score=RELEASED_CLASSIFIER,
        release="basic",
        labels="camvid",
    ),
    _format(
        "bayesian_segnet_basic_training",
        "bayesian_segnet",
        f"Bayesian SegNet-Basic {TRAINING}",
        score=RELEASED_CLASSIFIER,
        release="basic",
        folded=False,
    ),
)
FORMATS: dict[str, WeightFormat] = {format.name: format for format in _FORMATS}
