"""The trial of a dense CRF: planned before the first step, done behind the best network, kept only where it helps.

Settings are searched on a few validation pictures, in a grid that is much smaller than that of `pixelwise tune-crf`.
It helps where the 95 % interval of the gain in mean IoU lies above 0; the gain is cross-validated, so that no picture
is measured with settings that were chosen on it.
"""

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.crf.parameters import CRFParameters
from pixelwise.data.batch import MemoryDataset
from pixelwise.data.folder import PairDataset
from pixelwise.data.sample import Dataset, spread
from pixelwise.errors import BadOption, PixelwiseError
from pixelwise.flow.events import CRFTried, Progressed, Tell
from pixelwise.flow.machine import this_machine
from pixelwise.flow.plan import Plan
from pixelwise.inference.crf_search import LEAST_PICTURES, TRIAL_GRID, search_crf
from pixelwise.inference.refine import Refinement, refine
from pixelwise.models import takes_levels
from pixelwise.segmenter import Segmenter

SHARE = 0.05  # of the time that is left when training is planned
MOST_PICTURES = 100  # as many as DeepLab's search took
BY_STEPS = 20  # pictures where steps were asked for, and nothing is timed
LEAST_SECONDS = 60  # left, from which it is timed: numba compiles it once on a machine, for 5 to 15 s
OVERHEAD = 1.6  # of a measured setting over its CRF: scores are enlarged and labels counted, too
MEASURED = 20  # pictures whose sizes count
SIDE = 512  # pixels of a picture's middle that is timed
SETTINGS = len(TRIAL_GRID.settings)
PART = "validation"  # in the origin of a CRF that a trial made


@dataclass(frozen=True)
class Trial:
    """What is planned.

    Attributes:
        pictures: of the validation part; 0 where it is not tried.
        reason: why so many, or why not.
        seconds: that it takes in all, as far as anything was timed.
        a_picture: seconds of one dense CRF.
    """

    pictures: int
    reason: str
    seconds: float = 0.0
    a_picture: float = 0.0


def check_asked(asked: object) -> None:
    """Refuse a wrong `crf_pictures`.

    Raises:
        BadOption: it is neither 0 nor a whole number that is large enough.
    """
    if isinstance(asked, bool) or not isinstance(asked, int) or not (asked == 0 or asked >= LEAST_PICTURES):
        raise BadOption(
            f"crf_pictures is a number of validation pictures, at least {LEAST_PICTURES}, or 0 to leave the dense "
            f"CRF out, got {asked!r}"
        )


def plan_trial(
    validation: Dataset,
    num_classes: int,
    model: str,
    *,
    by_folder: bool = False,
    asked: int | None = None,
    seconds_left: float | None = None,
    prediction: float = 0.0,
    threads: int | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Trial:
    """On how many validation pictures the dense CRF is tried after training.

    Args:
        asked: so many, or all there are.
        seconds_left: of the budget; None where steps were asked for, and then nothing is timed.
        prediction: seconds of a picture through the network alone.
    """
    if asked == 0:
        return Trial(0, "not tried, as you set it")
    count = len(validation)
    none = _impossible(count, num_classes, model, by_folder)
    if none:
        return Trial(0, f"not tried: {none}")
    how = f"the best of {SETTINGS} settings behind the best network, kept only where it helps"
    if seconds_left is None:
        pictures = min(asked or BY_STEPS, count)
        return Trial(pictures, "as you set it" if asked else f"tried after training: {how}")
    if not asked and seconds_left < LEAST_SECONDS:
        return Trial(0, "not tried: there is less than a minute; `pixelwise tune-crf` tries it")
    progress("timing the dense CRF", 0, 1)
    affordable = SHARE * seconds_left
    try:
        images = [validation[index].image for index in spread(count, MEASURED)]
        pixels = float(np.mean([math.prod(image.shape[:2]) for image in images]))
        limit = affordable / LEAST_PICTURES
        a_picture = _time(images[len(images) // 2], pixels, num_classes, threads, limit)
    except PixelwiseError as error:  # colors of an unusual range
        return Trial(0, f"not tried: {error}")
    progress("timing the dense CRF", 1, 1)
    each = prediction + SETTINGS * OVERHEAD * a_picture
    pictures = min(asked or min(int(affordable / each), MOST_PICTURES), count)
    if pictures < LEAST_PICTURES:
        return Trial(
            0,
            f"not tried: a picture takes {each:.2g} s, so that fewer than {LEAST_PICTURES} fit into {SHARE:.0%} of "
            "the time; `pixelwise tune-crf` tries it",
        )
    seconds = pictures * each
    takes = f"about {math.ceil(seconds)} s"
    return Trial(
        pictures, f"as you set it; {takes}" if asked else f"tried after training, {takes}: {how}", seconds, a_picture
    )


def _impossible(count: int, num_classes: int, model: str, by_folder: bool) -> str:
    """Why it cannot be tried; nothing where it can."""
    if by_folder:
        return "only folders told the classes, and nothing tells where in a picture one ends"
    if num_classes < 2:
        return "there is one class"
    if takes_levels(model):
        return "this network ends in one"
    if count < LEAST_PICTURES:
        pictures = f"{count} validation picture{'s are' if count != 1 else ' is'}"
        return f"{pictures} too few to tell whether it helps, {LEAST_PICTURES} are needed"
    return ""


def _time(image: NDArray[Any], pixels: float, num_classes: int, threads: int | None, limit: float) -> float:
    """Seconds of a dense CRF on a picture, compiled; the mean over the settings, of which smaller widths take longer.

    Args:
        pixels: of a picture, in the mean; `image` is one of them.
        limit: seconds of all settings, from which no more are timed.
    """
    top, left = (max((length - SIDE) // 2, 0) for length in image.shape[:2])
    middle = image[top : top + SIDE, left : left + SIDE]
    scale = pixels / math.prod(middle.shape[:2])
    even = np.full((num_classes, *middle.shape[:2]), 1 / num_classes, np.float32)

    def seconds(setting: CRFParameters, part: slice) -> float:
        began = time.perf_counter()
        refine(even[:, part, part], middle[part, part], Refinement(setting), threads=threads)
        return scale * (time.perf_counter() - began)

    seconds(TRIAL_GRID.settings[-1], slice(SIDE // 2))  # compiles
    times: list[float] = []
    for setting in TRIAL_GRID.settings:
        times.append(seconds(setting, slice(None)))
        if sum(times) > limit:
            break
    return sum(times) / len(times)


def is_of_trial(refinement: Refinement) -> bool:
    """Whether a run's own trial made it; `pixelwise tune-crf` calls a part as the folder does, and never so."""
    return bool(re.match(rf"tuned on \d+ pictures? of {PART}: ", refinement.origin))


class _Interrupted(Exception):
    """Someone waits for the end."""


def try_crf(
    best: Segmenter,
    validation: MemoryDataset | PairDataset,
    plan: Plan,
    tell: Tell,
    interrupted: Callable[[], bool],
) -> CRFTried:
    """Search the CRF's settings as planned, and put it behind the segmenter where it helps.

    A picture that the CRF cannot work on ends the trial, not the run.
    """

    def progress(done: int, total: int) -> None:
        tell(Progressed("trying the dense CRF", done, total))
        if interrupted():
            raise _Interrupted

    data = validation.subset(spread(len(validation), plan.crf_pictures))
    try:
        search = search_crf(
            best.engine(),
            best.normalization,
            data,
            pictures=len(data),
            grid=TRIAL_GRID,
            refine_rounds=0,
            threads=plan.recipe.threads,
            memory_bytes=this_machine().memory_bytes // 4,
            progress=progress,
        )
    except _Interrupted:
        tried = CRFTried(None, "it was interrupted; --resume tries it again")
    except PixelwiseError as error:
        tried = CRFTried(None, str(error))
    else:
        tried = CRFTried(search)
        if search.helped:
            best.refinement = search.refinement(PART)
    tell(tried)
    return tried
