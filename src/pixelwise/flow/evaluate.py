"""Evaluate a segmenter on a part of a folder, or two on the same pictures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.errors import BadOption, LabelError
from pixelwise.flow.data_sets import named
from pixelwise.flow.machine import this_machine
from pixelwise.flow.opened_part import OpenedPart, open_part, trained_with
from pixelwise.flow.understanding import LabelsFrom
from pixelwise.inference.classify import Classification, classify_pictures
from pixelwise.inference.engine import Wanted
from pixelwise.inference.evaluate import Evaluation, difference
from pixelwise.inference.measures import protocols_of
from pixelwise.inference.views import Scales, views_of
from pixelwise.protocols.boundaries import TrimapCurve, plot_curves
from pixelwise.protocols.intervals import Interval
from pixelwise.protocols.server_files import (
    CITYSCAPES_SIZE,
    Competition,
    Results,
    write_cityscapes_results,
    write_voc_results,
)
from pixelwise.segmenter import Segmenter, evaluate_pictures

RESULT_SIZE: tuple[int, int] | None = CITYSCAPES_SIZE  # of Cityscapes' result files


def evaluate_folder(
    segmenter: Segmenter,
    folder: Path,
    *,
    dataset: str | None = None,
    split: str | None = None,
    protocol: str | None = None,
    scales: Scales = None,
    flip: bool = False,
    crf: bool | None = None,
    results: Path | None = None,
    competition: Competition | None = None,
    answers: Answers = NOTHING,
    classes: Path | None = None,
    labels: LabelsFrom | None = None,
    precision: Wanted = None,
    engine: str = "torch",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[str, Evaluation | Classification]:
    """(name of the part, evaluation) of a folder; of class folders it counts whole pictures.

    Args:
        dataset, answers, classes, labels: see `open_part`.
        split: which part; the first of `opened_part.PARTS` that the folder has, if left out.
        protocol: a name in `protocols.PROTOCOLS`, names in `inference.measures.MEASURES`, or both, separated by commas;
            the papers' protocol for the data set, or fcn's, if none is named.
        scales: numbers, a name in `inference.views.PAPERS`, or `Views`.
        flip: average the probabilities with those of the mirrored pictures.
        crf: refine the labels with a dense CRF: with the segmenter's own, if it has one, where left out.
        results: a folder for the files that the test server of VOC or Cityscapes takes; pictures need no masks then.
        competition: of VOC's results, "comp5" for a model trained on VOC's pictures alone; "comp6" if left out.
        precision, engine: see `Segmenter.engine`.

    Raises:
        DataError, LabelError, ShapeError: see `open_part`.
        UnknownName: there is no such protocol or paper.
        BadOption: class folders, and an option about masks; or results of another data set.
    """
    options = _Options(protocol, scales, flip, crf, results, dataset, progress, competition, precision, engine)
    options.check(labels or trained_with(segmenter))
    opened = open_part(segmenter, folder, dataset=dataset, split=split, answers=answers, classes=classes, labels=labels)
    return opened.name, _evaluated(segmenter, opened, options)


@dataclass(frozen=True)
class Comparison:
    """Two models on the same pictures.

    Attributes:
        part: what to call the pictures.
        difference: mean IoU of the second less that of the first, with its paired interval; None of a single picture.
    """

    part: str
    first: Evaluation
    second: Evaluation
    difference: Interval | None

    def to_record(self) -> dict[str, Any]:
        """The first evaluation, with the second and the difference beside it, as JSON can hold it."""
        return self.first.to_record() | {
            "compared": self.second.to_record(),
            "mean_iou_difference": None if self.difference is None else self.difference.to_record(),
        }


def compare_on_folder(
    segmenter: Segmenter,
    other: Segmenter,
    folder: Path,
    *,
    dataset: str | None = None,
    split: str | None = None,
    protocol: str | None = None,
    scales: Scales = None,
    flip: bool = False,
    crf: bool | None = None,
    answers: Answers = NOTHING,
    classes: Path | None = None,
    labels: LabelsFrom | None = None,
    precision: Wanted = None,
    engine: str = "torch",
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Evaluate two models of the same classes on the same pictures, which neither was trained on where that is known.

    Raises:
        BadOption: class folders, which have no mean IoU.
        DataError, LabelError, ShapeError, UnknownName: as `evaluate_folder`.
    """
    if "folders" in (labels, trained_with(segmenter), trained_with(other)) and labels != "masks":
        raise BadOption("two models are compared by mean IoU, which class folders have none of; leave out --compare")
    if other.labels.names != segmenter.labels.names:
        raise LabelError(
            f"the two models have different classes, {', '.join(segmenter.labels.names)} and "
            f"{', '.join(other.labels.names)}; compare models of the same classes in the same order"
        )
    options = _Options(protocol, scales, flip, crf, None, dataset, None, None, precision, engine)
    options.check("masks")
    opened = open_part(
        segmenter,
        folder,
        dataset=dataset,
        split=split,
        answers=answers,
        classes=classes,
        labels=labels,
        also=other,
    )
    found = []
    for number, model in enumerate((segmenter, other)):

        def both(done: int, total: int, before: int = number) -> None:
            if progress is not None:
                progress(before * total + done, 2 * total)

        evaluation = _evaluated(model, opened, replace(options, progress=both))
        assert isinstance(evaluation, Evaluation)
        found.append(evaluation)
    first, second = found
    return Comparison(opened.name, first, second, difference(first, second))


@dataclass(frozen=True)
class _Options:
    """What is asked for beside the data."""

    protocol: str | None
    scales: Scales
    flip: bool
    crf: bool | None
    results: Path | None
    dataset: str | None
    progress: Callable[[int, int], None] | None
    competition: Competition | None = None
    precision: Wanted = None
    engine: str = "torch"

    def check(self, labels: LabelsFrom) -> None:
        """Refuse what cannot be, before anything is read.

        Raises:
            UnknownName: there is no such protocol or paper.
            BadOption: class folders, and an option about masks; or results of another data set.
        """
        protocols_of(self.protocol)
        views = views_of(self.scales, flip=self.flip)
        if labels == "folders":
            if self.crf:
                raise BadOption("class folders count whole pictures, which no CRF changes; leave out --crf")
            if self.protocol or self.results or not views.once:
                raise BadOption(
                    "class folders count whole pictures, seen once or mirrored; leave out --protocol, --scales, "
                    "--window and --save-results"
                )
        if self.competition is not None and (self.results is None or self.server() != "voc"):
            raise BadOption(
                f"{self.competition} names a folder of VOC's result files; give --save-results and a VOC data set, or "
                "leave out --competition"
            )
        if self.results is not None:
            self.server()
            if self.results.exists() and (not self.results.is_dir() or any(self.results.iterdir())):
                raise BadOption(f"{self.results} exists already; choose a new folder, so that nothing is overwritten")

    def server(self) -> str:
        """Which server takes results of the data set: "voc" or "cityscapes".

        Raises:
            BadOption: none does.
        """
        name = named(self.dataset or "")[0]
        if name not in ("voc2011", "voc2012", "voc2012_trainaug", "cityscapes"):
            raise BadOption(
                "result files are for the test servers of VOC and Cityscapes; give --dataset voc2012 or cityscapes, or "
                "write masks with `pixelwise predict`"
            )
        return "cityscapes" if name == "cityscapes" else "voc"


def _evaluated(segmenter: Segmenter, opened: OpenedPart, options: _Options) -> Evaluation | Classification:
    """A segmenter on an opened part."""
    views, progress = views_of(options.scales, flip=options.flip), options.progress
    segmenter.network.to(this_machine().device)
    if opened.by_folder:
        engine = segmenter.engine(options.precision, options.engine)
        return classify_pictures(engine, segmenter.normalization, opened.data, flip=views.flip, progress=progress)
    protocol, measures = protocols_of(options.protocol)
    sink: Callable[[Results], object] | None = None
    if options.results is not None:
        out, data = options.results, opened.data

        def sink(results: Results) -> object:
            if options.server() == "voc":
                year = 2011 if data.name == "voc2011" else 2012
                competition = options.competition or "comp6"
                return write_voc_results(results, out, competition=competition, split=data.split, year=year)
            values: Literal["train_ids", "ids"] = "train_ids" if data.labels["labels"].num_classes == 19 else "ids"
            return write_cityscapes_results(results, out, values=values, size=RESULT_SIZE)

    evaluation = evaluate_pictures(
        segmenter,
        opened.data,
        protocol=protocol,
        measures=measures,
        scales=views,
        crf=options.crf,
        precision=options.precision,
        engine=options.engine,
        sink=sink,
        progress=progress,
    )
    return replace(evaluation, note="; ".join(note for note in (evaluation.note, opened.note) if note))


def record_of(evaluation: Evaluation | Classification) -> dict[str, Any]:
    """An evaluation as JSON can hold it."""
    if isinstance(evaluation, Evaluation):
        return evaluation.to_record()
    about = {"protocol": evaluation.protocol, "pictures": len(evaluation.pictures), "crf": None}
    return about | evaluation.scores.to_record()


def check_plot(protocol: str | None, path: Path) -> None:
    """Make sure that there will be one kind of curves to draw, before anything is predicted.

    Raises:
        BadOption: there is none, or more than one, or the file is no SVG.
    """
    kinds = [name for name in protocols_of(protocol)[1] if name in ("trimap_void", "trimap_labels")]
    if len(kinds) != 1:
        raise BadOption(
            f"--plot draws the curve of one of trimap_void and trimap_labels, got {' and '.join(kinds) or 'neither'}; "
            "name one of them in --protocol"
        )
    if path.suffix.lower() != ".svg":
        raise BadOption(f"plots are written as SVG; got {path}: give a name that ends in .svg")


def plot_trimaps(evaluations: Mapping[str, Evaluation | Classification], path: Path) -> None:
    """Draw the trimap curves of evaluations, by their names."""
    curves = {
        name: found
        for name, evaluation in evaluations.items()
        if isinstance(evaluation, Evaluation)
        for found in evaluation.measures.values()
        if isinstance(found, TrimapCurve)
    }
    plot_curves(curves, path)
