"""What a learning curve's trainings say together: learning_curve.json and .csv, doubted.csv, unlabelled.csv."""

import csv
import io
import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pixelwise.files import replacing, write_text
from pixelwise.flow.curve_fit import Curve
from pixelwise.flow.doubted import DRAWN, standing_out
from pixelwise.flow.plan import Plan
from pixelwise.report.learning_curve import CURVE, answers
from pixelwise.version import VERSION

FORMAT = 1
DRAWINGS = "doubted"
SCORES = ("iou", "precision", "recall")


def write_results(
    run: Path,
    folder: Path,
    plan: Plan,
    about: dict[str, Any],
    planned: tuple[tuple[int, ...], int],
    members: Sequence[tuple[Path, dict[str, Any]]],
    ranked: Sequence[tuple[str, float]],
    outcome: str,
) -> dict[str, Any]:
    """Write the tables and the drawings of a run; what learning_curve.json holds.

    Args:
        about: the "split" that is measured on, and the training pictures "left_out" of judging.
        planned: the sizes, and the repeats.
        members: (folder, member.json) of each training that is finished.
        ranked: (name, uncertainty) of unlabelled pictures, the largest first.
        outcome: "finished", "budget" or "interrupted".
    """
    found = [member for _, member in members]
    curve = Curve(np.array([m["sums"] for m in found]), [m["pictures"] for m in found], seed=plan.recipe.seed)
    names = plan.labels.names
    rows = [_row(curve, i, member, names) for i, member in enumerate(found)]
    doubted = _doubted(members)
    options = {k: v for k, v in plan.recipe.model_options.items() if k not in ("num_classes", "in_channels")}
    record = {
        "format": FORMAT,
        "name": folder.resolve().name,
        "version": VERSION,
        "outcome": outcome,
        "planned": {"sizes": list(planned[0]), "repeats": planned[1], "trainings": len(planned[0]) * planned[1]},
        "data": {
            "training": len(plan.split["train"]),
            "measured": int(np.shape(found[0]["sums"])[0]),
            "split": about["split"],
        },
        "recipe": {
            "model": plan.recipe.model,
            "options": options,
            "steps": plan.recipe.steps,
            "batch_size": plan.recipe.batch_size,
            "crop_size": None if plan.recipe.crop_size is None else list(plan.recipe.crop_size),
            "seed": plan.recipe.seed,
        },
        "classes": [
            {"name": name, "color": list(color)} for name, color in zip(names, plan.labels.palette, strict=True)
        ],
        "trainings": rows,
        "sizes": _by_size(curve, names),
        "forecast": {
            "pictures": 2 * curve.sizes[-1],
            "mean_iou": curve.forecast().to_record(),
            "per_class": [{"name": name} | curve.forecast(i).to_record() for i, name in enumerate(names)],
        },
        "doubted": {
            "pictures": doubted,
            "stand_out": standing_out([d["doubt"] for d in doubted]),
            "not_judged": about["left_out"],
        },
        "unlabelled": [{"name": name, "uncertainty": round(value, 6)} for name, value in ranked],
        "commands": _commands(folder, run, outcome),
    }
    record["answers"] = answers(record)
    _copy_drawings(run, members, doubted)
    write_text(json.dumps(record, ensure_ascii=False, indent=1), run / CURVE)
    _write_csv(run / "learning_curve.csv", [_flat(row) for row in rows])
    _write_csv(
        run / "doubted.csv",
        [
            {"rank": rank} | {key: d[key] for key in ("name", "doubt", "share", "given", "seen")}
            for rank, d in enumerate(doubted, 1)
        ],
    )
    if ranked:
        _write_csv(
            run / "unlabelled.csv",
            [{"rank": r, "name": name, "uncertainty": round(value, 6)} for r, (name, value) in enumerate(ranked, 1)],
        )
    return record


def _row(curve: Curve, index: int, member: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """One training's scores."""
    per_class = [
        {"name": name} | {score: _number(curve.plain[score][index, k]) for score in SCORES}
        for k, name in enumerate(names)
    ]
    about = {"pictures": member["pictures"], "repeat": member["repeat"] + 1}
    return about | {"mean_iou": _number(curve.plain["mean_iou"][index]), "per_class": per_class}


def _by_size(curve: Curve, names: Sequence[str]) -> list[dict[str, Any]]:
    """The means of each size with their intervals."""
    whole = curve.at("mean_iou")
    single = [{score: curve.at(score, k) for score in SCORES} for k in range(len(names))]
    return [
        {
            "pictures": size,
            "trainings": curve.trainings[size],
            "mean_iou": whole[i].to_record(),
            "per_class": [
                {"name": name} | {score: single[k][score][i].to_record() for score in SCORES}
                for k, name in enumerate(names)
            ],
        }
        for i, size in enumerate(curve.sizes)
    ]


def _doubted(members: Sequence[tuple[Path, dict[str, Any]]]) -> list[dict[str, Any]]:
    """All judged pictures, the most doubted first, with the training that judged each."""
    found = [
        doubt | {"judge": f"the training on {member['pictures']} others, repeat {member['repeat'] + 1}"}
        for _, member in members
        for doubt in member["doubts"]
    ]
    return sorted(found, key=lambda doubt: (-doubt["doubt"], doubt["name"]))


def _copy_drawings(run: Path, members: Sequence[tuple[Path, dict[str, Any]]], doubted: list[dict[str, Any]]) -> None:
    """Put the drawings of the most doubted pictures into RUN/doubted, numbered by rank; the records name them."""
    home = {doubt["name"]: folder for folder, member in members for doubt in member["doubts"]}
    for rank, doubt in enumerate(doubted, 1):
        files, doubt["files"] = doubt["files"], {}
        if rank > DRAWN or not doubt["doubt"]:
            continue
        for view, name in files.items():
            target = f"{DRAWINGS}/{rank:02}{name[2:]}"
            with replacing(run / target) as beside:
                beside.write_bytes((home[doubt["name"]] / DRAWINGS / name).read_bytes())
            doubt["files"][view] = target
    drawn = {name for doubt in doubted for name in doubt["files"].values()}
    for old in (run / DRAWINGS).glob("*.jpg"):
        if f"{DRAWINGS}/{old.name}" not in drawn:
            old.unlink()  # of a rank that a later judge has changed


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    single = {f"{score} {c['name']}": c[score] for c in row["per_class"] for score in SCORES}
    return {key: row[key] for key in ("pictures", "repeat", "mean_iou")} | single


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_text(text.getvalue(), path)


def _number(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None


def _commands(folder: Path, run: Path, outcome: str) -> dict[str, str]:
    """What to type next."""
    data, where = shlex.quote(str(folder)), shlex.quote(str(run))
    model = shlex.quote(str(run / "model.safetensors"))
    commands = {"fit": f"pixelwise fit {data}", "predict": f"pixelwise predict {model} NEW_PICTURES --out predictions"}
    resume = {"resume": f"pixelwise fit {data} --learning-curve --resume --out {where}"}
    return (resume if outcome != "finished" else {}) | commands
