"""Pretrained: a network whose trunk has published ImageNet weights begins with them, where they can be had.

`TRUNKS` says which file fits which network: of the same layers, and of the same flavor of ResNet, since others would
load and give wrong features (`pixelwise.backbones.resnet`). Weights are of width 1, so the network is, too. They are
taken from the cache, or downloaded where the network answers within `SECONDS` and brings them within a share of the
fit's time; if not, the fit starts from random weights and says why, and which file to bring.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pixelwise.errors import DataError, WeightsError
from pixelwise.flow.plan import Plan
from pixelwise.weights.cache import is_to_be_had, not_here
from pixelwise.weights.catalogue import CATALOGUE, PublishedWeights
from pixelwise.weights.download import Patience, Progress
from pixelwise.weights.files import digest_of
from pixelwise.weights.opening import imported

SECONDS = 3.0  # until an address must have answered
DOWNLOAD_SHARE = 0.25  # of the fit's time, at most
JUDGED_AFTER = 5.0  # seconds of a download, from which on its length is foreseen
PATIENCE = Patience(stall=10.0, tries=2)
LEAST_VIEWS = 600  # crops that pretrained weights should see in the time, or a narrower network is trained from scratch
FLAVOR = ("width", "stride_in", "deep_stem", "stem_pool")  # options that decide which weights fit

_VGG16 = "vgg16_imagenet"
TRUNKS: dict[str, str] = {
    "fcn32s_alexnet": "alexnet_ilsvrc",
    "fcn32s_googlenet": "googlenet_ilsvrc",
    **dict.fromkeys(("fcn32s_vgg16", "fcn16s_vgg16", "fcn8s_vgg16", "fcn8s_atonce_vgg16"), _VGG16),
    **dict.fromkeys(("fcn32s_two_headed", "fcn16s_two_headed", "fcn8s_two_headed", "crfrnn_fcn8s"), _VGG16),
    **dict.fromkeys(("dilation_frontend", "dilation7", "dilation8", "dilation10"), _VGG16),
    **dict.fromkeys(("deeplab_7x7", "deeplab_4x4", "deeplab_4x4_rate8", "deeplab_largefov"), _VGG16),
    **dict.fromkeys(("deeplab_msc_largefov", "deeplab_v2_vgg16_largefov"), _VGG16),
    **dict.fromkeys(("deeplab_v2_vgg16_aspp_s", "deeplab_v2_vgg16_aspp_l"), _VGG16),
    **dict.fromkeys(("segnet", "bayesian_segnet"), _VGG16),
    **dict.fromkeys(("deeplab_v3_resnet50", "deeplab_v3_cascade_resnet50"), "resnet50_imagenet"),
    **dict.fromkeys(("torchvision_fcn_resnet50", "torchvision_deeplab_v3_resnet50"), "resnet50_imagenet"),
    **dict.fromkeys(("deeplab_v3_resnet101", "deeplab_v3_cascade_resnet101"), "resnet101_imagenet"),
    **dict.fromkeys(("torchvision_fcn_resnet101", "torchvision_deeplab_v3_resnet101"), "resnet101_imagenet"),
    **dict.fromkeys(("deeplab_v2_resnet101_largefov", "deeplab_v2_resnet101_aspp"), "resnet101_msra"),
    **{f"{network}_resnet{depth}": f"resnet{depth}_msra" for network in ("gcn", "refinenet") for depth in (50, 101)},
    **dict.fromkeys(("gcn_resnet152", "refinenet_resnet152"), "resnet152_msra"),
}
"""{network: its trunk's weights in the catalogue}."""


@dataclass(frozen=True)
class Trunk:
    """Weights for a network's trunk, or why there are none.

    Attributes:
        name: in the catalogue; "" where there are none.
        file: a model file of ours with them; None where they cannot be had.
        told: one line: what they are, or why the network starts from random weights, and what to do.
    """

    name: str
    file: Path | None
    told: str


def find_trunk(
    model: str, options: Mapping[str, Any], progress: Progress, budget_minutes: float | None = None
) -> Trunk:
    """The weights that a network's trunk begins with.

    Args:
        model: a name in MODELS.
        options: of the network, as far as they were set.
        progress: called with the bytes so far and of the whole file while it is downloaded.
        budget_minutes: of the fit; a download that would take more than `DOWNLOAD_SHARE` of it is stopped. None where
            time does not matter.
    """
    name = TRUNKS.get(model)
    if name is None:
        return Trunk("", None, f"random weights: no published ImageNet weights fit {model}")
    set_by_hand = next((key for key in FLAVOR if options.get(key, _USUAL.get(key)) != _USUAL.get(key)), None)
    if set_by_hand is not None:
        return Trunk("", None, f"random weights: {name} does not fit {model} with {set_by_hand}={options[set_by_hand]}")
    record = CATALOGUE[name]
    why = _within(SECONDS + 1, lambda: is_to_be_had(record, SECONDS))
    try:
        if why:
            raise not_here(record, why)
        if budget_minutes is not None:
            progress = _in_time(progress, record, 60 * DOWNLOAD_SHARE * budget_minutes)
        file = imported(name, patience=PATIENCE, progress=progress)
        return Trunk(name, file, f"ImageNet weights, {name} ({record.file})")
    except (DataError, WeightsError) as error:
        return Trunk(name, None, f"random weights: {error}")
    except OSError as error:
        return Trunk(name, None, f"random weights: {name} cannot be kept in the cache ({error.strerror or error})")


_USUAL: dict[str, Any] = {"width": 1, "deep_stem": False}


def _in_time(progress: Progress, record: PublishedWeights, seconds: float) -> Progress:
    """The same callback, which ends a download that would take longer."""
    began: list[tuple[float, int]] = []

    def told(done: int, total: int) -> None:
        now = time.monotonic()
        if not began:
            began.append((now, done))
        spent, come = now - began[0][0], done - began[0][1]
        needed = spent * (max(total or record.size or 0, done) - began[0][1]) / max(come, 1)
        if spent > min(JUDGED_AFTER, seconds) and needed > seconds:
            raise DataError(
                f"{record.file} would take about {max(1, round(needed / 60))} min to download, more than "
                f"{DOWNLOAD_SHARE:.0%} of the time; what came is kept, and the next fit goes on with it"
            )
        progress(done, total)

    return told


def too_slow(trunk: Trunk, views: int) -> Trunk:
    """The same trunk, left out: at full width the network would hardly see a picture in the time."""
    return Trunk(
        trunk.name,
        None,
        f"random weights: {trunk.name} has full width, at which the time is enough for {views} crops only, and "
        f"{LEAST_VIEWS} are wanted; give more --minutes, or --set model_options.width=1",
    )


def with_trunk(plan: Plan, trunk: Trunk) -> Plan:
    """The plan with where its first weights are from: name, file and checksum, or why there are none."""
    if trunk.file is None:
        return replace(plan, reasons=plan.reasons | {"start": trunk.told})
    taken = plan.reasons["start"].partition(": ")[2]
    made_of = {"name": trunk.name, "file": CATALOGUE[trunk.name].file, "sha256": digest_of(trunk.file)}
    return replace(
        plan, reasons=plan.reasons | {"start": f"{trunk.told}: {taken}"}, data=plan.data | {"pretrained": made_of}
    )


def _within(seconds: float, ask: Callable[[], str]) -> str:
    """What a question is answered with; the system's search for a host's address takes no limit of its own."""
    answer: list[str] = []
    thread = threading.Thread(target=lambda: answer.append(ask()), daemon=True)
    thread.start()
    thread.join(seconds)
    return answer[0] if answer else f"nothing answered within {seconds:g} s"
