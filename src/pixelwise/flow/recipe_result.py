"""What a training by a recipe leaves: its result, with the paper's score beside it, and result.json for the report."""

import json
import math
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pixelwise.data.batch import MemoryDataset
from pixelwise.data.folder import PairDataset
from pixelwise.files import write_text
from pixelwise.flow.machine import peak_memory_mebibytes
from pixelwise.flow.recipe_data import JoinedDataset
from pixelwise.flow.recipe_of_run import RECIPE
from pixelwise.flow.result import best_and_worst, examples
from pixelwise.flow.run import MODEL, RESULT
from pixelwise.inference.evaluate import Evaluation
from pixelwise.recipes.published import PublishedRecipe, Stage
from pixelwise.report.outcome import ended
from pixelwise.segmenter import Segmenter
from pixelwise.version import VERSION


@dataclass(frozen=True)
class TrainResult:
    """What a training leaves.

    Attributes:
        run: the run folder.
        recipe: as it was resolved.
        outcome: "finished", "plateau" or "interrupted".
        start: what the first network began with, one line.
        segmenter: the network of the last stage, or of the one that was interrupted.
        evaluation: by the recipe's protocol; None of an interrupted run.
        report: the page, of the first process.
    """

    run: Path
    recipe: PublishedRecipe
    outcome: str
    start: str
    segmenter: Segmenter
    evaluation: Evaluation | None = None
    report: Path | None = None

    @property
    def compared(self) -> dict[str, tuple[float, float]]:
        """{measure: (found, expected)} in percent, of those that the paper's table has."""
        if self.evaluation is None or self.recipe.expected is None:
            return {}
        scores = self.evaluation.scores
        found = {
            measure: float(getattr(scores, measure, scores.extra.get(measure, math.nan)))
            for measure in self.recipe.expected.values
        }
        return {
            measure: (100 * found[measure], expected)
            for measure, expected in self.recipe.expected.values.items()
            if math.isfinite(found[measure])
        }


@dataclass(frozen=True)
class Trained:
    """A stage that has ended."""

    stage: Stage
    pictures: JoinedDataset
    outcome: str
    steps: int
    start: str
    speeds: list[float]
    segmenter: Segmenter


def write_result(
    result: TrainResult, trained: Trained, data: PairDataset, root: Path, machine: str, seconds: dict[str, float]
) -> None:
    """Write result.json, which the report is made from."""
    best, evaluation, recipe, run = result.segmenter, result.evaluation, result.recipe, result.run
    assert evaluation is not None
    labels = best.labels
    scores = evaluation.scores.to_record()
    for record, color in zip(scores["per_class"], labels.palette, strict=True):
        record["color"] = list(color)
    place, model = shlex.quote(str(run)), shlex.quote(str(run / MODEL))
    folder, rest = shlex.quote(str(root)), f"--dataset {recipe.evaluation.dataset} --split {recipe.evaluation.split}"
    record = {
        "name": recipe.name,
        "version": VERSION,
        "outcome": result.outcome,
        "outcome_text": f"{ended(result.outcome, trained.steps)}.",
        "steps": trained.steps,
        "recipe": {"name": recipe.name, "paper": recipe.paper, "start": result.start, "notes": list(recipe.notes)},
        "expected": None if recipe.expected is None else recipe.expected.model_dump(),
        "scores": scores
        | {
            "split": str(recipe.evaluation),
            "protocol": evaluation.protocol,
            "pictures": len(evaluation.pictures),
        },
        "data": {
            "classes": [
                {"name": name, "color": list(color)} for name, color in zip(labels.names, labels.palette, strict=True)
            ],
            "layout": recipe.evaluation.dataset,
            "channels": best.normalization.channels,
            "notes": [recipe.paper, _compared_told(result), *recipe.notes],
            "splits": {
                "train": len(trained.pictures),
                str(recipe.evaluation): len(data),
            },
        },
        "pictures": best_and_worst(best, evaluation, data, run)
        + examples(labels, MemoryDataset(trained.pictures, limit_bytes=0), run),
        "speed": {
            "training_images_per_second": round(float(np.median(trained.speeds)), 2) if trained.speeds else None,
            "predict_seconds_per_megapixel": round(evaluation.seconds_per_megapixel, 4),
            "peak_memory_mib": round(peak_memory_mebibytes()),
            "machine": machine,
            "precision": trained.stage.recipe.precision,
            "seconds": {part: round(value, 1) for part, value in seconds.items()},
        },
        "model_file": MODEL,
        "parameters": best.parameters,
        "commands": {
            "predict": f"pixelwise predict {model} NEW_PICTURES --out predictions",
            "evaluate": f"pixelwise evaluate {model} {folder} {rest}",
            "reproduce": f"pixelwise train {shlex.quote(str(run / RECIPE))} --data {folder} --out NEW_RUN",
            "resume": f"pixelwise train {recipe.name} --data {folder} --resume --out {place}",
        },
    }
    write_text(json.dumps(record, ensure_ascii=False, indent=1), run / RESULT)


def _compared_told(result: TrainResult) -> str:
    """What was found beside what the paper has, a line."""
    if not result.compared:
        return "no score of the paper to compare with was read"
    told = ", ".join(
        f"{measure.replace('_', ' ').replace('iou', 'IoU')} {found:.1f}, expected {expected:g}"
        for measure, (found, expected) in result.compared.items()
    )
    source = result.recipe.expected.source if result.recipe.expected else ""
    return f"found {told} ({source})"
