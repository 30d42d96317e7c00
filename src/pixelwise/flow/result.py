"""What a fit leaves besides the model: final scores, pictures for the report, and result.json."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pixelwise.data.sample import Dataset, Sample, spread
from pixelwise.files import write_text
from pixelwise.flow.events import CRFTried
from pixelwise.flow.machine import peak_memory_mebibytes
from pixelwise.flow.plan import Plan
from pixelwise.flow.understanding import Understanding
from pixelwise.inference.classify import Classification, PictureScores
from pixelwise.inference.evaluate import Evaluation
from pixelwise.inference.heatmap import class_heatmap
from pixelwise.inference.pictures import displayable, errors_picture, overlay, write_picture
from pixelwise.labels import LabelSet
from pixelwise.metrics import Scores
from pixelwise.report.heat import blended
from pixelwise.report.outcome import ended, next_commands, stage_told
from pixelwise.report.thumbnails import small_classes, small_image
from pixelwise.segmenter import SAME_LABELS, Segmenter
from pixelwise.version import VERSION

PICTURES = "pictures"
THUMBNAIL = 480  # pixels of a picture's longer side, at most

_ON = ": this is the best model up to then, and --resume goes on"


@dataclass(frozen=True)
class Outcome:
    """How a run went: `reason` as the loop gave it, after `step` steps at these `speeds` (images per second).

    `split` and `protocol` say what the final scores were measured on, and how; `stage_of` is the whole run
    where this one is a stage.
    """

    folder: Path
    run: Path
    reason: str
    step: int
    speeds: list[float]
    split: str
    protocol: str
    stage_of: Path | None = None


def summary(scores: Scores | PictureScores) -> dict[str, Any]:
    """The scores of the whole, as a model file keeps them; those of pictures say so."""
    record = scores.to_record()
    if isinstance(scores, PictureScores):
        return {key: record[key] for key in ("counted", "picture_accuracy", "mean_picture_accuracy")}
    return {key: record[key] for key in ("mean_iou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou")}


def settle_precision(segmenter: Segmenter, validation: Dataset, pictures: int = 4) -> None:
    """Keep bfloat16 as the model's own precision only where the labels are those of float32 on a few pictures.

    The share of equal labels is noted in the segmenter.
    """
    if segmenter.precision == "fp32":
        return
    same = pixels = 0
    side = 512 * getattr(segmenter.network, "shrink", 1)
    for index in spread(len(validation), pictures):
        sample = validation[index]
        height, width = (max((length - side) // 2, 0) for length in sample.size)
        middle = sample.image[height : height + side, width : width + side]
        a, b = (segmenter.predict_dense(middle, precision=p, name=sample.name).labels for p in ("bf16", "fp32"))
        same += int((a == b).sum())
        pixels += a.size
    segmenter.same_labels = round(same / max(pixels, 1), 6)
    if segmenter.same_labels < SAME_LABELS:
        segmenter.precision = "fp32"


def examples(
    labels: LabelSet, train: Dataset, run: Path, count: int = 6, *, by_folder: bool = False
) -> list[dict[str, Any]]:
    """A few training pictures with their masks as overlays, or as they are and with their class, written to the run."""
    listed = []
    for number, index in enumerate(spread(len(train), count)):
        sample = train[index]
        file = f"{PICTURES}/data-{number}.jpg"
        image, target = _thumbnail(sample)
        shown = image if by_folder else overlay(image, target, labels, opacity=0.45)
        write_picture(shown, run / file, quality=88)
        name = f"{labels.names[target[0, 0]]}: {sample.name}" if by_folder else sample.name
        listed.append({"kind": "data", "file": file, "name": name})
    return listed


def best_and_worst(
    segmenter: Segmenter, evaluation: Evaluation, data: Dataset, run: Path, count: int = 3
) -> list[dict[str, Any]]:
    """The best and worst pictures of an evaluation, with target, prediction and errors, written to the run."""
    labels = segmenter.labels
    ranked = sorted((p for p in evaluation.pictures if math.isfinite(p.mean_iou)), key=lambda p: p.mean_iou)
    count = min(count, len(ranked) // 2)
    chosen = [("best", p) for p in ranked[::-1][: max(count, 1)]] + [("worst", p) for p in ranked[:count]]
    listed = []
    for number, (kind, picture) in enumerate(chosen):
        sample = data[picture.index]
        prediction = segmenter.predict_dense(sample.image, name=sample.name).labels
        image, target = _thumbnail(sample)
        shown = _thumbnail(Sample(sample.image, {"labels": prediction}, sample.name))[1]
        views = {
            "image": displayable(image),
            "target": labels.colored(target),
            "prediction": labels.colored(shown),
            "errors": errors_picture(image, shown, target, labels.void),
        }
        files = {view: f"{PICTURES}/{kind}-{number}-{view}.{'jpg' if view == 'image' else 'png'}" for view in views}
        for view, pixels in views.items():
            write_picture(pixels, run / files[view])
        listed.append({"kind": kind, "name": sample.name, "mean_iou": round(picture.mean_iou, 6)} | files)
    return listed


def coarse_maps(
    segmenter: Segmenter, evaluation: Classification, data: Dataset, run: Path, count: int = 3
) -> list[dict[str, Any]]:
    """The surest right pictures and the worst wrong ones, with the heat map of the class each is taken for and its own.

    Where none is wrong, the right ones that the model is least sure of stand in for these.
    """
    names = segmenter.labels.names
    ranked = sorted(evaluation.pictures, key=lambda p: p.true_probability)
    right = [p for p in ranked if p.prediction == p.target]
    wrong = [p for p in ranked if p.prediction != p.target]
    most = count if wrong else max(min(count, len(right) // 2), 1)
    chosen = [("best", p) for p in right[::-1][:most]]
    chosen += [("worst", p) for p in wrong[:count]] or [("unsure", p) for p in right[: min(most, len(right) - most)]]
    listed = []
    for number, (kind, picture) in enumerate(chosen):
        sample = data[picture.index]
        image = small_image(sample.image, THUMBNAIL)
        files = {"image": f"{PICTURES}/{kind}-{number}-image.jpg"}
        write_picture(displayable(image), run / files["image"])
        for view, index in {"map": picture.prediction, "own_map": picture.target}.items():
            if view == "own_map" and picture.target == picture.prediction:
                continue
            heatmap = class_heatmap(
                segmenter.engine(), segmenter.normalization, sample.image, index, name=sample.name
            ).probability
            size = image.shape[1], image.shape[0]
            small = np.asarray(cv2.resize(heatmap, size, interpolation=cv2.INTER_AREA), np.float32)
            files[view] = f"{PICTURES}/{kind}-{number}-{view.replace('_', '-')}.jpg"
            write_picture(blended(image, small), run / files[view], quality=88)
        about = {"kind": kind, "name": sample.name, "own_class": names[picture.target]}
        taken = {
            "taken_for": names[picture.prediction],
            "probability": round(picture.probability, 6),
            "own_probability": round(picture.true_probability, 6),
        }
        listed.append(about | taken | files)
    return listed


def _thumbnail(sample: Sample, longest: int = THUMBNAIL) -> tuple[Any, Any]:
    """Image and target, the longest side at most `longest`, the target by nearest."""
    return small_image(sample.image, longest), small_classes(sample.targets["labels"], longest)


def write_result(
    path: Path,
    outcome: Outcome,
    understanding: Understanding,
    plan: Plan,
    best: Segmenter,
    evaluation: Evaluation | Classification,
    pictures: list[dict[str, Any]],
    machine: str,
    seconds: dict[str, float],
    trial: CRFTried | None = None,
) -> None:
    """Write result.json, which the report is made from."""
    labels = plan.labels
    scores = evaluation.scores.to_record()
    for record, color in zip(scores["per_class"], labels.palette, strict=True):
        record["color"] = list(color)
    about = {"split": outcome.split, "protocol": outcome.protocol, "pictures": len(evaluation.pictures)}
    result = {
        "name": outcome.folder.resolve().name,
        "version": VERSION,
        "outcome": outcome.reason,
        "outcome_text": _outcome_text(outcome.reason, outcome.step),
        "steps": outcome.step,
        "scores": scores | about,
        "data": _data(understanding, plan),
        "pictures": pictures,
        "speed": {
            "training_images_per_second": round(float(np.median(outcome.speeds)), 2) if outcome.speeds else None,
            "predict_seconds_per_megapixel": round(evaluation.seconds_per_megapixel, 4),
            "peak_memory_mib": round(peak_memory_mebibytes()),
            "machine": machine,
            "precision": plan.recipe.precision,
            "seconds": {part: round(value, 1) for part, value in seconds.items()},
        },
        "model_file": "model.safetensors",
        "parameters": best.parameters,
        "commands": next_commands(outcome.folder, outcome.run, outcome.stage_of),
    }
    if trial is not None:
        result["crf"] = trial.to_record()
    write_text(json.dumps(result, ensure_ascii=False, indent=1), path)


def _data(understanding: Understanding, plan: Plan) -> dict[str, Any]:
    """What was read, with the share of each class."""
    counted = max(int(understanding.pixel_counts.sum()), 1)
    return {
        "classes": [
            {
                "name": name,
                "color": list(color),
                "pixels": int(understanding.pixel_counts[i]),
                "share": float(understanding.pixel_counts[i] / counted),
                "pictures": int(understanding.image_counts[i]),
            }
            for i, (name, color) in enumerate(zip(plan.labels.names, plan.labels.palette, strict=True))
        ],
        "void_share": float(understanding.void_pixels / (counted + understanding.void_pixels)),
        "sizes": [[height, width, count] for (height, width), count in understanding.sizes.most_common()],
        "layout": understanding.layout,
        "rule": understanding.rule,
        "encoding": understanding.encoding,
        "channels": understanding.channels,
        "dtype": understanding.dtype,
        "labels_from": understanding.labels_from,
        "notes": list(understanding.notes),
        "faults": [str(fault) for fault in understanding.faults],
        "splits": {part: len(names) for part, names in plan.split.items()},
    }


def _outcome_text(reason: str, steps: int, stage: str = "") -> str:
    return f"{ended(reason, steps, stage)}{_ON if reason == 'interrupted' else ''}."


def adopt_result(stage: Path, run: Path, folder: Path, number: int, total: int) -> None:
    """Give a staged run that was interrupted the result of the stage that it was in; its model lies in the run."""
    result = json.loads((stage / "result.json").read_text(encoding="utf-8"))
    place = stage.relative_to(run).as_posix()
    for picture in result["pictures"]:
        files = {key: value for key, value in picture.items() if str(value).startswith(f"{PICTURES}/")}
        picture |= {key: f"{place}/{value}" for key, value in files.items()}
    about = {
        "outcome_text": _outcome_text(result["outcome"], result["steps"], stage_told(stage.name, number, total)),
        "stage": {"model": stage.name, "number": number, "total": total},
        "commands": next_commands(folder, run),
    }
    write_text(json.dumps(result | about, ensure_ascii=False, indent=1), run / "result.json")
