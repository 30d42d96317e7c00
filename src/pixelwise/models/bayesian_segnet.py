"""Bayesian SegNet: SegNet with dropout that is also sampled in testing, which tells how uncertain each pixel is.

Kendall, Badrinarayanan, Cipolla: Bayesian SegNet, BMVC 2017 (arXiv 1511.02680). Reference code:
alexgkendall/SegNet-Tutorial, `Models/bayesian_segnet_train.prototxt`, `bayesian_segnet_basic_train.prototxt`,
`Example_Models/bayesian_segnet_{camvid,sun,pascal}.prototxt`, `Scripts/test_bayesian_segnet.py`. No ResNet. Pictures
are BGR, 0–255, nothing subtracted.

The network itself, in evaluation, averages the weights (dropout is off); `monte_carlo` averages samples.

**Differences:**
- those of `segnet`; the shifts of batch norms start at 0, but at 0.001 in the basic form, as in the prototxts.
- a dropout is named after the layer it follows; the prototxts say `encdrop3`, `decdrop3`, `upsample4_drop` as well.
- the release draws the samples of a picture as one batch, 4 or 8 of them; here they are drawn one after the other.
- the release's files for CamVid and Pascal name another initialization ("xavier"), but they are for testing only.
- the paper itself was not consulted, only its files; its scores are UNVERIFIED.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from pixelwise.errors import BadOption
from pixelwise.layers.channels import check_channels, check_count
from pixelwise.models.paper import Paper
from pixelwise.models.segnet import SegNet, basic_segnet, vgg16_segnet

PAPER = Paper(
    "Kendall, Badrinarayanan, Cipolla",
    "Bayesian SegNet: Model Uncertainty in Deep Convolutional Encoder-Decoder Architectures for Scene Understanding",
    2015,
    "arXiv 1511.02680",
)

# the layers that dropout follows
CENTER = ("pool3", "pool4", "pool5", "conv5_1_D", "conv4_1_D", "conv3_1_D")
EVERY_BLOCK = (
    *("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3", "pool5"),
    *("conv5_1_D", "conv4_1_D", "conv3_1_D", "conv2_1_D"),
)
Release = Literal["tutorial", "camvid", "pascal", "basic"]

CENTER_OF_BASIC = ("pool3", "pool4", "conv_decode4", "conv_decode3")


class Samples(NamedTuple):
    """What Monte-Carlo dropout gives.

    Attributes:
        probabilities: (N, K, H, W), the samples' mean.
        uncertainty: (N, H, W), the samples' variance, averaged over the classes.
    """

    probabilities: Tensor
    uncertainty: Tensor


@torch.no_grad()
def monte_carlo(network: nn.Module, images: Tensor, *, samples: int, seed: int = 0) -> Samples:
    """The mean of the softmax over samples of the dropouts and its variance: (N, C, H, W) → `Samples`.

    p = 1/T Σ softmax(f(x; dropout t)), u = 1/K Σₖ 1/T Σ (pₜₖ − pₖ)². Batch norms use their running statistics. The
    same seed gives the same samples on the same machine, whatever was drawn before; the network's mode and the random
    states of the CPU and of all GPUs stay as they are. Memory does not grow with the samples.

    Args:
        network: any with `nn.Dropout`s.
        samples: T; 4 (8 for the basic form and Pascal) in the release.

    Raises:
        BadOption: the samples are not a whole number from 1 up.
    """
    check_count("samples", samples)
    devices = range(torch.cuda.device_count())  # manual_seed seeds them all
    with _sampling(network), torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        mean = network(images).softmax(1)
        squares = torch.zeros_like(mean)
        for count in range(2, samples + 1):  # Welford's running variance: no difference of large numbers
            sample = network(images).softmax(1)
            before = sample - mean
            mean += before / count
            squares += before * (sample - mean)
    return Samples(mean, (squares / samples).mean(1))


@contextmanager
def _sampling(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    try:
        network.eval()
        for module in modes:
            if isinstance(module, nn.Dropout):
                module.train()
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def bayesian_segnet(
    *, num_classes: int, in_channels: int = 3, width: float = 1.0, release: Release = "tutorial"
) -> SegNet:
    """Bayesian SegNet; 29 449 355 parameters for 11 classes.

    Args:
        width: times VGG-16's channels (the 64 of SegNet-Basic).
        release: which of the released networks: "tutorial" (the one of the tutorial's training, and of SUN RGB-D) has
            six dropouts, after pool3 to pool5 and after the decoders of those sizes; "camvid" one more layer before
            the classes (29 486 411 parameters); "pascal" a dropout before every pool and every unpooling; "basic" is
            SegNet-Basic with four (1 416 587).

    Raises:
        BadOption: a number that no network can have, or another release.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    match release:
        case "tutorial" | "camvid":
            camvid = release == "camvid"
            return vgg16_segnet(num_classes, in_channels, width, dropout=CENTER, shift=0, camvid=camvid)
        case "pascal":
            return vgg16_segnet(num_classes, in_channels, width, dropout=EVERY_BLOCK, shift=0)
        case "basic":
            name = "dense_softmax_inner_prod"
            return basic_segnet(num_classes, in_channels, width, dropout=CENTER_OF_BASIC, classifier=name)
    raise BadOption(f"release must be 'tutorial', 'camvid', 'pascal' or 'basic', got {release!r}")
