"""Staged training: a coarse network first, then finer ones, each with the weights of the last.

Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation, CVPR 2015 (arXiv 1411.4038), §4.2,
§4.3: FCN-16s has the layers of FCN-32s and scores pool4, too; these new scores start at zero, so that the fused scores
start unchanged. FCN-8s follows with pool3.

A staged run has a run folder for each stage but the last, RUN/stages/MODEL; the last stage is the run itself.

**Differences:**
- the learning rate is the same in each stage, which has its own warm-up and decay; the paper divides it by 100 from
  32s to 16s. Here steps are few, and networks begin without trained weights (docs/explanation/planning.md).
- a stage hands on its best network on validation and not its last.
"""

import inspect
import json
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from pixelwise.errors import BadOption, CheckpointError
from pixelwise.flow.plan import Plan, Stage
from pixelwise.models import MODELS
from pixelwise.training.recipe import Recipe

STAGES: dict[str, tuple[str, ...]] = {
    "fcn8s_vgg16": ("fcn32s_vgg16", "fcn16s_vgg16", "fcn8s_vgg16"),
    "fcn16s_vgg16": ("fcn32s_vgg16", "fcn16s_vgg16"),
    "fcn8s_two_headed": ("fcn32s_two_headed", "fcn16s_two_headed", "fcn8s_two_headed"),
    "fcn16s_two_headed": ("fcn32s_two_headed", "fcn16s_two_headed"),
    "fcn16s_rgb_hha": ("fcn32s_rgb_hha", "fcn16s_rgb_hha"),
}
DEFAULT = "fcn8s_vgg16"
FOLDER = "stages"

DAYS = (3, 1, 1)  # of training 32s, 16s, 8s (§4.3)
LEAST_ROUNDS = 3  # validations of a stage, from which the best network is handed on


def check_staged(model: str, options: dict[str, Any], steps: int | None) -> None:
    """Refuse what cannot be trained in stages.

    Raises:
        BadOption: the network has no coarser ones, its streams are not summed, or there are fewer steps than stages.
    """
    if model not in STAGES:
        raise BadOption(f"{model} is not trained in stages; take --model {', '.join(STAGES)}, or leave out --staged")
    if options.get("fusion", "sum") != "sum":
        raise BadOption(
            f"stages start with unchanged scores where streams are summed, not with fusion={options['fusion']!r}; "
            "leave out one of fusion and --staged"
        )
    if steps is not None and steps < len(STAGES[model]):
        raise BadOption(f"{model} is trained in {len(STAGES[model])} stages, so steps must be as many, got {steps}")


def in_stages(plan: Plan, settings: dict[str, Any], seconds_left: float | None, trying: float = 0.0) -> Plan:
    """The plan of one network with its time, or its steps, shared between the stages.

    Args:
        settings: as they were set by hand; they hold for each stage, but for `steps`, which are shared.
        seconds_left: of the budget, evaluation and report included; None where steps were asked for.
        trying: seconds that the dense CRF is tried for, once, behind the last network.
    """
    recipe, names = plan.recipe, STAGES[plan.recipe.model]
    total, seconds = recipe.steps, plan.training_seconds
    if seconds is not None and seconds_left is not None:
        ending = max(seconds_left - trying - seconds, 0.0)  # evaluation and report: each stage has its own
        left = max(seconds_left - trying - len(names) * ending, 5.0 * len(names))
        if "steps" not in settings:
            total = max(int(total * left / seconds), len(names))
        seconds = left
    steps = shares(total, len(names))
    days = DAYS[: len(names)]
    stages = [
        Stage(
            name,
            _rhythm(recipe, count, settings),
            None if seconds is None else round(seconds * share / sum(days), 1),
        )
        for name, count, share in zip(names, steps, days, strict=True)
    ]
    last = stages.pop()
    unit = "steps" if seconds is None else "time"
    parts = ", ".join(f"{day / sum(days):.0%}" for day in days)
    listed = ", ".join(f"{name} {count}" for name, count in zip(names, steps, strict=True))
    return replace(
        plan,
        recipe=recipe.with_settings(last.settings),
        training_seconds=last.training_seconds,
        stages=tuple(stages),
        reasons=plan.reasons
        | {
            "stages": (
                f"{', '.join(names)}: each starts from the best of the last with new scores at zero, so that its fused "
                "scores start unchanged"
            ),
            "steps": (
                f"{total} in all ({listed}): {parts} of the {unit}, as the paper trained for "
                f"{', '.join(f'{day} day' + 's' * (day > 1) for day in days)}"
            ),
            "patience": (
                "a stage ends early after half of its validations, at least 4, without a better mean IoU"
                if recipe.patience
                else plan.reasons["patience"]
            ),
            "rate": f"{plan.reasons['rate']}; the same in each stage, which has its own warm-up and decay",
        },
    )


def shares(total: int, stages: int) -> list[int]:
    """`total` steps in parts as 3 : 1 or 3 : 1 : 1, each at least 1 where `total` is at least `stages`.

    >>> shares(100, 3), shares(10, 2), shares(3, 3)
    ([60, 20, 20], [7, 3], [1, 1, 1])
    """
    days = DAYS[:stages]
    bounds = [total * done // sum(days) for done in accumulate(days, initial=0)]
    return [after - before for before, after in pairwise(bounds)]


def _rhythm(recipe: Recipe, steps: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Steps of a stage, and when to log, to validate and to give up, where that was not set by hand."""
    every = min(recipe.validate_every, max(steps // LEAST_ROUNDS, 1))
    log_every = min(recipe.log_every, every)
    every -= every % log_every
    rhythm = {
        "validate_every": every,
        "log_every": log_every,
        "warmup": min(recipe.warmup, steps // 5 + 1),
        "patience": max(steps // every // 2, 4) if recipe.patience else 0,
    }
    return {"steps": steps} | {key: value for key, value in rhythm.items() if key not in settings}


@dataclass(frozen=True)
class StageRun:
    """One stage of a plan: its run folder, relative to the whole run's, and its own plan."""

    folder: Path
    plan: Plan

    @property
    def model(self) -> str:
        """The network's name."""
        return self.plan.recipe.model


def stage_runs(plan: Plan) -> tuple[StageRun, ...]:
    """What a plan trains, in order; the last is the network of its own recipe, in the run itself.

    Raises:
        CheckpointError: the plan's stages are not those of its network.
        UnknownName, BadOption: a setting of a stage is misspelt or has a wrong value.
    """
    names = tuple(stage.model for stage in plan.stages)
    if names and (*names, plan.recipe.model) != STAGES.get(plan.recipe.model):
        raise CheckpointError(
            f"the plan trains {', '.join(names)} before {plan.recipe.model}; "
            f"{_possible(plan.recipe.model)}: correct it, or make a new plan with --plan-only"
        )
    runs: list[StageRun] = []
    start = None if plan.start is None else f"../../{plan.start}"
    told = {"start": plan.reasons["start"]} if "start" in plan.reasons else {}
    for number, stage in enumerate(plan.stages, 1):
        options = {key: value for key, value in plan.recipe.model_options.items() if key in _options(stage.model)}
        recipe = plan.recipe.with_settings({"model": stage.model, "model_options": options} | stage.settings)
        this = f"of stage {number} of {len(names) + 1}, which leads to {plan.recipe.model}"
        own = replace(
            plan,
            recipe=recipe,
            training_seconds=stage.training_seconds,
            start=start,
            stages=(),
            crf_pictures=0,
            reasons={k: v for k, v in plan.reasons.items() if k not in ("stages", "start", "crf")}
            | {"steps": this}
            | told,
        )
        runs.append(StageRun(Path(FOLDER) / stage.model, own))
        start = f"../{stage.model}/model.safetensors"
        told = {"start": f"the best network of {stage.model}, the stage before"}
    last = f"{FOLDER}/{names[-1]}/model.safetensors" if names else plan.start
    return (*runs, StageRun(Path(), replace(plan, start=last)))


def is_done(run: Path) -> bool:
    """Whether a stage has trained to its end and left everything."""
    result = run / "result.json"
    if not ((run / "report.html").is_file() and result.is_file()):
        return False
    return bool(json.loads(result.read_text(encoding="utf-8"))["outcome"] != "interrupted")


def _possible(model: str) -> str:
    return f"before it come {', '.join(STAGES[model][:-1])}" if model in STAGES else "it is not trained in stages"


def _options(model: str) -> set[str]:
    """What the builder of a network takes."""
    return set(inspect.signature(MODELS[model]).parameters)
