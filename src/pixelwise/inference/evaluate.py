"""Evaluate: a network against the masks of a data set, at the masks' own size, in one confusion matrix."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from pixelwise.data.sample import Dataset
from pixelwise.errors import DataError
from pixelwise.inference.predict import Precision, predict_image
from pixelwise.inference.refine import Refinement
from pixelwise.layers.normalization import Normalization
from pixelwise.metrics import ConfusionMatrix, Scores, mean_iou_of_picture


@dataclass(frozen=True)
class PictureScore:
    """How one picture of an evaluation went.

    Attributes:
        mean_iou: over the classes that are in the picture or predicted in it; for ranking, not the set's score.
    """

    index: int
    name: str
    mean_iou: float


@dataclass(frozen=True)
class Evaluation:
    """Scores of a whole set, how each picture did, and the time per million pixels in seconds.

    Attributes:
        note: what else the protocol has to say, as which classes do not count.
        refinement: the CRF behind the network.
    """

    scores: Scores
    pictures: tuple[PictureScore, ...]
    seconds_per_megapixel: float
    flip: bool = False
    note: str = ""
    refinement: Refinement | None = None

    @property
    def protocol(self) -> str:
        """What the numbers mean, in one sentence."""
        mirrored = "; probabilities are averaged with those of the mirrored pictures" if self.flip else ""
        refined = f"; labels are those of {self.refinement.describe()}" if self.refinement is not None else ""
        return (
            f"one confusion matrix over {len(self.pictures)} pictures at the masks' own sizes; void pixels are not "
            "counted; a class that is in neither masks nor predictions is left out of the means"
            + mirrored
            + refined
            + (f"; {self.note}" if self.note else "")
        )


def evaluate_network(
    network: nn.Module,
    normalization: Normalization,
    dataset: Dataset,
    *,
    precision: Precision = "fp32",
    flip: bool = False,
    refinement: Refinement | None = None,
    progress: Callable[[int, int], None] | None = None,
    rank_pictures: bool = True,
) -> Evaluation:
    """Predict every picture of a data set and count it against its mask.

    Args:
        network: in evaluation mode.
        refinement: a CRF behind the network.
        progress: called with (done, all) after each picture.
        rank_pictures: give each picture's own mean IoU, too.

    Raises:
        DataError: the data set is empty or has no masks.
    """
    if len(dataset) == 0:
        raise DataError("there is nothing to evaluate on: the data set has no pictures")
    labels = dataset.labels["labels"]
    matrix = ConfusionMatrix(labels.num_classes, void=labels.void, names=labels.names)
    pictures = []
    seconds = 0.0
    pixels = 0
    for index in range(len(dataset)):
        sample = dataset[index]
        target = sample.targets.get("labels")
        if target is None:
            raise DataError(f"{sample.name} has no mask; evaluation needs one for every picture")
        start = time.perf_counter()
        prediction = predict_image(
            network,
            normalization,
            sample.image,
            precision=precision,
            flip=flip,
            refinement=refinement,
            name=sample.name,
        ).labels
        seconds += time.perf_counter() - start
        pixels += target.size
        matrix.update(prediction, target, name=sample.name)
        if rank_pictures:
            own = mean_iou_of_picture(prediction, target, labels.num_classes, labels.void)
            pictures.append(PictureScore(index, sample.name, own))
        else:
            pictures.append(PictureScore(index, sample.name, float("nan")))
        if progress is not None:
            progress(index + 1, len(dataset))
    return Evaluation(matrix.scores(), tuple(pictures), seconds / max(pixels, 1) * 1e6, flip, refinement=refinement)
